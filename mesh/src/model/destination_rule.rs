//! `DestinationRule`: how a service is called.

use serde::Deserialize;

use super::{Duration, Labels, Percent, PortSelector, Selector};

/// networking.istio.io DestinationRule.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DestinationRule {
    /// Host, exact or `*.suffix`; short names are in the rule's namespace.
    pub host: String,
    /// Policy of the whole service.
    pub traffic_policy: Option<TrafficPolicy>,
    /// Named parts of the service.
    pub subsets: Vec<Subset>,
    /// Namespaces that see the rule; empty: all.
    pub export_to: Vec<String>,
    /// Clients meant; none: all.
    pub workload_selector: Option<Selector>,
}

/// Part of a service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Subset {
    /// Name.
    pub name: String,
    /// Labels of its endpoints.
    pub labels: Labels,
    /// Changes to the service's policy.
    pub traffic_policy: Option<TrafficPolicy>,
}

/// How connections are made, balanced, judged and secured.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TrafficPolicy {
    /// Balancing.
    pub load_balancer: Option<LoadBalancer>,
    /// Limits.
    pub connection_pool: Option<ConnectionPool>,
    /// Ejection.
    pub outlier_detection: Option<OutlierDetection>,
    /// TLS towards the service.
    pub tls: Option<ClientTls>,
    /// Policies of single ports; one found replaces all of the above.
    pub port_level_settings: Vec<PortPolicy>,
    /// Retries as a share of requests.
    pub retry_budget: Option<RetryBudget>,
}

/// Policy of one port.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PortPolicy {
    /// The service port.
    pub port: PortSelector,
    /// Balancing.
    pub load_balancer: Option<LoadBalancer>,
    /// Limits.
    pub connection_pool: Option<ConnectionPool>,
    /// Ejection.
    pub outlier_detection: Option<OutlierDetection>,
    /// TLS towards the service.
    pub tls: Option<ClientTls>,
}

/// `retryBudget:`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RetryBudget {
    /// Percent of active requests; Istio's default 20.
    pub percent: Option<Percent>,
    /// Retries always allowed; Istio's default 3.
    pub min_retry_concurrency: u32,
}

/// `loadBalancer:`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadBalancer {
    /// Algorithm.
    pub simple: Option<SimpleBalancer>,
    /// Affinity.
    pub consistent_hash: Option<ConsistentHash>,
    /// Locality.
    pub locality_lb_setting: Option<LocalitySetting>,
    /// Slow start.
    pub warmup: Option<Warmup>,
    /// Slow start, the old way to say it.
    pub warmup_duration_secs: Option<Duration>,
}

/// `simple:`.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SimpleBalancer {
    #[default]
    Unspecified,
    LeastConn,
    Random,
    Passthrough,
    RoundRobin,
    LeastRequest,
}

/// `warmup:`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Warmup {
    /// How long.
    pub duration: Option<Duration>,
    /// Percent of weight at the start; Istio's default 10.
    pub minimum_percent: Option<f64>,
    /// Steepness; Istio's default 1.
    pub aggression: Option<f64>,
}

/// `consistentHash:`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsistentHash {
    /// Hash a header.
    pub http_header_name: Option<String>,
    /// Hash a cookie, made if missing.
    pub http_cookie: Option<HttpCookie>,
    /// Hash the client address.
    pub use_source_ip: Option<bool>,
    /// Hash a query parameter.
    pub http_query_parameter_name: Option<String>,
    /// Ring.
    pub ring_hash: Option<RingHash>,
    /// Maglev.
    pub maglev: Option<Maglev>,
    /// Ring size, the old way to say it.
    pub minimum_ring_size: u64,
}

/// `httpCookie:`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct HttpCookie {
    /// Name.
    pub name: String,
    /// Path.
    pub path: String,
    /// Life time; none: the cookie is not made.
    pub ttl: Option<Duration>,
}

/// `ringHash:`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RingHash {
    /// Entries.
    pub minimum_ring_size: u64,
}

/// `maglev:`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Maglev {
    /// Entries.
    pub table_size: u64,
}

/// `localityLbSetting:`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LocalitySetting {
    /// Off when false.
    pub enabled: Option<bool>,
    /// Shares by source locality.
    pub distribute: Vec<Distribute>,
    /// Where to go when a region is down.
    pub failover: Vec<Failover>,
    /// Labels in order of weight.
    pub failover_priority: Vec<String>,
}

/// `{from, to}` with shares.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Distribute {
    /// Source locality pattern.
    pub from: String,
    /// Locality pattern → percent.
    pub to: std::collections::BTreeMap<String, u32>,
}

/// `{from, to}` regions.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Failover {
    /// Region that fails.
    pub from: String,
    /// Region that serves instead.
    pub to: String,
}

/// `connectionPool:`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ConnectionPool {
    /// TCP.
    pub tcp: Option<TcpPool>,
    /// HTTP.
    pub http: Option<HttpPool>,
}

/// `connectionPool.tcp`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpPool {
    /// 0: no limit.
    pub max_connections: u32,
    /// Time to connect.
    pub connect_timeout: Option<Duration>,
    /// Keepalive probes.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// Life of a connection.
    pub max_connection_duration: Option<Duration>,
    /// Idle time.
    pub idle_timeout: Option<Duration>,
}

/// `tcpKeepalive:`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TcpKeepalive {
    /// Probes lost before a connection is dead.
    pub probes: u32,
    /// Idle time before the first probe.
    pub time: Option<Duration>,
    /// Time between probes.
    pub interval: Option<Duration>,
}

/// `connectionPool.http`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpPool {
    /// Requests waiting for a connection.
    #[serde(rename = "http1MaxPendingRequests")]
    pub max_pending_requests: u32,
    /// Requests at once.
    #[serde(rename = "http2MaxRequests")]
    pub max_requests: u32,
    /// Requests of one connection.
    pub max_requests_per_connection: u32,
    /// Retries at once.
    pub max_retries: u32,
    /// Idle time.
    pub idle_timeout: Option<Duration>,
    /// HTTP/1 to HTTP/2.
    pub h2_upgrade_policy: H2Upgrade,
    /// Speak what the client speaks.
    pub use_client_protocol: bool,
    /// Streams of one HTTP/2 connection.
    pub max_concurrent_streams: u32,
}

/// `h2UpgradePolicy:`.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum H2Upgrade {
    /// As the mesh says.
    #[default]
    Default,
    /// Never.
    DoNotUpgrade,
    /// Always.
    Upgrade,
}

/// `outlierDetection:`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OutlierDetection {
    /// Count local errors by themselves.
    pub split_external_local_origin_errors: bool,
    /// Local errors in a row.
    pub consecutive_local_origin_failures: Option<u32>,
    /// 502, 503, 504 in a row.
    pub consecutive_gateway_errors: Option<u32>,
    /// 5xx in a row.
    #[serde(rename = "consecutive5xxErrors")]
    pub consecutive_5xx_errors: Option<u32>,
    /// Time between sweeps.
    pub interval: Option<Duration>,
    /// Least time out.
    pub base_ejection_time: Option<Duration>,
    /// Most hosts out.
    pub max_ejection_percent: u32,
    /// Below this share of healthy hosts, health is ignored.
    pub min_health_percent: i32,
}

/// `tls:` of a client.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientTls {
    /// How.
    pub mode: ClientTlsMode,
    /// Certificate file.
    pub client_certificate: String,
    /// Key file.
    pub private_key: String,
    /// CA file; empty: the system's.
    pub ca_certificates: String,
    /// Secret with all three.
    pub credential_name: String,
    /// Names the server must bear, any of them.
    pub subject_alt_names: Option<Vec<String>>,
    /// SNI; empty: the request's host.
    pub sni: String,
    /// Verify nothing.
    pub insecure_skip_verify: bool,
}

/// `mode:` of a client.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ClientTlsMode {
    #[default]
    Disable,
    Simple,
    Mutual,
    IstioMutual,
}
