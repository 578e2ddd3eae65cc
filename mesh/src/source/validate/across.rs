//! What can only be seen with all resources together: names used twice, references that lead nowhere.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    model::{Config, Origin, VirtualService, security::ProviderName, virtual_service::Destination},
    source::{
        index::{MESH_GATEWAY, Raw, full_name},
        problem::{Kind, Problem},
        read::dotted,
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
            errors.push(
                Problem::at(
                    &config.origin,
                    format!("{kind} {}/{} is already at {first}", key.0, key.1),
                )
                .kind(Kind::Twice),
            );
        }
    }
}

fn hosts_twice(raw: &Raw) -> Vec<Problem> {
    let mut seen: BTreeMap<(&str, &str), &Origin> = BTreeMap::new();
    let mut warnings = Vec::new();
    for entry in &raw.service_entries {
        for (index, host) in entry.spec.hosts.iter().enumerate() {
            if let Some(first) = seen.insert((&entry.meta.namespace, host), &entry.origin) {
                let message =
                    format!("the host {host} is already at {first}; the first one is served");
                warnings.push(found(
                    Kind::HostTwice,
                    &entry.origin,
                    &format!("/spec/hosts/{index}"),
                    message,
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
        let matched = known(&host)
            || (host.starts_with('*') && hosts.iter().any(|name| name.ends_with(&host[1..])));
        if !matched {
            let message = format!(
                "DestinationRule {}: no service {host} is known",
                rule.meta.name
            );
            warnings.push(found(Kind::NoService, &rule.origin, "/spec/host", message));
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
        for (index, gateway) in service.spec.gateways.iter().enumerate() {
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
                let pointer = format!("/spec/gateways/{index}");
                warnings.push(found(Kind::NoGateway, &service.origin, &pointer, message));
            }
        }
        for (pointer, destination) in destinations(&service.spec) {
            let host = full_name(&destination.host, namespace, domain);
            if !known(&host) {
                let message = format!(
                    "VirtualService {}: no service {host} is known",
                    service.meta.name
                );
                let pointer = format!("{pointer}/host");
                warnings.push(found(Kind::NoService, &service.origin, &pointer, message));
            } else if !destination.subset.is_empty()
                && !subsets.contains(&(host.clone(), &destination.subset))
            {
                let message = format!(
                    "VirtualService {}: {host} has no subset {}",
                    service.meta.name, destination.subset
                );
                let pointer = format!("{pointer}/subset");
                warnings.push(found(Kind::NoSubset, &service.origin, &pointer, message));
            }
        }
    }
}

/// Every destination of a VirtualService, with the way to it.
fn destinations(spec: &VirtualService) -> Vec<(String, &Destination)> {
    let mut all = Vec::new();
    for (index, http) in spec.http.iter().enumerate() {
        let base = format!("/spec/http/{index}");
        let routes = http
            .route
            .iter()
            .enumerate()
            .map(|(at, route)| (format!("{base}/route/{at}/destination"), &route.destination));
        all.extend(routes);
        all.extend(
            http.mirror
                .iter()
                .map(|mirror| (format!("{base}/mirror"), mirror)),
        );
        let mirrors = http.mirrors.iter().enumerate().filter_map(|(at, mirror)| {
            Some((
                format!("{base}/mirrors/{at}/destination"),
                mirror.destination.as_ref()?,
            ))
        });
        all.extend(mirrors);
    }
    for (index, tls) in spec.tls.iter().enumerate() {
        let routes = tls.route.iter().enumerate();
        all.extend(routes.map(|(at, route)| {
            (
                format!("/spec/tls/{index}/route/{at}/destination"),
                &route.destination,
            )
        }));
    }
    for (index, tcp) in spec.tcp.iter().enumerate() {
        let routes = tcp.route.iter().enumerate();
        all.extend(routes.map(|(at, route)| {
            (
                format!("/spec/tcp/{index}/route/{at}/destination"),
                &route.destination,
            )
        }));
    }
    all
}

/// A warning about a path of a resource; its line is looked up when all documents are read.
fn found(kind: Kind, resource: &Origin, pointer: &str, message: String) -> Problem {
    Problem {
        path: dotted(pointer),
        ..Problem::at(resource, message).kind(kind)
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
        let list = |name, index, providers: &[ProviderName]| {
            providers
                .iter()
                .enumerate()
                .map(move |(at, provider)| {
                    (
                        format!("/spec/{name}/{index}/providers/{at}/name"),
                        provider.name.clone(),
                    )
                })
                .collect::<Vec<_>>()
        };
        let logs = spec.access_logging.iter().enumerate();
        let tracing = spec.tracing.iter().enumerate();
        let metrics = spec.metrics.iter().enumerate();
        let names = logs
            .flat_map(|(index, clause)| list("accessLogging", index, &clause.providers))
            .chain(tracing.flat_map(|(index, clause)| list("tracing", index, &clause.providers)))
            .chain(metrics.flat_map(|(index, clause)| list("metrics", index, &clause.providers)));
        for (pointer, name) in names {
            if !known(&name) {
                let message = format!(
                    "Telemetry {}: no extension provider `{name}` is known",
                    telemetry.meta.name
                );
                warnings.push(found(
                    Kind::NoProvider,
                    &telemetry.origin,
                    &pointer,
                    message,
                ));
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
            warnings.push(found(
                Kind::NoProvider,
                &policy.origin,
                "/spec/provider/name",
                message,
            ));
        }
    }
}
