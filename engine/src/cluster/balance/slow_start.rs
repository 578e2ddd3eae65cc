//! Ramp-up of hosts that just became healthy (docs: "Slow start mode").

use std::time::{Duration, Instant};

use crate::cluster::host::{Health, Host};
use crate::cluster::settings::SlowStart;

/// What the weight of the host is multiplied with.
#[must_use]
pub fn factor(host: &Host, slow: &SlowStart, now: Instant) -> f64 {
    let age = host.healthy_for(now);
    if age >= slow.window || host.health() != Health::Healthy {
        return 1.0;
    }
    ramp(age, slow)
}

/// Whether the host is within its window.
#[must_use]
pub fn is_starting(host: &Host, slow: &SlowStart, now: Instant) -> bool {
    host.healthy_for(now) <= slow.window && host.health() == Health::Healthy
}

/// `max(min_weight, (age / window)^(1 / aggression))`, counted in whole milliseconds from 1 on, as Envoy does.
fn ramp(age: Duration, slow: &SlowStart) -> f64 {
    let aggression = if slow.aggression > 0.0 {
        slow.aggression
    } else {
        1.0
    };
    let elapsed = age.as_millis().max(1) as f64;
    let part = elapsed / slow.window.as_millis().max(1) as f64;
    let shaped = if aggression == 1.0 {
        part
    } else {
        part.powf(1.0 / aggression)
    };
    shaped.max(slow.min_weight_percent / 100.0).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ramp_follows_the_formula() {
        // (window s, aggression, min %, age ms, factor)
        let cases = [
            (10, 1.0, 10.0, 0, 0.1),
            (10, 1.0, 10.0, 1_000, 0.1),
            (10, 1.0, 10.0, 5_000, 0.5),
            (10, 1.0, 10.0, 9_999, 0.9999),
            (10, 2.0, 10.0, 2_500, 0.5),
            (10, 0.5, 0.0, 5_000, 0.25),
            (10, 1.0, 0.0, 0, 0.0001),
            (10, 0.0, 10.0, 5_000, 0.5),
            (10, f64::NAN, 10.0, 5_000, 0.5),
            (60, 1.0, 35.0, 6_000, 0.35),
        ];
        for (window, aggression, min_weight_percent, age, expected) in cases {
            let slow = SlowStart {
                window: Duration::from_secs(window),
                aggression,
                min_weight_percent,
            };
            let actual = ramp(Duration::from_millis(age), &slow);
            assert!(
                (actual - expected).abs() < 1e-9,
                "{slow:?} at {age} ms: {actual}"
            );
        }
    }
}
