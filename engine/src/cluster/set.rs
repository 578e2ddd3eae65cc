//! The hosts of a cluster compiled for picking: priorities → localities → hosts, with the healthy ones apart. Immutable; a new one is
//! swapped in when the assignment or anybody's health changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::balance::priority::{LevelCounts, Loads};
use super::balance::table::Table;
use super::endpoint::Locality;
use super::host::{Health, Host};
use super::settings::{BalancerSettings, Settings};
use super::stats::Stats;

/// All hosts of a cluster at one moment.
#[derive(Debug)]
pub struct EndpointSet {
    /// Grows with every new set of the cluster.
    pub generation: u64,
    /// Priorities; there is always at least one, which may be empty.
    pub levels: Vec<Level>,
    /// How load is spread over the priorities.
    pub loads: Loads,
    /// How hosts are picked.
    pub balancer: BalancerSettings,
    /// Whether locality weights decide on the locality first.
    pub locality_weighted: bool,
    pub(super) stats: Arc<Stats>,
}

/// The hosts of one priority.
#[derive(Debug, Default)]
pub struct Level {
    /// All of them.
    pub hosts: Vec<Arc<Host>>,
    /// The healthy ones.
    pub healthy: Vec<Arc<Host>>,
    /// The degraded ones.
    pub degraded: Vec<Arc<Host>>,
    /// How many are left out of the count.
    pub excluded: usize,
    /// The same hosts by locality, in the order of the localities' names.
    pub localities: Vec<LocalityLevel>,
    /// Overprovisioning factor in percent.
    pub overprovisioning_factor: u32,
    /// The consistent-hash table, for balancers that have one.
    pub table: Option<Table>,
}

/// The hosts of one locality at one priority.
#[derive(Debug, Default)]
pub struct LocalityLevel {
    /// The place.
    pub locality: Arc<Locality>,
    /// The assigned weight, 0 for none.
    pub weight: u32,
    /// All its hosts.
    pub hosts: Vec<Arc<Host>>,
    /// The healthy ones.
    pub healthy: Vec<Arc<Host>>,
    /// The degraded ones.
    pub degraded: Vec<Arc<Host>>,
    /// How many are left out of the count.
    pub excluded: usize,
}

/// The hosts of an assignment, before they are sorted by health.
#[derive(Debug, Default)]
pub struct Members {
    /// Hosts by priority and locality.
    pub levels: Vec<BTreeMap<Arc<Locality>, MemberLocality>>,
    /// Overprovisioning factor in percent.
    pub overprovisioning_factor: u32,
    /// Weigh hosts when computing the health of a priority.
    pub weighted_priority_health: bool,
}

/// The hosts of one locality at one priority, before they are sorted by health.
#[derive(Debug, Default)]
pub struct MemberLocality {
    /// The assigned weight.
    pub weight: u32,
    /// The hosts.
    pub hosts: Vec<Arc<Host>>,
}

impl Members {
    /// The hosts at a priority and place, which are added if missing.
    pub fn locality(&mut self, priority: u8, locality: Arc<Locality>) -> &mut MemberLocality {
        let priority = usize::from(priority);
        if self.levels.len() <= priority {
            self.levels.resize_with(priority + 1, BTreeMap::new);
        }
        self.levels[priority].entry(locality).or_default()
    }

    /// All hosts; one that serves at several priorities comes several times.
    pub fn hosts(&self) -> impl Iterator<Item = &Arc<Host>> {
        self.levels
            .iter()
            .flat_map(BTreeMap::values)
            .flat_map(|locality| &locality.hosts)
    }

    /// Removes a host by the serial of its vitals.
    pub fn remove(&mut self, serial: u64) {
        for locality in self.levels.iter_mut().flat_map(BTreeMap::values_mut) {
            locality.hosts.retain(|host| host.serial() != serial);
        }
    }
}

impl EndpointSet {
    /// Sorts the members by their present health. Tables of `previous` are taken over where nothing about them changed.
    #[must_use]
    pub fn compile(
        generation: u64,
        settings: &Settings,
        members: &Members,
        stats: Arc<Stats>,
        previous: Option<&Self>,
    ) -> Self {
        let mut levels: Vec<Level> = members
            .levels
            .iter()
            .map(|localities| Level::compile(localities, members.overprovisioning_factor))
            .collect();
        if levels.is_empty() {
            levels.push(Level::default());
        }
        let counts: Vec<LevelCounts> = levels
            .iter()
            .map(|level| level.counts(members.weighted_priority_health))
            .collect();
        let loads = Loads::of(&counts, settings.panic_threshold);
        let same_balancer = previous.is_some_and(|previous| previous.balancer == settings.balancer);
        for (index, level) in levels.iter_mut().enumerate() {
            let panic = loads.panic.get(index).copied().unwrap_or(false);
            let old = previous
                .and_then(|previous| previous.levels.get(index))
                .and_then(|level| level.table.as_ref());
            if matches!(
                settings.balancer,
                BalancerSettings::RingHash { .. } | BalancerSettings::Maglev { .. }
            ) {
                let weights = level.normalised_weights(panic, settings.locality_weighted);
                level.table = Table::build(weights, &settings.balancer, same_balancer, old);
            }
        }
        let set = Self {
            generation,
            levels,
            loads,
            balancer: settings.balancer.clone(),
            locality_weighted: settings.locality_weighted,
            stats,
        };
        set.publish();
        set
    }

    /// Every host, priority by priority.
    pub fn hosts(&self) -> impl Iterator<Item = &Arc<Host>> {
        self.levels.iter().flat_map(|level| &level.hosts)
    }

    /// Whether there is no host at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.levels.iter().all(|level| level.hosts.is_empty())
    }

    fn publish(&self) {
        let count = |each: fn(&Level) -> usize| self.levels.iter().map(each).sum::<usize>() as u64;
        self.stats
            .membership_total
            .set(count(|level| level.hosts.len()));
        self.stats
            .membership_healthy
            .set(count(|level| level.healthy.len()));
        self.stats
            .membership_degraded
            .set(count(|level| level.degraded.len()));
        self.stats
            .membership_excluded
            .set(count(|level| level.excluded));
        // The last priority with a table rules, as in Envoy, where each build overwrites the gauges.
        if let Some(table) = self
            .levels
            .iter()
            .rev()
            .find_map(|level| level.table.as_ref())
        {
            let [size, least, most] = table.sizes();
            self.stats.ring_size.set(size);
            self.stats.min_hashes_per_host.set(least);
            self.stats.max_hashes_per_host.set(most);
        }
    }
}

impl Level {
    fn compile(
        members: &BTreeMap<Arc<Locality>, MemberLocality>,
        overprovisioning_factor: u32,
    ) -> Self {
        let mut level = Self {
            overprovisioning_factor,
            ..Self::default()
        };
        for (locality, member) in members {
            let compiled = LocalityLevel::compile(Arc::clone(locality), member);
            level.hosts.extend(compiled.hosts.iter().cloned());
            level.healthy.extend(compiled.healthy.iter().cloned());
            level.degraded.extend(compiled.degraded.iter().cloned());
            level.excluded += compiled.excluded;
            level.localities.push(compiled);
        }
        level
    }

    fn counts(&self, weighted: bool) -> LevelCounts {
        let weigh =
            |hosts: &[Arc<Host>]| hosts.iter().map(|host| u64::from(host.weight)).sum::<u64>();
        let excluded = || {
            self.hosts
                .iter()
                .filter(|host| host.is_excluded())
                .map(|host| u64::from(host.weight))
                .sum::<u64>()
        };
        LevelCounts {
            hosts: self.hosts.len(),
            excluded: self.excluded,
            healthy: self.healthy.len(),
            degraded: self.degraded.len(),
            weights: weighted.then(|| {
                [
                    weigh(&self.hosts).saturating_sub(excluded()),
                    weigh(&self.healthy),
                    weigh(&self.degraded),
                ]
            }),
            overprovisioning_factor: self.overprovisioning_factor,
        }
    }

    /// The hosts that a table is made of, with weights whose sum is 1 over all localities that have a weight.
    fn normalised_weights(&self, panic: bool, locality_weighted: bool) -> Vec<(Arc<Host>, f64)> {
        if !locality_weighted || self.localities.is_empty() {
            return normalise(if panic { &self.hosts } else { &self.healthy }, 1.0);
        }
        let total: u64 = self
            .localities
            .iter()
            .map(|locality| u64::from(locality.weight))
            .sum();
        self.localities
            .iter()
            .filter(|locality| locality.weight != 0)
            .flat_map(|locality| {
                let hosts = if panic {
                    &locality.hosts
                } else {
                    &locality.healthy
                };
                normalise(hosts, f64::from(locality.weight) / total as f64)
            })
            .collect()
    }
}

impl LocalityLevel {
    fn compile(locality: Arc<Locality>, member: &MemberLocality) -> Self {
        let mut compiled = Self {
            locality,
            weight: member.weight,
            hosts: member.hosts.clone(),
            ..Self::default()
        };
        for host in &member.hosts {
            if host.is_excluded() {
                compiled.excluded += 1;
                continue;
            }
            match host.health() {
                Health::Healthy => compiled.healthy.push(Arc::clone(host)),
                Health::Degraded => compiled.degraded.push(Arc::clone(host)),
                Health::Unhealthy => {}
            }
        }
        compiled
    }
}

fn normalise(hosts: &[Arc<Host>], share: f64) -> Vec<(Arc<Host>, f64)> {
    let total: u64 = hosts.iter().map(|host| u64::from(host.weight)).sum();
    hosts
        .iter()
        .map(|host| {
            (
                Arc::clone(host),
                f64::from(host.weight) * share / total as f64,
            )
        })
        .collect()
}
