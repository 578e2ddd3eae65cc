//! What is known of one address's health, sans-io. Rules of Kong's checker (lua-resty-healthcheck): counters up to a limit each; a success
//! clears the failures and a failure the successes; a limit of zero counts nothing.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::plan::upstream::Limits;

/// The health of one address, shared by all workers.
#[derive(Debug, Default)]
pub(super) struct Health {
    state: AtomicU8,
    counters: Mutex<Counters>,
}

/// Where an address stands. It serves in the first two.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum State {
    Healthy = 0,
    /// With failures counted against it.
    MostlyHealthy = 1,
    /// With successes counted for it.
    MostlyUnhealthy = 2,
    Unhealthy = 3,
}

/// What a check or a request brought.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Observed {
    /// A connection, which is all that was wanted.
    Connected,
    /// An answer that is no HTTP.
    Malformed,
    Status(u16),
    TcpFailure,
    Timeout,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    successes: u8,
    http_failures: u8,
    tcp_failures: u8,
    timeouts: u8,
}

/// What an observation counts as.
enum Counted {
    Success,
    HttpFailure,
    TcpFailure,
    Timeout,
}

impl Health {
    /// Where the address stands.
    pub(super) fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            0 => State::Healthy,
            1 => State::MostlyHealthy,
            2 => State::MostlyUnhealthy,
            _ => State::Unhealthy,
        }
    }

    /// Whether the address serves.
    pub(super) fn is_available(&self) -> bool {
        self.state.load(Ordering::Acquire) <= State::MostlyHealthy as u8
    }

    /// Takes an observation. Says whether the address serves now and did not before, or the other way round.
    #[inline]
    pub(super) fn observe(&self, limits: &Limits, observed: Observed) -> bool {
        let Some(counted) = counted(limits, observed) else {
            return false;
        };
        let is_success = matches!(counted, Counted::Success);
        // Nothing to learn: the way of almost every request ends here.
        match self.state() {
            State::Healthy if is_success => return false,
            State::Unhealthy if !is_success => return false,
            _ => {}
        }
        self.count(limits, &counted, is_success)
    }

    /// Puts it where an operator wants it. Says whether that changed whether it serves.
    pub(super) fn force(&self, healthy: bool) -> bool {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        *counters = Counters::default();
        let state = if healthy {
            State::Healthy
        } else {
            State::Unhealthy
        };
        self.put(state)
    }

    #[cold]
    fn count(&self, limits: &Limits, counted: &Counted, is_success: bool) -> bool {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let (limit, counter) = match counted {
            Counted::Success => (limits.successes, &mut counters.successes),
            Counted::HttpFailure => (limits.http_failures, &mut counters.http_failures),
            Counted::TcpFailure => (limits.tcp_failures, &mut counters.tcp_failures),
            Counted::Timeout => (limits.timeouts, &mut counters.timeouts),
        };
        if limit == 0 {
            return false;
        }
        *counter = counter.saturating_add(1);
        let is_reached = *counter >= limit;
        *counters = if is_success {
            Counters {
                successes: counters.successes,
                ..Counters::default()
            }
        } else {
            Counters {
                successes: 0,
                ..*counters
            }
        };
        let next = match (self.state(), is_success) {
            (_, true) if is_reached => State::Healthy,
            (_, false) if is_reached => State::Unhealthy,
            (State::Healthy, false) => State::MostlyHealthy,
            (State::Unhealthy, true) => State::MostlyUnhealthy,
            (state, _) => state,
        };
        self.put(next)
    }

    /// Must be called with the counters locked.
    fn put(&self, state: State) -> bool {
        let before = self.state.swap(state as u8, Ordering::AcqRel);
        (before <= State::MostlyHealthy as u8) != (state as u8 <= State::MostlyHealthy as u8)
    }
}

fn counted(limits: &Limits, observed: Observed) -> Option<Counted> {
    Some(match observed {
        Observed::Connected => Counted::Success,
        Observed::Malformed => Counted::HttpFailure,
        // A status in both lists is a success.
        Observed::Status(status) if limits.healthy_statuses.contains(&status) => Counted::Success,
        Observed::Status(status) if limits.unhealthy_statuses.contains(&status) => {
            Counted::HttpFailure
        }
        Observed::Status(_) => return None,
        Observed::TcpFailure => Counted::TcpFailure,
        Observed::Timeout => Counted::Timeout,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use Observed::{Connected, Malformed, Status, TcpFailure, Timeout};
    use State::{Healthy, MostlyHealthy, MostlyUnhealthy, Unhealthy};

    fn limits() -> Limits {
        Limits {
            healthy_statuses: vec![200, 302],
            successes: 2,
            unhealthy_statuses: vec![500, 503],
            http_failures: 3,
            tcp_failures: 2,
            timeouts: 4,
        }
    }

    /// Every observation with the state that it leads to and whether service changed by it.
    fn run(limits: &Limits, steps: &[(Observed, State, bool)]) {
        let health = Health::default();
        for (index, (observed, state, changed)) in steps.iter().enumerate() {
            assert_eq!(health.observe(limits, *observed), *changed, "step {index}");
            assert_eq!(health.state(), *state, "step {index}");
        }
    }

    #[test]
    fn every_limit_makes_unhealthy_exactly_when_it_is_reached() {
        for (observed, limit) in [
            (Status(500), 3),
            (Malformed, 3),
            (TcpFailure, 2),
            (Timeout, 4),
        ] {
            let mut steps: Vec<_> = (1..limit)
                .map(|_| (observed, MostlyHealthy, false))
                .collect();
            steps.push((observed, Unhealthy, true));
            steps.push((observed, Unhealthy, false));
            run(&limits(), &steps);
        }
    }

    #[test]
    fn kinds_of_failures_are_counted_apart() {
        run(
            &limits(),
            &[
                (TcpFailure, MostlyHealthy, false),
                (Status(500), MostlyHealthy, false),
                (Timeout, MostlyHealthy, false),
                (Status(503), MostlyHealthy, false),
                (Timeout, MostlyHealthy, false),
                (TcpFailure, Unhealthy, true),
            ],
        );
    }

    #[test]
    fn successes_bring_back_and_clear_failures() {
        run(
            &limits(),
            &[
                (TcpFailure, MostlyHealthy, false),
                // Clears the failure, and the second makes it healthy in full.
                (Status(200), MostlyHealthy, false),
                (TcpFailure, MostlyHealthy, false),
                (Status(200), MostlyHealthy, false),
                (Status(302), Healthy, false),
                (TcpFailure, MostlyHealthy, false),
                (TcpFailure, Unhealthy, true),
                (Connected, MostlyUnhealthy, false),
                // A failure in between: successes count from nothing again.
                (TcpFailure, MostlyUnhealthy, false),
                (Connected, MostlyUnhealthy, false),
                (Connected, Healthy, true),
            ],
        );
    }

    #[test]
    fn statuses_in_neither_list_count_nothing() {
        run(
            &limits(),
            &[
                (Status(404), Healthy, false),
                (Status(500), MostlyHealthy, false),
                (Status(404), MostlyHealthy, false),
                (Status(500), MostlyHealthy, false),
                (Status(500), Unhealthy, true),
                (Status(404), Unhealthy, false),
            ],
        );
    }

    #[test]
    fn a_status_in_both_lists_is_a_success() {
        let both = Limits {
            healthy_statuses: vec![500],
            ..limits()
        };
        run(&both, &[(Status(500), Healthy, false); 4]);
    }

    #[test]
    fn limits_of_zero_count_nothing() {
        let off = Limits {
            successes: 0,
            http_failures: 0,
            tcp_failures: 0,
            timeouts: 0,
            ..limits()
        };
        for observed in [Status(500), TcpFailure, Timeout, Malformed] {
            run(&off, &[(observed, Healthy, false); 10]);
        }
        // Without a way back failures add up although successes come between them, as in Kong.
        let one_way = Limits {
            successes: 0,
            ..limits()
        };
        run(
            &one_way,
            &[
                (TcpFailure, MostlyHealthy, false),
                (Status(200), MostlyHealthy, false),
                (TcpFailure, Unhealthy, true),
                (Status(200), Unhealthy, false),
            ],
        );
    }

    #[test]
    fn operators_override_and_counters_begin_anew() {
        let health = Health::default();
        assert!(health.force(false));
        assert!(!health.force(false));
        assert_eq!(health.state(), Unhealthy);
        assert!(!health.observe(&limits(), Connected));
        assert!(health.force(true));
        assert_eq!(health.state(), Healthy);
        assert!(!health.observe(&limits(), TcpFailure));
        assert!(!health.force(true), "it served all the time");
        assert!(
            !health.observe(&limits(), TcpFailure),
            "the first failure again"
        );
        assert!(health.is_available());
    }
}
