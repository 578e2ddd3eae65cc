//! A worker's balancer state for every cluster that it sent something to.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use rustc_hash::FxHashMap;

use super::original::OriginalCache;
use super::{Cluster, Host, PickContext, Picker};

/// Pickers by cluster.
#[derive(Debug, Default)]
pub struct Pickers {
    clusters: RefCell<FxHashMap<usize, Entry>>,
}

#[derive(Debug)]
struct Entry {
    /// Held so that the key, its address, is not given to another cluster.
    cluster: Arc<Cluster>,
    picker: Picker,
    originals: OriginalCache,
}

impl Pickers {
    /// Picks a host of `cluster`.
    pub fn pick(&self, cluster: &Arc<Cluster>, context: &PickContext<'_>) -> Option<Arc<Host>> {
        self.with(cluster, |entry| {
            let set = cluster.endpoints();
            entry.picker.pick(&set, context).cloned()
        })
    }

    /// The host of `cluster` at an original destination.
    pub fn original(&self, cluster: &Arc<Cluster>, address: SocketAddr) -> Arc<Host> {
        self.with(cluster, |entry| {
            let stats = cluster.stats();
            let originals = cluster.originals();
            Arc::clone(
                entry
                    .originals
                    .host(originals, address, Instant::now(), stats),
            )
        })
    }

    /// Forgets clusters that nobody else holds, and destinations that nobody uses. Called now and then.
    pub fn trim(&self) {
        let mut gone = Vec::new();
        self.clusters.borrow_mut().retain(|_, entry| {
            entry.originals.trim();
            let keep = Arc::strong_count(&entry.cluster) > 1;
            if !keep {
                gone.push(entry.cluster.clone());
            }
            keep
        });
        drop(gone);
    }

    fn with<T>(&self, cluster: &Arc<Cluster>, f: impl FnOnce(&mut Entry) -> T) -> T {
        let key = Arc::as_ptr(cluster) as usize;
        let mut clusters = self.clusters.borrow_mut();
        let entry = clusters.entry(key).or_insert_with(|| Entry {
            cluster: cluster.clone(),
            picker: Picker::new(fastrand::u64(..)),
            originals: OriginalCache::default(),
        });
        f(entry)
    }
}
