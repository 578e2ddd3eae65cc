//! What an outlet can say of itself.

use std::fmt::Display;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::now;
use super::outlet::{LIMIT, STUCK, Shared, lock};
use crate::event::Topic;
use crate::ring::{Count, Gauge, TOPICS};
use crate::spool::oldest;

/// How it goes with a process's events.
#[derive(Clone, Debug)]
pub struct Status {
    /// `NODE/ROLE-N`.
    pub producer: String,
    pub epoch: u64,
    pub topics: Vec<(Topic, TopicStatus)>,
    /// Of each worker how full its ring is, from 0 to 1.
    pub rings: Vec<(u64, f64)>,
    /// Rings for which the disk had no room: what lies in them ends with the process.
    pub volatile_rings: usize,
    pub spool_bytes: u64,
    pub spool_limit: u64,
    /// Age of the oldest event that is not acknowledged.
    pub oldest: Option<Duration>,
    pub torn_blocks: u64,
    pub syncs: Histogram,
    /// The spool has reached its limit: what comes in floods is dropped.
    pub at_limit: bool,
    /// Nothing reaches the disk: operations that need that are refused.
    pub stuck: bool,
    /// What the disk said last, until it works again.
    pub failure: Option<String>,
}

/// What was counted of one topic.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TopicStatus {
    pub emitted: u64,
    pub coalesced: u64,
    pub spooled: u64,
    pub lost_ring_full: u64,
    pub lost_spool_full: u64,
    pub lost_too_large: u64,
    pub refused: u64,
}

/// Times, counted below bounds.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// How many were at most as long as the bound of the same place, and longer than the one before.
    pub counts: [u64; BOUNDS.len() + 1],
    pub sum: Duration,
}

/// Upper bounds of a [`Histogram`], in seconds.
pub const BOUNDS: [f64; 12] = [
    0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0,
];

/// What outlives the rings in which it was counted.
#[derive(Debug, Default)]
pub(super) struct Totals {
    retired: [[AtomicU64; TOPICS]; COUNTS.len()],
    spooled: [AtomicU64; TOPICS],
    pub(super) torn: AtomicU64,
    pub(super) bytes: AtomicU64,
    syncs: Mutex<Histogram>,
    failure: Mutex<Option<String>>,
}

impl Totals {
    /// Adds what a ring has counted.
    pub(super) fn add(&self, gauge: &Gauge) {
        for (count, topics) in COUNTS.into_iter().zip(&self.retired) {
            for (index, total) in topics.iter().enumerate() {
                total.fetch_add(gauge.count(index, count), Relaxed);
            }
        }
    }

    pub(super) fn add_spooled(&self, spooled: &[u64; TOPICS]) {
        for (total, spooled) in self.spooled.iter().zip(spooled) {
            total.fetch_add(*spooled, Relaxed);
        }
    }

    pub(super) fn synced(&self, took: Duration) {
        lock(&self.syncs).add(took);
    }

    pub(super) fn fail(&self, error: &dyn Display) {
        *lock(&self.failure) = Some(error.to_string());
    }

    pub(super) fn recovered(&self) {
        *lock(&self.failure) = None;
    }
}

impl Histogram {
    pub fn add(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let index = BOUNDS.iter().position(|bound| seconds <= *bound);
        self.counts[index.unwrap_or(BOUNDS.len())] += 1;
        self.sum += took;
    }
}

pub(super) fn status(shared: &Shared, gauges: &[Gauge]) -> Status {
    let totals = &shared.totals;
    let total = |index: usize, topic: usize| {
        let living = gauges.iter().map(|gauge| gauge.count(topic, COUNTS[index]));
        totals.retired[index][topic].load(Relaxed) + living.sum::<u64>()
    };
    let topics = Topic::ALL.into_iter().map(|topic| {
        let at = topic as usize;
        let counts = TopicStatus {
            emitted: total(0, at),
            lost_ring_full: total(1, at),
            lost_spool_full: total(2, at),
            lost_too_large: total(3, at),
            refused: total(4, at),
            coalesced: total(5, at),
            spooled: totals.spooled[at].load(Relaxed),
        };
        (topic, counts)
    });
    let pressure = shared.pressure.load(Relaxed);
    let since = |time: u64| Duration::from_micros(now().saturating_sub(time));
    Status {
        producer: shared.name.clone(),
        epoch: shared.epoch,
        topics: topics.collect(),
        rings: gauges
            .iter()
            .map(|gauge| (gauge.worker(), gauge.used()))
            .collect(),
        volatile_rings: gauges.iter().filter(|gauge| !gauge.is_shared()).count(),
        spool_bytes: totals.bytes.load(Relaxed),
        spool_limit: shared.options.spool_limit,
        oldest: oldest(shared.claim.directory()).map(since),
        torn_blocks: totals.torn.load(Relaxed),
        syncs: lock(&totals.syncs).clone(),
        at_limit: pressure & LIMIT != 0,
        stuck: pressure & STUCK != 0,
        failure: lock(&totals.failure).clone(),
    }
}

const COUNTS: [Count; 6] = [
    Count::Emitted,
    Count::LostFull,
    Count::LostQuota,
    Count::LostTooLarge,
    Count::Refused,
    Count::Coalesced,
];
