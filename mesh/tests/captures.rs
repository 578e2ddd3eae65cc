//! The measure of right: fed the captured configuration, the answers are the recorded ones of istiod 1.29.2, compared as messages.
//!
//! Clusters and endpoints of all eight nodes, listeners and routes of `portal` are equal; `captures/exceptions.tsv` names what may differ
//! and why. For the rest `captures/ratchet.tsv` holds the number of differing resources, which may only fall.
//! `CARBYNE_DIFF=portal/lds cargo test -p carbyne-mesh --test captures -- --nocapture` prints every difference of one answer.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    reason = "a test may"
)]

#[path = "captures/difference.rs"]
mod difference;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use carbyne_mesh::{
    generate::{self, Kind, Node},
    source,
};
use carbyne_protos::{
    envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse},
    json,
};
use difference::Difference;
use prost::Message as _;
use serde_json::Value;

const NODES: [&str; 8] = [
    "edge", "frontend", "gms", "kong", "portal", "postgres", "sniffed", "superset",
];
const ANSWERS: [(&str, Kind); 4] = [
    ("cds", Kind::Cluster),
    ("eds", Kind::Endpoint),
    ("lds", Kind::Listener),
    ("rds", Kind::Route),
];

/// Where the captures are: `CARBYNE_SHARED`, else beside the workspace. None (with a line that says so) when they are not there.
fn captures() -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let shared = std::env::var_os("CARBYNE_SHARED")
        .map_or_else(|| workspace.join("../shared"), PathBuf::from);
    let captures = shared.join("captures/istio-1.29");
    if captures.is_dir() {
        return Some(captures);
    }
    assert!(
        std::env::var("CI").is_err(),
        "{} is missing",
        captures.display()
    );
    println!("skipped: {} is missing", captures.display());
    None
}

fn snapshot(captures: &Path) -> Arc<source::Snapshot> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(captures.join("config"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.push(captures.join("mesh.yaml"));
    files.sort();
    Arc::new(source::read_files(&files).unwrap())
}

/// Recorded resources by name.
fn recorded(file: &Path) -> BTreeMap<String, Value> {
    let bytes = std::fs::read(file).unwrap();
    let response = DiscoveryResponse::decode(bytes.as_slice()).unwrap();
    response
        .resources
        .iter()
        .map(|resource| {
            let value = json::any_to_json(resource);
            let name = value["name"]
                .as_str()
                .or_else(|| value["cluster_name"].as_str())
                .unwrap();
            (name.to_owned(), value)
        })
        .collect()
}

/// Recorded resources of a delta answer by name, and the names said to be gone.
fn recorded_delta(file: &Path) -> (BTreeMap<String, Value>, Vec<String>) {
    let bytes = std::fs::read(file).unwrap();
    let response = DeltaDiscoveryResponse::decode(bytes.as_slice()).unwrap();
    let resources = response.resources.into_iter().map(|resource| {
        (
            resource.name,
            json::any_to_json(&resource.resource.unwrap()),
        )
    });
    (resources.collect(), response.removed_resources)
}

/// Ours for the names that were recorded (EDS, RDS) or all of them (CDS, LDS).
fn generated(
    snapshot: &Arc<source::Snapshot>,
    node: &Path,
    kind: Kind,
    names: &BTreeMap<String, Value>,
) -> BTreeMap<String, Value> {
    let node: Value = serde_json::from_slice(&std::fs::read(node).unwrap()).unwrap();
    let proxy = generate::proxy(snapshot, &Node::from_json(&node).unwrap());
    let resources = if kind.is_wildcard() {
        generate::all(&proxy, kind)
    } else {
        generate::named(&proxy, kind, names.keys().map(String::as_str))
    };
    resources
        .iter()
        .map(|resource| {
            (
                resource.name.clone(),
                json::any_to_json(&resource.encode().unwrap()),
            )
        })
        .collect()
}

/// Differences by resource; a missing or extra resource is one difference at its root.
fn compare(
    ours: &BTreeMap<String, Value>,
    theirs: &BTreeMap<String, Value>,
) -> BTreeMap<String, Vec<Difference>> {
    let mut out = BTreeMap::new();
    let mut names: Vec<&String> = ours.keys().chain(theirs.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let differences = match (ours.get(name), theirs.get(name)) {
            (Some(ours), Some(theirs)) => difference::between(ours, theirs),
            (ours, theirs) => vec![Difference::whole(ours, theirs)],
        };
        if !differences.is_empty() {
            out.insert(name.clone(), differences);
        }
    }
    out
}

/// Rows of a tab-separated file beside this test; `#` starts a comment.
fn rows(file: &str) -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/captures")
        .join(file);
    std::fs::read_to_string(path)
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .map(|line| line.split('\t').map(str::to_owned).collect())
        .collect()
}

/// Rows are `answer, resource, path, how, reason`. `order`: the array at the path is compared as a set; `value`: what is there is not
/// compared. `*` stands for any answer or resource, `#` for any index.
fn apply_exceptions(
    exceptions: &[Vec<String>],
    answer: &str,
    resources: &mut BTreeMap<String, Value>,
) {
    for row in exceptions {
        let [on, resource, path, how, _] = row.as_slice() else {
            panic!("five columns: {row:?}")
        };
        if on != answer {
            continue;
        }
        for (_, value) in resources
            .iter_mut()
            .filter(|(name, _)| resource == "*" || resource == *name)
        {
            let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
            except(value, &parts, how);
        }
    }
}

fn except(value: &mut Value, path: &[&str], how: &str) {
    match (path, value) {
        ([], Value::Array(items)) if how == "order" => items.sort_by_key(Value::to_string),
        ([], value) if how == "value" => *value = Value::Null,
        (["#", rest @ ..], Value::Array(items)) => {
            items.iter_mut().for_each(|item| except(item, rest, how))
        }
        ([key, rest @ ..], Value::Object(map)) => {
            if let Some(child) = map.get_mut(*key) {
                except(child, rest, how);
            }
        }
        _ => {}
    }
}

#[test]
fn answers_are_the_recorded_ones() {
    let Some(captures) = captures() else { return };
    let snapshot = snapshot(&captures);
    assert_eq!(
        snapshot.warnings,
        [],
        "the captured configuration has nothing to warn about"
    );
    let exceptions = rows("exceptions.tsv");
    for row in &exceptions {
        assert!(
            row.len() == 5 && !row[4].is_empty(),
            "an exception without its reason: {row:?}"
        );
    }
    let ratchet: BTreeMap<String, usize> = rows("ratchet.tsv")
        .iter()
        .map(|row| (format!("{}/{}", row[0], row[1]), row[2].parse().unwrap()))
        .collect();
    let wanted = std::env::var("CARBYNE_DIFF").unwrap_or_default();
    let mut failures = Vec::new();
    let (mut equal, mut total) = (0, 0);
    for node in NODES {
        for (answer, kind) in ANSWERS {
            let folder = captures.join("sotw").join(node);
            let mut theirs = recorded(&folder.join(format!("{answer}.pb")));
            let mut ours = generated(&snapshot, &folder.join("node.json"), kind, &theirs);
            apply_exceptions(&exceptions, answer, &mut theirs);
            apply_exceptions(&exceptions, answer, &mut ours);
            let found = compare(&ours, &theirs);
            let key = format!("{node}/{answer}");
            if wanted == key || wanted == node {
                difference::print(&key, &found);
            }
            let allowed = ratchet.get(&key).copied().unwrap_or(0);
            println!(
                "{key}: {} of {} resources differ, {allowed} allowed",
                found.len(),
                theirs.len()
            );
            equal += theirs.len().saturating_sub(found.len());
            total += theirs.len();
            if found.len() > allowed {
                failures.push(format!(
                    "{key}: {} differ, {allowed} allowed: {:?}",
                    found.len(),
                    found.keys().collect::<Vec<_>>()
                ));
            } else if found.len() < allowed {
                failures.push(format!(
                    "{key}: only {} differ now; lower the ratchet from {allowed}",
                    found.len()
                ));
            }
        }
    }
    println!("{equal} of {total} recorded resources are equal");
    let must_be_zero =
        |key: &str| key.ends_with("/cds") || key.ends_with("/eds") || key.starts_with("portal/");
    for key in ratchet.keys().filter(|key| must_be_zero(key)) {
        failures.push(format!(
            "{key}: must be equal and has no place in the ratchet"
        ));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn delta_answers_are_the_recorded_ones() {
    let Some(captures) = captures() else { return };
    let snapshot = snapshot(&captures);
    let exceptions = rows("exceptions.tsv");
    let mut total = 0;
    for node in NODES {
        for (answer, kind) in ANSWERS {
            let folder = captures.join("delta").join(node);
            let (mut theirs, removed) = recorded_delta(&folder.join(format!("{answer}.pb")));
            assert_eq!(removed, [] as [String; 0], "{node}/{answer}");
            let mut ours = generated(&snapshot, &folder.join("node.json"), kind, &theirs);
            apply_exceptions(&exceptions, answer, &mut theirs);
            apply_exceptions(&exceptions, answer, &mut ours);
            let found = compare(&ours, &theirs);
            difference::print(&format!("{node}/{answer}"), &found);
            assert!(found.is_empty(), "{node}/{answer}: {:?}", found.keys());
            total += theirs.len();
        }
    }
    println!("{total} of {total} recorded delta resources are equal");
}
