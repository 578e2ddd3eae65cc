//! Clusters as they arrive: planned, warmed until their endpoints and secrets are known and their hosts were checked, served, updated in place.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use carbyne_engine::cluster::dns::{self, SystemResolver};
use carbyne_engine::cluster::settings::Discovery;
use carbyne_engine::cluster::{Assignment, Cluster, checks};
use carbyne_protos::envoy::config::cluster::v3 as wire;
use carbyne_protos::envoy::config::endpoint::v3::ClusterLoadAssignment;
use carbyne_protos::prost_types::Any;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::live::clusters::LiveCluster;
use crate::live::warming::{Known, Thing, Warming};
use crate::plan::cluster::{ClusterPlan, TransportPlan};
use crate::plan::endpoint::EndpointsPlan;
use crate::plan::error::{Finding, Rejection};
use crate::plan::tls::Upstream;
use crate::plan::{Environment, Planned, cluster, endpoint};

/// Every cluster that was accepted, served or warming.
#[derive(Debug)]
pub struct ClusterManager {
    environment: Environment,
    records: RefCell<BTreeMap<Arc<str>, Record>>,
    assignments: Assignments,
    /// Told when a cluster that nobody can reach yet had its first health checks.
    checked: Rc<Notify>,
}

/// Assignments by the name under which they are asked for; they may come before their cluster changes.
#[derive(Debug, Default)]
struct Assignments(RefCell<BTreeMap<Arc<str>, Arc<EndpointsPlan>>>);

#[derive(Debug)]
struct Record {
    /// What serves, or will as the first of its name.
    live: Arc<LiveCluster>,
    /// What the first version waits for; of one that serves, nothing.
    warming: Warming,
    /// Whether it came with the bootstrap: such a one is never removed.
    fixed: bool,
    /// Whether routes can reach it.
    served: bool,
    findings: Vec<Finding>,
    tasks: Vec<JoinHandle<()>>,
    /// Its checks go on over updates: what they learnt counts.
    checks: JoinHandle<()>,
    /// A newer version that waits for what it needs, while this one serves.
    next: Option<Next>,
}

/// A version of a cluster that waits.
#[derive(Debug)]
struct Next {
    plan: Arc<ClusterPlan>,
    findings: Vec<Finding>,
    warming: Warming,
}

/// A cluster and what its owner may want to know.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The cluster.
    pub live: Arc<LiveCluster>,
    /// Whether it came with the bootstrap.
    pub fixed: bool,
    /// Whether routes can reach it.
    pub served: bool,
    /// Whether a version waits: the first, or a newer one.
    pub warming: bool,
}

impl ClusterManager {
    /// No clusters.
    pub fn new(environment: Environment) -> Self {
        Self {
            environment,
            records: RefCell::default(),
            assignments: Assignments::default(),
            checked: Rc::default(),
        }
    }

    /// Adds a cluster of the bootstrap.
    pub fn add_static(&self, message: &wire::Cluster) -> Result<(), Rejection> {
        let planned = self.environment.plan_message(message, cluster::plan)?;
        self.install(planned, true);
        Ok(())
    }

    /// Adds or updates a cluster as it came from the control plane.
    pub fn update(&self, resource: &Any) -> Result<(), Rejection> {
        let planned = self
            .environment
            .plan::<wire::Cluster, _>(resource, cluster::plan)?;
        let fixed = self
            .records
            .borrow()
            .get(&planned.plan.settings.name)
            .is_some_and(|record| record.fixed);
        // Envoy: a cluster of the bootstrap is not replaced by one that is discovered.
        if !fixed {
            self.install(planned, false);
        }
        Ok(())
    }

    /// Removes clusters that the control plane no longer has.
    pub fn remove(&self, names: &[Arc<str>]) {
        let mut records = self.records.borrow_mut();
        let mut left = Vec::new();
        for name in names {
            if records.get(name).is_some_and(|record| !record.fixed)
                && let Some(record) = records.remove(name)
            {
                record.end();
                record.checks.abort();
                record.live.cluster.retire();
                left.push(name.clone());
            }
        }
        drop(records);
        // Whoever needs them again asks for them again.
        let wanted = self.wanted_assignments();
        self.assignments
            .0
            .borrow_mut()
            .retain(|name, _| wanted.contains(name));
        self.environment.clusters.apply([], left);
    }

    /// Takes over an assignment; clusters that waited for it may be served from now on.
    pub fn assign(&self, resource: &Any) -> Result<(), Rejection> {
        let planned = self
            .environment
            .plan::<ClusterLoadAssignment, _>(resource, endpoint::plan)?;
        let endpoints = Arc::new(planned.plan);
        for record in self.records.borrow().values() {
            if discovered_by(&record.live.plan) == Some(&endpoints.cluster) {
                fill(&record.live, &endpoints);
            }
        }
        self.assignments
            .0
            .borrow_mut()
            .insert(endpoints.cluster.clone(), endpoints);
        self.warm();
        Ok(())
    }

    /// The names of the assignments that clusters need.
    pub fn wanted_assignments(&self) -> BTreeSet<Arc<str>> {
        let records = self.records.borrow();
        let plans = records.values().flat_map(|record| {
            let next = record.next.as_ref().map(|next| &next.plan);
            std::iter::once(&record.live.plan).chain(next)
        });
        plans
            .filter_map(|plan| discovered_by(plan))
            .cloned()
            .collect()
    }

    /// All clusters, by name.
    pub fn shown(&self) -> Vec<Shown> {
        let records = self.records.borrow();
        let shown = records.values().map(|record| Shown {
            live: record.live.clone(),
            fixed: record.fixed,
            served: record.served,
            warming: !record.served || record.next.is_some(),
        });
        shown.collect()
    }

    /// Names of clusters of which a version waits, and for what.
    pub fn waiting(&self) -> Vec<(Arc<str>, Vec<String>)> {
        let now = Instant::now();
        let records = self.records.borrow();
        let waiting = records.iter().filter_map(|(name, record)| {
            let warming = match &record.next {
                Some(next) => &next.warming,
                None if record.served => return None,
                None => &record.warming,
            };
            let mut missing: Vec<_> = warming
                .missing(&self.assignments, now)
                .map(Thing::describe)
                .collect();
            if missing.is_empty() {
                missing.push("first health checks".to_owned());
            }
            Some((name.clone(), missing))
        });
        waiting.collect()
    }

    /// Whether a cluster waits for more than secrets. Those may never come, and whoever needs none is not to wait for them.
    pub fn holds_listeners(&self) -> bool {
        let now = Instant::now();
        self.records.borrow().values().any(|record| {
            let warming = match &record.next {
                Some(next) => &next.warming,
                None if record.served => return false,
                None => &record.warming,
            };
            let mut missing = warming.missing(&self.assignments, now).peekable();
            // Nothing missing: the first health checks are.
            missing.peek().is_none() || missing.any(|thing| !thing.is_secret())
        })
    }

    /// What of the accepted clusters is not served, with their names.
    pub fn findings(&self) -> Vec<(Arc<str>, Finding)> {
        let records = self.records.borrow();
        let findings = records.iter().flat_map(|(name, record)| {
            record
                .findings
                .iter()
                .map(|finding| (name.clone(), finding.clone()))
        });
        findings.collect()
    }

    /// When the next wait of a cluster ends in vain.
    pub fn next_end(&self) -> Option<Instant> {
        let now = Instant::now();
        let records = self.records.borrow();
        let ends = records.values().filter_map(|record| match &record.next {
            Some(next) => next.warming.next_end(&self.assignments, now),
            None if record.served => None,
            None => record.warming.next_end(&self.assignments, now),
        });
        ends.min()
    }

    /// Waits until a cluster that may serve after its first health checks had them.
    pub async fn checked(&self) {
        self.checked.notified().await;
    }

    /// Lets versions serve for which everything has come, or was waited for long enough.
    pub fn warm(&self) {
        let now = Instant::now();
        let mut arrived = Vec::new();
        for record in self.records.borrow_mut().values_mut() {
            if let Some(next) = record.next.take_if(|next| {
                next.warming
                    .missing(&self.assignments, now)
                    .next()
                    .is_none()
            }) {
                self.replace(record, next.plan, next.findings);
                arrived.push(record.live.clone());
            } else if !record.served && self.is_warm(record, now) {
                record.served = true;
                arrived.push(record.live.clone());
            }
        }
        if !arrived.is_empty() {
            self.environment.clusters.apply(arrived, []);
        }
    }

    fn is_warm(&self, record: &Record, now: Instant) -> bool {
        if is_refused(&record.live.plan) {
            return true;
        }
        if record
            .warming
            .missing(&self.assignments, now)
            .next()
            .is_some()
        {
            return false;
        }
        let cluster = &record.live.cluster;
        let discovered = discovered_by(&record.live.plan);
        let unassigned = discovered.is_some() && !cluster.is_assigned();
        // Without endpoints there is nothing to check.
        unassigned || cluster.settings().health_checks.is_empty() || cluster.is_initialized()
    }

    fn install(&self, planned: Planned<ClusterPlan>, fixed: bool) {
        let now = Instant::now();
        let plan = Arc::new(planned.plan);
        let warming = Warming::new(planned.needs, now);
        let name = plan.settings.name.clone();
        let mut records = self.records.borrow_mut();
        match records.get_mut(&name) {
            Some(record) if record.served => {
                record.next = Some(Next {
                    plan,
                    findings: planned.findings,
                    warming,
                });
            }
            Some(record) => {
                self.replace(record, plan, planned.findings);
                record.warming = warming;
            }
            None => {
                let cluster = Cluster::new(plan.settings.clone(), now);
                let checks = self.check(&cluster);
                let live = Arc::new(LiveCluster { cluster, plan });
                let tasks = self.begin(&live);
                let record = Record {
                    live,
                    warming,
                    fixed,
                    served: false,
                    findings: planned.findings,
                    tasks,
                    checks,
                    next: None,
                };
                records.insert(name, record);
            }
        }
        drop(records);
        self.warm();
    }

    /// Puts another version in place: hosts, health and connections stay.
    fn replace(&self, record: &mut Record, plan: Arc<ClusterPlan>, findings: Vec<Finding>) {
        record.end();
        let cluster = record.live.cluster.clone();
        cluster.update_settings(plan.settings.clone(), Instant::now());
        record.live = Arc::new(LiveCluster { cluster, plan });
        record.findings = findings;
        record.tasks = self.begin(&record.live);
    }

    /// Fills a version with the endpoints that are known, and starts what keeps it current.
    fn begin(&self, live: &Arc<LiveCluster>) -> Vec<JoinHandle<()>> {
        let now = Instant::now();
        let name = live.cluster.name();
        let mut tasks = vec![supervise(&live.cluster)];
        match (
            discovered_by(&live.plan),
            &live.plan.endpoints,
            &live.plan.settings.discovery,
        ) {
            // Nothing may reach its hosts: without any it answers "no healthy upstream".
            _ if is_refused(&live.plan) => {
                tracing::warn!(cluster = %name, "its hosts are not used: something of it is not served");
                live.cluster
                    .update_endpoints(Assignment::of(Vec::new()), now);
            }
            (Some(service), _, _) => {
                // An update with the same service keeps the endpoints it has: istiod need not repeat them.
                if let Some(known) = self.assignments.0.borrow().get(service) {
                    fill(live, known);
                }
            }
            (None, Some(endpoints), Discovery::Dns(settings)) => {
                let named = endpoints.named(&live.plan.matches, live.plan.fallback);
                let policy = endpoints.assignment(&[], live.plan.fallback);
                let names =
                    dns::Names::new(settings.clone(), named, policy, now, fastrand::u64(..));
                tasks.push(resolve(&live.cluster, names));
            }
            (None, Some(endpoints), _) => fill(live, endpoints),
            (None, None, Discovery::OriginalDestination { .. }) => {
                tasks.push(forget_destinations(&live.cluster));
            }
            (None, None, _) => {
                live.cluster
                    .update_endpoints(Assignment::of(Vec::new()), now);
            }
        }
        tasks
    }

    /// Checks its hosts, and tells when the first checks are over.
    fn check(&self, cluster: &Arc<Cluster>) -> JoinHandle<()> {
        let (cluster, told) = (cluster.clone(), self.checked.clone());
        tokio::task::spawn_local(async move {
            let initialized = async {
                cluster.wait_initialized().await;
                told.notify_one();
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = checks::run(cluster.clone()) => {}
                () = initialized => {}
            }
        })
    }
}

impl Known for Assignments {
    fn has(&self, thing: &Thing) -> bool {
        matches!(thing, Thing::Endpoints(name) if self.0.borrow().contains_key(name))
    }
}

impl Record {
    fn end(&self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// The name of the assignment that a cluster needs.
fn discovered_by(plan: &ClusterPlan) -> Option<&Arc<str>> {
    plan.discovery.as_ref().map(|source| &source.name)
}

/// Whether its hosts must not be reached: a part of it, or one of its transports, was not understood.
fn is_refused(plan: &ClusterPlan) -> bool {
    let refused = |transport: &TransportPlan| matches!(transport.kind, Upstream::Refuse(_));
    plan.refuse.is_some() || plan.transports.iter().any(refused)
}

fn fill(live: &LiveCluster, endpoints: &EndpointsPlan) {
    if is_refused(&live.plan) {
        return;
    }
    let assignment = endpoints.assignment(&live.plan.matches, live.plan.fallback);
    live.cluster.update_endpoints(assignment, Instant::now());
}

/// Judges failures and brings ejected hosts back.
fn supervise(cluster: &Arc<Cluster>) -> JoinHandle<()> {
    let cluster = cluster.clone();
    tokio::task::spawn_local(async move { cluster.supervise().await })
}

/// Keeps the addresses of names current.
fn resolve(cluster: &Arc<Cluster>, names: dns::Names) -> JoinHandle<()> {
    let cluster = cluster.clone();
    tokio::task::spawn_local(async move { dns::run(&cluster, names, &SystemResolver).await })
}

/// Forgets hosts by original destination that nobody used for an interval.
fn forget_destinations(cluster: &Arc<Cluster>) -> JoinHandle<()> {
    let cluster = cluster.clone();
    tokio::task::spawn_local(async move {
        loop {
            let Discovery::OriginalDestination { cleanup_interval } = cluster.settings().discovery
            else {
                return;
            };
            tokio::time::sleep(cleanup_interval).await;
            cluster.originals().sweep(cluster.stats());
        }
    })
}
