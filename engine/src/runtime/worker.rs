//! One worker: a thread with a single-threaded runtime, its own connection pools and balancer state.

use std::rc::Rc;

use crate::cluster::pool::Pools;

/// What a worker owns; shared by its tasks, never by another thread. The control runtime has one too, for
/// the requests that the programs send themselves.
#[derive(Debug)]
pub struct Worker {
    /// Number of the worker from 0; `None` on the control runtime.
    pub index: Option<usize>,
    /// Connections to upstream hosts.
    pub pools: Pools,
}

impl Worker {
    /// The worker of the calling thread.
    pub fn new(index: Option<usize>) -> Rc<Self> {
        if let Some(index) = index {
            crate::observe::metrics::enter_worker(index);
        }
        Rc::new(Self {
            index,
            pools: Pools::default(),
        })
    }
}
