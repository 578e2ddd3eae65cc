//! `GET /metrics`: what prometheus counted, and the node itself.

use carbyne_engine::observe::process::Process;
use carbyne_events::source::Source;
use http::HeaderValue;

use super::Admin;
use super::answer::Answer;
use super::entities::Answered;
use crate::balance::Balancers;
use crate::plugins::prometheus::text::{self, Connections, Facts, TargetHealth};

impl Admin {
    pub(super) async fn metrics(&self) -> Answered {
        let Some(node) = self.node.clone() else {
            return Err(Answer::not_found());
        };
        let connections = &node.connections;
        let (began, ended) = (connections.requests.value(), connections.ended.value());
        let (limited, room) = node.shared.rate_limiting().size();
        let (groups, most) = node.shared.prometheus().size();
        let mut facts = Facts {
            node_id: node.id.to_string(),
            store_is_reachable: node.store.reachable().await.is_ok(),
            connections: Connections {
                accepted: connections.accepted.value(),
                active: u64::try_from(connections.active.value()).unwrap_or_default(),
                requests: began,
                writing: began.saturating_sub(ended),
            },
            process: Process::read(),
            memory: vec![
                (
                    "kong_rate_limiting_counters",
                    limited as u64 * COUNTER,
                    room as u64 * COUNTER,
                ),
                (
                    "prometheus_metrics",
                    groups as u64 * GROUP,
                    most as u64 * GROUP,
                ),
            ],
            targets: if node.shared.prometheus().wants_health() {
                targets(&node.balancers)
            } else {
                Vec::new()
            },
            events: None,
            shipping: self.shipping.clone(),
        };
        // Thousands of routes are megabytes of text: not where the Admin API answers others.
        let written = tokio::task::spawn_blocking(move || {
            // Looks into the spool's folder.
            facts.events = node.events.as_deref().map(Source::status);
            text::write(node.shared.prometheus(), &facts)
        });
        let written = written
            .await
            .map_err(|_| Answer::message(500, "An unexpected error occurred"))?;
        let content_type = HeaderValue::from_static("text/plain; charset=UTF-8");
        Ok(Answer::text(content_type, written))
    }
}

/// The health of every address of every target; of the target itself where it has none.
fn targets(balancers: &Balancers) -> Vec<TargetHealth> {
    let mut found = Vec::new();
    for balancer in balancers.upstreams() {
        let upstream = balancer.name();
        let status = balancer.status();
        for target in &status.targets {
            let health = |address: String, state| TargetHealth {
                upstream: upstream.to_string(),
                target: format!("{}:{}", target.host, target.port),
                address,
                state,
            };
            if target.addresses.is_empty() {
                found.push(health(String::new(), "dns_error"));
            }
            found.extend(target.addresses.iter().map(|address| {
                let state = match (target.health(), address.is_healthy) {
                    ("HEALTHCHECKS_OFF", _) => "healthchecks_off",
                    (_, true) => "healthy",
                    (_, false) => "unhealthy",
                };
                health(format!("{}:{}", address.ip, address.port), state)
            }));
        }
    }
    found
}

/// About how many bytes an entry of either table takes.
const COUNTER: u64 = 160;
const GROUP: u64 = 1024;
