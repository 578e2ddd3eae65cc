//! Consistent hashing, bit-compatible with Kong's: the same value leads to the same target on a node of either kind.
//!
//! The ring has as many points as the upstream has `slots`. Every address takes points by its share of the weight, each at the hash of its
//! number; where a point is taken it takes one more at the end of its turn. A value's hash is a point; from there the search goes down.

use std::fmt::Write as _;

use xxhash_rust::xxh32::xxh32;

/// An address that wants its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) ip: &'a str,
    pub(super) port: u16,
    pub(super) weight: u32,
}

/// Who is at a point: an index of the places, or nobody.
pub(super) const NOBODY: u32 = u32::MAX;

/// Points of a ring with so many slots. Kong makes rings of less than 1000 slots that large.
pub(super) fn points(slots: u32) -> u32 {
    slots.max(FEWEST_POINTS)
}

/// The point of a value.
pub(super) fn point(value: &[u8], points: u32) -> u32 {
    xxh32(value, 0) % points
}

/// Lays the ring. The places are in order: by name and port of the target, then by address. `targets` counts those without addresses, too.
pub(super) fn ring(places: &[Place<'_>], targets: usize, points: u32) -> Box<[u32]> {
    let mut ring = vec![NOBODY; points as usize];
    let total: u64 = places.iter().map(|place| u64::from(place.weight)).sum();
    let mut name = String::new();
    for (index, place) in (0..).zip(places) {
        let mut entries = entries(place.weight, total, targets);
        let mut number: u64 = 1;
        while number <= entries {
            name.clear();
            // Kong writes the colon twice. Writing to memory does not fail.
            let written = write!(name, "{}::{} {number}", place.ip, place.port);
            debug_assert!(written.is_ok());
            match ring.get_mut(point(name.as_bytes(), points) as usize) {
                Some(free) if *free == NOBODY => *free = index,
                _ => entries += 1,
            }
            number += 1;
            if number > u64::from(points) {
                // Kong then goes on with the ring that it had before; here those that have points keep them.
                tracing::warn!(
                    "the ring of an upstream is too small for its targets: raise its slots"
                );
                break;
            }
        }
    }
    ring.into()
}

/// For every point whom a search from there finds, among those that serve.
pub(super) fn found(ring: &[u32], serves: impl Fn(u32) -> bool) -> Box<[u32]> {
    let mut found: Box<[u32]> = ring
        .iter()
        .map(|index| {
            if *index != NOBODY && serves(*index) {
                *index
            } else {
                NOBODY
            }
        })
        .collect();
    let highest = found.iter().rev().find(|index| **index != NOBODY);
    let mut below = highest.copied().unwrap_or(NOBODY);
    for point in &mut found {
        if *point == NOBODY {
            *point = below;
        } else {
            below = *point;
        }
    }
    found
}

/// Points of an address: its share of 160 a target, and one at least.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "Kong counts in doubles, and the results must be the same: at most 65,535 × 160 targets"
)]
fn entries(weight: u32, total: u64, targets: usize) -> u64 {
    if weight == 0 {
        return 0;
    }
    let share = f64::from(weight) / total as f64;
    ((share * targets as f64 * POINTS_A_TARGET).floor() as u64).max(1)
}

const FEWEST_POINTS: u32 = 1000;
const POINTS_A_TARGET: f64 = 160.0;

#[cfg(test)]
mod tests;
