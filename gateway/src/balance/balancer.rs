//! One upstream, or one host of services: its targets, its ring, its health.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use carbyne_engine::cluster::settings::{self, Thresholds};
use carbyne_engine::cluster::{Cluster, Host};
use tokio::sync::watch;

use super::address::{Address, Learnt};
use super::check::Checks;
use super::hash::{Affinity, Hashing, Keys};
use super::health::Observed;
use super::members::{Control, Member, Resolved, learnt};
use super::ring::{Parts, Ring};
use super::status::{Source, Status, TargetStatus};
use super::{Outcome, PickError, Picked, Planned, SwitchError};
use crate::dns::DnsError;
use crate::plan::upstream::{Algorithm, Host as TargetHost, Target};

/// Spreads requests over the targets of an upstream, or over the addresses of a host.
#[derive(Debug)]
pub struct Balancer {
    cluster: Arc<Cluster>,
    ring: ArcSwap<Ring>,
    turn: AtomicUsize,
    /// A service's host: resolved when somebody asks for it, and only then.
    is_direct: bool,
    born: Instant,
    control: Mutex<Control>,
    /// Tells who drives it that there is something new.
    changed: watch::Sender<u64>,
    /// Whether every name has been asked for once.
    answered: watch::Sender<bool>,
    is_answered: AtomicBool,
    /// Somebody picked since the names were last resolved.
    is_asked: AtomicBool,
}

impl Balancer {
    pub(super) fn of_upstream(planned: Planned) -> Self {
        let name = planned.upstream.name.clone();
        let balancer = Self::empty(&name, false);
        balancer.update(planned);
        balancer
    }

    pub(super) fn direct(host: &str, port: u16) -> Self {
        let balancer = Self::empty(host, true);
        let target = Target {
            id: Box::default(),
            upstream: Box::default(),
            host: TargetHost::new(host),
            port,
            weight: 100,
            created_at: 0.0,
        };
        let mut control = balancer.lock();
        control.set_targets(vec![Arc::new(target)]);
        balancer.rebuild(&mut control);
        drop(control);
        balancer
    }

    fn empty(name: &str, is_direct: bool) -> Self {
        let now = Instant::now();
        let mut settings = settings::Settings::named(name);
        // Kong limits neither connections nor requests.
        let unlimited = Thresholds::without_limits();
        settings.thresholds = [unlimited.clone(), unlimited];
        Self {
            cluster: Cluster::new(settings, now),
            ring: ArcSwap::default(),
            turn: AtomicUsize::new(0),
            is_direct,
            born: now,
            control: Mutex::new(Control::new()),
            changed: watch::Sender::new(0),
            answered: watch::Sender::new(false),
            is_answered: AtomicBool::new(false),
            is_asked: AtomicBool::new(false),
        }
    }

    /// Its name: the upstream's, or the host.
    pub fn name(&self) -> Arc<str> {
        self.cluster.name().clone()
    }

    /// Whether it is of a service's host, not of an upstream.
    pub fn is_direct(&self) -> bool {
        self.is_direct
    }

    /// The engine's view of it: hosts, their counters and connections.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// Waits until every name of it was asked for once, whatever came of it. At once from then on.
    pub async fn ready(&self) {
        if self.is_answered.load(Ordering::Acquire) {
            return;
        }
        self.ask();
        let mut answered = self.answered.subscribe();
        // Only an error if the sender is gone, which `self` owns.
        drop(answered.wait_for(|answered| *answered).await);
    }

    /// Where a request belongs, once for all of its tries. Costs nothing where nothing is hashed.
    pub fn affinity(&self, keys: &Keys<'_>) -> Affinity {
        let ring = self.ring.load();
        match &ring.hashing {
            Some(hashing) if ring.points() > 0 => hashing.affinity(keys, ring.points()),
            _ => Affinity::default(),
        }
    }

    /// Picks a host. Hosts of earlier tries, by their ids, are passed over while there are others.
    pub fn pick(&self, affinity: &Affinity, tried: &[u64]) -> Result<Picked, PickError> {
        if self.is_direct {
            self.ask();
        }
        let ring = self.ring.load();
        let picked = ring.pick(&self.turn, affinity.point, tried, || self.born.elapsed());
        match picked {
            Some((address, host)) => Ok(Picked {
                host: host.clone(),
                cluster: self.cluster.clone(),
                name: address.name.clone(),
                port: address.key.port,
            }),
            None if self.is_direct => Err(PickError::Unresolved),
            None => Err(PickError::NoPeers),
        }
    }

    /// Takes how a try at a host ended.
    pub fn report(&self, host: &Host, outcome: Outcome) {
        let Some(learnt) = learnt(host) else {
            return;
        };
        let ring = self.ring.load();
        if ring.measures
            && let Outcome::Status { took, .. } = outcome
        {
            learnt.latency.observe(took, self.born.elapsed());
        }
        let Some(limits) = &ring.passive else {
            return;
        };
        let observed = match outcome {
            // Kong takes every 504 for its own.
            Outcome::Status { status: 504, .. } | Outcome::Timeout => Observed::Timeout,
            Outcome::Status { status, .. } => Observed::Status(status),
            Outcome::TcpFailure => Observed::TcpFailure,
        };
        if learnt.health.observe(limits, observed) {
            self.health_changed(host, learnt);
        }
    }

    /// Switches the health of a target: of all its addresses, or of one.
    pub fn switch(
        &self,
        hostname: &str,
        port: u16,
        address: Option<(&str, u16)>,
        healthy: bool,
    ) -> Result<(), SwitchError> {
        let control = self.lock();
        if !control.checks_are_on() {
            return Err(SwitchError::ChecksAreOff(self.name()));
        }
        let mut changed = false;
        let members = control
            .members
            .iter()
            .filter(|member| &*member.target.host.text == hostname && member.target.port == port);
        for held in members.flat_map(|member| &member.addresses) {
            let is_meant = address.is_none_or(|(ip, port)| held.key.port == port && held.is_at(ip));
            if is_meant {
                changed |= held.learnt.health.force(healthy);
                tracing::warn!(upstream = %self.name(), hostname, ip = %held.key.ip, port = held.key.port, healthy, "health was switched");
            }
        }
        if changed {
            self.compile(&control);
        }
        Ok(())
    }

    /// Whether it has taken this state of its upstream's checks, and a target.
    pub fn has(&self, checks_are_on: bool, hostname: &str, port: u16) -> bool {
        let control = self.lock();
        let is_meant =
            |member: &Member| &*member.target.host.text == hostname && member.target.port == port;
        control.checks_are_on() == checks_are_on && control.members.iter().any(is_meant)
    }

    /// What the Admin API tells about it.
    pub fn status(&self) -> Status {
        let control = self.lock();
        let checks_are_on = control.checks_are_on();
        Status {
            id: control
                .upstream
                .as_ref()
                .map(|upstream| upstream.id.clone())
                .unwrap_or_default(),
            is_healthy: self.ring.load().is_healthy,
            checks_are_on,
            targets: control
                .members
                .iter()
                .map(|member| {
                    TargetStatus::new(
                        &member.target,
                        &member.source,
                        &member.addresses,
                        checks_are_on,
                    )
                })
                .collect(),
        }
    }

    /// Takes another state of the configuration.
    pub(super) fn update(&self, planned: Planned) {
        let mut control = self.lock();
        let Planned {
            upstream,
            mut targets,
            secrets,
        } = planned;
        // As Kong reads them: the oldest first.
        targets.sort_by(|left, right| {
            left.created_at
                .total_cmp(&right.created_at)
                .then_with(|| left.id.cmp(&right.id))
        });
        let same_targets = targets.len() == control.members.len()
            && targets
                .iter()
                .zip(&control.members)
                .all(|(target, member)| **target == *member.target);
        let same = control
            .upstream
            .as_ref()
            .is_some_and(|known| **known == *upstream)
            && control.secrets.is_same(&secrets);
        if same && same_targets {
            return;
        }
        if !same {
            control.checks = Checks::new(&upstream, &secrets).map(Arc::new);
            control.upstream = Some(upstream);
            control.secrets = secrets;
        }
        if !same_targets {
            control.set_targets(targets);
        }
        self.rebuild(&mut control);
        drop(control);
        self.tell();
    }

    /// The names to be resolved now, by their places; they count as under way until [`resolved`](Self::resolved).
    pub(super) fn take_due(&self, now: Instant) -> Vec<(Arc<Target>, Arc<str>)> {
        if self.is_direct && !self.is_asked.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut control = self.lock();
        let due = control
            .members
            .iter_mut()
            .filter(|member| !member.is_running && member.due.is_some_and(|due| due <= now));
        let due: Vec<_> = due
            .map(|member| {
                member.is_running = true;
                (member.target.clone(), member.target.host.text.clone())
            })
            .collect();
        if !due.is_empty() {
            // Until then it is remembered: a request that asks for what nobody waits for wakes nobody.
            self.is_asked.store(false, Ordering::Release);
        }
        due
    }

    /// When the next name is due; none while there are only addresses, or nobody asks.
    pub(super) fn next_due(&self) -> Option<Instant> {
        if self.is_direct && !self.is_asked.load(Ordering::Acquire) {
            return None;
        }
        let control = self.lock();
        let waiting = control.members.iter().filter(|member| !member.is_running);
        waiting.filter_map(|member| member.due).min()
    }

    /// Takes what a name resolved to. A failure takes addresses away only where others are left.
    pub(super) fn resolved(&self, target: &Arc<Target>, answer: Result<Resolved, DnsError>) {
        let mut control = self.lock();
        let others = control
            .members
            .iter()
            .filter(|member| !Arc::ptr_eq(&member.target, target))
            .any(|member| member.target.weight > 0 && !member.entries.is_empty());
        let place = |member: &&mut Member| Arc::ptr_eq(&member.target, target);
        let Some(member) = control.members.iter_mut().find(place) else {
            return;
        };
        member.is_running = false;
        member.is_answered = true;
        let now = Instant::now();
        let changed = match answer {
            Ok(resolved) => {
                member.due = Some(resolved.expires.max(now + LEAST_WAIT));
                member.source = Source::of(&resolved);
                let changed = member.entries != resolved.entries;
                member.entries = resolved.entries;
                changed
            }
            Err(error) => {
                let wait = if self.is_direct {
                    LEAST_WAIT
                } else {
                    REQUERY_INTERVAL
                };
                member.due = Some(now + wait);
                let keeps = !member.entries.is_empty() && !others;
                tracing::warn!(upstream = %self.cluster.name(), name = %target.host, %error, keeps, "a target is not resolved");
                if keeps {
                    false
                } else {
                    member.source = Source::Failed(error);
                    !std::mem::take(&mut member.entries).is_empty()
                }
            }
        };
        if changed {
            self.rebuild(&mut control);
        }
        self.note_answers(&control);
    }

    /// The checks that the node makes, if any.
    pub(super) fn checks(&self) -> Option<Arc<Checks>> {
        self.lock().checks.clone()
    }

    /// The addresses to be checked that serve, or that do not.
    pub(super) fn to_check(&self, healthy: bool) -> Vec<Arc<Address>> {
        let control = self.lock();
        let all = control.members.iter().flat_map(|member| &member.addresses);
        all.filter(|address| address.weight > 0 && address.learnt.health.is_available() == healthy)
            .cloned()
            .collect()
    }

    /// Takes what a check brought.
    pub(super) fn checked(&self, checks: &Checks, address: &Address, observed: Observed) {
        if address
            .learnt
            .health
            .observe(&checks.active.limits, observed)
            && let Some(host) = address.hosts.first()
        {
            self.health_changed(host, &address.learnt);
        }
    }

    /// Tells of everything new: targets, names to be resolved, checks.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    #[cold]
    fn health_changed(&self, host: &Host, learnt: &Learnt) {
        let healthy = learnt.health.is_available();
        tracing::warn!(upstream = %self.cluster.name(), host = %host.address_text, name = %host.hostname, healthy, "the health of a target changed");
        self.compile(&self.lock());
    }

    /// Somebody wants the names of a service's host, or wants them again.
    #[inline]
    fn ask(&self) {
        if !self.is_asked.load(Ordering::Relaxed) && !self.is_asked.swap(true, Ordering::AcqRel) {
            self.tell();
        }
    }

    fn tell(&self) {
        self.changed.send_modify(|version| *version += 1);
    }

    /// Makes the addresses of the members as they are, and the ring of these.
    fn rebuild(&self, control: &mut Control) {
        control.make_addresses(&self.cluster, Instant::now());
        self.compile(control);
        self.note_answers(control);
    }

    /// Compiles the ring from the addresses as they are, and swaps it in.
    fn compile(&self, control: &Control) {
        let upstream = control.upstream.as_deref();
        let addresses: Vec<_> = control
            .members
            .iter()
            .flat_map(|member| &member.addresses)
            .cloned()
            .collect();
        let algorithm = upstream.map_or(Algorithm::RoundRobin, |upstream| upstream.algorithm);
        let ring = Ring::new(Parts {
            algorithm,
            slots: upstream.map_or(0, |upstream| upstream.slots),
            threshold: upstream.map_or(0.0, |upstream| upstream.healthchecks.threshold),
            hashing: upstream
                .filter(|_| algorithm == Algorithm::ConsistentHashing)
                .map(Hashing::of),
            passive: upstream
                .filter(|upstream| upstream.healthchecks.are_on())
                .map(|upstream| upstream.healthchecks.passive.clone()),
            addresses: &addresses,
            targets: control.members.len(),
            seed: control.seed,
            now: self.born.elapsed(),
        });
        self.ring.store(Arc::new(ring));
    }

    fn note_answers(&self, control: &Control) {
        if control.members.iter().all(|member| member.is_answered)
            && !self.is_answered.swap(true, Ordering::AcqRel)
        {
            self.answered.send_replace(true);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Control> {
        // A panic in another holder cannot leave it half-written in a way that matters: the next change rebuilds everything.
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.cluster.retire();
    }
}

/// When a target whose name does not resolve is asked for again.
const REQUERY_INTERVAL: Duration = Duration::from_secs(30);
/// Nobody is asked in a loop.
const LEAST_WAIT: Duration = Duration::from_secs(1);
