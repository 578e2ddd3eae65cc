//! Inbound listeners: `virtualInbound` with a set of chains a port (table 3.1), or really bound listeners of a Sidecar.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    super::{
        authorize,
        json::{any, list, typed_struct},
        name::{self, BLACK_HOLE, INBOUND_PASSTHROUGH},
        node::Interception,
        peer::{Mode, PeerPolicy},
        proxy::Proxy,
        telemetry::{self, Class},
        tls,
    },
    PLAIN_HTTP, WILDCARD,
    hcm::{Hcm, Routes},
    http_inspector, listener_name, network, tls_inspector,
};
use crate::{
    model::{gateway::ServerTls, sidecar::CaptureMode},
    source::{Family, Protocol},
};

/// One workload port.
struct Port<'a> {
    /// Port that the workload serves; 0: any other.
    target: u32,
    /// Port that clients dial.
    number: u32,
    protocol: Protocol,
    cluster: String,
    bind: String,
    /// Who is meant, for span names.
    host: String,
    bound: bool,
    passthrough: bool,
    tls: Option<&'a ServerTls>,
    config: Option<String>,
}

/// One row of table 3.1.
struct Row {
    http: bool,
    mutual: bool,
    transport: &'static str,
    applications: &'static [&'static str],
}

pub(super) fn build(proxy: &Proxy) -> Vec<Value> {
    let policy = PeerPolicy::for_proxy(proxy);
    let (mut bound, mut captured) = (Vec::new(), Vec::new());
    for port in ports(proxy) {
        let chains = chains(proxy, &policy, &port);
        if port.bound {
            let label = listener_name(&port.bind, port.target);
            bound.push(listener(
                proxy,
                &label,
                &port.bind,
                port.target,
                true,
                chains,
            ));
        } else {
            captured.extend(chains);
        }
    }
    if proxy.is_bare() {
        return bound;
    }
    let mut all = vec![black_hole(proxy)];
    all.extend(passthrough(proxy, &policy));
    all.append(&mut captured);
    let own = proxy.snapshot.mesh.proxy_inbound_listen_port;
    let mut listeners = vec![listener(proxy, "virtualInbound", WILDCARD, own, false, all)];
    listeners.append(&mut bound);
    listeners
}

/// Ports in order: the Sidecar's, else those of the services.
fn ports(proxy: &Proxy) -> Vec<Port<'_>> {
    let mut ports: BTreeMap<u32, Port<'_>> = BTreeMap::new();
    let bare = proxy.is_bare();
    let ingress = proxy.scope.ingress();
    if ingress.is_empty() {
        if bare {
            return Vec::new();
        }
        for target in &proxy.targets {
            ports.entry(target.target).or_insert_with(|| Port {
                target: target.target,
                number: target.port.number,
                protocol: target.port.protocol,
                cluster: name::inbound(target.target),
                bind: WILDCARD.to_owned(),
                host: target.service.hostname.clone(),
                bound: false,
                passthrough: false,
                tls: None,
                config: None,
            });
        }
    }
    for listener in ingress {
        let number = listener.port.number;
        let config = proxy
            .scope
            .sidecar
            .as_ref()
            .map(|config| config.path("networking.istio.io/v1", "sidecar"));
        // Without interception the workload's own address; with it, any.
        let default = if bare {
            &proxy.node.addresses[0]
        } else {
            WILDCARD
        };
        ports.entry(number).or_insert_with(|| Port {
            target: number,
            number,
            protocol: Protocol::parse(&listener.port.protocol),
            cluster: name::inbound(number),
            bind: if listener.bind.is_empty() {
                default.to_owned()
            } else {
                listener.bind.clone()
            },
            host: format!("{}.{}", proxy.scope.name, proxy.scope.namespace),
            bound: match listener.capture_mode {
                CaptureMode::Default => bare,
                mode => mode == CaptureMode::None,
            },
            passthrough: false,
            tls: listener.tls.as_ref(),
            config,
        });
    }
    ports.into_values().collect()
}

fn chains(proxy: &Proxy, policy: &PeerPolicy, port: &Port<'_>) -> Vec<Value> {
    let mode = policy.port(port.target);
    let own = port.tls.filter(|_| mode == Mode::Disable);
    let protocol = if own.is_some() {
        port.protocol.after_tls()
    } else {
        port.protocol
    };
    let user_rows;
    let rows: &[Row] = match own {
        Some(_) => {
            user_rows = [Row {
                http: protocol.is_http(),
                mutual: true,
                transport: "tls",
                applications: &[],
            }];
            &user_rows
        }
        None => table(mode, protocol.family()),
    };
    rows.iter()
        .map(|row| {
            let socket = if row.mutual {
                own.map_or_else(|| Some(tls::downstream_mesh(proxy, row.http)), tls::downstream_server)
            } else {
                None
            };
            let label = match (port.passthrough, row.http) {
                (true, true) => "virtualInbound-catchall-http".to_owned(),
                (true, false) => "virtualInbound".to_owned(),
                (false, _) => listener_name(&port.bind, port.target),
            };
            json!({
                "name": label,
                "filterChainMatch": {
                    "destinationPort": (port.target > 0).then_some(port.target),
                    "transportProtocol": row.transport,
                    "applicationProtocols": list(row.applications.iter().map(|name| json!(name)).collect()),
                },
                "transportSocket": socket,
                "filters": if row.http { http(proxy, port, protocol) } else { tcp(proxy, port) },
                "metadata": port.config.as_ref().map(|config| json!({"filterMetadata": {"istio": {"config": config}}})),
            })
        })
        .collect()
}

/// Table 3.1 of istio.md.
fn table(mode: Mode, family: Family) -> &'static [Row] {
    const fn row(
        http: bool,
        mutual: bool,
        transport: &'static str,
        applications: &'static [&'static str],
    ) -> Row {
        Row {
            http,
            mutual,
            transport,
            applications,
        }
    }
    const MESH_HTTP: &[&str] = &["istio-http/1.0", "istio-http/1.1", "istio-h2"];
    const MESH_ALL: &[&str] = &[
        "istio",
        "istio-peer-exchange",
        "istio-http/1.0",
        "istio-http/1.1",
        "istio-h2",
    ];
    const MESH_TCP: &[&str] = &["istio-peer-exchange", "istio"];
    const PLAIN: &[&str] = &PLAIN_HTTP;
    const RAW: &str = "raw_buffer";
    const TLS: &str = "tls";
    match (mode, family) {
        (Mode::Permissive | Mode::Unset, Family::Http) => {
            const { &[row(true, true, TLS, MESH_ALL), row(true, false, RAW, &[])] }
        }
        (Mode::Permissive | Mode::Unset, Family::Tcp | Family::Unknown) => {
            const {
                &[
                    row(false, true, TLS, MESH_ALL),
                    row(false, false, TLS, &[]),
                    row(false, false, RAW, &[]),
                ]
            }
        }
        (Mode::Permissive | Mode::Unset, Family::Auto) => {
            const {
                &[
                    row(true, true, TLS, MESH_HTTP),
                    row(true, false, RAW, PLAIN),
                    row(false, true, TLS, MESH_TCP),
                    row(false, false, RAW, &[]),
                    row(false, false, TLS, &[]),
                ]
            }
        }
        (Mode::Strict, Family::Http) => const { &[row(true, true, TLS, &[])] },
        (Mode::Strict, Family::Tcp | Family::Unknown) => const { &[row(false, true, TLS, &[])] },
        (Mode::Strict, Family::Auto) => {
            const { &[row(true, true, TLS, MESH_HTTP), row(false, true, TLS, &[])] }
        }
        (Mode::Disable, Family::Http) => const { &[row(true, false, RAW, &[])] },
        (Mode::Disable, Family::Tcp | Family::Unknown) => const { &[row(false, false, RAW, &[])] },
        (Mode::Disable, Family::Auto) => {
            const { &[row(true, false, RAW, PLAIN), row(false, false, RAW, &[])] }
        }
    }
}

fn http(proxy: &Proxy, port: &Port<'_>, protocol: Protocol) -> Vec<Value> {
    let stat_prefix = if port.passthrough {
        format!("{};", port.cluster)
    } else {
        format!("inbound_{};", listener_name(&port.bind, port.target))
    };
    let retry =
        (!protocol.is_grpc()).then(|| json!({"retryOn": "reset-before-request", "numRetries": 2}));
    let routes = json!({
        "name": port.cluster,
        "virtualHosts": [{
            "name": format!("inbound|http|{}", port.number),
            "domains": ["*"],
            "routes": [{
                "name": "default",
                "match": {"prefix": "/"},
                "route": {
                    "cluster": port.cluster,
                    "timeout": "0s",
                    "retryPolicy": retry,
                    "maxStreamDuration": {"maxStreamDuration": "0s", "grpcTimeoutHeaderMax": "0s"},
                },
                "decorator": {"operation": format!("{}:{}/*", port.host, port.number)},
            }],
        }],
        "validateClusters": false,
    });
    let hcm = Hcm {
        class: Class::Inbound,
        stat_prefix,
        routes: Routes::Inline(routes),
        protocol,
    };
    vec![metadata_exchange(), hcm.build(proxy)]
}

fn tcp(proxy: &Proxy, port: &Port<'_>) -> Vec<Value> {
    let mut filters = vec![metadata_exchange()];
    filters.extend(authorize::custom(proxy, true));
    filters.extend(authorize::local(proxy, true));
    filters.extend(telemetry::stats(proxy, Class::Inbound));
    filters.push(network::tcp_proxy(json!({
        "statPrefix": port.cluster,
        "cluster": port.cluster,
        "idleTimeout": super::super::json::duration(proxy.node.idle_timeout),
        "accessLog": telemetry::access_log(proxy, Class::Inbound),
    })));
    filters
}

/// Ports that no service has, and ports that a policy treats apart.
fn passthrough(proxy: &Proxy, policy: &PeerPolicy) -> Vec<Value> {
    let ingress = proxy.scope.ingress();
    let served = |port: u32| {
        if ingress.is_empty() {
            proxy.targets.iter().any(|target| target.target == port)
        } else {
            ingress.iter().any(|listener| listener.port.number == port)
        }
    };
    std::iter::once(0)
        .chain(policy.ports.keys().copied().filter(|port| !served(*port)))
        .flat_map(|target| {
            chains(
                proxy,
                policy,
                &Port {
                    target,
                    number: 0,
                    protocol: Protocol::Unset,
                    cluster: INBOUND_PASSTHROUGH.to_owned(),
                    bind: WILDCARD.to_owned(),
                    host: String::new(),
                    bound: false,
                    passthrough: true,
                    tls: None,
                    config: None,
                },
            )
        })
        .collect()
}

fn black_hole(proxy: &Proxy) -> Value {
    let mut filters = vec![metadata_exchange()];
    filters.extend(telemetry::stats(proxy, Class::Inbound));
    filters.push(network::tcp_proxy(
        json!({"statPrefix": BLACK_HOLE, "cluster": BLACK_HOLE}),
    ));
    json!({
        "name": "virtualInbound-blackhole",
        "filterChainMatch": {"destinationPort": proxy.snapshot.mesh.proxy_inbound_listen_port},
        "filters": filters,
    })
}

fn metadata_exchange() -> Value {
    typed_struct(
        "istio.metadata_exchange",
        "envoy.tcp.metadataexchange.config.MetadataExchange",
        json!({"enable_discovery": true, "protocol": "istio-peer-exchange"}),
    )
}

fn listener(
    proxy: &Proxy,
    label: &str,
    bind: &str,
    port: u32,
    bound: bool,
    chains: Vec<Value>,
) -> Value {
    json!({
        "name": label,
        "address": super::super::json::address(bind, port),
        "listenerFilters": list(listener_filters(proxy, &chains, bound)),
        "listenerFiltersTimeout": proxy.snapshot.mesh.protocol_detection_timeout.to_string(),
        "continueOnListenerFiltersTimeout": true,
        "trafficDirection": "INBOUND",
        "transparent": (!bound && proxy.node.interception == Interception::Tproxy).then_some(true),
        "accessLog": telemetry::listener_log(proxy, Class::Inbound),
        "maxConnectionsToAcceptPerSocketEvent": 1,
        "filterChains": chains,
    })
}

/// Inspectors, each only for the ports whose chains ask for it.
fn listener_filters(proxy: &Proxy, chains: &[Value], bound: bool) -> Vec<Value> {
    let mut filters = Vec::new();
    if !bound {
        filters.push(json!({
            "name": "envoy.filters.listener.original_dst",
            "typedConfig": any("envoy.extensions.filters.listener.original_dst.v3.OriginalDst", json!({})),
        }));
        if proxy.node.interception == Interception::Tproxy {
            filters.push(json!({
                "name": "envoy.filters.listener.original_src",
                "typedConfig": any("envoy.extensions.filters.listener.original_src.v3.OriginalSrc", json!({"mark": 1_337})),
            }));
        }
    }
    // Port (0: any) → looks for TLS, looks for HTTP.
    let mut wants: BTreeMap<u64, (bool, bool)> = BTreeMap::new();
    for chain in chains {
        let matching = &chain["filterChainMatch"];
        let entry = wants
            .entry(matching["destinationPort"].as_u64().unwrap_or(0))
            .or_default();
        entry.0 |= matching["transportProtocol"] == "tls";
        let applications = matching["applicationProtocols"].as_array();
        entry.1 |= applications.is_some_and(|all| {
            all.iter()
                .any(|name| PLAIN_HTTP.iter().any(|plain| name == plain))
        });
    }
    if wants.values().any(|(tls, _)| *tls) {
        let mut filter = tls_inspector();
        let by_default = wants.get(&0).is_some_and(|(tls, _)| *tls);
        let ports: Vec<u64> = wants
            .iter()
            .filter(|(port, (tls, _))| **port != 0 && *tls != by_default)
            .map(|(port, _)| *port)
            .collect();
        if !ports.is_empty() {
            let ports = port_predicate(&ports);
            filter["filterDisabled"] = if by_default {
                ports
            } else {
                json!({"notMatch": ports})
            };
        }
        filters.push(filter);
    }
    if wants.values().any(|(_, http)| *http) {
        let mut filter = http_inspector();
        let ports: Vec<u64> = wants
            .iter()
            .filter(|(_, (_, http))| !http)
            .map(|(port, _)| *port)
            .collect();
        if !ports.is_empty() {
            filter["filterDisabled"] = port_predicate(&ports);
        }
        filters.push(filter);
    }
    filters
}

fn port_predicate(ports: &[u64]) -> Value {
    let mut rules: Vec<Value> = ports
        .iter()
        .map(|port| json!({"destinationPortRange": {"start": port, "end": port + 1}}))
        .collect();
    if rules.len() == 1 {
        rules.remove(0)
    } else {
        json!({"orMatch": {"rules": rules}})
    }
}
