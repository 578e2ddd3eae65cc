//! A host: an endpoint with everything learnt about it. What was learnt ([`Vitals`]) is found by address and survives updates;
//! what was assigned is rebuilt with each update.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::endpoint::{Endpoint, EndpointHealth, Extension, Locality};
use super::outlier::Monitor;
use super::stats::{Counter, Gauge};
use crate::net::Address;

/// One host of a cluster, as currently assigned. Derefs to its [`Vitals`].
#[derive(Debug)]
pub struct Host {
    /// Identity of its connections: stays as long as address, name and transport do. Never used twice in a process.
    pub id: u64,
    /// Where it listens.
    pub address: Address,
    /// The printed address, as hashed by hash balancers and shown to people.
    pub address_text: Arc<str>,
    /// Its name, may be empty.
    pub hostname: Arc<str>,
    /// Share of the load within its locality, at least 1.
    pub weight: u32,
    /// The health that the assignment states.
    pub assigned_health: EndpointHealth,
    /// Index into the cluster's transports.
    pub transport: u16,
    /// Overrides what hash balancers hash.
    pub hash_key: Option<Arc<str>>,
    /// What the engine's user attached.
    pub extension: Option<Extension>,
    /// Where it is.
    pub locality: Arc<Locality>,
    /// Its priority.
    pub priority: u8,
    vitals: Arc<Vitals>,
}

/// What is learnt about a host over time.
#[derive(Debug)]
pub struct Vitals {
    serial: u64,
    /// Statistics as on Envoy's `/clusters`.
    pub stats: HostStats,
    /// What outlier detection has seen.
    pub monitor: Monitor,
    flags: AtomicU8,
    used: AtomicBool,
    /// Milliseconds from `born` to the moment it last became healthy: where slow start counts from.
    healthy_since: AtomicU64,
    born: Instant,
}

/// Per-host statistics as on Envoy's `/clusters`.
#[derive(Debug, Default)]
pub struct HostStats {
    /// Connections opened.
    pub cx_total: Counter,
    /// Connections that could not be established.
    pub cx_connect_fail: Counter,
    /// Requests sent.
    pub rq_total: Counter,
    /// Requests answered without a 5xx.
    pub rq_success: Counter,
    /// Requests answered with a 5xx or not at all.
    pub rq_error: Counter,
    /// Requests that timed out.
    pub rq_timeout: Counter,
    /// Open connections.
    pub cx_active: Gauge,
    rq_active: AtomicU32,
}

/// Whether a host gets load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Healthy,
    /// Only when too few are healthy.
    Degraded,
    /// Only in panic.
    Unhealthy,
}

/// One reason for a host not to be healthy. Names in parentheses are Envoy's on `/clusters`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Flag {
    /// Its active health check fails (`failed_active_hc`).
    FailedActiveCheck = 1,
    /// Outlier detection ejected it (`failed_outlier_check`).
    Ejected = 2,
    /// Its active health check calls it degraded (`degraded_active_hc`).
    DegradedActiveCheck = 4,
    /// Its first active health check is yet to come (`pending_active_hc`).
    PendingFirstCheck = 8,
    /// It left the assignment and stays while its active health check passes (`pending_dynamic_removal`).
    PendingRemoval = 16,
    /// Its last active health check timed out (`active_hc_timeout`).
    ActiveCheckTimeout = 32,
    /// An answer asked to be excluded at once (`excluded_via_immediate_hc_fail`).
    Excluded = 64,
    /// It left the cluster: nobody picks it any more, and connections to it close when they are idle.
    Gone = 128,
}

/// A request under way on a host; counted until dropped.
#[derive(Debug)]
pub struct ActiveRequest(Arc<Vitals>);

impl Host {
    /// The host of an endpoint.
    #[must_use]
    pub fn new(
        id: u64,
        endpoint: &Endpoint,
        locality: Arc<Locality>,
        priority: u8,
        vitals: Arc<Vitals>,
    ) -> Self {
        Self {
            id,
            address_text: Arc::from(endpoint.address.to_string()),
            address: endpoint.address.clone(),
            hostname: Arc::clone(&endpoint.hostname),
            weight: endpoint.weight.max(1),
            assigned_health: endpoint.health,
            transport: endpoint.transport,
            hash_key: endpoint.hash_key.clone(),
            extension: endpoint.extension.clone(),
            locality,
            priority,
            vitals,
        }
    }

    /// Whether nothing about it would change with this endpoint.
    #[must_use]
    pub fn is_version_of(&self, endpoint: &Endpoint, locality: &Locality) -> bool {
        self.address == endpoint.address
            && self.hostname == endpoint.hostname
            && self.weight == endpoint.weight.max(1)
            && self.assigned_health == endpoint.health
            && self.transport == endpoint.transport
            && self.hash_key == endpoint.hash_key
            && self.extension == endpoint.extension
            && *self.locality == *locality
    }

    /// What is learnt about it, shared between all its versions.
    #[must_use]
    pub fn vitals(&self) -> &Arc<Vitals> {
        &self.vitals
    }

    /// Whether it gets load, all reasons combined.
    #[must_use]
    pub fn health(&self) -> Health {
        let failing = Flag::FailedActiveCheck as u8 | Flag::Ejected as u8;
        let flags = self.vitals.flags.load(Ordering::Acquire);
        match self.assigned_health {
            EndpointHealth::Unhealthy | EndpointHealth::Draining | EndpointHealth::Timeout => {
                Health::Unhealthy
            }
            _ if flags & failing != 0 => Health::Unhealthy,
            EndpointHealth::Degraded => Health::Degraded,
            EndpointHealth::Healthy if flags & Flag::DegradedActiveCheck as u8 != 0 => {
                Health::Degraded
            }
            EndpointHealth::Healthy => Health::Healthy,
        }
    }

    /// Whether it is left out of the count of its priority: nothing is known about it yet, or it asked for it.
    #[must_use]
    pub fn is_excluded(&self) -> bool {
        let excluding = Flag::PendingFirstCheck as u8 | Flag::Excluded as u8;
        self.vitals.flags.load(Ordering::Acquire) & excluding != 0
    }

    /// What hash balancers hash: an explicit key, the name if asked for and known, else the printed address.
    #[must_use]
    pub fn hash_text(&self, use_hostname: bool) -> &str {
        match &self.hash_key {
            Some(key) if !key.is_empty() => key,
            _ if use_hostname && !self.hostname.is_empty() => &self.hostname,
            _ => &self.address_text,
        }
    }

    /// Counts one request as under way until the guard is dropped; also counts it in `rq_total`.
    #[must_use]
    pub fn start_request(&self) -> ActiveRequest {
        self.vitals.stats.rq_total.add(1);
        self.vitals.stats.rq_active.fetch_add(1, Ordering::Relaxed);
        ActiveRequest(Arc::clone(&self.vitals))
    }
}

impl Vitals {
    /// A host first seen at `now`, with the given flags set.
    #[must_use]
    pub fn new(now: Instant, flags: &[Flag]) -> Self {
        Self {
            serial: super::registry::next_id(),
            stats: HostStats::default(),
            monitor: Monitor::default(),
            flags: AtomicU8::new(flags.iter().fold(0, |set, flag| set | *flag as u8)),
            used: AtomicBool::new(true),
            healthy_since: AtomicU64::new(0),
            born: now,
        }
    }

    /// Identity of what is learnt: stays as long as the address is assigned. Never used twice in a process.
    #[must_use]
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// Whether the flag is set.
    #[must_use]
    pub fn has(&self, flag: Flag) -> bool {
        self.flags.load(Ordering::Acquire) & flag as u8 != 0
    }

    /// Sets or clears the flag and says whether that changed it. The owner of the host set must then refresh it.
    pub fn put(&self, flag: Flag, on: bool) -> bool {
        let before = if on {
            self.flags.fetch_or(flag as u8, Ordering::AcqRel)
        } else {
            self.flags.fetch_and(!(flag as u8), Ordering::AcqRel)
        };
        (before & flag as u8 != 0) != on
    }

    /// Requests under way, on all workers.
    #[must_use]
    #[inline]
    pub fn active_requests(&self) -> u32 {
        self.stats.rq_active.load(Ordering::Relaxed)
    }

    /// Slow start counts from `now`: it just became healthy.
    pub fn restart_slow_start(&self, now: Instant) {
        let age = now.saturating_duration_since(self.born);
        self.healthy_since.store(
            u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }

    /// How long it has been healthy, for slow start.
    #[must_use]
    pub fn healthy_for(&self, now: Instant) -> Duration {
        let since = Duration::from_millis(self.healthy_since.load(Ordering::Relaxed));
        now.saturating_duration_since(self.born)
            .saturating_sub(since)
    }

    /// When it was first seen.
    #[must_use]
    pub fn added_at(&self) -> Instant {
        self.born
    }

    /// Notes a use, so that a host made on demand is kept.
    #[inline]
    pub fn mark_used(&self) {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it was used since the last call.
    #[must_use]
    pub fn take_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }
}

impl HostStats {
    /// Requests under way (`rq_active`).
    #[must_use]
    pub fn rq_active(&self) -> u32 {
        self.rq_active.load(Ordering::Relaxed)
    }
}

impl Deref for Host {
    type Target = Vitals;

    fn deref(&self) -> &Vitals {
        &self.vitals
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.stats.rq_active.fetch_sub(1, Ordering::Relaxed);
    }
}
