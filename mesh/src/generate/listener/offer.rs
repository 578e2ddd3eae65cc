//! What one service port brings to a listener: its chains.

use std::sync::Arc;

use serde_json::Value;

use super::{
    super::{name, proxy::Proxy, telemetry::Class},
    ChainMatch, PLAIN_HTTP, WILDCARD, network,
};
use crate::{
    model::{Config, Labels, VirtualService, labels_match},
    source::{MESH_GATEWAY, Protocol, Service, ServicePort, UNSPECIFIED},
};

/// A chain in the making.
#[derive(Clone)]
pub(super) struct Chain {
    pub(super) matching: ChainMatch,
    /// VirtualService that made it.
    pub(super) config: Option<String>,
    pub(super) content: Content,
}

#[derive(Clone)]
pub(super) enum Content {
    /// Routes by this name.
    Http {
        routes: String,
        protocol: Protocol,
    },
    Tcp(Vec<Value>),
}

/// What one service port brings to one listener.
pub(super) struct Offer<'a> {
    pub(super) proxy: &'a Proxy,
    pub(super) service: &'a Arc<Service>,
    pub(super) port: &'a ServicePort,
    pub(super) bind: String,
    pub(super) bound: bool,
    pub(super) cidrs: Vec<String>,
    pub(super) virtual_services: &'a [Arc<Config<VirtualService>>],
}

/// Only what looks like plaintext HTTP.
pub(super) fn sniff(chain: &mut Chain) {
    chain.matching.application_protocols = PLAIN_HTTP.to_vec();
    chain.matching.transport_protocol = "raw_buffer";
}

impl Offer<'_> {
    pub(super) fn http(&self, auto: bool) -> Chain {
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
    pub(super) fn tcp(&self) -> Vec<Chain> {
        let configs: Vec<&Arc<Config<VirtualService>>> = self
            .virtual_services
            .iter()
            .filter(|config| {
                config
                    .spec
                    .hosts
                    .iter()
                    .any(|host| name::hosts_meet(host, &self.service.hostname))
            })
            .collect();
        if self.port.protocol.is_tls() {
            self.by_sni(&configs)
        } else {
            self.by_address(&configs)
        }
    }

    fn by_sni(&self, configs: &[&Arc<Config<VirtualService>>]) -> Vec<Chain> {
        let mut chains: Vec<Chain> = Vec::new();
        for config in configs {
            for tls in &config.spec.tls {
                for matching in &tls.matching {
                    let here = self.concerns(
                        &matching.gateways,
                        &matching.source_labels,
                        matching.port,
                        &matching.source_namespace,
                    );
                    if !here {
                        continue;
                    }
                    let cidrs = if matching.destination_subnets.is_empty() {
                        &self.cidrs
                    } else {
                        &matching.destination_subnets
                    };
                    let wanted = ChainMatch {
                        sni_hosts: matching.sni_hosts.clone(),
                        cidrs: cidrs.clone(),
                        ..ChainMatch::default()
                    };
                    if chains.iter().any(|known| known.matching == wanted) {
                        continue;
                    }
                    let filters = network::to_routes(
                        self.proxy,
                        Class::Outbound,
                        &tls.route,
                        self.port.number,
                        &config.meta,
                    );
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
                let filters = || {
                    network::to_routes(
                        self.proxy,
                        Class::Outbound,
                        &tcp.route,
                        self.port.number,
                        &config.meta,
                    )
                };
                let whole = |cidrs: &[String]| ChainMatch {
                    cidrs: cidrs.to_vec(),
                    ..ChainMatch::default()
                };
                let here: Vec<_> = tcp
                    .matching
                    .iter()
                    .filter(|matching| {
                        self.concerns(
                            &matching.gateways,
                            &matching.source_labels,
                            matching.port,
                            &matching.source_namespace,
                        )
                    })
                    .collect();
                if tcp.matching.is_empty()
                    || here
                        .iter()
                        .any(|matching| matching.destination_subnets.is_empty())
                {
                    chains.push(from_config(config, whole(&self.cidrs), filters()));
                    return chains;
                }
                let subnets: Vec<String> = here
                    .iter()
                    .flat_map(|matching| matching.destination_subnets.clone())
                    .collect();
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
        let rule = self
            .proxy
            .rule_for(self.service, false)
            .map(|rule| &rule.spec);
        Chain {
            matching: ChainMatch {
                cidrs: self.cidrs.clone(),
                ..ChainMatch::default()
            },
            config: None,
            content: Content::Tcp(network::to_cluster(
                self.proxy,
                Class::Outbound,
                &cluster,
                rule,
                "",
            )),
        }
    }

    fn concerns(&self, gateways: &[String], source: &Labels, port: u32, namespace: &str) -> bool {
        (gateways.is_empty() || gateways.iter().any(|gateway| gateway == MESH_GATEWAY))
            && labels_match(source, &self.proxy.labels)
            && (port == 0 || port == self.port.number)
            && (namespace.is_empty() || namespace == self.proxy.node.namespace)
    }
}

fn from_config(
    config: &Config<VirtualService>,
    matching: ChainMatch,
    filters: Vec<Value>,
) -> Chain {
    Chain {
        matching,
        config: Some(config.path("networking.istio.io/v1", "virtual-service")),
        content: Content::Tcp(filters),
    }
}
