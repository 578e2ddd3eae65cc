//! `Sidecar`: what a workload's proxy listens to and may reach.

use serde::Deserialize;

use super::{
    Port, WorkloadSelector, destination_rule::ConnectionPool, gateway::ServerTls,
    virtual_service::Destination,
};

/// networking.istio.io Sidecar.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Sidecar {
    /// Workloads meant; none: the namespace.
    pub workload_selector: Option<WorkloadSelector>,
    /// Inbound listeners; none: the services' ports.
    pub ingress: Vec<Ingress>,
    /// Outbound listeners; none: everything visible.
    pub egress: Vec<Egress>,
    /// What happens to unknown destinations.
    pub outbound_traffic_policy: Option<OutboundTrafficPolicy>,
    /// Limits of the inbound clusters.
    pub inbound_connection_pool: Option<ConnectionPool>,
}

/// One inbound listener.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ingress {
    /// Port listened on.
    pub port: Port,
    /// Address listened on.
    pub bind: String,
    /// Intercepted or really bound.
    pub capture_mode: CaptureMode,
    /// `127.0.0.1:port`, `0.0.0.0:port`, or `unix://path` of the application.
    pub default_endpoint: String,
    /// TLS that the listener terminates when mTLS is off.
    pub tls: Option<ServerTls>,
    /// Limits of this listener's cluster.
    pub connection_pool: Option<ConnectionPool>,
}

/// One outbound listener.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Egress {
    /// Port listened on; none: each service's own.
    pub port: Option<Port>,
    /// Address listened on, or a `unix://` path.
    pub bind: String,
    /// Intercepted or really bound.
    pub capture_mode: CaptureMode,
    /// `namespace/host` patterns reachable here.
    pub hosts: Vec<String>,
}

/// `captureMode:`.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CaptureMode {
    /// As the proxy's interception mode says.
    #[default]
    Default,
    /// Through iptables.
    Iptables,
    /// Really bound.
    None,
}

/// `outboundTrafficPolicy:`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OutboundTrafficPolicy {
    /// The mode.
    pub mode: OutboundMode,
    /// Where unknown traffic goes instead.
    pub egress_proxy: Option<Destination>,
}

/// Mode of a Sidecar; its default is REGISTRY_ONLY (zero value of the Sidecar's enum).
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OutboundMode {
    /// Only what the registry knows.
    #[default]
    RegistryOnly,
    /// Anything.
    AllowAny,
}
