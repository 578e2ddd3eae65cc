//! A token bucket without a lock, exact over all workers.
//!
//! It fills continuously, as Envoy's does, so its whole state is the moment at which it was empty: one atomic number.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// So many tokens at most, and one more every so often.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: Rate,
    /// When it was empty, in [`UNITS`] of its own clock, which starts at `rate.capacity`: full.
    empty_at: AtomicU64,
}

/// How a bucket fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    /// Most tokens.
    pub(super) most: u32,
    /// Time for one token, in units; rounded up, so that never more is let through than was said.
    token: u64,
    /// Time for all of them.
    capacity: u64,
}

impl Rate {
    /// `tokens` every `interval`, and `most` at most; none of them is 0.
    pub(super) fn new(most: u32, tokens: u32, interval: Duration) -> Self {
        let units = interval.as_nanos().saturating_mul(u128::from(UNITS));
        let token = units.div_ceil(u128::from(tokens.max(1))).max(1);
        let capacity = token.saturating_mul(u128::from(most)).min(LONGEST);
        let token = token.min(LONGEST);
        Self {
            most,
            // Both are at most LONGEST, which fits.
            token: u64::try_from(token).unwrap_or(u64::MAX),
            capacity: u64::try_from(capacity).unwrap_or(u64::MAX),
        }
    }
}

impl Bucket {
    /// A full one.
    pub(super) const fn new(rate: Rate) -> Self {
        Self {
            rate,
            empty_at: AtomicU64::new(0),
        }
    }

    /// Takes a token, `now` after the bucket was made. Calls of several threads may come with times out of order.
    pub(super) fn take(&self, now: Duration) -> bool {
        let now = self.clock(now);
        let full = now - self.rate.capacity;
        let taken = self
            .empty_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |empty_at| {
                let next = empty_at.max(full).checked_add(self.rate.token)?;
                (next <= now).then_some(next)
            });
        taken.is_ok()
    }

    /// Whole tokens that are there.
    pub(super) fn left(&self, now: Duration) -> u32 {
        let now = self.clock(now);
        let empty_at = self
            .empty_at
            .load(Ordering::Relaxed)
            .max(now - self.rate.capacity);
        u32::try_from(now.saturating_sub(empty_at) / self.rate.token).unwrap_or(u32::MAX)
    }

    /// Until there is another token than those there are.
    pub(super) fn until_next(&self, now: Duration) -> Duration {
        let now = self.clock(now);
        let empty_at = self
            .empty_at
            .load(Ordering::Relaxed)
            .max(now - self.rate.capacity);
        let since = now.saturating_sub(empty_at) % self.rate.token;
        Duration::from_nanos((self.rate.token - since).div_ceil(UNITS))
    }

    fn clock(&self, now: Duration) -> u64 {
        let units = now
            .as_nanos()
            .saturating_mul(u128::from(UNITS))
            .saturating_add(u128::from(self.rate.capacity));
        u64::try_from(units).unwrap_or(u64::MAX)
    }
}

/// Units in a nanosecond: fine enough that rounding a token up costs less than one request in a million at 10,000 a second, and coarse enough
/// that 64 bits last for 36 years.
const UNITS: u64 = 16;
/// A capacity above this (18 years) is this.
const LONGEST: u128 = 1 << 63;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fills_continuously() {
        let cases: &[(u32, u32, u64, &[(u64, bool)])] = &[
            // 2 at once, then one every 500 ms.
            (
                2,
                2,
                1000,
                &[
                    (0, true),
                    (0, true),
                    (0, false),
                    (499, false),
                    (500, true),
                    (999, false),
                    (1000, true),
                ],
            ),
            // Idle time fills no more than the bucket holds.
            (
                2,
                2,
                1000,
                &[
                    (0, true),
                    (60_000, true),
                    (60_000, true),
                    (60_000, false),
                    (60_500, true),
                ],
            ),
            (
                1,
                1,
                60_000,
                &[(0, true), (59_999, false), (60_000, true), (60_001, false)],
            ),
        ];
        for (most, tokens, interval, steps) in cases {
            let bucket = Bucket::new(Rate::new(*most, *tokens, Duration::from_millis(*interval)));
            for (at, expected) in *steps {
                assert_eq!(
                    bucket.take(Duration::from_millis(*at)),
                    *expected,
                    "{most}/{tokens}/{interval} at {at}"
                );
            }
        }
    }

    #[test]
    fn tells_what_is_left() {
        let bucket = Bucket::new(Rate::new(3, 1, Duration::from_secs(1)));
        assert_eq!(bucket.left(Duration::ZERO), 3);
        assert!(bucket.take(Duration::ZERO));
        assert_eq!(bucket.left(Duration::ZERO), 2);
        assert_eq!(
            bucket.until_next(Duration::from_millis(250)),
            Duration::from_millis(750)
        );
        assert_eq!(bucket.left(Duration::from_secs(9)), 3);
    }

    #[test]
    fn many_threads_take_exactly_what_there_is() {
        let bucket = Bucket::new(Rate::new(1000, 1, Duration::from_secs(3600)));
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        (0..1000)
                            .filter(|_| bucket.take(Duration::from_millis(1)))
                            .count()
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(taken, 1000);
    }

    /// A bucket in exact fractions: tokens as a multiple of `1 / interval`.
    struct Model {
        most: u128,
        tokens: u128,
        interval: u128,
        held: u128,
        last: u128,
    }

    impl Model {
        fn take(&mut self, now: u128) -> bool {
            self.held =
                (self.held + (now - self.last) * self.tokens).min(self.most * self.interval);
            self.last = now;
            if self.held >= self.interval {
                self.held -= self.interval;
                return true;
            }
            false
        }
    }

    proptest! {
        /// Where a token takes a whole number of units, every single decision is that of exact fractions.
        #[test]
        fn agrees_with_exact_fractions(most in 1_u32..20, tokens in 1_u32..8, unit in 1_u64..1_000_000_000, steps in prop::collection::vec(0_u64..3_000_000_000, 1..200)) {
            let interval = unit * u64::from(tokens);
            let bucket = Bucket::new(Rate::new(most, tokens, Duration::from_nanos(interval)));
            let mut model = Model {
                most: most.into(),
                tokens: tokens.into(),
                interval: interval.into(),
                held: u128::from(most) * u128::from(interval),
                last: 0,
            };
            let mut now = 0;
            for step in steps {
                now += step % (3 * unit);
                prop_assert_eq!(bucket.take(Duration::from_nanos(now)), model.take(now.into()));
            }
        }

        /// Whatever the rate, no window sees more than the burst and what the rate gives.
        #[test]
        fn never_more_than_said(most in 1_u32..50, tokens in 1_u32..1000, interval in 50_000_000_u64..5_000_000_000, steps in prop::collection::vec(0_u64..50_000_000, 1..300)) {
            let bucket = Bucket::new(Rate::new(most, tokens, Duration::from_nanos(interval)));
            let mut now = 0_u64;
            let mut taken = 0_u128;
            for step in steps {
                now += step;
                taken += u128::from(bucket.take(Duration::from_nanos(now)));
                let allowed = u128::from(most) + u128::from(now) * u128::from(tokens) / u128::from(interval);
                prop_assert!(taken <= allowed, "{taken} of {allowed}");
            }
        }
    }
}
