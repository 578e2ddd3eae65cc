//! Grafana's JSON of a dashboard, as far as we write it (schema version 39; Grafana 10 and later read it).

use serde::Serialize;
use serde_json::{Value, json};

/// A dashboard.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Dashboard {
    pub annotations: Annotations,
    pub description: String,
    pub editable: bool,
    pub fiscal_year_start_month: u32,
    pub graph_tooltip: u32,
    pub links: Vec<Link>,
    pub panels: Vec<Panel>,
    pub refresh: String,
    pub schema_version: u32,
    pub tags: Vec<String>,
    pub templating: Templating,
    pub time: TimeRange,
    pub timezone: String,
    pub title: String,
    pub uid: String,
}

/// What is marked on the panels.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Annotations {
    pub list: Vec<Value>,
}

/// A link to other dashboards.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    pub as_dropdown: bool,
    pub icon: String,
    pub include_vars: bool,
    pub keep_time: bool,
    pub tags: Vec<String>,
    pub target_blank: bool,
    pub title: String,
    pub tooltip: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub url: String,
}

/// Choices.
#[derive(Clone, Debug, Serialize)]
pub struct Templating {
    pub list: Vec<Variable>,
}

/// The time that is shown.
#[derive(Clone, Debug, Serialize)]
pub struct TimeRange {
    pub from: String,
    pub to: String,
}

/// A choice.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Variable {
    /// Which Prometheus.
    DataSource(DataSourceVariable),
    /// Values of a label.
    Query(Box<QueryVariable>),
}

/// Which Prometheus.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DataSourceVariable {
    pub hide: u32,
    pub include_all: bool,
    pub label: String,
    pub multi: bool,
    pub name: String,
    pub query: String,
    pub refresh: u32,
    pub regex: String,
    pub skip_url_sync: bool,
    #[serde(rename = "type")]
    pub kind: String,
}

/// Values of a label.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryVariable {
    pub all_value: String,
    pub current: Value,
    pub datasource: DataSource,
    pub hide: u32,
    pub include_all: bool,
    pub label: String,
    pub multi: bool,
    pub name: String,
    pub query: String,
    pub refresh: u32,
    pub regex: String,
    pub skip_url_sync: bool,
    pub sort: u32,
    #[serde(rename = "type")]
    pub kind: String,
}

/// A reference to a data source.
#[derive(Clone, Debug, Serialize)]
pub struct DataSource {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub uid: &'static str,
}

/// A panel, or the heading of a row.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Panel {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collapsed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datasource: Option<DataSource>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field_config: Option<FieldConfig>,
    pub grid_pos: GridPos,
    pub id: u32,
    #[serde(skip_serializing_if = "Value::is_null")]
    pub options: Value,
    /// Of a row alone: what is hidden in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub panels: Option<Vec<Self>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Target>,
    pub title: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub transformations: Vec<Value>,
    #[serde(rename = "type")]
    pub kind: String,
}

/// Where a panel stands.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct GridPos {
    pub h: u32,
    pub w: u32,
    pub x: u32,
    pub y: u32,
}

/// How values are shown.
#[derive(Clone, Debug, Serialize)]
pub struct FieldConfig {
    pub defaults: Defaults,
    pub overrides: Vec<Value>,
}

/// How all values are shown.
#[derive(Clone, Debug, Serialize)]
pub struct Defaults {
    pub custom: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    pub min: f64,
    pub thresholds: Thresholds,
    pub unit: String,
}

/// Values that have colours.
#[derive(Clone, Debug, Serialize)]
pub struct Thresholds {
    pub mode: &'static str,
    pub steps: Vec<Step>,
}

/// From this value on, this colour.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    pub color: String,
    pub value: Option<f64>,
}

/// A query.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    pub datasource: DataSource,
    pub editor_mode: &'static str,
    pub expr: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub instant: bool,
    pub legend_format: String,
    pub range: bool,
    pub ref_id: String,
}

impl Dashboard {
    /// As it is committed.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{:#}\n", self.to_json())
    }

    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        // Every part is a string, a number, a list or a map by strings.
        serde_json::to_value(self).unwrap_or(Value::Null)
    }
}

impl DataSource {
    /// The one that is chosen above.
    pub const CHOSEN: Self = Self {
        kind: "prometheus",
        uid: "${datasource}",
    };
}

impl Variable {
    /// Which Prometheus.
    #[must_use]
    pub fn data_source() -> Self {
        Self::DataSource(DataSourceVariable {
            hide: 0,
            include_all: false,
            label: "Data source".to_owned(),
            multi: false,
            name: "datasource".to_owned(),
            query: "prometheus".to_owned(),
            refresh: 1,
            regex: String::new(),
            skip_url_sync: false,
            kind: "datasource".to_owned(),
        })
    }

    /// Any of a label's values, all at first.
    #[must_use]
    pub fn values(name: &str, label: &str, query: String) -> Self {
        Self::Query(Box::new(QueryVariable {
            all_value: ".+".to_owned(),
            current: json!({"selected": true, "text": "All", "value": "$__all"}),
            datasource: DataSource::CHOSEN,
            hide: 0,
            include_all: true,
            label: label.to_owned(),
            multi: true,
            name: name.to_owned(),
            query,
            refresh: ON_TIME_RANGE_CHANGE,
            regex: String::new(),
            skip_url_sync: false,
            sort: 1,
            kind: "query".to_owned(),
        }))
    }
}

const ON_TIME_RANGE_CHANGE: u32 = 2;
