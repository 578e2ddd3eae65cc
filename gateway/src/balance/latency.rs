//! The latency algorithm: a moving average of how long an address takes, weighed by how long ago that was (Kong's `latency`, after Finagle's
//! Peak EWMA without the peak).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What is known of an address's latency. Of two that write at once one is lost, which an average can bear.
#[derive(Debug)]
pub(super) struct Latency {
    /// Seconds, as the bits of a double; not a number: nothing is known.
    average: AtomicU64,
    /// When it was written, in nanoseconds of the balancer's clock.
    touched: AtomicU64,
}

impl Latency {
    /// Takes how long an answer took, connection included.
    pub(super) fn observe(&self, took: Duration, now: Duration) {
        let average = self.at(took.as_secs_f64(), now);
        self.put(average, now);
    }

    /// The average as it is now: it fades while nobody asks the address.
    pub(super) fn faded(&self, now: Duration) -> f64 {
        self.at(0.0, now)
    }

    /// The average as it was when it was written; none for an address that is new.
    pub(super) fn known(&self) -> Option<f64> {
        let average = f64::from_bits(self.average.load(Ordering::Relaxed));
        (!average.is_nan()).then_some(average)
    }

    pub(super) fn put(&self, average: f64, now: Duration) {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.average.store(average.to_bits(), Ordering::Relaxed);
        self.touched.store(now, Ordering::Relaxed);
    }

    /// Forgets it: an address that comes back starts as a new one.
    pub(super) fn forget(&self) {
        self.average.store(f64::NAN.to_bits(), Ordering::Relaxed);
    }

    fn at(&self, sample: f64, now: Duration) -> f64 {
        let age = now.saturating_sub(Duration::from_nanos(self.touched.load(Ordering::Relaxed)));
        let share = (-age.as_secs_f64() / DECAY.as_secs_f64()).exp();
        self.known().unwrap_or(0.0) * share + sample * (1.0 - share)
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            average: AtomicU64::new(f64::NAN.to_bits()),
            touched: AtomicU64::new(0),
        }
    }
}

/// Gives every new address the mean of all, new ones counting as nothing, so that it is neither flooded nor avoided.
pub(super) fn begin<'a>(serving: impl Iterator<Item = &'a Latency> + Clone, now: Duration) {
    let (count, sum) = serving.clone().fold((0.0, 0.0), |(count, sum), latency| {
        (count + 1.0, sum + latency.known().unwrap_or(0.0))
    });
    for latency in serving.filter(|latency| latency.known().is_none()) {
        latency.put(sum / count, now);
    }
}

/// The time in which what was known loses its weight to 1/e.
const DECAY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn averages_move_by_age() {
        let latency = Latency::default();
        latency.put(0.0, seconds(0));
        latency.observe(seconds(1), seconds(10));
        let first = 1.0 - (-1.0_f64).exp();
        assert!((latency.known().unwrap() - first).abs() < 1e-12);
        // Asked again at once, a sample has no weight yet.
        latency.observe(seconds(100), seconds(10));
        assert!((latency.known().unwrap() - first).abs() < 1e-12);
        let faded = first * (-2.0_f64).exp();
        assert!((latency.faded(seconds(30)) - faded).abs() < 1e-12);
        assert!(
            (latency.known().unwrap() - first).abs() < 1e-12,
            "looking changes nothing"
        );
    }

    #[test]
    fn new_addresses_begin_at_the_mean() {
        let all = [Latency::default(), Latency::default(), Latency::default()];
        all[0].put(0.6, seconds(1));
        all[1].put(0.3, seconds(1));
        begin(all.iter(), seconds(2));
        assert!((all[2].known().unwrap() - 0.3).abs() < 1e-12);
        all[2].forget();
        assert_eq!(all[2].known(), None);
        begin(std::iter::once(&all[2]), seconds(3));
        assert_eq!(all[2].known(), Some(0.0));
    }
}
