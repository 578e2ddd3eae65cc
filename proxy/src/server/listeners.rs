//! Listeners and routes as they arrive: planned, warmed until their routes and secrets are known, bound, replaced.
//!
//! Sockets belong to addresses and outlive configuration: a listener that changes keeps its sockets, its
//! connections finish on what they began with.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwapOption;
use carbyne_engine::net::Address;
use carbyne_engine::net::listen::ListenOptions;
use carbyne_engine::runtime::{Listening, Workers};
use carbyne_protos::envoy::config::core::v3::TrafficDirection;
use carbyne_protos::envoy::config::listener::v3 as wire;
use carbyne_protos::envoy::config::route::v3::RouteConfiguration;
use carbyne_protos::prost_types::Any;
use rustc_hash::FxHashMap;

use super::compile::{Compiled, Compiler};
use super::connection::Entrance;
use super::listener::{LiveListener, Unbound};
use crate::live::route::RouteTable;
use crate::live::warming::{Known, Thing, Warming};
use crate::plan::error::{Fault, Finding, PlanError, Rejection};
use crate::plan::{Environment, Planned, listener, route};

/// A route configuration's place, filled when it arrives and swapped when it changes.
pub type RouteSlot = Arc<ArcSwapOption<RouteTable>>;

/// Every listener that was accepted, and the route configurations that they need.
#[derive(Debug)]
pub struct ListenerManager {
    environment: Environment,
    workers: Arc<Workers>,
    compiler: Compiler,
    records: RefCell<BTreeMap<Arc<str>, Record>>,
    routes: Routes,
    route_findings: RefCell<BTreeMap<Arc<str>, Vec<Finding>>>,
    unbound: Arc<Unbound>,
}

/// The places of route configurations, by name.
#[derive(Debug, Default)]
struct Routes(RefCell<BTreeMap<Arc<str>, RouteSlot>>);

#[derive(Debug)]
struct Record {
    /// What connections meet; shared with the sockets.
    cell: Arc<ArcSwapOption<LiveListener>>,
    /// What serves.
    active: Option<Arc<LiveListener>>,
    /// What may have been missing when it began to serve: a first version waits for secrets only where it has no plaintext chain.
    unmet: Option<Warming>,
    /// What waits for its routes and secrets.
    next: Option<(Compiled, Warming)>,
    addresses: Vec<Address>,
    sockets: Vec<Listening>,
    options: ListenOptions,
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
    pub fn new(environment: Environment, workers: Arc<Workers>, compiler: Compiler) -> Self {
        Self {
            environment,
            workers,
            compiler,
            records: RefCell::default(),
            routes: Routes::default(),
            route_findings: RefCell::default(),
            unbound: Arc::default(),
        }
    }

    /// Adds a listener of the bootstrap; its errors stop the program.
    pub fn add_static(&self, message: &wire::Listener) -> Result<(), Rejection> {
        let planned = self.environment.plan_message(message, listener::plan)?;
        self.install(planned, true)
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
        self.install(planned, false)
    }

    /// Removes listeners that the control plane no longer has; their connections are told to finish.
    pub fn remove(&self, names: &[Arc<str>]) {
        let mut records = self.records.borrow_mut();
        for name in names {
            if records.get(name).is_some_and(|record| !record.fixed)
                && let Some(record) = records.remove(name)
            {
                record.end();
            }
        }
        drop(records);
        self.publish_unbound();
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
            let next = record.next.as_ref().map(|(next, _)| &next.routes);
            let active = record.active.as_ref().map(|active| &active.routes);
            for names in next.into_iter().chain(active) {
                wanted.extend(names.iter().cloned());
            }
        }
        wanted
    }

    /// The place of a route configuration.
    pub fn route_slot(&self, name: &Arc<str>) -> RouteSlot {
        let mut routes = self.routes.0.borrow_mut();
        routes.entry(name.clone()).or_default().clone()
    }

    /// All listeners that serve, by name.
    pub fn shown(&self) -> Vec<Shown> {
        let records = self.records.borrow();
        let shown = records.values().filter_map(|record| {
            Some(Shown {
                live: record.active.clone()?,
                addresses: record
                    .sockets
                    .iter()
                    .map(|socket| socket.address().clone())
                    .collect(),
                fixed: record.fixed,
                direction: record.direction,
            })
        });
        shown.collect()
    }

    /// Names of listeners that wait, or that serve only in part, and what has not come.
    pub fn waiting(&self) -> Vec<(Arc<str>, Vec<String>)> {
        let now = Instant::now();
        let records = self.records.borrow();
        let waiting = records.iter().filter_map(|(name, record)| {
            let next = record.next.as_ref().map(|(_, warming)| warming);
            let warming = next.or(record.unmet.as_ref())?;
            let missing = warming.missing(&self.routes, now).map(Thing::describe);
            Some((name.clone(), missing.collect()))
        });
        waiting
            .filter(|(_, missing): &(_, Vec<_>)| !missing.is_empty())
            .collect()
    }

    /// Names of listeners of which a version waits.
    pub fn warming(&self) -> Vec<Arc<str>> {
        let records = self.records.borrow();
        let warming = records.iter().filter(|(_, record)| record.next.is_some());
        warming.map(|(name, _)| name.clone()).collect()
    }

    /// When the next wait of a listener ends in vain.
    pub fn next_end(&self) -> Option<Instant> {
        let now = Instant::now();
        let records = self.records.borrow();
        let ends = records.values().filter_map(|record| {
            let (_, warming) = record.next.as_ref()?;
            warming.next_end(&self.routes, now)
        });
        ends.min()
    }

    /// What of the accepted listeners and routes is not served, with their names.
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
        for (name, findings) in self.route_findings.borrow().iter() {
            all.extend(
                findings
                    .iter()
                    .map(|finding| (name.clone(), finding.clone())),
            );
        }
        all
    }

    /// Tells connections to finish: of all listeners, or of those for inbound traffic.
    pub fn drain(&self, inbound_only: bool) {
        for record in self.records.borrow().values() {
            if (!inbound_only || record.direction == TrafficDirection::Inbound)
                && let Some(active) = &record.active
            {
                active.drain.start();
            }
        }
    }

    /// Closes the sockets of listeners that drain.
    pub fn close_drained(&self) {
        for record in self.records.borrow_mut().values_mut() {
            if record
                .active
                .as_ref()
                .is_some_and(|active| active.drain.is_started())
            {
                record.sockets.clear();
            }
        }
    }

    fn install(
        &self,
        planned: Planned<listener::ListenerPlan>,
        fixed: bool,
    ) -> Result<(), Rejection> {
        let Planned {
            plan,
            findings,
            needs,
        } = planned;
        let name = plan.name.clone();
        let addresses: Vec<_> = std::iter::once(plan.address.clone())
            .chain(plan.additional_addresses.iter().cloned())
            .collect();
        let options = ListenOptions {
            reuse_port: plan.reuse_port && !plan.exact_balance,
            transparent: plan.transparent,
            ipv4_compat: plan.ipv4_compat,
            backlog: plan
                .backlog
                .and_then(|backlog| i32::try_from(backlog).ok())
                .unwrap_or_else(|| ListenOptions::default().backlog),
        };
        let bound = plan.bind_to_port;
        let direction = plan.direction;
        let compiled = self.compiler.compile(plan, |name| self.route_slot(name))?;
        let mut records = self.records.borrow_mut();
        let record = records.entry(name).or_insert_with(|| Record {
            cell: Arc::default(),
            active: None,
            unmet: None,
            next: None,
            addresses: Vec::new(),
            sockets: Vec::new(),
            options,
            bound,
            fixed,
            direction,
            findings: Vec::new(),
        });
        if record.addresses != addresses || record.bound != bound {
            // Envoy: a listener's address may change only with its name; new sockets are opened first.
            record.sockets.clear();
        }
        record.addresses = addresses;
        record.options = options;
        record.bound = bound;
        record.direction = direction;
        record.findings = findings;
        record.next = Some((compiled, Warming::new(needs, Instant::now())));
        drop(records);
        self.warm()
    }

    /// Lets versions serve for which everything has come, or was waited for long enough.
    pub fn warm(&self) -> Result<(), Rejection> {
        let now = Instant::now();
        let mut failed = None;
        for record in self.records.borrow_mut().values_mut() {
            let Some((compiled, warming)) = record.next.take_if(|next| {
                record.active.is_none() && self.serves_in_part(next, now) || self.is_warm(next, now)
            }) else {
                continue;
            };
            if record.bound && record.sockets.is_empty() {
                match self.open(record) {
                    Ok(sockets) => record.sockets = sockets,
                    Err(error) => {
                        failed = Some(error);
                        continue;
                    }
                }
            }
            let live = Arc::new(compiled.listener);
            record.unmet = Some(warming);
            record.cell.store(Some(live.clone()));
            if let Some(old) = record.active.replace(live) {
                // Its connections finish: HTTP closes after the request at hand, streams go on.
                old.drain.start();
            }
        }
        self.publish_unbound();
        match failed {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn is_warm(&self, (_, warming): &(Compiled, Warming), now: Instant) -> bool {
        warming.missing(&self.routes, now).next().is_none()
    }

    /// Whether only secrets are missing and a chain needs none: as the first of its name it serves that chain, where Envoy would not listen
    /// at all; connections to the others are closed until the secrets come.
    fn serves_in_part(&self, (compiled, warming): &(Compiled, Warming), now: Instant) -> bool {
        let chains = &compiled.listener.chains;
        chains.iter().any(|chain| chain.tls.is_none())
            && warming.missing(&self.routes, now).all(Thing::is_secret)
    }

    fn open(&self, record: &Record) -> Result<Vec<Listening>, Rejection> {
        let open = |address: &Address| -> Result<Listening, (io::Error, Address)> {
            let entrance = Entrance {
                live: record.cell.clone(),
                unbound: self.unbound.clone(),
            };
            self.workers
                .listen(address, record.options, Arc::new(entrance))
                .map_err(|error| (error, address.clone()))
        };
        let opened: Result<Vec<_>, _> = record.addresses.iter().map(open).collect();
        opened.map_err(|(error, address)| {
            let words = format!("cannot listen on {address}: {error}");
            Rejection {
                errors: vec![PlanError {
                    path: "address".to_owned(),
                    fault: Fault::System(words),
                }],
            }
        })
    }

    fn publish_unbound(&self) {
        let mut map: FxHashMap<SocketAddr, Arc<ArcSwapOption<LiveListener>>> = FxHashMap::default();
        for record in self
            .records
            .borrow()
            .values()
            .filter(|record| !record.bound)
        {
            for address in record.addresses.iter().filter_map(Address::socket) {
                map.insert(address, record.cell.clone());
            }
        }
        self.unbound.replace(map);
    }
}

impl Known for Routes {
    fn has(&self, thing: &Thing) -> bool {
        let Thing::Routes(name) = thing else {
            return false;
        };
        let routes = self.0.borrow();
        routes.get(name).is_some_and(|slot| slot.load().is_some())
    }
}

impl Record {
    fn end(&self) {
        self.cell.store(None);
        if let Some(active) = &self.active {
            active.drain.start();
        }
    }
}
