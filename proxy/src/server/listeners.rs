//! Listeners and routes as they arrive: planned, warmed until their routes are known, bound, replaced.
//!
//! Sockets belong to addresses and outlive configuration ([`Sockets`]): a listener that changes keeps its sockets, and the
//! connections of chains that did not change. Those of other chains finish on what they began with.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use carbyne_engine::net::Address;
use carbyne_engine::net::listen::ListenOptions;
use carbyne_engine::runtime::{Drain, Workers};
use carbyne_protos::envoy::config::core::v3::TrafficDirection;
use carbyne_protos::envoy::config::listener::v3 as wire;
use carbyne_protos::envoy::config::route::v3::RouteConfiguration;
use carbyne_protos::prost_types::Any;
use rustc_hash::FxHashMap;

use super::compile::{Compiled, Compiler};
use super::listener::{LiveListener, Unbound};
use super::sockets::{ClaimError, Sockets};
use crate::live::route::RouteTable;
use crate::plan::error::{Fault, Finding, PlanError, Rejection};
use crate::plan::{Environment, listener, route};

/// A route configuration's place, filled when it arrives and swapped when it changes.
pub type RouteSlot = Arc<ArcSwapOption<RouteTable>>;

/// Every listener that was accepted, and the route configurations that they need.
#[derive(Debug)]
pub struct ListenerManager {
    environment: Environment,
    compiler: Compiler,
    /// How long connections may take to finish before those that idle are closed.
    drain_time: Duration,
    sockets: RefCell<Sockets>,
    records: RefCell<BTreeMap<Arc<str>, Record>>,
    routes: RefCell<BTreeMap<Arc<str>, RouteSlot>>,
    route_findings: RefCell<BTreeMap<Arc<str>, Vec<Finding>>>,
    unbound: Arc<Unbound>,
    /// What connections still finish on, of listeners and chains that were replaced or removed.
    draining: RefCell<Vec<Weak<Drain>>>,
    /// Nothing is to be opened any more.
    ending: Cell<bool>,
}

#[derive(Debug)]
struct Record {
    /// What serves.
    active: Option<Arc<LiveListener>>,
    /// What waits for its routes.
    warming: Option<Compiled>,
    addresses: Vec<Address>,
    bound: bool,
    fixed: bool,
    direction: TrafficDirection,
    findings: Vec<Finding>,
}

/// A listener and what its owner may want to know.
#[derive(Clone, Debug)]
pub struct Shown {
    /// What serves.
    pub live: Arc<LiveListener>,
    /// The addresses that it is bound to.
    pub addresses: Vec<Address>,
    /// Whether it came with the bootstrap.
    pub fixed: bool,
    /// Which way its traffic goes.
    pub direction: TrafficDirection,
}

impl ListenerManager {
    /// No listeners.
    pub fn new(
        environment: Environment,
        workers: Arc<Workers>,
        compiler: Compiler,
        drain_time: Duration,
    ) -> Self {
        let unbound = Arc::<Unbound>::default();
        Self {
            environment,
            compiler,
            drain_time,
            sockets: RefCell::new(Sockets::new(workers, unbound.clone())),
            records: RefCell::default(),
            routes: RefCell::default(),
            route_findings: RefCell::default(),
            unbound,
            draining: RefCell::default(),
            ending: Cell::new(false),
        }
    }

    /// Adds a listener of the bootstrap; its errors stop the program.
    pub fn add_static(&self, message: &wire::Listener) -> Result<(), Rejection> {
        let planned = self.environment.plan_message(message, listener::plan)?;
        self.install(planned.plan, planned.findings, true)
    }

    /// Checks a listener of the bootstrap without binding anything (`--mode validate`).
    pub fn check_static(&self, message: &wire::Listener) -> Result<(), Rejection> {
        self.environment
            .plan_message(message, listener::plan)
            .map(|_| ())
    }

    /// Adds or updates a listener as it came from the control plane.
    pub fn update(&self, resource: &Any) -> Result<(), Rejection> {
        let planned = self
            .environment
            .plan::<wire::Listener, _>(resource, listener::plan)?;
        self.install(planned.plan, planned.findings, false)
    }

    /// Removes listeners that the control plane no longer has; their connections are told to finish. Their sockets
    /// stay open until [`ListenerManager::settle`], for listeners that take their places.
    pub fn remove(&self, names: &[Arc<str>]) {
        let mut records = self.records.borrow_mut();
        for name in names {
            if records.get(name).is_some_and(|record| !record.fixed)
                && let Some(record) = records.remove(name)
            {
                self.sockets.borrow_mut().leave(name);
                if let Some(active) = record.active {
                    self.drain_chains(active.chains.iter().map(|chain| &chain.drain));
                    self.drain_chains([&active.drain]);
                }
            }
        }
        drop(records);
        self.publish_unbound();
    }

    /// An update is complete: closes sockets that nobody took over, forgets routes that nobody needs. Whoever needs
    /// them again asks for them again.
    pub fn settle(&self) {
        self.sockets.borrow_mut().sweep();
        let wanted = self.wanted_routes();
        self.routes
            .borrow_mut()
            .retain(|name, _| wanted.contains(name));
        self.route_findings
            .borrow_mut()
            .retain(|name, _| wanted.contains(name));
    }

    /// Takes over a route configuration; listeners that waited for it serve from now on.
    pub fn update_routes(&self, resource: &Any) -> Result<(), Rejection> {
        let planned = self
            .environment
            .plan::<RouteConfiguration, _>(resource, route::plan)?;
        let table = planned.plan;
        let name = table.name.clone();
        self.route_findings
            .borrow_mut()
            .insert(name.clone(), planned.findings);
        self.route_slot(&name).store(Some(table));
        self.warm()
    }

    /// The names of the route configurations that listeners need.
    pub fn wanted_routes(&self) -> BTreeSet<Arc<str>> {
        let records = self.records.borrow();
        let mut wanted = BTreeSet::new();
        for record in records.values() {
            let warming = record.warming.as_ref().map(|warming| &warming.routes);
            let active = record.active.as_ref().map(|active| &active.routes);
            for names in warming.into_iter().chain(active) {
                wanted.extend(names.iter().cloned());
            }
        }
        wanted
    }

    /// The place of a route configuration.
    pub fn route_slot(&self, name: &Arc<str>) -> RouteSlot {
        let mut routes = self.routes.borrow_mut();
        routes.entry(name.clone()).or_default().clone()
    }

    /// All listeners that serve, by name.
    pub fn shown(&self) -> Vec<Shown> {
        let records = self.records.borrow();
        let sockets = self.sockets.borrow();
        let shown = records.iter().filter_map(|(name, record)| {
            Some(Shown {
                live: record.active.clone()?,
                addresses: sockets.of(name),
                fixed: record.fixed,
                direction: record.direction,
            })
        });
        shown.collect()
    }

    /// Names of listeners that wait, and of the route configurations that they wait for.
    pub fn waiting(&self) -> Vec<(Arc<str>, Vec<Arc<str>>)> {
        let records = self.records.borrow();
        let waiting = records.iter().filter_map(|(name, record)| {
            let warming = record.warming.as_ref()?;
            Some((name.clone(), self.missing(&warming.routes)))
        });
        waiting.collect()
    }

    /// What of the accepted listeners is not served, with their names.
    pub fn findings(&self) -> Vec<(Arc<str>, Finding)> {
        let mut all = Vec::new();
        for (name, record) in self.records.borrow().iter() {
            all.extend(
                record
                    .findings
                    .iter()
                    .map(|finding| (name.clone(), finding.clone())),
            );
        }
        all
    }

    /// What of the accepted route configurations is not served, with their names.
    pub fn route_findings(&self) -> Vec<(Arc<str>, Finding)> {
        let held = self.route_findings.borrow();
        let findings = held.iter().flat_map(|(name, findings)| {
            let findings = findings.iter();
            findings.map(|finding| (name.clone(), finding.clone()))
        });
        findings.collect()
    }

    /// Tells connections to finish: of all listeners, or of those for inbound traffic.
    pub fn drain(&self, inbound_only: bool) {
        for record in self.records.borrow().values() {
            if (!inbound_only || record.direction == TrafficDirection::Inbound)
                && let Some(active) = &record.active
            {
                active.start_drain();
            }
        }
    }

    /// Closes the sockets of listeners that drain, and their idle connections.
    pub fn close_drained(&self) {
        for (name, record) in self.records.borrow().iter() {
            if let Some(active) = &record.active
                && active.drain.is_started()
            {
                self.sockets.borrow_mut().close(name);
                active.finish_drain();
            }
        }
    }

    /// The process ends: every socket closes, every connection finishes, and nothing is opened any more.
    pub fn end(&self) {
        self.ending.set(true);
        self.drain(false);
        self.close_drained();
        for drain in self.draining.borrow().iter().filter_map(Weak::upgrade) {
            drain.finish();
        }
    }

    fn install(
        &self,
        plan: listener::ListenerPlan,
        findings: Vec<Finding>,
        fixed: bool,
    ) -> Result<(), Rejection> {
        let name = plan.name.clone();
        let addresses: Vec<_> = std::iter::once(plan.address.clone())
            .chain(plan.additional_addresses.iter().cloned())
            .collect();
        let options = ListenOptions {
            reuse_port: plan.reuse_port && !plan.exact_balance,
            transparent: plan.transparent,
            freebind: plan.freebind,
            ipv4_compat: plan.ipv4_compat,
            mode: plan.socket_mode,
            backlog: plan
                .backlog
                .and_then(|backlog| i32::try_from(backlog).ok())
                .unwrap_or_else(|| ListenOptions::default().backlog),
        };
        let bound = plan.bind_to_port;
        let direction = plan.direction;
        let mut records = self.records.borrow_mut();
        let old = records
            .get(&name)
            .and_then(|record| record.active.as_deref());
        let compiled = self
            .compiler
            .compile(plan, old, |name| self.route_slot(name))?;
        if bound && !self.ending.get() {
            // Before anything waits for it: an address that cannot be had is the fault of this resource.
            let mut sockets = self.sockets.borrow_mut();
            let claimed = sockets.claim(&name, &addresses, options);
            claimed.map_err(|error| not_had(&error))?;
        }
        let record = records.entry(name).or_insert_with(|| Record {
            active: None,
            warming: None,
            addresses: Vec::new(),
            bound,
            fixed,
            direction,
            findings: Vec::new(),
        });
        record.addresses = addresses;
        record.bound = bound;
        record.direction = direction;
        record.findings = findings;
        record.warming = Some(compiled);
        drop(records);
        self.warm()
    }

    /// Lets listeners serve whose routes are known.
    fn warm(&self) -> Result<(), Rejection> {
        let mut failed = None;
        for (name, record) in self.records.borrow_mut().iter_mut() {
            let ready = record
                .warming
                .as_ref()
                .is_some_and(|warming| self.missing(&warming.routes).is_empty());
            if !ready {
                continue;
            }
            let Some(warming) = record.warming.take() else {
                continue;
            };
            let live = Arc::new(warming.listener);
            if self.ending.get() {
                live.start_drain();
            } else {
                let addresses = if record.bound {
                    record.addresses.as_slice()
                } else {
                    &[]
                };
                if let Err(error) = self.sockets.borrow_mut().serve(name, addresses, &live) {
                    failed = Some(not_had(&error));
                    continue;
                }
            }
            if let Some(old) = record.active.replace(live.clone()) {
                let stays = |drain: &&Arc<Drain>| {
                    let mut kept = live.chains.iter();
                    kept.any(|chain| Arc::ptr_eq(&chain.drain, drain))
                };
                let drains = old.chains.iter().map(|chain| &chain.drain);
                self.drain_chains(drains.filter(|drain| !stays(drain)));
            }
        }
        self.publish_unbound();
        match failed {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Tells connections to finish, and those that still idle after the drain time to close.
    fn drain_chains<'a>(&self, drains: impl IntoIterator<Item = &'a Arc<Drain>>) {
        let mut watched = Vec::new();
        for drain in drains {
            drain.start();
            if drain.is_watched() {
                watched.push(drain.clone());
            }
        }
        if watched.is_empty() {
            return;
        }
        let mut draining = self.draining.borrow_mut();
        draining.retain(|drain| drain.strong_count() > 0);
        draining.extend(watched.iter().map(Arc::downgrade));
        let time = self.drain_time;
        tokio::task::spawn_local(async move {
            tokio::time::sleep(time).await;
            for drain in watched {
                drain.finish();
            }
        });
    }

    fn missing(&self, names: &BTreeSet<Arc<str>>) -> Vec<Arc<str>> {
        let routes = self.routes.borrow();
        names
            .iter()
            .filter(|name| routes.get(*name).is_none_or(|slot| slot.load().is_none()))
            .cloned()
            .collect()
    }

    fn publish_unbound(&self) {
        let mut map: FxHashMap<SocketAddr, Arc<LiveListener>> = FxHashMap::default();
        for record in self
            .records
            .borrow()
            .values()
            .filter(|record| !record.bound)
        {
            let Some(active) = &record.active else {
                continue;
            };
            for address in record.addresses.iter().filter_map(Address::socket) {
                map.insert(address, active.clone());
            }
        }
        self.unbound.replace(map);
    }
}

fn not_had(error: &ClaimError) -> Rejection {
    Rejection {
        errors: vec![PlanError {
            path: "address".to_owned(),
            fault: Fault::System(error.to_string()),
        }],
    }
}
