//! `carbyne up` with a real Kafka: what the gateway answered is read back from the topics by somebody else, whatever is killed meanwhile.
//!
//! The consumer is `events/tests/consumer.py`: confluent-kafka and fastavro, which know nothing of this project but its schemas.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test, all of it; the configuration allows this only inside the test functions themselves"
)]

#[path = "up/running.rs"]
#[expect(dead_code, reason = "shared with the other suites, which use the rest")]
mod running;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use running::{Up, carbyne, example, real, shell, stand_in, within};

/// A broker that was killed starts again, on a busy machine.
const RECOVERY: Duration = Duration::from_secs(90);

#[test]
fn what_was_answered_is_read_back_by_somebody_else() {
    let keep = tempfile::tempdir().unwrap();
    let kept = keep.path().display().to_string();
    let more = ["--with-kafka", "--kafka-form", "avro", "--keep", &kept];
    let mut up = Up::start_with(example(21), &real(), &more);
    let tries = up.guide();
    let mut platform = Platform::of(&up);
    let [accepted, keyless, denied] = [0, 1, 2].map(|index| tries[index].command.clone());
    let mut sent = BTreeMap::new();
    for _ in 0..40 {
        sent.insert(call(&accepted), 200);
    }
    for _ in 0..10 {
        sent.insert(call(&keyless), 401);
    }
    for _ in 0..5 {
        sent.insert(call(&denied), 403);
    }
    let sent: BTreeMap<String, u64> = sent
        .into_iter()
        .map(|((status, id), expected)| {
            assert_eq!(status, expected, "{id}");
            (id, expected)
        })
        .collect();
    assert_eq!(sent.len(), 55, "every request has an id of its own");

    // Every request once, as its schema says.
    let calls = platform.calls(&sent);
    for (id, status) in &sent {
        let [record] = calls[id].as_slice() else {
            panic!("{id} is there {} times", calls[id].len());
        };
        let (event, headers) = (&record["event"], &record["headers"]);
        assert_eq!(record["form"], "avro", "{record:#}");
        assert_eq!(headers["ce_specversion"], "1.0", "{record:#}");
        assert_eq!(headers["ce_type"], "carbyne.audit.api-call", "{record:#}");
        assert_eq!(event["status"], *status, "{record:#}");
        assert_eq!(event["method"], "GET", "{record:#}");
        assert_eq!(event["route_name"], "portal", "{record:#}");
        assert_eq!(event["path_template"], "/portal", "{record:#}");
        let (consumer, by, tries) = match status {
            401 => (Value::Null, "plugin", 0),
            _ => (Value::from("shop"), "service", 1),
        };
        assert_eq!(event["consumer_name"], consumer, "{record:#}");
        assert_eq!(event["answered_by"], by, "{record:#}");
        assert_eq!(event["tries"], tries, "{record:#}");
        assert!(event["latency_total_us"].as_u64() > Some(0), "{record:#}");
        assert!(!record.to_string().contains("key-of-the"), "{record:#}");
    }

    // Refusals, told together where they are alike: the gateway's and billing's sidecar's.
    let refusals = |events: &[Value], component: &str, reason: &str| -> u64 {
        let of = events.iter().map(|record| &record["event"]);
        of.filter(|event| event["component"] == component && event["reason"] == reason)
            .filter_map(|event| event["count"].as_u64())
            .sum()
    };
    let mut events = Vec::new();
    within(RECOVERY, || {
        events = platform.read("security-events")?;
        let count = |component, reason| refusals(&events, component, reason);
        match (
            count("carbyne-gateway", "authentication_missing"),
            count("carbyne-proxy", "policy_denied"),
        ) {
            (10, 5) => Ok(()),
            counts => Err(format!("{counts:?}: {events:#?}")),
        }
    });
    let policy = |record: &Value| {
        let policy = record["event"]["policy"].as_str().unwrap_or_default();
        policy.contains("billing-not-portal")
    };
    assert!(events.iter().any(policy), "{events:#?}");

    // Nothing is missing, in spool and topics; the topics are as the folder says.
    platform.is_complete();
    let (code, said) = platform.carbyne(&["topics", "check"]);
    assert!(
        code == Some(0) && said.contains("√ 12 topics as declared"),
        "{said}"
    );
    topics_follow_their_file(&mut up, &platform);
    everything_shows_it(&up, &platform);

    // The shipper hangs: traffic goes on, and verify says what does not.
    let shipper = up.running();
    let shipper = shipper
        .members
        .iter()
        .find(|member| member.name == "shipper");
    let shipper = i32::try_from(shipper.unwrap().pid.unwrap()).unwrap();
    kill_process(Pid::from_raw(shipper).unwrap(), Signal::STOP).unwrap();
    let (code, report) = platform.carbyne(&["verify", "--wait", "1s"]);
    assert_eq!(call(&accepted).0, 200);
    kill_process(Pid::from_raw(shipper).unwrap(), Signal::CONT).unwrap();
    assert_eq!(code, Some(1), "{report}");
    assert!(report.contains("× the shipper runs"), "{report}");
    assert!(
        report.contains("fix: traffic goes on and events wait in the spool"),
        "{report}"
    );

    // The broker is killed, and the shipper while it is away: both come back, and what was answered meanwhile is there.
    running::kill(up.pid("", "kafka.Kafka"));
    up.expect_error("the broker ended (signal: 9");
    let (code, report) = platform.carbyne(&["verify", "--wait", "1s"]);
    assert!(
        code == Some(1) && report.contains("× the broker runs"),
        "{report}"
    );
    assert!(
        report.contains("√ route portal accepts shop's key: 200"),
        "{report}"
    );
    let mut meanwhile = BTreeMap::new();
    for _ in 0..20 {
        let (status, id) = call(&accepted);
        meanwhile.insert(id, status);
    }
    assert!(
        meanwhile.values().all(|status| *status == 200),
        "{meanwhile:?}"
    );
    running::kill(shipper);
    up.expect_error("the shipper ended (signal: 9");
    for id in platform.calls(&meanwhile).values() {
        // What was sent again after a death has the same id: who reads drops it.
        let ids = id
            .iter()
            .map(|record| record["headers"]["ce_id"].to_string());
        let ids: BTreeSet<String> = ids.collect();
        assert_eq!(ids.len(), 1, "{id:#?}");
    }
    platform.is_well("verify");
    platform.is_complete();
    up.end();

    // What was kept goes on: a new start finds topics and spools, and the old events are still all there.
    let mut up = Up::start_with(example(21), &real(), &more);
    up.guide();
    platform = Platform::of(&up);
    let calls = platform.calls(&sent);
    assert!(
        calls.values().all(|records| records.len() == 1),
        "{calls:#?}"
    );
    platform.is_complete();
    up.end();
}

/// A saved change is live, a bad one is refused with its place, and so is what Kafka cannot do.
fn topics_follow_their_file(up: &mut Up, platform: &Platform) {
    let path = up.folder().join("topics.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let retention = || {
        let (code, said) = platform.carbyne(&["topics", "describe", "data-quality"]);
        assert_eq!(code, Some(0), "{said}");
        let line = said.lines().find(|line| line.contains("retention.ms"));
        line.unwrap_or_default().trim().to_owned()
    };
    let before = "  data-quality:\n    partitions: 6\n    retention: 30d";
    assert!(text.contains(before), "the example has other topics now");
    let changed = text.replace(before, &before.replace("30d", "20d"));
    fs::write(&path, &changed).unwrap();
    let said = up.expect_error("topics.yaml in ");
    assert!(
        said.contains("topics.yaml in ") && said.ends_with(": 1 topic changed"),
        "{said}"
    );
    assert_eq!(retention(), "retention.ms = 1728000000");

    fs::write(&path, changed.replace("retention: 20d", "retention: often")).unwrap();
    let said = up.expect_error("topics.yaml:");
    assert!(
        said.contains(": topics.data-quality.retention: must be a time"),
        "{said}"
    );
    place(&said);
    up.expect_error("topics.yaml is refused as a whole: what was live before stays");
    assert_eq!(retention(), "retention.ms = 1728000000");

    let shrunk = text.replace("  audit-api-calls:\n", "  audit-api-calls: # smaller\n");
    let shrunk = shrunk.replacen(
        "partitions: 12\n    retention: 30d",
        "partitions: 11\n    retention: 30d",
        1,
    );
    assert_ne!(shrunk, text);
    fs::write(&path, &shrunk).unwrap();
    let said = up.expect_error("topics.yaml:");
    assert!(
        said.contains(": topics.audit-api-calls: has 12 partitions, 11 are declared"),
        "{said}"
    );
    place(&said);
    up.expect_error("topics.yaml is refused as a whole: what was live before stays");
    assert_eq!(retention(), "retention.ms = 1728000000");
    fs::write(&path, &text).unwrap();
    up.expect_error(": 1 topic changed");
    assert_eq!(retention(), "retention.ms = 2592000000");
}

/// status, verify, doctor and the page know broker and shipper.
fn everything_shows_it(up: &Up, platform: &Platform) {
    let report = platform.is_well("verify");
    for part in [
        "√ the broker runs",
        "√ the shipper runs",
        "√ events are shipped: ",
        " is found in audit-api-calls at 127.",
    ] {
        assert!(report.contains(part), "{part}: {report}");
    }
    let status = platform.is_well("status");
    for part in ["broker", "shipper", "events: ", " shipped, "] {
        assert!(status.contains(part), "{part}: {status}");
    }
    let bundle = up.base().join("bundle.tgz");
    let (code, said) = platform.carbyne(&["doctor", &bundle.display().to_string()]);
    assert!(matches!(code, Some(0 | 2)), "{said}");
    let (_, parts) = shell(&format!("tar tzf {}", bundle.display()));
    for part in [
        "programs/shipper-shipper/status.json",
        "programs/shipper-shipper/metrics.txt",
        "programs/broker-broker/log.log",
        "folder/topics.yaml",
    ] {
        assert!(
            parts.lines().any(|line| line.ends_with(part)),
            "{part}: {parts}"
        );
    }
    fs::remove_file(bundle).unwrap();
    let page = up.running().control.page.unwrap();
    within(RECOVERY, || {
        let (_, state) = shell(&format!("curl -s http://{page}/state"));
        let state: Value = serde_json::from_str(&state).map_err(|error| error.to_string())?;
        let words = state["kafka"]["words"].as_str().unwrap_or_default();
        if words.ends_with(" shipped, nothing waits") && state["kafka"]["shipping"]["refused"] == 0
        {
            Ok(())
        } else {
            Err(state["kafka"].to_string())
        }
    });
}

/// Whatever was built beside it: only who ships has the client, and the library through which that speaks TLS.
#[test]
fn no_sidecar_links_the_kafka_client() {
    let programs = real();
    for (program, ships) in [
        (carbyne(), true),
        (&*programs.gateway, true),
        (&*programs.proxy, false),
    ] {
        // A property that nobody but librdkafka knows by name.
        for word in ["sasl.oauthbearer.token.endpoint.url", "libssl.so"] {
            let mut grep = Command::new("grep");
            grep.args(["--quiet", "--text", "--fixed-strings", word]);
            let found = grep.arg(program).status().unwrap().code();
            assert_eq!(
                found,
                Some(i32::from(!ships)),
                "{word} in {}",
                program.display()
            );
        }
    }
}

#[test]
fn without_java_it_is_said_what_to_install() {
    let folder = example(22);
    let programs = stand_in();
    let base = tempfile::tempdir().unwrap();
    let output = Command::new("/usr/bin/timeout")
        .arg("30")
        .arg(carbyne())
        .arg("up")
        .arg(folder.path())
        .args(["--with-kafka", "--page", "127.0.0.1:0", "--proxy"])
        .arg(&programs.proxy)
        .arg("--gateway")
        .arg(&programs.gateway)
        .arg("--base-dir")
        .arg(base.path())
        .env("PATH", "/nonexistent")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.starts_with("error: cannot run java: ")
            && said.contains("; install openjdk-17-jre-headless\n  hint: "),
        "{said}"
    );
    assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
}

/// Brokers that do not answer keep nothing from running; it is said that events wait.
#[test]
fn brokers_that_are_away_are_told_and_waited_for() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap().to_string();
    drop(nobody);
    let mut up = Up::start_with(example(23), &stand_in(), &["--kafka", &address]);
    up.guide();
    let said = up.expect_error("cannot be applied now, it is tried again: ");
    assert!(
        said.contains("topics.yaml") && said.contains(&address),
        "{said}"
    );
    let platform = Platform::of(&up);
    assert_eq!(platform.bootstrap, address);
    within(RECOVERY, || match platform.carbyne(&["status"]) {
        // The stand-ins are no sidecars, which is an error by itself.
        (Some(1), said) if said.contains("CTL-0706") && said.contains("the shipper") => Ok(()),
        (code, said) => Err(format!("{code:?}: {said}")),
    });
    // A file that is good is taken when they answer; one that is bad is told at once.
    let path = up.folder().join("topics.yaml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("partitions: 12", "partitions: 0", 1)).unwrap();
    let said = up.expect_error("topics.yaml:");
    place(&said);
    up.expect_error("topics.yaml is refused as a whole");
    up.end();
}

/// A running platform, looked at from outside.
struct Platform {
    base: PathBuf,
    bootstrap: String,
}

impl Platform {
    fn of(up: &Up) -> Self {
        let kafka = up.running().kafka.unwrap();
        Self {
            base: up.base().to_owned(),
            bootstrap: kafka.bootstrap,
        }
    }

    /// Exit code and standard output of a verb that finds the platform by the folder of temporary files.
    fn carbyne(&self, line: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new("timeout");
        command.arg("100").arg(carbyne()).args(line);
        let output = command.env("TMPDIR", &self.base).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), said)
    }

    /// What a topic holds.
    fn read(&self, topic: &str) -> Result<Vec<Value>, String> {
        let consumer = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events/tests/consumer.py");
        let mut command = Command::new("timeout");
        command.arg("60").arg(python()).arg(consumer);
        command.args([&self.bootstrap, topic, "--seconds", "50"]);
        let output = command.output().unwrap();
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let text = String::from_utf8(output.stdout).unwrap();
        Ok(text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect())
    }

    /// The records of these requests, once all are there.
    fn calls(&self, sent: &BTreeMap<String, u64>) -> BTreeMap<String, Vec<Value>> {
        let mut calls = BTreeMap::<String, Vec<Value>>::new();
        within(RECOVERY, || {
            calls.clear();
            for record in self.read("audit-api-calls")? {
                if let Some(id) = record["event"]["request_id"].as_str() {
                    let id = id.to_owned();
                    calls.entry(id).or_default().push(record);
                }
            }
            let missing = sent.keys().filter(|id| !calls.contains_key(*id)).count();
            match missing {
                0 => Ok(()),
                _ => Err(format!("{missing} of {} are missing", sent.len())),
            }
        });
        calls.retain(|id, _| sent.contains_key(id));
        calls
    }

    /// A verb finds nothing to say; a busy machine may keep a program from answering in time.
    fn is_well(&self, verb: &str) -> String {
        let mut said = String::new();
        within(RECOVERY, || {
            let code;
            (code, said) = self.carbyne(&[verb]);
            match code {
                Some(0) => Ok(()),
                _ => Err(format!("{code:?}: {said}")),
            }
        });
        said
    }

    fn is_complete(&self) {
        let (code, said) = self.carbyne(&["events", "verify"]);
        assert!(
            code == Some(0) && said.contains("none missing"),
            "{code:?}: {said}"
        );
    }
}

/// Sends one of the printed lines: the answer's status, and the id that the gateway gave the request.
fn call(line: &str) -> (u64, String) {
    let line = line.replace("curl -s ", "curl -s -o /dev/null ");
    let line = line.replace(
        "'%{http_code}\\n'",
        "'%{http_code} %header{x-kong-request-id}'",
    );
    let (_, said) = shell(&line);
    let (status, id) = said
        .split_once(' ')
        .unwrap_or_else(|| panic!("{line}: {said}"));
    assert!(!id.is_empty(), "{line}: {said}");
    (status.parse().unwrap(), id.to_owned())
}

/// The file's name is followed by line and column.
fn place(said: &str) {
    let numbers = said
        .split("topics.yaml:")
        .nth(1)
        .unwrap()
        .split(':')
        .take(2);
    let numbers = numbers.map_while(|number| number.parse::<u32>().ok());
    assert_eq!(numbers.count(), 2, "no line and column: {said}");
}

/// The environment with confluent-kafka and fastavro; without it the test means nothing.
fn python() -> PathBuf {
    let cache = env::var_os("CARBYNE_CACHE").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache/carbyne")));
    let named = env::var_os("CARBYNE_VENV").map(PathBuf::from);
    let folder = named.or_else(|| Some(cache?.join("venv"))).unwrap();
    let python = folder.join("bin/python");
    assert!(
        python.is_file(),
        "{} is missing: `.ci/setup test` installs it",
        python.display()
    );
    python
}
