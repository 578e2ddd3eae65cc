//! The table of metrics: `deploy/monitoring/metrics.yaml`.

use std::collections::BTreeSet;

use serde::Deserialize;

/// Every metric.
#[derive(Clone, Debug)]
pub struct Table {
    /// In the order of the file.
    pub metrics: Vec<Metric>,
}

/// One metric.
#[derive(Clone, Debug)]
pub struct Metric {
    /// Its name; `*` is a part that the configuration chooses.
    pub name: String,
    /// What kind it is.
    pub kind: Kind,
    /// What a sample counts.
    pub unit: Option<Unit>,
    /// Its labels.
    pub labels: BTreeSet<String>,
    /// Who shows it.
    pub from: Vec<Program>,
    /// What it tells.
    pub help: String,
    /// Why the test's platform does not show it.
    pub absent: Option<String>,
}

/// Kinds of metrics.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// A distribution: `_bucket`, `_sum`, `_count`.
    Histogram,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Requests.
    Requests,
    /// Connections and streams.
    Connections,
    /// Messages of a stream.
    Messages,
    /// Events.
    Events,
    /// Lines of a log.
    Lines,
    /// Spans.
    Spans,
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// Days.
    Days,
    /// 0 to 1.
    Ratio,
}

/// Programs.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Program {
    /// carbyne-proxy.
    Proxy,
    /// carbyne-gateway.
    Gateway,
    /// `carbyne events ship`.
    Shipper,
    /// `carbyne up`.
    Control,
}

/// A file of ours that does not read.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {error}")]
pub struct SourceError {
    /// Which.
    pub file: String,
    /// Why.
    pub error: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    #[expect(dead_code, reason = "a heading for people")]
    group: String,
    from: Vec<Program>,
    #[serde(default)]
    labels: Vec<String>,
    metrics: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(default)]
    unit: Option<Unit>,
    #[serde(default)]
    labels: Vec<String>,
    help: String,
    #[serde(default)]
    absent: Option<String>,
}

impl Table {
    /// The one that this program was built with.
    ///
    /// # Errors
    /// Where it does not read.
    pub fn built_in() -> Result<Self, SourceError> {
        Self::read(TEXT)
    }

    /// Reads a table.
    ///
    /// # Errors
    /// Where it does not read, or names a metric twice.
    pub fn read(text: &str) -> Result<Self, SourceError> {
        let refuse = |error: String| SourceError {
            file: FILE.to_owned(),
            error,
        };
        let groups: Vec<Group> =
            serde_saphyr::from_str(text).map_err(|error| refuse(error.to_string()))?;
        let mut names = BTreeSet::new();
        let mut metrics = Vec::new();
        for group in groups {
            for row in group.metrics {
                if !names.insert(row.name.clone()) {
                    return Err(refuse(format!("{} is there twice", row.name)));
                }
                metrics.push(Metric {
                    name: row.name,
                    kind: row.kind,
                    unit: row.unit,
                    labels: group.labels.iter().cloned().chain(row.labels).collect(),
                    from: group.from.clone(),
                    help: row.help,
                    absent: row.absent,
                });
            }
        }
        Ok(Self { metrics })
    }

    /// The metric of this name, such as a program tells it.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Metric> {
        self.metrics.iter().find(|metric| metric.is(name))
    }

    /// The metric that a selector of this name selects, and which part of it: `_bucket`, `_sum`, `_count`, or nothing.
    #[must_use]
    pub fn selected(&self, name: &str) -> Option<(&Metric, &'static str)> {
        if let Some(metric) = self.find(name) {
            return Some((metric, ""));
        }
        PARTS.into_iter().find_map(|part| {
            let metric = self.find(name.strip_suffix(part)?)?;
            (metric.kind == Kind::Histogram).then_some((metric, part))
        })
    }
}

impl Metric {
    /// Whether this is the metric's name, with a configuration's words in its stars' places.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        let mut parts = self.name.split('*');
        let Some(rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
            return false;
        };
        // At most one star a name.
        match parts.next() {
            None => rest.is_empty(),
            Some(last) => rest.ends_with(last),
        }
    }
}

/// Parts of a histogram.
pub const PARTS: [&str; 3] = ["_bucket", "_sum", "_count"];
const FILE: &str = "deploy/monitoring/metrics.yaml";
const TEXT: &str = include_str!("../../../deploy/monitoring/metrics.yaml");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_reads() {
        let table = Table::built_in().unwrap();
        assert!(table.metrics.len() > 200);
        for metric in &table.metrics {
            assert!(
                metric.name.matches('*').count() <= 1 && metric.help.ends_with('.'),
                "{metric:?}"
            );
            // Envoy and Kong have gauges of this name.
            let ours = metric.name.starts_with("carbyne_");
            let counter = metric.kind == Kind::Counter;
            assert!(
                !ours || metric.name.ends_with("_total") == counter,
                "{metric:?}"
            );
            assert!(!metric.from.is_empty(), "{metric:?}");
        }
    }

    #[test]
    fn names_are_found() {
        let table = Table::built_in().unwrap();
        let name = |name: &str| {
            let (metric, part) = table.selected(name)?;
            Some((metric.name.as_str(), part))
        };
        assert_eq!(
            name("istio_request_bytes_bucket"),
            Some(("istio_request_bytes", "_bucket"))
        );
        assert_eq!(
            name("envoy_listener_127_0_0_1_80_no_filter_chain_match"),
            Some(("envoy_listener_*_no_filter_chain_match", ""))
        );
        for http in ["envoy_http_no_route", "envoy_http_stats_no_route"] {
            assert_eq!(name(http), Some(("envoy_http*_no_route", "")));
        }
        assert_eq!(name("istio_requests_total_sum"), None);
        assert_eq!(name("nothing"), None);
    }

    #[test]
    fn a_metric_is_there_once() {
        let text = "- {group: a, from: [proxy], metrics: [{name: a, type: gauge, help: x}, {name: a, type: gauge, help: x}]}";
        assert!(Table::read(text).is_err());
        assert!(Table::read("- {group: a, from: [nobody], metrics: []}").is_err());
    }
}
