//! `VirtualService`: where requests go.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Duration, Labels, Percent, PortSelector, StringMatch};

/// networking.istio.io VirtualService.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VirtualService {
    /// Hosts, exact or `*.suffix`.
    pub hosts: Vec<String>,
    /// `namespace/gateway` names, or `mesh`; empty: `mesh`.
    pub gateways: Vec<String>,
    /// HTTP routes, first match wins.
    pub http: Vec<HttpRoute>,
    /// Routes by SNI.
    pub tls: Vec<TlsRoute>,
    /// Routes by address and port.
    pub tcp: Vec<TcpRoute>,
    /// Namespaces that see it; empty: all.
    pub export_to: Vec<String>,
}

/// One HTTP route.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRoute {
    /// Name, shown in logs.
    pub name: String,
    /// Any of these; none: all requests.
    #[serde(rename = "match")]
    pub matching: Vec<HttpMatch>,
    /// Destinations by weight.
    pub route: Vec<HttpDestination>,
    /// Answer with a redirect.
    pub redirect: Option<Redirect>,
    /// Answer in place.
    pub direct_response: Option<DirectResponse>,
    /// Change path or authority.
    pub rewrite: Option<Rewrite>,
    /// Whole time of a request.
    pub timeout: Option<Duration>,
    /// Retries.
    pub retries: Option<Retries>,
    /// Errors on purpose.
    pub fault: Option<Fault>,
    /// Copy of requests.
    pub mirror: Option<Destination>,
    /// Share that is copied.
    pub mirror_percentage: Option<Percent>,
    /// Copies.
    pub mirrors: Vec<Mirror>,
    /// CORS.
    pub cors_policy: Option<Cors>,
    /// Header changes.
    pub headers: Option<Headers>,
}

/// One request condition; all given must match.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpMatch {
    pub name: String,
    pub uri: Option<StringMatch>,
    pub scheme: Option<StringMatch>,
    pub method: Option<StringMatch>,
    pub authority: Option<StringMatch>,
    pub headers: BTreeMap<String, StringMatch>,
    pub port: u32,
    pub source_labels: Labels,
    pub gateways: Vec<String>,
    pub query_params: BTreeMap<String, StringMatch>,
    pub ignore_uri_case: bool,
    pub without_headers: BTreeMap<String, StringMatch>,
    pub source_namespace: String,
    pub stat_prefix: String,
}

/// One weighted destination.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct HttpDestination {
    /// Where.
    pub destination: Destination,
    /// Share.
    pub weight: u32,
    /// Header changes of this share.
    pub headers: Option<Headers>,
}

/// A service, a subset, a port.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Destination {
    /// Host; short names are in the resource's namespace.
    pub host: String,
    /// Subset of the DestinationRule.
    pub subset: String,
    /// Service port.
    pub port: Option<PortSelector>,
}

/// `redirect:`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Redirect {
    /// New path.
    pub uri: String,
    /// New host.
    pub authority: String,
    /// New port.
    pub port: Option<u32>,
    /// FROM_PROTOCOL_DEFAULT or FROM_REQUEST_PORT.
    pub derive_port: Option<String>,
    /// New scheme.
    pub scheme: String,
    /// 301 if 0.
    pub redirect_code: u32,
}

/// `directResponse:`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct DirectResponse {
    /// Status.
    pub status: u32,
    /// Body.
    pub body: Option<Body>,
}

/// `{string}` or `{bytes}` (base64).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Body {
    /// Text.
    pub string: Option<String>,
    /// Base64.
    pub bytes: Option<String>,
}

/// `rewrite:`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rewrite {
    /// New prefix or path.
    pub uri: String,
    /// New authority.
    pub authority: String,
    /// By regular expression.
    pub uri_regex_rewrite: Option<RegexRewrite>,
}

/// `uriRegexRewrite:`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RegexRewrite {
    /// RE2.
    #[serde(rename = "match")]
    pub matching: String,
    /// With `\1` …
    pub rewrite: String,
}

/// `retries:`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Retries {
    /// 0: none.
    pub attempts: i32,
    /// Time of one try.
    pub per_try_timeout: Option<Duration>,
    /// Envoy's conditions and status codes.
    pub retry_on: String,
    /// Also in other localities.
    pub retry_remote_localities: Option<bool>,
    /// Avoid hosts already tried.
    pub retry_ignore_previous_hosts: Option<bool>,
    /// Base of the back-off.
    pub backoff: Option<Duration>,
}

/// `fault:`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Fault {
    /// Delay.
    pub delay: Option<Delay>,
    /// Abort.
    pub abort: Option<Abort>,
}

/// `fault.delay`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Delay {
    /// Share.
    pub percentage: Option<Percent>,
    /// Share, the old way to say it.
    pub percent: i32,
    /// How long.
    pub fixed_delay: Option<Duration>,
}

/// `fault.abort`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Abort {
    /// Share.
    pub percentage: Option<Percent>,
    /// HTTP status.
    pub http_status: Option<u32>,
    /// gRPC status name.
    pub grpc_status: Option<String>,
}

/// One mirror.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Mirror {
    /// Where.
    pub destination: Option<Destination>,
    /// Share.
    pub percentage: Option<Percent>,
}

/// `corsPolicy:`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cors {
    /// Origins.
    pub allow_origins: Vec<StringMatch>,
    /// Methods.
    pub allow_methods: Vec<String>,
    /// Request headers.
    pub allow_headers: Vec<String>,
    /// Response headers shown to scripts.
    pub expose_headers: Vec<String>,
    /// How long an answer holds.
    pub max_age: Option<Duration>,
    /// Credentials.
    pub allow_credentials: Option<bool>,
    /// IGNORE: preflights that match no origin are answered here.
    pub unmatched_preflights: String,
}

/// `headers:`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Headers {
    /// On the request.
    pub request: Option<HeaderOperations>,
    /// On the response.
    pub response: Option<HeaderOperations>,
}

/// `{set, add, remove}`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct HeaderOperations {
    /// Overwrite.
    pub set: BTreeMap<String, String>,
    /// Append.
    pub add: BTreeMap<String, String>,
    /// Remove.
    pub remove: Vec<String>,
}

/// One TLS route.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TlsRoute {
    /// Any of these.
    #[serde(rename = "match")]
    pub matching: Vec<TlsMatch>,
    /// Destinations.
    pub route: Vec<TcpDestination>,
}

/// One TLS condition.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TlsMatch {
    pub sni_hosts: Vec<String>,
    pub destination_subnets: Vec<String>,
    pub port: u32,
    pub source_labels: Labels,
    pub gateways: Vec<String>,
    pub source_namespace: String,
}

/// One TCP route.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TcpRoute {
    /// Any of these; none: all.
    #[serde(rename = "match")]
    pub matching: Vec<TcpMatch>,
    /// Destinations.
    pub route: Vec<TcpDestination>,
}

/// One TCP condition.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpMatch {
    pub destination_subnets: Vec<String>,
    pub port: u32,
    pub source_labels: Labels,
    pub gateways: Vec<String>,
    pub source_namespace: String,
}

/// One weighted TCP destination.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TcpDestination {
    /// Where.
    pub destination: Destination,
    /// Share.
    pub weight: u32,
}
