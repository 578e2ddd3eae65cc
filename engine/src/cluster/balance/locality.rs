//! Which locality of a priority gets the next request when localities are weighted (docs: "Locality weighted load balancing").

use super::edf::Schedule;

/// What the weight of one locality is computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalityCounts {
    /// The assigned weight.
    pub weight: u32,
    /// All its hosts.
    pub hosts: usize,
    /// Hosts left out of the count.
    pub excluded: usize,
    /// Hosts that could be picked: healthy ones, or degraded ones.
    pub eligible: usize,
}

/// A schedule over the localities of a priority that have a weight and somebody to pick.
#[derive(Debug)]
pub struct LocalitySchedule {
    localities: Vec<(usize, f64)>,
    schedule: Schedule,
}

impl LocalityCounts {
    /// The weight, reduced by the share of hosts that cannot be picked after overprovisioning.
    #[must_use]
    pub fn effective_weight(&self, overprovisioning_factor: u32) -> f64 {
        let counted = self.hosts.saturating_sub(self.excluded);
        if counted == 0 {
            return 0.0;
        }
        let ratio = self.eligible as f64 / counted as f64;
        f64::from(self.weight) * (f64::from(overprovisioning_factor) / 100.0 * ratio).min(1.0)
    }
}

impl LocalitySchedule {
    /// `None` when no locality has both weight and eligible hosts: then the priority is one flat set.
    #[must_use]
    pub fn new(
        counts: impl Iterator<Item = LocalityCounts>,
        overprovisioning_factor: u32,
        random: &mut fastrand::Rng,
    ) -> Option<Self> {
        let localities: Vec<(usize, f64)> = counts
            .map(|counts| counts.effective_weight(overprovisioning_factor))
            .enumerate()
            .filter(|(_, weight)| *weight > 0.0)
            .collect();
        if localities.is_empty() {
            return None;
        }
        let weights: Vec<f64> = localities.iter().map(|(_, weight)| *weight).collect();
        let schedule = Schedule::new(&weights, random.usize(0..weights.len()));
        Some(Self {
            localities,
            schedule,
        })
    }

    /// The index of the next locality.
    pub fn pick(&mut self) -> Option<usize> {
        let Self {
            localities,
            schedule,
        } = self;
        let position = schedule
            .pick(|position| localities.get(position).map_or(1.0, |(_, weight)| *weight))?;
        localities.get(position).map(|(index, _)| *index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(weight: u32, hosts: usize, eligible: usize) -> LocalityCounts {
        LocalityCounts {
            weight,
            hosts,
            excluded: 0,
            eligible,
        }
    }

    #[test]
    fn weights_shrink_with_availability() {
        // "Locality weighted load balancing": (weight, hosts, eligible) → effective weight at 140 %.
        let cases = [
            (1, 100, 100, 1.0),
            (1, 100, 72, 1.0),
            (1, 100, 71, 0.994),
            (1, 100, 50, 0.7),
            (2, 100, 50, 1.4),
            (2, 100, 25, 0.7),
            (5, 100, 0, 0.0),
            (5, 0, 0, 0.0),
            (0, 100, 100, 0.0),
        ];
        for (weight, hosts, eligible, expected) in cases {
            let actual = counts(weight, hosts, eligible).effective_weight(140);
            assert!(
                (actual - expected).abs() < 1e-9,
                "{weight} {hosts} {eligible}: {actual}"
            );
        }
        let pending = LocalityCounts {
            excluded: 50,
            ..counts(1, 100, 50)
        };
        assert!((pending.effective_weight(140) - 1.0).abs() < 1e-9);
    }

    /// The table of Envoy's documentation: localities X and Y weigh 1 and 2, Y is whole; healthy percent of X → shares of X and Y.
    #[test]
    fn shares_follow_the_documented_table() {
        let cases = [
            (100, 33, 67),
            (70, 33, 67),
            (69, 32, 68),
            (50, 26, 74),
            (25, 15, 85),
            (0, 0, 100),
        ];
        for (healthy, x, y) in cases {
            let mut random = fastrand::Rng::with_seed(healthy as u64);
            let localities = [counts(1, 100, healthy), counts(2, 100, 100)];
            let mut schedule =
                LocalitySchedule::new(localities.into_iter(), 140, &mut random).unwrap();
            let mut picks = [0u32; 2];
            for _ in 0..10_000 {
                picks[schedule.pick().unwrap()] += 1;
            }
            let shares = picks.map(|count| f64::from(count) / 100.0);
            // The document rounds to whole percents.
            assert!(
                (shares[0] - f64::from(x)).abs() <= 1.0 && (shares[1] - f64::from(y)).abs() <= 1.0,
                "{healthy}: {shares:?}"
            );
        }
    }

    #[test]
    fn nobody_to_pick_means_no_schedule() {
        let mut random = fastrand::Rng::with_seed(1);
        for localities in [
            vec![],
            vec![counts(0, 5, 5)],
            vec![counts(3, 5, 0), counts(0, 1, 1)],
        ] {
            assert!(LocalitySchedule::new(localities.into_iter(), 140, &mut random).is_none());
        }
    }
}
