//! How long to wait before a stream is opened again.

use std::time::Duration;

/// Exponential back-off with full jitter, as Envoy's gRPC mux has it: each wait is drawn evenly from
/// zero to a bound that starts at 500 ms and doubles up to 30 s.
#[derive(Debug)]
pub struct BackOff {
    base: Duration,
    max: Duration,
    bound: Duration,
    random: fastrand::Rng,
}

impl BackOff {
    /// Back-off with Envoy's default bounds; `seed` decides the jitter.
    pub fn new(seed: u64) -> Self {
        Self::with_bounds(BASE, MAX, seed)
    }

    /// Back-off between other bounds (`grpc_services[].envoy_grpc.retry_policy.retry_back_off`).
    pub fn with_bounds(base: Duration, max: Duration, seed: u64) -> Self {
        Self {
            base,
            max: max.max(base),
            bound: base,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// The next wait.
    pub fn next_wait(&mut self) -> Duration {
        let bound = u64::try_from(self.bound.as_micros()).unwrap_or(u64::MAX);
        self.bound = self.bound.saturating_mul(2).min(self.max);
        Duration::from_micros(self.random.u64(..bound.max(1)))
    }

    /// Something useful arrived: the next wait is short again. Opening a stream alone is not useful; a
    /// server that accepts and closes would be hammered.
    pub fn reset(&mut self) {
        self.bound = self.base;
    }
}

const BASE: Duration = Duration::from_millis(500);
const MAX: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stay_below_a_doubling_bound() {
        for seed in 0..200 {
            let mut back_off = BackOff::new(seed);
            let mut bound = BASE;
            for _ in 0..12 {
                assert!(back_off.next_wait() < bound);
                bound = (bound * 2).min(MAX);
            }
            back_off.reset();
            assert!(back_off.next_wait() < BASE);
        }
    }

    #[test]
    fn waits_spread_over_the_whole_bound() {
        let mut below_half = 0;
        for seed in 0..1000 {
            let mut back_off = BackOff::with_bounds(MAX, MAX, seed);
            below_half += usize::from(back_off.next_wait() < MAX / 2);
        }
        assert!((400..600).contains(&below_half), "{below_half}");
    }
}
