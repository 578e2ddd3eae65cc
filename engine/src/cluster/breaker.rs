//! Circuit breakers: limits on what a cluster may have under way, global to all workers, per routing priority.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::settings::{RetryBudget, Thresholds};

/// Which set of limits a request belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RoutingPriority {
    /// Ordinary requests.
    #[default]
    Default = 0,
    /// Requests of routes marked as important.
    High = 1,
}

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Connections to hosts.
    Connections = 0,
    /// Requests that wait for a connection.
    Pending = 1,
    /// Requests under way.
    Requests = 2,
    /// Retries under way.
    Retries = 3,
}

/// The breakers of a cluster, one for each routing priority.
#[derive(Debug)]
pub struct Breakers {
    priorities: [Arc<Breaker>; 2],
}

/// The breaker of one routing priority. Counts survive changes of the limits.
#[derive(Debug)]
pub struct Breaker {
    counts: [AtomicU64; 4],
    limits: [AtomicU64; 4],
    /// Budget percent in thousandths of a percent; `NO_BUDGET` when retries have a plain limit.
    budget_millipercent: AtomicU64,
    budget_minimum: AtomicU64,
}

/// Room taken from a breaker; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    breaker: Arc<Breaker>,
    resource: Resource,
}

impl Breakers {
    /// Breakers with these limits: default and high priority.
    #[must_use]
    pub fn new(thresholds: &[Thresholds; 2]) -> Self {
        let breakers = Self {
            priorities: [
                Arc::new(Breaker::unlimited()),
                Arc::new(Breaker::unlimited()),
            ],
        };
        breakers.update(thresholds);
        breakers
    }

    /// Changes the limits; what is under way stays counted.
    pub fn update(&self, thresholds: &[Thresholds; 2]) {
        for (breaker, limits) in self.priorities.iter().zip(thresholds) {
            breaker.update(limits);
        }
    }

    /// The breaker of a priority.
    #[must_use]
    pub fn at(&self, priority: RoutingPriority) -> &Arc<Breaker> {
        &self.priorities[priority as usize]
    }

    /// Takes room, or `None` when the breaker is open.
    #[must_use]
    pub fn try_take(&self, priority: RoutingPriority, resource: Resource) -> Option<Permit> {
        let breaker = self.at(priority);
        let limit = breaker.limit(resource);
        let count = &breaker.counts[resource as usize];
        // Add first and look after: two workers may both back off at the limit, but never both pass it.
        if count.fetch_add(1, Ordering::AcqRel) >= limit {
            count.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        Some(Permit {
            breaker: Arc::clone(breaker),
            resource,
        })
    }

    /// Takes room even if there is none: a pool without any connection to a host may always make its first (Envoy's connection pools do so).
    #[must_use]
    pub fn take_regardless(&self, priority: RoutingPriority, resource: Resource) -> Permit {
        let breaker = self.at(priority);
        breaker.counts[resource as usize].fetch_add(1, Ordering::AcqRel);
        Permit {
            breaker: Arc::clone(breaker),
            resource,
        }
    }
}

impl Breaker {
    /// What is taken.
    #[must_use]
    pub fn taken(&self, resource: Resource) -> u64 {
        self.counts[resource as usize].load(Ordering::Acquire)
    }

    /// The limit; for retries under a budget it moves with the requests under way.
    #[must_use]
    pub fn limit(&self, resource: Resource) -> u64 {
        let budget = self.budget_millipercent.load(Ordering::Relaxed);
        if resource != Resource::Retries || budget == NO_BUDGET {
            return self.limits[resource as usize].load(Ordering::Relaxed);
        }
        // Envoy's RetryBudget: percent of active and pending requests, at least the minimum.
        let under_way = self.taken(Resource::Requests) + self.taken(Resource::Pending);
        let share = u128::from(under_way) * u128::from(budget) / 100_000;
        u64::try_from(share)
            .unwrap_or(u64::MAX)
            .max(self.budget_minimum.load(Ordering::Relaxed))
    }

    /// What could still be taken.
    #[must_use]
    pub fn remaining(&self, resource: Resource) -> u64 {
        self.limit(resource).saturating_sub(self.taken(resource))
    }

    /// Whether nothing more can be taken.
    #[must_use]
    pub fn is_open(&self, resource: Resource) -> bool {
        self.remaining(resource) == 0
    }

    fn unlimited() -> Self {
        Self {
            counts: Default::default(),
            limits: std::array::from_fn(|_| AtomicU64::new(u64::MAX)),
            budget_millipercent: AtomicU64::new(NO_BUDGET),
            budget_minimum: AtomicU64::new(0),
        }
    }

    fn update(&self, thresholds: &Thresholds) {
        let limits = [
            thresholds.max_connections,
            thresholds.max_pending,
            thresholds.max_requests,
            thresholds.max_retries,
        ];
        for (cell, limit) in self.limits.iter().zip(limits) {
            cell.store(limit, Ordering::Relaxed);
        }
        let (percent, minimum) = thresholds
            .retry_budget
            .as_ref()
            .map_or((NO_BUDGET, 0), budget_parts);
        self.budget_minimum.store(minimum, Ordering::Relaxed);
        self.budget_millipercent.store(percent, Ordering::Relaxed);
    }
}

impl Permit {
    /// What was taken.
    #[must_use]
    pub fn resource(&self) -> Resource {
        self.resource
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.breaker.counts[self.resource as usize].fetch_sub(1, Ordering::AcqRel);
    }
}

fn budget_parts(budget: &RetryBudget) -> (u64, u64) {
    let percent = budget.percent.clamp(0.0, 100.0);
    // Rounded, so that 0.1 % does not become 99 thousandths.
    ((percent * 1000.0).round() as u64, budget.min_concurrency)
}

const NO_BUDGET: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Resource; 4] = [
        Resource::Connections,
        Resource::Pending,
        Resource::Requests,
        Resource::Retries,
    ];

    fn limits(max: u64, retry_budget: Option<RetryBudget>) -> Thresholds {
        Thresholds {
            max_connections: max,
            max_pending: max,
            max_requests: max,
            max_retries: max,
            retry_budget,
            track_remaining: true,
        }
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let breakers = Breakers::new(&[Thresholds::default(), Thresholds::default()]);
        let breaker = breakers.at(RoutingPriority::Default);
        assert_eq!(
            ALL.map(|resource| breaker.limit(resource)),
            [1024, 1024, 1024, 3]
        );
    }

    #[test]
    fn a_breaker_opens_at_its_limit_and_priorities_are_apart() {
        let breakers = Breakers::new(&[limits(2, None), limits(1, None)]);
        for resource in ALL {
            let first = breakers
                .try_take(RoutingPriority::Default, resource)
                .unwrap();
            let _second = breakers
                .try_take(RoutingPriority::Default, resource)
                .unwrap();
            assert!(
                breakers
                    .try_take(RoutingPriority::Default, resource)
                    .is_none()
            );
            assert!(breakers.at(RoutingPriority::Default).is_open(resource));
            let _high = breakers.try_take(RoutingPriority::High, resource).unwrap();
            assert!(breakers.try_take(RoutingPriority::High, resource).is_none());
            let _beyond = breakers.take_regardless(RoutingPriority::Default, resource);
            assert_eq!(breakers.at(RoutingPriority::Default).taken(resource), 3);
            drop(first);
            assert!(
                breakers
                    .try_take(RoutingPriority::Default, resource)
                    .is_none()
            );
        }
        for resource in ALL {
            assert_eq!(breakers.at(RoutingPriority::Default).remaining(resource), 2);
        }
        let closed = Breakers::new(&[limits(0, None), limits(0, None)]);
        assert!(
            closed
                .try_take(RoutingPriority::Default, Resource::Requests)
                .is_none()
        );
        closed.update(&[limits(1, None), limits(0, None)]);
        assert!(
            closed
                .try_take(RoutingPriority::Default, Resource::Requests)
                .is_some()
        );
    }

    #[test]
    fn a_retry_budget_moves_with_the_requests() {
        // (percent, minimum, requests, pending) → retries allowed
        let cases = [
            (20.0, 3, 0, 0, 3),
            (20.0, 3, 15, 0, 3),
            (20.0, 3, 15, 5, 4),
            (20.0, 3, 100, 0, 20),
            (100.0, 0, 7, 0, 7),
            (0.0, 0, 100, 0, 0),
            (0.5, 0, 1000, 0, 5),
            (250.0, 0, 10, 0, 10),
        ];
        for (percent, min_concurrency, requests, pending, expected) in cases {
            let budget = RetryBudget {
                percent,
                min_concurrency,
            };
            let breakers = Breakers::new(&[limits(5000, Some(budget)), limits(0, None)]);
            let hold = |resource, count| -> Vec<_> {
                (0..count)
                    .map(|_| breakers.take_regardless(RoutingPriority::Default, resource))
                    .collect()
            };
            let _held = (
                hold(Resource::Requests, requests),
                hold(Resource::Pending, pending),
            );
            let retries: Vec<_> = (0..5000)
                .map_while(|_| breakers.try_take(RoutingPriority::Default, Resource::Retries))
                .collect();
            assert_eq!(
                retries.len(),
                expected,
                "{percent} {min_concurrency} {requests} {pending}"
            );
        }
    }

    proptest! {
        /// Whatever is taken and given back in whatever order, counts equal the permits alive and never pass the limit.
        #[test]
        fn permits_never_leak(seed in any::<u64>(), max in 0u64..6) {
            let mut random = fastrand::Rng::with_seed(seed);
            let breakers = Breakers::new(&[limits(max, None), limits(max, None)]);
            let mut held: Vec<Permit> = Vec::new();
            for _ in 0..200 {
                if random.bool() || held.is_empty() {
                    let priority = if random.bool() { RoutingPriority::Default } else { RoutingPriority::High };
                    held.extend(breakers.try_take(priority, ALL[random.usize(0..4)]));
                } else {
                    held.swap_remove(random.usize(0..held.len()));
                }
                let taken: u64 = [RoutingPriority::Default, RoutingPriority::High].into_iter()
                    .flat_map(|priority| ALL.map(|resource| breakers.at(priority).taken(resource))).sum();
                prop_assert_eq!(taken, held.len() as u64);
                prop_assert!(ALL.iter().all(|resource| breakers.at(RoutingPriority::Default).taken(*resource) <= max));
            }
            held.clear();
            prop_assert!(ALL.iter().all(|resource| breakers.at(RoutingPriority::High).taken(*resource) == 0));
        }
    }

    #[test]
    fn threads_never_pass_the_limit_together() {
        let breakers = Breakers::new(&[limits(3, None), limits(3, None)]);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        let held: Vec<_> = (0..2)
                            .filter_map(|_| {
                                breakers.try_take(RoutingPriority::Default, Resource::Requests)
                            })
                            .collect();
                        assert!(held.len() <= 2);
                    }
                });
            }
        });
        assert_eq!(
            breakers
                .at(RoutingPriority::Default)
                .taken(Resource::Requests),
            0
        );
    }
}
