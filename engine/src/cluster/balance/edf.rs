//! Earliest deadline first: weighted round robin with floating-point weights. An entry's deadline is the time of its last pick plus
//! `1 / weight`; equal deadlines go in order of insertion, as in Envoy's EDF scheduler.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

/// A schedule of entries known by index.
#[derive(Debug, Default)]
pub struct Schedule {
    now: f64,
    order: u64,
    heap: BinaryHeap<Entry>,
}

#[derive(Debug)]
struct Entry {
    deadline: f64,
    order: u64,
    index: u32,
}

impl Schedule {
    /// A schedule of the entries `0..weights.len()`, already `skip` picks along so that workers do not all begin with the same entry.
    #[must_use]
    pub fn new(weights: &[f64], skip: usize) -> Self {
        let mut schedule = Self::default();
        for (index, weight) in (0..).zip(weights) {
            schedule.add(index, *weight);
        }
        for _ in 0..skip {
            let picked = schedule.pick(|index| weights.get(index).copied().unwrap_or(1.0));
            debug_assert!(picked.is_some() || weights.is_empty());
        }
        schedule
    }

    /// Adds an entry.
    pub fn add(&mut self, index: u32, weight: f64) {
        let entry = Entry {
            deadline: self.now + period(weight),
            order: self.order,
            index,
        };
        self.order += 1;
        self.heap.push(entry);
    }

    /// The entry with the earliest deadline, which goes back in with the weight that `weigh` gives it now.
    pub fn pick(&mut self, weigh: impl FnOnce(usize) -> f64) -> Option<usize> {
        let mut top = self.heap.peek_mut()?;
        let index = top.index as usize;
        self.now = top.deadline;
        top.deadline = self.now + period(weigh(index));
        top.order = self.order;
        self.order += 1;
        // Dropping the reference sifts the entry to its new place.
        drop::<PeekMut<'_, Entry>>(top);
        Some(index)
    }

    /// Whether there is nothing to pick.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

/// Reversed: the heap's greatest is the earliest.
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        other
            .deadline
            .total_cmp(&self.deadline)
            .then_with(|| other.order.cmp(&self.order))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

/// A weight that a bias brought down to zero still gets its turn, only very late.
fn period(weight: f64) -> f64 {
    1.0 / weight.max(LEAST_WEIGHT)
}

const LEAST_WEIGHT: f64 = 1e-12;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn picks_follow_the_weights_exactly() {
        // (weights, picks in order): deadlines worked out by hand.
        let cases: &[(&[f64], &[usize])] = &[
            (&[1.0, 1.0, 1.0], &[0, 1, 2, 0, 1, 2]),
            // 0: 1, 2, 3 …; 1: 0.5, 1.0, 1.5 …; at 1.0 entry 0 was inserted earlier.
            (&[1.0, 2.0], &[1, 0, 1, 1, 0, 1]),
            (&[5.0], &[0, 0, 0]),
            (&[], &[]),
        ];
        for (weights, expected) in cases {
            let mut schedule = Schedule::new(weights, 0);
            let picks: Vec<usize> = expected
                .iter()
                .filter_map(|_| schedule.pick(|index| weights[index]))
                .collect();
            assert_eq!(picks, *expected, "{weights:?}");
        }
        assert!(Schedule::new(&[], 3).is_empty());
    }

    proptest! {
        /// After any number of picks each entry was picked its exact share, up to one.
        #[test]
        fn shares_never_drift(weights in proptest::collection::vec(1u32..50, 1..12), rounds in 1usize..400) {
            let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
            let total: f64 = weights.iter().sum();
            let mut schedule = Schedule::new(&weights, 0);
            let mut counts = vec![0u32; weights.len()];
            for _ in 0..rounds {
                let index = schedule.pick(|index| weights[index]).unwrap();
                counts[index] += 1;
            }
            for (count, weight) in counts.iter().zip(&weights) {
                let share = rounds as f64 * weight / total;
                // One pick of its own, plus the rounding of all the others relative to its weight.
                let slack = 1.0 + weights.len() as f64 * weight / total;
                prop_assert!((f64::from(*count) - share).abs() <= slack + 1e-6, "{counts:?} of {weights:?}");
            }
        }

        /// Whatever the weights do between picks, nobody starves and deadlines never go back.
        #[test]
        fn changing_weights_never_starve(seed in any::<u64>(), size in 1usize..8) {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut schedule = Schedule::new(&vec![1.0; size], random.usize(0..size));
            let mut seen = vec![false; size];
            for _ in 0..size * 200 {
                let before = schedule.now;
                let weight = 0.1 + random.f64() * 10.0;
                seen[schedule.pick(|_| weight).unwrap()] = true;
                prop_assert!(schedule.now >= before);
            }
            prop_assert!(seen.iter().all(|seen| *seen));
        }
    }
}
