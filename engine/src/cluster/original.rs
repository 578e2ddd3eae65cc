//! Hosts made on demand, one for each original destination, and forgotten when nobody uses them (docs: "Original destination").

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rustc_hash::FxHashMap;

use super::endpoint::{Endpoint, Locality};
use super::host::{Host, Vitals};
use super::registry::next_id;
use super::stats::Stats;

/// The hosts by address, shared by all workers. Workers look here only for addresses that their own [`OriginalCache`] lacks.
#[derive(Debug, Default)]
pub struct Originals {
    hosts: Mutex<FxHashMap<SocketAddr, Arc<Host>>>,
}

/// One worker's view of the hosts: no lock for addresses seen before.
#[derive(Debug, Default)]
pub struct OriginalCache {
    hosts: FxHashMap<SocketAddr, Arc<Host>>,
}

impl Originals {
    /// The host at the address, made if need be.
    #[must_use]
    pub fn host(&self, address: SocketAddr, now: Instant, stats: &Stats) -> Arc<Host> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let host = hosts.entry(address).or_insert_with(|| {
            stats.membership_change.add(1);
            stats.membership_total.add(1);
            stats.membership_healthy.add(1);
            let vitals = Arc::new(Vitals::new(now, &[]));
            Arc::new(Host::new(
                next_id(),
                &Endpoint::at(address),
                Arc::new(Locality::default()),
                0,
                vitals,
            ))
        });
        host.mark_used();
        Arc::clone(host)
    }

    /// Forgets hosts without connections that nobody used since the last sweep; to be called at every cleanup interval. Returns the ids of the forgotten.
    pub fn sweep(&self, stats: &Stats) -> Vec<u64> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut forgotten = Vec::new();
        hosts.retain(|_, host| {
            let used =
                host.take_used() || host.stats.cx_active.value() > 0 || host.active_requests() > 0;
            if !used {
                forgotten.push(host.id);
            }
            used
        });
        let count = forgotten.len() as u64;
        if count > 0 {
            stats.membership_change.add(1);
            stats.membership_total.subtract(count);
            stats.membership_healthy.subtract(count);
        }
        forgotten
    }

    /// All present hosts.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Host>> {
        self.hosts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }
}

impl OriginalCache {
    /// The host at the address, from the cache or from the cluster's.
    pub fn host(
        &mut self,
        originals: &Originals,
        address: SocketAddr,
        now: Instant,
        stats: &Stats,
    ) -> &Arc<Host> {
        let host = self
            .hosts
            .entry(address)
            .or_insert_with(|| originals.host(address, now, stats));
        host.mark_used();
        host
    }

    /// Drops what nobody else holds any more: hosts that a sweep forgot. To be called now and then by the worker.
    pub fn trim(&mut self) {
        self.hosts.retain(|_, host| Arc::strong_count(host) > 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unused_hosts_are_forgotten_and_used_ones_kept() {
        let (originals, stats, now) = (Originals::default(), Stats::default(), Instant::now());
        let addresses: [SocketAddr; 3] =
            [1, 2, 3].map(|port| SocketAddr::from(([10, 0, 0, 1], port)));
        let hosts = addresses.map(|address| originals.host(address, now, &stats));
        assert_eq!(stats.membership_total.value(), 3);
        // Each was used on creation.
        assert!(originals.sweep(&stats).is_empty());
        hosts[1].stats.cx_active.add(1);
        let again = originals.host(addresses[2], now, &stats);
        assert_eq!(again.id, hosts[2].id);
        assert_eq!(originals.sweep(&stats), [hosts[0].id]);
        assert_eq!(
            (stats.membership_total.value(), originals.all().len()),
            (2, 2)
        );
        let new = originals.host(addresses[0], now, &stats);
        assert_ne!(new.id, hosts[0].id);
    }

    #[test]
    fn caches_share_hosts_and_let_forgotten_ones_go() {
        let (originals, stats, now) = (Originals::default(), Stats::default(), Instant::now());
        let address = SocketAddr::from(([10, 0, 0, 1], 80));
        let (mut one, mut other) = (OriginalCache::default(), OriginalCache::default());
        let id = one.host(&originals, address, now, &stats).id;
        assert_eq!(other.host(&originals, address, now, &stats).id, id);
        assert!(originals.sweep(&stats).is_empty());
        assert_eq!(originals.sweep(&stats), [id]);
        one.trim();
        assert_eq!(one.hosts.len(), 1, "the other worker still has it");
        other.hosts.clear();
        one.trim();
        assert!(one.hosts.is_empty());
    }
}
