//! Outlier detection: hosts that answer badly are ejected for a while. Sans-io; rules of Envoy's documentation ("Outlier detection").
//!
//! Workers note outcomes in the host's [`Monitor`] (atomics only). When a run of failures reaches its threshold they hand a [`Cause`] to the
//! control side, where the [`Detector`] decides, as it does at every interval.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::host::{Flag, Vitals};
use super::stats::{Counter, OutlierStats};

mod monitor;
mod rates;

pub use self::monitor::{LocalFailure, Monitor, Outcome};

/// When hosts are ejected, and for how long. Defaults are Envoy's.
#[derive(Debug, Clone, PartialEq)]
pub struct OutlierSettings {
    /// Time between looks at rates and at who may come back (10 s).
    pub interval: Duration,
    /// An ejection lasts this times the number of recent ejections (30 s).
    pub base_ejection_time: Duration,
    /// At most this (300 s, or the base time if longer).
    pub max_ejection_time: Duration,
    /// Upper bound of a random addition to each ejection.
    pub max_ejection_time_jitter: Duration,
    /// Percent of hosts that may be ejected at a time (10).
    pub max_ejection_percent: u32,
    /// One host may always be ejected, whatever the percentage.
    pub always_eject_one: bool,
    /// Count failures on this side apart from failures that the host answered.
    pub split_local_origin: bool,
    /// A successful active health check ends an ejection (true).
    pub successful_check_unejects: bool,
    /// A run of 5xx (5 long, enforced 100 %).
    pub consecutive_5xx: Run,
    /// A run of 502, 503, 504 (5 long, enforced 0 %).
    pub consecutive_gateway_failure: Run,
    /// A run of failures on this side, when counted apart (5 long, enforced 100 %).
    pub consecutive_local_origin_failure: Run,
    /// Success rates far below those of the others.
    pub success_rate: SuccessRate,
    /// Failures above a fixed percentage.
    pub failure_percentage: FailurePercentage,
}

/// Ejection after a run of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// How many in a row; 0 never happens.
    pub length: u32,
    /// Percent of detections that lead to ejection.
    pub enforcing: u32,
}

/// Ejection for a success rate below mean − factor × standard deviation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SuccessRate {
    /// Hosts with enough requests that are needed (5).
    pub minimum_hosts: usize,
    /// Requests in an interval that are enough (100).
    pub request_volume: u64,
    /// Thousandths of the standard deviation (1900).
    pub stdev_factor: u32,
    /// Percent of detections that lead to ejection (100).
    pub enforcing: u32,
    /// The same for failures on this side (100).
    pub enforcing_local_origin: u32,
}

/// Ejection for a failure percentage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailurePercentage {
    /// Hosts with enough requests that are needed (5).
    pub minimum_hosts: usize,
    /// Requests in an interval that are enough (50).
    pub request_volume: u64,
    /// Percent of failures from which on a host is ejected (85).
    pub threshold: u32,
    /// Percent of detections that lead to ejection (0).
    pub enforcing: u32,
    /// The same for failures on this side (0).
    pub enforcing_local_origin: u32,
}

/// Why a host is to be ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A run of 5xx.
    Consecutive5xx,
    /// A run of gateway failures.
    ConsecutiveGatewayFailure,
    /// A run of failures on this side.
    ConsecutiveLocalOriginFailure,
    /// Success rate.
    SuccessRate,
    /// Success rate of what happens on this side.
    SuccessRateLocalOrigin,
    /// Failure percentage.
    FailurePercentage,
    /// Failure percentage of what happens on this side.
    FailurePercentageLocalOrigin,
}

/// Decides on ejections for one cluster. Lives on the control side.
#[derive(Debug)]
pub struct Detector {
    settings: OutlierSettings,
    stats: Arc<OutlierStats>,
    members: BTreeMap<u64, Member>,
    ejected: usize,
    random: fastrand::Rng,
    next_tick: Instant,
}

#[derive(Debug)]
struct Member {
    vitals: Arc<Vitals>,
    ejected_at: Option<Instant>,
    returned_at: Option<Instant>,
    /// Multiplies the base time; grows with ejections, shrinks with calm intervals.
    backoff: u32,
    jitter: Duration,
    /// Ejections so far.
    ejections: u64,
}

impl Detector {
    /// A detector without members, whose first interval begins at `now`.
    #[must_use]
    pub fn new(
        settings: OutlierSettings,
        stats: Arc<OutlierStats>,
        now: Instant,
        seed: u64,
    ) -> Self {
        Self {
            next_tick: now + settings.interval,
            settings,
            stats,
            members: BTreeMap::new(),
            ejected: 0,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// Changes the settings; runs begin anew, ejections last.
    pub fn update(&mut self, settings: OutlierSettings, now: Instant) {
        for member in self.members.values() {
            member.vitals.monitor.reset_runs();
        }
        self.next_tick = self.next_tick.min(now + settings.interval);
        self.settings = settings;
    }

    /// Changes the members. Those that left are forgotten, with their ejections.
    pub fn set_members<'host>(&mut self, hosts: impl Iterator<Item = &'host Arc<Vitals>>) {
        let mut old = std::mem::take(&mut self.members);
        for vitals in hosts {
            let member = old
                .remove(&vitals.serial())
                .unwrap_or_else(|| Member::new(vitals));
            self.members.insert(vitals.serial(), member);
        }
        for member in old.values() {
            self.release(&member.vitals);
        }
    }

    /// A worker saw the cause on the host. Returns whether somebody's health changed.
    pub fn detect(&mut self, serial: u64, cause: Cause, now: Instant) -> bool {
        let Some(member) = self.members.get(&serial) else {
            return false;
        };
        let vitals = Arc::clone(&member.vitals);
        if vitals.has(Flag::Ejected) {
            return false;
        }
        let changed = self.judge(serial, cause, now);
        if cause == Cause::Consecutive5xx {
            self.stats.ejections_consecutive_5xx.add(1);
        }
        // Another run can complete even if no success comes in between.
        vitals.monitor.reset_run(cause);
        changed
    }

    /// When [`tick`](Self::tick) is due.
    #[must_use]
    pub fn next_tick(&self) -> Instant {
        self.next_tick
    }

    /// An interval is over: who served its time returns, rates are judged. Returns whether somebody's health changed.
    pub fn tick(&mut self, now: Instant) -> bool {
        self.next_tick = now + self.settings.interval;
        let mut changed = false;
        let due: Vec<u64> = self
            .members
            .iter()
            .filter(|(_, member)| member.is_due(&self.settings, now))
            .map(|(serial, _)| *serial)
            .collect();
        for serial in due {
            changed |= self.uneject(serial, now);
        }
        for (serial, cause) in self.judge_rates() {
            changed |= self.judge(serial, cause, now);
        }
        for member in self
            .members
            .values_mut()
            .filter(|member| !member.vitals.has(Flag::Ejected))
        {
            let calm = member.returned_at.is_some_and(|returned| {
                now.saturating_duration_since(returned) >= self.settings.interval
            });
            if calm {
                member.backoff = member.backoff.saturating_sub(1);
            }
        }
        changed
    }

    /// An active health check of the host succeeded, which ends its ejection if the settings say so. Returns whether its health changed.
    pub fn on_check_success(&mut self, serial: u64, now: Instant) -> bool {
        self.settings.successful_check_unejects && self.uneject(serial, now)
    }

    /// Ends all ejections, before the detector goes.
    pub fn release_all(&mut self) {
        for member in std::mem::take(&mut self.members).values() {
            self.release(&member.vitals);
        }
    }

    /// Ejections of the host so far.
    #[must_use]
    pub fn ejections(&self, serial: u64) -> u64 {
        self.members
            .get(&serial)
            .map_or(0, |member| member.ejections)
    }

    fn judge(&mut self, serial: u64, cause: Cause, now: Instant) -> bool {
        self.count_detected(cause);
        let percent = 100.0 * (self.ejected + 1) as f64 / self.members.len().max(1) as f64;
        let allowed = percent <= f64::from(self.settings.max_ejection_percent.min(100))
            || (self.settings.always_eject_one && self.ejected == 0);
        if !allowed {
            self.stats.ejections_overflow.add(1);
            return false;
        }
        if matches!(cause, Cause::Consecutive5xx | Cause::SuccessRate) {
            self.stats.ejections_total.add(1);
        }
        let enforced = self.random.u32(0..100) < self.enforcing(cause);
        let jitter = Duration::from_millis(
            self.random
                .u64(0..=millis(self.settings.max_ejection_time_jitter)),
        );
        let Some(member) = self.members.get_mut(&serial).filter(|_| enforced) else {
            return false;
        };
        if !member.vitals.put(Flag::Ejected, true) {
            return false;
        }
        member.ejected_at = Some(now);
        member.ejections += 1;
        member.jitter = jitter;
        // Growth stops one step past the maximum: longer runs would only delay the way back down.
        if self.settings.base_ejection_time * member.backoff
            < self.settings.max_ejection_time + self.settings.base_ejection_time
        {
            member.backoff += 1;
        }
        self.ejected += 1;
        self.stats.ejections_active.set(self.ejected as u64);
        self.stats.ejections_enforced_total.add(1);
        self.enforced_counter(cause).add(1);
        true
    }

    fn uneject(&mut self, serial: u64, now: Instant) -> bool {
        let Some(member) = self.members.get_mut(&serial) else {
            return false;
        };
        member.returned_at = Some(now);
        let vitals = Arc::clone(&member.vitals);
        // Otherwise a counter just below its threshold would eject it again at once.
        vitals.monitor.reset_runs();
        self.release(&vitals)
    }

    fn release(&mut self, vitals: &Vitals) -> bool {
        let changed = vitals.put(Flag::Ejected, false);
        if changed {
            self.ejected = self.ejected.saturating_sub(1);
            self.stats.ejections_active.set(self.ejected as u64);
        }
        changed
    }

    fn enforcing(&self, cause: Cause) -> u32 {
        let settings = &self.settings;
        match cause {
            Cause::Consecutive5xx => settings.consecutive_5xx.enforcing,
            Cause::ConsecutiveGatewayFailure => settings.consecutive_gateway_failure.enforcing,
            Cause::ConsecutiveLocalOriginFailure => {
                settings.consecutive_local_origin_failure.enforcing
            }
            Cause::SuccessRate => settings.success_rate.enforcing,
            Cause::SuccessRateLocalOrigin => settings.success_rate.enforcing_local_origin,
            Cause::FailurePercentage => settings.failure_percentage.enforcing,
            Cause::FailurePercentageLocalOrigin => {
                settings.failure_percentage.enforcing_local_origin
            }
        }
    }

    fn enforced_counter(&self, cause: Cause) -> &Counter {
        match cause {
            Cause::Consecutive5xx => &self.stats.ejections_enforced_consecutive_5xx,
            Cause::ConsecutiveGatewayFailure => {
                &self.stats.ejections_enforced_consecutive_gateway_failure
            }
            Cause::ConsecutiveLocalOriginFailure => {
                &self
                    .stats
                    .ejections_enforced_consecutive_local_origin_failure
            }
            Cause::SuccessRate => &self.stats.ejections_enforced_success_rate,
            Cause::SuccessRateLocalOrigin => {
                &self.stats.ejections_enforced_local_origin_success_rate
            }
            Cause::FailurePercentage => &self.stats.ejections_enforced_failure_percentage,
            Cause::FailurePercentageLocalOrigin => {
                &self
                    .stats
                    .ejections_enforced_failure_percentage_local_origin
            }
        }
    }

    fn count_detected(&self, cause: Cause) {
        let counter = match cause {
            Cause::Consecutive5xx => &self.stats.ejections_detected_consecutive_5xx,
            Cause::ConsecutiveGatewayFailure => {
                &self.stats.ejections_detected_consecutive_gateway_failure
            }
            Cause::ConsecutiveLocalOriginFailure => {
                &self
                    .stats
                    .ejections_detected_consecutive_local_origin_failure
            }
            Cause::SuccessRate => &self.stats.ejections_detected_success_rate,
            Cause::SuccessRateLocalOrigin => {
                &self.stats.ejections_detected_local_origin_success_rate
            }
            Cause::FailurePercentage => &self.stats.ejections_detected_failure_percentage,
            Cause::FailurePercentageLocalOrigin => {
                &self
                    .stats
                    .ejections_detected_failure_percentage_local_origin
            }
        };
        counter.add(1);
        if matches!(cause, Cause::SuccessRate | Cause::SuccessRateLocalOrigin) {
            self.stats.ejections_success_rate.add(1);
        }
    }
}

impl Member {
    fn new(vitals: &Arc<Vitals>) -> Self {
        Self {
            vitals: Arc::clone(vitals),
            ejected_at: None,
            returned_at: None,
            backoff: 0,
            jitter: Duration::ZERO,
            ejections: 0,
        }
    }

    fn is_due(&self, settings: &OutlierSettings, now: Instant) -> bool {
        let sentence = (settings.base_ejection_time * self.backoff).min(settings.max_ejection_time)
            + self.jitter;
        self.vitals.has(Flag::Ejected)
            && self
                .ejected_at
                .is_some_and(|ejected| now.saturating_duration_since(ejected) >= sentence)
    }
}

impl Default for OutlierSettings {
    fn default() -> Self {
        let run = |enforcing| Run {
            length: 5,
            enforcing,
        };
        Self {
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(300),
            max_ejection_time_jitter: Duration::ZERO,
            max_ejection_percent: 10,
            always_eject_one: false,
            split_local_origin: false,
            successful_check_unejects: true,
            consecutive_5xx: run(100),
            consecutive_gateway_failure: run(0),
            consecutive_local_origin_failure: run(100),
            success_rate: SuccessRate {
                minimum_hosts: 5,
                request_volume: 100,
                stdev_factor: 1900,
                enforcing: 100,
                enforcing_local_origin: 100,
            },
            failure_percentage: FailurePercentage {
                minimum_hosts: 5,
                request_volume: 50,
                threshold: 85,
                enforcing: 0,
                enforcing_local_origin: 0,
            },
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX - 1)
}

#[cfg(test)]
mod tests;
