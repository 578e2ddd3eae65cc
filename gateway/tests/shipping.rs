//! A gateway that ships its own events to a real Kafka: what it answered is read back by somebody else, whatever becomes of the brokers,
//! of the process, or of a second shipper.
//!
//! The consumer is `events/tests/consumer.py`: confluent-kafka and fastavro, which know nothing of this project but its schemas.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests"
)]

#[path = "support/cases.rs"]
mod cases;
#[path = "support/gateway.rs"]
mod gateway;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use carbyne_events::broker::{Cluster, Options};
use carbyne_events::ship::{Settings, Shipper, properties};
use carbyne_events::spool::{Directory, oldest};
use carbyne_events::topics::{Access, Admin, BUILT_IN, File, Permission, Plan};
use serde_json::Value;

use gateway::{Gateway, Message, Start, Upstream, get, python};

/// A broker that was killed starts again, on a busy machine.
const RECOVERY: Duration = Duration::from_secs(90);
const PASSWORD: &str = "not in any output";
const EXAMPLE: &str = include_str!("../../deploy/examples/shipper/gateway-ships.yaml");
const YAML: &str = r#"
_format_version: "3.0"
services:
- name: orders
  url: "{upstream}"
  routes: [{name: open, paths: [/open]}]
"#;

/// One Kafka for all: it takes longer to start than they take.
#[test]
fn what_was_answered_is_read_back() {
    let bench = Bench::start();
    the_end_ships_the_rest(&bench);
    brokers_that_are_away_leave_events_owed(&bench);
    two_shippers_never_both_ship(&bench);
}

fn the_end_ships_the_rest(bench: &Bench) {
    let folder = tempfile::tempdir().unwrap();
    let gateway = bench.gateway(folder.path(), "first", &[]);
    let mut sent = bench.send(&gateway, 60);
    let acknowledged = r#"carbyne_events_acknowledged_total{topic="audit-api-calls"}"#;
    let page = until(|| {
        let page = metrics(&gateway);
        // The client tells of its brokers every five seconds.
        match (
            sample(&page, acknowledged),
            sample(&page, "carbyne_events_brokers_up"),
        ) {
            (60.0, 1.0) => Ok(page),
            other => Err(format!("{other:?}")),
        }
    });
    // In the outlet's words and the shipper's, each family once.
    let families = page.lines().filter(|line| line.starts_with("# TYPE "));
    let mut seen = BTreeSet::new();
    for family in families {
        assert!(seen.insert(family.to_owned()), "{family} comes twice");
    }
    for family in ["spooled_total", "producer_errors_total", "gaps_total"] {
        let name = format!("# TYPE carbyne_events_{family} counter");
        assert!(page.contains(&name), "{name}: {page}");
    }
    let status = gateway.ask_admin(&get("/status")).json();
    assert_eq!(status.get("warnings"), None, "{status:#}");

    // Requests go before events: the shipper and the client give way to the rest of the process.
    let threads = niceness(gateway.pid());
    let (_, own) = threads.iter().find(|(name, _)| name == "worker-0").unwrap();
    let lower = (own + 10).min(19);
    let ships = |name: &str| name == "events-shipper" || name.starts_with("rdk:");
    let (ships, rest): (Vec<_>, Vec<_>) = threads.iter().partition(|(name, _)| ships(name));
    assert!(ships.len() > 2, "{threads:?}");
    assert!(ships.iter().all(|(_, nice)| *nice == lower), "{threads:?}");
    assert!(rest.iter().all(|(_, nice)| nice == own), "{threads:?}");

    sent.extend(bench.send(&gateway, 40));
    assert!(!gateway.log().contains(PASSWORD), "{}", gateway.log());
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    assert_eq!(owed(folder.path()), None);
    let calls = bench.calls(&sent);
    assert!(calls.values().all(|count| *count == 1), "{calls:?}");
    let health = bench.read("system-health");
    let last = health.last().unwrap();
    assert_eq!(
        (&last["form"], &last["event"]["state"]),
        (&Value::from("avro"), &Value::from("stopped"))
    );
}

fn brokers_that_are_away_leave_events_owed(bench: &Bench) {
    let folder = tempfile::tempdir().unwrap();
    bench.cluster.kill(0).unwrap();
    let gateway = bench.gateway(folder.path(), "second", &[]);
    let mut sent = bench.send(&gateway, 20);
    let warned = until(|| warnings(&gateway, "events are not shipped: no broker answers"));
    assert!(!warned.contains(PASSWORD), "{warned}");
    until(|| match gateway.log() {
        log if log.contains("ERROR carbyne_gateway::shipping: events are not shipped") => Ok(()),
        log => Err(log),
    });
    // Nothing but events waits.
    sent.extend(bench.send(&gateway, 20));
    gateway.signal("KILL");
    gateway.wait();
    assert!(owed(folder.path()).is_some());

    // The next start ships what the last one owed.
    bench.cluster.revive(0).unwrap();
    let gateway = bench.gateway(folder.path(), "second", &[]);
    bench.calls(&sent);
    // The broker goes away under one that ships, and comes back.
    bench.cluster.kill(0).unwrap();
    sent.extend(bench.send(&gateway, 20));
    until(|| warnings(&gateway, "events are not shipped: "));
    bench.cluster.revive(0).unwrap();
    bench.calls(&sent);
    until(|| match gateway.log() {
        log if log.contains("events are shipped again") => Ok(()),
        log => Err(log),
    });
    gateway.signal("KILL");
    gateway.wait();
}

fn two_shippers_never_both_ship(bench: &Bench) {
    let folder = tempfile::tempdir().unwrap();
    drop(Directory::claim(folder.path(), "gateway").unwrap());
    let mut settings = Settings::new(bench.cluster.bootstrap());
    settings.client = properties(&std::fs::read_to_string(&bench.properties).unwrap()).unwrap();
    let other = Shipper::start(folder.path(), settings).unwrap();
    until(|| match other.status().spools.len() {
        1 => Ok(()),
        count => Err(format!("{count} spools")),
    });
    let gateway = bench.gateway(folder.path(), "third", &[]);
    let mut sent = bench.send(&gateway, 30);
    until(|| warnings(&gateway, "another shipper has the spool gateway-0"));
    bench.calls(&sent);
    let acknowledged = r#"carbyne_events_acknowledged_total{topic="audit-api-calls"}"#;
    assert_eq!(sample(&metrics(&gateway), acknowledged), 0.0);
    // The other one ends: the node ships for itself.
    assert!(other.drain(RECOVERY));
    other.stop();
    sent.extend(bench.send(&gateway, 30));
    let calls = bench.calls(&sent);
    assert!(calls.values().all(|count| *count == 1), "{calls:?}");
    gateway.signal("TERM");
    assert!(gateway.wait().success());
}

/// No broker listens, and the grace is a day: who says so again ends it at once, and what is owed stays.
#[test]
fn the_grace_ends_when_it_is_told_again() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::start();
    let variables = [
        ("CARBYNE_EVENTS_KAFKA", "127.0.0.1:1".to_owned()),
        ("CARBYNE_EVENTS_KAFKA_GRACE_SECONDS", "86400".to_owned()),
    ];
    let gateway = started(folder.path(), &upstream, &variables);
    assert_eq!(gateway.send(&get("/open")).status(), 200);
    gateway.signal("TERM");
    until(|| match gateway.log() {
        log if log.contains("told to stop") => Ok(()),
        log => Err(log),
    });
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    assert!(owed(folder.path()).is_some());
}

#[test]
fn what_cannot_be_followed_ends_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kafka.properties");
    let file = path.to_str().unwrap().to_owned();
    let events = folder.path().join("events").display().to_string();
    let cases: &[(&str, &[(&str, &str)], &str)] = &[
        (
            "",
            &[("CARBYNE_EVENTS_DIR", "")],
            "CARBYNE_EVENTS_KAFKA ships what is spooled, and nothing is: set CARBYNE_EVENTS_DIR",
        ),
        (
            "",
            &[("CARBYNE_EVENTS_KAFKA", "")],
            "CARBYNE_EVENTS_KAFKA_CONFIG is set, and CARBYNE_EVENTS_KAFKA is not",
        ),
        (
            "",
            &[("CARBYNE_EVENTS_KAFKA_FORM", "xml")],
            "CARBYNE_EVENTS_KAFKA_FORM is json or avro, not xml",
        ),
        (
            "not in any output\n",
            &[],
            "kafka.properties: line 1 is not NAME=VALUE",
        ),
        (
            "sasl.passwort=not in any output\n",
            &[],
            "the Kafka client does not take its settings: No such configuration property: \"sasl.passwort\"",
        ),
        (
            "security.protocol=SSL\nssl.ca.location=/nonexistent\n",
            &[],
            "the Kafka client does not take its settings: ",
        ),
    ];
    for (text, variables, expected) in cases {
        std::fs::write(&path, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_carbyne-gateway"));
        command.arg("start").env_clear();
        command
            .env("KONG_PREFIX", folder.path().join("prefix"))
            .env("KONG_DATABASE", "off")
            .env("KONG_PROXY_LISTEN", "127.0.0.1:0")
            .env("KONG_ADMIN_LISTEN", "off")
            .env("KONG_STATUS_LISTEN", "off")
            .env("CARBYNE_EVENTS_DIR", &events)
            .env("CARBYNE_EVENTS_KAFKA", "127.0.0.1:1")
            .env("CARBYNE_EVENTS_KAFKA_CONFIG", &file)
            .envs(variables.iter().copied());
        let output = command.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(expected), "{expected}: {said}");
        assert!(!said.contains(PASSWORD), "{said}");
    }
}

/// A Kafka with the topics of Carbyne's events, at which one must say who one is.
struct Bench {
    cluster: Cluster,
    upstream: Upstream,
    properties: PathBuf,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn start() -> Self {
        let options = Options {
            user: Some(("gateway".to_owned(), PASSWORD.to_owned())),
            ..Options::default()
        };
        let cluster = Cluster::start(&options).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kafka.properties");
        let text = format!(
            "# As whom.\nsecurity.protocol=SASL_PLAINTEXT\nsasl.mechanisms=PLAIN\nsasl.username=gateway\nsasl.password={PASSWORD}\n"
        );
        std::fs::write(&path, &text).unwrap();
        let admin = Admin::new(Access {
            bootstrap: cluster.bootstrap(),
            properties: properties(&text).unwrap(),
            limit: RECOVERY,
        });
        let admin = admin.unwrap();
        let desired = File::read(BUILT_IN).unwrap().desired(None).unwrap();
        let state = admin.state(|_| true).unwrap();
        let plan = Plan::new(&desired, &state, &Permission::default());
        plan.apply(&admin, &desired, RECOVERY, |_| ()).unwrap();
        Self {
            cluster,
            upstream: Upstream::start(),
            properties: path,
            _folder: folder,
        }
    }

    /// A gateway with the environment of the example, but for where things are.
    fn gateway(&self, events: &Path, node: &str, more: &[(&'static str, String)]) -> Gateway {
        let example: Value = serde_saphyr::from_str(EXAMPLE).unwrap();
        let pod = &example["spec"]["template"]["spec"];
        let told = pod["containers"][0]["env"].as_array().unwrap().iter();
        let told = told.filter_map(|variable| {
            let (name, value) = (variable["name"].as_str()?, variable["value"].as_str()?);
            let here = match name {
                "CARBYNE_EVENTS_DIR" => return None,
                "CARBYNE_EVENTS_KAFKA" => self.cluster.bootstrap(),
                "CARBYNE_EVENTS_KAFKA_CONFIG" => self.properties.display().to_string(),
                name if name.starts_with("CARBYNE_") => value.to_owned(),
                // The suite's own way to start one.
                _ => return None,
            };
            Some((&*name.to_owned().leak(), here))
        });
        let mut variables: Vec<(&'static str, String)> = told.collect();
        assert_eq!(variables.len(), 5, "{variables:?}");
        variables.push(("POD_NAME", node.to_owned()));
        variables.extend_from_slice(more);
        started(events, &self.upstream, &variables)
    }

    /// Sends requests; the ids that the gateway gave them.
    fn send(&self, gateway: &Gateway, count: usize) -> BTreeSet<String> {
        let mut client = gateway.client();
        let answers: Vec<Message> = (0..count).map(|_| client.send(&get("/open"))).collect();
        assert!(answers.iter().all(|answer| answer.status() == 200));
        let ids: BTreeSet<String> = answers
            .iter()
            .map(|answer| answer.header("x-kong-request-id").unwrap().to_owned())
            .collect();
        assert_eq!(ids.len(), count);
        ids
    }

    /// How often each of these requests is in its topic, once all are there; what has one `ce_id` is one.
    fn calls(&self, sent: &BTreeSet<String>) -> BTreeMap<String, usize> {
        until(|| {
            let mut ids = BTreeMap::<String, BTreeSet<String>>::new();
            let mut calls = BTreeMap::<String, usize>::new();
            for record in self.read("audit-api-calls") {
                let id = record["event"]["request_id"].as_str().unwrap().to_owned();
                if sent.contains(&id) {
                    *calls.entry(id.clone()).or_default() += 1;
                    let event = record["headers"]["ce_id"].to_string();
                    ids.entry(id).or_default().insert(event);
                }
            }
            assert!(ids.values().all(|ids| ids.len() == 1), "{ids:?}");
            match sent.len() - calls.len() {
                0 => Ok(calls),
                missing => Err(format!("{missing} of {} are missing", sent.len())),
            }
        })
    }

    fn read(&self, topic: &str) -> Vec<Value> {
        let consumer = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events/tests/consumer.py");
        let mut command = Command::new("timeout");
        command.arg("60").arg(python()).arg(consumer);
        command.args([&self.cluster.bootstrap(), topic, "--seconds", "50"]);
        let text = std::fs::read_to_string(&self.properties).unwrap();
        for (name, value) in properties(&text).unwrap() {
            command.arg("-X").arg(format!("{name}={value}"));
        }
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    }
}

fn started(events: &Path, upstream: &Upstream, variables: &[(&'static str, String)]) -> Gateway {
    let mut start = Start {
        yaml: Some(YAML.replace("{upstream}", &upstream.url())),
        variables: variables.to_vec(),
        ..Start::default()
    };
    let folder = events.display().to_string();
    start.variables.push(("CARBYNE_EVENTS_DIR", folder));
    Gateway::start(start)
}

fn metrics(gateway: &Gateway) -> String {
    gateway.ask_admin(&get("/metrics")).text()
}

#[track_caller]
fn sample(page: &str, name: &str) -> f64 {
    let mut lines = page.lines().filter_map(|line| line.strip_prefix(name));
    let value = lines.find_map(|rest| rest.strip_prefix(' '));
    let value = value.unwrap_or_else(|| panic!("no {name}: {page}"));
    value.parse().unwrap()
}

/// The node's warnings, once one of them begins so.
fn warnings(gateway: &Gateway, wanted: &str) -> Result<String, String> {
    let status = gateway.ask_admin(&get("/status")).json();
    let found = status["warnings"].as_array().into_iter().flatten();
    let mut found = found.filter_map(Value::as_str);
    let found = found.find(|warning| warning.starts_with(wanted));
    found.map(str::to_owned).ok_or_else(|| status.to_string())
}

/// When the oldest event was that no broker has.
fn owed(events: &Path) -> Option<u64> {
    oldest(&Directory::new(events.join("gateway-0")))
}

/// Names and niceness of a process's threads.
fn niceness(pid: u32) -> Vec<(String, i32)> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let threads = tasks.filter_map(|task| {
        let path = task.ok()?.path();
        // One that has ended meanwhile is none.
        let name = std::fs::read_to_string(path.join("comm")).ok()?;
        let stat = std::fs::read_to_string(path.join("stat")).ok()?;
        // proc(5): the 19th field; the second is in brackets and may hold anything.
        let nice = stat.rsplit(')').next()?.split_whitespace().nth(16)?;
        Some((name.trim().to_owned(), nice.parse().ok()?))
    });
    threads.collect()
}

#[track_caller]
fn until<T>(mut look: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + RECOVERY;
    loop {
        match look() {
            Ok(found) => return found,
            Err(why) => assert!(Instant::now() < end, "{why}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
