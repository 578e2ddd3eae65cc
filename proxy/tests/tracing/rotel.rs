//! Two proxies on the way of a request, and rotel: one trace, told over gRPC by the first and over HTTP by the second.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::config::{self, any, cluster, http2, listener, manager, socket, virtual_host};
use crate::support::http1::{Connection, get};
use crate::support::place::Place;
use crate::support::process::{Process, Program};
use crate::support::upstream::{Log, Upstream};
use crate::support::{PATIENCE, poll, report_cases};

const GRPC: u16 = 4317;
const HTTP: u16 = 4318;
const PORT: u16 = 10_000;

#[test]
fn two_hops_are_one_trace_at_rotel() {
    let rotel = rotel();
    let (to_grpc, to_http) = (rotel.at(GRPC), rotel.at(HTTP));
    let log = Log::default();
    let service = Upstream::http("service", &log);
    let collector = |address: std::net::SocketAddr, more: Value| {
        let mut cluster = cluster("rotel", &[], more);
        cluster["load_assignment"] = assignment("rotel", address);
        cluster
    };
    let server = Process::proxy(Program::Carbyne, |place| {
        let provider = json!({
            "http_service": {"http_uri": {"uri": "rotel.test/v1/traces", "cluster": "rotel", "timeout": "5s"}},
            "service_name": "server",
        });
        let clusters = vec![
            cluster("next", &[service.port()], json!({})),
            collector(to_http, json!({})),
        ];
        bootstrap(place, "INBOUND", &provider, json!({}), clusters)
    });
    let client = Process::proxy(Program::Carbyne, |place| {
        let provider = json!({
            "grpc_service": {"envoy_grpc": {"cluster_name": "rotel", "authority": "rotel.test"}},
            "service_name": "client",
        });
        let mut next = cluster("next", &[], json!({}));
        next["load_assignment"] = assignment("next", server.at(PORT));
        let clusters = vec![next, collector(to_grpc, http2())];
        let named = json!({"decorator": {"operation": "service.namespace:80/*"}});
        bootstrap(place, "OUTBOUND", &provider, named, clusters)
    });
    let ask = |traceparent: &str| {
        let mut request = get("/");
        if !traceparent.is_empty() {
            request = request.header("traceparent", traceparent);
        }
        let mut connection = Connection::open(client.at(PORT)).unwrap();
        connection.send(&request.bytes());
        assert_eq!(connection.response(false).unwrap().status, 200);
    };
    let (unsampled, sampled) = ("1".repeat(32), "2".repeat(32));
    ask("");
    ask(&format!("00-{unsampled}-{}-00", "1".repeat(16)));
    ask(&format!("00-{sampled}-{}-01", "2".repeat(16)));
    let of = |spans: &[Told], trace: &str| -> Vec<Told> {
        let mut found: Vec<_> = spans
            .iter()
            .filter(|span| span["Trace ID"] == trace)
            .cloned()
            .collect();
        found.sort_by_key(|span| span["Kind"].clone());
        found
    };
    let spans = poll(PATIENCE, || {
        let spans = told(&rotel);
        (of(&spans, &sampled).len() == 2).then_some(spans)
    });
    let spans = spans.unwrap_or_else(|| panic!("rotel was not told:\n{}", rotel.stderr()));
    // A program tells in order, so nothing of the second request can come any more.
    assert_eq!(spans.len(), 4, "{spans:?}");
    let seen = log.lock().unwrap().clone();
    let traces: Vec<_> = seen
        .iter()
        .map(|seen| seen.header("traceparent").unwrap().to_owned())
        .collect();
    let [first, second, third] = &*traces else {
        panic!("{traces:?}")
    };
    assert!(second.starts_with(&format!("00-{unsampled}-")) && second.ends_with("-00"));
    for (parent, traceparent) in [("", first), (&*"2".repeat(16), third)] {
        let parts: Vec<_> = traceparent.split('-').collect();
        let [_, trace, last, "01"] = *parts else {
            panic!("{traceparent}")
        };
        let [client, server] = &*of(&spans, trace) else {
            panic!("{spans:?}")
        };
        assert_eq!(
            (&*client["Kind"], &*server["Kind"]),
            ("SPAN_KIND_CLIENT", "SPAN_KIND_SERVER")
        );
        assert_eq!(client["Parent ID"], parent);
        assert_eq!(server["Parent ID"], client["ID"]);
        assert_eq!(server["ID"], last);
        for span in [client, server] {
            // The route of the first names it, and its proxy tells the second.
            assert_eq!(span["Name"], "service.namespace:80/*");
            assert_eq!(span["Status code"], "STATUS_CODE_UNSET");
            assert_eq!(span["-> http.status_code"], "Str(200)");
            assert_eq!(span["-> istio.canonical_service"], "Str(suite)");
            let (start, end) = (&span["Start time"], &span["End time"]);
            assert!(start.parse::<u64>().unwrap() <= end.parse().unwrap());
        }
        assert_eq!(client["-> service.name"], "Str(client)");
        assert_eq!(server["-> service.name"], "Str(server)");
    }
    report_cases("tracing-rotel", 3, 3);
}

type Told = BTreeMap<String, String>;

/// The spans that rotel printed, each with the attributes of its resource.
fn told(rotel: &Process) -> Vec<Told> {
    let (lines, _) = rotel.log_lines("stdout", 0);
    let mut spans: Vec<Told> = Vec::new();
    let mut resource = Told::new();
    let mut in_span = false;
    for line in lines.iter().map(|line| line.trim()) {
        if line.starts_with("ResourceSpans #") {
            resource.clear();
            in_span = false;
        } else if line.starts_with("Span #") {
            spans.push(resource.clone());
            in_span = true;
        } else if let Some((key, value)) = line.split_once(':') {
            let into = match spans.last_mut() {
                Some(span) if in_span => span,
                _ => &mut resource,
            };
            into.insert(key.trim().to_owned(), value.trim().to_owned());
        }
    }
    spans
}

fn rotel() -> Process {
    let cache = std::env::var_os("CARBYNE_CACHE").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/carbyne"),
        PathBuf::from,
    );
    let venv = std::env::var_os("CARBYNE_VENV").map_or_else(|| cache.join("venv"), PathBuf::from);
    let library = venv.join("lib");
    let found = std::fs::read_dir(&library).ok().and_then(|folders| {
        folders
            .flatten()
            .map(|folder| folder.path().join("site-packages/rotel/rotel-agent"))
            .find(|path| path.exists())
    });
    let path = found.unwrap_or_else(|| {
        panic!(
            "rotel was not found under {}: run `.ci/setup test` (it installs rotel from PyPI)",
            library.display()
        )
    });
    let place = Place::new();
    let mut command = Command::new(path);
    let (grpc, http) = (place.at(GRPC).to_string(), place.at(HTTP).to_string());
    command.args(["start", "--pid-file", "pid", "--log-file", "log"]);
    command.args(["--otlp-grpc-endpoint", &grpc, "--otlp-http-endpoint", &http]);
    command.args(["--exporter", "blackhole", "--debug-log", "traces"]);
    command.args(["--debug-log-verbosity", "detailed"]);
    let mut rotel = Process::start("rotel", command, place);
    rotel.wait_for_port(GRPC);
    rotel.wait_for_port(HTTP);
    rotel
}

fn bootstrap(
    place: &Place,
    direction: &str,
    provider: &Value,
    route: Value,
    clusters: Vec<Value>,
) -> Value {
    let mut all = json!({"match": {"prefix": "/"}, "route": {"cluster": "next"}});
    if let (Value::Object(all), Value::Object(route)) = (&mut all, route) {
        all.extend(route);
    }
    let hosts = json!([virtual_host("host", &["*"], json!([all]))]);
    let tracing = json!({
        "provider": {
            "name": "envoy.tracers.opentelemetry",
            "typed_config": any("envoy.config.trace.v3.OpenTelemetryConfig", provider.clone()),
        },
        "custom_tags": [{"tag": "istio.canonical_service", "literal": {"value": "suite"}}],
    });
    let manager = manager("way", hosts, Vec::new(), json!({"tracing": tracing}));
    let mut listener = listener(place, "way", PORT, vec![manager]);
    listener["traffic_direction"] = direction.into();
    let mut bootstrap = config::bootstrap(place, vec![listener], clusters);
    bootstrap["layered_runtime"] = json!({"layers": [{"name": "static", "static_layer": {
        "tracing": {"opentelemetry": {"flush_interval_ms": 50}},
    }}]});
    bootstrap
}

fn assignment(name: &str, address: std::net::SocketAddr) -> Value {
    let endpoint =
        json!({"endpoint": {"address": socket(&address.ip().to_string(), address.port())}});
    json!({"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]})
}
