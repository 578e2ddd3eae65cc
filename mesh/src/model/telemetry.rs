//! `Telemetry`: access log, tracing, metrics of workloads.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Duration, Selector, security::ProviderName};

/// telemetry.istio.io Telemetry.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Telemetry {
    /// Workloads meant.
    pub selector: Option<Selector>,
    /// Access logs.
    pub access_logging: Vec<AccessLogging>,
    /// Tracing.
    pub tracing: Vec<Tracing>,
    /// Metrics.
    pub metrics: Vec<Metrics>,
}

/// One access-log clause.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AccessLogging {
    /// Direction meant.
    #[serde(rename = "match")]
    pub matching: Option<ModeMatch>,
    /// Where it is written.
    pub providers: Vec<ProviderName>,
    /// Switch off.
    pub disabled: Option<bool>,
    /// What is written.
    pub filter: Option<LogFilter>,
}

/// `{mode: …}`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ModeMatch {
    /// The mode.
    pub mode: Mode,
}

/// Direction of traffic.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Mode {
    /// Both.
    #[default]
    ClientAndServer,
    /// Outbound, and gateways.
    Client,
    /// Inbound.
    Server,
}

/// `{expression: CEL}`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct LogFilter {
    /// CEL expression.
    pub expression: String,
}

/// One tracing clause.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Tracing {
    /// Direction meant.
    #[serde(rename = "match")]
    pub matching: Option<ModeMatch>,
    /// Where spans go.
    pub providers: Vec<ProviderName>,
    /// 0 to 100.
    pub random_sampling_percentage: Option<f64>,
    /// Keep context, report nothing.
    pub disable_span_reporting: Option<bool>,
    /// Extra tags.
    pub custom_tags: Option<BTreeMap<String, CustomTag>>,
    /// Sample by request id.
    pub use_request_id_for_trace_sampling: Option<bool>,
    /// `istio.*` tags.
    pub enable_istio_tags: Option<bool>,
}

/// One of literal, environment, header.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CustomTag {
    /// Fixed value.
    pub literal: Option<Literal>,
    /// Environment variable of the proxy.
    pub environment: Option<NamedDefault>,
    /// Request header.
    pub header: Option<NamedDefault>,
}

/// `{value}`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Literal {
    /// The value.
    pub value: String,
}

/// `{name, defaultValue}`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NamedDefault {
    /// What is read.
    pub name: String,
    /// Value if it is missing.
    pub default_value: String,
}

/// One metrics clause.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metrics {
    /// Where metrics go.
    pub providers: Vec<ProviderName>,
    /// Changes to Istio's set.
    pub overrides: Vec<MetricsOverride>,
    /// How often TCP metrics are reported.
    pub reporting_interval: Option<Duration>,
}

/// One change.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MetricsOverride {
    /// Metrics meant.
    #[serde(rename = "match")]
    pub matching: MetricSelector,
    /// Do not report.
    pub disabled: Option<bool>,
    /// Labels changed.
    pub tag_overrides: BTreeMap<String, TagOverride>,
}

/// Which metric in which direction.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MetricSelector {
    /// Istio's metric name (`REQUEST_COUNT`), `ALL_METRICS` or none: all.
    pub metric: Option<String>,
    /// A metric by its own name.
    pub custom_metric: Option<String>,
    /// Direction.
    pub mode: Mode,
}

/// Set or remove a label.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TagOverride {
    /// What to do.
    pub operation: TagOperation,
    /// CEL expression.
    pub value: String,
}

/// `operation:`.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TagOperation {
    /// Set.
    #[default]
    Upsert,
    /// Remove.
    Remove,
}
