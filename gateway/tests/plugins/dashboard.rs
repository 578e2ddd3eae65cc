//! A real Prometheus scrapes the gateway; what Kong's official dashboard asks has an answer.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use crate::cases::report;
use crate::gateway::{Client, Gateway, Upstream, get};

const YAML: &str = r#"
_format_version: "3.0"
services:
- name: s
  url: "{upstream}"
  routes:
  - {name: open, paths: [/open]}
plugins:
- name: prometheus
  config: {per_consumer: true, status_code_metrics: true, latency_metrics: true, bandwidth_metrics: true}
"#;

/// What the panels ask, in our words.
const QUERIES: &[&str] = &[
    r#"sum(rate(kong_http_requests_total{instance=~".+"}[1m]))"#,
    r#"sum(rate(kong_http_requests_total{service="s"}[1m])) by (service)"#,
    r#"sum(rate(kong_http_requests_total{route="open"}[1m])) by (route)"#,
    r#"sum(rate(kong_http_requests_total{code="200"}[1m])) by (service, code)"#,
    r#"sum(rate(kong_http_requests_total{code="200"}[1m])) by (route, code)"#,
    r#"histogram_quantile(0.9, sum(rate(kong_request_latency_ms_bucket{service="s"}[1m])) by (le))"#,
    r#"histogram_quantile(0.95, sum(rate(kong_kong_latency_ms_bucket{route="open"}[1m])) by (service, le))"#,
    r#"histogram_quantile(0.99, sum(rate(kong_upstream_latency_ms_bucket{route="open"}[1m])) by (route, le))"#,
    r#"sum(irate(kong_bandwidth_bytes[1m])) by (type)"#,
    r#"sum(rate(kong_bandwidth_bytes{direction="egress"}[1m])) by (service)"#,
    r#"sum(rate(kong_bandwidth_bytes{direction="ingress"}[1m])) by (route)"#,
    r#"kong_memory_workers_lua_vms_bytes"#,
    r#"kong_memory_lua_shared_dict_total_bytes"#,
    r#"sum(kong_nginx_connections_total{state=~"active|reading|writing|waiting"}) by (instance)"#,
    r#"sum(kong_nginx_connections_total{state="accepted"}) by (instance)"#,
    r#"sum(kong_nginx_connections_total{state="handled"}) by (instance)"#,
    r#"sum(kong_nginx_connections_total{state="total"}) by (instance)"#,
    r#"kong_datastore_reachable"#,
    r#"kong_node_info"#,
];

struct Prometheus {
    process: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Fails only where it has ended by itself.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Prometheus {
    fn scraping(target: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = format!(
            "global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}\nscrape_configs:\n- job_name: kong\n  static_configs: [{{targets: ['{target}']}}]\n"
        );
        std::fs::write(folder.path().join("prometheus.yml"), config).expect("a file");
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.expect("a free port");
        let process = Command::new("prometheus")
            .current_dir(folder.path())
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("prometheus: {error}: install the Debian package prometheus")
            });
        Self {
            process,
            address,
            _folder: folder,
        }
    }

    /// The values that a query has now; none while it does not listen yet.
    fn ask(&self, query: &str) -> Vec<f64> {
        if TcpStream::connect(self.address).is_err() {
            return Vec::new();
        }
        let escape = |byte: u8| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        };
        let query: String = query.bytes().map(escape).collect();
        let path = format!("/api/v1/query?query={query}");
        let answer = Client::connect(self.address).send(&get(&path));
        if answer.status() != 200 {
            return Vec::new();
        }
        let answer = answer.json();
        let results = answer["data"]["result"].as_array().cloned();
        let value = |result: &serde_json::Value| result["value"][1].as_str()?.parse().ok();
        results
            .unwrap_or_default()
            .iter()
            .filter_map(value)
            .collect()
    }
}

#[test]
fn the_official_dashboard_has_data() {
    let upstream = Upstream::start();
    let gateway = Gateway::declarative(&YAML.replace("{upstream}", &upstream.url()));
    let prometheus = Prometheus::scraping(gateway.admin.expect("an Admin API"));
    let began = std::time::Instant::now();
    for query in QUERIES {
        loop {
            assert_eq!(gateway.send(&get("/open")).status(), 200);
            let values = prometheus.ask(query);
            // A quantile of nothing is no number.
            if !values.is_empty()
                && values
                    .iter()
                    .all(|value| value.is_finite() && *value >= 0.0)
            {
                break;
            }
            assert!(
                began.elapsed().as_secs() < 60,
                "{query}: {values:?}\n{}",
                gateway.ask_admin(&get("/metrics")).text()
            );
        }
    }
    report("gateway dashboard", QUERIES.len(), QUERIES.len());
}
