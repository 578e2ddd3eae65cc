//! Turns `descriptors/closure.binpb` into the crate's types and into the static schema that the JSON printer, the JSON
//! parser and the search for undecoded content walk. What the descriptors are and how they are made: `closure/`.

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::fmt::Write as _;
use std::path::PathBuf;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=descriptors");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let set = FileDescriptorSet::decode(std::fs::read("descriptors/closure.binpb")?.as_slice())?;
    let sensitive = std::fs::read_to_string("descriptors/sensitive.txt")?;
    let sensitive: BTreeSet<&str> = sensitive.lines().collect();

    std::fs::write(out.join("schema_tables.rs"), tables(&set, &sensitive)?)?;
    prost_build::Config::new()
        .enable_type_names()
        .type_name_domain(["."], "type.googleapis.com")
        .btree_map(["."])
        .skip_debug([".envoy.config.core.v3.DataSource"])
        .include_file("protos.rs")
        .compile_fds(set)?;
    Ok(())
}

/// The static tables of `schema.rs`: messages and enums sorted by full name, fields by number.
fn tables(set: &FileDescriptorSet, sensitive: &BTreeSet<&str>) -> Result<String, Box<dyn Error>> {
    let (mut messages, mut enums) = (Vec::new(), Vec::new());
    for file in &set.file {
        // Only proto3 and proto2 files exist; in proto2 every singular field has presence.
        let explicit = file.syntax() != "proto3";
        for message in &file.message_type {
            gather(message, file.package(), explicit, &mut messages, &mut enums);
        }
        enums.extend(
            file.enum_type
                .iter()
                .map(|declared| (format!("{}.{}", file.package(), declared.name()), declared)),
        );
    }
    messages.sort_by(|left, right| left.0.cmp(&right.0));
    enums.sort_by(|left, right| left.0.cmp(&right.0));
    let indexes: HashMap<String, usize> = (messages
        .iter()
        .enumerate()
        .map(|(at, message)| (format!(".{}", message.0), at)))
    .chain(
        enums
            .iter()
            .enumerate()
            .map(|(at, declared)| (format!(".{}", declared.0), at)),
    )
    .collect();
    let entries: BTreeSet<String> = (messages.iter())
        .filter(|message| {
            message
                .1
                .options
                .as_ref()
                .is_some_and(|options| options.map_entry())
        })
        .map(|message| format!(".{}", message.0))
        .collect();

    let mut names = Names::default();
    let (mut message_rows, mut field_rows) = (String::new(), String::new());
    let (mut enum_rows, mut value_rows) = (String::new(), String::new());
    let (mut first_field, mut first_value) = (0, 0);
    for (name, message, explicit) in &messages {
        let shape = shape(name, entries.contains(&format!(".{name}")));
        let count = message.field.len();
        writeln!(
            message_rows,
            "Message{{name:{},shape:Shape::{shape},fields:Run({first_field},{count})}},",
            names.add(name)?,
        )?;
        first_field += count;
        let mut fields: Vec<&FieldDescriptorProto> = message.field.iter().collect();
        fields.sort_by_key(|field| field.number());
        for field in fields {
            let one_of = match field.oneof_index {
                Some(index) if !field.proto3_optional() => index + 1,
                _ => 0,
            };
            let label = if field.label() == Label::Repeated {
                if entries.contains(field.type_name()) {
                    "Map"
                } else {
                    "Repeated"
                }
            } else if *explicit || field.oneof_index.is_some() || field.r#type() == Type::Message {
                "Explicit"
            } else {
                "Implicit"
            };
            writeln!(
                field_rows,
                "Field{{name:{},json_name:{},number:{},kind:{},label:Label::{label},one_of:{one_of},sensitive:{}}},",
                names.add(field.name())?,
                names.add(field.json_name())?,
                field.number(),
                kind(field, &indexes)?,
                sensitive.contains(format!("{name}.{}", field.name()).as_str()),
            )?;
        }
    }
    for (name, declared) in &enums {
        let count = declared.value.len();
        let name = names.add(name)?;
        writeln!(
            enum_rows,
            "Enum{{name:{name},values:Run({first_value},{count})}},"
        )?;
        first_value += count;
        for value in &declared.value {
            let name = names.add(value.name())?;
            writeln!(value_rows, "({name},{}),", value.number())?;
        }
    }
    Ok(format!(
        "static MESSAGES: &[Message] = &[\n{message_rows}];\nstatic FIELDS: &[Field] = &[\n{field_rows}];\n\
         static ENUMS: &[Enum] = &[\n{enum_rows}];\nstatic VALUES: &[(Name, i32)] = &[\n{value_rows}];\n\
         static NAMES: &str = {:?};\n",
        names.text
    ))
}

/// All names one after the other, each once.
#[derive(Default)]
struct Names {
    text: String,
    known: HashMap<String, usize>,
}

impl Names {
    /// The expression of `schema::Name` that stands for a name.
    fn add(&mut self, name: &str) -> Result<String, Box<dyn Error>> {
        let start = match self.known.get(name) {
            Some(start) => *start,
            None => {
                let start = self.text.len();
                self.text.push_str(name);
                self.known.insert(name.to_owned(), start);
                start
            }
        };
        Ok(format!("Name({start},{})", u8::try_from(name.len())?))
    }
}

/// Lists a message and what is nested in it under full names without the leading dot.
fn gather<'a>(
    message: &'a DescriptorProto,
    prefix: &str,
    explicit: bool,
    messages: &mut Vec<(String, &'a DescriptorProto, bool)>,
    enums: &mut Vec<(String, &'a EnumDescriptorProto)>,
) {
    let name = format!("{prefix}.{}", message.name());
    for nested in &message.nested_type {
        gather(nested, &name, explicit, messages, enums);
    }
    enums.extend(
        message
            .enum_type
            .iter()
            .map(|declared| (format!("{name}.{}", declared.name()), declared)),
    );
    messages.push((name, message, explicit));
}

/// Which JSON form a message has (proto3-JSON, "JSON Mapping").
fn shape(name: &str, map_entry: bool) -> &'static str {
    match name.strip_prefix("google.protobuf.") {
        Some("Any") => "Any",
        Some("Struct") => "Struct",
        Some("Value") => "Value",
        Some("ListValue") => "ListValue",
        Some("Duration") => "Duration",
        Some("Timestamp") => "Timestamp",
        Some("FieldMask") => "FieldMask",
        Some(
            "BoolValue" | "BytesValue" | "DoubleValue" | "FloatValue" | "Int32Value" | "Int64Value"
            | "StringValue" | "UInt32Value" | "UInt64Value",
        ) => "Wrapper",
        _ if map_entry => "MapEntry",
        _ => "Plain",
    }
}

/// A field's type as an expression of `schema::Kind`.
fn kind(
    field: &FieldDescriptorProto,
    indexes: &HashMap<String, usize>,
) -> Result<String, Box<dyn Error>> {
    let index = || {
        indexes
            .get(field.type_name())
            .ok_or_else(|| format!("{} is not in the set", field.type_name()))
    };
    Ok(match field.r#type() {
        Type::Message => format!("Kind::Message({})", index()?),
        Type::Enum => format!("Kind::Enum({})", index()?),
        Type::Group => return Err(format!("{} is a group", field.name()).into()),
        scalar => format!("Kind::{scalar:?}"),
    })
}
