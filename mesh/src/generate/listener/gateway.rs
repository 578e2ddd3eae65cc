//! Listeners of a gateway: one a port, really bound.

use serde_json::{Value, json};

use super::{
    super::{
        json::list,
        proxy::Proxy,
        route::{self, MergedServer},
        telemetry::{self, Class},
        tls,
    },
    ChainMatch, WILDCARD,
    hcm::{Hcm, Routes},
    listener_name, network, tls_inspector,
};
use crate::model::gateway::ServerTlsMode;

/// A chain in the making.
struct Chain {
    matching: ChainMatch,
    socket: Option<Value>,
    filters: Vec<Value>,
}

pub(super) fn build(proxy: &Proxy) -> Vec<Value> {
    let servers = route::merged(proxy);
    let mut addresses: Vec<(String, u32)> = Vec::new();
    for server in &servers {
        let bind = if server.server.bind.is_empty() {
            WILDCARD
        } else {
            server.server.bind.as_str()
        };
        let address = (bind.to_owned(), server.port);
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
        .into_iter()
        .filter_map(|(bind, port)| {
            let mine: Vec<&MergedServer<'_>> = servers
                .iter()
                .filter(|server| {
                    server.port == port
                        && (server.server.bind == bind
                            || (server.server.bind.is_empty() && bind == WILDCARD))
                })
                .collect();
            listener(proxy, &bind, port, &mine)
        })
        .collect()
}

fn listener(proxy: &Proxy, bind: &str, port: u32, servers: &[&MergedServer<'_>]) -> Option<Value> {
    let label = listener_name(bind, port);
    let first = servers.first()?;
    let mut chains = Vec::new();
    if first.protocol().is_http() {
        // All plain HTTP servers of a port share one chain and one route configuration.
        chains.push(http(proxy, first, &label));
    } else {
        for server in servers.iter().filter(|server| !server.protocol().is_http()) {
            if server.terminates_http() {
                chains.push(http(proxy, server, &label));
            } else {
                chains.extend(tcp(proxy, server));
            }
        }
    }
    if chains.is_empty() {
        return None;
    }
    let inspect = chains
        .iter()
        .any(|chain| !chain.matching.sni_hosts.is_empty() || chain.socket.is_some());
    let written: Vec<Value> = chains
        .into_iter()
        .map(|chain| {
            json!({
                "filterChainMatch": chain.matching.write(),
                "transportSocket": chain.socket,
                "filters": chain.filters,
                "transportSocketConnectTimeout": "15s",
            })
        })
        .collect();
    Some(json!({
        "name": label,
        "address": super::super::json::address(bind, port),
        "filterChains": written,
        "listenerFilters": list(if inspect { vec![tls_inspector()] } else { Vec::new() }),
        "trafficDirection": "OUTBOUND",
        "accessLog": telemetry::listener_log(proxy, Class::Gateway),
        "maxConnectionsToAcceptPerSocketEvent": 1,
    }))
}

fn http(proxy: &Proxy, server: &MergedServer<'_>, label: &str) -> Chain {
    let terminates = server.terminates_http();
    let own = &server.server.name;
    let hcm = Hcm {
        class: Class::Gateway,
        stat_prefix: if terminates && !own.is_empty() {
            own.clone()
        } else {
            format!("outbound_{label};")
        },
        routes: Routes::Named(server.route.clone().unwrap_or_default()),
        protocol: server.protocol(),
    };
    Chain {
        matching: ChainMatch {
            sni_hosts: if terminates {
                server.hosts().map(str::to_owned).collect()
            } else {
                Vec::new()
            },
            ..ChainMatch::default()
        },
        socket: server
            .server
            .tls
            .as_ref()
            .filter(|_| terminates)
            .and_then(tls::downstream_server),
        filters: vec![hcm.build(proxy)],
    }
}

/// TCP, TLS that is terminated, TLS that passes by its SNI.
fn tcp(proxy: &Proxy, server: &MergedServer<'_>) -> Vec<Chain> {
    let port = server.server.port.number;
    let passes = server
        .server
        .tls
        .as_ref()
        .is_some_and(|tls| tls.mode == ServerTlsMode::Passthrough);
    let mut chains = Vec::new();
    for (_, config) in route::virtual_services(proxy, &server.gateway) {
        if route::intersection(server, config).is_empty() {
            continue;
        }
        let here = |gateways: &[String], wanted: u32| {
            (gateways.is_empty() || gateways.contains(&server.gateway))
                && (wanted == 0 || wanted == port)
        };
        if passes {
            for tls in &config.spec.tls {
                for matching in tls
                    .matching
                    .iter()
                    .filter(|matching| here(&matching.gateways, matching.port))
                {
                    chains.push(Chain {
                        matching: ChainMatch {
                            sni_hosts: matching.sni_hosts.clone(),
                            ..ChainMatch::default()
                        },
                        socket: None,
                        filters: network::to_routes(
                            proxy,
                            Class::Gateway,
                            &tls.route,
                            port,
                            &config.meta,
                        ),
                    });
                }
            }
            continue;
        }
        let fits = |tcp: &&crate::model::virtual_service::TcpRoute| {
            tcp.matching.is_empty()
                || tcp
                    .matching
                    .iter()
                    .any(|matching| here(&matching.gateways, matching.port))
        };
        if let Some(tcp) = config.spec.tcp.iter().find(fits) {
            let names = server
                .server
                .tls
                .as_ref()
                .map(|_| server.hosts().map(str::to_owned).collect());
            let mut filters = super::super::authorize::custom(proxy, true);
            filters.extend(super::super::authorize::local(proxy, true));
            filters.extend(network::to_routes(
                proxy,
                Class::Gateway,
                &tcp.route,
                port,
                &config.meta,
            ));
            chains.push(Chain {
                matching: ChainMatch {
                    sni_hosts: names.unwrap_or_default(),
                    ..ChainMatch::default()
                },
                socket: server.server.tls.as_ref().and_then(tls::downstream_server),
                filters,
            });
            return chains;
        }
    }
    chains
}
