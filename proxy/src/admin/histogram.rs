//! Distributions over buckets, and the quantiles that are read off them.

/// How often values fell into which bucket.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribution {
    /// Upper bounds, ascending, with the number of values up to each; an infinite bound may be last.
    pub buckets: Vec<(f64, u64)>,
    /// Sum of all values.
    pub sum: f64,
    /// Number of values.
    pub count: u64,
}

/// The quantiles that Envoy prints, in percent.
pub const QUANTILES: [f64; 10] = [0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 100.0];

impl Distribution {
    /// The value below which `percent` of all values lie, as far as buckets tell; none without values.
    pub fn quantile(&self, percent: f64) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        let rank = percent / 100.0 * self.count as f64;
        let mut lower = 0.0;
        let mut below = 0;
        for &(bound, cumulative) in &self.buckets {
            if cumulative > below && cumulative as f64 >= rank {
                if bound.is_infinite() {
                    return Some(lower);
                }
                let share = (rank - below as f64).max(0.0) / (cumulative - below) as f64;
                return Some(lower + (bound - lower) * share);
            }
            if bound.is_finite() {
                lower = bound;
            }
            below = cumulative;
        }
        Some(lower)
    }

    /// Envoy's line: for every quantile its value in the last interval, which we do not keep, and in all.
    pub(super) fn summary(&self) -> String {
        if self.count == 0 {
            return "No recorded values".to_owned();
        }
        let quantiles = QUANTILES.map(|percent| {
            let value = self.quantile(percent).unwrap_or_default();
            format!("P{percent}(nan,{})", short(value))
        });
        quantiles.join(" ")
    }

    /// Envoy's line for `histogram_buckets`: for every bucket its count in the last interval, which we do
    /// not keep, and in all; cumulated or each alone.
    pub(super) fn bucket_line(&self, cumulative: bool) -> String {
        if self.count == 0 {
            return "No recorded values".to_owned();
        }
        let mut below = 0;
        let buckets = self
            .buckets
            .iter()
            .filter(|(bound, _)| bound.is_finite())
            .map(|&(bound, count)| {
                let shown = if cumulative {
                    count
                } else {
                    count.saturating_sub(below)
                };
                below = count;
                format!("B{}(0,{shown})", short(bound))
            });
        buckets.collect::<Vec<_>>().join(" ")
    }
}

/// A number without noise behind its third decimal.
pub(super) fn short(value: f64) -> String {
    format!("{}", (value * 1000.0).round() / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_within_their_buckets() {
        let distribution = Distribution {
            buckets: vec![(1.0, 0), (5.0, 10), (10.0, 20), (f64::INFINITY, 21)],
            sum: 120.0,
            count: 21,
        };
        for (percent, low, high) in [
            (0.0, 1.0, 1.0),
            (25.0, 1.0, 5.0),
            (50.0, 5.0, 10.0),
            (100.0, 10.0, 10.0),
        ] {
            let value = distribution.quantile(percent).unwrap();
            assert!((low..=high).contains(&value), "P{percent} = {value}");
        }
        assert_eq!(Distribution::default().quantile(50.0), None);
        assert!(
            distribution
                .summary()
                .starts_with("P0(nan,1) P25(nan,3.1) P50(nan,5.25)")
        );
        assert_eq!(distribution.bucket_line(true), "B1(0,0) B5(0,10) B10(0,20)");
        assert_eq!(
            distribution.bucket_line(false),
            "B1(0,0) B5(0,10) B10(0,10)"
        );
        assert_eq!(Distribution::default().summary(), "No recorded values");
    }
}
