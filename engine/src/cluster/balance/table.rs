//! Consistent-hash tables of one priority: built once on the control side, shared by all workers, kept when an update does not touch them.

use std::sync::Arc;

use super::maglev::Maglev;
use super::ring::Ring;
use crate::cluster::host::Host;
use crate::cluster::settings::BalancerSettings;

/// A host as tables see it.
#[derive(Debug, Clone, Copy)]
pub struct Weighted<'text> {
    /// What is hashed.
    pub text: &'text str,
    /// Its share of all weight.
    pub weight: f64,
}

/// A table with the hosts that its entries mean.
#[derive(Debug, Clone)]
pub struct Table {
    hosts: Vec<Arc<Host>>,
    weights: Vec<f64>,
    entries: Entries,
}

#[derive(Debug, Clone)]
enum Entries {
    Ring(Arc<Ring>),
    Maglev(Arc<Maglev>),
}

impl Table {
    /// The table of these hosts and normalised weights, or `None` for balancers without one. `previous` is taken over when it has the same entries.
    #[must_use]
    pub fn build(
        hosts: Vec<(Arc<Host>, f64)>,
        balancer: &BalancerSettings,
        same_balancer: bool,
        previous: Option<&Self>,
    ) -> Option<Self> {
        let use_hostname = match balancer {
            BalancerSettings::RingHash { use_hostname, .. }
            | BalancerSettings::Maglev { use_hostname, .. } => *use_hostname,
            BalancerSettings::RoundRobin { .. }
            | BalancerSettings::LeastRequest { .. }
            | BalancerSettings::Random => return None,
        };
        let (hosts, weights): (Vec<_>, Vec<_>) = hosts.into_iter().unzip();
        let reusable = previous.filter(|previous| {
            same_balancer && previous.has_entries_of(&hosts, &weights, use_hostname)
        });
        if let Some(previous) = reusable {
            return Some(Self {
                hosts,
                weights,
                entries: previous.entries.clone(),
            });
        }
        let weighted: Vec<Weighted<'_>> = hosts
            .iter()
            .zip(&weights)
            .map(|(host, weight)| Weighted {
                text: host.hash_text(use_hostname),
                weight: *weight,
            })
            .collect();
        let entries = match balancer {
            BalancerSettings::RingHash {
                min_size,
                max_size,
                hash,
                ..
            } => Entries::Ring(Arc::new(Ring::build(
                &weighted, *min_size, *max_size, *hash,
            ))),
            BalancerSettings::Maglev { table_size, .. } => {
                Entries::Maglev(Arc::new(Maglev::build(&weighted, *table_size)))
            }
            BalancerSettings::RoundRobin { .. }
            | BalancerSettings::LeastRequest { .. }
            | BalancerSettings::Random => return None,
        };
        Some(Self {
            hosts,
            weights,
            entries,
        })
    }

    /// The host for `hash`; further attempts look elsewhere.
    #[must_use]
    pub fn pick(&self, hash: u64, attempt: u32) -> Option<&Arc<Host>> {
        let index = match &self.entries {
            Entries::Ring(ring) => ring.pick(hash, attempt),
            Entries::Maglev(maglev) => maglev.pick(hash, attempt),
        }?;
        self.hosts.get(index as usize)
    }

    /// Entries, fewest and most of one host.
    #[must_use]
    pub fn sizes(&self) -> [u64; 3] {
        match &self.entries {
            Entries::Ring(ring) => [ring.len() as u64, ring.least, ring.most],
            Entries::Maglev(maglev) => [maglev.len() as u64, maglev.least, maglev.most],
        }
    }

    /// Whether both share their entries: an update left them alone.
    #[must_use]
    pub fn shares_entries_with(&self, other: &Self) -> bool {
        match (&self.entries, &other.entries) {
            (Entries::Ring(mine), Entries::Ring(theirs)) => Arc::ptr_eq(mine, theirs),
            (Entries::Maglev(mine), Entries::Maglev(theirs)) => Arc::ptr_eq(mine, theirs),
            (Entries::Ring(_), Entries::Maglev(_)) | (Entries::Maglev(_), Entries::Ring(_)) => {
                false
            }
        }
    }

    fn has_entries_of(&self, hosts: &[Arc<Host>], weights: &[f64], use_hostname: bool) -> bool {
        let same_text = |(mine, theirs): (&Arc<Host>, &Arc<Host>)| {
            mine.hash_text(use_hostname) == theirs.hash_text(use_hostname)
        };
        self.weights == weights
            && self.hosts.len() == hosts.len()
            && self.hosts.iter().zip(hosts).all(same_text)
    }
}
