//! What a folder said, in the order and under the keys by which configuration is generated.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    problem::Problem,
    service::{self, Service},
};
use crate::model::{
    AuthorizationPolicy, Config, DestinationRule, EnvoyFilter, Gateway, MeshConfig,
    PeerAuthentication, RequestAuthentication, ServiceEntry, Sidecar, Telemetry, VirtualService,
    service_entry::WorkloadEntry, virtual_service::Destination,
};

/// Resources as read, unordered.
#[derive(Debug, Default)]
pub(crate) struct Raw {
    pub(crate) digest: u64,
    pub(crate) mesh: Option<MeshConfig>,
    pub(crate) service_entries: Vec<Config<ServiceEntry>>,
    pub(crate) workload_entries: Vec<Config<WorkloadEntry>>,
    pub(crate) virtual_services: Vec<Config<VirtualService>>,
    pub(crate) destination_rules: Vec<Config<DestinationRule>>,
    pub(crate) gateways: Vec<Config<Gateway>>,
    pub(crate) sidecars: Vec<Config<Sidecar>>,
    pub(crate) envoy_filters: Vec<Config<EnvoyFilter>>,
    pub(crate) peer_authentications: Vec<Config<PeerAuthentication>>,
    pub(crate) authorization_policies: Vec<Config<AuthorizationPolicy>>,
    pub(crate) request_authentications: Vec<Config<RequestAuthentication>>,
    pub(crate) telemetries: Vec<Config<Telemetry>>,
    pub(crate) warnings: Vec<Problem>,
}

/// Services and the hosts that name them.
#[derive(Debug, Default)]
pub struct Registry {
    /// Sorted by host, then namespace (istiod: creation time first, which files do not have).
    pub services: Vec<Arc<Service>>,
    by_host: BTreeMap<String, Vec<usize>>,
}

impl Registry {
    fn new(mut services: Vec<Arc<Service>>) -> Self {
        services.sort_by(|a, b| {
            (&a.hostname, &a.namespace, &a.address).cmp(&(&b.hostname, &b.namespace, &b.address))
        });
        let mut by_host: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, service) in services.iter().enumerate() {
            by_host
                .entry(service.hostname.clone())
                .or_default()
                .push(index);
        }
        Self { services, by_host }
    }

    /// Services of a host, in namespace order.
    pub fn named<'a>(&'a self, host: &str) -> impl Iterator<Item = &'a Arc<Service>> {
        let indexes = self.by_host.get(host).map_or(&[][..], Vec::as_slice);
        indexes.iter().map(|index| &self.services[*index])
    }

    /// The service of a host that a namespace sees; its own namespace first.
    #[must_use]
    pub fn visible(&self, host: &str, namespace: &str) -> Option<&Arc<Service>> {
        let own = self
            .named(host)
            .find(|service| service.namespace == namespace);
        own.or_else(|| {
            self.named(host)
                .find(|service| exported(&service.export_to, &service.namespace, namespace))
        })
    }
}

/// Everything that generation reads; immutable.
#[derive(Debug)]
pub struct Snapshot {
    /// Of the names and bytes of the files: equal if nothing was changed.
    pub digest: u64,
    /// Mesh-wide settings.
    pub mesh: MeshConfig,
    /// Services.
    pub registry: Registry,
    /// WorkloadEntries by name.
    pub workload_entries: Vec<Config<WorkloadEntry>>,
    /// By name; hosts and destinations are full names.
    pub virtual_services: Vec<Arc<Config<VirtualService>>>,
    /// By name; hosts are full names.
    pub destination_rules: Vec<Arc<Config<DestinationRule>>>,
    /// By name.
    pub gateways: Vec<Config<Gateway>>,
    /// By name.
    pub sidecars: Vec<Arc<Config<Sidecar>>>,
    /// By priority, then name.
    pub envoy_filters: Vec<Config<EnvoyFilter>>,
    /// By name.
    pub peer_authentications: Vec<Config<PeerAuthentication>>,
    /// By name.
    pub authorization_policies: Vec<Config<AuthorizationPolicy>>,
    /// By name.
    pub request_authentications: Vec<Config<RequestAuthentication>>,
    /// By name.
    pub telemetries: Vec<Config<Telemetry>>,
    /// What was read but has no effect, or looks wrong.
    pub warnings: Vec<Problem>,
}

impl Snapshot {
    pub(crate) fn new(raw: Raw) -> Self {
        let mesh = raw.mesh.unwrap_or_default();
        let mut workload_entries = raw.workload_entries;
        sort(&mut workload_entries);
        let services = raw
            .service_entries
            .iter()
            .flat_map(|entry| service::convert(entry, &workload_entries, &mesh))
            .collect();
        let mut virtual_services = raw.virtual_services;
        sort(&mut virtual_services);
        for config in &mut virtual_services {
            complete_virtual_service(config, &mesh.domain);
        }
        let mut destination_rules = raw.destination_rules;
        sort(&mut destination_rules);
        for config in &mut destination_rules {
            config.spec.host = full_name(&config.spec.host, &config.meta.namespace, &mesh.domain);
        }
        let mut envoy_filters = raw.envoy_filters;
        sort(&mut envoy_filters);
        envoy_filters.sort_by_key(|config| config.spec.priority);
        let mut sidecars = raw.sidecars;
        sort(&mut sidecars);
        Self {
            digest: raw.digest,
            registry: Registry::new(services),
            workload_entries,
            virtual_services: virtual_services.into_iter().map(Arc::new).collect(),
            destination_rules: destination_rules.into_iter().map(Arc::new).collect(),
            gateways: sorted(raw.gateways),
            sidecars: sidecars.into_iter().map(Arc::new).collect(),
            envoy_filters,
            peer_authentications: sorted(raw.peer_authentications),
            authorization_policies: sorted(raw.authorization_policies),
            request_authentications: sorted(raw.request_authentications),
            telemetries: sorted(raw.telemetries),
            warnings: raw.warnings,
            mesh,
        }
    }
}

/// istiod's order for resources of the same age: name, then namespace.
fn sort<T>(configs: &mut [Config<T>]) {
    configs
        .sort_by(|a, b| (&a.meta.name, &a.meta.namespace).cmp(&(&b.meta.name, &b.meta.namespace)));
}

fn sorted<T>(mut configs: Vec<Config<T>>) -> Vec<Config<T>> {
    sort(&mut configs);
    configs
}

/// `exportTo`: `*`, `.` (own namespace), `~` (nobody) or names; empty means all.
#[must_use]
pub fn exported(export_to: &[String], own: &str, namespace: &str) -> bool {
    export_to.is_empty()
        || export_to
            .iter()
            .any(|to| to == "*" || to == namespace || (to == "." && own == namespace))
}

/// A name without a dot is a service of the resource's own namespace.
pub(crate) fn full_name(host: &str, namespace: &str, domain: &str) -> String {
    if host.is_empty() || host.contains('.') || host.contains('*') {
        host.to_owned()
    } else {
        format!("{host}.{namespace}.svc.{domain}")
    }
}

fn complete_virtual_service(config: &mut Config<VirtualService>, domain: &str) {
    let namespace = config.meta.namespace.clone();
    let complete = |destination: &mut Destination| {
        destination.host = full_name(&destination.host, &namespace, domain);
    };
    let gateway = |name: &mut String| {
        if name != MESH_GATEWAY && !name.contains('/') {
            *name = format!("{namespace}/{name}");
        }
    };
    let spec = &mut config.spec;
    if spec.gateways.is_empty() {
        spec.gateways.push(MESH_GATEWAY.to_owned());
    }
    spec.gateways.iter_mut().for_each(gateway);
    for host in &mut spec.hosts {
        *host = full_name(host, &namespace, domain);
    }
    for http in &mut spec.http {
        for matching in &mut http.matching {
            matching.gateways.iter_mut().for_each(gateway);
        }
        http.route
            .iter_mut()
            .for_each(|route| complete(&mut route.destination));
        http.mirror.iter_mut().for_each(complete);
        http.mirrors
            .iter_mut()
            .filter_map(|mirror| mirror.destination.as_mut())
            .for_each(complete);
    }
    for tls in &mut spec.tls {
        for matching in &mut tls.matching {
            matching.gateways.iter_mut().for_each(gateway);
        }
        tls.route
            .iter_mut()
            .for_each(|route| complete(&mut route.destination));
    }
    for tcp in &mut spec.tcp {
        for matching in &mut tcp.matching {
            matching.gateways.iter_mut().for_each(gateway);
        }
        tcp.route
            .iter_mut()
            .for_each(|route| complete(&mut route.destination));
    }
}

/// The name that stands for all sidecars.
pub(crate) const MESH_GATEWAY: &str = "mesh";
