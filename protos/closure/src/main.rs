//! Writes `descriptors/closure.binpb`: the file descriptors of the messages named by `roots.txt` and of whatever they
//! refer to, without comments, options and services; and `descriptors/sensitive.txt`: the fields that Envoy redacts.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

use prost::Message as _;
use prost_types::{DescriptorProto, FieldOptions, FileDescriptorSet, MessageOptions};
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};
use protox::prost_reflect::Value;

fn main() -> Result<(), Box<dyn Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let package = package_source(here)?;
    let mut includes = vec![here.join("../proto")];
    for folder in [
        "data-plane-api",
        "xds",
        "googleapis",
        "protoc-gen-validate",
        "opentelemetry-proto",
        "cel-spec/proto",
        "client_model",
    ] {
        includes.push(package.join("proto").join(folder));
    }
    let list = std::fs::read_to_string(here.join("roots.txt"))?;
    let roots: Vec<&str> = list
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();

    let mut resolver = ChainFileResolver::new();
    resolver.add(Sources(includes));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).include_source_info(false);
    compiler.open_files(&roots)?;
    let set = compiler.file_descriptor_set();

    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut wanted: Vec<String> = Vec::new();
    for file in &set.file {
        let prefix = format!(".{}", file.package());
        let before = uses.keys().cloned().collect::<BTreeSet<_>>();
        for message in &file.message_type {
            collect(message, &prefix, None, &mut uses);
        }
        for declared in &file.enum_type {
            uses.insert(format!("{prefix}.{}", declared.name()), BTreeSet::new());
        }
        if roots.contains(&file.name()) {
            wanted.extend(uses.keys().filter(|name| !before.contains(*name)).cloned());
        }
    }
    let mut reached = BTreeSet::new();
    while let Some(name) = wanted.pop() {
        if reached.insert(name.clone()) {
            wanted.extend(
                uses.get(&name)
                    .ok_or_else(|| format!("{name} is not declared"))?
                    .iter()
                    .cloned(),
            );
        }
    }

    let mut files = Vec::new();
    for mut file in set.file {
        let prefix = format!(".{}", file.package());
        prune(&mut file.message_type, &prefix, &reached);
        file.enum_type
            .retain(|declared| reached.contains(&format!("{prefix}.{}", declared.name())));
        if file.message_type.is_empty() && file.enum_type.is_empty() {
            continue;
        }
        for declared in &mut file.enum_type {
            declared.options = None;
            declared
                .value
                .iter_mut()
                .for_each(|value| value.options = None);
        }
        (file.options, file.source_code_info) = (None, None);
        (file.service, file.extension) = (Vec::new(), Vec::new());
        files.push(file);
    }
    let kept: BTreeSet<String> = files.iter().map(|file| file.name().to_owned()).collect();
    for file in &mut files {
        file.dependency
            .retain(|dependency| kept.contains(dependency));
        (file.public_dependency, file.weak_dependency) = (Vec::new(), Vec::new());
    }
    files.sort_by(|left, right| left.name().cmp(right.name()));

    let pool = compiler.descriptor_pool();
    let mark = pool
        .get_extension_by_name("udpa.annotations.sensitive")
        .ok_or("udpa.annotations.sensitive is not declared")?;
    let mut sensitive = BTreeSet::new();
    for message in pool.all_messages() {
        if !reached.contains(&format!(".{}", message.full_name())) {
            continue;
        }
        for field in message.fields() {
            let options = field.options();
            if options.has_extension(&mark)
                && matches!(*options.get_extension(&mark), Value::Bool(true))
            {
                sensitive.insert(field.full_name().to_owned());
            }
        }
    }

    let out = here.join("../descriptors");
    std::fs::create_dir_all(&out)?;
    let count = reached.len();
    let encoded = FileDescriptorSet { file: files }.encode_to_vec();
    println!(
        "{count} types, {} bytes, {} sensitive fields",
        encoded.len(),
        sensitive.len()
    );
    std::fs::write(out.join("closure.binpb"), encoded)?;
    std::fs::write(
        out.join("sensitive.txt"),
        sensitive
            .into_iter()
            .map(|name| name + "\n")
            .collect::<String>(),
    )?;
    Ok(())
}

/// The .proto files below some folders.
struct Sources(Vec<PathBuf>);

impl FileResolver for Sources {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let Some(path) = self
            .0
            .iter()
            .map(|folder| folder.join(name))
            .find(|path| path.is_file())
        else {
            return Err(protox::Error::file_not_found(name));
        };
        let mut source = std::fs::read_to_string(path).map_err(protox::Error::new)?;
        // protoc looks only at imported packages when it resolves `common.x`, protox at all that are loaded, where,
        // for example, `envoy.extensions.filters.common` hides `envoy.extensions.common`.
        if name.starts_with("envoy/extensions/") {
            for package in [
                "ratelimit",
                "dynamic_forward_proxy",
                "matching",
                "tap",
                "async_files",
            ] {
                source = source.replace(
                    &format!(" common.{package}."),
                    &format!(" .envoy.extensions.common.{package}."),
                );
            }
        }
        File::from_source(name, &source)
    }
}

/// The folder of the registry package that carries the .proto files.
fn package_source(here: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--manifest-path"])
        .arg(here.join("Cargo.toml"))
        .output()?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"]
        .as_array()
        .ok_or("cargo metadata lists no packages")?;
    let found = packages
        .iter()
        .find(|package| package["name"] == "envoy-types")
        .ok_or("envoy-types is not in the graph")?;
    let manifest = found["manifest_path"]
        .as_str()
        .ok_or("envoy-types has no manifest")?;
    Ok(Path::new(manifest)
        .parent()
        .ok_or("envoy-types has no folder")?
        .to_path_buf())
}

/// Notes which types each message refers to; a nested type refers to the message around it, which is its module.
fn collect(
    message: &DescriptorProto,
    prefix: &str,
    parent: Option<&str>,
    uses: &mut BTreeMap<String, BTreeSet<String>>,
) {
    let name = format!("{prefix}.{}", message.name());
    let mut refers: BTreeSet<String> = message
        .field
        .iter()
        .filter_map(|field| field.type_name.clone())
        .filter(|name| !name.is_empty())
        .collect();
    refers.extend(parent.map(str::to_owned));
    uses.insert(name.clone(), refers);
    for nested in &message.nested_type {
        collect(nested, &name, Some(&name), uses);
    }
    for declared in &message.enum_type {
        uses.insert(
            format!("{name}.{}", declared.name()),
            BTreeSet::from([name.clone()]),
        );
    }
}

/// Drops the messages that nothing reaches, and every option but those that change the encoding.
fn prune(messages: &mut Vec<DescriptorProto>, prefix: &str, reached: &BTreeSet<String>) {
    messages.retain(|message| reached.contains(&format!("{prefix}.{}", message.name())));
    for message in messages {
        let name = format!("{prefix}.{}", message.name());
        prune(&mut message.nested_type, &name, reached);
        message
            .enum_type
            .retain(|declared| reached.contains(&format!("{name}.{}", declared.name())));
        for declared in &mut message.enum_type {
            declared.options = None;
            declared
                .value
                .iter_mut()
                .for_each(|value| value.options = None);
        }
        message.options = message
            .options
            .as_ref()
            .and_then(|options| options.map_entry)
            .map(|map_entry| MessageOptions {
                map_entry: Some(map_entry),
                ..MessageOptions::default()
            });
        for field in &mut message.field {
            field.options = field
                .options
                .as_ref()
                .and_then(|options| options.packed)
                .map(|packed| FieldOptions {
                    packed: Some(packed),
                    ..FieldOptions::default()
                });
        }
        message
            .oneof_decl
            .iter_mut()
            .for_each(|oneof| oneof.options = None);
        (message.extension, message.extension_range) = (Vec::new(), Vec::new());
        (message.reserved_range, message.reserved_name) = (Vec::new(), Vec::new());
    }
}
