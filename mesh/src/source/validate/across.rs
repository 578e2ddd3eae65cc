//! What can only be seen with all resources together: names used twice, references that lead nowhere.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    model::{Config, Origin, virtual_service::Destination},
    source::{
        index::{MESH_GATEWAY, Raw, full_name},
        problem::Problem,
    },
};

/// Errors for what istiod cannot load, warnings for what it would load and not serve.
pub(in crate::source) fn across(raw: &mut Raw, errors: &mut Vec<Problem>) {
    twice("ServiceEntry", &raw.service_entries, errors);
    twice("WorkloadEntry", &raw.workload_entries, errors);
    twice("VirtualService", &raw.virtual_services, errors);
    twice("DestinationRule", &raw.destination_rules, errors);
    twice("Gateway", &raw.gateways, errors);
    twice("Sidecar", &raw.sidecars, errors);
    twice("EnvoyFilter", &raw.envoy_filters, errors);
    twice("PeerAuthentication", &raw.peer_authentications, errors);
    twice("AuthorizationPolicy", &raw.authorization_policies, errors);
    twice(
        "RequestAuthentication",
        &raw.request_authentications,
        errors,
    );
    twice("Telemetry", &raw.telemetries, errors);
    let mut warnings = hosts_twice(raw);
    references(raw, &mut warnings);
    providers(raw, &mut warnings);
    raw.warnings.append(&mut warnings);
}

fn twice<T>(kind: &str, configs: &[Config<T>], errors: &mut Vec<Problem>) {
    let mut seen: BTreeMap<(&str, &str), &Origin> = BTreeMap::new();
    for config in configs {
        let key = (config.meta.namespace.as_str(), config.meta.name.as_str());
        if let Some(first) = seen.insert(key, &config.origin) {
            errors.push(Problem::at(
                &config.origin,
                format!("{kind} {}/{} is already at {first}", key.0, key.1),
            ));
        }
    }
}

fn hosts_twice(raw: &Raw) -> Vec<Problem> {
    let mut seen: BTreeMap<(&str, &str), &Origin> = BTreeMap::new();
    let mut warnings = Vec::new();
    for entry in &raw.service_entries {
        for host in &entry.spec.hosts {
            if let Some(first) = seen.insert((&entry.meta.namespace, host), &entry.origin) {
                warnings.push(Problem::at(
                    &entry.origin,
                    format!("the host {host} is already at {first}; the first one is served"),
                ));
            }
        }
    }
    warnings
}

fn references(raw: &Raw, warnings: &mut Vec<Problem>) {
    let domain = raw
        .mesh
        .as_ref()
        .map_or("cluster.local", |mesh| mesh.domain.as_str());
    let hosts: BTreeSet<&str> = raw
        .service_entries
        .iter()
        .flat_map(|entry| entry.spec.hosts.iter().map(String::as_str))
        .collect();
    let known = |host: &str| {
        hosts.contains(host)
            || hosts.iter().any(|pattern| {
                pattern
                    .strip_prefix('*')
                    .is_some_and(|suffix| host.ends_with(suffix))
            })
    };
    let mut subsets: BTreeSet<(String, &str)> = BTreeSet::new();
    for rule in &raw.destination_rules {
        let host = full_name(&rule.spec.host, &rule.meta.namespace, domain);
        let found = known(&host)
            || (host.starts_with('*') && hosts.iter().any(|name| name.ends_with(&host[1..])));
        if !found {
            warnings.push(Problem::at(
                &rule.origin,
                format!(
                    "DestinationRule {}: no service {host} is known",
                    rule.meta.name
                ),
            ));
        }
        for subset in &rule.spec.subsets {
            subsets.insert((host.clone(), &subset.name));
        }
    }
    let gateways: BTreeSet<String> = raw
        .gateways
        .iter()
        .map(|gateway| format!("{}/{}", gateway.meta.namespace, gateway.meta.name))
        .collect();
    for service in &raw.virtual_services {
        let namespace = &service.meta.namespace;
        for gateway in &service.spec.gateways {
            let full = if gateway.contains('/') {
                gateway.clone()
            } else {
                format!("{namespace}/{gateway}")
            };
            if gateway != MESH_GATEWAY && !gateways.contains(&full) {
                let message = format!(
                    "VirtualService {}: no Gateway {full} is known",
                    service.meta.name
                );
                warnings.push(Problem::at(&service.origin, message));
            }
        }
        let http = service.spec.http.iter().flat_map(|http| {
            let mirrors = http
                .mirrors
                .iter()
                .filter_map(|mirror| mirror.destination.as_ref());
            let routes = http.route.iter().map(|route| &route.destination);
            routes.chain(http.mirror.iter()).chain(mirrors)
        });
        let tls = service
            .spec
            .tls
            .iter()
            .flat_map(|tls| tls.route.iter().map(|route| &route.destination));
        let tcp = service
            .spec
            .tcp
            .iter()
            .flat_map(|tcp| tcp.route.iter().map(|route| &route.destination));
        let all: Vec<&Destination> = http.chain(tls).chain(tcp).collect();
        for destination in all {
            let host = full_name(&destination.host, namespace, domain);
            if !known(&host) {
                let message = format!(
                    "VirtualService {}: no service {host} is known",
                    service.meta.name
                );
                warnings.push(Problem::at(&service.origin, message));
            } else if !destination.subset.is_empty()
                && !subsets.contains(&(host.clone(), &destination.subset))
            {
                let message = format!(
                    "VirtualService {}: {host} has no subset {}",
                    service.meta.name, destination.subset
                );
                warnings.push(Problem::at(&service.origin, message));
            }
        }
    }
}

fn providers(raw: &Raw, warnings: &mut Vec<Problem>) {
    let mesh = raw.mesh.clone().unwrap_or_default();
    // istiod always knows the two names of its default mesh configuration.
    let known = |name: &str| {
        matches!(name, "prometheus" | "envoy")
            || mesh
                .extension_providers
                .iter()
                .any(|provider| provider.name.eq_ignore_ascii_case(name))
    };
    for telemetry in &raw.telemetries {
        let spec = &telemetry.spec;
        let names = spec
            .access_logging
            .iter()
            .flat_map(|clause| &clause.providers)
            .chain(spec.tracing.iter().flat_map(|clause| &clause.providers))
            .chain(spec.metrics.iter().flat_map(|clause| &clause.providers));
        for provider in names {
            if !known(&provider.name) {
                let message = format!(
                    "Telemetry {}: no extension provider `{}` is known",
                    telemetry.meta.name, provider.name
                );
                warnings.push(Problem::at(&telemetry.origin, message));
            }
        }
    }
    for policy in &raw.authorization_policies {
        if let Some(provider) = &policy.spec.provider
            && !known(&provider.name)
        {
            let message = format!(
                "AuthorizationPolicy {}: no extension provider `{}` is known; its requests are refused",
                policy.meta.name, provider.name
            );
            warnings.push(Problem::at(&policy.origin, message));
        }
    }
}
