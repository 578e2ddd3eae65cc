//! The addresses of a balancer compiled for picking. Immutable: another one is swapped in when addresses, weights or anybody's health change.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use carbyne_engine::cluster::Host;

use super::address::Address;
use super::consistent_hashing::{self, NOBODY, Place};
use super::hash::Hashing;
use super::{latency, round_robin};
use crate::plan::upstream::{Algorithm, Limits};

/// What picks are made from.
#[derive(Debug, Default)]
pub(super) struct Ring {
    /// Enough of the weight is available.
    pub(super) is_healthy: bool,
    /// Those that may be picked.
    addresses: Box<[Arc<Address>]>,
    order: Order,
    /// What is hashed, where the algorithm hashes.
    pub(super) hashing: Option<Hashing>,
    /// What passive checks count, where checks are on.
    pub(super) passive: Option<Limits>,
    /// Whether latencies are wanted.
    pub(super) measures: bool,
}

/// How an address is found.
#[derive(Debug, Default)]
enum Order {
    /// At each point of the ring the address that a search from there finds.
    ConsistentHashing(Box<[u32]>),
    Latency,
    LeastConnections,
    /// The wheel.
    RoundRobin(Box<[u32]>),
    #[default]
    Nobody,
}

/// What a ring is made of.
pub(super) struct Parts<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) slots: u32,
    pub(super) threshold: f64,
    pub(super) hashing: Option<Hashing>,
    pub(super) passive: Option<Limits>,
    /// All addresses, target by target in the order of their making.
    pub(super) addresses: &'a [Arc<Address>],
    /// How many targets there are, with and without addresses.
    pub(super) targets: usize,
    pub(super) seed: u64,
    pub(super) now: Duration,
}

impl Ring {
    pub(super) fn new(parts: Parts<'_>) -> Self {
        let checked = parts.passive.is_some();
        let is_available = |address: &Address| !checked || address.learnt.health.is_available();
        let weigh = |available: bool| -> u64 {
            parts
                .addresses
                .iter()
                .filter(|address| !available || is_available(address))
                .map(|address| u64::from(address.weight))
                .sum()
        };
        let serves = |address: &Address| {
            address.weight > 0 && !address.hosts.is_empty() && is_available(address)
        };
        let serving = || parts.addresses.iter().filter(|address| serves(address));
        let (addresses, order): (Box<[_]>, _) = match parts.algorithm {
            Algorithm::ConsistentHashing => hashed(&parts, serves),
            Algorithm::Latency => {
                for address in parts.addresses.iter().filter(|address| !serves(address)) {
                    address.learnt.latency.forget();
                }
                latency::begin(serving().map(|address| &address.learnt.latency), parts.now);
                (serving().cloned().collect(), Order::Latency)
            }
            Algorithm::LeastConnections => (serving().cloned().collect(), Order::LeastConnections),
            Algorithm::RoundRobin => {
                let serving: Box<[_]> = serving().cloned().collect();
                let weights: Vec<_> = serving.iter().map(|address| address.weight).collect();
                let mut random = fastrand::Rng::with_seed(parts.seed);
                let wheel = round_robin::wheel(&weights, &mut random);
                (serving, Order::RoundRobin(wheel))
            }
        };
        Self {
            is_healthy: is_enough(weigh(true), weigh(false), parts.threshold),
            addresses,
            order,
            hashing: parts.hashing,
            passive: parts.passive,
            measures: parts.algorithm == Algorithm::Latency,
        }
    }

    /// Picks an address and a host of it. Those that were tried are passed over while there are others.
    pub(super) fn pick(
        &self,
        turn: &AtomicUsize,
        point: u32,
        tried: &[u64],
        now: impl FnOnce() -> Duration,
    ) -> Option<(&Arc<Address>, &Arc<Host>)> {
        if !self.is_healthy {
            return None;
        }
        let address = match &self.order {
            Order::Nobody => None,
            Order::ConsistentHashing(found) => self.at_point(found, point, tried),
            Order::RoundRobin(wheel) => self.on_wheel(wheel, turn, tried),
            Order::LeastConnections => self.lowest(turn, tried, |address| {
                #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
                let wanted = (address.active_requests() + 1) as f64;
                wanted / f64::from(address.weight)
            }),
            Order::Latency => {
                let now = now();
                self.lowest(turn, tried, |address| {
                    address.learnt.latency.faded(now) / f64::from(address.weight)
                })
            }
        }?;
        Some((address, address.host(tried)?))
    }

    /// Where values have their points.
    pub(super) fn points(&self) -> u32 {
        match &self.order {
            Order::ConsistentHashing(found) => u32::try_from(found.len()).unwrap_or(u32::MAX),
            _ => 0,
        }
    }

    fn on_wheel(&self, wheel: &[u32], turn: &AtomicUsize, tried: &[u64]) -> Option<&Arc<Address>> {
        let turn = turn.fetch_add(1, Ordering::Relaxed);
        let first = turn.checked_rem(wheel.len())?;
        let at = |place: usize| self.addresses.get(*wheel.get(place)? as usize);
        let picked = at(first)?;
        if !picked.is_tried(tried) {
            return Some(picked);
        }
        let rest = (first + 1..wheel.len()).chain(0..first).filter_map(at);
        rest.into_iter()
            .find(|address| !address.is_tried(tried))
            .or(Some(picked))
    }

    fn at_point(&self, found: &[u32], point: u32, tried: &[u64]) -> Option<&Arc<Address>> {
        let first = (point as usize).checked_rem(found.len())?;
        let at = |point: usize| self.addresses.get(*found.get(point)? as usize);
        let picked = at(first)?;
        if !picked.is_tried(tried) {
            return Some(picked);
        }
        let rest = (0..first).rev().chain((first + 1..found.len()).rev());
        rest.filter_map(at)
            .find(|address| !address.is_tried(tried))
            .or(Some(picked))
    }

    /// The address with the lowest score; among equals everybody has a turn.
    fn lowest(
        &self,
        turn: &AtomicUsize,
        tried: &[u64],
        score: impl Fn(&Address) -> f64,
    ) -> Option<&Arc<Address>> {
        let count = self.addresses.len();
        let first = turn.fetch_add(1, Ordering::Relaxed).checked_rem(count)?;
        let (behind, ahead) = self.addresses.split_at_checked(first)?;
        let lowest = |pass: &dyn Fn(&Address) -> bool| {
            let mut lowest: Option<(&Arc<Address>, f64)> = None;
            for address in ahead.iter().chain(behind).filter(|address| pass(address)) {
                let score = score(address);
                if lowest.is_none_or(|(_, least)| score < least) {
                    lowest = Some((address, score));
                }
            }
            lowest.map(|(address, _)| address)
        };
        lowest(&|address| !address.is_tried(tried)).or_else(|| lowest(&|_| true))
    }
}

/// The ring over all addresses, searched for those that serve.
fn hashed(parts: &Parts<'_>, serves: impl Fn(&Address) -> bool) -> (Box<[Arc<Address>]>, Order) {
    let mut sorted: Vec<_> = parts.addresses.to_vec();
    // By target, then by address as it is written: `2.0.0.1:80` goes before `2.0.0.1:8080` and after `10.0.0.1:80`.
    sorted.sort_by_cached_key(|address| {
        let key = &address.key;
        (
            key.hostname.clone(),
            address.target_port,
            format!("{}:{}", key.ip, key.port),
        )
    });
    let places: Vec<_> = sorted
        .iter()
        .map(|address| Place {
            ip: &address.key.ip,
            port: address.key.port,
            weight: address.weight,
        })
        .collect();
    let points = consistent_hashing::points(parts.slots);
    let ring = consistent_hashing::ring(&places, parts.targets, points);
    let found = consistent_hashing::found(&ring, |index| {
        sorted
            .get(index as usize)
            .is_some_and(|address| serves(address))
    });
    // A ring without anybody has nobody at every point.
    let order = if found.first() == Some(&NOBODY) {
        Order::Nobody
    } else {
        Order::ConsistentHashing(found)
    };
    (sorted.into(), order)
}

/// Whether more of the weight than the threshold is available, in percent.
#[expect(clippy::cast_precision_loss, reason = "weights are small")]
fn is_enough(available: u64, total: u64, threshold: f64) -> bool {
    total > 0 && available as f64 / total as f64 * 100.0 > threshold
}

#[cfg(test)]
mod tests;
