//! `MeshConfig`: what holds for the whole mesh.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    Duration,
    destination_rule::{LocalitySetting, TcpKeepalive},
    provider::ExtensionProvider,
    virtual_service::Retries,
};

/// MeshConfig with istiod 1.29's defaults.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshConfig {
    /// SPIFFE trust domain.
    pub trust_domain: String,
    /// Others accepted as our own.
    pub trust_domain_aliases: Vec<String>,
    /// Namespace whose resources hold for all.
    pub root_namespace: String,
    /// mTLS wherever both sides can.
    pub enable_auto_mtls: bool,
    /// Unknown destinations.
    pub outbound_traffic_policy: OutboundPolicy,
    /// How inbound traffic reaches the workload.
    pub inbound_traffic_policy: InboundPolicy,
    /// Providers by kind.
    pub default_providers: DefaultProviders,
    /// Providers by name.
    pub extension_providers: Vec<ExtensionProvider>,
    /// Path normalization.
    pub path_normalization: PathNormalization,
    /// Time to connect.
    pub connect_timeout: Duration,
    /// How often DNS is asked.
    pub dns_refresh_rate: Duration,
    /// How long a protocol is guessed.
    pub protocol_detection_timeout: Duration,
    /// Outbound interception port.
    pub proxy_listen_port: u32,
    /// Inbound interception port.
    pub proxy_inbound_listen_port: u32,
    /// Access log file; empty: none.
    pub access_log_file: String,
    /// Text or JSON format.
    pub access_log_format: String,
    /// TEXT or JSON.
    pub access_log_encoding: LogEncoding,
    /// No log on listeners.
    pub disable_envoy_listener_log: bool,
    /// Tracing without Telemetry resources.
    pub enable_tracing: bool,
    /// Keepalive of all.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// Locality of all.
    pub locality_lb_setting: Option<LocalitySetting>,
    /// HTTP/2 upgrade of all.
    pub h2_upgrade_policy: MeshH2Upgrade,
    /// Retries of all.
    pub default_http_retry_policy: Option<Retries>,
    /// Proxy settings of all.
    pub default_config: ProxyConfig,
    /// DNS domain of the cluster.
    #[serde(skip)]
    pub domain: String,
}

impl Default for MeshConfig {
    fn default() -> Self {
        Self {
            trust_domain: "cluster.local".to_owned(),
            trust_domain_aliases: Vec::new(),
            root_namespace: "istio-system".to_owned(),
            enable_auto_mtls: true,
            outbound_traffic_policy: OutboundPolicy::default(),
            inbound_traffic_policy: InboundPolicy::default(),
            default_providers: DefaultProviders::default(),
            extension_providers: Vec::new(),
            path_normalization: PathNormalization::default(),
            connect_timeout: Duration::from_secs(10),
            dns_refresh_rate: Duration::from_secs(60),
            protocol_detection_timeout: Duration::from_secs(0),
            proxy_listen_port: 15_001,
            proxy_inbound_listen_port: 15_006,
            access_log_file: String::new(),
            access_log_format: String::new(),
            access_log_encoding: LogEncoding::default(),
            disable_envoy_listener_log: false,
            enable_tracing: false,
            tcp_keepalive: None,
            // istiod's default mesh: present and enabled, so that a rule with outlier detection gets priorities.
            locality_lb_setting: Some(LocalitySetting {
                enabled: Some(true),
                ..LocalitySetting::default()
            }),
            h2_upgrade_policy: MeshH2Upgrade::default(),
            default_http_retry_policy: None,
            default_config: ProxyConfig::default(),
            domain: "cluster.local".to_owned(),
        }
    }
}

/// `outboundTrafficPolicy:` of the mesh.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct OutboundPolicy {
    /// The mode.
    pub mode: MeshOutboundMode,
}

/// The mesh's default is ALLOW_ANY.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MeshOutboundMode {
    /// Only what the registry knows.
    RegistryOnly,
    /// Anything.
    #[default]
    AllowAny,
}

/// `inboundTrafficPolicy:`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct InboundPolicy {
    /// The mode.
    pub mode: InboundMode,
}

/// Address that inbound traffic is sent to.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum InboundMode {
    /// The one the client dialled.
    #[default]
    Passthrough,
    /// 127.0.0.1.
    Localhost,
}

/// `defaultProviders:`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DefaultProviders {
    /// Spans.
    pub tracing: Vec<String>,
    /// Metrics.
    pub metrics: Vec<String>,
    /// Logs.
    pub access_logging: Vec<String>,
}

/// `pathNormalization:`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PathNormalization {
    /// How far.
    pub normalization: Normalization,
}

/// How paths are normalized before rules and routes see them.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Normalization {
    #[default]
    Default,
    None,
    Base,
    MergeSlashes,
    DecodeAndMergeSlashes,
}

/// `accessLogEncoding:`.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LogEncoding {
    /// Text.
    #[default]
    Text,
    /// JSON.
    Json,
}

/// The mesh's `h2UpgradePolicy:`.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MeshH2Upgrade {
    /// Never.
    #[default]
    DoNotUpgrade,
    /// Always.
    Upgrade,
}

/// `defaultConfig:`; the parts that change what is generated.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyConfig {
    /// Threads; 0: as many as cores.
    pub concurrency: u32,
    /// The agent's business.
    pub hold_application_until_proxy_starts: bool,
    /// What stands before a gateway.
    pub gateway_topology: GatewayTopology,
    /// Tracing.
    pub tracing: ProxyTracing,
    /// Environment of the proxy.
    pub proxy_metadata: BTreeMap<String, String>,
    /// Statistics that are shown beside Istio's own choice.
    pub proxy_stats_matcher: ProxyStatsMatcher,
}

/// `proxyStatsMatcher:`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyStatsMatcher {
    /// What names begin with.
    pub inclusion_prefixes: Vec<String>,
    /// What names end with.
    pub inclusion_suffixes: Vec<String>,
    /// What names match whole.
    pub inclusion_regexps: Vec<String>,
}

/// `gatewayTopology:`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayTopology {
    /// Trusted proxies before the gateway.
    pub num_trusted_proxies: u32,
}

/// `tracing:` of the proxy configuration.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyTracing {
    /// Percent; 0 means Istio's default of 1.
    pub sampling: f64,
    /// Longest path in a tag.
    pub max_path_tag_length: u32,
}
