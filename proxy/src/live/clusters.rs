//! Clusters by name, in handles that outlive their updates.
//!
//! A route names clusters that may come later, change, or go (`validate_clusters: false`). It holds a slot; whoever owns clusters fills and
//! empties it. A request reads its slot with one atomic load and no look-up by name.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use carbyne_engine::cluster::Cluster;
use rustc_hash::FxHashMap;

use crate::plan::cluster::ClusterPlan;

/// A cluster that serves: the engine's part and what the proxy knows beside it.
#[derive(Debug)]
pub struct LiveCluster {
    /// Hosts, balancer, limits, statistics.
    pub cluster: Arc<Cluster>,
    /// Transports, metadata, services.
    pub plan: Arc<ClusterPlan>,
}

/// The place of a cluster, whether it is there or not.
pub struct ClusterSlot {
    name: Arc<str>,
    current: ArcSwapOption<LiveCluster>,
}

/// All clusters of the process.
#[derive(Debug, Default)]
pub struct Clusters {
    /// Every slot that anybody holds.
    slots: Mutex<FxHashMap<Arc<str>, Weak<ClusterSlot>>>,
    /// The slots of clusters that are there: this keeps them alive, and serves look-ups by request header.
    present: ArcSwap<FxHashMap<Arc<str>, Arc<ClusterSlot>>>,
}

impl ClusterSlot {
    /// The cluster's name.
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The cluster, if it is there.
    pub fn load(&self) -> Guard<Option<Arc<LiveCluster>>> {
        self.current.load()
    }
}

impl fmt::Debug for ClusterSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterSlot")
            .field("name", &self.name)
            .field("present", &self.current.load().is_some())
            .finish()
    }
}

impl Clusters {
    /// No clusters.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The slot of a name; the same for everybody who asks while one of them holds it.
    pub fn slot(&self, name: &str) -> Arc<ClusterSlot> {
        let mut slots = self.lock();
        if let Some(slot) = slots.get(name).and_then(Weak::upgrade) {
            return slot;
        }
        // Names that nobody holds any more go when the map would have to grow.
        if slots.len() == slots.capacity() {
            slots.retain(|_, slot| slot.strong_count() > 0);
        }
        let slot = Arc::new(ClusterSlot {
            name: Arc::from(name),
            current: ArcSwapOption::empty(),
        });
        slots.insert(Arc::clone(&slot.name), Arc::downgrade(&slot));
        slot
    }

    /// The slot of a cluster that is there.
    pub fn find(&self, name: &[u8]) -> Option<Arc<ClusterSlot>> {
        let name = std::str::from_utf8(name).ok()?;
        self.present.load().get(name).cloned()
    }

    /// Every cluster that is there.
    pub fn present(&self) -> Arc<FxHashMap<Arc<str>, Arc<ClusterSlot>>> {
        self.present.load_full()
    }

    /// Fills and empties slots: `arrived` clusters by their own name, `left` by name. One look-up table is made for all of them.
    pub fn apply(
        &self,
        arrived: impl IntoIterator<Item = Arc<LiveCluster>>,
        left: impl IntoIterator<Item = Arc<str>>,
    ) {
        let before = self.present.load_full();
        let mut present: Option<FxHashMap<Arc<str>, Arc<ClusterSlot>>> = None;
        for live in arrived {
            let slot = self.slot(live.cluster.name());
            let name = Arc::clone(&slot.name);
            slot.current.store(Some(live));
            if !before.contains_key(&name) {
                present
                    .get_or_insert_with(|| (*before).clone())
                    .insert(name, slot);
            }
        }
        for name in left {
            if let Some(slot) = present
                .get_or_insert_with(|| (*before).clone())
                .remove(&name)
            {
                slot.current.store(None);
            }
        }
        if let Some(present) = present {
            self.present.store(Arc::new(present));
        }
    }

    fn lock(&self) -> MutexGuard<'_, FxHashMap<Arc<str>, Weak<ClusterSlot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use carbyne_engine::cluster::Settings;

    use super::*;

    fn live(name: &str) -> Arc<LiveCluster> {
        Arc::new(LiveCluster {
            cluster: Cluster::new(Settings::named(name), Instant::now()),
            plan: Arc::new(ClusterPlan::named(name)),
        })
    }

    #[test]
    fn a_slot_is_there_before_and_after_its_cluster() {
        let clusters = Clusters::new();
        let slot = clusters.slot("a");
        assert!(slot.load().is_none() && clusters.find(b"a").is_none());
        clusters.apply([live("a"), live("b")], []);
        assert!(slot.load().is_some());
        assert!(Arc::ptr_eq(&slot, &clusters.find(b"a").unwrap()));
        clusters.apply([], [Arc::from("a")]);
        assert!(slot.load().is_none() && clusters.find(b"a").is_none());
        assert!(clusters.find(b"b").is_some());
        clusters.apply([live("a")], []);
        assert!(slot.load().is_some());
    }

    #[test]
    fn names_that_nobody_holds_are_forgotten() {
        let clusters = Clusters::new();
        for number in 0..10_000 {
            clusters.slot(&format!("cluster {number}"));
        }
        assert!(clusters.lock().len() < 100);
    }
}
