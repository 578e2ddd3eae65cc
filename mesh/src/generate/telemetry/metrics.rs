//! `istio.stats`: Istio's metrics, with the overrides of Telemetry resources.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{
    super::{
        json::{extension, list},
        proxy::Proxy,
    },
    Class, applicable, provider,
};
use crate::{
    model::telemetry::{Metrics, TagOperation},
    source::METRICS,
};

/// The stats filters of a listener class, for HTTP and TCP alike; none when metrics go nowhere.
pub(in crate::generate) fn stats(proxy: &Proxy, class: Class) -> Vec<Value> {
    let clauses: Vec<&Metrics> = applicable(proxy)
        .flat_map(|telemetry| &telemetry.metrics)
        .collect();
    merge(
        &clauses,
        &proxy.snapshot.mesh.default_providers.metrics,
        class,
    )
    .into_iter()
    .filter(|(name, _)| provider(proxy, name).is_some_and(|provider| provider.is_prometheus()))
    .filter_map(|(_, merged)| config(&merged, class))
    .collect()
}

#[derive(Default)]
struct Change<'a> {
    disabled: bool,
    tags: BTreeMap<&'a str, Option<&'a str>>,
}

#[derive(Default)]
struct Merged<'a> {
    off: bool,
    interval: Option<String>,
    /// Istio's metric name → change.
    changes: BTreeMap<&'a str, Change<'a>>,
}

fn merge<'a>(
    clauses: &[&'a Metrics],
    defaults: &[String],
    class: Class,
) -> BTreeMap<String, Merged<'a>> {
    let mut out: BTreeMap<String, Merged<'a>> = BTreeMap::new();
    if clauses.is_empty() {
        return defaults
            .iter()
            .map(|name| (name.clone(), Merged::default()))
            .collect();
    }
    // The last level that names providers decides which ones count.
    let mut in_scope: BTreeSet<String> = defaults.iter().cloned().collect();
    for clause in clauses.iter().filter(|clause| !clause.providers.is_empty()) {
        in_scope = clause
            .providers
            .iter()
            .map(|provider| provider.name.clone())
            .collect();
    }
    let mut inherited = defaults.to_vec();
    for clause in clauses {
        if !clause.providers.is_empty() {
            inherited = clause
                .providers
                .iter()
                .map(|provider| provider.name.clone())
                .collect();
        }
        for name in inherited.iter().filter(|name| in_scope.contains(*name)) {
            let merged = out.entry(name.clone()).or_default();
            if let Some(interval) = clause.reporting_interval {
                merged.interval = Some(interval.to_string());
            }
            for change in clause
                .overrides
                .iter()
                .filter(|change| class.concerns(change.matching.mode))
            {
                let selector = &change.matching;
                let all = selector.custom_metric.is_none()
                    && selector
                        .metric
                        .as_deref()
                        .is_none_or(|metric| metric == METRICS[0]);
                if all && change.disabled == Some(true) {
                    merged.off = true;
                    continue;
                }
                merged.off = false;
                let metrics: Vec<&'a str> = if all {
                    METRICS[1..].to_vec()
                } else {
                    selector
                        .custom_metric
                        .as_deref()
                        .or(selector.metric.as_deref())
                        .into_iter()
                        .collect()
                };
                for metric in metrics {
                    let entry = merged.changes.entry(metric).or_default();
                    if let Some(disabled) = change.disabled {
                        entry.disabled = disabled;
                    }
                    for (tag, operation) in &change.tag_overrides {
                        let value = (operation.operation == TagOperation::Upsert)
                            .then_some(operation.value.as_str());
                        entry.tags.insert(tag, value);
                    }
                }
            }
        }
    }
    out
}

fn config(merged: &Merged<'_>, class: Class) -> Option<Value> {
    if merged.off {
        return None;
    }
    let metrics = merged.changes.iter().map(|(name, change)| {
        let set: serde_json::Map<String, Value> = change
            .tags
            .iter()
            .filter_map(|(tag, value)| Some(((*tag).to_owned(), json!((*value)?))))
            .collect();
        let removed = change
            .tags
            .iter()
            .filter(|(_, value)| value.is_none())
            .map(|(tag, _)| json!(tag));
        json!({
            "name": prometheus_name(name),
            "dimensions": set,
            "tagsToRemove": list(removed.collect()),
            "drop": change.disabled.then_some(true),
        })
    });
    Some(extension(
        "istio.stats",
        "stats.PluginConfig",
        json!({
            // The Host header of a foreign client is no label of ours.
            "disableHostHeaderFallback": (class != Class::Outbound).then_some(true),
            "tcpReportingDuration": merged.interval,
            "metrics": list(metrics.collect()),
        }),
    ))
}

fn prometheus_name(metric: &str) -> &str {
    match metric {
        "REQUEST_COUNT" => "requests_total",
        "REQUEST_DURATION" => "request_duration_milliseconds",
        "REQUEST_SIZE" => "request_bytes",
        "RESPONSE_SIZE" => "response_bytes",
        "TCP_OPENED_CONNECTIONS" => "tcp_connections_opened_total",
        "TCP_CLOSED_CONNECTIONS" => "tcp_connections_closed_total",
        "TCP_SENT_BYTES" => "tcp_sent_bytes_total",
        "TCP_RECEIVED_BYTES" => "tcp_received_bytes_total",
        "GRPC_REQUEST_MESSAGES" => "request_messages_total",
        "GRPC_RESPONSE_MESSAGES" => "response_messages_total",
        own => own,
    }
}
