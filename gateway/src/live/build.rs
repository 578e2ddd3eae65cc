//! Plans into a snapshot. What did not change is taken over from the one before.

use std::sync::{Arc, OnceLock};

use carbyne_engine::runtime::background::give_way;
use carbyne_engine::tls::{
    AlpnList, ClientCertificate, ClientTls, ClientTlsPlan, IdentitySlot, PeerRules, Resumption,
    ServerIdentity, ServerNames, ServerTls, ServerTlsPlan, TlsParameters, Trust, TrustSlot,
};
use rustc_hash::FxHashMap;

use super::chain::{ByConsumer, Chain, Slot};
use super::entities::Entities;
use super::route::{Compiled, LiveRoute, LiveService, Routes};
use super::{Snapshot, Tls};
use crate::balance::{Planned, Secrets};
use crate::node::Node;
use crate::plan::service::Service;
use crate::plugin::instance::Instance;
use crate::proxy::upstream::{Transports, Upstream};

/// What one snapshot leaves to the next.
#[derive(Debug, Default)]
pub struct Builder {
    services: FxHashMap<Arc<str>, Arc<LiveService>>,
    chains: FxHashMap<Place, Arc<Chain>>,
    by_scope: Scopes,
    routes: Arc<Routes>,
    global: Arc<Chain>,
    tls: Option<Arc<Tls>>,
    transports: Transports,
}

/// Where a chain is: the route where it has plugins of its own, and the service where that has.
type Place = (Option<Box<str>>, Option<Box<str>>);

/// Instances by the route and service that they are for.
#[derive(Debug, Default)]
struct Scopes {
    by_place: FxHashMap<Place, Vec<Arc<Instance>>>,
    /// Of each plugin those for a consumer alone.
    consumers: FxHashMap<&'static str, Arc<ByConsumer>>,
    /// Routes and services that instances name.
    routes: FxHashMap<Box<str>, ()>,
    services: FxHashMap<Box<str>, ()>,
}

impl Builder {
    /// A snapshot of what is planned now.
    pub fn build(&mut self, entities: &mut Entities, node: &Arc<Node>, version: u64) -> Snapshot {
        let changed = std::mem::take(&mut entities.changed);
        if changed.upstreams || changed.certificates {
            node.balancers.update(upstreams(entities, node));
        }
        if changed.services || changed.upstreams || changed.certificates {
            let borrowed = changed.certificates || changed.upstreams || changed.authorities;
            self.build_services(entities, node, borrowed);
        }
        if changed.plugins {
            self.by_scope = Scopes::of(entities);
            self.chains.clear();
            self.global = self.chain((None, None));
        }
        if changed.routes
            || changed.services
            || changed.upstreams
            || changed.certificates
            || changed.plugins
        {
            self.build_routes(entities, node);
        }
        if changed.certificates || self.tls.is_none() {
            self.tls = server_tls(entities, node);
        }
        self.snapshot(version)
    }

    /// Routes that a router waits to be compiled of, where some are only laid over the one that there is.
    pub fn waiting(&self) -> Option<Arc<Routes>> {
        (self.routes.changes() > 0).then(|| self.routes.clone())
    }

    /// Takes a router that was compiled meanwhile.
    pub fn adopt(&mut self, compiled: Compiled, version: u64) -> Snapshot {
        self.routes = Arc::new(self.routes.over(compiled));
        self.snapshot(version)
    }

    fn snapshot(&self, version: u64) -> Snapshot {
        Snapshot {
            version,
            routes: self.routes.clone(),
            global: self.global.clone(),
            tls: self.tls.clone(),
        }
    }

    /// `borrowed` says that certificates or authorities changed, or whose they are: services with TLS are made anew.
    fn build_services(&mut self, entities: &Entities, node: &Arc<Node>, borrowed: bool) {
        let before = std::mem::take(&mut self.services);
        for (id, kept) in &entities.services {
            give_way();
            let plan = &kept.plan;
            let upstream = node.balancers.upstream(&plan.host);
            let same = before.get(id).filter(|before| {
                Arc::ptr_eq(&before.plan, plan)
                    && before.upstream.is_over(upstream.as_ref())
                    && !(borrowed && plan.is_secure())
            });
            let live = match same {
                Some(same) => same.clone(),
                None => {
                    let tls = plan.is_secure().then(|| client_tls(plan, entities, node));
                    let tls = tls.flatten();
                    let transports = &mut self.transports;
                    let keepalive = node.settings.keepalive;
                    Arc::new(LiveService {
                        plan: plan.clone(),
                        upstream: Upstream::new(plan, upstream, tls, transports, keepalive),
                        json: kept.json.clone(),
                    })
                }
            };
            self.services.insert(id.clone(), live);
        }
    }

    fn build_routes(&mut self, entities: &Entities, node: &Node) {
        let mut all = vec![None; entities.slots()];
        for (slot, kept) in entities.routes.values() {
            give_way();
            let plan = &kept.plan;
            if plan.is_stream() {
                continue;
            }
            let service = match &plan.service {
                None => None,
                Some(id) => match self.services.get(&**id) {
                    Some(service) if service.plan.enabled => Some(service.clone()),
                    // Not enabled, or not planned: its routes do not exist.
                    _ => continue,
                },
            };
            let named = |id: Option<&str>, names: &FxHashMap<Box<str>, ()>| {
                id.filter(|id| names.contains_key(*id)).map(Box::from)
            };
            let place = (
                named(Some(&plan.id), &self.by_scope.routes),
                named(plan.service.as_deref(), &self.by_scope.services),
            );
            let chain = self.chain(place);
            let same = self.routes.get(*slot).filter(|before| {
                let services = [&before.service, &service];
                let [before_service, service] =
                    services.map(|service| service.as_ref().map(Arc::as_ptr));
                Arc::ptr_eq(&before.plan, plan)
                    && before_service == service
                    && Arc::ptr_eq(&before.chain, &chain)
            });
            all[*slot] = Some(match same {
                Some(same) => same.clone(),
                None => Arc::new(LiveRoute {
                    plan: plan.clone(),
                    service,
                    chain,
                    json: kept.json.clone(),
                    series: OnceLock::new(),
                }),
            });
        }
        self.routes = Arc::new(Routes::new(node.settings.rules, all, &self.routes));
    }

    /// The plugins of a place; routes with the same ones share them.
    fn chain(&mut self, place: Place) -> Arc<Chain> {
        if let Some(known) = self.chains.get(&place) {
            return known.clone();
        }
        let chain = Arc::new(self.by_scope.chain(&place));
        self.chains.insert(place, chain.clone());
        chain
    }
}

impl Scopes {
    fn of(entities: &Entities) -> Self {
        let mut scopes = Self::default();
        let mut consumers: FxHashMap<_, ByConsumer> = FxHashMap::default();
        for instance in entities.plugins.values() {
            let scope = &instance.scope;
            match (&scope.route, &scope.service, &scope.consumer) {
                (None, None, Some(consumer)) => {
                    let table = consumers.entry(instance.name).or_default();
                    table.insert(consumer.clone(), instance.clone());
                }
                (route, service, _) => {
                    scopes.routes.extend(route.clone().map(|id| (id, ())));
                    scopes.services.extend(service.clone().map(|id| (id, ())));
                    let place = (route.clone(), service.clone());
                    scopes
                        .by_place
                        .entry(place)
                        .or_default()
                        .push(instance.clone());
                }
            }
        }
        let tables = consumers.into_iter();
        scopes.consumers = tables
            .map(|(name, table)| (name, Arc::new(table)))
            .collect();
        scopes
    }

    /// The chain of a place, from what is for nobody in particular to what is for exactly this place: the later
    /// replaces the earlier.
    fn chain(&self, (route, service): &Place) -> Chain {
        let mut slots: FxHashMap<&'static str, Building> = FxHashMap::default();
        for (name, table) in &self.consumers {
            let priority = table
                .values()
                .next()
                .map_or(0, |instance| instance.priority);
            slots
                .entry(name)
                .or_insert_with(|| Building::new(priority))
                .slot
                .consumers = Some(table.clone());
        }
        let places = [
            Some((None, None)),
            service
                .as_ref()
                .map(|service| (None, Some(service.clone()))),
            route.as_ref().map(|route| (Some(route.clone()), None)),
            route
                .clone()
                .zip(service.clone())
                .map(|(route, service)| (Some(route), Some(service))),
        ];
        for place in places.into_iter().flatten() {
            for instance in self.by_place.get(&place).into_iter().flatten() {
                let building = slots
                    .entry(instance.name)
                    .or_insert_with(|| Building::new(instance.priority));
                match &instance.scope.consumer {
                    Some(consumer) => {
                        drop(building.narrow.insert(consumer.clone(), instance.clone()))
                    }
                    None if place.0.is_some() && place.1.is_some() => {
                        building.slot.joint = Some(instance.clone());
                    }
                    None => building.slot.wide = Some(instance.clone()),
                }
            }
        }
        let mut slots: Vec<_> = slots.into_iter().collect();
        slots.sort_by(|(name, left), (other, right)| {
            (right.priority, other).cmp(&(left.priority, name))
        });
        Chain::new(
            slots
                .into_iter()
                .map(|(_, building)| building.done())
                .collect(),
        )
    }
}

struct Building {
    priority: i64,
    narrow: ByConsumer,
    slot: Slot,
}

impl Building {
    fn new(priority: i64) -> Self {
        Self {
            priority,
            narrow: ByConsumer::default(),
            slot: Slot::default(),
        }
    }

    fn done(mut self) -> Slot {
        self.slot.narrow = (!self.narrow.is_empty()).then(|| Arc::new(self.narrow));
        self.slot
    }
}

/// TLS for clients: certificates by the names that they are for.
fn server_tls(entities: &Entities, node: &Arc<Node>) -> Option<Arc<Tls>> {
    let mut names: FxHashMap<&str, Vec<String>> = FxHashMap::default();
    let mut has_default = false;
    for sni in entities.snis.values() {
        has_default |= &*sni.name == "*";
        names
            .entry(&*sni.certificate)
            .or_default()
            .push(sni.name.to_string());
    }
    let mut identities = Vec::new();
    for (id, slots) in &entities.certificates {
        let Some(names) = names.get(&**id) else {
            continue;
        };
        identities.extend(slots.iter().map(|slot| ServerIdentity {
            slot: slot.clone(),
            names: ServerNames::Listed(names.clone()),
        }));
    }
    if !has_default {
        identities.extend(node.default_certificates.iter().map(|slot| ServerIdentity {
            slot: slot.clone(),
            names: ServerNames::Listed(vec!["*".to_owned()]),
        }));
    }
    let make = |alpn: &[&str]| {
        let plan = ServerTlsPlan {
            identities: identities.clone(),
            alpn: AlpnList::new(alpn)?,
            client_certificate: ClientCertificate::None,
            peer: PeerRules::default(),
            parameters: node.settings.tls.clone(),
            resumption: Resumption::Tickets,
        };
        ServerTls::new(plan).map(Arc::new)
    };
    match (make(&["http/1.1"]), make(&["h2", "http/1.1"])) {
        (Ok(http1), Ok(http2)) => Some(Arc::new(Tls { http1, http2 })),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "TLS for clients cannot be served");
            None
        }
    }
}

/// Upstreams with their targets.
fn upstreams(entities: &Entities, node: &Node) -> Vec<Planned> {
    let mut targets: FxHashMap<&str, Vec<_>> = FxHashMap::default();
    for target in entities.targets.values() {
        targets
            .entry(&*target.upstream)
            .or_default()
            .push(target.clone());
    }
    let trust = node
        .settings
        .trusted_certificates()
        .map(|trust| TrustSlot::filled("upstreams", trust));
    let one = |upstream: &Arc<crate::plan::upstream::Upstream>| Planned {
        upstream: upstream.clone(),
        targets: targets.remove(&*upstream.id).unwrap_or_default(),
        secrets: Secrets {
            identity: identity(upstream.client_certificate.as_deref(), entities),
            trust: trust
                .clone()
                .filter(|_| upstream.healthchecks.active.https_verify_certificate),
        },
    };
    entities.upstreams.values().map(one).collect()
}

/// A certificate to show; one that is not there is waited for, not done without.
fn identity(id: Option<&str>, entities: &Entities) -> Option<Arc<IdentitySlot>> {
    let id = id?;
    let slots = entities.certificates.get(id);
    Some(slots.map_or_else(|| IdentitySlot::new(id), |slots| slots.first.clone()))
}

/// TLS towards a service's hosts. Where its certificates cannot be had nobody is trusted in their place: the service
/// gets settings under which no handshake succeeds.
fn client_tls(service: &Service, entities: &Entities, node: &Arc<Node>) -> Option<Arc<ClientTls>> {
    let of_upstream = || {
        let mut upstreams = entities.upstreams.values();
        let upstream = upstreams.find(|upstream| *upstream.name == *service.host)?;
        upstream.client_certificate.as_deref()
    };
    let own = service.client_certificate.as_deref();
    let identity = identity(own.or_else(of_upstream), entities);
    let verify = service
        .tls_verify
        .unwrap_or(node.settings.upstream_tls_verify);
    let trust = verify.then(|| {
        let authorities = service.ca_certificates.iter();
        let pems: Vec<_> = authorities
            .filter_map(|id| entities.authorities.get(&**id).map(|pem| &**pem))
            .collect();
        let trust = if service.ca_certificates.is_empty() {
            node.settings.trusted_certificates()
        } else {
            Trust::from_pem(pems.join("\n").as_bytes(), None).ok()
        };
        match trust {
            Some(trust) => TrustSlot::filled(&service.id, trust),
            None => TrustSlot::new(&service.id),
        }
    });
    let plan = ClientTlsPlan {
        identity,
        verifies_host: verify,
        peer: PeerRules {
            trust,
            most_intermediates: service.tls_verify_depth,
            ..PeerRules::default()
        },
        // Every try says whom it talks to: see `Upstream::target`.
        sni: None,
        alpn: AlpnList::new([if service.is_grpc() { "h2" } else { "http/1.1" }]).ok()?,
        parameters: TlsParameters::default(),
        resumed_names: 1,
    };
    match ClientTls::new(plan) {
        Ok(tls) => Some(Arc::new(tls)),
        Err(error) => {
            tracing::error!(service = %service.id, %error, "TLS towards the service cannot be spoken");
            None
        }
    }
}
