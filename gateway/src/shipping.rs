//! The shipper of the node's own events, where `CARBYNE_EVENTS_KAFKA` says to which brokers: that of `carbyne events ship`, in this process.
//!
//! It takes what is on disk, as the other does, so whatever becomes of it, of the brokers or of the process only leaves events owed. Its
//! threads, and the client's, have a low priority: where the machine is busy, requests go first.

use std::fmt;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use carbyne_engine::runtime::background::{self, Priority};
use carbyne_events::metrics;
use carbyne_events::ship::{self, Asked, EnvironmentError, Problem, ShipError, Shipper};
use carbyne_events::source::Source;

/// A shipper that runs.
#[derive(Debug)]
pub struct Shipping {
    shipper: Shipper,
    grace: Duration,
    /// What was said to keep events from being shipped.
    told: Vec<Problem>,
}

/// How it goes with a shipper, for the Admin API.
#[derive(Clone, Debug)]
pub struct Watch(ship::Watch);

/// Why a node does not ship although it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ShippingError {
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    #[error(transparent)]
    Shipper(#[from] ShipError),
    #[error("the shipper cannot be started: {0}")]
    Thread(#[from] io::Error),
}

impl Shipping {
    /// Starts what the environment asks for; nothing where it asks for nothing.
    pub async fn start(
        events: Option<&Arc<Source>>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, ShippingError> {
        let asked = Asked::read(variable)?;
        let (Some(Asked { settings, grace }), Some(events)) = (asked, events) else {
            return Ok(None);
        };
        tracing::info!(brokers = settings.bootstrap, "the node ships its events");
        let own = events.directory().to_owned();
        // Threads have the priority of the one that starts them.
        let shipper = background::run(Priority::Low, move || Shipper::start(&own, settings));
        Ok(Some(Self {
            shipper: shipper.await??,
            grace,
            told: Vec::new(),
        }))
    }

    /// How it goes, for those who are asked for it.
    pub fn watch(&self) -> Watch {
        Watch(self.shipper.watch())
    }

    /// Says what keeps events from being shipped, and that nothing does any more, once each.
    pub fn tell(&mut self) {
        let problems = self.shipper.status().problems;
        for problem in &problems {
            if !self.told.contains(problem) {
                tracing::error!("{}", Worded(problem));
            }
        }
        if problems.is_empty() && !self.told.is_empty() {
            tracing::warn!("events are shipped again");
        }
        self.told = problems;
    }

    /// Goes on with what is on disk for as long as the grace, unless `hurry` comes first, and ends.
    pub async fn finish(self, hurry: impl Future<Output = ()>) {
        let Self { shipper, grace, .. } = self;
        let watch = shipper.watch();
        let mut ended = pin!(background::run(Priority::Normal, move || {
            let all = shipper.drain(grace);
            shipper.stop();
            all
        }));
        let all = tokio::select! {
            all = &mut ended => all,
            () = hurry => {
                watch.stop();
                ended.await
            }
        };
        if !matches!(all, Ok(true)) {
            tracing::warn!(
                "some events are not shipped: they stay in the spool, and the next start ships them"
            );
        }
    }
}

impl Watch {
    /// Adds Prometheus' metrics to those of the outlet.
    pub fn metrics(&self, into: &mut String) {
        metrics::write_client(&self.0.status(), into);
    }

    /// What keeps events from being shipped, in words.
    pub fn problems(&self) -> Vec<String> {
        let problems = self.0.status().problems;
        problems
            .iter()
            .map(|problem| Worded(problem).to_string())
            .collect()
    }
}

/// A problem as the node says it.
struct Worded<'a>(&'a Problem);

impl fmt::Display for Worded<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Problem::Taken(name) => write!(
                formatter,
                "another shipper has the spool {name}, such as a `carbyne events ship` of its folder: that one ships the node's \
                 events, and the node does when it ends"
            ),
            other => write!(formatter, "events are not shipped: {other}"),
        }
    }
}
