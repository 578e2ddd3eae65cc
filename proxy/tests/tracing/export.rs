//! How spans reach a collector: who tells, the two protocols, what is counted, and the end of the process.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::config::{self, any, cluster, http2, listener, manager, virtual_host};
use crate::support::http1::{Connection, get};
use crate::support::place::Place;
use crate::support::process::{Process, Program, settles};
use crate::support::upstream::{Log, Seen, Upstream, reply};
use crate::support::upstream2::{Act as Act2, Upstream2};
use crate::support::{PATIENCE, poll};
use crate::told::{resource, spans};

const PORT: u16 = 10_000;

#[test]
fn who_tells() {
    let config = json!({
        "http_service": {
            "http_uri": {"uri": "http://collector.test:4318/v1/traces", "cluster": "collector", "timeout": "5s"},
            "request_headers_to_add": [
                {"header": {"key": "x-token", "value": "secret"}},
                {"header": {"key": "x-variable", "value": "%ENVIRONMENT(CARBYNE_NO_SUCH_VARIABLE)%"}},
            ],
        },
        "service_name": "the-service",
        "resource_detectors": [
            detector("static_config", "StaticConfigResourceDetectorConfig", json!({"attributes": {"deployment.environment": "test", "service.name": "detected"}})),
            detector("environment", "EnvironmentResourceDetectorConfig", json!({})),
        ],
    });
    let mut shown = Vec::new();
    for program in [Program::Envoy, Program::Carbyne] {
        let told = Log::default();
        let collector = Upstream::http("collector", &told);
        let tracer = open_telemetry(&config);
        let process = start(program, &tracer, collector.port(), json!({}), true);
        ask(&process);
        let seen = first(&told);
        assert_eq!(seen.line, "POST /v1/traces HTTP/1.1");
        assert_eq!(seen.header("host"), Some("collector.test:4318"));
        assert_eq!(seen.header("x-token"), Some("secret"));
        assert_eq!(seen.header("x-variable"), Some("-"));
        assert_eq!(spans(&seen).len(), 1);
        let mut attributes = resource(&seen);
        // Each names itself.
        for own in ["name", "language", "version"] {
            assert!(attributes.remove(&format!("telemetry.sdk.{own}")).is_some());
        }
        shown.push(attributes);
    }
    assert_eq!(shown[0], shown[1]);
    assert_eq!(shown[1]["deployment.environment"], "test");
}

#[test]
fn over_grpc() {
    let config = json!({
        "grpc_service": {
            "envoy_grpc": {"cluster_name": "collector", "authority": "collector.test"},
            "initial_metadata": [{"key": "x-token", "value": "secret"}],
            "timeout": "5s",
        },
    });
    for program in [Program::Envoy, Program::Carbyne] {
        let told = Log::default();
        let collector = Upstream2::plain("collector", &told);
        collector.script(&[vec![
            Act2::Headers(
                vec![(":status", "200"), ("content-type", "application/grpc")],
                false,
            ),
            Act2::Data(vec![0; 5], false),
            Act2::Headers(vec![("grpc-status", "0")], true),
        ]]);
        let tracer = open_telemetry(&config);
        let process = start(program, &tracer, collector.port(), http2(), true);
        ask(&process);
        let seen = first(&told);
        let expected = "POST /opentelemetry.proto.collector.trace.v1.TraceService/Export HTTP/2";
        assert_eq!(seen.line, expected, "{program:?}");
        assert_eq!(seen.header(":authority"), Some("collector.test"));
        assert_eq!(seen.header("te"), Some("trailers"));
        assert_eq!(seen.header("x-token"), Some("secret"));
        assert_eq!(spans(&seen).len(), 1);
        counts(&process, "tracing.opentelemetry.spans_sent: 1");
        counts(&process, "http.way.tracing.random_sampling: 1");
    }
}

#[test]
fn what_becomes_of_reports() {
    let cases = [
        ("collector", "202 Accepted", "reports_sent"),
        ("collector", "500 Oh", "reports_dropped"),
        ("dead", "", "reports_failed"),
    ];
    for program in [Program::Envoy, Program::Carbyne] {
        for (name, status, counter) in cases {
            let told = Log::default();
            let collector = Upstream::http("collector", &told);
            if !status.is_empty() {
                collector.script(&[vec![reply(status, &[], "")]]);
            }
            let process = start(program, &zipkin(name), collector.port(), json!({}), true);
            ask(&process);
            counts(&process, "tracing.zipkin.spans_sent: 1");
            // A connection that is refused is answered by Envoy's own 503.
            let counter = match program {
                Program::Envoy if name == "dead" => "reports_dropped",
                _ => counter,
            };
            counts(&process, &format!("tracing.zipkin.{counter}: 1"));
        }
    }
}

#[test]
fn nothing_is_lost_at_the_end() {
    let told = Log::default();
    let collector = Upstream::http("collector", &told);
    // With the usual five seconds and five spans, nothing would be told before.
    let mut process = start(
        Program::Carbyne,
        &zipkin("collector"),
        collector.port(),
        json!({}),
        false,
    );
    for _ in 0..3 {
        ask(&process);
    }
    assert!(told.lock().unwrap().is_empty());
    let id = process.process_id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .unwrap()
            .success()
    );
    assert!(settles(PATIENCE, || !process.is_running()));
    let told: usize = told
        .lock()
        .unwrap()
        .iter()
        .map(|seen| spans(seen).len())
        .sum();
    assert_eq!(told, 3);
}

#[test]
fn a_tracer_that_is_not_served_stops_nobody() {
    let tracer = json!({
        "name": "envoy.tracers.datadog",
        "typed_config": any("envoy.config.trace.v3.DatadogConfig", json!({"collector_cluster": "collector", "service_name": "the-service"})),
    });
    let told = Log::default();
    let collector = Upstream::http("collector", &told);
    let process = start(Program::Carbyne, &tracer, collector.port(), json!({}), true);
    ask(&process);
    counts(&process, "http.way.tracing.random_sampling: 1");
}

fn ask(process: &Process) {
    let mut connection = Connection::open(process.at(PORT)).unwrap();
    connection.send(&get("/").header("connection", "close").bytes());
    assert_eq!(connection.response(false).unwrap().status, 200);
}

fn first(told: &Log) -> Seen {
    poll(PATIENCE, || told.lock().unwrap().first().cloned()).expect("the collector is told")
}

fn counts(process: &Process, line: &str) {
    let reached = settles(PATIENCE, || {
        let (_, body) = process.admin("GET", "/stats?filter=tracing").unwrap();
        body.lines().any(|shown| shown == line)
    });
    assert!(
        reached,
        "{line}\n{}",
        process.admin("GET", "/stats?filter=tracing").unwrap().1
    );
}

/// A proxy whose only route answers, so that its only cluster that is called is the collector's.
fn start(program: Program, tracer: &Value, port: u16, more: Value, at_once: bool) -> Process {
    Process::proxy(program, |place: &Place| {
        let routes = json!([{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]);
        let hosts = json!([virtual_host("host", &["*"], routes)]);
        let tracing = json!({"provider": tracer});
        let manager = manager("way", hosts, Vec::new(), json!({"tracing": tracing}));
        let clusters = vec![
            cluster("collector", &[port], more),
            cluster("dead", &[crate::support::upstream::dead_port()], json!({})),
        ];
        let listeners = vec![listener(place, "way", PORT, vec![manager])];
        let mut bootstrap = config::bootstrap(place, listeners, clusters);
        if at_once {
            bootstrap["layered_runtime"] = json!({"layers": [{"name": "static", "static_layer": {
                "tracing.opentelemetry.min_flush_spans": 1, "tracing.zipkin.min_flush_spans": 1,
            }}]});
        }
        bootstrap
    })
}

fn open_telemetry(config: &Value) -> Value {
    json!({
        "name": "envoy.tracers.opentelemetry",
        "typed_config": any("envoy.config.trace.v3.OpenTelemetryConfig", config.clone()),
    })
}

fn zipkin(cluster: &str) -> Value {
    json!({
        "name": "envoy.tracers.zipkin",
        "typed_config": any("envoy.config.trace.v3.ZipkinConfig", json!({
            "collector_cluster": cluster,
            "collector_endpoint": "/api/v2/spans",
            "collector_endpoint_version": "HTTP_JSON",
        })),
    })
}

fn detector(name: &str, message: &str, fields: Value) -> Value {
    json!({
        "name": format!("envoy.tracers.opentelemetry.resource_detectors.{name}"),
        "typed_config": any(&format!("envoy.extensions.tracers.opentelemetry.resource_detectors.v3.{message}"), fields),
    })
}
