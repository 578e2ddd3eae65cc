//! How load spills over from one priority to the next, and when health is disregarded. The rules and the rounding are those of Envoy
//! (docs: "Priority levels", "Degraded endpoints", "Panic threshold").

/// What the load of a priority is computed from. Numbers of hosts, or sums of weights when priorities are weighed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LevelCounts {
    /// All hosts.
    pub hosts: usize,
    /// Hosts left out of the count: they await their first health check.
    pub excluded: usize,
    /// Healthy hosts.
    pub healthy: usize,
    /// Degraded hosts.
    pub degraded: usize,
    /// Hosts by weight (total without excluded, healthy, degraded), when priorities are weighed.
    pub weights: Option<[u64; 3]>,
    /// Overprovisioning factor in percent.
    pub overprovisioning_factor: u32,
}

/// The part of the load that each priority gets, in percent; healthy and degraded parts together are 100.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Loads {
    /// For the healthy hosts of each priority.
    pub healthy: Vec<u32>,
    /// For the degraded hosts of each priority.
    pub degraded: Vec<u32>,
    /// Whether each priority is in panic: too few available hosts, all are used.
    pub panic: Vec<bool>,
    /// What of each priority is available, in percent: healthy, degraded.
    availability: Vec<[u32; 2]>,
}

/// Which hosts of a priority were chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// The healthy ones.
    Healthy,
    /// The degraded ones.
    Degraded,
}

impl Loads {
    /// The loads of these priorities.
    #[must_use]
    pub fn of(levels: &[LevelCounts], panic_threshold: u32) -> Self {
        let availability: Vec<[u32; 2]> = levels.iter().map(LevelCounts::availability).collect();
        let total = total_availability(&availability);
        let mut loads = Self::distribute(availability);
        if total == 0 && panic_threshold == 0 {
            // Nobody is available and nobody may be used anyway: the percentages still have to add up.
            if let Some(first) = loads.healthy.first_mut() {
                *first = 100;
            }
            return loads;
        }
        if total < 100 {
            for (panic, level) in loads.panic.iter_mut().zip(levels) {
                *panic = level.is_below(panic_threshold.min(100));
            }
        }
        if loads.panic.iter().all(|panic| *panic) {
            loads.distribute_by_size(levels);
        }
        loads
    }

    /// The loads when these priorities were tried already (retries that prefer untried ones). The tried ones count as unavailable;
    /// if nothing remains the original loads hold.
    #[must_use]
    pub fn excluding(&self, tried: &[u8]) -> Option<Self> {
        let availability: Vec<[u32; 2]> = self
            .availability
            .iter()
            .enumerate()
            .map(|(priority, availability)| {
                if tried.iter().any(|tried| usize::from(*tried) == priority) {
                    [0, 0]
                } else {
                    *availability
                }
            })
            .collect();
        if total_availability(&availability) == 0 {
            return None;
        }
        Some(Self {
            panic: self.panic.clone(),
            ..Self::distribute(availability)
        })
    }

    /// The priority that a hash (or a random number) falls on.
    #[must_use]
    pub fn choose(&self, hash: u64) -> (usize, Availability) {
        let point = u32::try_from(hash % 100).unwrap_or(0) + 1;
        let mut sum = 0;
        for (availability, loads) in [
            (Availability::Healthy, &self.healthy),
            (Availability::Degraded, &self.degraded),
        ] {
            for (priority, load) in loads.iter().enumerate() {
                sum += load;
                if point <= sum {
                    return (priority, availability);
                }
            }
        }
        (0, Availability::Healthy)
    }

    /// Gives each priority its availability, first all healthy ones, then all degraded ones, until nothing of the load is left.
    fn distribute(availability: Vec<[u32; 2]>) -> Self {
        let mut loads = Self {
            healthy: vec![0; availability.len()],
            degraded: vec![0; availability.len()],
            panic: vec![false; availability.len()],
            availability,
        };
        let total = total_availability(&loads.availability);
        if total == 0 {
            return loads;
        }
        let mut remaining = 100;
        for (kind, parts) in [&mut loads.healthy, &mut loads.degraded]
            .into_iter()
            .enumerate()
        {
            for (part, availability) in parts.iter_mut().zip(&loads.availability) {
                *part = remaining.min(availability[kind] * 100 / total);
                remaining -= *part;
            }
        }
        // What rounding left over goes to the first priority that has anybody.
        for (kind, parts) in [&mut loads.healthy, &mut loads.degraded]
            .into_iter()
            .enumerate()
        {
            let first = loads
                .availability
                .iter()
                .position(|availability| availability[kind] > 0);
            if let Some(part) = first.and_then(|first| parts.get_mut(first)) {
                *part += remaining;
                break;
            }
        }
        loads
    }

    /// All priorities are in panic: load goes by number of hosts, whatever their health.
    fn distribute_by_size(&mut self, levels: &[LevelCounts]) {
        self.healthy.fill(0);
        self.degraded.fill(0);
        let total: usize = levels.iter().map(|level| level.hosts).sum();
        let first = levels.iter().position(|level| level.hosts > 0).unwrap_or(0);
        let mut remaining = 100;
        for (part, level) in self.healthy.iter_mut().zip(levels) {
            let share = (100 * level.hosts).checked_div(total).unwrap_or(0);
            *part = u32::try_from(share).unwrap_or(100);
            remaining -= *part;
        }
        if let Some(part) = self.healthy.get_mut(first) {
            *part += remaining;
        }
    }
}

impl LevelCounts {
    /// Percent of hosts that are healthy and degraded, times the overprovisioning factor, at most 100 each.
    fn availability(&self) -> [u32; 2] {
        let counted = self.hosts.saturating_sub(self.excluded);
        if counted == 0 {
            return [0, 0];
        }
        let [total, healthy, degraded] =
            self.weights
                .unwrap_or([counted as u64, self.healthy as u64, self.degraded as u64]);
        let factor = u64::from(self.overprovisioning_factor);
        [healthy, degraded].map(|available| {
            let percent = (factor * available).checked_div(total).unwrap_or(0);
            u32::try_from(percent.min(100)).unwrap_or(100)
        })
    }

    fn is_below(&self, threshold: u32) -> bool {
        let counted = self.hosts.saturating_sub(self.excluded);
        if counted == 0 {
            return threshold > 0;
        }
        let available = (self.healthy + self.degraded) as f64;
        100.0 * available / (counted as f64) < f64::from(threshold)
    }
}

fn total_availability(availability: &[[u32; 2]]) -> u32 {
    availability
        .iter()
        .map(|[healthy, degraded]| healthy + degraded)
        .sum::<u32>()
        .min(100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn level(hosts: usize, healthy: usize, degraded: usize) -> LevelCounts {
        LevelCounts {
            hosts,
            excluded: 0,
            healthy,
            degraded,
            weights: None,
            overprovisioning_factor: 140,
        }
    }

    /// Percent of healthy hosts in each priority → loads, at the default factor and threshold 0 (so that panic does not interfere).
    #[test]
    fn loads_spill_over_as_documented() {
        // The tables of "Priority levels" in Envoy's documentation. Its last row reads 36/36/28; Envoy's integers give 37/35/28: what
        // rounding leaves goes to the first priority.
        let cases: &[(&[usize], &[u32])] = &[
            (&[100, 100], &[100, 0]),
            (&[72, 100], &[100, 0]),
            (&[71, 100], &[99, 1]),
            (&[50, 100], &[70, 30]),
            (&[25, 100], &[35, 65]),
            (&[0, 100], &[0, 100]),
            (&[72, 72], &[100, 0]),
            (&[71, 71], &[99, 1]),
            (&[50, 50], &[70, 30]),
            (&[25, 25], &[50, 50]),
            (&[100, 100, 100], &[100, 0, 0]),
            (&[72, 72, 100], &[100, 0, 0]),
            (&[71, 71, 100], &[99, 1, 0]),
            (&[50, 50, 100], &[70, 30, 0]),
            (&[25, 100, 100], &[35, 65, 0]),
            (&[25, 25, 100], &[35, 35, 30]),
            (&[25, 25, 20], &[37, 35, 28]),
        ];
        for (percents, expected) in cases {
            let levels: Vec<_> = percents
                .iter()
                .map(|percent| level(100, *percent, 0))
                .collect();
            let loads = Loads::of(&levels, 0);
            assert_eq!(loads.healthy, *expected, "{percents:?}");
            assert!(loads.panic.iter().all(|panic| !panic));
        }
    }

    /// (healthy, degraded) percent of each priority → healthy and degraded loads.
    #[test]
    fn degraded_hosts_serve_when_healthy_ones_are_too_few() {
        type Case = (&'static [(usize, usize)], &'static [u32], &'static [u32]);
        let cases: &[Case] = &[
            // The table of "Degraded endpoints" in Envoy's documentation.
            (&[(100, 0)], &[100], &[0]),
            (&[(71, 0)], &[100], &[0]),
            (&[(71, 29)], &[99], &[1]),
            (&[(25, 65)], &[35], &[65]),
            (&[(5, 0)], &[100], &[0]),
            (&[(0, 100)], &[0], &[100]),
            // The example of the comment in Envoy's load balancer, here with healths that 140 % brings to 14/28/14 and 28/14/0.
            (&[(10, 20), (20, 10), (10, 0)], &[16, 28, 14], &[28, 14, 0]),
            // Healthy hosts of lower priorities come before degraded ones of higher.
            (&[(0, 100), (100, 0)], &[0, 100], &[0, 0]),
            (&[(0, 100), (50, 0)], &[0, 70], &[30, 0]),
        ];
        for (percents, healthy, degraded) in cases {
            let levels: Vec<_> = percents
                .iter()
                .map(|(healthy, degraded)| level(100, *healthy, *degraded))
                .collect();
            let loads = Loads::of(&levels, 0);
            assert_eq!(
                (&*loads.healthy, &*loads.degraded),
                (*healthy, *degraded),
                "{percents:?}"
            );
        }
    }

    #[test]
    fn panic_disregards_health_only_when_everybody_together_is_too_weak() {
        // ((hosts, healthy) of each level, threshold) → (loads, panic)
        type Case = (
            &'static [(usize, usize)],
            u32,
            &'static [u32],
            &'static [bool],
        );
        let cases: &[Case] = &[
            // The tables of "Panic threshold" in Envoy's documentation, where they agree with "Priority levels" and the code: the rows
            // for 50 %/60 % and 25 %/100 % there show loads without overprovisioning, and the last reads 7/93 for want of rounding.
            (&[(100, 72), (100, 100)], 50, &[100, 0], &[false, false]),
            (&[(100, 72), (100, 72)], 50, &[100, 0], &[false, false]),
            (&[(100, 71), (100, 71)], 50, &[99, 1], &[false, false]),
            (&[(100, 50), (100, 60)], 50, &[70, 30], &[false, false]),
            (&[(100, 25), (100, 100)], 50, &[35, 65], &[false, false]),
            (&[(100, 0), (100, 100)], 50, &[0, 100], &[false, false]),
            (&[(100, 50), (100, 0)], 50, &[100, 0], &[false, true]),
            (&[(100, 25), (100, 25)], 50, &[50, 50], &[true, true]),
            (&[(100, 5), (100, 65)], 50, &[8, 92], &[true, false]),
            // Nobody at all.
            (&[(100, 0), (300, 0)], 50, &[25, 75], &[true, true]),
            (&[(0, 0), (3, 0)], 50, &[0, 100], &[true, true]),
            (&[(0, 0), (0, 0)], 50, &[100, 0], &[true, true]),
            // Panic turned off.
            (&[(100, 0), (100, 0)], 0, &[100, 0], &[false, false]),
            (&[(100, 10), (100, 10)], 0, &[50, 50], &[false, false]),
            // Thirds: what rounding leaves goes to the first.
            (
                &[(1, 0), (1, 0), (1, 0)],
                50,
                &[34, 33, 33],
                &[true, true, true],
            ),
        ];
        for (sizes, threshold, healthy, panic) in cases {
            let levels: Vec<_> = sizes
                .iter()
                .map(|(hosts, healthy)| level(*hosts, *healthy, 0))
                .collect();
            let loads = Loads::of(&levels, *threshold);
            assert_eq!(
                (&*loads.healthy, &*loads.panic),
                (*healthy, *panic),
                "{sizes:?} at {threshold}"
            );
        }
    }

    #[test]
    fn excluded_hosts_and_weights_change_the_count() {
        let mut pending = level(10, 5, 0);
        pending.excluded = 5;
        assert_eq!(Loads::of(&[pending, level(1, 1, 0)], 50).healthy, [100, 0]);
        let mut weighed = level(10, 9, 0);
        weighed.weights = Some([100, 10, 0]);
        assert_eq!(Loads::of(&[weighed, level(1, 1, 0)], 50).healthy, [14, 86]);
    }

    #[test]
    fn tried_priorities_are_avoided_while_others_can_serve() {
        let loads = Loads::of(&[level(10, 10, 0), level(10, 10, 0), level(10, 5, 0)], 50);
        // tried → loads, or none when nobody else is left
        let cases: &[(&[u8], Option<&[u32]>)] = &[
            (&[], Some(&[100, 0, 0])),
            (&[0], Some(&[0, 100, 0])),
            (&[0, 1], Some(&[0, 0, 100])),
            (&[1], Some(&[100, 0, 0])),
            (&[0, 1, 2], None),
            (&[7], Some(&[100, 0, 0])),
        ];
        for (tried, expected) in cases {
            let actual = loads.excluding(tried).map(|loads| loads.healthy);
            assert_eq!(actual.as_deref(), *expected, "{tried:?}");
        }
    }

    #[test]
    fn choices_follow_the_loads_exactly() {
        let loads = Loads::of(&[level(100, 25, 25), level(100, 10, 0)], 0);
        let mut counts = std::collections::BTreeMap::new();
        for hash in 0..100 {
            let (priority, availability) = loads.choose(hash);
            *counts
                .entry((priority, availability == Availability::Degraded))
                .or_insert(0u32) += 1;
        }
        let expected = [
            ((0, false), loads.healthy[0]),
            ((0, true), loads.degraded[0]),
            ((1, false), loads.healthy[1]),
        ];
        assert_eq!(counts.into_iter().collect::<Vec<_>>(), expected);
    }

    proptest! {
        #[test]
        fn loads_always_add_up(sizes in proptest::collection::vec((0usize..20, 0usize..20, 0usize..20, 0usize..3), 1..6), threshold in 0u32..=100) {
            let levels: Vec<_> = sizes.iter().map(|(healthy, degraded, others, excluded)| {
                let mut counts = level(healthy + degraded + others + excluded, *healthy, *degraded);
                counts.excluded = *excluded;
                counts
            }).collect();
            let loads = Loads::of(&levels, threshold);
            let total: u32 = loads.healthy.iter().chain(&loads.degraded).sum();
            prop_assert_eq!(total, 100);
            // Without total panic nobody gets load who has nobody to serve it.
            if !loads.panic.iter().all(|panic| *panic) && loads.availability.iter().any(|[healthy, degraded]| healthy + degraded > 0) {
                for (priority, counts) in levels.iter().enumerate() {
                    prop_assert!(loads.healthy[priority] == 0 || counts.healthy > 0);
                    prop_assert!(loads.degraded[priority] == 0 || counts.degraded > 0);
                }
            }
        }
    }
}
