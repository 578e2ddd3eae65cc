//! Holds the first request for listeners back.

use std::time::Duration;

use super::ResourceType;
use super::table::{Interest, Table};

/// Closed until the first clusters and their endpoints were answered, or for a bounded time; then open for
/// ever, over reconnects too. Envoy asks for listeners when its clusters are initialised: a listener that
/// comes first would answer 503 for clusters that are on their way.
#[derive(Debug)]
pub(super) struct Gate {
    wait: Duration,
    opens_at: Option<Duration>,
    /// Clusters wait for more than their endpoints: first health checks.
    held: bool,
    open: bool,
}

impl Gate {
    pub(super) fn new(wait: Duration) -> Self {
        Self {
            wait,
            opens_at: None,
            held: false,
            open: false,
        }
    }

    /// The first stream starts the clock.
    pub(super) fn start(&mut self, now: Duration) {
        if !self.open && self.opens_at.is_none() {
            self.opens_at = Some(now.saturating_add(self.wait));
        }
    }

    /// Whether whoever applies clusters still waits.
    pub(super) fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// Opens where there is nothing left to wait for.
    pub(super) fn look(&mut self, tables: &[Table; ResourceType::ALL.len()], now: Duration) {
        if self.open {
            return;
        }
        let settled = |resource_type: ResourceType| {
            let table = &tables[resource_type.index()];
            let idle = matches!(table.interest(), Interest::Names(names) if names.is_empty());
            idle || table.is_answered()
        };
        self.open = self.opens_at.is_some_and(|at| now >= at)
            || (!self.held && settled(ResourceType::Cluster) && settled(ResourceType::Endpoint));
    }

    pub(super) fn admits(&self, resource_type: ResourceType) -> bool {
        self.open || resource_type != ResourceType::Listener
    }

    pub(super) fn opens_at(&self) -> Option<Duration> {
        self.opens_at.filter(|_| !self.open)
    }
}
