//! Many refusals of one sort, told once: a flood cannot fill the disk.
//!
//! The first of a sort is told at once. Those that follow within the window are counted and told together when it is over. The number of
//! sorts is bounded; beyond it all others are one.

use std::collections::HashMap;
use std::hash::Hash;
use std::mem;

/// Gathers events of the same sort. Times are microseconds since 1970; where the clock goes back, what was begun before is over.
#[derive(Debug)]
pub struct Coalescer<K> {
    window: u64,
    capacity: usize,
    others: K,
    sorts: HashMap<K, Sort>,
    /// No window ends before.
    next: u64,
}

/// As many events of a sort as are told at once.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Burst<K> {
    pub key: K,
    pub count: u64,
    pub first: u64,
    pub last: u64,
}

#[derive(Debug)]
struct Sort {
    ends: u64,
    count: u64,
    first: u64,
    last: u64,
}

impl<K: Clone + Eq + Hash> Coalescer<K> {
    /// `others` is the sort of all events for whose own there is no room.
    pub fn new(window_micros: u64, capacity: usize, others: K) -> Self {
        Self {
            window: window_micros,
            capacity,
            others,
            sorts: HashMap::new(),
            next: u64::MAX,
        }
    }

    /// Takes note of an event; gives it back where it is to be told now.
    pub fn note(&mut self, key: K, now: u64) -> Option<Burst<K>> {
        let key = if self.sorts.len() < self.capacity || self.sorts.contains_key(&key) {
            key
        } else {
            self.others.clone()
        };
        if let Some(sort) = self.sorts.get_mut(&key)
            && runs(sort.ends, now, self.window)
        {
            if sort.count == 0 {
                sort.first = now;
            }
            sort.count += 1;
            sort.last = now;
            return None;
        }
        let begun = Sort {
            ends: now.saturating_add(self.window),
            count: 0,
            first: now,
            last: now,
        };
        self.next = self.next.min(begun.ends);
        let before = self.sorts.insert(key.clone(), begun);
        // What an ended window still held is told with the event that begins the next.
        let (count, first) = match before {
            Some(sort) if sort.count > 0 => (sort.count + 1, sort.first),
            _ => (1, now),
        };
        Some(Burst {
            key,
            count,
            first,
            last: now,
        })
    }

    /// When [`Self::due`] has something to say at the earliest.
    pub fn next(&self) -> Option<u64> {
        (self.next != u64::MAX).then_some(self.next)
    }

    /// What windows that are over have gathered.
    pub fn due(&mut self, now: u64) -> Vec<Burst<K>> {
        if self.next == u64::MAX || runs(self.next, now, self.window) {
            return Vec::new();
        }
        self.next = u64::MAX;
        let mut told = Vec::new();
        let window = self.window;
        self.sorts.retain(|key, sort| {
            if runs(sort.ends, now, window) {
                self.next = self.next.min(sort.ends);
                return true;
            }
            if sort.count == 0 {
                return false;
            }
            told.push(Burst {
                key: key.clone(),
                count: mem::take(&mut sort.count),
                first: sort.first,
                last: sort.last,
            });
            sort.ends = now.saturating_add(window);
            self.next = self.next.min(sort.ends);
            true
        });
        told
    }

    /// All that is gathered, whether its window is over or not: for the end of a worker.
    pub fn drain(&mut self) -> Vec<Burst<K>> {
        self.next = u64::MAX;
        let sorts = mem::take(&mut self.sorts).into_iter();
        let told = sorts.filter(|(_, sort)| sort.count > 0);
        told.map(|(key, sort)| Burst {
            key,
            count: sort.count,
            first: sort.first,
            last: sort.last,
        })
        .collect()
    }
}

/// Whether a window goes on. One that ends further ahead than a window lasts was begun by a clock that has gone back since.
fn runs(ends: u64, now: u64, window: u64) -> bool {
    ends.checked_sub(now)
        .is_some_and(|left| left > 0 && left <= window)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_the_rest_together() {
        let mut coalescer = Coalescer::new(10, 4, "others");
        assert_eq!(coalescer.note("a", 100).map(|burst| burst.count), Some(1));
        assert_eq!(coalescer.note("a", 101), None);
        assert_eq!(coalescer.note("a", 105), None);
        assert_eq!(coalescer.due(109), []);
        let burst = Burst {
            key: "a",
            count: 2,
            first: 101,
            last: 105,
        };
        assert_eq!(coalescer.due(110), [burst]);
        assert_eq!(coalescer.next(), Some(120));
        assert_eq!(coalescer.due(120), []);
        assert_eq!(coalescer.next(), None);
        assert_eq!(coalescer.note("a", 121).map(|burst| burst.count), Some(1));
    }

    #[test]
    fn a_clock_that_goes_back_ends_windows() {
        let mut coalescer = Coalescer::new(10, 4, "others");
        assert!(coalescer.note("a", 1_000_000).is_some());
        assert!(coalescer.note("b", 1_000_000).is_some());
        assert_eq!(coalescer.note("a", 1_000_001), None);
        // Years back: what waits does not wait for years, and what comes is the first of a window.
        let told = coalescer.due(50);
        assert_eq!((told.len(), told[0].key, told[0].count), (1, "a", 1));
        assert!(coalescer.note("b", 51).is_some());
        assert_eq!(coalescer.note("a", 52), None);
        assert_eq!(coalescer.next(), Some(60));
    }

    proptest! {
        /// Whatever comes, and however the clock jumps: the counts that are told add up to what was noted, and memory is bounded.
        #[test]
        fn every_event_is_told_exactly_once(
            steps in proptest::collection::vec((0_u8..20, 0_u64..200, any::<bool>()), 1..400)
        ) {
            let mut coalescer = Coalescer::new(25, 8, 255_u8);
            let mut told = 0;
            for (key, now, ask) in &steps {
                told += coalescer.note(*key, *now).map_or(0, |burst| burst.count);
                prop_assert!(coalescer.sorts.len() <= 9);
                if *ask {
                    told += coalescer.due(*now).iter().map(|burst| burst.count).sum::<u64>();
                }
            }
            told += coalescer.drain().iter().map(|burst| burst.count).sum::<u64>();
            prop_assert_eq!(told, steps.len() as u64);
        }
    }
}
