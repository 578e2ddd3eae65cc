//! What the topics hold, against what clients wrote down.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    env,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use super::{
    load::{Answered, Request},
    shipper,
};

/// One node's events, as somebody else's reader found them.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    answered: Answered,
    /// By the request's id: its trace and its status, as often as events tell of it.
    calls: HashMap<String, Vec<(String, u64)>>,
    /// By its trace: at which stages an operation was told.
    operations: HashMap<String, Vec<String>>,
    /// Of each key the versions, in the order of its partition.
    versions: BTreeMap<String, Vec<u64>>,
    /// Messages that came once more under a `ce_id` that was there.
    duplicates: u64,
    /// What `carbyne events verify` says of the node's producers.
    proof: Proof,
}

#[derive(Debug, Default)]
struct Proof {
    emitted: u64,
    found: u64,
    duplicates: u64,
    gaps: Vec<Value>,
    open: Vec<String>,
}

impl Trail {
    pub(crate) fn read(node: &str, events: &Path, bootstrap: &str, answered: Answered) -> Self {
        let mut trail = Self {
            answered,
            proof: Proof::read(node, events, bootstrap),
            ..Self::default()
        };
        let mut seen = HashSet::new();
        for topic in [
            "audit-api-calls",
            "audit-admin-operations",
            "config-changes",
        ] {
            consume(bootstrap, topic, |message| {
                let id = message["headers"]["ce_id"].as_str().unwrap();
                if !id.starts_with(&format!("{node}/")) {
                    return;
                }
                if seen.insert(id.to_owned()) {
                    trail.note(topic, &message);
                } else {
                    trail.duplicates += 1;
                }
            });
        }
        trail
    }

    fn note(&mut self, topic: &str, message: &Value) {
        let event = &message["event"];
        let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
        match topic {
            "audit-api-calls" => {
                let status = event["status"].as_u64().unwrap();
                let told = self.calls.entry(text("request_id")).or_default();
                told.push((text("trace_id"), status));
            }
            "audit-admin-operations" => {
                let told = self.operations.entry(text("trace_id")).or_default();
                told.push(text("stage"));
            }
            _ => {
                // Nothing is removed here, and the store counts its versions.
                let key = message["key"].as_str().unwrap().to_owned();
                let version = event["version"].as_u64().unwrap();
                self.versions.entry(key).or_default().push(version);
            }
        }
    }

    /// Requests that were answered and are not found, or not as they were.
    fn missing(&self) -> Vec<&Request> {
        let requests = self.answered.requests.iter();
        let missing = requests.filter(|request| {
            let told = self.calls.get(&request.id).map(Vec::as_slice);
            !matches!(told, Some([(trace, status)]) if *trace == request.trace && *status == u64::from(request.status))
        });
        missing.collect()
    }

    pub(crate) fn print(&self, row: &str, acknowledged: u64) {
        let line = format!(
            "ledger · {row}: answered {} and {} operations · emitted {} · acknowledged {acknowledged} · found {} and {} operations · missing {} · duplicates {} (gone by ce_id) · verify: {} gaps of {} events, {} duplicates\n",
            self.answered.requests.len(),
            self.answered.operations.len(),
            self.proof.emitted,
            self.calls.len(),
            self.operations.len(),
            self.missing().len(),
            self.duplicates,
            self.proof.gaps.len(),
            self.proof.found,
            self.proof.duplicates,
        );
        // Past the capture of the test's output: the table is what the suite is for.
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }

    pub(crate) fn is_complete(&self) {
        let missing = self.missing();
        assert!(
            missing.is_empty(),
            "{} were answered and are not told exactly once, such as {:?}",
            missing.len(),
            missing[0]
        );
        let more = self.calls.values().filter(|told| told.len() > 1);
        assert_eq!(more.count(), 0, "requests are told by two events");
        for trace in &self.answered.operations {
            let told = self.operations.get(trace).map(Vec::as_slice);
            // Different events of one key: in this order.
            assert!(
                matches!(told, Some([first, second]) if first == "requested" && second == "completed"),
                "operation {trace}: {told:?}"
            );
        }
        assert!(self.versions.len() >= 3, "{:?}", self.versions.keys());
        // A change whose telling a kill cut off is told once more by the next start.
        for (key, versions) in &self.versions {
            assert!(versions.is_sorted(), "{key} is out of order: {versions:?}");
        }
        let proof = &self.proof;
        assert!(proof.gaps.is_empty(), "{:?}", proof.gaps);
        assert!(proof.open.is_empty(), "not closed: {:?}", proof.open);
        assert_eq!(proof.found, proof.emitted);
    }
}

impl Proof {
    fn read(node: &str, events: &Path, bootstrap: &str) -> Self {
        let verified = shipper::verify(events, bootstrap);
        let mut proof = Self::default();
        for producer in verified["producers"].as_array().unwrap() {
            let name = producer["producer"].as_str().unwrap();
            if !name.starts_with(&format!("{node}/")) {
                continue;
            }
            proof.emitted += producer["last"].as_u64().unwrap();
            proof.found += producer["found"].as_u64().unwrap();
            proof.duplicates += producer["duplicates"].as_u64().unwrap();
            let gaps = producer["gaps"].as_array().unwrap();
            proof.gaps.extend(gaps.iter().cloned());
            if producer["closed"] != true {
                proof.open.push(format!("{name} {}", producer["epoch"]));
            }
        }
        proof
    }
}

/// Every message of a topic, partition by partition in order, decoded by its schema.
fn consume(bootstrap: &str, topic: &str, mut each: impl FnMut(Value)) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events/tests/consumer.py");
    let mut reader = Command::new(python())
        .arg(script)
        .args([bootstrap, topic, "--seconds", "300"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    for line in BufReader::new(reader.stdout.take().unwrap()).lines() {
        each(serde_json::from_str(&line.unwrap()).unwrap());
    }
    assert!(reader.wait().unwrap().success(), "{topic} cannot be read");
}

/// The Python of the environment that holds the peers written in it.
fn python() -> PathBuf {
    let cache = env::var_os("CARBYNE_CACHE").map_or_else(
        || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache/carbyne"),
        PathBuf::from,
    );
    let venv = env::var_os("CARBYNE_VENV").map_or_else(|| cache.join("venv"), PathBuf::from);
    let program = venv.join("bin/python");
    assert!(
        program.exists(),
        "no Python environment at {}: run `.ci/setup test`",
        venv.display()
    );
    program
}
