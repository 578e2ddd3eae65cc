//! Judging hosts by their success over an interval.

use super::{Cause, Detector, Flag, OutlierSettings};

impl Detector {
    /// Empties the buckets of all members and returns who is an outlier, in the order in which Envoy looks.
    pub(super) fn judge_rates(&mut self) -> Vec<(u64, Cause)> {
        let mut external = Vec::new();
        let mut local = Vec::new();
        for (serial, member) in &self.members {
            let monitor = &member.vitals.monitor;
            let buckets = [
                (&monitor.external, &mut external),
                (&monitor.local, &mut local),
            ];
            for (bucket, rates) in buckets {
                let (success, total) = bucket.take();
                if total > 0 && !member.vitals.has(Flag::Ejected) {
                    rates.push((*serial, 100.0 * success as f64 / total as f64, total));
                }
            }
        }
        let hosts = self.members.len();
        let mut outliers = find(
            &self.settings,
            hosts,
            &external,
            [Cause::SuccessRate, Cause::FailurePercentage],
        );
        outliers.extend(find(
            &self.settings,
            hosts,
            &local,
            [
                Cause::SuccessRateLocalOrigin,
                Cause::FailurePercentageLocalOrigin,
            ],
        ));
        outliers
    }
}

/// The outliers among `rates`: host, success in percent, number of requests.
fn find(
    settings: &OutlierSettings,
    hosts: usize,
    rates: &[(u64, f64, u64)],
    causes: [Cause; 2],
) -> Vec<(u64, Cause)> {
    let (by_rate, by_percentage) = (&settings.success_rate, &settings.failure_percentage);
    if hosts < by_rate.minimum_hosts && hosts < by_percentage.minimum_hosts {
        return Vec::new();
    }
    let [rate_cause, percentage_cause] = causes;
    let mut outliers = Vec::new();
    let valid: Vec<_> = rates
        .iter()
        .filter(|(_, _, volume)| *volume >= by_rate.request_volume)
        .collect();
    if !valid.is_empty() && valid.len() >= by_rate.minimum_hosts {
        let threshold = ejection_threshold(
            valid.iter().map(|(_, rate, _)| *rate),
            f64::from(by_rate.stdev_factor) / 1000.0,
        );
        outliers.extend(
            valid
                .iter()
                .filter(|(_, rate, _)| *rate < threshold)
                .map(|(serial, _, _)| (*serial, rate_cause)),
        );
    }
    let valid: Vec<_> = rates
        .iter()
        .filter(|(_, _, volume)| *volume >= by_percentage.request_volume)
        .collect();
    if !valid.is_empty() && valid.len() >= by_percentage.minimum_hosts {
        let failing = valid
            .iter()
            .filter(|(_, rate, _)| 100.0 - rate >= f64::from(by_percentage.threshold));
        outliers.extend(failing.map(|(serial, _, _)| (*serial, percentage_cause)));
    }
    outliers
}

/// Mean − factor × standard deviation.
fn ejection_threshold(rates: impl Iterator<Item = f64> + Clone, factor: f64) -> f64 {
    let count = rates.clone().count().max(1) as f64;
    let mean = rates.clone().sum::<f64>() / count;
    let variance = rates.map(|rate| (rate - mean).powi(2)).sum::<f64>() / count;
    mean - factor * variance.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_match_the_documented_example() {
        // Envoy: {50, 100, 100, 100, 100} → mean 90, deviation 20, threshold 52 at 1.9.
        let threshold = ejection_threshold([50.0, 100.0, 100.0, 100.0, 100.0].into_iter(), 1.9);
        assert!((threshold - 52.0).abs() < 1e-9, "{threshold}");
    }

    #[test]
    fn rates_are_judged_only_with_enough_of_everything() {
        let settings = OutlierSettings::default();
        let causes = [Cause::SuccessRate, Cause::FailurePercentage];
        let rates = |bad: f64, volume: u64, count: u64| -> Vec<(u64, f64, u64)> {
            (0..count)
                .map(|serial| (serial, if serial == 0 { bad } else { 100.0 }, volume))
                .collect()
        };
        // (bad host's rate, volume, hosts) → causes found for it
        let cases: &[(f64, u64, u64, &[Cause])] = &[
            (50.0, 100, 5, &[Cause::SuccessRate]),
            (50.0, 99, 5, &[]),
            (50.0, 100, 4, &[]),
            (100.0, 100, 5, &[]),
            (15.0, 50, 5, &[Cause::FailurePercentage]),
            (15.1, 50, 5, &[]),
            (0.0, 49, 5, &[]),
            (0.0, 100, 5, &[Cause::SuccessRate, Cause::FailurePercentage]),
        ];
        for (bad, volume, hosts, expected) in cases {
            let found = find(
                &settings,
                *hosts as usize,
                &rates(*bad, *volume, *hosts),
                causes,
            );
            let expected: Vec<_> = expected.iter().map(|cause| (0, *cause)).collect();
            assert_eq!(found, expected, "{bad} {volume} {hosts}");
        }
    }
}
