//! Clusters as they arrive: planned, warmed until their endpoints are known, served, updated in place.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use carbyne_engine::cluster::dns::{self, SystemResolver};
use carbyne_engine::cluster::settings::Discovery;
use carbyne_engine::cluster::{Assignment, Cluster};
use carbyne_protos::envoy::config::cluster::v3 as wire;
use carbyne_protos::envoy::config::endpoint::v3::ClusterLoadAssignment;
use carbyne_protos::prost_types::Any;
use tokio::task::JoinHandle;

use crate::live::clusters::LiveCluster;
use crate::plan::cluster::{ClusterPlan, TransportPlan};
use crate::plan::endpoint::EndpointsPlan;
use crate::plan::error::{Finding, Rejection};
use crate::plan::tls::Upstream;
use crate::plan::{Environment, cluster, endpoint};

/// Every cluster that was accepted, served or warming.
#[derive(Debug)]
pub struct ClusterManager {
    environment: Environment,
    records: RefCell<BTreeMap<Arc<str>, Record>>,
    /// Assignments by the name under which they are asked for; they may come before their cluster changes.
    assignments: RefCell<BTreeMap<Arc<str>, Arc<EndpointsPlan>>>,
}

#[derive(Debug)]
struct Record {
    live: Arc<LiveCluster>,
    /// Whether it came with the bootstrap: such a one is never removed.
    fixed: bool,
    /// Whether routes can reach it.
    served: bool,
    findings: Vec<Finding>,
    tasks: Vec<JoinHandle<()>>,
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
}

impl ClusterManager {
    /// No clusters.
    pub fn new(environment: Environment) -> Self {
        Self {
            environment,
            records: RefCell::default(),
            assignments: RefCell::default(),
        }
    }

    /// Adds a cluster of the bootstrap.
    pub fn add_static(&self, message: &wire::Cluster) -> Result<(), Rejection> {
        let planned = self.environment.plan_message(message, cluster::plan)?;
        self.install(Arc::new(planned.plan), planned.findings, true);
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
            self.install(Arc::new(planned.plan), planned.findings, false);
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
                record.live.cluster.retire();
                left.push(name.clone());
            }
        }
        drop(records);
        // Whoever needs them again asks for them again.
        let wanted = self.wanted_assignments();
        self.assignments
            .borrow_mut()
            .retain(|name, _| wanted.contains(name));
        self.environment.clusters.apply([], left);
    }

    /// Takes over an assignment; clusters that waited for it are served from now on.
    pub fn assign(&self, resource: &Any) -> Result<(), Rejection> {
        let planned = self
            .environment
            .plan::<ClusterLoadAssignment, _>(resource, endpoint::plan)?;
        let endpoints = Arc::new(planned.plan);
        let waiting: Vec<_> = self
            .records
            .borrow()
            .values()
            .filter(|record| discovered_by(&record.live.plan) == Some(&endpoints.cluster))
            .map(|record| record.live.clone())
            .collect();
        for live in &waiting {
            fill(live, &endpoints);
        }
        self.assignments
            .borrow_mut()
            .insert(endpoints.cluster.clone(), endpoints);
        self.serve(waiting);
        Ok(())
    }

    /// The names of the assignments that clusters need.
    pub fn wanted_assignments(&self) -> BTreeSet<Arc<str>> {
        let records = self.records.borrow();
        let names = records
            .values()
            .filter_map(|record| discovered_by(&record.live.plan));
        names.cloned().collect()
    }

    /// All clusters, by name.
    pub fn shown(&self) -> Vec<Shown> {
        let records = self.records.borrow();
        let shown = records.values().map(|record| Shown {
            live: record.live.clone(),
            fixed: record.fixed,
            served: record.served,
        });
        shown.collect()
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

    fn install(&self, plan: Arc<ClusterPlan>, findings: Vec<Finding>, fixed: bool) {
        let name = plan.settings.name.clone();
        let now = Instant::now();
        let old = self.records.borrow_mut().remove(&name);
        let (cluster, served) = match &old {
            Some(old) => {
                old.live.cluster.update_settings(plan.settings.clone(), now);
                (old.live.cluster.clone(), old.served)
            }
            None => (Cluster::new(plan.settings.clone(), now), false),
        };
        if let Some(old) = old {
            old.end();
        }
        let live = Arc::new(LiveCluster { cluster, plan });
        let mut tasks = vec![supervise(&live.cluster)];
        let mut ready = served;
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
                ready = true;
            }
            (Some(service), _, _) => {
                // An update with the same service keeps the endpoints it has: istiod need not repeat them.
                if let Some(known) = self.assignments.borrow().get(service) {
                    fill(&live, known);
                    ready = true;
                }
            }
            (None, Some(endpoints), Discovery::Dns(settings)) => {
                let named = endpoints.named(&live.plan.matches, live.plan.fallback);
                let policy = endpoints.assignment(&[], live.plan.fallback);
                let names =
                    dns::Names::new(settings.clone(), named, policy, now, fastrand::u64(..));
                tasks.push(resolve(&live.cluster, names));
                ready = true;
            }
            (None, Some(endpoints), _) => {
                fill(&live, endpoints);
                ready = true;
            }
            (None, None, Discovery::OriginalDestination { .. }) => {
                tasks.push(forget_destinations(&live.cluster));
                ready = true;
            }
            (None, None, _) => ready = true,
        }
        self.records.borrow_mut().insert(
            name,
            Record {
                live: live.clone(),
                fixed,
                served: ready,
                findings,
                tasks,
            },
        );
        if ready {
            self.environment.clusters.apply([live], []);
        }
    }

    fn serve(&self, arrived: Vec<Arc<LiveCluster>>) {
        let mut records = self.records.borrow_mut();
        for live in &arrived {
            if let Some(record) = records.get_mut(live.cluster.name()) {
                record.served = true;
            }
        }
        drop(records);
        self.environment.clusters.apply(arrived, []);
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
