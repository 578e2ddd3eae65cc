//! Istio's `istio.stats` as a filter: it only listens. The metrics themselves are in [`crate::observe::istio`].

use std::sync::Arc;

use carbyne_engine::forward::Exchange;
use carbyne_protos::stats::PluginConfig;

use crate::context::Context;
use crate::observe::facts::Facts;
use crate::observe::istio::{IstioStats, Store};
use crate::observe::peer::LocalNode;
use crate::plan::scope::Scope;

/// The compiled filter.
#[derive(Clone, Debug)]
pub struct StatsFilter {
    /// What is counted; TCP proxies ask it for the series of their streams.
    pub stats: Arc<IstioStats>,
}

impl StatsFilter {
    /// Reads the message. `inbound` is the direction of the listener.
    pub fn plan(
        message: &PluginConfig,
        inbound: bool,
        node: &Arc<LocalNode>,
        store: &Arc<Store>,
        scope: &Scope<'_>,
    ) -> Self {
        Self {
            stats: Arc::new(IstioStats::plan(message, inbound, node, store, scope)),
        }
    }

    /// A request is over.
    pub fn log(&self, exchange: &Exchange<Context>) {
        self.stats.request(&Facts::of(exchange));
    }
}
