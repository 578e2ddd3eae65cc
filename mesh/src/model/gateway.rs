//! `Gateway`: the servers of an edge proxy.

use serde::Deserialize;

use super::{Labels, Port};

/// networking.istio.io Gateway.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Gateway {
    /// Proxies meant.
    pub selector: Labels,
    /// Servers in order.
    pub servers: Vec<Server>,
}

/// One port with its hosts.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Server {
    /// Port.
    pub port: Port,
    /// Address, if not all.
    pub bind: String,
    /// Hosts, `namespace/host` or `host`.
    pub hosts: Vec<String>,
    /// TLS.
    pub tls: Option<ServerTls>,
    /// Statistics name.
    pub name: String,
}

/// `tls:` of a server.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServerTls {
    /// Plain requests are redirected.
    pub https_redirect: bool,
    /// How TLS is terminated.
    pub mode: ServerTlsMode,
    /// Certificate file.
    pub server_certificate: String,
    /// Key file.
    pub private_key: String,
    /// CA file for clients.
    pub ca_certificates: String,
    /// Secret that holds certificate, key and CA.
    pub credential_name: String,
    /// Names a client certificate must bear, any of them.
    pub subject_alt_names: Vec<String>,
    /// Lowest version.
    pub min_protocol_version: TlsProtocol,
    /// Highest version.
    pub max_protocol_version: TlsProtocol,
    /// Cipher suites.
    pub cipher_suites: Vec<String>,
}

/// `mode:` of a server; istiod's zero value is PASSTHROUGH.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServerTlsMode {
    /// Forward by SNI.
    #[default]
    Passthrough,
    /// Server certificate.
    Simple,
    /// Client certificate required.
    Mutual,
    /// Forward by SNI to the service it names.
    AutoPassthrough,
    /// Mesh certificates.
    IstioMutual,
    /// Client certificate checked if sent.
    OptionalMutual,
}

/// TLS versions, named as Envoy names them.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub enum TlsProtocol {
    #[default]
    #[serde(rename = "TLS_AUTO")]
    Auto,
    #[serde(rename = "TLSV1_0")]
    V1_0,
    #[serde(rename = "TLSV1_1")]
    V1_1,
    #[serde(rename = "TLSV1_2")]
    V1_2,
    #[serde(rename = "TLSV1_3")]
    V1_3,
}

impl TlsProtocol {
    /// Envoy's name, none for AUTO.
    #[must_use]
    pub const fn envoy(self) -> Option<&'static str> {
        match self {
            Self::Auto => None,
            Self::V1_0 => Some("TLSv1_0"),
            Self::V1_1 => Some("TLSv1_1"),
            Self::V1_2 => Some("TLSv1_2"),
            Self::V1_3 => Some("TLSv1_3"),
        }
    }
}
