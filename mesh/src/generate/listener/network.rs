//! Network filters of TCP chains.

use serde_json::{Value, json};

use super::super::{
    cluster::Policy,
    json::{duration, extension},
    proxy::Proxy,
    route::destination_cluster,
    telemetry::{self, Class},
};
use crate::model::{DestinationRule, Meta, virtual_service::TcpDestination};

/// `envoy.filters.network.tcp_proxy`.
pub(super) fn tcp_proxy(config: Value) -> Value {
    extension(
        "envoy.filters.network.tcp_proxy",
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        config,
    )
}

/// Metrics and proxy to one cluster.
pub(super) fn to_cluster(
    proxy: &Proxy,
    class: Class,
    cluster: &str,
    rule: Option<&DestinationRule>,
    subset: &str,
) -> Vec<Value> {
    let mut config = settings(proxy, class, rule, subset);
    config["statPrefix"] = json!(cluster);
    config["cluster"] = json!(cluster);
    let mut filters = telemetry::stats(proxy, class);
    filters.push(tcp_proxy(config));
    filters
}

/// Metrics and proxy to the destinations of a VirtualService's TCP or TLS route.
pub(super) fn to_routes(
    proxy: &Proxy,
    class: Class,
    routes: &[TcpDestination],
    port: u32,
    meta: &Meta,
) -> Vec<Value> {
    let Some(first) = routes.first() else {
        return Vec::new();
    };
    let service = |host: &str| {
        proxy
            .snapshot
            .registry
            .visible(host, &proxy.node.namespace)
            .map(AsRef::as_ref)
    };
    let rule = proxy
        .destination_rule(&first.destination.host, false)
        .map(|rule| &rule.spec);
    if routes.len() == 1 {
        let cluster =
            destination_cluster(&first.destination, service(&first.destination.host), port);
        return to_cluster(proxy, class, &cluster, rule, &first.destination.subset);
    }
    let mut config = settings(proxy, class, rule, "");
    config["statPrefix"] = json!(format!("{}.{}", meta.name, meta.namespace));
    let clusters: Vec<Value> = routes
        .iter()
        .filter(|route| route.weight > 0)
        .map(|route| {
            let cluster =
                destination_cluster(&route.destination, service(&route.destination.host), port);
            json!({"name": cluster, "weight": route.weight})
        })
        .collect();
    config["weightedClusters"] = json!({"clusters": clusters});
    let mut filters = telemetry::stats(proxy, class);
    filters.push(tcp_proxy(config));
    filters
}

fn settings(proxy: &Proxy, class: Class, rule: Option<&DestinationRule>, subset: &str) -> Value {
    let whole = rule.and_then(|rule| rule.traffic_policy.as_ref());
    let tcp = whole
        .and_then(|policy| policy.connection_pool.as_ref())
        .and_then(|pool| pool.tcp.as_ref());
    let part = rule
        .and_then(|rule| rule.subsets.iter().find(|part| part.name == subset))
        .and_then(|part| part.traffic_policy.as_ref());
    // Port 0 is no port: the policy of the service as a whole, then of the subset.
    let policy = Policy::for_port(whole, 0).0.with_subset(part, 0);
    let hash = policy
        .load_balancer
        .and_then(|balancer| balancer.consistent_hash.as_ref());
    let by_source = hash.is_some_and(|hash| hash.use_source_ip == Some(true));
    json!({
        "idleTimeout": duration(tcp.and_then(|tcp| tcp.idle_timeout).or(proxy.node.idle_timeout)),
        "maxDownstreamConnectionDuration": duration(tcp.and_then(|tcp| tcp.max_connection_duration)),
        "hashPolicy": by_source.then(|| json!([{"sourceIp": {}}])),
        "accessLog": telemetry::access_log(proxy, class),
    })
}
