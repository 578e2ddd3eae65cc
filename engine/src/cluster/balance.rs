//! Picking a host. Everything that moves with each pick (turns, schedules, random numbers) belongs to one worker's [`Picker`];
//! everything that is only read is in the shared [`EndpointSet`].

use std::sync::Arc;
use std::time::Instant;

pub mod edf;
pub mod least_request;
pub mod locality;
pub mod maglev;
pub mod priority;
pub mod ring;
pub mod round_robin;
pub mod slow_start;
pub mod table;

use self::edf::Schedule;
use self::locality::{LocalityCounts, LocalitySchedule};
use self::priority::Availability;
use super::host::Host;
use super::set::{EndpointSet, Level, LocalityLevel};
use super::settings::BalancerSettings;

/// One worker's way of picking hosts of one cluster.
#[derive(Debug)]
pub struct Picker {
    generation: Option<u64>,
    random: fastrand::Rng,
    levels: Vec<LevelState>,
}

/// What a pick depends on beside the hosts.
#[derive(Debug, Clone, Copy)]
pub struct PickContext<'request> {
    /// The hash of the request, for hash balancers; without one they pick at random.
    pub hash: Option<u64>,
    /// Hosts that earlier tries used and that should be avoided.
    pub tried: &'request [u64],
    /// How often to pick again when a tried host comes up (Envoy's `host_selection_retry_max_attempts`). The last pick stands.
    pub reselections: u32,
    /// Priorities that earlier tries used and that should be avoided (Envoy's `previous_priorities`; its `update_frequency` is the caller's).
    /// Hash balancers disregard it, as in Envoy.
    pub tried_priorities: &'request [u8],
    /// The present moment, for slow start.
    pub now: Instant,
}

/// What a worker keeps of one priority.
#[derive(Debug, Default)]
struct LevelState {
    /// All, healthy, degraded, then healthy and degraded of each locality.
    sources: Vec<SourceState>,
    /// Schedules over localities: for healthy and for degraded hosts. The outer option: not yet looked at.
    localities: [Option<Option<LocalitySchedule>>; 2],
}

/// What a worker keeps of one list of hosts.
#[derive(Debug)]
struct SourceState {
    /// Whose turn it is, when all weights are equal.
    turn: usize,
    /// The schedule, when weights differ or somebody starts slowly. The outer option: not yet looked at.
    schedule: Option<Option<Schedule>>,
}

/// One list of hosts of a priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    All,
    Healthy,
    Degraded,
    LocalityHealthy(usize),
    LocalityDegraded(usize),
}

impl Picker {
    /// A picker whose random choices follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            generation: None,
            random: fastrand::Rng::with_seed(seed),
            levels: Vec::new(),
        }
    }

    /// Picks a host, or `None` when there is nobody. Cheap when the set is the one of the last call; else state is rebuilt as it is needed.
    pub fn pick<'set>(
        &mut self,
        set: &'set EndpointSet,
        context: &PickContext<'_>,
    ) -> Option<&'set Arc<Host>> {
        self.follow(set);
        let reselections = if context.tried.is_empty() {
            0
        } else {
            context.reselections
        };
        if set.levels.iter().any(|level| level.table.is_some()) {
            return self.pick_by_hash(set, context, reselections);
        }
        let mut picked = None;
        for _ in 0..=reselections {
            picked = self.pick_once(set, context);
            if picked.is_none_or(|host| !context.tried.contains(&host.id)) {
                break;
            }
        }
        picked
    }

    fn pick_by_hash<'set>(
        &mut self,
        set: &'set EndpointSet,
        context: &PickContext<'_>,
        reselections: u32,
    ) -> Option<&'set Arc<Host>> {
        let hash = context.hash.unwrap_or_else(|| self.random.u64(..));
        let (priority, _) = set.loads.choose(hash);
        let level = set.levels.get(priority)?;
        if set.loads.panic.get(priority) == Some(&true) {
            set.stats.lb_healthy_panic.add(1);
        }
        let table = level.table.as_ref()?;
        let mut picked = None;
        for attempt in 0..=reselections {
            picked = table.pick(hash, attempt);
            if picked.is_none_or(|host| !context.tried.contains(&host.id)) {
                break;
            }
        }
        picked
    }

    fn pick_once<'set>(
        &mut self,
        set: &'set EndpointSet,
        context: &PickContext<'_>,
    ) -> Option<&'set Arc<Host>> {
        let number = self.random.u64(..);
        let excluding = if context.tried_priorities.is_empty() {
            None
        } else {
            set.loads.excluding(context.tried_priorities)
        };
        let (priority, availability) = excluding.as_ref().unwrap_or(&set.loads).choose(number);
        let level = set.levels.get(priority)?;
        let state = self.levels.get_mut(priority)?;
        let source = if set.loads.panic.get(priority) == Some(&true) {
            set.stats.lb_healthy_panic.add(1);
            Source::All
        } else {
            let locality = set
                .locality_weighted
                .then(|| state.pick_locality(level, availability, &mut self.random))
                .flatten();
            Source::of(availability, locality)
        };
        let hosts = source.hosts(level)?;
        if hosts.is_empty() {
            return None;
        }
        let source_state = state.sources.get_mut(source.index())?;
        let index = match &set.balancer {
            BalancerSettings::Random => Some(self.random.usize(0..hosts.len())),
            balancer => source_state.pick(hosts, balancer, context.now, &mut self.random),
        }?;
        hosts.get(index)
    }

    /// Adapts to a new set. Turns carry on, so that frequent updates do not favour the first hosts.
    fn follow(&mut self, set: &EndpointSet) {
        if self.generation == Some(set.generation) {
            return;
        }
        self.generation = Some(set.generation);
        self.levels
            .resize_with(set.levels.len(), LevelState::default);
        for (state, level) in self.levels.iter_mut().zip(&set.levels) {
            state.localities = [None, None];
            for source in &mut state.sources {
                source.schedule = None;
            }
            let random = &mut self.random;
            state
                .sources
                .resize_with(FIXED_SOURCES + 2 * level.localities.len(), || SourceState {
                    turn: random.usize(..),
                    schedule: None,
                });
        }
    }
}

impl PickContext<'_> {
    /// Nothing but the time: a first try without a hash.
    #[must_use]
    pub fn first(now: Instant) -> Self {
        Self {
            hash: None,
            tried: &[],
            reselections: 0,
            tried_priorities: &[],
            now,
        }
    }
}

impl LevelState {
    fn pick_locality(
        &mut self,
        level: &Level,
        availability: Availability,
        random: &mut fastrand::Rng,
    ) -> Option<usize> {
        let eligible = |locality: &LocalityLevel| match availability {
            Availability::Healthy => locality.healthy.len(),
            Availability::Degraded => locality.degraded.len(),
        };
        let schedule = self.localities[availability as usize].get_or_insert_with(|| {
            let counts = level.localities.iter().map(|locality| LocalityCounts {
                weight: locality.weight,
                hosts: locality.hosts.len(),
                excluded: locality.excluded,
                eligible: eligible(locality),
            });
            LocalitySchedule::new(counts, level.overprovisioning_factor, random)
        });
        schedule.as_mut()?.pick()
    }
}

impl SourceState {
    fn pick(
        &mut self,
        hosts: &[Arc<Host>],
        balancer: &BalancerSettings,
        now: Instant,
        random: &mut fastrand::Rng,
    ) -> Option<usize> {
        let weigh = |host: &Host| weigh(host, balancer, now);
        let schedule = self.schedule.get_or_insert_with(|| {
            needs_schedule(hosts, balancer, now).then(|| {
                let weights: Vec<f64> = hosts.iter().map(|host| weigh(host)).collect();
                Schedule::new(&weights, random.usize(0..hosts.len().max(1)))
            })
        });
        if let Some(schedule) = schedule {
            return schedule.pick(|index| hosts.get(index).map_or(1.0, |host| weigh(host)));
        }
        match balancer {
            BalancerSettings::LeastRequest { choice_count, .. } => {
                Some(least_request::pick(hosts, *choice_count, random))
            }
            _ => Some(round_robin::pick(&mut self.turn, hosts.len())),
        }
    }
}

impl Source {
    fn of(availability: Availability, locality: Option<usize>) -> Self {
        match (availability, locality) {
            (Availability::Healthy, None) => Self::Healthy,
            (Availability::Degraded, None) => Self::Degraded,
            (Availability::Healthy, Some(locality)) => Self::LocalityHealthy(locality),
            (Availability::Degraded, Some(locality)) => Self::LocalityDegraded(locality),
        }
    }

    fn index(self) -> usize {
        match self {
            Self::All => 0,
            Self::Healthy => 1,
            Self::Degraded => 2,
            Self::LocalityHealthy(locality) => FIXED_SOURCES + 2 * locality,
            Self::LocalityDegraded(locality) => FIXED_SOURCES + 2 * locality + 1,
        }
    }

    fn hosts(self, level: &Level) -> Option<&[Arc<Host>]> {
        match self {
            Self::All => Some(&level.hosts),
            Self::Healthy => Some(&level.healthy),
            Self::Degraded => Some(&level.degraded),
            Self::LocalityHealthy(locality) => level
                .localities
                .get(locality)
                .map(|locality| locality.healthy.as_slice()),
            Self::LocalityDegraded(locality) => level
                .localities
                .get(locality)
                .map(|locality| locality.degraded.as_slice()),
        }
    }
}

/// Equal weights and nobody in slow start need no schedule: turns, or a few random choices, do the same for less.
fn needs_schedule(hosts: &[Arc<Host>], balancer: &BalancerSettings, now: Instant) -> bool {
    let Some(first) = hosts.first().filter(|_| hosts.len() > 1) else {
        return false;
    };
    let starting = |slow: &super::settings::SlowStart| {
        hosts
            .iter()
            .any(|host| slow_start::is_starting(host, slow, now))
    };
    hosts.iter().any(|host| host.weight != first.weight)
        || balancer.slow_start().is_some_and(starting)
}

/// What a host weighs at this moment.
fn weigh(host: &Host, balancer: &BalancerSettings, now: Instant) -> f64 {
    let weight = match balancer {
        BalancerSettings::LeastRequest {
            active_request_bias,
            ..
        } => least_request::weigh(host.weight, host.active_requests(), *active_request_bias),
        _ => f64::from(host.weight),
    };
    match balancer.slow_start() {
        Some(slow) => weight * slow_start::factor(host, slow, now),
        None => weight,
    }
}

/// The lists that do not belong to a locality.
const FIXED_SOURCES: usize = 3;

#[cfg(test)]
mod tests;
