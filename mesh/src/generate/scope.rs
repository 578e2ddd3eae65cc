//! What a node may reach: istiod's sidecar scope.

use std::{collections::HashMap, sync::Arc};

use super::{
    name::{host_within, hosts_meet},
    node::{Node, NodeKind},
};
use crate::{
    model::{
        Config, Labels, Sidecar, VirtualService, labels_match,
        mesh_config::MeshOutboundMode,
        sidecar::{Egress, OutboundMode},
        virtual_service::Destination,
    },
    source::{MESH_GATEWAY, Protocol, Service, Snapshot, exported},
};

/// One egress listener with what it reaches.
#[derive(Debug)]
pub(super) struct EgressScope {
    /// As written; none for the default.
    pub(super) listener: Option<Egress>,
    pub(super) services: Vec<Arc<Service>>,
    pub(super) virtual_services: Vec<Arc<Config<VirtualService>>>,
}

/// All of it.
#[derive(Debug)]
pub(super) struct Scope {
    /// Name of the Sidecar.
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) sidecar: Option<Arc<Config<Sidecar>>>,
    pub(super) egress: Vec<EgressScope>,
    /// Union over all listeners, in host order of first mention.
    pub(super) services: Vec<Arc<Service>>,
    by_host: HashMap<String, usize>,
    /// Unknown destinations pass.
    pub(super) allow_any: bool,
    /// Where they pass to instead of their own address.
    pub(super) egress_proxy: Option<Destination>,
}

impl Scope {
    pub(super) fn new(snapshot: &Snapshot, node: &Node, labels: &Labels) -> Self {
        let sidecar = if node.kind == NodeKind::Sidecar {
            pick(snapshot, node, labels)
        } else {
            None
        };
        let spec = sidecar.as_ref().map(|config| &config.spec);
        let default = Egress {
            hosts: vec!["*/*".to_owned()],
            ..Egress::default()
        };
        let listeners: Vec<Option<Egress>> = match spec {
            Some(spec) if !spec.egress.is_empty() => {
                spec.egress.iter().cloned().map(Some).collect()
            }
            _ => vec![None],
        };
        let egress = listeners
            .into_iter()
            .map(|listener| {
                let read = listener.as_ref().unwrap_or(&default);
                let services = select_services(snapshot, node, read);
                let virtual_services = select_virtual_services(snapshot, node, read);
                EgressScope {
                    services,
                    virtual_services,
                    listener,
                }
            })
            .collect();
        let policy = spec.and_then(|spec| spec.outbound_traffic_policy.as_ref());
        let mut scope = Self {
            name: sidecar
                .as_ref()
                .map_or("default-sidecar", |config| config.meta.name.as_str())
                .to_owned(),
            namespace: node.namespace.clone(),
            egress,
            services: Vec::new(),
            by_host: HashMap::new(),
            allow_any: policy.map_or(
                snapshot.mesh.outbound_traffic_policy.mode == MeshOutboundMode::AllowAny,
                |policy| policy.mode == OutboundMode::AllowAny,
            ),
            egress_proxy: policy.and_then(|policy| policy.egress_proxy.clone()),
            sidecar,
        };
        scope.collect(snapshot, node);
        scope
    }

    pub(super) fn service(&self, host: &str) -> Option<&Arc<Service>> {
        self.by_host.get(host).map(|index| &self.services[*index])
    }

    pub(super) fn ingress(&self) -> &[crate::model::sidecar::Ingress] {
        self.sidecar
            .as_ref()
            .map_or(&[], |config| config.spec.ingress.as_slice())
    }

    /// The egress listener whose routes have this port (or Unix path) as their name.
    pub(super) fn egress_for_route(&self, port: u32, name: &str) -> Option<&EgressScope> {
        self.egress.iter().find(|egress| {
            let Some((listener, bound)) = egress
                .listener
                .as_ref()
                .and_then(|listener| Some((listener, listener.port.as_ref()?)))
            else {
                return true;
            };
            bound.number == port && (port != 0 || listener.bind == name)
        })
    }

    fn collect(&mut self, snapshot: &Snapshot, node: &Node) {
        let mut found: Vec<Arc<Service>> = Vec::new();
        for egress in &self.egress {
            found.extend(egress.services.iter().cloned());
            // What a visible VirtualService sends to is reachable even where its host is not imported.
            for config in &egress.virtual_services {
                for (host, ports) in destinations(&config.spec) {
                    let Some(service) = snapshot.registry.visible(host, &node.namespace) else {
                        continue;
                    };
                    let matched = match egress.listener.as_ref().and_then(port_to_match) {
                        Some(port) => with_ports(service, |number| number == port),
                        None if ports.is_empty() || ports.contains(&0) => Some(Arc::clone(service)),
                        None => with_ports(service, |number| ports.contains(&number)),
                    };
                    found.extend(matched);
                }
            }
        }
        for service in found {
            self.add(service);
        }
    }

    fn add(&mut self, service: Arc<Service>) {
        let Some(&index) = self.by_host.get(&service.hostname) else {
            self.by_host
                .insert(service.hostname.clone(), self.services.len());
            self.services.push(service);
            return;
        };
        let existing = &self.services[index];
        if existing.namespace != service.namespace
            || existing.resolution != service.resolution
            || existing.ports == service.ports
        {
            return;
        }
        // The same service with other ports through another listener: the ports add up.
        let mut merged = Service::clone(existing);
        for port in &service.ports {
            if merged.port(port.number).is_none() {
                merged.ports.push(port.clone());
            }
        }
        self.services[index] = Arc::new(merged);
    }
}

/// The Sidecar that holds: one that selects the workload, else the namespace's, else the root's.
fn pick(snapshot: &Snapshot, node: &Node, labels: &Labels) -> Option<Arc<Config<Sidecar>>> {
    let of = |namespace: &str, selecting: bool| {
        snapshot
            .sidecars
            .iter()
            .find(|config| {
                let selector = config
                    .spec
                    .workload_selector
                    .as_ref()
                    .filter(|selector| !selector.labels.is_empty());
                config.meta.namespace == namespace
                    && match selector {
                        Some(selector) => selecting && labels_match(&selector.labels, labels),
                        None => !selecting,
                    }
            })
            .cloned()
    };
    of(&node.namespace, true)
        .or_else(|| of(&node.namespace, false))
        .or_else(|| of(&snapshot.mesh.root_namespace, false))
}

/// `namespace/host` patterns of a listener that hold for resources of a namespace.
fn patterns<'a>(listener: &'a Egress, own: &str, namespace: &str) -> impl Iterator<Item = &'a str> {
    let own_namespace = own == namespace;
    listener.hosts.iter().filter_map(move |entry| {
        let (of, host) = entry.split_once('/')?;
        (of == "*" || of == namespace || (of == "." && own_namespace)).then_some(host)
    })
}

/// The port that services must have to be reachable through a listener.
fn port_to_match(listener: &Egress) -> Option<u32> {
    let port = listener.port.as_ref()?;
    (port.number != 0 && Protocol::parse(&port.protocol) != Protocol::HttpProxy)
        .then_some(port.number)
}

fn with_ports(service: &Arc<Service>, keep: impl Fn(u32) -> bool) -> Option<Arc<Service>> {
    let ports: Vec<_> = service
        .ports
        .iter()
        .filter(|port| keep(port.number))
        .cloned()
        .collect();
    if ports.len() == service.ports.len() {
        return Some(Arc::clone(service));
    }
    (!ports.is_empty()).then(|| {
        Arc::new(Service {
            ports,
            ..Service::clone(service)
        })
    })
}

fn select_services(snapshot: &Snapshot, node: &Node, listener: &Egress) -> Vec<Arc<Service>> {
    let port = port_to_match(listener);
    let mut services: Vec<Arc<Service>> = Vec::new();
    for service in &snapshot.registry.services {
        if !exported(&service.export_to, &service.namespace, &node.namespace) {
            continue;
        }
        let wanted = patterns(listener, &node.namespace, &service.namespace)
            .any(|pattern| pattern == service.hostname || host_within(&service.hostname, pattern));
        if !wanted {
            continue;
        }
        let matched = match port {
            Some(port) => with_ports(service, |number| number == port),
            None => Some(Arc::clone(service)),
        };
        let Some(matched) = matched else { continue };
        // One service a host: the node's own namespace wins, then the first.
        match services
            .iter_mut()
            .find(|other| other.hostname == matched.hostname)
        {
            Some(other)
                if matched.namespace == node.namespace && other.namespace != node.namespace =>
            {
                *other = matched
            }
            Some(_) => {}
            None => services.push(matched),
        }
    }
    services
}

fn select_virtual_services(
    snapshot: &Snapshot,
    node: &Node,
    listener: &Egress,
) -> Vec<Arc<Config<VirtualService>>> {
    snapshot
        .virtual_services
        .iter()
        .filter(|config| {
            config
                .spec
                .gateways
                .iter()
                .any(|gateway| gateway == MESH_GATEWAY)
                && exported(
                    &config.spec.export_to,
                    &config.meta.namespace,
                    &node.namespace,
                )
                && patterns(listener, &node.namespace, &config.meta.namespace).any(|pattern| {
                    config
                        .spec
                        .hosts
                        .iter()
                        .any(|host| hosts_meet(host, pattern))
                })
        })
        .cloned()
        .collect()
}

/// Hosts that a VirtualService sends to, with the ports it names (0: none named).
fn destinations(spec: &VirtualService) -> Vec<(&str, Vec<u32>)> {
    let http = spec.http.iter().flat_map(|http| {
        let mirrors = http
            .mirrors
            .iter()
            .filter_map(|mirror| mirror.destination.as_ref());
        http.route
            .iter()
            .map(|route| &route.destination)
            .chain(http.mirror.iter())
            .chain(mirrors)
    });
    let tls = spec
        .tls
        .iter()
        .flat_map(|tls| tls.route.iter().map(|route| &route.destination));
    let tcp = spec
        .tcp
        .iter()
        .flat_map(|tcp| tcp.route.iter().map(|route| &route.destination));
    let mut found: Vec<(&str, Vec<u32>)> = Vec::new();
    for destination in http.chain(tcp).chain(tls) {
        let port = destination.port.map_or(0, |port| port.number);
        match found.iter_mut().find(|(host, _)| *host == destination.host) {
            Some((_, ports)) => ports.push(port),
            None => found.push((&destination.host, vec![port])),
        }
    }
    found
}
