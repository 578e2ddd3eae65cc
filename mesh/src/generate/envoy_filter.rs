//! EnvoyFilter: HTTP filters inserted into connection managers.

use serde_json::Value;

use super::{proxy::Proxy, telemetry::Class};
use crate::model::{
    envoy_filter::{EnvoyFilter, Patch},
    labels_match,
};

/// Applies all patches that hold for the node to these listeners.
pub(super) fn apply(proxy: &Proxy, class: Class, listeners: &mut [Value]) {
    let root = &proxy.snapshot.mesh.root_namespace;
    let all = &proxy.snapshot.envoy_filters;
    let in_root = all.iter().filter(|config| config.meta.namespace == *root);
    let own = all.iter().filter(|config| {
        config.meta.namespace == proxy.node.namespace && config.meta.namespace != *root
    });
    for config in in_root.chain(own) {
        if !selects(proxy, &config.spec) {
            continue;
        }
        for patch in &config.spec.config_patches {
            if concerns(patch, class) {
                for listener in listeners.iter_mut() {
                    patch_listener(patch, listener);
                }
            }
        }
    }
}

fn selects(proxy: &Proxy, spec: &EnvoyFilter) -> bool {
    let selector = spec.workload_selector.as_ref();
    selector.is_none_or(|selector| labels_match(&selector.labels, &proxy.labels))
}

fn concerns(patch: &Patch, class: Class) -> bool {
    match patch.matching.context.as_str() {
        "SIDECAR_INBOUND" => class == Class::Inbound,
        "SIDECAR_OUTBOUND" => class == Class::Outbound,
        "GATEWAY" => class == Class::Gateway,
        _ => true,
    }
}

fn patch_listener(patch: &Patch, listener: &mut Value) {
    let wanted = &patch.matching.listener;
    if !wanted.name.is_empty() && listener["name"] != wanted.name.as_str() {
        return;
    }
    let own_port = listener["address"]["socketAddress"]["portValue"].as_u64();
    let fits_port = |chain: &Value| {
        wanted.port_number == 0
            || own_port == Some(u64::from(wanted.port_number))
            || chain["filterChainMatch"]["destinationPort"].as_u64()
                == Some(u64::from(wanted.port_number))
    };
    let mut patch_chain = |chain: &mut Value| {
        let chain_name = &wanted.filter_chain.name;
        if !fits_port(chain) || (!chain_name.is_empty() && chain["name"] != chain_name.as_str()) {
            return;
        }
        let Some(filters) = chain["filters"].as_array_mut() else {
            return;
        };
        for filter in filters {
            if filter["name"] == HCM
                && let Some(list) = filter["typedConfig"]["httpFilters"].as_array_mut()
            {
                insert(patch, list);
            }
        }
    };
    if let Some(chains) = listener["filterChains"].as_array_mut() {
        chains.iter_mut().for_each(&mut patch_chain);
    }
    if listener["defaultFilterChain"].is_object() {
        patch_chain(&mut listener["defaultFilterChain"]);
    }
}

fn insert(patch: &Patch, filters: &mut Vec<Value>) {
    let beside = &patch.matching.listener.filter_chain.filter.sub_filter.name;
    let at = filters
        .iter()
        .position(|filter| filter["name"] == beside.as_str());
    let index = match (patch.patch.operation.as_str(), at) {
        ("INSERT_FIRST", _) => 0,
        ("INSERT_BEFORE", Some(at)) => at,
        ("INSERT_BEFORE", None) if beside.is_empty() => 0,
        ("INSERT_AFTER", Some(at)) => at + 1,
        ("INSERT_AFTER", None) if beside.is_empty() => filters.len(),
        // The filter to stand beside is not in this chain.
        _ => return,
    };
    filters.insert(index, patch.patch.value.clone());
}

const HCM: &str = "envoy.filters.network.http_connection_manager";
