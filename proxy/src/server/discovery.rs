//! ADS and SDS over the proxy's own clusters: what arrives is handed to clusters and listeners, what they
//! need is asked for.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use carbyne_engine::runtime::Worker;
use carbyne_protos::envoy::config::core::v3::{Node, TypedExtensionConfig};
use carbyne_protos::envoy::extensions::transport_sockets::tls::v3::Secret;
use carbyne_protos::prost_types::Any;
use tokio::sync::Notify;

use super::call::ClusterCalls;
use super::clusters::ClusterManager;
use super::listeners::ListenerManager;
use crate::live::secrets::{SecretReference, SecretSource};
use crate::plan::Environment;
use crate::plan::discovered;
use crate::plan::error::Rejection;
use crate::plan::secret::{self, SecretContent};
use crate::wire::bootstrap::AdsSource;
use crate::wire::sds;
use crate::wire::stream::{Client, Interests};
use crate::wire::xds::{Ads, Apply, BackOff, Interest, Rejected, Resource, ResourceType, Settings};

/// Everything that discovery feeds.
#[derive(Clone, Debug)]
pub struct Discovery {
    /// Clusters and secrets.
    pub environment: Environment,
    /// Clusters.
    pub clusters: Rc<ClusterManager>,
    /// Listeners and routes.
    pub listeners: Rc<ListenerManager>,
    /// The state of the ADS stream, for the admin port.
    pub ads: Rc<RefCell<Option<Rc<RefCell<Ads>>>>>,
    /// The state of every SDS stream, for the admin port.
    pub secrets: Rc<RefCell<BTreeMap<SecretReference, Rc<RefCell<Ads>>>>>,
    /// Who asks.
    pub node: Node,
    /// The secrets of the bootstrap.
    pub statics: Rc<[Secret]>,
    /// Told when something new waits.
    pub changed: Rc<Notify>,
}

/// Applies what comes over ADS.
#[derive(Debug)]
struct Applier {
    discovery: Discovery,
    interests: Rc<RefCell<Option<Interests>>>,
    wanted: BTreeMap<ResourceType, BTreeSet<Arc<str>>>,
}

impl Discovery {
    /// Starts the ADS client, if the bootstrap names a control plane, and the SDS clients.
    pub fn start(&self, worker: &Rc<Worker>, source: Option<&AdsSource>) {
        if let Some(source) = source {
            let settings = Settings {
                node: self.node.clone(),
                node_in_every_request: source.node_in_every_request,
                listeners_wait: LISTENERS_WAIT,
            };
            let mut machine = Ads::new(source.protocol, settings);
            if source.clusters {
                machine.want(ResourceType::Cluster, Interest::All);
            }
            if source.listeners {
                machine.want(ResourceType::Listener, Interest::All);
            }
            let machine = Rc::new(RefCell::new(machine));
            *self.ads.borrow_mut() = Some(machine.clone());
            let slot = Rc::new(RefCell::new(None));
            let applier = Applier {
                discovery: self.clone(),
                interests: slot.clone(),
                wanted: BTreeMap::new(),
            };
            let calls = ClusterCalls {
                worker: worker.clone(),
                slot: self.environment.clusters.slot(&source.cluster),
            };
            let path = source.protocol.path();
            let seed = fastrand::u64(..);
            let back_off = match source.back_off {
                Some((base, max)) => BackOff::with_bounds(base, max, seed),
                None => BackOff::new(seed),
            };
            let (client, interests) = Client::new(machine, path, calls, applier, back_off);
            *slot.borrow_mut() = Some(interests.clone());
            tokio::task::spawn_local(client.run());
            tokio::task::spawn_local(self.clone().warm(Some(interests)));
        } else {
            tokio::task::spawn_local(self.clone().warm(None));
        }
        tokio::task::spawn_local(self.clone().follow_secrets(worker.clone()));
    }

    /// Lets clusters and listeners serve when what they wait for has come, or was waited for long enough.
    async fn warm(self, interests: Option<Interests>) {
        let mut arrived = self.environment.secrets.arrived();
        loop {
            self.clusters.warm();
            if let Err(rejection) = self.listeners.warm() {
                tracing::error!(%rejection, "a listener that was warm cannot serve");
            }
            self.hold_listeners();
            if let Some(interests) = &interests {
                interests.look_again();
            }
            let ends = self.clusters.next_end().into_iter();
            let end = ends.chain(self.listeners.next_end()).min();
            let waited = async {
                match end {
                    Some(end) => tokio::time::sleep_until(end.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // The sender lives as long as the environment, which this holds.
                _ = arrived.changed() => {}
                () = self.clusters.checked() => {}
                () = self.changed.notified() => {}
                () = waited => {}
            }
        }
    }

    /// Listeners are asked for when the first clusters are warm, or lack secrets alone.
    fn hold_listeners(&self) {
        if let Some(machine) = &*self.ads.borrow() {
            let held = self.clusters.holds_listeners();
            machine.borrow_mut().hold_listeners(held);
        }
    }

    /// Opens a stream for every secret that somebody needs, and ends those that nobody does.
    async fn follow_secrets(self, worker: Rc<Worker>) {
        let mut changed = self.environment.secrets.changed();
        let mut streams: BTreeMap<SecretReference, Interests> = BTreeMap::new();
        loop {
            let wanted = self.environment.secrets.wanted();
            streams.retain(|held, _| wanted.iter().any(|(reference, _)| reference == held));
            self.secrets
                .borrow_mut()
                .retain(|held, _| streams.contains_key(held));
            for (reference, _) in wanted {
                let cluster = match &reference.source {
                    SecretSource::Cluster(cluster) => cluster,
                    SecretSource::Static => {
                        self.deliver_static(&reference);
                        continue;
                    }
                    SecretSource::Ads | SecretSource::File(_) => continue,
                };
                if streams.contains_key(&reference) {
                    continue;
                }
                let settings = Settings {
                    node: self.node.clone(),
                    node_in_every_request: false,
                    listeners_wait: Duration::ZERO,
                };
                let calls = ClusterCalls {
                    worker: worker.clone(),
                    slot: self.environment.clusters.slot(cluster),
                };
                let environment = self.environment.clone();
                let target = reference.clone();
                let take = move |message: Secret, _: &Arc<Resource>| {
                    deliver(&environment, &target, &message).map_err(|error| error.to_string())
                };
                let back_off = BackOff::new(fastrand::u64(..));
                let name = reference.name.clone();
                let (client, machine, interests) =
                    sds::client(&name, settings, calls, take, back_off);
                tokio::task::spawn_local(client.run());
                self.secrets.borrow_mut().insert(reference.clone(), machine);
                streams.insert(reference, interests);
            }
            // The sender lives as long as the environment, which this holds.
            if changed.changed().await.is_err() {
                return;
            }
        }
    }
}

impl Discovery {
    /// A secret of the bootstrap goes to whoever names it.
    fn deliver_static(&self, reference: &SecretReference) {
        let named = self
            .statics
            .iter()
            .find(|secret| secret.name == *reference.name);
        match named.map(|secret| deliver(&self.environment, reference, secret)) {
            Some(Ok(())) => {}
            Some(Err(rejection)) => {
                tracing::error!(name = %reference.name, %rejection, "static secret cannot be used");
            }
            None => tracing::error!(name = %reference.name, "no such static secret"),
        }
    }
}

/// Fills the slot of a secret.
fn deliver(
    environment: &Environment,
    reference: &SecretReference,
    message: &Secret,
) -> Result<(), Rejection> {
    let planned = environment.plan_message(message, secret::plan)?;
    match planned.plan.content {
        Some(SecretContent::Identity(identity)) => {
            environment.secrets.deliver_identity(reference, *identity);
        }
        Some(SecretContent::Trust(trust)) => {
            environment.secrets.deliver_trust(reference, *trust);
        }
        None => {}
    }
    Ok(())
}

impl Apply for Applier {
    async fn apply(
        &mut self,
        resource_type: ResourceType,
        upserts: &[Arc<Resource>],
        removed: &[Arc<str>],
    ) -> Vec<Rejected> {
        let mut rejected = Vec::new();
        if resource_type == ResourceType::Listener {
            // As Envoy does: a listener may come to the address of one that goes.
            self.discovery.listeners.remove(removed);
        }
        for resource in upserts {
            let any = Any {
                type_url: resource_type.type_url().to_owned(),
                value: resource.bytes.to_vec(),
            };
            if let Err(error) = self.take(resource_type, &any, resource) {
                rejected.push(Rejected {
                    name: resource.name.clone(),
                    reason: error.to_string(),
                });
            }
            // A large configuration must not hold up health checks and the admin port.
            tokio::task::yield_now().await;
        }
        match resource_type {
            ResourceType::Cluster => self.discovery.clusters.remove(removed),
            ResourceType::Listener => self.discovery.listeners.settle(),
            ResourceType::Extension => self.forget_extensions(removed),
            // What nobody asks for any more is kept until its user is gone.
            ResourceType::Endpoint | ResourceType::Route | ResourceType::Secret => {}
        }
        match resource_type {
            ResourceType::Cluster => {
                let wanted = self.discovery.clusters.wanted_assignments();
                self.want(ResourceType::Endpoint, wanted);
            }
            ResourceType::Listener => {
                let wanted = self.discovery.listeners.wanted_routes();
                self.want(ResourceType::Route, wanted);
                let extensions = self.discovery.environment.extensions.wanted();
                self.want(ResourceType::Extension, extensions.into_iter().collect());
            }
            _ => {}
        }
        self.want_secrets();
        self.discovery.hold_listeners();
        self.discovery.changed.notify_one();
        rejected
    }
}

impl Applier {
    fn take(
        &self,
        resource_type: ResourceType,
        any: &Any,
        resource: &Resource,
    ) -> Result<(), Rejection> {
        let discovery = &self.discovery;
        match resource_type {
            ResourceType::Cluster => discovery.clusters.update(any),
            ResourceType::Endpoint => discovery.clusters.assign(any),
            ResourceType::Listener => discovery.listeners.update(any),
            ResourceType::Route => discovery.listeners.update_routes(any),
            ResourceType::Secret => self.take_secret(any, resource),
            ResourceType::Extension => self.take_extension(any, resource),
        }
    }

    /// Fills the slots of a name; one that has another type than its users allow is no configuration of theirs, which they say.
    fn take_extension(&self, any: &Any, resource: &Resource) -> Result<(), Rejection> {
        let environment = &self.discovery.environment;
        let held = environment.extensions.held(&resource.name);
        if let Some(slot) = held.http {
            let planned =
                environment.plan::<TypedExtensionConfig, _>(any, discovered::http_extension)?;
            slot.store(Some(planned.plan));
        }
        if let Some(slot) = held.network {
            let planned =
                environment.plan::<TypedExtensionConfig, _>(any, discovered::network_extension)?;
            slot.store(Some(planned.plan));
        }
        Ok(())
    }

    /// Their users have their defaults again, or nothing.
    fn forget_extensions(&self, names: &[Arc<str>]) {
        for name in names {
            let held = self.discovery.environment.extensions.held(name);
            if let Some(slot) = held.http {
                slot.store(None);
            }
            if let Some(slot) = held.network {
                slot.store(None);
            }
        }
    }

    fn take_secret(&self, any: &Any, resource: &Resource) -> Result<(), Rejection> {
        let message: Secret = carbyne_protos::any::decode_any(any).map_err(|error| {
            Rejection::single(crate::plan::error::Fault::Malformed(error.to_string()))
        })?;
        for (reference, _) in self.discovery.environment.secrets.wanted() {
            if reference.source == SecretSource::Ads && reference.name == resource.name {
                deliver(&self.discovery.environment, &reference, &message)?;
            }
        }
        Ok(())
    }

    fn want_secrets(&mut self) {
        let wanted = self.discovery.environment.secrets.wanted().into_iter();
        let names = wanted
            .filter(|(reference, _)| reference.source == SecretSource::Ads)
            .map(|(reference, _)| reference.name);
        let names = names.collect();
        self.want(ResourceType::Secret, names);
    }

    fn want(&mut self, resource_type: ResourceType, names: BTreeSet<Arc<str>>) {
        let before = self.wanted.entry(resource_type).or_default();
        if *before == names {
            return;
        }
        before.clone_from(&names);
        if let Some(interests) = &*self.interests.borrow() {
            interests.want(resource_type, Interest::Names(names));
        }
    }
}

/// Envoy's default `initial_fetch_timeout`, after which listeners are asked for although clusters wait.
const LISTENERS_WAIT: Duration = Duration::from_secs(15);
