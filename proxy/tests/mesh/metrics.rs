//! What is told to Prometheus: every label of the standard metrics on both sides, and the queries of Istio's dashboards
//! answered by a real Prometheus.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use crate::cases::{Cases, ensure};
use crate::support::http1::{Connection, get, request};
use crate::support::network::Namespace;
use crate::support::place::Place;
use crate::support::poll;
use crate::support::process::Process;
use crate::support::service::{self, Service};
use crate::support::{PATIENCE, interception};
use crate::world::{ECHO, ECHO_1, ECHO_HOST, NODE, PLAIN, Scene, World};

/// One sample of `/stats/prometheus`.
#[derive(Clone, Debug)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// Reads Prometheus' text format.
pub fn samples(text: &str) -> Vec<Sample> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(sample).collect()
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, mut rest) = series
        .split_once('{')
        .map_or((series, ""), |(name, rest)| (name, rest));
    let mut labels = BTreeMap::new();
    // No value of this suite has a quote in it.
    while let Some((label, after)) = rest.split_once("=\"") {
        let (value, after) = after.split_once('"')?;
        labels.insert(label.to_owned(), value.to_owned());
        rest = after.trim_start_matches(',');
    }
    Some(Sample {
        name: name.to_owned(),
        labels,
        value: value.parse().ok()?,
    })
}

#[test]
fn every_label_on_both_sides() {
    let world = World::new(Scene::default());
    Service::http(&world.pod("echo-1").namespace, "echo-1", 8080);
    for port in [80, 8888] {
        Service::http(world.node(), "plain", port);
    }
    let caller = [
        ("source_app", "caller"),
        ("source_canonical_revision", "v1"),
        ("source_canonical_service", "caller"),
        ("source_cluster", "Kubernetes"),
        (
            "source_principal",
            "spiffe://cluster.local/ns/shop/sa/caller",
        ),
        ("source_version", "v1"),
        ("source_workload", "caller"),
        ("source_workload_namespace", "shop"),
    ];
    let nobody = unknown("source", "latest");
    let echo = [
        ("destination_app", "echo"),
        ("destination_canonical_revision", "v1"),
        ("destination_canonical_service", "echo"),
        ("destination_cluster", "Kubernetes"),
        (
            "destination_principal",
            "spiffe://cluster.local/ns/shop/sa/echo",
        ),
        ("destination_version", "v1"),
        ("destination_workload", "echo"),
        ("destination_workload_namespace", "shop"),
    ];
    // Of the endpoint, its cluster alone is known.
    let outside = unknown("destination", "latest").map(|(name, value)| match name {
        "destination_cluster" => (name, "Kubernetes"),
        _ => (name, value),
    });
    let service = |host, name, namespace| {
        [
            ("destination_service", host),
            ("destination_service_name", name),
            ("destination_service_namespace", namespace),
        ]
    };
    let of_echo = service(ECHO_HOST, ECHO_HOST, "shop");
    let of_plain = service("plain.example.com", "plain.example.com", "shop");
    fn rest<'a>(reporter: &'a str, code: &'a str, policy: &'a str) -> [(&'a str, &'a str); 6] {
        [
            ("reporter", reporter),
            ("request_protocol", "http"),
            ("response_code", code),
            ("grpc_response_status", ""),
            ("response_flags", "-"),
            ("connection_security_policy", policy),
        ]
    }
    type Labels<'a> = Vec<&'a [(&'a str, &'a str)]>;
    let plaintext: Vec<(&str, &str)> = echo
        .iter()
        .map(|(name, value)| match *name {
            "destination_principal" => (*name, "unknown"),
            _ => (*name, *value),
        })
        .collect();
    let source_without_tls: Vec<(&str, &str)> = caller
        .iter()
        .map(|(name, value)| match *name {
            "source_principal" => (*name, "unknown"),
            _ => (*name, *value),
        })
        .collect();
    let mut cases = Cases::new("mesh labels");
    let rows: Vec<(&str, &str, (std::net::Ipv4Addr, u16), _, &str, Labels<'_>)> = vec![
        (
            "the client's side",
            "caller-1",
            (ECHO, 80),
            get("/status/417").host(ECHO_HOST),
            "caller-1",
            vec![&caller, &echo, &of_echo],
        ),
        (
            "the server's side",
            "caller-1",
            (ECHO, 80),
            get("/status/418").host(ECHO_HOST),
            "echo-1",
            vec![&caller, &echo, &of_echo],
        ),
        (
            "the server's side, in plaintext",
            "node",
            (ECHO_1, 8080),
            get("/").host(ECHO_HOST),
            "echo-1",
            vec![&nobody, &plaintext, &of_echo],
        ),
        (
            "outside of the mesh",
            "caller-1",
            (PLAIN, 80),
            get("/").host("plain.example.com"),
            "caller-1",
            vec![&source_without_tls, &outside, &of_plain],
        ),
    ];
    for (name, from, to, request, told_by, parts) in rows {
        cases.check(name, || {
            let request = request.header("user-agent", name);
            let code = world.ask(from, to, &request).0.to_string();
            let (reporter, policy) = match (told_by, from) {
                ("caller-1", _) => ("source", "unknown"),
                (_, "node") => ("destination", "none"),
                _ => ("destination", "mutual_tls"),
            };
            let rest = rest(reporter, &code, policy);
            let wanted: BTreeMap<String, String> = parts
                .iter()
                .flat_map(|part| part.iter())
                .chain(&rest)
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            let found = poll(PATIENCE, || {
                world
                    .samples(told_by)
                    .into_iter()
                    .find(|sample| sample.name == "istio_requests_total" && sample.labels == wanted)
            });
            ensure(found.is_some_and(|sample| sample.value == 1.0), || {
                let all = world.samples(told_by).into_iter();
                let all: Vec<String> = all
                    .filter(|sample| sample.name == "istio_requests_total")
                    .map(|sample| format!("{} {:?}", sample.value, sample.labels))
                    .collect();
                format!("wanted {wanted:?} among\n{}", all.join("\n"))
            })
        });
    }
    cases.finish();
}

/// The labels of a side that nobody knows.
fn unknown(side: &str, revision: &'static str) -> [(&'static str, &'static str); 8] {
    let names = if side == "source" {
        [
            "source_app",
            "source_canonical_service",
            "source_cluster",
            "source_principal",
            "source_version",
            "source_workload",
            "source_workload_namespace",
            "source_canonical_revision",
        ]
    } else {
        [
            "destination_app",
            "destination_canonical_service",
            "destination_cluster",
            "destination_principal",
            "destination_version",
            "destination_workload",
            "destination_workload_namespace",
            "destination_canonical_revision",
        ]
    };
    names.map(|name| {
        let value = if name.ends_with("canonical_revision") {
            revision
        } else {
            "unknown"
        };
        (name, value)
    })
}

/// What a query must answer.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// One value or more, all of them greater than nought.
    Positive,
    /// One value, this one.
    Exactly(f64),
    /// One value about there.
    About(f64),
    /// A series with these labels, of a value greater than nought.
    Of(&'static [(&'static str, &'static str)]),
}

#[test]
fn the_standard_dashboards() {
    let world = World::new(Scene {
        yaml: OFTEN,
        ..Scene::default()
    });
    Service::http(&world.pod("echo-1").namespace, "echo-1", 8080);
    Service::http(world.node(), "plain", 8888);
    service::lines(&world.pod("echo-1").namespace, "echo-1", 9000, None);
    let prometheus = prometheus(&world);
    let over = Arc::new(AtomicBool::new(false));
    let caller = &world.pod("caller-1").namespace;
    let post = request("POST", "/").host(ECHO_HOST).body(&"x".repeat(2000));
    let requests = |from: &Namespace, to: (std::net::Ipv4Addr, u16), requests: Vec<Vec<u8>>| {
        let over = Arc::clone(&over);
        from.spawn(move || {
            let mut connection = Connection::open(to.into()).unwrap();
            while !over.load(Ordering::SeqCst) {
                for bytes in &requests {
                    connection.send(bytes);
                    connection.response(false).unwrap();
                }
                pause();
            }
        })
    };
    // Half of what echo is asked fails.
    let clients: Vec<JoinHandle<()>> = vec![
        requests(
            caller,
            (ECHO, 80),
            vec![post.bytes(), get("/status/500").host(ECHO_HOST).bytes()],
        ),
        requests(
            caller,
            (PLAIN, 80),
            vec![get("/status/404").host("plain.example.com").bytes()],
        ),
        requests(
            world.node(),
            (ECHO_1, 8080),
            vec![get("/").host(ECHO_HOST).bytes()],
        ),
        {
            let over = Arc::clone(&over);
            caller.spawn(move || {
                let mut connection = Connection::open((ECHO, 9000).into()).unwrap();
                while !over.load(Ordering::SeqCst) {
                    connection.send(b"hello\n");
                    connection
                        .read_exactly("echo-1 127.0.0.6: hello\n".len())
                        .unwrap();
                    pause();
                }
            })
        },
    ];
    let mut cases = Cases::new("mesh dashboards");
    for (panel, query, answer) in QUERIES {
        cases.check(panel, || {
            let mut last = String::new();
            let right = poll(SCRAPED, || {
                let found = ask(&world, query);
                let right = is_right(&found, *answer);
                last = format!("{found:?}");
                right.then_some(())
            });
            ensure(right.is_some(), || {
                format!("{answer:?} wanted of {query}, but {last}")
            })
        });
    }
    over.store(true, Ordering::SeqCst);
    for client in clients {
        client.join().unwrap();
    }
    drop(prometheus);
    cases.finish();
}

/// Between two rounds of requests: enough of them, not as many as possible.
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}

/// Prometheus on the node, which scrapes the pods as in the cluster: port 15090 of each.
fn prometheus(world: &World) -> Process {
    let place = Place::new();
    let config = "
global: {scrape_interval: 250ms, scrape_timeout: 250ms}
scrape_configs:
- job_name: envoy-stats
  metrics_path: /stats/prometheus
  static_configs: [{targets: ['10.1.0.11:15090', '10.1.0.21:15090']}]
";
    std::fs::write(place.folder().join("prometheus.yml"), config).unwrap();
    let mut command = Command::new("prometheus");
    command.args([
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        &format!("--web.listen-address={NODE}:9090"),
    ]);
    let mut process = world
        .node()
        .inside(|| Process::start("prometheus (Debian package prometheus)", command, place));
    process.wait_until("its port", |_| {
        let probe = get("/-/ready").host("prometheus");
        let ready = interception::exchange(world.node(), (NODE, 9090).into(), &probe);
        ready
            .is_ok_and(|response| response.status == 200)
            .then_some(())
    });
    process
}

/// The labels and values that a query answers now.
fn ask(world: &World, query: &str) -> Vec<(Value, f64)> {
    let query = query
        .replace("$window", "3s")
        .replace("$service", ECHO_HOST);
    let encoded: String = query
        .bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect();
    let path = format!("/api/v1/query?query={encoded}");
    let (status, answer) = world.ask("node", (NODE, 9090), &get(&path).host("prometheus"));
    assert_eq!(status, 200, "{query}: {answer}");
    let results = answer["data"]["result"].as_array().cloned();
    let results = results.unwrap_or_default().into_iter();
    results
        .map(|result| {
            let value = result["value"][1].as_str().unwrap_or_default();
            (result["metric"].clone(), value.parse().unwrap_or(f64::NAN))
        })
        .collect()
}

fn is_right(found: &[(Value, f64)], answer: Answer) -> bool {
    match answer {
        Answer::Positive => !found.is_empty() && found.iter().all(|(_, value)| *value > 0.0),
        Answer::Exactly(wanted) => matches!(found, [(_, value)] if *value == wanted),
        Answer::About(wanted) => {
            matches!(found, [(_, value)] if (*value - wanted).abs() < 0.1)
        }
        Answer::Of(labels) => found.iter().any(|(metric, value)| {
            *value > 0.0 && labels.iter().all(|(name, wanted)| metric[name] == *wanted)
        }),
    }
}

/// The queries of Istio's dashboards in our words: what each panel asks, over the labels that it groups by.
const QUERIES: &[(&str, &str, Answer)] = &[
    (
        "mesh: traffic volume",
        r#"round(sum(rate(istio_requests_total{reporter=~"source|waypoint"}[$window])), 0.01)"#,
        Answer::Positive,
    ),
    (
        "mesh: success rate",
        r#"sum(rate(istio_requests_total{reporter=~"source|waypoint", destination_service="$service", response_code!~"5.."}[$window])) / sum(rate(istio_requests_total{reporter=~"source|waypoint", destination_service="$service"}[$window]))"#,
        Answer::About(0.5),
    ),
    (
        "mesh: 4xx",
        r#"round(sum(rate(istio_requests_total{reporter=~"source|waypoint", response_code=~"4.."}[$window])), 0.01) or vector(0)"#,
        Answer::Positive,
    ),
    (
        "mesh: 5xx",
        r#"round(sum(rate(istio_requests_total{reporter=~"source|waypoint", response_code=~"5.."}[$window])), 0.01) or vector(0)"#,
        Answer::Positive,
    ),
    (
        "mesh: HTTP workloads, requests",
        r#"label_join(sum by (destination_workload, destination_workload_namespace, destination_service) (rate(istio_requests_total{reporter=~"source|waypoint"}[$window])), "destination_workload_var", ".", "destination_workload", "destination_workload_namespace")"#,
        Answer::Of(&[
            ("destination_workload_var", "echo.shop"),
            ("destination_service", ECHO_HOST),
        ]),
    ),
    (
        "mesh: HTTP workloads, median",
        r#"label_join(histogram_quantile(0.5, sum by (le, destination_workload, destination_workload_namespace) (rate(istio_request_duration_milliseconds_bucket{reporter=~"source|waypoint"}[$window]))), "destination_workload_var", ".", "destination_workload", "destination_workload_namespace")"#,
        Answer::Of(&[("destination_workload_var", "echo.shop")]),
    ),
    (
        "mesh: HTTP workloads, 99th percentile",
        r#"label_join(histogram_quantile(0.99, sum by (le, destination_workload, destination_workload_namespace) (rate(istio_request_duration_milliseconds_bucket{reporter=~"source|waypoint"}[$window]))), "destination_workload_var", ".", "destination_workload", "destination_workload_namespace")"#,
        Answer::Of(&[("destination_workload_var", "echo.shop")]),
    ),
    (
        "mesh: HTTP workloads, success rate",
        r#"label_join(sum by (destination_workload, destination_workload_namespace) (rate(istio_requests_total{reporter=~"source|waypoint", response_code!~"5.."}[$window])) / sum by (destination_workload, destination_workload_namespace) (rate(istio_requests_total{reporter=~"source|waypoint"}[$window])), "destination_workload_var", ".", "destination_workload", "destination_workload_namespace")"#,
        Answer::Of(&[("destination_workload_var", "echo.shop")]),
    ),
    (
        "mesh: TCP workloads, received",
        r#"label_join(sum by (destination_workload, destination_workload_namespace, destination_service) (rate(istio_tcp_received_bytes_total{reporter=~"source|waypoint"}[$window])), "destination_workload_var", ".", "destination_workload", "destination_workload_namespace")"#,
        Answer::Of(&[
            ("destination_workload_var", "echo.shop"),
            ("destination_service", ECHO_HOST),
        ]),
    ),
    (
        "mesh: TCP workloads, sent",
        r#"sum by (destination_workload, destination_workload_namespace, destination_service) (rate(istio_tcp_sent_bytes_total{reporter=~"source|waypoint"}[$window]))"#,
        Answer::Of(&[
            ("destination_workload", "echo"),
            ("destination_workload_namespace", "shop"),
        ]),
    ),
    (
        "mesh: versions of components",
        "sum by (component, tag) (istio_build)",
        Answer::Exactly(2.0),
    ),
    (
        "mesh: versions of components, by name",
        "sum by (component, tag) (istio_build)",
        Answer::Of(&[("component", "proxy"), ("tag", "1.29.2")]),
    ),
    (
        "control plane: connections that clients report",
        r#"sum(envoy_cluster_upstream_cx_active{cluster_name="xds-grpc"})"#,
        Answer::Exactly(2.0),
    ),
    (
        "service: client request volume",
        r#"round(sum(irate(istio_requests_total{reporter=~"source", destination_service="$service"}[$window])), 0.001)"#,
        Answer::Positive,
    ),
    (
        "service: client success rate",
        r#"sum(rate(istio_requests_total{reporter=~"source", destination_service="$service", response_code!~"5.*"}[$window])) / (sum(rate(istio_requests_total{reporter=~"source", destination_service="$service"}[$window])) or on () vector(1))"#,
        Answer::About(0.5),
    ),
    (
        "service: client request duration",
        r#"(histogram_quantile(0.50, sum(irate(istio_request_duration_milliseconds_bucket{reporter=~"source", destination_service="$service"}[$window])) by (le)) / 1000) or histogram_quantile(0.50, sum(irate(istio_request_duration_seconds_bucket{reporter=~"source", destination_service="$service"}[$window])) by (le))"#,
        Answer::Positive,
    ),
    (
        "service: TCP received",
        r#"sum(irate(istio_tcp_received_bytes_total{reporter=~"source", destination_service="$service"}[$window]))"#,
        Answer::Positive,
    ),
    (
        "service: TCP sent",
        r#"sum(irate(istio_tcp_sent_bytes_total{reporter=~"source", destination_service="$service"}[$window]))"#,
        Answer::Positive,
    ),
    (
        "service: server request volume",
        r#"round(sum(irate(istio_requests_total{reporter="destination", destination_service="$service"}[$window])), 0.001)"#,
        Answer::Positive,
    ),
    (
        "service: server request duration",
        r#"(histogram_quantile(0.90, sum(irate(istio_request_duration_milliseconds_bucket{reporter="destination", destination_service="$service"}[$window])) by (le)) / 1000)"#,
        Answer::Positive,
    ),
    (
        "service: requests by source and code, mutual TLS",
        r#"round(sum(irate(istio_requests_total{connection_security_policy="mutual_tls", destination_service="$service", reporter=~"destination", source_workload=~"caller", source_workload_namespace=~"shop"}[$window])) by (source_workload, source_workload_namespace, response_code), 0.001)"#,
        Answer::Of(&[
            ("source_workload", "caller"),
            ("source_workload_namespace", "shop"),
            ("response_code", "500"),
        ]),
    ),
    (
        "service: requests by source and code, plaintext",
        r#"round(sum(irate(istio_requests_total{connection_security_policy!="mutual_tls", destination_service="$service", reporter=~"destination", source_workload=~"unknown", source_workload_namespace=~"unknown"}[$window])) by (source_workload, source_workload_namespace, response_code), 0.001)"#,
        Answer::Of(&[("source_workload", "unknown"), ("response_code", "200")]),
    ),
    (
        "service: request size by source",
        r#"histogram_quantile(0.99, sum(irate(istio_request_bytes_bucket{reporter=~"destination", connection_security_policy="mutual_tls", destination_service="$service", source_workload=~"caller", source_workload_namespace=~"shop"}[$window])) by (source_workload, source_workload_namespace, le))"#,
        Answer::Of(&[("source_workload", "caller")]),
    ),
    (
        "service: size of a request with 2000 bytes of body",
        r#"histogram_quantile(0.99, sum(rate(istio_request_bytes_bucket{reporter="destination", connection_security_policy="mutual_tls", destination_service="$service", response_code="200"}[$window])) by (le)) > bool 1999"#,
        Answer::Exactly(1.0),
    ),
    (
        "service: response size by source",
        r#"histogram_quantile(0.95, sum(irate(istio_response_bytes_bucket{reporter=~"destination", connection_security_policy="mutual_tls", destination_service="$service", source_workload=~"caller", source_workload_namespace=~"shop"}[$window])) by (source_workload, source_workload_namespace, le))"#,
        Answer::Of(&[("source_workload", "caller")]),
    ),
    (
        "service: TCP received by source",
        r#"round(sum(irate(istio_tcp_received_bytes_total{reporter=~"destination", connection_security_policy="mutual_tls", destination_service=~"$service", source_workload=~"caller", source_workload_namespace=~"shop"}[$window])) by (source_workload, source_workload_namespace), 0.001)"#,
        Answer::Of(&[("source_workload", "caller")]),
    ),
    (
        "workload: incoming requests",
        r#"round(sum(irate(istio_requests_total{reporter=~"destination", destination_workload_namespace=~"shop", destination_workload=~"echo"}[$window])), 0.001)"#,
        Answer::Positive,
    ),
    (
        "workload: incoming request duration by source",
        r#"(histogram_quantile(0.50, sum(irate(istio_request_duration_milliseconds_bucket{reporter=~"destination", connection_security_policy="mutual_tls", destination_workload=~"echo", destination_workload_namespace=~"shop", source_workload=~"caller", source_workload_namespace=~"shop"}[$window])) by (source_workload, source_workload_namespace, le)) / 1000)"#,
        Answer::Of(&[("source_workload", "caller")]),
    ),
    (
        "workload: bytes received from incoming TCP",
        r#"round(sum(irate(istio_tcp_received_bytes_total{reporter=~"destination", connection_security_policy="mutual_tls", destination_workload_namespace=~"shop", destination_workload=~"echo", source_workload=~"caller", source_workload_namespace=~"shop"}[$window])) by (source_workload, source_workload_namespace), 0.001)"#,
        Answer::Of(&[("source_workload_namespace", "shop")]),
    ),
    (
        "workload: outgoing requests by destination, mutual TLS",
        r#"round(sum(irate(istio_requests_total{destination_principal=~"spiffe.*", source_workload_namespace=~"shop", source_workload=~"caller", reporter="source", destination_service=~"$service"}[$window])) by (destination_service, response_code), 0.001)"#,
        Answer::Of(&[("destination_service", ECHO_HOST), ("response_code", "200")]),
    ),
    (
        "workload: outgoing requests by destination, plaintext",
        r#"round(sum(irate(istio_requests_total{destination_principal!~"spiffe.*", source_workload_namespace=~"shop", source_workload=~"caller", reporter="source"}[$window])) by (destination_service, response_code), 0.001)"#,
        Answer::Of(&[
            ("destination_service", "plain.example.com"),
            ("response_code", "404"),
        ]),
    ),
    (
        "workload: outgoing request size",
        r#"histogram_quantile(0.50, sum(irate(istio_request_bytes_bucket{reporter="source", connection_security_policy!="mutual_tls", source_workload=~"caller", source_workload_namespace=~"shop", destination_service=~"$service"}[$window])) by (destination_service, le))"#,
        Answer::Of(&[("destination_service", ECHO_HOST)]),
    ),
    (
        "workload: bytes sent on outgoing TCP",
        r#"round(sum(irate(istio_tcp_received_bytes_total{connection_security_policy!="mutual_tls", reporter="source", source_workload_namespace=~"shop", source_workload=~"caller", destination_service=~"$service"}[$window])) by (destination_service), 0.001)"#,
        Answer::Of(&[("destination_service", ECHO_HOST)]),
    ),
    (
        "variable: namespaces",
        "sum(istio_requests_total) by (destination_workload_namespace) or sum(istio_tcp_sent_bytes_total) by (destination_workload_namespace)",
        Answer::Of(&[("destination_workload_namespace", "shop")]),
    ),
    (
        "variable: services",
        r#"sum(istio_requests_total{}) by (destination_service) or sum(istio_tcp_sent_bytes_total{}) by (destination_service)"#,
        Answer::Of(&[("destination_service", ECHO_HOST)]),
    ),
    (
        "variable: clusters",
        r#"sum(istio_requests_total{reporter="destination"}) by (destination_cluster)"#,
        Answer::Of(&[("destination_cluster", "Kubernetes")]),
    ),
];

/// How long the samples of a window take to be there.
const SCRAPED: Duration = Duration::from_secs(20);

const OFTEN: &str = "
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: often, namespace: shop}
spec:
  metrics: [{providers: [{name: prometheus}], reportingInterval: 200ms}]
";
