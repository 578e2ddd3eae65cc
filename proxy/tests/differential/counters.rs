//! What is counted, by Envoy's names: after the same requests the same numbers.

use serde_json::{Value, json};

use super::to;
use crate::case::{Case, PORT, Side, Table, does};
use crate::support::config::{cluster, http_filter, listener, manager, virtual_host};
use crate::support::http1::{Connection, get};
use crate::support::transcript::Transcript;
use crate::support::upstream::dead_port;

/// Requests, in this order: path, and a field with its value.
const REQUESTS: [(&str, &str, &str); 10] = [
    ("/", "x", "1"),
    ("/", "x", "1"),
    ("/direct", "x", "1"),
    ("/redirect", "x", "1"),
    ("/nowhere", "x", "1"),
    ("/dead", "x", "1"),
    ("/", "x-deny", "1"),
    ("/", "x-shadow", "1"),
    ("/abort", "x", "1"),
    ("/limited", "x", "1"),
];

/// What is compared; the rest is either ours alone or nobody's.
const NAMES: [&str; 25] = [
    "http.counted.downstream_rq_total",
    "http.counted.downstream_rq_completed",
    "http.counted.downstream_rq_http1_total",
    "http.counted.downstream_rq_2xx",
    "http.counted.downstream_rq_3xx",
    "http.counted.downstream_rq_4xx",
    "http.counted.downstream_rq_5xx",
    "http.counted.downstream_cx_total",
    "http.counted.no_route",
    "http.counted.no_cluster",
    "http.counted.rq_direct_response",
    "http.counted.rbac.allowed",
    "http.counted.rbac.denied",
    "http.counted.rbac.dry_.shadow_allowed",
    "http.counted.rbac.dry_.shadow_denied",
    "http.counted.fault.aborts_injected",
    "limit.http_local_rate_limit.enabled",
    "limit.http_local_rate_limit.ok",
    "limit.http_local_rate_limit.rate_limited",
    "cluster.one.upstream_rq_200",
    "cluster.one.upstream_rq_2xx",
    "cluster.one.upstream_rq_completed",
    "cluster.one.upstream_rq_total",
    "cluster.one.membership_healthy",
    "cluster.dead.upstream_cx_connect_fail",
];

#[test]
fn counters() {
    let mut table = Table::new("counters", &["one"]);
    let ports = table.ports(&[0]);
    let dead = dead_port();
    table.resources = Box::new(move |place| {
        let routes = json!([
            {"name": "direct", "match": {"path": "/direct"}, "direct_response": {"status": 200}},
            {"name": "redirect", "match": {"path": "/redirect"}, "redirect": {"path_redirect": "/"}},
            to("dead", json!({"path": "/dead"}), "dead"),
            to("abort", json!({"path": "/abort"}), "one"),
            to("limited", json!({"path": "/limited"}), "one"),
            to("one", json!({"path": "/"}), "one"),
        ]);
        let filters = vec![
            rbac(),
            http_filter(
                "fault",
                "fault.v3.HTTPFault",
                json!({"abort": {"http_status": 418, "percentage": {"numerator": 100}},
                "headers": [{"name": ":path", "string_match": {"exact": "/abort"}}]}),
            ),
            http_filter("limit", "local_ratelimit.v3.LocalRateLimit", limit(100)),
        ];
        let filter = manager(
            "counted",
            json!([virtual_host("all", &["*"], routes)]),
            filters,
            json!({}),
        );
        (
            vec![listener(place, "counted", PORT, vec![filter])],
            vec![
                cluster("one", &ports, json!({})),
                cluster("dead", &[dead], json!({})),
            ],
        )
    });
    table.cases = vec![counted(), labelled(), reset()];
    table.run();
}

fn rbac() -> Value {
    let policy = |field: &str| {
        json!({"policies": {"it": {"permissions": [{"any": true}],
        "principals": [{"header": {"name": field, "present_match": true}}]}}, "action": "DENY"})
    };
    http_filter(
        "rbac",
        "rbac.v3.RBAC",
        json!({"rules": policy("x-deny"), "shadow_rules": policy("x-shadow"), "shadow_rules_stat_prefix": "dry_"}),
    )
}

fn limit(tokens: u32) -> Value {
    json!({"stat_prefix": "limit", "token_bucket": {"max_tokens": tokens, "tokens_per_fill": tokens, "fill_interval": "1000s"},
        "filter_enabled": {"default_value": {"numerator": 100}}, "filter_enforced": {"default_value": {"numerator": 100}}})
}

fn counted() -> Case {
    does(
        "requests",
        &[
            "http.counted.downstream_rq_total: 10",
            "http.counted.rbac.denied: 1",
        ],
        |side, transcript| {
            let mut connection = Connection::open(side.process.at(PORT)).unwrap();
            for (path, name, value) in REQUESTS {
                connection.send(&get(path).header(name, value).bytes());
                let status = connection.response(false).map(|response| response.status);
                transcript.line(format!("{path} {name} {:?}", status.ok()));
            }
            show(side, transcript);
        },
    )
    .logs(REQUESTS.len())
    // What went wrong in detail is another table's subject.
    .without(&["log details", "log transport_failure", "log sent"])
}

/// Those that Prometheus sees, with their labels.
fn labelled() -> Case {
    does(
        "labels",
        &["envoy_cluster_upstream_rq_total{envoy_cluster_name=\"one\"} *"],
        |side, transcript| {
            let (status, body) = side.process.admin("GET", "/stats/prometheus").unwrap();
            transcript.line(format!("admin {status}"));
            for wanted in [
                "envoy_cluster_upstream_rq_total{envoy_cluster_name=\"one\"}",
                "envoy_cluster_upstream_rq{envoy_response_code=\"200\",envoy_cluster_name=\"one\"}",
                "envoy_cluster_upstream_rq_xx{envoy_response_code_class=\"2\",envoy_cluster_name=\"one\"}",
                "envoy_http_downstream_rq_xx{envoy_response_code_class=\"4\",envoy_http_conn_manager_prefix=\"counted\"}",
                "envoy_http_downstream_rq_total{envoy_http_conn_manager_prefix=\"counted\"}",
                "envoy_http_local_rate_limit_ok{envoy_local_http_ratelimit_prefix=\"limit\"}",
                "# TYPE envoy_http_downstream_rq_time histogram",
                "# TYPE envoy_cluster_upstream_rq_time histogram",
                "# TYPE envoy_cluster_upstream_cx_connect_ms histogram",
            ] {
                let wanted = sorted(wanted);
                let found = body.lines().map(sorted).find(|line| line.starts_with(&wanted));
                transcript.line(found.unwrap_or_else(|| format!("no {wanted}")));
            }
        },
    )
    .logs(0)
}

/// A line with its labels in the order of their names.
fn sorted(line: &str) -> String {
    let Some((name, rest)) = line.split_once('{') else {
        return line.to_owned();
    };
    let (labels, rest) = rest.rsplit_once('}').unwrap_or((rest, ""));
    let mut labels: Vec<&str> = labels.split(',').collect();
    labels.sort_unstable();
    format!("{name}{{{}}}{rest}", labels.join(","))
}

fn reset() -> Case {
    does(
        "reset",
        &[
            "http.counted.downstream_rq_total: 0",
            "cluster.one.membership_healthy: 1",
        ],
        |side, transcript| {
            let (status, body) = side.process.admin("POST", "/reset_counters").unwrap();
            transcript.line(format!("admin {status} {}", body.trim()));
            show(side, transcript);
        },
    )
    .logs(0)
}

fn show(side: &Side<'_>, transcript: &mut Transcript) {
    let (status, body) = side.process.admin("GET", "/stats").unwrap();
    transcript.line(format!("admin {status}"));
    for name in NAMES {
        let line = body.lines().find(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(':'))
        });
        transcript.line(line.map_or_else(|| format!("{name} is not there"), str::to_owned));
    }
}
