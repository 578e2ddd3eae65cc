//! The plans of everything that requests are served with, kept from one change to the next: what did not change is not
//! planned again.

use std::collections::BTreeMap;
use std::sync::Arc;

use carbyne_engine::tls::IdentitySlot;
use rustc_hash::FxHashMap;

use crate::node::Node;
use crate::plan::certificate::{Certificate, Sni, read_authority};
use crate::plan::plugin::PluginPlan;
use crate::plan::route::Route;
use crate::plan::service::Service;
use crate::plan::upstream::{Target, Upstream};
use crate::plugin::instance::Instance;
use crate::plugin::table;
use crate::store::Row;
use crate::value::{Object, Value};
use crate::vault::{Dangling, Vaults};

/// Kinds of entities that are planned here; consumers and credentials are read as they are asked for.
pub const PLANNED: [&str; 9] = [
    // Others may refer to them.
    "vaults",
    "upstreams",
    "targets",
    "services",
    "routes",
    "plugins",
    "certificates",
    "snis",
    "ca_certificates",
];

/// Plans by id.
#[derive(Debug, Default)]
pub struct Entities {
    pub services: FxHashMap<Arc<str>, Kept<Service>>,
    /// Each with its slot, which it keeps from change to change.
    pub routes: BTreeMap<Arc<str>, (usize, Kept<Route>)>,
    pub plugins: BTreeMap<Arc<str>, Arc<Instance>>,
    pub certificates: BTreeMap<Arc<str>, Slots>,
    pub snis: BTreeMap<Arc<str>, Sni>,
    pub authorities: FxHashMap<Arc<str>, Arc<str>>,
    pub upstreams: BTreeMap<Arc<str>, Arc<Upstream>>,
    pub targets: BTreeMap<Arc<str>, Arc<Target>>,
    pub vaults: Vaults,
    /// Slots of routes that are free.
    free: Vec<usize>,
    /// What changed since it was last asked.
    pub changed: Changed,
    /// Every row that was taken, as the store has it: the same row again changes nothing.
    rows: FxHashMap<Arc<str>, Arc<str>>,
    /// Rows that refer to secrets.
    referring: Vec<Arc<str>>,
    /// Every row has to be put again.
    pub rereads: bool,
}

/// A plan, and its row as JSON for what writes requests down: the store's own text.
#[derive(Clone, Debug)]
pub struct Kept<T> {
    pub plan: Arc<T>,
    pub json: Arc<str>,
}

/// A certificate, and its alternative of another kind of key.
#[derive(Clone, Debug)]
pub struct Slots {
    pub first: Arc<IdentitySlot>,
    pub second: Option<Arc<IdentitySlot>>,
}

/// Which parts of a snapshot have to be made anew.
#[derive(Clone, Copy, Debug, Default)]
pub struct Changed {
    pub authorities: bool,
    pub certificates: bool,
    pub plugins: bool,
    pub routes: bool,
    pub services: bool,
    pub upstreams: bool,
}

impl Changed {
    pub const fn any(self) -> bool {
        self.certificates || self.plugins || self.upstreams || self.routes || self.services
    }
}

impl Entities {
    /// Takes a row in place of what its id had. A row that cannot be planned leaves what was there: the last good one
    /// goes on serving, and the log says what is wrong with the new one.
    pub fn put(&mut self, entity: &str, row: &Row, node: &Arc<Node>) {
        let id = row.id.clone();
        let known = self.rows.insert(id.clone(), row.json.clone());
        if known.is_some_and(|known| known == row.json) {
            return;
        }
        if row.json.contains("{vault://") {
            self.referring.push(id.clone());
        }
        let planned = match entity {
            "services" => Service::read(&row.entity)
                .map_err(|error| error.to_string())
                .map(|service| {
                    self.changed.services = true;
                    self.services.insert(id.clone(), Kept::new(service, row));
                }),
            "routes" => Route::read(&row.entity)
                .map_err(|errors| {
                    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
                    errors.join("; ")
                })
                .map(|route| {
                    self.changed.routes = true;
                    let slot = self.slot(&id);
                    self.routes
                        .insert(id.clone(), (slot, Kept::new(route, row)));
                }),
            "plugins" => PluginPlan::read(&row.entity)
                .map_err(|error| error.to_string())
                .map(|plan| self.put_plugin(id.clone(), plan, &row.entity, node)),
            "certificates" => self.certificate(&row.entity).map(|certificate| {
                self.changed.certificates = true;
                let slots = Slots::of(certificate);
                self.certificates.insert(id.clone(), slots);
            }),
            "snis" => Sni::read(&row.entity)
                .map_err(|error| error.to_string())
                .map(|sni| {
                    self.changed.certificates = true;
                    self.snis.insert(id.clone(), sni);
                }),
            "ca_certificates" => read_authority(&row.entity)
                .map_err(|error| error.to_string())
                .map(|(_, pem)| {
                    self.changed.authorities = true;
                    self.changed.services = true;
                    self.authorities.insert(id.clone(), Arc::from(&*pem));
                }),
            "upstreams" => Upstream::read(&row.entity)
                .map_err(|error| error.to_string())
                .map(|upstream| {
                    self.changed.upstreams = true;
                    self.upstreams.insert(id.clone(), Arc::new(upstream));
                }),
            "targets" => Target::read(&row.entity)
                .map_err(|error| error.to_string())
                .map(|target| {
                    self.changed.upstreams = true;
                    self.targets.insert(id.clone(), Arc::new(target));
                }),
            "vaults" => {
                if self.vaults.put(&id, &row.entity) {
                    self.vaults_changed();
                }
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err(problem) = planned {
            tracing::error!(entity, %id, problem, "cannot be used: what was there before goes on");
        }
    }

    /// Takes a row away.
    pub fn remove(&mut self, entity: &str, id: &str) {
        self.rows.remove(id);
        match entity {
            "services" => self.changed.services |= self.services.remove(id).is_some(),
            "routes" => {
                let gone = self.routes.remove(id);
                self.changed.routes |= gone.is_some();
                self.free.extend(gone.map(|(slot, _)| slot));
            }
            "plugins" => self.changed.plugins |= self.plugins.remove(id).is_some(),
            "certificates" => {
                let gone = self.certificates.remove(id).is_some();
                self.changed.certificates |= gone;
            }
            "snis" => self.changed.certificates |= self.snis.remove(id).is_some(),
            "upstreams" => self.changed.upstreams |= self.upstreams.remove(id).is_some(),
            "targets" => self.changed.upstreams |= self.targets.remove(id).is_some(),
            "vaults" if self.vaults.remove(id) => self.vaults_changed(),
            "ca_certificates" => {
                let gone = self.authorities.remove(id).is_some();
                self.changed.authorities |= gone;
                self.changed.services |= gone;
            }
            _ => {}
        }
    }

    /// The ids of a kind of entity.
    pub fn ids(&self, entity: &str) -> Vec<Arc<str>> {
        match entity {
            "services" => self.services.keys().cloned().collect(),
            "routes" => self.routes.keys().cloned().collect(),
            "plugins" => self.plugins.keys().cloned().collect(),
            "certificates" => self.certificates.keys().cloned().collect(),
            "snis" => self.snis.keys().cloned().collect(),
            "upstreams" => self.upstreams.keys().cloned().collect(),
            "targets" => self.targets.keys().cloned().collect(),
            "ca_certificates" => self.authorities.keys().cloned().collect(),
            "vaults" => self.vaults.ids().map(Arc::from).collect(),
            _ => Vec::new(),
        }
    }

    /// How many slots there are for routes.
    pub fn slots(&self) -> usize {
        self.routes.len() + self.free.len()
    }

    /// The slot of a route: its own, a free one, or another.
    fn slot(&mut self, id: &str) -> usize {
        match self.routes.get(id) {
            Some((slot, _)) => *slot,
            None => self.free.pop().unwrap_or(self.routes.len()),
        }
    }

    /// Rows that refer to secrets mean something else now: they have to be put again.
    fn vaults_changed(&mut self) {
        self.rereads |= !self.referring.is_empty();
        for id in std::mem::take(&mut self.referring) {
            self.rows.remove(&id);
        }
    }

    fn put_plugin(&mut self, id: Arc<str>, mut plan: PluginPlan, row: &Object, node: &Arc<Node>) {
        self.changed.plugins = true;
        if !plan.is_http() {
            self.plugins.remove(&id);
            return;
        }
        if !table::runs(plan.name) {
            let scope = &plan.scope;
            let what = if plan.guards {
                "its requests are answered with 503"
            } else {
                "it has no effect"
            };
            tracing::warn!(
                plugin = plan.name,
                %id,
                route = scope.route.as_deref(),
                service = scope.service.as_deref(),
                consumer = scope.consumer.as_deref(),
                "the plugin does not run here: {what}"
            );
        }
        let (resolved, dangling) = self.vaults.resolve("plugins", row);
        if let Some(Value::Object(config)) = resolved.get("config") {
            plan.config = config.clone();
        }
        let instance = Instance::new(&plan, dangling, node);
        self.plugins.insert(id, Arc::new(instance));
    }

    fn certificate(&self, row: &Object) -> Result<Certificate, String> {
        let (row, dangling) = self.vaults.resolve("certificates", row);
        if !dangling.is_empty() {
            return Err(Dangling::list(&dangling));
        }
        Certificate::read(&row).map_err(|error| error.to_string())
    }
}

impl Slots {
    fn of(certificate: Certificate) -> Self {
        let name = format!("certificate {}", certificate.id);
        Self {
            first: IdentitySlot::filled(&name, certificate.identity),
            second: certificate
                .alternative
                .map(|identity| IdentitySlot::filled(&name, identity)),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<IdentitySlot>> {
        std::iter::once(&self.first).chain(&self.second)
    }
}

impl<T> Kept<T> {
    fn new(plan: T, row: &Row) -> Self {
        Self {
            plan: Arc::new(plan),
            json: row.json.clone(),
        }
    }
}
