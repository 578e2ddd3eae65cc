//! Hosts by address: what lets a host keep what was learnt about it from one assignment to the next.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rustc_hash::{FxBuildHasher, FxHashMap};

use super::endpoint::{Assignment, Endpoint, Locality};
use super::host::{Flag, Host, Vitals};
use super::set::Members;
use super::settings::Settings;
use crate::net::Address;

/// All hosts that the present assignment names (and those that linger after it).
#[derive(Debug, Default)]
pub(super) struct Registry {
    known: FxHashMap<Key, Known>,
}

/// What makes a host the same from one assignment to the next.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Address(Address),
    Identity(Arc<str>),
}

#[derive(Debug)]
struct Known {
    vitals: Arc<Vitals>,
    /// The present version at each priority: an address may serve at several.
    versions: Vec<Arc<Host>>,
}

/// What an assignment leads to.
#[derive(Debug)]
pub(super) struct Update {
    /// The new members.
    pub(super) members: Members,
    /// Somebody came or left.
    pub(super) membership_changed: bool,
}

impl Registry {
    /// Turns the assignment into hosts. Known addresses keep their vitals, and unchanged endpoints the very same host.
    pub(super) fn assign(
        &mut self,
        assignment: &Assignment,
        settings: &Settings,
        now: Instant,
    ) -> Update {
        let mut old = std::mem::take(&mut self.known);
        let before = old.len();
        let mut arrived = 0;
        let mut members = Members {
            levels: Vec::new(),
            overprovisioning_factor: assignment.overprovisioning_factor,
            weighted_priority_health: assignment.weighted_priority_health,
        };
        // An address counts once within a priority; Envoy ignores repetitions too.
        let mut seen: HashSet<(Key, u8), FxBuildHasher> = HashSet::default();
        for group in &assignment.localities {
            let locality = Arc::new(group.locality.clone());
            let member = members.locality(group.priority, Arc::clone(&locality));
            member.weight = group.weight;
            for endpoint in &group.endpoints {
                let key = Key::of(endpoint);
                if !seen.insert((key.clone(), group.priority)) {
                    continue;
                }
                let known = self.known.entry(key.clone()).or_insert_with(|| {
                    let previous = old.remove(&key);
                    arrived += usize::from(previous.is_none());
                    previous.unwrap_or_else(|| Known::new(settings, now))
                });
                known.vitals.put(Flag::PendingRemoval, false);
                member
                    .hosts
                    .push(known.version(endpoint, &locality, group.priority));
            }
        }
        let left = before + arrived - self.known.len();
        if !settings.drain_on_removal && !settings.health_checks.is_empty() {
            self.keep_passing(old, &mut members);
        }
        Update {
            members,
            membership_changed: arrived + left > 0,
        }
    }

    /// Drops a host that lingered. Returns whether it was there.
    pub(super) fn forget(&mut self, serial: u64) -> bool {
        let before = self.known.len();
        self.known
            .retain(|_, known| known.vitals.serial() != serial);
        self.known.len() != before
    }

    /// Hosts that left the assignment stay while their active health check passes: discovery is eventually consistent, health checks are
    /// not (docs: "On eventually consistent service discovery").
    fn keep_passing(&mut self, old: FxHashMap<Key, Known>, members: &mut Members) {
        for (key, known) in old {
            if known.vitals.has(Flag::FailedActiveCheck) {
                continue;
            }
            known.vitals.put(Flag::PendingRemoval, true);
            for host in &known.versions {
                members
                    .locality(host.priority, Arc::clone(&host.locality))
                    .hosts
                    .push(Arc::clone(host));
            }
            self.known.insert(key, known);
        }
    }
}

impl Key {
    fn of(endpoint: &Endpoint) -> Self {
        match &endpoint.identity {
            Some(identity) => Self::Identity(Arc::clone(identity)),
            None => Self::Address(endpoint.address.clone()),
        }
    }
}

impl Known {
    fn new(settings: &Settings, now: Instant) -> Self {
        // With active health checks nobody is trusted before the first one; Envoy sets the same flags.
        let flags: &[Flag] = match (
            settings.health_checks.is_empty(),
            settings.ignore_new_hosts_until_first_check,
        ) {
            (true, _) => &[],
            (false, false) => &[Flag::FailedActiveCheck],
            (false, true) => &[Flag::FailedActiveCheck, Flag::PendingFirstCheck],
        };
        Self {
            vitals: Arc::new(Vitals::new(now, flags)),
            versions: Vec::new(),
        }
    }

    /// The host for the endpoint: the present one if nothing about it changed, else a new version with the same vitals.
    fn version(
        &mut self,
        endpoint: &Endpoint,
        locality: &Arc<Locality>,
        priority: u8,
    ) -> Arc<Host> {
        let place = self
            .versions
            .iter()
            .position(|host| host.priority == priority);
        let present = place.and_then(|place| self.versions.get(place));
        if let Some(host) = present.filter(|host| host.is_version_of(endpoint, locality)) {
            return Arc::clone(host);
        }
        // Connections may go on being used unless they lead elsewhere or are made otherwise.
        let same_connections = self.versions.iter().find(|host| {
            host.hostname == endpoint.hostname && host.transport == endpoint.transport
        });
        let id = same_connections.map_or_else(next_id, |host| host.id);
        let host = Arc::new(Host::new(
            id,
            endpoint,
            Arc::clone(locality),
            priority,
            Arc::clone(&self.vitals),
        ));
        match place.and_then(|place| self.versions.get_mut(place)) {
            Some(version) => *version = Arc::clone(&host),
            None => self.versions.push(Arc::clone(&host)),
        }
        host
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        self.vitals.put(Flag::Gone, true);
    }
}

/// An identity that is never used twice in this process.
pub(super) fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
