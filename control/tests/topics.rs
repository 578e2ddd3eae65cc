//! `carbyne topics` as people run it, against a real Kafka that wants a name and a password.

#![expect(
    clippy::unwrap_used,
    reason = "a test, all of it; the configuration allows this only inside the test functions themselves"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use carbyne_events::{
    broker::{Cluster, Options},
    topics::BUILT_IN,
};
use insta::assert_snapshot;
use serde_json::Value;

#[path = "topics/shipping.rs"]
mod shipping;
#[path = "outputs/spooled.rs"]
mod spooled;

#[test]
fn a_cluster_becomes_as_declared_and_stays_so() {
    let at = Bench::start(&Options {
        user: Some(("carbyne".to_owned(), "not in any output".to_owned())),
        ..Options::default()
    });

    let plan = at.carbyne(&["plan"]);
    assert_snapshot!("plan_of_an_empty_cluster", plan.out(2));
    let refused = at.carbyne(&["apply"]);
    assert_snapshot!("apply_with_nobody_there", refused.err(1));
    assert!(!refused.stdout.contains('√'));
    let described: Value =
        serde_json::from_str(&at.carbyne(&["describe", "-o", "json"]).out(0)).unwrap();
    assert_eq!(
        described["topics"],
        serde_json::json!({}),
        "a plan or a question changed something"
    );

    at.both("check_of_an_empty_cluster", &["check"]);
    shipping::topics_that_are_missing(&at);
    assert_snapshot!("apply", at.carbyne(&["apply", "--yes"]).all());

    // The second time there is nothing to do.
    assert_snapshot!(
        "plan_of_a_cluster_that_is_as_declared",
        at.carbyne(&["plan"]).out(0)
    );
    at.both("apply_of_nothing", &["apply", "--yes"]);
    at.both("check_of_a_cluster_that_is_well", &["check"]);
    at.both("describe", &["describe"]);
    at.both("describe_one", &["describe", "config-changes"]);
    at.both("describe_none", &["describe", "config-change"]);

    shipping::all_that_lies_there(&at);

    // Somebody changes things: it is found, and put back.
    let drifted = BUILT_IN
        .replace("retention: 30d\n    cleanup: delete\n    key: dataset id", "retention: 12h\n    cleanup: delete\n    key: dataset id\n    config: { segment.ms: 60000, max.message.bytes: 5000 }")
        .replace("topics:\n", "topics:\n  left-over: { partitions: 2, retention: 1d, cleanup: delete }\n");
    let drifted = at.file("drifted.yaml", &drifted);
    assert_eq!(at.carbyne(&["apply", "--yes", &drifted]).code, 0);
    at.both("check_of_a_cluster_that_somebody_changed", &["check"]);
    assert_snapshot!(
        "plan_of_a_cluster_that_somebody_changed",
        at.carbyne(&["plan"]).out(2)
    );
    let json = at.carbyne(&["plan", "-o", "json"]).out(2);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_snapshot!("plan_in_json", serde_json::to_string_pretty(&json).unwrap());
    let applied = at.carbyne(&["apply", "--yes", "-o", "json"]);
    assert_snapshot!("apply_in_json", applied.all());
    let plan = at.carbyne(&["plan"]).out(0);
    assert!(
        plan.contains("Nothing to change") && plan.contains("? left-over"),
        "{plan}"
    );

    // What nobody declared goes only by its name, and what is declared not even then.
    assert_snapshot!(
        "plan_to_prune",
        at.carbyne(&["plan", "--prune", "left-over"]).out(2)
    );
    assert_snapshot!(
        "plan_to_prune_what_is_declared",
        at.carbyne(&["plan", "--prune", "data-quality", "--prune", "no-topic"])
            .out(1)
    );
    assert_eq!(at.carbyne(&["apply", "--prune", "left-over"]).code, 1);
    assert_eq!(
        at.carbyne(&["apply", "--yes", "--prune", "left-over"]).code,
        0
    );
    let plan = at.carbyne(&["plan"]).out(0);
    assert!(!plan.contains("left-over"), "{plan}");

    // What cannot be, each with exit code 1 and nothing done.
    let refusals = [
        ("shrink", BUILT_IN.replace("partitions: 12\n    retention: 30d", "partitions: 11\n    retention: 30d")),
        ("repartition", BUILT_IN.replace("partitions: 6\n    retention: 30d", "partitions: 7\n    retention: 30d")),
        ("replication", BUILT_IN.replace("profile: single", "profile: ha")),
        ("another_cluster", format!("cluster: AAAAAAAAAAAAAAAAAAAAAA\n{BUILT_IN}")),
        ("a_value_that_kafka_refuses", BUILT_IN.replace("compression.type: lz4", "compression.type: lzma")),
        ("brokers", "profile: ha\nprofiles: { ha: { replication: 3 } }\ntopics:\n  new: { partitions: 1, retention: 1d, cleanup: delete }\n".to_owned()),
    ];
    for (name, text) in refusals {
        let file = at.file("refused.yaml", &text);
        let plan = at.carbyne(&["plan", &file]);
        assert_snapshot!(format!("refused_{name}"), plan.out(1));
        let applied = at.carbyne(&["apply", "--yes", &file]);
        assert_eq!(applied.code, 1, "{name}");
        assert_eq!(applied.out(1), plan.out(1), "{name}");
        let checked = at.carbyne(&["check", &file]);
        if name != "a_value_that_kafka_refuses" {
            assert!(
                checked.out(1).contains("error CTL-0461"),
                "{name}: {}",
                checked.stdout
            );
        }
    }
    assert_eq!(
        at.carbyne(&["check"]).code,
        0,
        "a refusal changed something"
    );
    let file = at.file(
        "more.yaml",
        &BUILT_IN.replace(
            "partitions: 6\n    retention: 30d",
            "partitions: 7\n    retention: 30d",
        ),
    );
    assert_eq!(
        at.carbyne(&["apply", "--yes", "--allow-repartition", &file])
            .code,
        0
    );
    assert_eq!(at.carbyne(&["plan", &file]).code, 0);

    // The password was in no output; a wrong one is told.
    let wrong = at.file("wrong.properties", &properties("guess"));
    let stranger = at.run(&[
        "topics",
        "plan",
        "--bootstrap",
        &at.bootstrap,
        "--kafka-config",
        &wrong,
    ]);
    let said = stranger.err(1);
    assert!(said.starts_with("error CTL-0455: BROKER: "), "{said}");
    assert!(!said.contains("guess"), "{said}");
}

#[test]
fn three_nodes_by_the_profile_ha() {
    let at = Bench::start(&Options::nodes(3));
    at.carbyne(&["apply", "--yes", "--profile", "ha"]).out(0);
    assert!(
        at.carbyne(&["plan", "--profile", "ha"])
            .out(0)
            .contains("Nothing to change")
    );
    assert_snapshot!(
        "check_of_three_nodes",
        at.carbyne(&["check", "--profile", "ha"]).out(0)
    );
    at.cluster.kill(1).unwrap();
    // Until its session is over the brokers still count it.
    let deadline = Instant::now() + Duration::from_secs(60);
    let down = loop {
        let down = at.carbyne(&["check", "--profile", "ha"]);
        if down.stdout.matches("have copies that are behind").count() == 12
            && down.stdout.contains(", 2 brokers")
        {
            break down;
        }
        assert!(Instant::now() < deadline, "{}", down.stdout);
    };
    assert_snapshot!("check_with_a_node_down", down.out(2));
    assert_eq!(at.carbyne(&["plan", "--profile", "ha"]).code, 0);
    at.cluster.revive(1).unwrap();
}

#[test]
fn faults_of_the_command_line_and_of_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("topics.yaml");
    let text = "profile: single\nprofiles: { single: { replication: 1 } }\ntopics:\n  a: { partitions: 0, retention: 1w, cleanup: delete }\n  b: { partitons: 3, cleanup: compacted }\n";
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    // Nobody listens here: the port was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let nobody = free.to_string();
    let cases: &[(&str, &[&str])] = &[
        ("faults_of_a_file", &["plan", file, "--bootstrap", &nobody]),
        (
            "faults_of_a_file_in_json",
            &["plan", file, "-o", "json", "--bootstrap", &nobody],
        ),
        (
            "no_such_profile",
            &["check", "--profile", "huge", "--bootstrap", &nobody],
        ),
        (
            "nobody_answers",
            &["plan", "--timeout", "2", "--bootstrap", &nobody],
        ),
        (
            "nobody_answers_in_json",
            &[
                "describe",
                "-o",
                "json",
                "--timeout",
                "2",
                "--bootstrap",
                &nobody,
            ],
        ),
        (
            "no_such_property",
            &["plan", "-X", "sasl.passwort=x", "--bootstrap", &nobody],
        ),
        ("no_property", &["plan", "-X", "x", "--bootstrap", &nobody]),
        (
            "no_such_file",
            &["plan", "/nonexistent/topics.yaml", "--bootstrap", &nobody],
        ),
        ("no_cluster", &["plan", "--run", "/nonexistent"]),
    ];
    for (name, arguments) in cases {
        let mut command = Command::new(env!("CARGO_BIN_EXE_carbyne"));
        command.arg("topics").args(*arguments);
        let said = said(command);
        assert_eq!(said.code, 1, "{name}: {} {}", said.stdout, said.stderr);
        let text = format!("{}{}", said.stdout, said.stderr)
            .replace(folder.path().to_str().unwrap(), "FOLDER")
            .replace(&nobody, "NOBODY");
        assert_snapshot!(*name, text);
    }
}

/// A cluster, a folder, and the way to it.
struct Bench {
    cluster: Cluster,
    bootstrap: String,
    folder: tempfile::TempDir,
    config: Option<PathBuf>,
}

impl Bench {
    fn start(options: &Options) -> Self {
        let cluster = Cluster::start(options).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let config = options.user.as_ref().map(|(_, password)| {
            let path = folder.path().join("client.properties");
            fs::write(&path, properties(password)).unwrap();
            path
        });
        let bootstrap = cluster.bootstrap();
        Self {
            cluster,
            bootstrap,
            folder,
            config,
        }
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn carbyne(&self, arguments: &[&str]) -> Said {
        let mut all = vec!["topics"];
        all.extend(arguments);
        all.extend(self.cluster());
        self.run(&all)
    }

    /// The words of a command line that say which cluster.
    fn cluster(&self) -> Vec<&str> {
        let config = self.config.as_deref().and_then(Path::to_str);
        let mut all = vec!["--bootstrap", &*self.bootstrap];
        all.extend(config.iter().flat_map(|config| ["--kafka-config", config]));
        all
    }

    /// Holds to what it said before, as text and as JSON.
    fn both(&self, name: &str, arguments: &[&str]) {
        assert_snapshot!(name, self.carbyne(arguments).all());
        let arguments = [arguments, &["-o", "json"]].concat();
        assert_snapshot!(format!("{name}_in_json"), self.carbyne(&arguments).all());
    }

    fn run(&self, arguments: &[&str]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_carbyne"));
        command.args(arguments);
        self.filtered(said(command))
    }

    /// What differs from run to run has a word instead.
    fn filtered(&self, mut said: Said) -> Said {
        for text in [&mut said.stdout, &mut said.stderr] {
            assert!(!text.contains("not in any output"), "{text}");
            *text = text
                .replace(&self.bootstrap, "BROKER")
                .replace(self.cluster.id(), "CLUSTER")
                .replace(self.folder.path().to_str().unwrap(), "FOLDER");
            // The client's own words name the one broker that it speaks of.
            for address in self.bootstrap.split(',') {
                *text = text.replace(address, "BROKER");
            }
        }
        said
    }
}

struct Said {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Said {
    /// Exit code and both streams; how often one waited is not told.
    fn all(&self) -> String {
        let waits = |line: &&str| !line.starts_with("waiting for ");
        let stderr = self.stderr.lines().filter(waits);
        format!(
            "exit code {}\n--- standard output\n{}--- standard error\n{}",
            self.code,
            self.stdout,
            stderr
                .map(|line| line.to_owned() + "\n")
                .collect::<String>()
        )
    }

    fn with(mut self, from: &str, to: &str) -> Self {
        for text in [&mut self.stdout, &mut self.stderr] {
            *text = text.replace(from, to);
        }
        self
    }

    #[track_caller]
    fn out(&self, code: i32) -> String {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        self.stdout.clone()
    }

    #[track_caller]
    fn err(&self, code: i32) -> String {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        self.stderr.clone()
    }
}

fn said(mut command: Command) -> Said {
    let output = command.stdin(Stdio::null()).output().unwrap();
    Said {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn properties(password: &str) -> String {
    format!(
        "# As the file of --kafka-config.\nsecurity.protocol=SASL_PLAINTEXT\nsasl.mechanisms=PLAIN\nsasl.username=carbyne\nsasl.password={password}\n"
    )
}
