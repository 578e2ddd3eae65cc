//! From files to typed resources: every error of every file, every unknown field, each with its position.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    document::{self, Document},
    index::{Raw, Snapshot},
    problem::{Errors, Kind as ProblemKind, Problem},
    validate::{self, Report},
};
use crate::model::{Config, MeshConfig, Meta, Origin};

/// Reads all `*.yaml`, `*.yml` and `*.json` files of a folder and its sub-folders, in name order; [`OTHERS`] are not the mesh's.
///
/// # Errors
/// Everything that is wrong in any of them.
pub fn read_folder(folder: &Path) -> Result<Snapshot, Errors> {
    let mut files = Vec::new();
    let mut errors = Vec::new();
    list(folder, &mut files, &mut errors);
    files.sort();
    if files.is_empty() && errors.is_empty() {
        errors.push(Problem::file(
            folder.to_owned(),
            "no .yaml file is here".to_owned(),
        ));
    }
    read(&files, errors)
}

/// Reads the given files.
///
/// # Errors
/// Everything that is wrong in any of them.
pub fn read_files(files: &[PathBuf]) -> Result<Snapshot, Errors> {
    read(files, Vec::new())
}

fn read(files: &[PathBuf], mut errors: Vec<Problem>) -> Result<Snapshot, Errors> {
    let mut texts = Vec::new();
    for path in files {
        match std::fs::read_to_string(path) {
            Ok(text) => texts.push((path.clone(), text)),
            Err(error) => errors.push(Problem::file(
                path.clone(),
                format!("cannot be read: {error}"),
            )),
        }
    }
    let examined = examine(&texts, errors);
    if examined.errors.is_empty() {
        Ok(examined.snapshot)
    } else {
        Err(Errors(examined.errors))
    }
}

/// What files hold, for those who look at it rather than serve it.
#[derive(Debug)]
pub struct Examined {
    /// Everything that could be read; its warnings are about all of it.
    pub snapshot: Snapshot,
    /// What is wrong, in the order of files and lines. Where there is any, the snapshot lacks something.
    pub errors: Vec<Problem>,
    /// By file, line and column of their first key.
    documents: HashMap<(Arc<PathBuf>, usize, usize), Document>,
}

impl Examined {
    /// Where a path of a resource was written (`/spec/http/0`); the nearest known parent if it was not.
    #[must_use]
    pub fn place(&self, resource: &Origin, pointer: &str) -> Origin {
        let key = (Arc::clone(&resource.file), resource.line, resource.column);
        self.documents
            .get(&key)
            .map_or_else(|| resource.clone(), |document| document.origin(pointer))
    }

    /// Documents of other APIs: a ConfigMap, a Deployment.
    pub fn others(&self) -> impl Iterator<Item = &Value> {
        self.documents
            .values()
            .map(|document| &document.value)
            .filter(|value| {
                let api = value.get("apiVersion").and_then(Value::as_str);
                api.is_some_and(|api| !group(api).ends_with("istio.io"))
            })
    }
}

/// Reads files that are in memory already, to the end whatever is wrong in them; `errors` is what is known to be wrong before.
#[must_use]
pub fn examine(files: &[(PathBuf, String)], mut errors: Vec<Problem>) -> Examined {
    let mut raw = Raw::default();
    let mut digest = DefaultHasher::new();
    let mut documents = HashMap::new();
    for (path, text) in files {
        (path, text).hash(&mut digest);
        let file = Arc::new(path.clone());
        for document in document::read(&file, text, &mut errors) {
            resource(&document, &mut raw, &mut errors);
            let Origin { file, line, column } = document.origin("");
            documents.insert((file, line, column), document);
        }
    }
    raw.digest = digest.finish();
    validate::across(&mut raw, &mut errors);
    let mut examined = Examined {
        snapshot: Snapshot::new(raw),
        errors,
        documents,
    };
    // What was found with all resources together knows the resource and the path; here is its line.
    let mut warnings = std::mem::take(&mut examined.snapshot.warnings);
    for warning in &mut warnings {
        let pointer = pointer(&warning.path);
        warning.origin = examined.place(&warning.origin, &pointer);
    }
    let key = |problem: &Problem| {
        (
            Arc::clone(&problem.origin.file),
            problem.origin.line,
            problem.origin.column,
        )
    };
    warnings.sort_by_key(key);
    examined.errors.sort_by_key(key);
    examined.snapshot.warnings = warnings;
    examined
}

fn list(folder: &Path, files: &mut Vec<PathBuf>, errors: &mut Vec<Problem>) {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            errors.push(Problem::file(
                folder.to_owned(),
                format!("cannot be read: {error}"),
            ));
            return;
        }
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        let other = OTHERS.iter().any(|name| entry.file_name() == *name);
        if hidden || other {
            continue;
        }
        if path.is_dir() {
            list(&path, files, errors);
        } else if path.extension().is_some_and(|extension| {
            ["yaml", "yml", "json"]
                .iter()
                .any(|known| extension == *known)
        }) {
            files.push(path);
        }
    }
}

fn group(api: &str) -> &str {
    api.split('/').next().unwrap_or_default()
}

/// Reads one document into its place.
fn resource(document: &Document, raw: &mut Raw, errors: &mut Vec<Problem>) {
    let Value::Object(map) = &document.value else {
        errors.push(Problem::at(
            &document.origin(""),
            "a resource (a mapping) was expected".to_owned(),
        ));
        return;
    };
    let text = |key: &str| map.get(key).and_then(Value::as_str).unwrap_or_default();
    let (kind, api) = (text("kind"), text("apiVersion"));
    if kind.is_empty() && api.is_empty() {
        if raw.mesh.is_some() {
            let message = "a second document without `kind`: there is one MeshConfig";
            errors.push(Problem::at(&document.origin(""), message.to_owned()));
            return;
        }
        raw.mesh = typed::<MeshConfig>(document, "", errors, &mut raw.warnings);
        if let Some(mesh) = &mut raw.mesh {
            mesh.domain = "cluster.local".to_owned();
            validate::mesh(mesh, &mut Report::new(document, errors));
        }
        return;
    }
    macro_rules! place {
        ($list:ident, $check:path) => {{
            let before = errors.len();
            let meta = meta(document, errors, &mut raw.warnings);
            let spec = typed(document, "/spec", errors, &mut raw.warnings);
            if let (Some(meta), Some(spec), true) = (meta, spec, errors.len() == before) {
                $check(&spec, &mut Report::new(document, errors));
                let origin = document.origin("");
                raw.$list.push(Config { meta, spec, origin });
            }
        }};
    }
    let group = group(api);
    match (group, kind) {
        ("networking.istio.io", "ServiceEntry") => place!(service_entries, validate::service_entry),
        ("networking.istio.io", "WorkloadEntry") => {
            place!(workload_entries, validate::workload_entry)
        }
        ("networking.istio.io", "VirtualService") => {
            place!(virtual_services, validate::virtual_service)
        }
        ("networking.istio.io", "DestinationRule") => {
            place!(destination_rules, validate::destination_rule)
        }
        ("networking.istio.io", "Gateway") => place!(gateways, validate::gateway),
        ("networking.istio.io", "Sidecar") => place!(sidecars, validate::sidecar),
        ("networking.istio.io", "EnvoyFilter") => place!(envoy_filters, validate::envoy_filter),
        ("security.istio.io", "PeerAuthentication") => {
            place!(peer_authentications, validate::peer_authentication)
        }
        ("security.istio.io", "AuthorizationPolicy") => {
            place!(authorization_policies, validate::authorization_policy)
        }
        ("security.istio.io", "RequestAuthentication") => {
            place!(request_authentications, validate::request_authentication)
        }
        ("telemetry.istio.io", "Telemetry") => place!(telemetries, validate::telemetry),
        _ => {
            let origin = document.origin("/kind");
            if group.ends_with("istio.io") {
                // An Istio resource that changes what proxies do must not be dropped in silence.
                let message = format!("{api} {kind} is not served by this control plane");
                errors.push(Problem::at(&origin, message).kind(ProblemKind::NotServed));
            } else {
                let message = format!("{api} {kind} is not Istio's and is not read");
                raw.warnings
                    .push(Problem::at(&origin, message).kind(ProblemKind::NotIstio));
            }
        }
    }
}

fn meta(
    document: &Document,
    errors: &mut Vec<Problem>,
    warnings: &mut Vec<Problem>,
) -> Option<Meta> {
    let mut ignored = Vec::new();
    let meta = typed::<Meta>(document, "/metadata", errors, &mut ignored);
    // Kubernetes writes much more into metadata than concerns us.
    drop(ignored);
    let mut meta = meta?;
    if meta.name.is_empty() {
        errors.push(Problem {
            path: "metadata.name".to_owned(),
            ..Problem::at(
                &document.origin("/metadata"),
                "a name is missing".to_owned(),
            )
        });
        return None;
    }
    if meta.namespace.is_empty() {
        warnings.push(Problem {
            path: "metadata.namespace".to_owned(),
            ..Problem::at(
                &document.origin("/metadata"),
                "no namespace: `default` is taken".to_owned(),
            )
            .kind(ProblemKind::NoNamespace)
        });
        "default".clone_into(&mut meta.namespace);
    }
    Some(meta)
}

/// Reads one part of a document. A wrong value is noted, taken out, and the rest is read again, so that all are found.
fn typed<T: DeserializeOwned>(
    document: &Document,
    base: &str,
    errors: &mut Vec<Problem>,
    warnings: &mut Vec<Problem>,
) -> Option<T> {
    let empty = Value::Object(serde_json::Map::new());
    let mut value = document.value.pointer(base).cloned().unwrap_or(empty);
    if value.is_null() {
        value = Value::Object(serde_json::Map::new());
    }
    strip_nulls(&mut value);
    let mut failed = false;
    for _ in 0..MAX_ERRORS {
        let mut unknown = Vec::new();
        let mut track = serde_path_to_error::Track::new();
        let deserializer = serde_path_to_error::Deserializer::new(&value, &mut track);
        let result =
            serde_ignored::deserialize(deserializer, |path| unknown.push(ignored_pointer(&path)));
        let error = match result {
            Ok(read) => {
                for pointer in unknown {
                    let whole = format!("{base}{pointer}");
                    warnings.push(Problem {
                        path: dotted(&whole),
                        ..Problem::at(
                            &document.origin(&whole),
                            "this field is not known and has no effect".to_owned(),
                        )
                        .kind(ProblemKind::UnknownField)
                    });
                }
                return (!failed).then_some(read);
            }
            Err(error) => error,
        };
        failed = true;
        let pointer = error_pointer(&track.path());
        let whole = format!("{base}{pointer}");
        errors.push(Problem {
            path: dotted(&whole),
            ..Problem::at(&document.origin(&whole), error.to_string())
        });
        if !take_out(&mut value, &pointer) {
            return None;
        }
    }
    None
}

/// `field:` with nothing behind it means the default.
fn strip_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, child| !child.is_null());
            map.values_mut().for_each(strip_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}

fn take_out(value: &mut Value, pointer: &str) -> bool {
    let Some((parent, key)) = pointer.rsplit_once('/') else {
        return false;
    };
    match value.pointer_mut(parent) {
        Some(Value::Object(map)) => map.remove(key).is_some(),
        Some(Value::Array(items)) => match key.parse::<usize>() {
            Ok(index) if index < items.len() => {
                items.remove(index);
                true
            }
            _ => false,
        },
        _ => false,
    }
}

fn ignored_pointer(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}/{index}", ignored_pointer(parent)),
        Path::Map { parent, key } => format!("{}/{key}", ignored_pointer(parent)),
        Path::Some { parent }
        | Path::NewtypeStruct { parent }
        | Path::NewtypeVariant { parent } => ignored_pointer(parent),
    }
}

fn error_pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => pointer.push_str(&format!("/{key}")),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}

/// The way back: what [`dotted`] made of a pointer.
fn pointer(path: &str) -> String {
    let mut out = String::new();
    for part in path.split(['.', '[', ']']).filter(|part| !part.is_empty()) {
        out.push('/');
        out.push_str(part);
    }
    out
}

/// `/spec/ports/0/number` as people write it: `spec.ports[0].number`.
pub(super) fn dotted(pointer: &str) -> String {
    let mut out = String::new();
    for part in pointer.split('/').filter(|part| !part.is_empty()) {
        if part.bytes().all(|byte| byte.is_ascii_digit()) {
            out.push_str(&format!("[{part}]"));
        } else {
            if !out.is_empty() {
                out.push('.');
            }
            out.push_str(part);
        }
    }
    out
}

/// What a folder may hold beside Istio's resources: the gateway's configuration, and topics of events.
pub const OTHERS: [&str; 4] = ["kong.yml", "kong.yaml", "topics.yaml", "topics.yml"];
const MAX_ERRORS: usize = 50;

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
