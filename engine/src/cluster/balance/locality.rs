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
    pub fn new(counts: impl Iterator<Item = LocalityCounts>, overprovisioning_factor: u32, random: &mut fastrand::Rng) -> Option<Self> {
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
        Some(Self { localities, schedule })
    }

    /// The index of the next locality.
    pub fn pick(&mut self) -> Option<usize> {
        let Self { localities, schedule } = self;
        let position = schedule.pick(|position| localities.get(position).map_or(1.0, |(_, weight)| *weight))?;
        localities.get(position).map(|(index, _)| *index)
    }
}
