//! Clusters: endpoints, balancers, breakers, outlier detection, health checks.
//!
//! | room | what lives there |
//! |---|---|
//! | [`settings`] | what a cluster is told to be |
//! | [`endpoint`], [`host`] | endpoints as assigned; hosts with what is learnt about them |
//! | [`set`], [`balance`] | hosts compiled for picking; how one is picked |
//! | [`breaker`], [`stats`] | limits on what is under way; counters |
//! | [`outlier`], [`health`] | who is ejected; who passes active checks |
//! | [`dns`] | hosts from names |
//! | [`original`] | hosts from original destinations |
//! | [`pool`], [`pickers`] | a worker's connections and balancer state |

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};

pub mod balance;
pub mod breaker;
pub mod dns;
pub mod endpoint;
pub mod health;
pub mod host;
pub mod original;
pub mod outlier;
pub mod pickers;
pub mod pool;
mod registry;
pub mod set;
pub mod settings;
pub mod stats;

pub use self::balance::{PickContext, Picker};
pub use self::endpoint::{
    Assignment, Endpoint, EndpointHealth, Extension, Locality, LocalityEndpoints,
};
pub use self::host::{Health, Host, Vitals};
pub use self::set::EndpointSet;
pub use self::settings::{Settings, Transport};

use self::breaker::Breakers;
use self::host::Flag;
use self::outlier::{Cause, Detector, LocalFailure, Outcome};
use self::registry::Registry;
use self::set::Members;
use self::settings::Discovery;
use self::stats::{HealthCheckStats, OutlierStats, Stats};

/// A cluster that outlives its updates: routes hold it by `Arc`. Everything that requests touch is atomic or swapped; the lock is the control side's.
#[derive(Debug)]
pub struct Cluster {
    name: Arc<str>,
    settings: ArcSwap<Settings>,
    set: ArcSwap<EndpointSet>,
    breakers: Breakers,
    stats: Arc<Stats>,
    outlier_stats: Arc<OutlierStats>,
    health_check_stats: HealthCheckStats,
    control: Mutex<Control>,
    detections: Mutex<Vec<(u64, Cause)>>,
    work: Notify,
    generation: watch::Sender<u64>,
    initialized: watch::Sender<bool>,
    original: original::Originals,
}

/// What only the control side touches.
#[derive(Debug)]
struct Control {
    assignment: Option<Assignment>,
    members: Members,
    registry: Registry,
    detector: Option<Detector>,
}

impl Cluster {
    /// A cluster without endpoints.
    #[must_use]
    pub fn new(settings: Settings, now: Instant) -> Arc<Self> {
        let stats = Arc::new(Stats::default());
        let outlier_stats = Arc::new(OutlierStats::default());
        let members = Members::default();
        let on_demand = matches!(settings.discovery, Discovery::OriginalDestination { .. });
        let detector = settings.outlier.clone().map(|outlier| {
            Detector::new(outlier, Arc::clone(&outlier_stats), now, fastrand::u64(..))
        });
        Arc::new(Self {
            name: Arc::clone(&settings.name),
            set: ArcSwap::from_pointee(EndpointSet::compile(
                0,
                &settings,
                &members,
                Arc::clone(&stats),
                None,
            )),
            breakers: Breakers::new(&settings.thresholds),
            settings: ArcSwap::from_pointee(settings),
            stats,
            outlier_stats,
            health_check_stats: HealthCheckStats::default(),
            control: Mutex::new(Control {
                assignment: None,
                members,
                registry: Registry::default(),
                detector,
            }),
            detections: Mutex::default(),
            work: Notify::new(),
            generation: watch::Sender::new(0),
            // Hosts made on demand need not be waited for.
            initialized: watch::Sender::new(on_demand),
            original: original::Originals::default(),
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The present settings. Workers that look often should keep an `arc_swap::Cache` of [`settings_cell`](Self::settings_cell).
    #[must_use]
    pub fn settings(&self) -> arc_swap::Guard<Arc<Settings>> {
        self.settings.load()
    }

    /// Where the settings are swapped.
    #[must_use]
    pub fn settings_cell(&self) -> &ArcSwap<Settings> {
        &self.settings
    }

    /// The present hosts.
    #[must_use]
    pub fn endpoints(&self) -> arc_swap::Guard<Arc<EndpointSet>> {
        self.set.load()
    }

    /// Where the hosts are swapped.
    #[must_use]
    pub fn endpoints_cell(&self) -> &ArcSwap<EndpointSet> {
        &self.set
    }

    /// Its breakers.
    #[must_use]
    pub fn breakers(&self) -> &Breakers {
        &self.breakers
    }

    /// Its statistics.
    #[must_use]
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Its statistics of outlier detection.
    #[must_use]
    pub fn outlier_stats(&self) -> &Arc<OutlierStats> {
        &self.outlier_stats
    }

    /// Its statistics of active health checks.
    #[must_use]
    pub fn health_check_stats(&self) -> &HealthCheckStats {
        &self.health_check_stats
    }

    /// Its hosts by original destination.
    #[must_use]
    pub fn originals(&self) -> &original::Originals {
        &self.original
    }

    /// Tells of every new host set by its generation: pools drop hosts that left, health checkers follow.
    #[must_use]
    pub fn host_set_changed(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Whether it may serve: it was given endpoints, and their first health checks are over.
    #[must_use]
    pub fn is_initialized(&self) -> bool {
        *self.initialized.borrow()
    }

    /// Lets it serve.
    pub fn mark_initialized(&self) {
        self.initialized
            .send_if_modified(|initialized| !std::mem::replace(initialized, true));
    }

    /// Waits until it may serve.
    pub async fn wait_initialized(&self) {
        let mut initialized = self.initialized.subscribe();
        // Only an error if the sender is gone, which `self` owns.
        let waited = initialized.wait_for(|initialized| *initialized).await;
        debug_assert!(waited.is_ok());
    }

    /// Replaces the settings; hosts, health, ejections and counts stay. Returns whether they differed.
    pub fn update_settings(&self, settings: Settings, now: Instant) -> bool {
        let mut guard = self.lock();
        let control = &mut *guard;
        if **self.settings.load() == settings {
            return false;
        }
        self.breakers.update(&settings.thresholds);
        match (&mut control.detector, &settings.outlier) {
            (Some(detector), Some(outlier)) => detector.update(outlier.clone(), now),
            (Some(detector), None) => {
                detector.release_all();
                control.detector = None;
            }
            (None, Some(outlier)) => {
                let mut detector = Detector::new(
                    outlier.clone(),
                    Arc::clone(&self.outlier_stats),
                    now,
                    fastrand::u64(..),
                );
                detector.set_members(control.members.hosts().map(|host| host.vitals()));
                control.detector = Some(detector);
            }
            (None, None) => {}
        }
        if settings.health_checks.is_empty() {
            control.end_checks();
        }
        self.settings.store(Arc::new(settings));
        self.rebuild(control);
        self.work.notify_one();
        true
    }

    /// Replaces the endpoints. Hosts at known addresses keep their health, ejection, counts and slow start. Returns whether anything
    /// differed; if not, nothing was touched.
    pub fn update_endpoints(&self, assignment: Assignment, now: Instant) -> bool {
        let mut guard = self.lock();
        let control = &mut *guard;
        self.stats.update_success.add(1);
        if assignment
            .localities
            .iter()
            .all(|locality| locality.endpoints.is_empty())
        {
            self.stats.update_empty.add(1);
        }
        if control.assignment.as_ref() == Some(&assignment) {
            self.stats.update_no_rebuild.add(1);
            return false;
        }
        let settings = self.settings.load();
        let update = control.registry.assign(&assignment, &settings, now);
        control.members = update.members;
        control.assignment = Some(assignment);
        if let Some(detector) = &mut control.detector {
            detector.set_members(control.members.hosts().map(|host| host.vitals()));
        }
        if update.membership_changed {
            self.stats.membership_change.add(1);
        }
        self.rebuild(control);
        drop(guard);
        if settings.health_checks.is_empty() {
            self.mark_initialized();
        }
        true
    }

    /// The host answered a request with this status.
    #[inline]
    pub fn on_response(&self, host: &Host, status: u16) {
        let counter = if status >= 500 {
            &host.stats.rq_error
        } else {
            &host.stats.rq_success
        };
        counter.add(1);
        self.note(host, Outcome::Status(status));
    }

    /// A request or connection failed on this side.
    pub fn on_local_failure(&self, host: &Host, failure: LocalFailure) {
        match failure {
            LocalFailure::Connect => host.stats.cx_connect_fail.add(1),
            LocalFailure::Timeout => {
                host.stats.rq_timeout.add(1);
                host.stats.rq_error.add(1);
            }
            LocalFailure::Reset => host.stats.rq_error.add(1),
        }
        self.note(host, Outcome::LocalFailure(failure));
    }

    /// A connection stands. `finally`: nothing more will be learnt (TCP).
    #[inline]
    pub fn on_connected(&self, host: &Host, finally: bool) {
        let outcome = if finally {
            Outcome::ConnectedFinally
        } else {
            Outcome::Connected
        };
        self.note(host, outcome);
    }

    /// Notes an outcome for outlier detection. What completes a run of failures is left for [`process`](Self::process).
    #[inline]
    pub fn note(&self, host: &Host, outcome: Outcome) {
        let settings = self.settings.load();
        let Some(outlier) = &settings.outlier else {
            return;
        };
        let causes = host.monitor.note(outlier, outcome);
        if causes == [None, None] {
            return;
        }
        let mut detections = self
            .detections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        detections.extend(
            causes
                .into_iter()
                .flatten()
                .map(|cause| (host.serial(), cause)),
        );
        drop(detections);
        self.work.notify_one();
    }

    /// It left the configuration: connections to its hosts close when they are idle. Requests under way may still pick from it.
    pub fn retire(&self) {
        self.lock().registry = Registry::default();
    }

    /// Does what is due on the control side: judges noted failures and, at each interval, who returns. Returns when it is due next.
    pub fn process(&self, now: Instant) -> Option<Instant> {
        let detections = std::mem::take(
            &mut *self
                .detections
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        let mut control = self.lock();
        let detector = control.detector.as_mut()?;
        let mut changed = false;
        for (serial, cause) in detections {
            changed |= detector.detect(serial, cause, now);
        }
        if now >= detector.next_tick() {
            changed |= detector.tick(now);
        }
        let next = detector.next_tick();
        if changed {
            self.rebuild(&control);
        }
        Some(next)
    }

    /// Runs [`process`](Self::process) whenever something is due, until dropped. For the control runtime.
    pub async fn supervise(&self) {
        loop {
            let next = self.process(Instant::now());
            let due = async {
                match next {
                    Some(next) => tokio::time::sleep_until(next.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.work.notified() => {}
                () = due => {}
            }
        }
    }

    /// The result of a host's active health checks, all kinds together. Rebuilds the host set if its health changed.
    pub fn on_health_check(&self, host: &Host, verdict: CheckVerdict, now: Instant) {
        let mut control = self.lock();
        let was_failing = host.has(Flag::FailedActiveCheck);
        let mut changed = host.put(Flag::FailedActiveCheck, !verdict.healthy);
        changed |= host.put(Flag::DegradedActiveCheck, verdict.degraded);
        changed |= host.put(Flag::PendingFirstCheck, false);
        host.put(Flag::ActiveCheckTimeout, verdict.timed_out);
        if verdict.healthy {
            changed |= host.put(Flag::Excluded, false);
        }
        if verdict.healthy && was_failing {
            host.restart_slow_start(now);
        }
        if verdict.healthy
            && let Some(detector) = &mut control.detector
        {
            changed |= detector.on_check_success(host.serial(), now);
        }
        if !verdict.healthy && host.has(Flag::PendingRemoval) {
            changed |= control.registry.forget(host.serial());
            control.remove(host.serial());
        }
        if changed {
            self.rebuild(&control);
        }
    }

    /// Compiles the host set anew from the members' present health and swaps it in.
    fn rebuild(&self, control: &Control) {
        let previous = self.set.load_full();
        let generation = previous.generation + 1;
        let set = EndpointSet::compile(
            generation,
            &self.settings.load(),
            &control.members,
            Arc::clone(&self.stats),
            Some(&previous),
        );
        self.set.store(Arc::new(set));
        self.generation.send_replace(generation);
    }

    fn lock(&self) -> MutexGuard<'_, Control> {
        // A panic in another holder cannot leave it half-written in a way that matters: the next update rebuilds everything.
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all active health checks of a host say together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckVerdict {
    /// All pass.
    pub healthy: bool,
    /// The host calls itself degraded.
    pub degraded: bool,
    /// The last one timed out.
    pub timed_out: bool,
}

impl Control {
    /// There are no active health checks any more: what they said is forgotten, and so are hosts that stayed only because of them.
    fn end_checks(&mut self) {
        let hosts: Vec<Arc<Host>> = self.members.hosts().cloned().collect();
        for host in hosts {
            for flag in [
                Flag::FailedActiveCheck,
                Flag::DegradedActiveCheck,
                Flag::PendingFirstCheck,
                Flag::ActiveCheckTimeout,
                Flag::Excluded,
            ] {
                host.put(flag, false);
            }
            if host.has(Flag::PendingRemoval) && self.registry.forget(host.serial()) {
                self.remove(host.serial());
            }
        }
    }

    fn remove(&mut self, serial: u64) {
        self.members.remove(serial);
        if let Some(detector) = &mut self.detector {
            detector.set_members(self.members.hosts().map(|host| host.vitals()));
        }
    }
}

#[cfg(test)]
mod tests;
