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
        for (availability, loads) in [(Availability::Healthy, &self.healthy), (Availability::Degraded, &self.degraded)] {
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
        for (kind, parts) in [&mut loads.healthy, &mut loads.degraded].into_iter().enumerate() {
            for (part, availability) in parts.iter_mut().zip(&loads.availability) {
                *part = remaining.min(availability[kind] * 100 / total);
                remaining -= *part;
            }
        }
        // What rounding left over goes to the first priority that has anybody.
        for (kind, parts) in [&mut loads.healthy, &mut loads.degraded].into_iter().enumerate() {
            let first = loads.availability.iter().position(|availability| availability[kind] > 0);
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
        if total > 0 {
            for (part, level) in self.healthy.iter_mut().zip(levels) {
                *part = u32::try_from(100 * level.hosts / total).unwrap_or(100);
                remaining -= *part;
            }
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
        let [total, healthy, degraded] = self
            .weights
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
    availability.iter().map(|[healthy, degraded]| healthy + degraded).sum::<u32>().min(100)
}
