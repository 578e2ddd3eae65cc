//! Drives the active health checks of a cluster: one task a host, each check as [`super::health`] plans it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use rustc_hash::FxHashMap;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::health::{CheckOutcome, Checker, HealthCheckSettings};
use super::{CheckVerdict, Cluster, Host};
use crate::forward::probe::Prober;

/// Checks every host of the cluster as its settings say, until dropped. For the control runtime; must be called inside a local runtime.
pub async fn run(cluster: Arc<Cluster>) {
    let mut changes = cluster.host_set_changed();
    let mut planned: Vec<Arc<HealthCheckSettings>> = Vec::new();
    let mut subjects: FxHashMap<u64, Subject> = FxHashMap::default();
    let checked = Rc::new(Notify::new());
    loop {
        changes.borrow_and_update();
        let settings = cluster.settings_cell().load_full();
        let same = planned.len() == settings.health_checks.len()
            && planned
                .iter()
                .zip(&settings.health_checks)
                .all(|(held, wanted)| **held == *wanted);
        if !same {
            subjects.clear();
            planned = settings
                .health_checks
                .iter()
                .cloned()
                .map(Arc::new)
                .collect();
        }
        if !planned.is_empty() {
            follow(&cluster, &planned, &mut subjects, &checked);
        }
        // Envoy: a cluster is warm when every host that it began with had its first check.
        let all = subjects
            .values()
            .all(|subject| subject.standing.checked.get());
        if !planned.is_empty() && all && cluster.is_assigned() {
            cluster.mark_initialized();
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() {
                return;
            },
            () = checked.notified(), if !cluster.is_initialized() => {}
        }
    }
}

/// One host under check. Dropping it ends its checks.
#[derive(Debug)]
struct Subject {
    /// Its present version: addresses of names change.
    host: Rc<RefCell<Arc<Host>>>,
    standing: Rc<Standing>,
    task: JoinHandle<()>,
}

/// What is counted of a host in `health_check.healthy` and `health_check.degraded`.
#[derive(Debug)]
struct Standing {
    cluster: Arc<Cluster>,
    checked: Cell<bool>,
    healthy: Cell<bool>,
    degraded: Cell<bool>,
}

/// Begins with hosts that are new, ends with those that left.
fn follow(
    cluster: &Arc<Cluster>,
    planned: &[Arc<HealthCheckSettings>],
    subjects: &mut FxHashMap<u64, Subject>,
    checked: &Rc<Notify>,
) {
    let set = cluster.endpoints_cell().load_full();
    let mut present: FxHashMap<u64, &Arc<Host>> = FxHashMap::default();
    for host in set.hosts() {
        present.entry(host.serial()).or_insert(host);
    }
    subjects.retain(|serial, _| present.contains_key(serial));
    for (serial, host) in present {
        if let Some(subject) = subjects.get(&serial) {
            subject.host.replace(Arc::clone(host));
            continue;
        }
        let now = Instant::now();
        let checks: Vec<(Checker, Prober)> = planned
            .iter()
            .map(|settings| {
                let checker = Checker::new(Arc::clone(settings), now, fastrand::u64(..));
                (checker, Prober::new(Arc::clone(settings)))
            })
            .collect();
        let standing = Rc::new(Standing {
            cluster: Arc::clone(cluster),
            checked: Cell::new(false),
            healthy: Cell::new(false),
            degraded: Cell::new(false),
        });
        let host = Rc::new(RefCell::new(Arc::clone(host)));
        let task = watch(
            Rc::clone(&standing),
            Rc::clone(&host),
            checks,
            Rc::clone(checked),
        );
        subjects.insert(
            serial,
            Subject {
                host,
                standing,
                task: tokio::task::spawn_local(task),
            },
        );
    }
}

/// Checks one host again and again.
async fn watch(
    standing: Rc<Standing>,
    host: Rc<RefCell<Arc<Host>>>,
    mut checks: Vec<(Checker, Prober)>,
    told: Rc<Notify>,
) {
    let cluster = Arc::clone(&standing.cluster);
    let mut rounds = 0;
    loop {
        let Some((checker, prober)) = checks.iter_mut().min_by_key(|(checker, _)| checker.due())
        else {
            return;
        };
        tokio::time::sleep_until(checker.due().into()).await;
        let subject = Arc::clone(&host.borrow());
        cluster.health_check_stats().attempt.add(1);
        let outcome = prober.check(&cluster, &subject).await;
        count(&cluster, outcome);
        let had_traffic = cluster.stats().upstream_cx_total.value() > 0;
        checker.next(Instant::now(), outcome, had_traffic);
        rounds += 1;
        let verdict = CheckVerdict {
            healthy: checks.iter().all(|(checker, _)| checker.is_healthy()),
            degraded: checks.iter().any(|(checker, _)| checker.is_degraded()),
            timed_out: checks.iter().any(|(checker, _)| checker.is_timed_out()),
        };
        standing.take(verdict);
        if rounds >= checks.len() && !standing.checked.replace(true) {
            told.notify_one();
        }
        cluster.on_health_check(&subject, verdict, Instant::now());
    }
}

fn count(cluster: &Cluster, outcome: CheckOutcome) {
    let stats = cluster.health_check_stats();
    match outcome {
        CheckOutcome::Success | CheckOutcome::Degraded => stats.success.add(1),
        CheckOutcome::Unexpected | CheckOutcome::Retriable => stats.failure.add(1),
        CheckOutcome::Network | CheckOutcome::Timeout => {
            stats.failure.add(1);
            stats.network_failure.add(1);
        }
    }
}

impl Standing {
    fn take(&self, verdict: CheckVerdict) {
        let stats = self.cluster.health_check_stats();
        for (held, now, gauge) in [
            (&self.healthy, verdict.healthy, &stats.healthy),
            (
                &self.degraded,
                verdict.healthy && verdict.degraded,
                &stats.degraded,
            ),
        ] {
            match (held.replace(now), now) {
                (false, true) => gauge.add(1),
                (true, false) => gauge.subtract(1),
                _ => {}
            }
        }
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.take(CheckVerdict {
            healthy: false,
            degraded: false,
            timed_out: false,
        });
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        self.task.abort();
    }
}
