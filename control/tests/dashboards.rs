//! The dashboards, their rules and their table of metrics: as they are committed, and against the running platform with a real Prometheus.
//!
//! promtool and Prometheus are Debian's `prometheus`; the shape of the dashboards is judged by PyPI's grafana-foundation-sdk. Both come
//! with `.ci/setup test`.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test, all of it; the configuration allows this only inside the test functions themselves"
)]

#[path = "dashboards/official.rs"]
mod official;
#[expect(
    dead_code,
    reason = "shared with the tests of `up`, which use more of it"
)]
#[path = "up/running.rs"]
mod running;
#[path = "dashboards/world.rs"]
mod world;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use carbyne_control::dashboards::{
    self, lint,
    metrics::{Kind, PARTS, Program, Table},
    preview::resolved,
    promql::{self, Ranges},
};
use serde_json::Value;

use running::carbyne;
use world::{Broker, World, http, monitoring};

/// Long enough for a busy machine; rates need five scrapes.
const PATIENCE: Duration = Duration::from_secs(90);
const RATE_INTERVAL: &str = "5s";

#[test]
fn the_committed_dashboards_are_the_generated_ones() {
    let folder = monitoring().join("dashboards");
    let mut committed: BTreeSet<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    for (name, dashboard) in dashboards::all().unwrap() {
        let text = fs::read_to_string(folder.join(&name)).unwrap_or_default();
        assert!(
            text == dashboard.to_text(),
            "{name} is not as generated: `carbyne dashboards generate`"
        );
        committed.remove(&name);
    }
    assert!(committed.is_empty(), "nobody generates {committed:?}");
}

#[test]
fn the_verbs_say_what_they_find() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().to_str().unwrap();
    let run = |words: &[&str]| {
        let output = Command::new(carbyne())
            .arg("dashboards")
            .args(words)
            .output();
        let output = output.unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), said)
    };
    let (code, said) = run(&["generate", "--check", "--to", to]);
    assert_eq!(code, Some(2), "{said}");
    assert_eq!(said.matches("CTL-0902").count(), 3, "{said}");
    let (code, said) = run(&["generate", "--to", to]);
    assert_eq!((code, said.lines().count()), (Some(0), 3), "{said}");
    assert_eq!(run(&["generate", "--check", "--to", to]).0, Some(0));
    let (code, said) = run(&["lint"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("3 dashboards") && said.contains(": 0 findings"),
        "{said}"
    );

    let path = folder.path().join("service-mesh.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        text.replace("\"editable\": false", "\"editable\": true"),
    )
    .unwrap();
    let (code, said) = run(&["lint", path.to_str().unwrap(), "-o", "json"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(said["findings"][0]["code"], "CTL-0901", "{said}");
    assert_eq!(run(&["lint", "nothing.json"]).0, Some(1));
}

#[test]
fn rules_and_alerts_hold() {
    let rules = monitoring().join("rules/carbyne.yml");
    let tests = monitoring().join("rules/carbyne.test.yml");
    promtool(&["check", "rules", rules.to_str().unwrap()]);
    promtool(&["test", "rules", tests.to_str().unwrap()]);
    let config = monitoring().join("prometheus.yml");
    promtool(&["check", "config", config.to_str().unwrap()]);

    let document =
        |path| -> Value { serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap() };
    let (rules, tests) = (document(rules), document(tests));
    let tested: BTreeSet<String> = tests["tests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|test| test["name"].as_str().unwrap().to_owned())
        .collect();
    let table = Table::built_in().unwrap();
    let all = || {
        let groups = rules["groups"].as_array().unwrap().iter();
        groups.flat_map(|group| group["rules"].as_array().unwrap())
    };
    let recorded: BTreeSet<&str> = all().filter_map(|rule| rule["record"].as_str()).collect();
    let mut alerts = 0;
    for rule in all() {
        let expression = rule["expr"].as_str().unwrap();
        let query = promql::parse(expression, Ranges::Written).unwrap();
        for selector in query.selectors {
            let name = selector.name.as_str();
            let known = name == "up" || recorded.contains(name) || table.selected(name).is_some();
            assert!(known, "{expression}: {name} is not in the table of metrics");
        }
        let Some(alert) = rule["alert"].as_str() else {
            continue;
        };
        alerts += 1;
        for kind in ["fires", "stays quiet"] {
            assert!(
                tested.contains(&format!("{alert} {kind}")),
                "no test: {alert} {kind}"
            );
        }
        for words in ["summary", "action"] {
            assert!(rule["annotations"][words].is_string(), "{alert}: {words}");
        }
    }
    report("alerts", alerts, alerts);
    report("tests of alerts", tested.len(), 2 * alerts);
}

/// Our reader of PromQL says of every query what promtool says.
#[test]
fn queries_are_judged_as_prometheus_judges_them() {
    let mut queries: BTreeSet<String> = official::istio()
        .into_iter()
        .chain(official::kong())
        .map(|query| query.text)
        .collect();
    for (_, dashboard) in dashboards::all().unwrap() {
        let panels = dashboard.panels.into_iter().flat_map(|panel| panel.targets);
        queries.extend(panels.map(|target| resolved(&target.expr, "5m")));
    }
    let good = queries.len();
    queries.extend(ODD.iter().map(|text| (*text).to_owned()));
    // One of every two queries with a word, a bracket or a quote cut out.
    let sound: Vec<String> = queries.iter().cloned().collect();
    for (index, text) in sound.iter().enumerate().filter(|(_, text)| text.is_ascii()) {
        let (at, length) = (index * 7 % text.len(), 1 + index % 5);
        let end = (at + length).min(text.len());
        queries.insert(format!("{}{}", &text[..at], &text[end..]));
    }
    let queries: Vec<String> = queries
        .into_iter()
        .filter(|text| !text.trim().is_empty())
        .collect();
    let refused = refused_by_promtool(&queries);
    assert!(
        refused.len() > good / 4,
        "the spoilt queries are not spoilt enough"
    );
    let mut differ = Vec::new();
    for (index, text) in queries.iter().enumerate() {
        let ours = promql::parse(text, Ranges::Written).err();
        let theirs = refused.get(&index);
        // What types forbid, and what is in a regular expression, is not ours to see.
        let about_types = theirs.is_some_and(|why| TYPES.iter().any(|words| why.contains(words)));
        if !about_types && ours.is_none() != theirs.is_none() {
            differ.push(format!("{text}\n  ours: {ours:?}\n  promtool: {theirs:?}"));
        }
    }
    assert!(
        differ.is_empty(),
        "{} differ:\n{}",
        differ.len(),
        differ.join("\n")
    );
    report("PromQL against promtool", queries.len(), queries.len());
}

const ODD: &[&str] = &[
    "1 + 2",
    "-a",
    "a[5m]",
    "rate(a[5m:1m])",
    "rate(sum(a)[5m:])",
    "a offset 5m",
    "a @ 10",
    "a @ end()",
    "sum(a) without (b)",
    "sum without (b) (a)",
    "topk(3, a)",
    "topk(a)",
    "count_values(\"v\", a)",
    "a and on (b) c",
    "a * on (b) group_left (c) d",
    "a > bool 1",
    "a + bool 1",
    "{__name__=~\"a.+\"}",
    "{}",
    "{a=\"\"}",
    "a{b=\"c\",}",
    "a{b}",
    "a{b='c'}",
    "`a`",
    "a[5]",
    "a[5m",
    "rate(a)",
    "abs(a[5m])",
    "sum(a[5m])",
    "nothing(a)",
    "a b",
    "(a",
    "a)",
    "1e3",
    "0x1f",
    "1m",
    "sum by (a",
    "label_replace(a, \"b\", \"c\", \"d\", \"e\")",
    "time()",
    "vector(1) or vector(2)",
    "a == b",
    "a = b",
    "5m",
    "a[1h30m]",
    "a[30m1h]",
    "# only words",
    "a # words",
    "a unless b",
    "a{b!~\"c|d\"}",
    "a{b~\"c\"}",
    "Inf",
    "NaN",
    "sum(a) by (b, c,)",
];
const TYPES: [&str; 7] = [
    "expected type",
    "set operator",
    "comparisons between scalars",
    "vector matching only allowed",
    "between scalars",
    "unary expression",
    "error parsing regexp",
];

/// By number of the query, why promtool refuses it.
fn refused_by_promtool(queries: &[String]) -> BTreeMap<usize, String> {
    let rules: Vec<Value> = queries
        .iter()
        .enumerate()
        .map(|(index, text)| serde_json::json!({"record": format!("query_{index}"), "expr": text}))
        .collect();
    let document = serde_json::json!({"groups": [{"name": "queries", "rules": rules}]});
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.yml");
    // JSON is YAML.
    fs::write(&path, document.to_string()).unwrap();
    let output = tool(&["check", "rules", path.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut refused = BTreeMap::new();
    for line in said.lines() {
        let Some((_, rest)) = line.split_once(", rule ") else {
            continue;
        };
        let (number, _) = rest.split_once(',').unwrap();
        refused.insert(number.parse::<usize>().unwrap() - 1, rest.to_owned());
    }
    refused
}

fn tool(arguments: &[&str]) -> std::process::Output {
    let output = Command::new("promtool").args(arguments).output();
    output
        .unwrap_or_else(|error| panic!("promtool: {error}: install the Debian package prometheus"))
}

fn promtool(arguments: &[&str]) {
    let output = tool(arguments);
    let said = String::from_utf8_lossy(&output.stdout);
    let erred = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "promtool {arguments:?}\n{said}\n{erred}"
    );
}

/// Grafana's own types read every dashboard, and lose nothing of it.
#[test]
fn grafanas_types_read_the_dashboards() {
    let venv = env::var_os("CARBYNE_VENV").map_or_else(
        || {
            let cache = env::var_os("CARBYNE_CACHE").map(PathBuf::from);
            let cache = cache.unwrap_or_else(|| {
                PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache/carbyne")
            });
            cache.join("venv")
        },
        PathBuf::from,
    );
    let python = venv.join("bin/python");
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/dashboards/shape.py");
    let files = fs::read_dir(monitoring().join("dashboards")).unwrap();
    let files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    let output = Command::new(&python).arg(script).args(&files).output();
    let output = output
        .unwrap_or_else(|error| panic!("{}: {error}: `.ci/setup test` makes it", python.display()));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let erred = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{erred}");
    assert_eq!(
        said.lines().filter(|line| line.ends_with(": ok")).count(),
        files.len(),
        "{said}"
    );
}

/// One question of the test, and what must come of it.
struct Asked {
    place: String,
    query: String,
    /// Why nothing is answered: of Istio's and Kong's dashboards alone.
    unanswered: Option<&'static str>,
}

#[test]
fn every_panel_has_data() {
    let world = World::start(11, None, Broker::Kafka);
    scrapes_what_is_committed(&world);
    let table = Table::built_in().unwrap();
    let mut asked = Vec::new();
    let mut choices = Vec::new();
    for (name, dashboard) in dashboards::all().unwrap() {
        for panel in &dashboard.panels {
            asked.extend(panel.targets.iter().map(|target| Asked {
                place: format!("{name}: {}", panel.title),
                query: resolved(&target.expr, RATE_INTERVAL),
                unanswered: None,
            }));
        }
        let json = dashboard.to_json();
        for variable in json["templating"]["list"].as_array().unwrap() {
            let Some((selector, label)) = variable["query"].as_str().and_then(lint::label_values)
            else {
                continue;
            };
            choices.push((
                format!("{name}: choice {}", variable["name"]),
                resolved(selector, RATE_INTERVAL),
                label.to_owned(),
            ));
        }
    }
    let ours = asked.len();
    for query in official::istio().into_iter().chain(official::kong()) {
        asked.push(Asked {
            place: query.panel,
            query: query.text,
            unanswered: query.unanswered,
        });
    }
    let (answered, series) = all_answered(&world, &asked);
    report("dashboards: queries of panels", ours, ours);
    report(
        "dashboards: queries of Istio's and Kong's",
        asked.len() - ours,
        asked.len() - ours,
    );
    for (place, selector, label) in &choices {
        let values = world.label_values(selector, label);
        assert!(!values.is_empty(), "{place}: {selector} has no {label}");
    }
    report("dashboards: choices", choices.len(), choices.len());
    rules_are_evaluated(&world);
    draws(&world);
    println!(
        "{} queries, {answered} answered with {series} series, {} without an answer for a reason; {} choices; {} metrics in the table",
        asked.len(),
        asked.len() - answered,
        choices.len(),
        table.metrics.len()
    );
}

/// Asks until everything is answered that must be; then nothing else may be.
fn all_answered(world: &World, asked: &[Asked]) -> (usize, usize) {
    let began = Instant::now();
    let mut open: Vec<&Asked> = asked
        .iter()
        .filter(|asked| asked.unanswered.is_none())
        .collect();
    let (mut answered, mut series) = (0, 0);
    while !open.is_empty() {
        open.retain(|asked| {
            let found = world.now(&asked.query);
            let values = found.iter().flat_map(|found| &found.points);
            // A quantile or a share of nothing is no number.
            let numbers = values.filter(|(_, value)| value.is_finite()).count();
            answered += usize::from(numbers > 0);
            series += numbers;
            numbers == 0
        });
        let missing = || -> Vec<String> {
            open.iter()
                .map(|asked| format!("{}: {}", asked.place, asked.query))
                .collect()
        };
        assert!(
            began.elapsed() < PATIENCE,
            "{} of {} without data:\n{}",
            open.len(),
            asked.len(),
            missing().join("\n")
        );
        thread::sleep(Duration::from_millis(250));
    }
    for asked in asked {
        if let Some(why) = asked.unanswered {
            let found = world.now(&asked.query);
            assert!(
                found.is_empty(),
                "{}: {} is answered, although {why}: {found:?}",
                asked.place,
                asked.query
            );
        }
    }
    (answered, series)
}

/// Every target answers, and each program of the platform is one.
fn scrapes_what_is_committed(world: &World) {
    running::within(Duration::from_secs(30), || {
        let said = world.ask("/api/v1/targets?state=active");
        let targets = said["data"]["activeTargets"].as_array().unwrap();
        let down: Vec<&Value> = targets
            .iter()
            .filter(|target| target["health"] != "up")
            .collect();
        if targets.len() >= 5 && down.is_empty() {
            Ok(())
        } else {
            Err(format!("{} targets, down: {down:#?}", targets.len()))
        }
    });
}

/// No rule fails when it is evaluated.
fn rules_are_evaluated(world: &World) {
    running::within(Duration::from_secs(30), || {
        let said = world.ask("/api/v1/rules");
        let groups = said["data"]["groups"].as_array().unwrap();
        let rules = groups
            .iter()
            .flat_map(|group| group["rules"].as_array().unwrap());
        let bad: Vec<&Value> = rules
            .clone()
            .filter(|rule| rule["health"] != "ok")
            .collect();
        if bad.is_empty() && rules.count() > 20 {
            Ok(())
        } else {
            Err(format!("{bad:#?}"))
        }
    });
}

/// `carbyne dashboards preview` draws what is there.
fn draws(world: &World) {
    let folder = tempfile::tempdir().unwrap();
    let to =
        env::var_os("CARBYNE_PREVIEWS").map_or_else(|| folder.path().to_owned(), PathBuf::from);
    let output = Command::new(carbyne())
        .args([
            "dashboards",
            "preview",
            "--seconds",
            "30",
            "--rate-interval",
            "5",
        ])
        .args([
            "--prometheus",
            &world.prometheus().to_string(),
            "-o",
            "json",
            "--to",
        ])
        .arg(&to)
        .output()
        .unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let pictures = said["pictures"].as_array().unwrap();
    assert_eq!(
        (output.status.code(), pictures.len()),
        (Some(0), 3),
        "{said}"
    );
    for picture in pictures {
        let text = fs::read_to_string(picture["file"].as_str().unwrap()).unwrap();
        assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"));
        assert!(text.contains("<polyline"), "{picture}");
    }
}

/// What the programs of the platform tell is what the table says, and the other way round.
#[test]
fn the_table_of_metrics_is_true() {
    let world = World::start(12, Some(".*"), Broker::Away);
    let table = Table::built_in().unwrap();
    let began = Instant::now();
    loop {
        let faults = differences(&world, &table);
        if faults.is_empty() {
            break;
        }
        assert!(
            began.elapsed() < PATIENCE,
            "{} faults:\n{}",
            faults.len(),
            faults.join("\n")
        );
        thread::sleep(Duration::from_millis(500));
    }
    report("metrics", table.metrics.len(), table.metrics.len());
}

fn differences(world: &World, table: &Table) -> Vec<String> {
    let mut faults = Vec::new();
    let mut told: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (program, job, path) in [
        (Program::Proxy, "carbyne-proxy", "/stats/prometheus"),
        (Program::Gateway, "carbyne-gateway", "/metrics"),
        (Program::Control, "carbyne-control", "/metrics"),
        (Program::Shipper, "carbyne-shipper", "/metrics"),
    ] {
        for address in world.targets(job) {
            let (status, text) = http(address.parse().unwrap(), &address, path, "");
            assert_eq!(status, 200);
            for (name, kind) in types(&text) {
                let Some(metric) = table.find(name) else {
                    faults.push(format!("{job} tells {name}, which the table does not know"));
                    continue;
                };
                if metric.kind != kind {
                    faults.push(format!(
                        "{name} is a {kind:?} to {job}, a {:?} in the table",
                        metric.kind
                    ));
                }
                if !metric.from.contains(&program) {
                    faults.push(format!("the table does not say that {job} tells {name}"));
                }
                told.entry(&metric.name).or_default();
            }
            for (name, labels) in samples(&text) {
                if let Some((metric, _)) = table.selected(name) {
                    told.entry(&metric.name).or_default().extend(labels);
                }
            }
        }
    }
    for metric in &table.metrics {
        let name = &metric.name;
        match (told.get(name.as_str()), &metric.absent) {
            (Some(_), Some(why)) => faults.push(format!("{name} is there, although {why}")),
            (None, None) => faults.push(format!("nobody tells {name}")),
            (Some(labels), None) if *labels != metric.labels => faults.push(format!(
                "{name} has the labels {labels:?}, in the table {:?}",
                metric.labels
            )),
            _ => {}
        }
    }
    faults.sort();
    faults.dedup();
    faults
}

/// Names and kinds of a page.
fn types(text: &str) -> impl Iterator<Item = (&str, Kind)> {
    text.lines().filter_map(|line| {
        let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        let kind = match kind {
            "counter" => Kind::Counter,
            "gauge" => Kind::Gauge,
            "histogram" => Kind::Histogram,
            other => panic!("{name} is a {other}"),
        };
        Some((name, kind))
    })
}

/// Names and labels of the samples of a page; `le` belongs to buckets.
fn samples(text: &str) -> impl Iterator<Item = (&str, Vec<String>)> {
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| {
        let (name, mut rest) = line.split_once(['{', ' ']).unwrap();
        let mut labels = Vec::new();
        // No value here has a quote in it.
        while let Some((label, after)) = rest.split_once("=\"") {
            labels.push(label.trim_start_matches(',').to_owned());
            rest = after.split_once('"').unwrap().1;
        }
        labels.retain(|label| label != "le" || !PARTS.iter().any(|part| name.ends_with(part)));
        (name, labels)
    })
}

/// The committed targets are those of the example.
#[test]
fn the_committed_targets_are_the_examples() {
    let text = fs::read_to_string(monitoring().join("prometheus.yml")).unwrap();
    let document: Value = serde_saphyr::from_str(&text).unwrap();
    let example =
        fs::read_to_string(monitoring().join("../examples/platform/services.yaml")).unwrap();
    let addresses: BTreeSet<String> = example
        .lines()
        .filter_map(|line| {
            Some(
                line.split_once("address: ")?
                    .1
                    .split(',')
                    .next()?
                    .to_owned(),
            )
        })
        .collect();
    let job = |name: &str| -> BTreeSet<String> {
        let jobs = document["scrape_configs"].as_array().unwrap();
        let job = jobs.iter().find(|job| job["job_name"] == name).unwrap();
        let targets = job["static_configs"][0]["targets"].as_array().unwrap();
        targets
            .iter()
            .map(|target| target.as_str().unwrap().to_owned())
            .collect()
    };
    let sidecars: BTreeSet<String> = addresses
        .iter()
        .map(|address| format!("{address}:15090"))
        .collect();
    assert_eq!(job("carbyne-proxy"), sidecars);
    assert_eq!(
        job("carbyne-gateway"),
        BTreeSet::from(["127.0.10.10:8007".to_owned()])
    );
    // Ours ships from the gateway's address.
    assert_eq!(
        job("carbyne-shipper"),
        BTreeSet::from(["127.0.10.10:9465".to_owned()])
    );
}

/// A line for the table of `make test`.
fn report(name: &str, run: usize, all: usize) {
    use std::io::Write;
    let Some(path) = env::var_os("CARBYNE_CASES") else {
        return;
    };
    let mut file = fs::File::options()
        .append(true)
        .create(true)
        .open(path)
        .unwrap();
    writeln!(file, "{name} {run} {all}").unwrap();
}
