//! The least busy of a few hosts chosen at random ("power of two choices"), and the weight of a busy host when weights differ.

use std::sync::Arc;

use crate::cluster::host::Host;

/// The index of the least busy of `choices` random hosts; at a tie the earlier choice stands. `hosts` is not empty.
pub fn pick(hosts: &[Arc<Host>], choices: u32, random: &mut fastrand::Rng) -> usize {
    let mut best = random.usize(0..hosts.len().max(1));
    let active = |index: usize| hosts.get(index).map_or(0, |host| host.active_requests());
    let mut least = active(best);
    for _ in 1..choices {
        let index = random.usize(0..hosts.len().max(1));
        let candidate = active(index);
        if candidate < least {
            (best, least) = (index, candidate);
        }
    }
    best
}

/// `weight / (active + 1)^bias`.
#[must_use]
pub fn weigh(weight: u32, active: u32, bias: f64) -> f64 {
    let busy = f64::from(active) + 1.0;
    let divisor = if bias == 1.0 {
        busy
    } else if bias == 0.0 {
        1.0
    } else {
        busy.powf(bias)
    };
    f64::from(weight) / divisor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_fall_with_activity() {
        // (weight, active, bias, expected)
        let cases = [
            (1, 0, 1.0, 1.0),
            (1, 1, 1.0, 0.5),
            (4, 3, 1.0, 1.0),
            (4, 3, 0.0, 4.0),
            (4, 3, 0.5, 2.0),
            (4, 3, 2.0, 0.25),
            (1, u32::MAX, 1.0, 1.0 / 4_294_967_296.0),
        ];
        for (weight, active, bias, expected) in cases {
            let actual = weigh(weight, active, bias);
            assert!(
                (actual - expected).abs() < 1e-12,
                "{weight} {active} {bias}: {actual}"
            );
        }
    }
}
