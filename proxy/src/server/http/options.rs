//! What an HTTP connection manager is told, beside routes and filters.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use crate::live::matcher::Cidr;

/// Options of Envoy's HTTP connection manager that change heads.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Prefix of its statistics.
    pub stat_prefix: Arc<str>,
    /// The client of the connection is the client of the request: an edge.
    pub use_remote_address: bool,
    /// Proxies in front whose `x-forwarded-for` is trusted.
    pub trusted_hops: usize,
    /// Leave `x-forwarded-for` as it is.
    pub skip_forwarded_for: bool,
    /// Add `x-forwarded-port`.
    pub append_forwarded_port: bool,
    /// Clients in these ranges are internal; by default nobody is (CVE-2024-45806).
    pub internal: Arc<[Cidr]>,
    /// What becomes of `x-forwarded-client-cert`.
    pub client_cert: ClientCert,
    /// Which parts of the client's certificate are told.
    pub client_cert_details: ClientCertDetails,
    /// The value of `server`.
    pub server_name: HeaderValue,
    /// When `server` is set.
    pub server_header: ServerHeader,
    /// Value of `via`, if it is added.
    pub via: Option<HeaderValue>,
    /// Make up an `x-request-id` where there is none.
    pub generate_request_id: bool,
    /// Keep the `x-request-id` of clients from outside.
    pub preserve_external_request_id: bool,
    /// Tell the client its request's id.
    pub request_id_in_response: bool,
    /// No `x-envoy-*` fields of the router.
    pub suppress_envoy_headers: bool,
    /// Longest silence on a stream.
    pub stream_idle_timeout: Option<Duration>,
    /// Longest duration of a stream.
    pub max_stream_duration: Option<Duration>,
    /// From the start of a request to its end.
    pub request_timeout: Option<Duration>,
    /// Bytes of a request kept for further tries.
    pub buffer_limit: usize,
    /// Upgrades that may go through, in lower case.
    pub upgrades: Arc<[Box<str>]>,
}

/// What becomes of `x-forwarded-client-cert` (Envoy: `forward_client_cert_details`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCert {
    /// It goes.
    #[default]
    Sanitize,
    /// It stays where the client showed a certificate.
    ForwardOnly,
    /// The same, and the client's is appended.
    AppendForward,
    /// It is replaced by the client's.
    SanitizeSet,
    /// It stays.
    AlwaysForwardOnly,
}

/// Which parts of the client's certificate are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientCertDetails {
    /// `Subject`.
    pub subject: bool,
    /// `Cert`, URL-encoded PEM.
    pub cert: bool,
    /// `DNS` names.
    pub dns: bool,
    /// `URI` names.
    pub uri: bool,
}

/// When `server` is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerHeader {
    /// Always.
    #[default]
    Overwrite,
    /// Where the host sent none.
    AppendIfAbsent,
    /// Never.
    PassThrough,
}

impl Default for HttpOptions {
    /// Envoy's defaults.
    fn default() -> Self {
        Self {
            stat_prefix: Arc::from(""),
            use_remote_address: false,
            trusted_hops: 0,
            skip_forwarded_for: false,
            append_forwarded_port: false,
            internal: Arc::from([]),
            client_cert: ClientCert::Sanitize,
            client_cert_details: ClientCertDetails::default(),
            server_name: HeaderValue::from_static("envoy"),
            server_header: ServerHeader::Overwrite,
            via: None,
            generate_request_id: true,
            preserve_external_request_id: false,
            request_id_in_response: false,
            suppress_envoy_headers: false,
            stream_idle_timeout: Some(Duration::from_secs(300)),
            max_stream_duration: None,
            request_timeout: None,
            buffer_limit: 1024 * 1024,
            upgrades: Arc::from([]),
        }
    }
}
