//! Which consistent hash a DestinationRule asks for at a destination.

use serde_json::{Value, json};

use super::super::{json, proxy::Proxy};
use crate::model::{
    destination_rule::{ConsistentHash, LoadBalancer, TrafficPolicy},
    virtual_service::Destination,
};

/// Of a VirtualService's destination: subset's port, subset, port, service, the first that says something.
pub(super) fn of_destination<'a>(
    proxy: &'a Proxy,
    destination: &Destination,
) -> Option<&'a ConsistentHash> {
    let rule = &proxy.destination_rule(&destination.host, false)?.spec;
    let whole = rule.traffic_policy.as_ref();
    let port = destination.port.map(|port| port.number);
    let subset = rule
        .subsets
        .iter()
        .find(|subset| subset.name == destination.subset)
        .and_then(|subset| subset.traffic_policy.as_ref());
    of_port(subset, port)
        .or_else(|| of_policy(subset))
        .or_else(|| of_port(whole, port))
        .or_else(|| of_policy(whole))
}

/// Of a service port without a VirtualService.
pub(super) fn of_service<'a>(
    proxy: &'a Proxy,
    host: &str,
    port: u32,
) -> Option<&'a ConsistentHash> {
    let rule = &proxy.destination_rule(host, false)?.spec;
    let whole = rule.traffic_policy.as_ref();
    of_port(whole, Some(port)).or_else(|| of_policy(whole))
}

fn of_policy(policy: Option<&TrafficPolicy>) -> Option<&ConsistentHash> {
    of_balancer(policy?.load_balancer.as_ref())
}

fn of_port(policy: Option<&TrafficPolicy>, port: Option<u32>) -> Option<&ConsistentHash> {
    let port = port?;
    let setting = policy?
        .port_level_settings
        .iter()
        .find(|setting| setting.port.number == port)?;
    of_balancer(setting.load_balancer.as_ref())
}

fn of_balancer(balancer: Option<&LoadBalancer>) -> Option<&ConsistentHash> {
    balancer?.consistent_hash.as_ref()
}

/// `RouteAction.hash_policy[]`; none when the hash says no key.
pub(super) fn policy(hash: &ConsistentHash) -> Option<Value> {
    if let Some(name) = &hash.http_header_name {
        return Some(json!({"header": {"headerName": name}}));
    }
    if let Some(cookie) = &hash.http_cookie {
        return Some(json!({"cookie": {
            "name": cookie.name,
            "ttl": json::duration(cookie.ttl),
            "path": json::text(&cookie.path),
        }}));
    }
    if let Some(source) = hash.use_source_ip {
        return Some(json!({"connectionProperties": {"sourceIp": source}}));
    }
    let name = hash.http_query_parameter_name.as_ref()?;
    Some(json!({"queryParameter": {"name": name}}))
}
