//! Access logs as OTLP records, through real Envoy and ours.

use carbyne_protos::opentelemetry::proto::collector::logs::v1::ExportLogsServiceRequest;
use carbyne_protos::opentelemetry::proto::common::v1::any_value::Value as Wire;
use carbyne_protos::opentelemetry::proto::common::v1::{AnyValue, KeyValue};
use prost::Message as _;
use serde_json::{Value, json};

use crate::support::config::{
    self, any, cluster, http2, listener, manager, network_filter, virtual_host,
};
use crate::support::http1::{Connection, get};
use crate::support::process::{Process, Program, settles};
use crate::support::upstream::{Log, Seen, Upstream};
use crate::support::upstream2::{Act as Act2, Upstream2};
use crate::support::{PATIENCE, poll};

const PORT: u16 = 10_000;

/// What istiod makes of an `envoyOtelAls` provider, and what else there is.
fn config(service: Value) -> Value {
    let text = |text: &str| json!({"string_value": text});
    let mut config = json!({
        "body": text("%REQ(:METHOD)% %PROTOCOL% %RESPONSE_CODE% %REQ(x-not-sent)%\n"),
        "attributes": {"values": [
            {"key": "path", "value": text("%REQ(:PATH)%")},
            {"key": "missing", "value": text("%REQ(x-not-sent)%")},
            {"key": "list", "value": {"array_value": {"values": [text("%RESPONSE_FLAGS%"), text("two")]}}},
            {"key": "pairs", "value": {"kvlist_value": {"values": [{"key": "inner", "value": text("%RESPONSE_CODE%")}]}}},
        ]},
        "resource_attributes": {"values": [{"key": "of", "value": text("the %PROTOCOL% suite")}]},
        "custom_tags": [{"tag": "tag", "literal": {"value": "of the logger"}}],
    });
    if let (Value::Object(config), Value::Object(service)) = (&mut config, service) {
        config.extend(service);
    }
    json!([{
        "name": "envoy.access_loggers.open_telemetry",
        "typed_config": any("envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig", config),
    }])
}

#[test]
fn records_of_requests() {
    let grpc = json!({"common_config": {
        "log_name": "the-log", "transport_api_version": "V3", "buffer_flush_interval": "0.05s",
        "grpc_service": {"envoy_grpc": {"cluster_name": "collector", "authority": "collector.test"}},
    }});
    let http = json!({
        "log_name": "the-log", "stat_prefix": "prefix", "buffer_flush_interval": "0.05s", "disable_builtin_labels": true,
        "http_service": {"http_uri": {"uri": "collector.test/v1/logs", "cluster": "collector", "timeout": "5s"}},
    });
    for (service, counter) in [(grpc, ""), (http, "prefix.")] {
        let over_grpc = counter.is_empty();
        for traced in [true, false] {
            let shown = [Program::Envoy, Program::Carbyne].map(|program| {
                let told = Log::default();
                let seen = if over_grpc {
                    let collector = Upstream2::plain("collector", &told);
                    collector.script(&vec![accepted(); 8]);
                    let process = start(program, &service, collector.port(), http2(), traced);
                    told_once(&process, &told, counter)
                } else {
                    let collector = Upstream::http("collector", &told);
                    let process = start(program, &service, collector.port(), json!({}), traced);
                    told_once(&process, &told, counter)
                };
                lines(&seen)
            });
            let [theirs, ours] = shown;
            assert_eq!(ours, theirs, "{service} {traced}");
            let expected = "body \"GET HTTP/1.1 200 -\\n\"";
            assert!(theirs.iter().any(|line| line == expected), "{theirs:#?}");
            let ids = format!("trace {traced} span {traced}");
            assert!(theirs.contains(&ids), "{theirs:#?}");
        }
    }
}

#[test]
fn records_of_streams() {
    let service = json!({"log_name": "streams", "buffer_flush_interval": "0.05s",
        "http_service": {"http_uri": {"uri": "collector.test/v1/logs", "cluster": "collector", "timeout": "5s"}}});
    let shown = [Program::Envoy, Program::Carbyne].map(|program| {
        let told = Log::default();
        let collector = Upstream::http("collector", &told);
        let host = Upstream::tcp("host", &told);
        let process = Process::proxy(program, |place| {
            let proxy = network_filter(
                "envoy.filters.network.tcp_proxy",
                "tcp_proxy.v3.TcpProxy",
                json!({"stat_prefix": "way", "cluster": "host", "access_log": config(service.clone())}),
            );
            let clusters = vec![
                cluster("collector", &[collector.port()], json!({})),
                cluster("host", &[host.port()], json!({})),
            ];
            config::bootstrap(place, vec![listener(place, "way", PORT, vec![proxy])], clusters)
        });
        let mut connection = Connection::open(process.at(PORT)).unwrap();
        connection.send(b"hello");
        connection.read_exactly(5).unwrap();
        drop(connection);
        let seen = poll(PATIENCE, || told.lock().unwrap().first().cloned());
        lines(&seen.expect("the collector is told"))
    });
    let [theirs, ours] = shown;
    assert_eq!(ours, theirs);
    assert!(
        theirs.iter().any(|line| line == "attribute missing \"-\""),
        "{theirs:#?}"
    );
}

fn accepted() -> Vec<Act2> {
    vec![
        Act2::Headers(
            vec![(":status", "200"), ("content-type", "application/grpc")],
            false,
        ),
        Act2::Data(vec![0; 5], false),
        Act2::Headers(vec![("grpc-status", "0")], true),
    ]
}

fn told_once(process: &Process, told: &Log, counter: &str) -> Seen {
    let mut connection = Connection::open(process.at(PORT)).unwrap();
    connection.send(&get("/path").header("connection", "close").bytes());
    assert_eq!(connection.response(false).unwrap().status, 200);
    let seen = poll(PATIENCE, || told.lock().unwrap().first().cloned());
    let written = format!("access_logs.open_telemetry_access_log.{counter}logs_written: 1");
    let page = || process.admin("GET", "/stats?filter=access_logs").unwrap().1;
    assert!(
        settles(PATIENCE, || page().lines().any(|line| line == written)),
        "{}",
        page()
    );
    seen.expect("the collector is told")
}

fn start(program: Program, service: &Value, port: u16, more: Value, traced: bool) -> Process {
    Process::proxy(program, |place| {
        let routes = json!([{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]);
        let hosts = json!([virtual_host("host", &["*"], routes)]);
        let mut fields = json!({"access_log": config(service.clone())});
        if traced {
            // Not sampled: a record belongs to its trace all the same.
            fields["tracing"] = json!({
                "random_sampling": {"value": 0},
                "provider": {
                    "name": "envoy.tracers.opentelemetry",
                    "typed_config": any("envoy.config.trace.v3.OpenTelemetryConfig", json!({
                        "http_service": {"http_uri": {"uri": "collector.test/v1/traces", "cluster": "collector", "timeout": "5s"}},
                    })),
                },
            });
        }
        let manager = manager("way", hosts, Vec::new(), fields);
        let clusters = vec![cluster("collector", &[port], more)];
        let listeners = vec![listener(place, "way", PORT, vec![manager])];
        let mut bootstrap = config::bootstrap(place, listeners, clusters);
        bootstrap["node"]["locality"] = json!({"zone": "zone-1"});
        bootstrap
    })
}

/// What one message tells, without ids and times.
fn lines(seen: &Seen) -> Vec<String> {
    let bytes = if seen.header("content-type") == Some("application/grpc") {
        &seen.body[5..]
    } else {
        &seen.body
    };
    let message = ExportLogsServiceRequest::decode(bytes).unwrap();
    let mut lines = vec![seen.line.clone()];
    for logs in &message.resource_logs {
        let resource = logs.resource.as_ref().unwrap();
        lines.extend(
            resource
                .attributes
                .iter()
                .map(|it| format!("resource {}", shown(it))),
        );
        for record in logs.scope_logs.iter().flat_map(|scope| &scope.log_records) {
            assert!(record.time_unix_nano > 0);
            lines.extend(
                record
                    .body
                    .as_ref()
                    .map(|body| format!("body {}", value(body))),
            );
            lines.extend(
                record
                    .attributes
                    .iter()
                    .map(|it| format!("attribute {}", shown(it))),
            );
            let (trace, span) = (record.trace_id.len() == 16, record.span_id.len() == 8);
            lines.push(format!("trace {trace} span {span}"));
        }
    }
    lines.sort();
    lines
}

fn shown(pair: &KeyValue) -> String {
    format!(
        "{} {}",
        pair.key,
        pair.value.as_ref().map(value).unwrap_or_default()
    )
}

fn value(value: &AnyValue) -> String {
    let inner = |list: &[AnyValue]| list.iter().map(self::value).collect::<Vec<_>>().join(" ");
    match &value.value {
        Some(Wire::StringValue(text)) => format!("{text:?}"),
        Some(Wire::ArrayValue(list)) => format!("[{}]", inner(&list.values)),
        Some(Wire::KvlistValue(list)) => {
            format!(
                "{{{}}}",
                list.values.iter().map(shown).collect::<Vec<_>>().join(" ")
            )
        }
        other => format!("{other:?}"),
    }
}
