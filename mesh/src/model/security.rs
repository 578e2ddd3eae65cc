//! `PeerAuthentication`, `AuthorizationPolicy`, `RequestAuthentication`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Duration, Selector};

/// security.istio.io PeerAuthentication.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PeerAuthentication {
    /// Workloads meant; none: the namespace, or the mesh in the root namespace.
    pub selector: Option<Selector>,
    /// Mode of all ports.
    pub mtls: Option<MutualTls>,
    /// Mode of single workload ports, keyed by number.
    pub port_level_mtls: BTreeMap<String, MutualTls>,
}

/// `{mode: …}`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct MutualTls {
    /// The mode.
    pub mode: MutualTlsMode,
}

/// What an inbound port accepts.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MutualTlsMode {
    /// Inherit.
    #[default]
    Unset,
    /// Plaintext only.
    Disable,
    /// Either.
    Permissive,
    /// Mutual TLS only.
    Strict,
}

/// security.istio.io AuthorizationPolicy.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AuthorizationPolicy {
    /// Workloads meant.
    pub selector: Option<Selector>,
    /// Any of them matches; none at all matches never.
    pub rules: Vec<Rule>,
    /// What a match does.
    pub action: Action,
    /// Extension provider of CUSTOM.
    pub provider: Option<ProviderName>,
}

/// `provider: {name: …}`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ProviderName {
    /// Name of a mesh extension provider.
    pub name: String,
}

/// `action:`.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Action {
    /// Let through; with any ALLOW policy, what matches none is refused.
    #[default]
    Allow,
    /// Refuse.
    Deny,
    /// Log.
    Audit,
    /// Ask an external authorizer.
    Custom,
}

/// One rule: all of from, to, when.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Rule {
    /// Any of these peers.
    pub from: Vec<From>,
    /// Any of these operations.
    pub to: Vec<To>,
    /// All of these conditions.
    pub when: Vec<Condition>,
}

/// `{source: …}`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct From {
    /// The peer.
    pub source: Source,
}

/// Who calls; all non-empty fields must match.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Source {
    pub principals: Vec<String>,
    pub not_principals: Vec<String>,
    pub request_principals: Vec<String>,
    pub not_request_principals: Vec<String>,
    pub namespaces: Vec<String>,
    pub not_namespaces: Vec<String>,
    pub service_accounts: Vec<String>,
    pub not_service_accounts: Vec<String>,
    pub ip_blocks: Vec<String>,
    pub not_ip_blocks: Vec<String>,
    pub remote_ip_blocks: Vec<String>,
    pub not_remote_ip_blocks: Vec<String>,
}

/// `{operation: …}`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct To {
    /// The operation.
    pub operation: Operation,
}

/// What is asked for; all non-empty fields must match.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Operation {
    pub hosts: Vec<String>,
    pub not_hosts: Vec<String>,
    pub ports: Vec<String>,
    pub not_ports: Vec<String>,
    pub methods: Vec<String>,
    pub not_methods: Vec<String>,
    pub paths: Vec<String>,
    pub not_paths: Vec<String>,
}

/// `{key, values, notValues}`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// Istio's attribute name.
    pub key: String,
    /// Any of these.
    pub values: Vec<String>,
    /// None of these.
    pub not_values: Vec<String>,
}

/// security.istio.io RequestAuthentication.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RequestAuthentication {
    /// Workloads meant.
    pub selector: Option<Selector>,
    /// Issuers trusted.
    pub jwt_rules: Vec<JwtRule>,
}

/// One issuer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JwtRule {
    /// `iss` that the token must bear.
    pub issuer: String,
    /// Any of these `aud`; empty: not checked.
    pub audiences: Vec<String>,
    /// Where keys are fetched.
    pub jwks_uri: String,
    /// Keys in place.
    pub jwks: String,
    /// Headers that may hold the token.
    pub from_headers: Vec<JwtHeader>,
    /// Query parameters that may hold the token.
    pub from_params: Vec<String>,
    /// Cookies that may hold the token.
    pub from_cookies: Vec<String>,
    /// Header that carries the payload upstream.
    pub output_payload_to_header: String,
    /// Keep the token on the request.
    pub forward_original_token: bool,
    /// Claims copied to headers.
    pub output_claim_to_headers: Vec<ClaimToHeader>,
    /// Claims read as space-separated lists besides `scope` and `permission`.
    pub space_delimited_claims: Option<Vec<String>>,
    /// Time to fetch keys.
    pub timeout: Option<Duration>,
}

/// `{name, prefix}`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct JwtHeader {
    /// Header name.
    pub name: String,
    /// What stands before the token.
    pub prefix: String,
}

/// `{header, claim}`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ClaimToHeader {
    /// Header written.
    pub header: String,
    /// Claim read.
    pub claim: String,
}
