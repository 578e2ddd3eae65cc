//! `extensionProviders`: who takes logs, spans and authorization questions.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::Duration;

/// One provider; exactly one of the optional fields is set.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExtensionProvider {
    /// Name used by Telemetry and AuthorizationPolicy.
    pub name: String,
    /// Istio's own metrics.
    pub prometheus: Option<Prometheus>,
    /// A log file.
    pub envoy_file_access_log: Option<FileAccessLog>,
    /// OTLP spans.
    pub opentelemetry: Option<OpenTelemetry>,
    /// Zipkin spans.
    pub zipkin: Option<Zipkin>,
    /// External authorization over HTTP.
    pub envoy_ext_authz_http: Option<ExtAuthzHttp>,
    /// External authorization over gRPC.
    pub envoy_ext_authz_grpc: Option<ExtAuthzGrpc>,
}

/// `prometheus: {}`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Prometheus {}

/// `envoyFileAccessLog:`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FileAccessLog {
    /// File.
    pub path: String,
    /// Format; none: Istio's text line.
    pub log_format: Option<LogFormat>,
    /// Leave out fields without a value.
    pub omit_empty_values: bool,
}

/// `{text}` or `{labels}`; empty labels mean Istio's JSON fields.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct LogFormat {
    /// Text line.
    pub text: Option<String>,
    /// JSON fields.
    pub labels: Option<Value>,
}

/// `opentelemetry:`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OpenTelemetry {
    /// `host` or `namespace/host`.
    pub service: String,
    /// Port.
    pub port: u32,
    /// OTLP over HTTP instead of gRPC.
    pub http: Option<OtlpHttp>,
    /// Longest path in a tag.
    pub max_tag_length: u32,
}

/// `opentelemetry.http`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct OtlpHttp {
    /// Path.
    pub path: String,
    /// Time.
    pub timeout: Option<Duration>,
}

/// `zipkin:`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Zipkin {
    /// `host` or `namespace/host`.
    pub service: String,
    /// Port.
    pub port: u32,
    /// Path; empty: `/api/v2/spans`.
    pub path: String,
    /// 64-bit trace ids.
    #[serde(rename = "enable64bitTraceId")]
    pub enable_64bit_trace_id: bool,
    /// Longest path in a tag.
    pub max_tag_length: u32,
}

/// `envoyExtAuthzHttp:`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExtAuthzHttp {
    pub service: String,
    pub port: u32,
    pub timeout: Option<Duration>,
    pub path_prefix: String,
    pub fail_open: bool,
    pub status_on_error: String,
    pub include_request_headers_in_check: Vec<String>,
    pub include_additional_headers_in_check: BTreeMap<String, String>,
    pub include_request_body_in_check: Option<RequestBody>,
    pub headers_to_upstream_on_allow: Vec<String>,
    pub headers_to_downstream_on_allow: Vec<String>,
    pub headers_to_downstream_on_deny: Vec<String>,
}

/// `envoyExtAuthzGrpc:`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExtAuthzGrpc {
    pub service: String,
    pub port: u32,
    pub timeout: Option<Duration>,
    pub fail_open: bool,
    pub status_on_error: String,
    pub include_request_body_in_check: Option<RequestBody>,
}

/// `includeRequestBodyInCheck:`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RequestBody {
    /// Bytes read.
    pub max_request_bytes: u32,
    /// Ask with what was read.
    pub allow_partial_message: bool,
    /// As raw bytes.
    pub pack_as_bytes: bool,
}
