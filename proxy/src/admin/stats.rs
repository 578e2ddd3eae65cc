//! `/stats`: text and JSON.

use serde_json::{Value, json};

use super::histogram::{Distribution, QUANTILES};
use super::state::{Statistic, StatisticValue};
use super::{Query, Response, State, prometheus};

/// Answers `/stats`.
pub(super) fn page(query: &Query, state: &impl State) -> Response {
    let kind = match query.value("type") {
        None => Kind::All,
        Some(name) => match Kind::from_name(name) {
            Some(kind) => kind,
            None => return Response::text(400, "invalid &type= param"),
        },
    };
    let buckets = match query.value("histogram_buckets") {
        None | Some("" | "none" | "summary") => Buckets::Summary,
        Some("cumulative") => Buckets::Cumulative,
        Some("disjoint" | "detailed") => Buckets::Disjoint,
        Some(_) => {
            return Response::text(
                400,
                "usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary)\n\n",
            );
        }
    };
    match query.value("format") {
        None | Some("" | "text") => {}
        Some("json") => {
            return match Snapshot::take(query, kind, state) {
                Ok(snapshot) => Response {
                    status: 200,
                    content_type: "application/json",
                    body: snapshot.json().to_string(),
                },
                Err(response) => response,
            };
        }
        Some("prometheus") => return prometheus::page(query, state),
        Some(_) => return Response::text(400, "usage: /stats?format=(json|prometheus|text)\n\n"),
    }
    match Snapshot::take(query, kind, state) {
        Ok(snapshot) => Response::ok(snapshot.text(buckets)),
        Err(response) => response,
    }
}

/// Which statistics are asked for.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Kind {
    All,
    Counters,
    Gauges,
    Histograms,
    TextReadouts,
}

#[derive(Clone, Copy)]
enum Buckets {
    Summary,
    Cumulative,
    Disjoint,
}

/// What passed the filters, sorted by name.
#[derive(Default)]
struct Snapshot {
    texts: Vec<(String, String)>,
    numbers: Vec<(String, u64)>,
    histograms: Vec<(String, Distribution)>,
}

impl Kind {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "All" => Self::All,
            "Counters" => Self::Counters,
            "Gauges" => Self::Gauges,
            "Histograms" => Self::Histograms,
            "TextReadouts" => Self::TextReadouts,
            _ => return None,
        })
    }

    fn admits(self, value: StatisticValue<'_>) -> bool {
        let kind = match value {
            StatisticValue::Counter(_) => Self::Counters,
            StatisticValue::Gauge(_) => Self::Gauges,
            StatisticValue::Histogram(_) => Self::Histograms,
            StatisticValue::Text(_) => Self::TextReadouts,
        };
        self == Self::All || self == kind
    }
}

impl Snapshot {
    fn take(query: &Query, kind: Kind, state: &impl State) -> Result<Self, Response> {
        let filter = query.filter()?;
        let used_only = query.has("usedonly");
        let mut snapshot = Self::default();
        state.statistics(&mut |statistic: Statistic<'_>| {
            let shown = (statistic.used || !used_only)
                && kind.admits(statistic.value)
                && filter
                    .as_ref()
                    .is_none_or(|filter| filter.is_match(statistic.name));
            if !shown {
                return;
            }
            let name = statistic.name.to_owned();
            match statistic.value {
                StatisticValue::Counter(value) | StatisticValue::Gauge(value) => {
                    snapshot.numbers.push((name, value))
                }
                StatisticValue::Text(text) => snapshot.texts.push((name, text.to_owned())),
                StatisticValue::Histogram(distribution) => {
                    snapshot.histograms.push((name, distribution.clone()))
                }
            }
        });
        snapshot.texts.sort();
        snapshot.numbers.sort();
        snapshot
            .histograms
            .sort_by(|left, right| left.0.cmp(&right.0));
        Ok(snapshot)
    }

    /// One `name: value` a line: texts, then numbers, then histograms.
    fn text(&self, buckets: Buckets) -> String {
        let mut text = String::new();
        for (name, value) in &self.texts {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"");
            text.push_str(&format!("{name}: \"{value}\"\n"));
        }
        for (name, value) in &self.numbers {
            text.push_str(&format!("{name}: {value}\n"));
        }
        for (name, distribution) in &self.histograms {
            let line = match buckets {
                Buckets::Summary => distribution.summary(),
                Buckets::Cumulative => distribution.bucket_line(true),
                Buckets::Disjoint => distribution.bucket_line(false),
            };
            text.push_str(&format!("{name}: {line}\n"));
        }
        text
    }

    fn json(&self) -> Value {
        let mut stats: Vec<Value> = self
            .texts
            .iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        stats.extend(
            self.numbers
                .iter()
                .map(|(name, value)| json!({"name": name, "value": value})),
        );
        if !self.histograms.is_empty() {
            let computed: Vec<Value> = self
                .histograms
                .iter()
                .map(|(name, distribution)| {
                    let values: Vec<Value> = QUANTILES
                        .iter()
                        .map(|percent| json!({"cumulative": distribution.quantile(*percent), "interval": null}))
                        .collect();
                    json!({"name": name, "values": values})
                })
                .collect();
            stats.push(json!({"histograms": {"supported_quantiles": QUANTILES, "computed_quantiles": computed}}));
        }
        json!({"stats": stats})
    }
}
