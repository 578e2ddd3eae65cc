//! Istio's `istio.stats` as a filter: it only listens. The metrics themselves are in [`crate::observe::istio`].

use std::sync::Arc;

use carbyne_engine::forward::Exchange;

use crate::context::Context;
use crate::observe::facts::Facts;
use crate::observe::istio::{IstioStats, StatsPlan, Store};
use crate::observe::peer::LocalNode;

/// The compiled filter.
#[derive(Clone, Debug)]
pub struct StatsFilter {
    /// What is counted; TCP proxies ask it for the series of their streams.
    pub stats: Arc<IstioStats>,
}

impl StatsFilter {
    /// For a listener; `inbound` is its direction.
    pub fn new(plan: &StatsPlan, inbound: bool, node: &Arc<LocalNode>, store: &Arc<Store>) -> Self {
        Self {
            stats: Arc::new(IstioStats::new(plan, inbound, node, store)),
        }
    }

    /// A request is over.
    pub fn log(&self, exchange: &Exchange<Context>) {
        self.stats.request(&Facts::of(exchange));
    }
}
