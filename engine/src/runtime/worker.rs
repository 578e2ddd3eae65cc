//! One worker: a thread with a single-threaded runtime, its own connection pools and balancer state.

use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::cluster::pickers::Pickers;
use crate::cluster::pool::Pools;

/// What a worker owns; shared by its tasks, never by another thread. The control runtime has one too, for
/// the requests that the programs send themselves.
#[derive(Debug)]
pub struct Worker {
    /// Number of the worker from 0; `None` on the control runtime.
    pub index: Option<usize>,
    /// Connections to upstream hosts.
    pub pools: Pools,
    /// Whose turn it is in every cluster.
    pub pickers: Pickers,
}

impl Worker {
    /// The worker of the calling thread. Must be called inside a local runtime.
    pub fn new(index: Option<usize>) -> Rc<Self> {
        if let Some(index) = index {
            crate::observe::metrics::enter_worker(index);
        }
        let worker = Rc::new(Self {
            index,
            pools: Pools::default(),
            pickers: Pickers::default(),
        });
        tokio::task::spawn_local(worker.clone().tidy());
        worker
    }

    /// Once a second: closes what idled too long and forgets what is gone.
    async fn tidy(self: Rc<Self>) {
        let mut every = tokio::time::interval(TIDY_INTERVAL);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            self.pools.sweep(Instant::now());
            self.pickers.trim();
        }
    }
}

const TIDY_INTERVAL: Duration = Duration::from_secs(1);
