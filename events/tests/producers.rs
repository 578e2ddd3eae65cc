//! The producers of other languages against a real Kafka: their own suites, run here so that `make test` has them.

#![expect(
    clippy::unwrap_used,
    reason = "a test, all of it; the configuration allows this only inside the test functions themselves"
)]

use std::{
    collections::BTreeMap,
    env,
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
    time::Duration,
};

use carbyne_events::{
    broker::{Cluster, Options},
    event::Topic,
    topics::{self, Access, Admin, BUILT_IN, Permission, Plan},
    verify::{self, Missing, Tail, Tally},
};

use rdkafka::{
    ClientConfig, ClientContext, Message,
    message::DeliveryResult,
    producer::{BaseProducer, BaseRecord, Producer, ProducerContext},
};
use serde_json::Value;

#[test]
fn python_emits_what_everybody_reads() {
    let cluster = with_topics();
    let mut types = Command::new(python());
    types.args(["-m", "mypy", "--cache-dir", "/dev/null"]);
    run(types, "python", &cluster);
    let mut tests = Command::new(python());
    tests.args(["-m", "pytest", "--color=no"]);
    let said = run(tests, "python", &cluster);
    // The last line: 118 passed in 12.34s
    let last = said.trim_end().lines().last().unwrap_or_default();
    assert!(
        !last.contains("failed") && !last.contains("skipped"),
        "{said}"
    );
    // Two of them send one event each that the broker refuses: the proof names those and no other.
    assert_eq!(lost(&cluster, 10), [("large", 1), ("loop", 1)].map(named));
    count("python", before(last, " passed"));
}

#[test]
fn node_emits_what_everybody_reads() {
    let cluster = with_topics();
    let mut types = Command::new("node");
    types.arg(node().join("node_modules/typescript/bin/tsc"));
    types.args(["--project", "."]);
    run(types, "node", &cluster);
    // Each test has a limit of its own: this one is for what hangs elsewhere.
    let mut tests = Command::new("timeout");
    tests.args([
        "--kill-after=5",
        "300",
        "node",
        "--test",
        "--test-reporter=tap",
        "test/events.test.js",
        "test/producer.test.js",
    ]);
    let said = run(tests, "node", &cluster);
    let number = |word: &str| {
        let line = said
            .lines()
            .find_map(|line| line.strip_prefix(&format!("# {word} ")));
        line.and_then(|number| number.parse().ok())
    };
    assert_eq!(
        (number("fail"), number("skipped"), number("todo")),
        (Some(0), Some(0), Some(0)),
        "{said}"
    );
    assert_eq!(lost(&cluster, 8), [("refused", 1)].map(named));
    count("node", number("pass").unwrap_or(0));
}

#[test]
fn rust_sends_keys_where_javas_go() {
    let contract = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/contracts/partitions.json");
    let contract: Value = serde_json::from_reader(File::open(contract).unwrap()).unwrap();
    let cluster = with_topics();
    let producer: BaseProducer<Places> = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap())
        // What `ship` sets; librdkafka's own default hashes otherwise.
        .set("partitioner", "murmur2_random")
        .create_with_context(Places::default())
        .unwrap();
    let cases = contract["cases"].as_array().unwrap();
    for case in cases {
        let key = case["key"].as_str().unwrap();
        let record = BaseRecord::to("audit-user-actions").key(key).payload("{}");
        producer.send(record).unwrap();
    }
    producer.flush(LIMIT).unwrap();
    let places = producer.context().0.lock().unwrap();
    assert_eq!(places.len(), cases.len());
    for case in cases {
        let (key, partition) = (
            case["key"].as_str().unwrap(),
            case["partition"].as_i64().unwrap(),
        );
        assert_eq!(i64::from(places[key]), partition, "{key}");
    }
    count("partitions", cases.len());
}

/// The partition of each key, by delivery reports.
#[derive(Default)]
struct Places(Mutex<BTreeMap<String, i32>>);

impl ClientContext for Places {}

impl ProducerContext for Places {
    type DeliveryOpaque = ();

    fn delivery(&self, report: &DeliveryResult<'_>, (): ()) {
        let message = report.as_ref().unwrap();
        let key = String::from_utf8(message.key().unwrap().to_vec()).unwrap();
        self.0.lock().unwrap().insert(key, message.partition());
    }
}

/// A broker with the twelve topics.
fn with_topics() -> Cluster {
    // The vectors' events have times of their own, which are long past: they stay until they are read.
    let keep = ("log.initial.task.delay.ms", "3600000");
    let options = Options {
        settings: vec![(keep.0.to_owned(), keep.1.to_owned())],
        ..Options::default()
    };
    let cluster = Cluster::start(&options).unwrap();
    let access = Access {
        bootstrap: cluster.bootstrap(),
        properties: Vec::new(),
        limit: LIMIT,
    };
    let admin = Admin::new(access).unwrap();
    let desired = topics::File::read(BUILT_IN).unwrap().desired(None).unwrap();
    let state = admin.state(|_| true).unwrap();
    let plan = Plan::new(&desired, &state, &Permission::default());
    plan.apply(&admin, &desired, LIMIT, |_| {}).unwrap();
    cluster
}

/// What `carbyne events verify` finds missing, by the producers' sources; all of them have said where they end.
fn lost(cluster: &Cluster, producers: usize) -> Vec<(String, u64)> {
    let mut tally = Tally::default();
    verify::read_topics(&cluster.bootstrap(), &[], &Topic::ALL, &mut tally).unwrap();
    let report = tally.report();
    assert_eq!(
        (report.unreadable, report.foreign, report.duplicates),
        (0, 0, 0),
        "{report:?}"
    );
    // The vectors hold events about producers that never were.
    let found = report
        .producers
        .iter()
        .filter(|producer| producer.found > 0);
    let mut lost = Vec::new();
    let mut count = 0;
    for producer in found {
        count += 1;
        assert_eq!(producer.tail, Tail::Closed, "{producer:?}");
        let missing: u64 = producer
            .gaps
            .iter()
            .map(|gap| gap.last - gap.first + 1)
            .sum();
        if missing > 0 {
            assert!(
                producer.gaps.iter().all(|gap| gap.missing == Missing::Lost),
                "{producer:?}"
            );
            lost.push(named((
                producer.producer.split('/').nth(1).unwrap(),
                missing,
            )));
        }
    }
    assert_eq!(count, producers, "{report:?}");
    lost.sort();
    lost
}

fn named((source, count): (&str, u64)) -> (String, u64) {
    (source.to_owned(), count)
}

/// Runs a suite in its own folder and returns what it said; what fails is shown whole.
fn run(mut command: Command, folder: &str, cluster: &Cluster) -> String {
    let output = command
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))
        .env("CARBYNE_TEST_BOOTSTRAP", cluster.bootstrap())
        .env("CARBYNE_TEST_PYTHON", python())
        .env("CARBYNE_NODE", node())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{folder}: {}\n{said}\n{errors}",
        output.status
    );
    said
}

/// The number in front of a word.
fn before(line: &str, word: &str) -> usize {
    let head = line.split(word).next().unwrap_or_default();
    head.rsplit(' ')
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

/// Tells the runner of suites how many tests that were.
fn count(name: &str, passed: usize) {
    assert!(passed > 0, "{name} ran no tests");
    if let Some(path) = env::var_os("CARBYNE_CASES") {
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        writeln!(file, "{name} {passed} {passed}").unwrap();
    }
}

/// The Python environment that setup made.
fn python() -> PathBuf {
    let venv = env::var_os("CARBYNE_VENV").map_or_else(|| cache().join("venv"), PathBuf::from);
    made(venv.join("bin/python"))
}

/// The folder with Node's packages that setup made.
fn node() -> PathBuf {
    made(cache().join("node"))
}

fn cache() -> PathBuf {
    let home = || env::var_os("HOME").map(|home| Path::new(&home).join(".cache/carbyne"));
    env::var_os("CARBYNE_CACHE")
        .map(PathBuf::from)
        .or_else(home)
        .unwrap()
}

fn made(path: PathBuf) -> PathBuf {
    assert!(
        path.exists(),
        "{} is missing: run .ci/setup test",
        path.display()
    );
    path
}

const LIMIT: Duration = Duration::from_secs(60);
