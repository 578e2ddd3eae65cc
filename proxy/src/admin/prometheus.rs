//! `/stats/prometheus`: the text format of Prometheus, named as Envoy names.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::histogram::Distribution;
use super::state::{Statistic, StatisticValue};
use super::{Query, Response, State};

/// Answers `/stats/prometheus`.
pub(super) fn page(query: &Query, state: &impl State) -> Response {
    let filter = match query.filter() {
        Ok(filter) => filter,
        Err(response) => return response,
    };
    let used_only = query.has("usedonly");
    let texts = query.has("text_readouts");
    let mut families = Families::default();
    state.statistics(&mut |statistic: Statistic<'_>| {
        let shown = (statistic.used || !used_only)
            && filter
                .as_ref()
                .is_none_or(|filter| filter.is_match(statistic.name));
        if shown {
            families.add(statistic, texts);
        }
    });
    let mut text = families.text();
    // A filter asks for some of Envoy's statistics by name.
    if filter.is_none() {
        text.push_str(&state.exposition());
    }
    Response::ok(text)
}

/// All series by the name of their metric, so that each metric comes in one block.
#[derive(Default)]
struct Families {
    counters: BTreeMap<String, BTreeMap<String, u64>>,
    gauges: BTreeMap<String, BTreeMap<String, u64>>,
    histograms: BTreeMap<String, BTreeMap<String, Distribution>>,
}

impl Families {
    fn add(&mut self, statistic: Statistic<'_>, texts: bool) {
        let name = metric_name(statistic.tag_extracted_name);
        let mut labels = labels(statistic.tags);
        match statistic.value {
            StatisticValue::Counter(value) => {
                *self
                    .counters
                    .entry(name)
                    .or_default()
                    .entry(labels)
                    .or_default() += value;
            }
            StatisticValue::Gauge(value) => {
                *self
                    .gauges
                    .entry(name)
                    .or_default()
                    .entry(labels)
                    .or_default() += value;
            }
            StatisticValue::Text(text) if texts => {
                add_label(&mut labels, "text_value", text);
                self.gauges.entry(name).or_default().insert(labels, 0);
            }
            StatisticValue::Text(_) => {}
            StatisticValue::Histogram(distribution) => {
                self.histograms
                    .entry(name)
                    .or_default()
                    .insert(labels, distribution.clone());
            }
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (kind, families) in [("counter", &self.counters), ("gauge", &self.gauges)] {
            for (name, series) in families {
                put(&mut text, format_args!("# TYPE {name} {kind}\n"));
                for (labels, value) in series {
                    put(&mut text, format_args!("{name}{{{labels}}} {value}\n"));
                }
            }
        }
        for (name, series) in &self.histograms {
            put(&mut text, format_args!("# TYPE {name} histogram\n"));
            for (labels, distribution) in series {
                let comma = if labels.is_empty() { "" } else { "," };
                let finite = distribution
                    .buckets
                    .iter()
                    .filter(|(bound, _)| bound.is_finite());
                for (bound, count) in finite {
                    put(
                        &mut text,
                        format_args!("{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}\n"),
                    );
                }
                let Distribution { sum, count, .. } = distribution;
                put(
                    &mut text,
                    format_args!("{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}\n"),
                );
                put(&mut text, format_args!("{name}_sum{{{labels}}} {sum}\n"));
                put(
                    &mut text,
                    format_args!("{name}_count{{{labels}}} {count}\n"),
                );
            }
        }
        text
    }
}

/// Writing to a String cannot fail.
fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    if text.write_fmt(arguments).is_err() {
        tracing::error!("a statistic does not print");
    }
}

/// `envoy_` and the name; Istio's own namespace goes bare, as Envoy's custom namespaces do.
fn metric_name(name: &str) -> String {
    match name.strip_prefix(CUSTOM) {
        Some(bare) => sanitized(bare),
        None => format!("envoy_{}", sanitized(name)),
    }
}

fn sanitized(name: &str) -> String {
    let first_is_digit = name.starts_with(|first: char| first.is_ascii_digit());
    let letters = name.chars().map(|letter| {
        if letter.is_ascii_alphanumeric() || letter == '_' {
            letter
        } else {
            '_'
        }
    });
    first_is_digit
        .then_some('_')
        .into_iter()
        .chain(letters)
        .collect()
}

fn labels(tags: &[(&str, &str)]) -> String {
    let mut labels = String::new();
    for (name, value) in tags {
        add_label(&mut labels, name, value);
    }
    labels
}

fn add_label(labels: &mut String, name: &str, value: &str) {
    if !labels.is_empty() {
        labels.push(',');
    }
    labels.push_str(&sanitized(name));
    labels.push_str("=\"");
    for letter in value.chars() {
        match letter {
            '\\' => labels.push_str("\\\\"),
            '"' => labels.push_str("\\\""),
            '\n' => labels.push_str("\\n"),
            letter => labels.push(letter),
        }
    }
    labels.push('"');
}

/// The namespace under which Istio's metrics are registered.
const CUSTOM: &str = "istiocustom.";
