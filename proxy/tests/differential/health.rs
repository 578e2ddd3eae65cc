//! Active health checks: which hosts get traffic after the first round, and what is counted.

use serde_json::{Value, json};

use super::to;
use crate::case::{Case, PORT, Table, case, does};
use crate::support::config::{cluster, http2, listener, manager, virtual_host};
use crate::support::http1::get;
use crate::support::upstream::dead_port;
use crate::support::upstream2::Upstream2;

/// Clusters, and whether a request to each is answered by its live host.
const CLUSTERS: [(&str, bool); 12] = [
    ("passes", true),
    ("other-status", false),
    ("status-range", true),
    ("refused", false),
    ("panics", true),
    ("one-of-two", true),
    ("tcp", true),
    ("tcp-refused", false),
    ("tcp-silent", false),
    ("http2", true),
    ("grpc-unimplemented", false),
    ("asks-by-head", true),
];

#[test]
fn health() {
    let mut table = Table::new("health", &["one"]);
    table
        .upstreams2
        .push(Upstream2::plain("second", &table.log));
    let live = table.upstreams[0].port();
    let second = table.upstreams2[0].port();
    let dead = dead_port();
    table.resources = Box::new(move |place| {
        let routes: Vec<Value> = CLUSTERS
            .iter()
            .map(|(name, _)| to(name, json!({"path": format!("/{name}")}), name))
            .collect();
        let filter = manager(
            "health",
            json!([virtual_host("all", &["*"], routes.into())]),
            Vec::new(),
            json!({}),
        );
        (
            vec![listener(place, "health", PORT, vec![filter])],
            clusters(live, second, dead),
        )
    });
    table.cases = CLUSTERS
        .iter()
        .flat_map(|(name, answered)| [asked(name, *answered), counted(name)])
        .collect();
    table.run();
}

/// One check at the start, and none while the cases run.
fn checked(name: &str, ports: &[u16], check: Value) -> Value {
    let mut whole = json!({"timeout": "0.3s", "interval": "1000s", "no_traffic_interval": "1000s",
        "unhealthy_threshold": 1, "healthy_threshold": 1});
    for (field, value) in check.as_object().unwrap() {
        whole[field] = value.clone();
    }
    let threshold = if name == "panics" { 50 } else { 0 };
    cluster(
        name,
        ports,
        json!({"health_checks": [whole], "common_lb_config": {"healthy_panic_threshold": {"value": threshold}}}),
    )
}

fn clusters(live: u16, second: u16, dead: u16) -> Vec<Value> {
    let http = |fields: Value| {
        let mut check = json!({"path": "/healthz", "host": "checked.test"});
        for (field, value) in fields.as_object().unwrap() {
            check[field] = value.clone();
        }
        json!({"http_health_check": check})
    };
    let mut over_http2 = checked(
        "http2",
        &[second],
        http(json!({"codec_client_type": "HTTP2"})),
    );
    let mut grpc = checked(
        "grpc-unimplemented",
        &[second],
        json!({"grpc_health_check": {"service_name": "shop", "authority": "shop.test"}}),
    );
    for speaks in [&mut over_http2, &mut grpc] {
        speaks["typed_extension_protocol_options"] =
            http2()["typed_extension_protocol_options"].clone();
    }
    vec![
        checked("passes", &[live], http(json!({}))),
        checked(
            "other-status",
            &[live],
            http(json!({"expected_statuses": [{"start": 201, "end": 300}]})),
        ),
        checked(
            "status-range",
            &[live],
            http(
                json!({"expected_statuses": [{"start": 200, "end": 201}, {"start": 404, "end": 405}]}),
            ),
        ),
        checked("refused", &[dead], http(json!({}))),
        checked(
            "panics",
            &[live],
            http(json!({"expected_statuses": [{"start": 201, "end": 300}]})),
        ),
        checked("one-of-two", &[dead, live], http(json!({}))),
        checked("tcp", &[live], json!({"tcp_health_check": {}})),
        checked("tcp-refused", &[dead], json!({"tcp_health_check": {}})),
        checked(
            "tcp-silent",
            &[live],
            json!({"tcp_health_check": {"send": {"text": "50494e47"}, "receive": [{"text": "504f4e47"}]}}),
        ),
        over_http2,
        grpc,
        checked("asks-by-head", &[live], http(json!({"method": "HEAD"}))),
    ]
}

fn asked(name: &'static str, answered: bool) -> Case {
    let expect: &[&str] = if answered {
        &["status 200"]
    } else {
        &[
            "status 503",
            "log details \"no_healthy_upstream\"",
            "log flags \"UH\"",
        ]
    };
    case(name, get(&format!("/{name}")), expect)
}

/// The counters of the checks, as the admin port shows them.
fn counted(name: &'static str) -> Case {
    let shows = format!(
        "cluster.{name}.health_check.attempt: {}",
        if name == "one-of-two" { 2 } else { 1 }
    );
    does(
        &format!("{name} counted"),
        &[&shows],
        move |side, transcript| {
            let (status, body) = side
                .process
                .admin(
                    "GET",
                    &format!("/stats?filter=^cluster.{name}.health_check"),
                )
                .unwrap();
            transcript.line(format!("admin {status}"));
            for line in body.lines() {
                transcript.line(line.to_owned());
            }
            let (_, body) = side.process.admin("GET", "/clusters").unwrap();
            for line in body.lines() {
                if line.starts_with(&format!("{name}::")) && line.contains("::health_flags::") {
                    // Ports are others in each run; the order of hosts is theirs.
                    let flags = line.rsplit("::").next().unwrap_or_default();
                    transcript.line(format!("flags {flags}"));
                }
            }
        },
    )
    .logs(0)
}
