//! Outbound listeners of a sidecar: services and Sidecar egress listeners, merged where they share an address.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::{
    super::{
        json::{duration, list},
        proxy::Proxy,
        scope::EgressScope,
        telemetry::Class,
    },
    WILDCARD, catch_all,
    hcm::{Hcm, Routes},
    http_inspector, listener_name,
    offer::{Chain, Content, Offer, sniff},
    tls_inspector,
};
use crate::{
    model::{service_entry::Resolution, sidecar::CaptureMode},
    source::{Family, Protocol, ServicePort, UNSPECIFIED},
};

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
    listeners
        .entries
        .iter()
        .map(|entry| write(proxy, entry))
        .collect()
}

fn collect(proxy: &Proxy, egress: &EgressScope, listeners: &mut Listeners) {
    let written = egress.listener.as_ref();
    let bound = proxy.is_bare()
        || written.is_some_and(|written| {
            written.capture_mode == CaptureMode::None || written.bind.starts_with("unix://")
        });
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
            for instance in service
                .instances
                .iter()
                .filter(|instance| instance.service_port == port.number)
            {
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
        let existing =
            current.map(|index| (self.entries[index].protocol, self.entries[index].locked));
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
                    if !entry
                        .chains
                        .iter()
                        .any(|known| known.matching.conflicts(&chain.matching))
                    {
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

fn write(proxy: &Proxy, entry: &Entry) -> Value {
    let label = if entry.port == 0 {
        entry.bind.clone()
    } else {
        listener_name(&entry.bind, entry.port)
    };
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
    let timeout = if http {
        proxy.snapshot.mesh.protocol_detection_timeout
    } else {
        crate::model::Duration::default()
    };
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
