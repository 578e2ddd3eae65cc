//! What Telemetry resources change: labels that are removed, added or computed otherwise, metrics that are dropped.

use std::sync::Arc;

use carbyne_protos::stats::{MetricConfig, PluginConfig};

use super::labels::{Labels, UNKNOWN};
use crate::observe::cel::Expression;
use crate::observe::facts::Facts;
use crate::observe::peer::LocalNode;
use crate::plan::scope::Scope;

/// One of Istio's metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Metric {
    RequestsTotal,
    RequestDuration,
    RequestBytes,
    ResponseBytes,
    RequestMessagesTotal,
    ResponseMessagesTotal,
    TcpOpened,
    TcpClosed,
    TcpSent,
    TcpReceived,
}

/// The changes, by metric.
#[derive(Debug)]
pub(super) struct Overrides {
    metrics: [Change; 10],
    computed: bool,
}

/// What changes about one metric.
#[derive(Debug, Default)]
struct Change {
    dropped: bool,
    removed: Vec<String>,
    /// Labels with the expression that computes them; one that did not compile is `unknown`.
    dimensions: Vec<(String, Option<Expression>)>,
}

impl Metric {
    const ALL: [Self; 10] = [
        Self::RequestsTotal,
        Self::RequestDuration,
        Self::RequestBytes,
        Self::ResponseBytes,
        Self::RequestMessagesTotal,
        Self::ResponseMessagesTotal,
        Self::TcpOpened,
        Self::TcpClosed,
        Self::TcpSent,
        Self::TcpReceived,
    ];

    /// As Prometheus sees it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::RequestsTotal => "istio_requests_total",
            Self::RequestDuration => "istio_request_duration_milliseconds",
            Self::RequestBytes => "istio_request_bytes",
            Self::ResponseBytes => "istio_response_bytes",
            Self::RequestMessagesTotal => "istio_request_messages_total",
            Self::ResponseMessagesTotal => "istio_response_messages_total",
            Self::TcpOpened => "istio_tcp_connections_opened_total",
            Self::TcpClosed => "istio_tcp_connections_closed_total",
            Self::TcpSent => "istio_tcp_sent_bytes_total",
            Self::TcpReceived => "istio_tcp_received_bytes_total",
        }
    }
}

impl Overrides {
    /// Reads `metrics`; they apply in their order. What is not served is noted.
    pub(super) fn plan(message: &PluginConfig, node: &Arc<LocalNode>, scope: &Scope<'_>) -> Self {
        let mut metrics: [Change; 10] = Default::default();
        for (index, config) in message.metrics.iter().enumerate() {
            let place = scope.item("metrics", index);
            if !config.r#match.is_empty() {
                place
                    .field("match")
                    .note("not served: the override is left out");
                continue;
            }
            let mut found = false;
            for metric in Metric::ALL {
                // Istio names metrics without their prefix.
                let matches = config.name.is_empty()
                    || metric.name().strip_prefix("istio_") == Some(config.name.as_str());
                if matches {
                    found = true;
                    metrics[metric as usize].apply(config, node, &place);
                }
            }
            if !found {
                place
                    .field("name")
                    .note(format!("`{}` is not one of Istio's metrics", config.name));
            }
        }
        if !message.definitions.is_empty() {
            scope
                .field("definitions")
                .note("metrics of one's own are not served");
        }
        Self {
            computed: metrics.iter().any(|change| !change.dimensions.is_empty()),
            metrics,
        }
    }

    /// The labels of a metric; `None` where it is dropped.
    pub(super) fn apply(
        &self,
        metric: Metric,
        labels: &Labels,
        facts: &Facts<'_>,
    ) -> Option<Vec<(Arc<str>, Box<str>)>> {
        let change = &self.metrics[metric as usize];
        if change.dropped {
            return None;
        }
        let kept = labels
            .values
            .iter()
            .filter(|(name, _)| !change.removed.iter().any(|removed| removed == name));
        let mut all: Vec<(Arc<str>, Box<str>)> = kept
            .map(|(name, value)| (Arc::from(*name), value.as_str().into()))
            .collect();
        for (name, expression) in &change.dimensions {
            let mut value = Vec::new();
            let worded = expression
                .as_ref()
                .is_some_and(|expression| expression.write(facts, &mut value));
            let value: Box<str> = if worded {
                String::from_utf8_lossy(&value).into()
            } else {
                UNKNOWN.into()
            };
            match all.iter_mut().find(|(known, _)| **known == **name) {
                Some((_, held)) => *held = value,
                None => all.push((Arc::from(name.as_str()), value)),
            }
        }
        Some(all)
    }

    /// The values of computed labels, for the key of what a worker remembers; empty where nothing is computed.
    pub(super) fn dynamic(&self, facts: &Facts<'_>) -> Box<[u8]> {
        if !self.computed {
            return Box::default();
        }
        let mut values = Vec::new();
        for (_, expression) in self.metrics.iter().flat_map(|change| &change.dimensions) {
            if let Some(expression) = expression {
                expression.write(facts, &mut values);
            }
            values.push(0);
        }
        values.into()
    }
}

impl Change {
    fn apply(&mut self, config: &MetricConfig, node: &Arc<LocalNode>, scope: &Scope<'_>) {
        self.dropped |= config.drop;
        self.removed.extend(config.tags_to_remove.iter().cloned());
        for (name, text) in &config.dimensions {
            let expression = match Expression::parse_for(text, Some(node)) {
                Ok(expression) => Some(expression),
                Err(error) => {
                    scope
                        .entry("dimensions", name)
                        .note(format!("{error}: the label is `unknown`"));
                    None
                }
            };
            self.dimensions.retain(|(known, _)| known != name);
            self.dimensions.push((name.clone(), expression));
        }
    }
}
