//! Outbound listeners of a sidecar: services and Sidecar egress listeners, merged where they share an address.

use std::{collections::HashMap, sync::Arc};

use serde_json::{Value, json};

use super::{
    super::{
        json::{duration, list},
        name,
        proxy::Proxy,
        scope::EgressScope,
        telemetry::Class,
    },
    ChainMatch, PLAIN_HTTP, WILDCARD, catch_all,
    hcm::{Hcm, Routes},
    http_inspector, listener_name, network, tls_inspector,
};
use crate::{
    model::{
        Config, Labels, VirtualService, labels_match,
        service_entry::Resolution,
        sidecar::CaptureMode,
    },
    source::{Family, MESH_GATEWAY, Protocol, Service, ServicePort, UNSPECIFIED},
};

/// A chain in the making.
#[derive(Clone)]
struct Chain {
    matching: ChainMatch,
    /// VirtualService that made it.
    config: Option<String>,
    content: Content,
}

#[derive(Clone)]
enum Content {
    /// Routes by this name.
    Http { routes: String, protocol: Protocol },
    Tcp(Vec<Value>),
}

/// A listener in the making.
struct Entry {
    bind: String,
    bound: bool,
    port: u32,
    /// Unset once HTTP and TCP share it.
    protocol: Protocol,
    chains: Vec<Chain>,
    /// Belongs to a Sidecar listener with a port; services without one do not join.
    locked: bool,
}

/// What one service port brings to one listener.
struct Offer<'a> {
    proxy: &'a Proxy,
    service: &'a Arc<Service>,
    port: &'a ServicePort,
    bind: String,
    bound: bool,
    cidrs: Vec<String>,
    virtual_services: &'a [Arc<Config<VirtualService>>],
}

#[derive(Default)]
struct Listeners {
    /// In order of first appearance.
    entries: Vec<Entry>,
    by_key: HashMap<(String, u32), usize>,
}

pub(super) fn build(proxy: &Proxy) -> Vec<Value> {
    let mut listeners = Listeners::default();
    for egress in &proxy.scope.egress {
        collect(proxy, egress, &mut listeners);
    }
    listeners.entries.iter().map(|entry| write(proxy, entry)).collect()
}

fn collect(proxy: &Proxy, egress: &EgressScope, listeners: &mut Listeners) {
    let written = egress.listener.as_ref();
    let bound = proxy.is_bare()
        || written.is_some_and(|written| written.capture_mode == CaptureMode::None || written.bind.starts_with("unix://"));
    let bind = match written {
        Some(written) if !written.bind.is_empty() => written.bind.clone(),
        _ if bound => "127.0.0.1".to_owned(),
        _ => String::new(),
    };
    let offer = |service, port| Offer {
        proxy,
        service,
        port,
        bind: bind.clone(),
        bound,
        cidrs: Vec::new(),
        virtual_services: &egress.virtual_services,
    };
    if let Some(port) = written.and_then(|written| written.port.as_ref()) {
        let port = ServicePort {
            number: port.number,
            name: port.name.clone(),
            protocol: Protocol::parse(&port.protocol),
            target: 0,
        };
        for service in &egress.services {
            listeners.add(offer(service, &port));
        }
        return;
    }
    for entry in &mut listeners.entries {
        entry.locked = true;
    }
    for service in &egress.services {
        for port in &service.ports {
            let headless = bind.is_empty()
                && service.resolution == Resolution::None
                && service.address == UNSPECIFIED
                && (port.protocol.is_tcp() || port.protocol == Protocol::Unset);
            if !headless || (service.instances.is_empty() && !service.selects) {
                listeners.add(offer(service, port));
                continue;
            }
            // Clients dial the workloads themselves: a listener each.
            for instance in service.instances.iter().filter(|instance| instance.service_port == port.number) {
                let is_ip = instance.address.parse::<std::net::IpAddr>().is_ok();
                if is_ip && instance.address != proxy.node.addresses[0] {
                    listeners.add(Offer {
                        bind: instance.address.clone(),
                        ..offer(service, port)
                    });
                }
            }
        }
    }
}

impl Listeners {
    fn add(&mut self, mut offer: Offer<'_>) {
        let family = offer.port.protocol.family();
        match family {
            Family::Tcp | Family::Auto if offer.bind.is_empty() => {
                if offer.service.address.contains('/') {
                    offer.cidrs = vec![offer.service.address.clone()];
                    WILDCARD.clone_into(&mut offer.bind);
                } else {
                    offer.bind.clone_from(&offer.service.address);
                }
            }
            Family::Http if offer.bind.is_empty() => WILDCARD.clone_into(&mut offer.bind),
            _ => {}
        }
        let key = (offer.bind.clone(), offer.port.number);
        let current = self.by_key.get(&key).copied();
        let existing = current.map(|index| (self.entries[index].protocol, self.entries[index].locked));
        if existing.is_some_and(|(_, locked)| locked) {
            return;
        }
        let existing = existing.map(|(protocol, _)| protocol);
        let mut protocol = offer.port.protocol;
        // Merge into the listener that is there, replace it, or make a new one (istiod: conflict types).
        let (chains, replaces, mixes) = match family {
            Family::Http => {
                if existing.is_some_and(|existing| !existing.is_tcp()) {
                    return;
                }
                let mut chain = offer.http(false);
                if offer.bind == WILDCARD {
                    sniff(&mut chain);
                    protocol = Protocol::Unset;
                }
                (vec![chain], false, existing.is_some())
            }
            Family::Tcp => (offer.tcp(), false, existing.is_some_and(Protocol::is_http)),
            Family::Auto => {
                if existing == Some(Protocol::Unset) {
                    return;
                }
                let mut chains = offer.tcp();
                let mut http = offer.http(true);
                sniff(&mut http);
                chains.push(http);
                let over_http = existing.is_some_and(Protocol::is_http);
                (chains, over_http, existing.is_some())
            }
            Family::Unknown => return,
        };
        match current {
            Some(index) if !replaces => {
                let entry = &mut self.entries[index];
                for chain in chains {
                    if !entry.chains.iter().any(|known| known.matching.conflicts(&chain.matching)) {
                        entry.chains.push(chain);
                    }
                }
                if mixes {
                    entry.protocol = Protocol::Unset;
                }
            }
            _ => {
                let entry = Entry {
                    bind: offer.bind,
                    bound: offer.bound,
                    port: offer.port.number,
                    protocol,
                    chains,
                    locked: false,
                };
                match current {
                    Some(index) => self.entries[index] = entry,
                    None => {
                        self.by_key.insert(key, self.entries.len());
                        self.entries.push(entry);
                    }
                }
            }
        }
    }
}

/// Only what looks like plaintext HTTP.
fn sniff(chain: &mut Chain) {
    chain.matching.application_protocols = PLAIN_HTTP.to_vec();
    chain.matching.transport_protocol = "raw_buffer";
}

impl Offer<'_> {
    fn http(&self, auto: bool) -> Chain {
        let routes = if self.port.number == 0 {
            self.bind.clone()
        } else if auto && self.bind != WILDCARD {
            name::domain(&self.service.hostname, self.port.number)
        } else {
            self.port.number.to_string()
        };
        Chain {
            matching: ChainMatch::default(),
            config: None,
            content: Content::Http {
                routes,
                protocol: self.port.protocol,
            },
        }
    }

    /// Chains of TLS or TCP routes, else one to the service's own cluster.
    fn tcp(&self) -> Vec<Chain> {
        let configs: Vec<&Arc<Config<VirtualService>>> = self
            .virtual_services
            .iter()
            .filter(|config| config.spec.hosts.iter().any(|host| name::hosts_meet(host, &self.service.hostname)))
            .collect();
        if self.port.protocol.is_tls() { self.by_sni(&configs) } else { self.by_address(&configs) }
    }

    fn by_sni(&self, configs: &[&Arc<Config<VirtualService>>]) -> Vec<Chain> {
        let mut chains: Vec<Chain> = Vec::new();
        for config in configs {
            for tls in &config.spec.tls {
                for matching in &tls.matching {
                    let here = self.concerns(&matching.gateways, &matching.source_labels, matching.port, &matching.source_namespace);
                    if !here {
                        continue;
                    }
                    let cidrs = if matching.destination_subnets.is_empty() { &self.cidrs } else { &matching.destination_subnets };
                    let wanted = ChainMatch {
                        sni_hosts: matching.sni_hosts.clone(),
                        cidrs: cidrs.clone(),
                        ..ChainMatch::default()
                    };
                    if chains.iter().any(|known| known.matching == wanted) {
                        continue;
                    }
                    let filters = network::to_routes(self.proxy, Class::Outbound, &tls.route, self.port.number, &config.meta);
                    chains.push(from_config(config, wanted, filters));
                }
            }
        }
        if chains.is_empty() {
            // On a shared address the service is told by its name.
            let shared = self.service.address == UNSPECIFIED && self.bind == WILDCARD;
            let mut chain = self.own_cluster();
            if shared || !self.cidrs.is_empty() {
                chain.matching.sni_hosts = vec![self.service.hostname.clone()];
            }
            chains.push(chain);
        }
        chains
    }

    fn by_address(&self, configs: &[&Arc<Config<VirtualService>>]) -> Vec<Chain> {
        let mut chains = Vec::new();
        for config in configs {
            for tcp in &config.spec.tcp {
                let filters = || network::to_routes(self.proxy, Class::Outbound, &tcp.route, self.port.number, &config.meta);
                let whole = |cidrs: &[String]| ChainMatch {
                    cidrs: cidrs.to_vec(),
                    ..ChainMatch::default()
                };
                let here: Vec<_> = tcp
                    .matching
                    .iter()
                    .filter(|matching| self.concerns(&matching.gateways, &matching.source_labels, matching.port, &matching.source_namespace))
                    .collect();
                if tcp.matching.is_empty() || here.iter().any(|matching| matching.destination_subnets.is_empty()) {
                    chains.push(from_config(config, whole(&self.cidrs), filters()));
                    return chains;
                }
                let subnets: Vec<String> = here.iter().flat_map(|matching| matching.destination_subnets.clone()).collect();
                if !subnets.is_empty() {
                    chains.push(Chain {
                        matching: whole(&subnets),
                        config: None,
                        content: Content::Tcp(filters()),
                    });
                }
            }
        }
        chains.push(self.own_cluster());
        chains
    }

    fn own_cluster(&self) -> Chain {
        let port = match self.service.ports.as_slice() {
            [only] => only.number,
            _ => self.port.number,
        };
        let cluster = name::outbound(port, "", &self.service.hostname);
        let rule = self.proxy.rule_for(self.service, false).map(|rule| &rule.spec);
        Chain {
            matching: ChainMatch {
                cidrs: self.cidrs.clone(),
                ..ChainMatch::default()
            },
            config: None,
            content: Content::Tcp(network::to_cluster(self.proxy, Class::Outbound, &cluster, rule, "")),
        }
    }

    fn concerns(&self, gateways: &[String], source: &Labels, port: u32, namespace: &str) -> bool {
        (gateways.is_empty() || gateways.iter().any(|gateway| gateway == MESH_GATEWAY))
            && labels_match(source, &self.proxy.labels)
            && (port == 0 || port == self.port.number)
            && (namespace.is_empty() || namespace == self.proxy.node.namespace)
    }
}

fn from_config(config: &Config<VirtualService>, matching: ChainMatch, filters: Vec<Value>) -> Chain {
    Chain {
        matching,
        config: Some(config.path("networking.istio.io/v1", "virtual-service")),
        content: Content::Tcp(filters),
    }
}

fn write(proxy: &Proxy, entry: &Entry) -> Value {
    let label = if entry.port == 0 { entry.bind.clone() } else { listener_name(&entry.bind, entry.port) };
    let (mut chains, mut default) = (Vec::new(), None);
    let (mut tls, mut http) = (false, false);
    for chain in &entry.chains {
        tls |= !chain.matching.sni_hosts.is_empty();
        http |= !chain.matching.application_protocols.is_empty();
        let filters = match &chain.content {
            Content::Tcp(filters) => filters.clone(),
            Content::Http { routes, protocol } => {
                let hcm = Hcm {
                    class: Class::Outbound,
                    stat_prefix: format!("outbound_{label};"),
                    routes: Routes::Named(routes.clone()),
                    protocol: *protocol,
                };
                vec![hcm.build(proxy)]
            }
        };
        let matching = chain.matching.write();
        let takes_all = matching.is_none();
        let written = json!({
            "filterChainMatch": matching,
            "filters": filters,
            "metadata": chain.config.as_ref().map(|config| json!({"filterMetadata": {"istio": {"config": config}}})),
            "transportSocketConnectTimeout": "15s",
        });
        if takes_all {
            default = Some(written);
        } else {
            chains.push(written);
        }
    }
    let default = match default {
        Some(only) if chains.is_empty() => {
            chains.push(only);
            None
        }
        None => Some(json!({
            "filterChainMatch": {},
            "name": "PassthroughFilterChain",
            "filters": catch_all(proxy),
        })),
        some => some,
    };
    let mut inspectors = Vec::new();
    if tls {
        inspectors.push(tls_inspector());
    }
    if http {
        inspectors.push(http_inspector());
    }
    let timeout = if http { proxy.snapshot.mesh.protocol_detection_timeout } else { crate::model::Duration::default() };
    json!({
        "name": label,
        "address": super::super::json::address(&entry.bind, entry.port),
        "filterChains": chains,
        "defaultFilterChain": default,
        "listenerFilters": list(inspectors),
        "listenerFiltersTimeout": duration(Some(timeout)),
        "continueOnListenerFiltersTimeout": true,
        "trafficDirection": "OUTBOUND",
        "bindToPort": (!entry.bound).then_some(false),
        "maxConnectionsToAcceptPerSocketEvent": entry.bound.then_some(1),
    })
}
