//! What the dashboards show: `deploy/monitoring/panels/*.yaml`.
//!
//! Queries are written in short: without the matchers of job and instance and without the interval of a rate, which every selector
//! gets ([`super::promql::completed`]).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::metrics::SourceError;

/// A dashboard.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// Its title.
    pub title: String,
    /// What it is for.
    pub description: String,
    /// Its identifier in Grafana.
    pub uid: String,
    /// The metric whose series name the jobs and instances.
    pub jobs: String,
    /// Choices beside job and instance, in order.
    #[serde(default)]
    pub variables: Vec<Variable>,
    /// Rows of panels.
    pub rows: Vec<Row>,
}

/// A choice.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// Name in queries.
    pub name: String,
    /// Name for people.
    pub label: String,
    /// The metric whose series have the values.
    pub metric: String,
    /// The label of that metric [default: the variable's name].
    #[serde(default)]
    pub value: Option<String>,
}

/// A row of panels.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Heading.
    pub row: String,
    /// Panels from left to right.
    pub panels: Vec<Panel>,
}

/// A panel.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Panel {
    /// Heading.
    pub title: String,
    /// What it tells, and when to worry.
    pub description: String,
    /// How it is drawn.
    #[serde(default, rename = "type")]
    pub kind: PanelKind,
    /// Grafana's unit.
    pub unit: String,
    /// Columns of 24.
    #[serde(default = "a_third")]
    pub width: u32,
    /// From these values on, these colours; below the first it is the first's opposite.
    #[serde(default)]
    pub thresholds: Vec<(f64, String)>,
    /// Whether series are drawn on top of each other.
    #[serde(default)]
    pub stacked: bool,
    /// The largest value there can be.
    #[serde(default)]
    pub max: Option<f64>,
    /// Legend → query; of a table, column → query.
    pub queries: Vec<Query>,
}

/// A query of a panel.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// In short.
    pub query: String,
    /// Words for its series.
    #[serde(default)]
    pub legend: String,
    /// Of a table: its unit, where it is not the panel's.
    #[serde(default)]
    pub unit: Option<String>,
}

/// How a panel is drawn.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum PanelKind {
    /// Lines over time.
    #[default]
    TimeSeries,
    /// One number.
    Stat,
    /// Rows of labels and values.
    Table,
}

/// The sources that this program was built with, by the names of their files.
///
/// # Errors
/// Where one does not read.
pub fn built_in() -> Result<BTreeMap<&'static str, Board>, SourceError> {
    let read = |(name, text): &(&'static str, &str)| {
        let board = serde_saphyr::from_str(text).map_err(|error| SourceError {
            file: format!("deploy/monitoring/panels/{name}.yaml"),
            error: error.to_string(),
        })?;
        Ok((*name, board))
    };
    SOURCES.iter().map(read).collect()
}

const fn a_third() -> u32 {
    8
}

const SOURCES: [(&str, &str); 3] = [
    (
        "service-mesh",
        include_str!("../../../deploy/monitoring/panels/service-mesh.yaml"),
    ),
    (
        "api-gateway",
        include_str!("../../../deploy/monitoring/panels/api-gateway.yaml"),
    ),
    (
        "event-system",
        include_str!("../../../deploy/monitoring/panels/event-system.yaml"),
    ),
];
