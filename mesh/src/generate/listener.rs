//! Listeners: inbound by workload port, outbound by service or Sidecar listener, the two virtual ones, and a gateway's.

mod gateway;
mod hcm;
mod inbound;
mod network;
mod offer;
mod outbound;

use serde_json::{Value, json};

use super::{
    envoy_filter,
    json::{any, list},
    name::{BLACK_HOLE, PASSTHROUGH},
    node::Interception,
    proxy::Proxy,
    telemetry::{self, Class},
};

/// All listeners of a node, in istiod's order.
pub(super) fn build(proxy: &Proxy) -> Vec<Value> {
    if proxy.is_router() {
        let mut listeners = gateway::build(proxy);
        envoy_filter::apply(proxy, Class::Gateway, &mut listeners);
        return listeners;
    }
    let mut listeners = outbound::build(proxy);
    if !proxy.is_bare() {
        listeners.push(virtual_outbound(proxy));
    }
    envoy_filter::apply(proxy, Class::Outbound, &mut listeners);
    let mut inbound = inbound::build(proxy);
    envoy_filter::apply(proxy, Class::Inbound, &mut inbound);
    listeners.extend(inbound);
    listeners
}

/// Where iptables sends what leaves: on to the service's listener, else to the original destination.
fn virtual_outbound(proxy: &Proxy) -> Value {
    let port = proxy.snapshot.mesh.proxy_listen_port;
    let mut black_hole = telemetry::stats(proxy, Class::Outbound);
    black_hole.push(network::tcp_proxy(
        json!({"statPrefix": BLACK_HOLE, "cluster": BLACK_HOLE}),
    ));
    json!({
        "name": "virtualOutbound",
        "address": super::json::address(WILDCARD, port),
        "transparent": (proxy.node.interception == Interception::Tproxy).then_some(true),
        "useOriginalDst": true,
        "trafficDirection": "OUTBOUND",
        "accessLog": telemetry::listener_log(proxy, Class::Outbound),
        "maxConnectionsToAcceptPerSocketEvent": 1,
        "filterChains": [
            // A connection to the listener itself would come back for ever.
            {"name": "virtualOutbound-blackhole", "filterChainMatch": {"destinationPort": port}, "filters": black_hole},
            {"name": "virtualOutbound-catchall-tcp", "filters": catch_all(proxy)},
        ],
    })
}

/// Filters of unknown outbound traffic.
fn catch_all(proxy: &Proxy) -> Vec<Value> {
    let cluster = match (&proxy.scope.egress_proxy, proxy.scope.allow_any) {
        (Some(to), true) => super::route::destination_cluster(to, None, 0),
        (None, true) => PASSTHROUGH.to_owned(),
        (_, false) => BLACK_HOLE.to_owned(),
    };
    let mut filters = telemetry::stats(proxy, Class::Outbound);
    filters.push(network::tcp_proxy(json!({
        "statPrefix": cluster,
        "cluster": cluster,
        "idleTimeout": super::json::duration(proxy.node.idle_timeout),
        "accessLog": telemetry::access_log(proxy, Class::Outbound),
    })));
    filters
}

/// `ADDRESS_PORT`, or the path of a Unix socket.
fn listener_name(bind: &str, port: u32) -> String {
    format!("{bind}_{port}")
}

fn tls_inspector() -> Value {
    json!({
        "name": "envoy.filters.listener.tls_inspector",
        "typedConfig": any(
            "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
            json!({"initialReadBufferSize": 512}),
        ),
    })
}

fn http_inspector() -> Value {
    json!({
        "name": "envoy.filters.listener.http_inspector",
        "typedConfig": any("envoy.extensions.filters.listener.http_inspector.v3.HttpInspector", json!({})),
    })
}

/// What a chain is chosen by.
#[derive(Clone, Debug, Default, PartialEq)]
struct ChainMatch {
    sni_hosts: Vec<String>,
    cidrs: Vec<String>,
    application_protocols: Vec<&'static str>,
    transport_protocol: &'static str,
}

impl ChainMatch {
    fn takes_all(&self) -> bool {
        (self.sni_hosts.is_empty() || self.sni_hosts.iter().any(|host| host == "*"))
            && self.cidrs.is_empty()
            && self.application_protocols.is_empty()
            && self.transport_protocol.is_empty()
    }

    /// Two chains that Envoy could not tell apart.
    fn conflicts(&self, other: &Self) -> bool {
        let set = |values: &[String], except: &str| {
            let mut kept: Vec<String> = values
                .iter()
                .filter(|value| *value != "*" && *value != except)
                .cloned()
                .collect();
            kept.sort();
            kept.dedup();
            kept
        };
        self.transport_protocol == other.transport_protocol
            && self.application_protocols == other.application_protocols
            && set(&self.sni_hosts, "*") == set(&other.sni_hosts, "*")
            && set(&self.cidrs, WILDCARD) == set(&other.cidrs, WILDCARD)
    }

    /// `FilterChainMatch`; none when everything fits.
    fn write(&self) -> Option<Value> {
        if self.takes_all() {
            return None;
        }
        let mut names = self.sni_hosts.clone();
        names.sort();
        if names.iter().any(|name| name == "*") {
            names.clear();
        }
        let mut cidrs = self.cidrs.clone();
        cidrs.sort();
        let ranges = cidrs.iter().filter_map(|cidr| {
            let (ip, bits) = cidr
                .split_once('/')
                .unwrap_or_else(|| (cidr, if cidr.contains(':') { "128" } else { "32" }));
            (ip != WILDCARD)
                .then(|| json!({"addressPrefix": ip, "prefixLen": bits.parse::<u32>().ok()}))
        });
        Some(json!({
            "serverNames": list(names.into_iter().map(Value::from).collect()),
            "prefixRanges": list(ranges.collect()),
            "applicationProtocols": list(self.application_protocols.iter().map(|name| json!(name)).collect()),
            "transportProtocol": super::json::text(self.transport_protocol),
        }))
    }
}

/// All addresses of IPv4.
const WILDCARD: &str = "0.0.0.0";
/// What the HTTP inspector finds on plaintext.
const PLAIN_HTTP: [&str; 2] = ["http/1.1", "h2c"];
