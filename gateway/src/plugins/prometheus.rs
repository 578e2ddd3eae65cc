//! prometheus: counts requests by route in Kong's metrics. `GET /metrics` of the Admin and the Status API tells them.
//!
//! A route looks its series up once, not once a request ([`crate::live::route::LiveRoute::series`]); a request then adds to cells
//! of its worker, and a scrape sums and words them.

use std::sync::Arc;

use serde::Deserialize;

use self::series::Shared;
use crate::plugin::serialize::Latencies;
use crate::plugin::{Ended, Plugin, Refusal, Setup};
use crate::proxy::context::Source;

pub mod series;
pub mod text;

#[derive(Debug)]
pub struct Prometheus {
    shared: Arc<Shared>,
    config: Config,
    /// Held so that it is known that somebody counts, and whether somebody asks for the health of targets.
    _enabled: Arc<()>,
    _health: Option<Arc<()>>,
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "the switches that the schema has"
)]
#[derive(Debug, Deserialize)]
pub struct Config {
    per_consumer: bool,
    status_code_metrics: bool,
    latency_metrics: bool,
    bandwidth_metrics: bool,
    upstream_health_metrics: bool,
}

/// What nginx logs for a client that left.
const CLIENT_LEFT: u16 = 499;

impl Plugin for Prometheus {
    type Config = Config;
    type Shared = Shared;
    type State = ();

    fn new(config: Config, setup: &Setup<'_, Shared>) -> Result<Self, Refusal> {
        let shared = setup.shared;
        Ok(Self {
            _enabled: shared.enabled.clone(),
            _health: config
                .upstream_health_metrics
                .then(|| shared.health.clone()),
            shared: shared.clone(),
            config,
        })
    }

    fn log(&self, ended: &Ended<'_, ()>) {
        let context = ended.context();
        let Some(route) = &context.route else {
            // Kong counts no requests that no route wants.
            return;
        };
        let found = route
            .series
            .get_or_init(|| self.shared.of_route(&route.plan, route.service.as_deref()));
        let Some(series) = found else {
            return;
        };
        let config = &self.config;
        if config.latency_metrics {
            series.observe(&Latencies::of(ended.exchange));
        }
        if !config.status_code_metrics && !config.bandwidth_metrics {
            return;
        }
        let consumer = context.consumer.as_ref().filter(|_| config.per_consumer);
        let username = consumer.and_then(|consumer| consumer.username.as_deref());
        series.with_traffic(&self.shared, username, |traffic| {
            if config.status_code_metrics {
                let status = ended.status().unwrap_or(CLIENT_LEFT);
                traffic.count(status, context.source == Source::Service);
            }
            if config.bandwidth_metrics {
                let counts = &ended.exchange.counts;
                traffic.add_bytes(counts.wire_received, counts.wire_sent);
            }
        });
    }
}
