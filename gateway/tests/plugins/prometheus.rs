use crate::gateway::{Gateway, Upstream, ask, get};

const YAML: &str = r#"
_format_version: "3.0"
services:
- name: s
  url: "{upstream}"
  routes:
  - {name: open, paths: [/open]}
  - name: guarded
    paths: [/guarded]
    plugins: [{name: key-auth}]
consumers:
- username: bob
  keyauth_credentials: [{key: bob}]
plugins:
- name: prometheus
  config: {per_consumer: true, status_code_metrics: true, latency_metrics: true, bandwidth_metrics: true, upstream_health_metrics: true}
"#;

/// The value of a line, or nothing.
fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(series))?;
    line.trim().parse().ok()
}

#[test]
fn requests_are_told_in_kongs_metrics() {
    let upstream = Upstream::start();
    let gateway = Gateway::declarative(&YAML.replace("{upstream}", &upstream.url()));
    for _ in 0..3 {
        gateway.send(&get("/open"));
    }
    gateway.send(&get("/guarded"));
    gateway.send(&get("/guarded").header("apikey", "bob"));
    gateway.send(&get("/nothing"));
    let wanted = [
        (
            r#"kong_http_requests_total{service="s",route="open",code="200",source="service",workspace="default",consumer=""}"#,
            3.0,
        ),
        (
            r#"kong_http_requests_total{service="s",route="guarded",code="401",source="kong",workspace="default",consumer=""}"#,
            1.0,
        ),
        (
            r#"kong_http_requests_total{service="s",route="guarded",code="200",source="service",workspace="default",consumer="bob"}"#,
            1.0,
        ),
        (
            r#"kong_request_latency_ms_count{service="s",route="open",workspace="default"}"#,
            3.0,
        ),
        (
            r#"kong_kong_latency_ms_bucket{service="s",route="open",workspace="default",le="+Inf"}"#,
            3.0,
        ),
        (
            r#"kong_upstream_latency_ms_bucket{service="s",route="open",workspace="default",le="60000"}"#,
            3.0,
        ),
        ("kong_datastore_reachable", 1.0),
        ("kong_nginx_metric_errors_total", 0.0),
    ];
    // A request is counted when it is over, which its client cannot see.
    let text = loop {
        let answer = gateway.ask_admin(&get("/metrics"));
        assert_eq!(answer.status(), 200);
        assert_eq!(
            answer.header("content-type"),
            Some("text/plain; charset=UTF-8")
        );
        let text = answer.text();
        let told = |(series, count): &(&str, f64)| value(&text, series) == Some(*count);
        if wanted.iter().all(told) {
            break text;
        }
        std::thread::yield_now();
    };
    for line in [
        "# HELP kong_http_requests_total HTTP status codes per consumer/service/route in Kong",
        "# TYPE kong_http_requests_total counter",
        "# HELP kong_kong_latency_ms Latency added by Kong and enabled plugins for each service/route in Kong",
        "# TYPE kong_kong_latency_ms histogram",
        "# HELP kong_bandwidth_bytes Total bandwidth (ingress/egress) throughput in bytes",
        "# TYPE kong_nginx_connections_total gauge",
        "# TYPE kong_node_info gauge",
    ] {
        assert!(text.lines().any(|known| known == line), "{line}\n{text}");
    }
    for direction in ["ingress", "egress"] {
        let series = format!(
            r#"kong_bandwidth_bytes{{service="s",route="open",direction="{direction}",workspace="default",consumer=""}}"#
        );
        assert!(
            value(&text, &series).is_some_and(|bytes| bytes > 0.0),
            "{series}\n{text}"
        );
    }
    assert!(!text.contains(r#"route="nothing""#));
    let connections = text
        .lines()
        .find(|line| line.starts_with("kong_nginx_connections_total") && line.contains("accepted"));
    let accepted = connections.and_then(|line| line.rsplit(' ').next());
    assert_eq!(accepted, Some("6"), "{text}");
    let head = gateway.ask_admin(&ask("HEAD", "/metrics"));
    assert_eq!(head.status(), 200);
}

#[test]
fn without_an_instance_only_the_node_is_told() {
    let gateway = Gateway::embedded();
    let text = gateway.ask_admin(&get("/metrics")).text();
    assert!(text.contains("kong_node_info{node_id="), "{text}");
    assert!(!text.contains("kong_http_requests_total"), "{text}");
}

#[test]
fn the_health_of_targets_is_told_where_an_instance_asks() {
    let yaml = |asked: bool| {
        format!(
            r#"
_format_version: "3.0"
upstreams:
- name: catalogue
  targets: [{{target: "127.0.0.1:1"}}]
plugins: [{{name: prometheus, config: {{upstream_health_metrics: {asked}}}}}]
"#
        )
    };
    let series = r#"kong_upstream_target_health{upstream="catalogue",target="127.0.0.1:1",address="127.0.0.1:1",state="healthchecks_off",subsystem="http"}"#;
    for asked in [true, false] {
        let gateway = Gateway::declarative(&yaml(asked));
        let text = gateway.ask_admin(&get("/metrics")).text();
        assert_eq!(value(&text, series), asked.then_some(1.0), "{text}");
    }
}
