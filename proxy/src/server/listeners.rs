//! Listeners and routes as they arrive: planned, warmed until their routes and secrets are known, bound, replaced.
//!
//! Sockets belong to addresses and outlive configuration ([`Sockets`]): a listener that changes keeps its sockets, and the
//! connections of chains that did not change. Those of other chains finish on what they began with.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use carbyne_engine::net::Address;
use carbyne_engine::net::listen::ListenOptions;
use carbyne_engine::runtime::{Drain, Worker, Workers};
use carbyne_protos::envoy::config::core::v3::TrafficDirection;
use carbyne_protos::envoy::config::listener::v3 as wire;
use carbyne_protos::envoy::config::route::v3::RouteConfiguration;
use carbyne_protos::prost_types::Any;
use rustc_hash::FxHashMap;

use super::compile::{Compiled, Compiler};
use super::listener::{LiveListener, Terminal, Unbound};
use super::sockets::{ClaimError, Sockets};
use crate::filter::HttpFilter;
use crate::filter::jwt_authn::remote::RemoteKeys;
use crate::live::extensions::Extensions;
use crate::live::route::RouteTable;
use crate::live::warming::{Known, Thing, Warming};
use crate::plan::error::{Fault, Finding, PlanError, Rejection};
use crate::plan::filter::HttpFilterKind;
use crate::plan::{Environment, Planned, listener, route};

/// A route configuration's place, filled when it arrives and swapped when it changes.
pub type RouteSlot = Arc<ArcSwapOption<RouteTable>>;

/// Every listener that was accepted, and the route configurations that they need.
#[derive(Debug)]
pub struct ListenerManager {
    environment: Environment,
    /// For requests of its own.
    worker: Rc<Worker>,
    compiler: Compiler,
    /// How long connections may take to finish before those that idle are closed.
    drain_time: Duration,
    sockets: RefCell<Sockets>,
    records: RefCell<BTreeMap<Arc<str>, Record>>,
    routes: Routes,
    route_findings: RefCell<BTreeMap<Arc<str>, Vec<Finding>>>,
    unbound: Arc<Unbound>,
    /// What connections still finish on, of listeners and chains that were replaced or removed.
    draining: RefCell<Vec<Weak<Drain>>>,
    /// Nothing is to be opened any more.
    ending: Cell<bool>,
}

/// What listeners wait for beside secrets: the places of route configurations, by name, and filters by discovery.
#[derive(Debug)]
struct Routes(RefCell<BTreeMap<Arc<str>, RouteSlot>>, Arc<Extensions>);

#[derive(Debug)]
struct Record {
    /// What serves.
    active: Option<Arc<LiveListener>>,
    /// What may have been missing when it began to serve: a first version waits for secrets only where it has no plaintext chain.
    unmet: Option<Warming>,
    /// What waits for its routes and secrets.
    next: Option<(Compiled, Warming)>,
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
        worker: Rc<Worker>,
        workers: Arc<Workers>,
        compiler: Compiler,
        drain_time: Duration,
    ) -> Self {
        let unbound = Arc::<Unbound>::default();
        let extensions = environment.extensions.clone();
        Self {
            environment,
            worker,
            compiler,
            drain_time,
            sockets: RefCell::new(Sockets::new(workers, unbound.clone())),
            records: RefCell::default(),
            routes: Routes(RefCell::default(), extensions),
            route_findings: RefCell::default(),
            unbound,
            draining: RefCell::default(),
            ending: Cell::new(false),
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
            .0
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
        self.fetch_keys(&compiled);
        let record = records.entry(name).or_insert_with(|| Record {
            active: None,
            unmet: None,
            next: None,
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
        record.next = Some((compiled, Warming::new(needs, Instant::now())));
        drop(records);
        self.warm()
    }

    /// Lets versions serve for which everything has come, or was waited for long enough.
    pub fn warm(&self) -> Result<(), Rejection> {
        let now = Instant::now();
        let mut failed = None;
        for (name, record) in self.records.borrow_mut().iter_mut() {
            let first = record.active.is_none();
            let ready = |(compiled, warming): &mut (Compiled, Warming)| {
                warming.missing(&self.routes, now).next().is_none()
                    || first && self.serves_in_part(compiled, warming, now)
            };
            let Some((compiled, warming)) = record.next.take_if(ready) else {
                continue;
            };
            record.unmet = Some(warming);
            let live = Arc::new(compiled.listener);
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

    /// Keys of token issuers that are to be there before a token asks for them.
    fn fetch_keys(&self, compiled: &Compiled) {
        let managers = compiled.listener.chains.iter();
        let managers = managers.filter_map(|chain| match &chain.terminal {
            Terminal::Http(manager, _) => Some(manager),
            Terminal::Tcp(_) | Terminal::Refuse(_) => None,
        });
        for filter in managers.flat_map(|manager| &manager.plan.filters) {
            let HttpFilterKind::Traffic(filter) = &filter.kind else {
                continue;
            };
            let HttpFilter::JwtAuthn(filter) = &**filter else {
                continue;
            };
            for keys in filter.remote_keys().filter(|keys| keys.wants_refresh()) {
                let keys = Arc::downgrade(keys);
                let (clusters, worker) = (self.environment.clusters.clone(), self.worker.clone());
                tokio::task::spawn_local(async move {
                    RemoteKeys::keep_fresh(keys, &*clusters, &worker).await;
                });
            }
        }
    }

    /// Whether only secrets are missing and a chain needs none: as the first of its name it serves that chain, where Envoy would not listen
    /// at all; connections to the others are closed until the secrets come.
    fn serves_in_part(&self, compiled: &Compiled, warming: &Warming, now: Instant) -> bool {
        let chains = &compiled.listener.chains;
        chains.iter().any(|chain| chain.tls.is_none())
            && warming.missing(&self.routes, now).all(Thing::is_secret)
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

impl Known for Routes {
    fn has(&self, thing: &Thing) -> bool {
        match thing {
            Thing::Routes(name) => {
                let routes = self.0.borrow();
                routes.get(name).is_some_and(|slot| slot.load().is_some())
            }
            Thing::Extension(name) => self.1.has(name),
            _ => false,
        }
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
