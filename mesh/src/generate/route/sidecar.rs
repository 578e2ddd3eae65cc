//! Routes of a sidecar's outbound listeners.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use serde_json::{Value, json};

use super::{
    super::{
        name::{self, ALLOW_ANY, BLOCK_ALL, PASSTHROUGH, hosts_meet},
        proxy::Proxy,
        scope::EgressScope,
    },
    translate::{self, Context},
};
use crate::source::{MESH_GATEWAY, Protocol, Service, UNSPECIFIED};

/// `PORT`, `HOST:PORT` (a sniffed service), `http_proxy` or a Unix path.
pub(super) fn build(proxy: &Proxy, route: &str) -> Value {
    let (port, sniffed) = match (route.starts_with("unix://"), route.rsplit_once(':')) {
        (true, _) => (Some(0), false),
        (false, Some((_, port))) => (port.parse().ok(), true),
        (false, None) => (
            route
                .parse()
                .ok()
                .or_else(|| (route == HTTP_PROXY).then_some(0)),
            false,
        ),
    };
    let Some(port) = port else {
        // Not a name that istiod gives out: an empty answer, so that the proxy does not wait.
        return json!({"name": route, "validateClusters": false});
    };
    let mut hosts = virtual_hosts(proxy, port, route);
    if sniffed {
        let host = route.rsplit_once(':').map_or(route, |(host, _)| host);
        hosts.retain(|found| {
            found["domains"]
                .as_array()
                .is_some_and(|all| all.iter().any(|one| one == host || one == route))
        });
        if let [only] = hosts.as_mut_slice() {
            only["domains"] = json!(["*"]);
        }
    }
    hosts.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    if !sniffed {
        hosts.push(catch_all(proxy));
    }
    json!({
        "name": route,
        "virtualHosts": hosts,
        "validateClusters": false,
        "maxDirectResponseBodySizeBytes": 1_048_576,
        "ignorePortInHostMatching": true,
    })
}

/// Routes for some hosts at one port.
struct Wrapper {
    port: u32,
    services: Vec<Arc<Service>>,
    hosts: Vec<String>,
    routes: Vec<Value>,
}

fn virtual_hosts(proxy: &Proxy, port: u32, route: &str) -> Vec<Value> {
    let Some(egress) = proxy.scope.egress_for_route(port, route) else {
        return Vec::new();
    };
    let is_proxy = egress
        .listener
        .as_ref()
        .and_then(|listener| listener.port.as_ref())
        .is_some_and(|bound| Protocol::parse(&bound.protocol) == Protocol::HttpProxy);
    let port = if is_proxy { 0 } else { port };
    // Lower-case host → service, with the one port that this listener is about.
    let mut registry: BTreeMap<String, Arc<Service>> = BTreeMap::new();
    for service in &egress.services {
        if port == 0 {
            registry.insert(service.hostname.to_lowercase(), Arc::clone(service));
        } else if let Some(own) = service.port(port) {
            let narrowed = Service {
                ports: vec![own.clone()],
                ..Service::clone(service)
            };
            registry.insert(service.hostname.to_lowercase(), Arc::new(narrowed));
        }
    }
    let wrappers = wrap(proxy, egress, &mut registry, port);
    finish(proxy, &wrappers, port)
}

fn wrap(
    proxy: &Proxy,
    egress: &EgressScope,
    registry: &mut BTreeMap<String, Arc<Service>>,
    port: u32,
) -> Vec<Wrapper> {
    let mut wrappers = Vec::new();
    let mut taken: HashSet<String> = HashSet::new();
    for config in &egress.virtual_services {
        let concerned = port == 80
            || config.spec.hosts.iter().any(|host| {
                registry
                    .keys()
                    .any(|known| hosts_meet(&host.to_lowercase(), known))
            });
        if !concerned {
            continue;
        }
        let lookup = |host: &str| registry.get(host).map(AsRef::as_ref);
        let context = Context {
            proxy,
            port,
            gateway: MESH_GATEWAY,
            tls: false,
            lookup: &lookup,
        };
        let routes = translate::routes(&context, config);
        if routes.is_empty() {
            continue;
        }
        let (hosts, services) = split_hosts(egress, config, registry);
        let mut by_port: BTreeMap<u32, Vec<Arc<Service>>> = BTreeMap::new();
        for service in &services {
            for own in service
                .ports
                .iter()
                .filter(|own| own.protocol.is_http_or_sniffed())
            {
                by_port
                    .entry(own.number)
                    .or_default()
                    .push(Arc::clone(service));
            }
            taken.insert(service.hostname.to_lowercase());
        }
        if by_port.is_empty() && port == 80 {
            // Hosts that no service has are reachable at port 80.
            by_port.insert(80, Vec::new());
        }
        for (own, services) in by_port {
            wrappers.push(Wrapper {
                port: own,
                services,
                hosts: hosts.clone(),
                routes: routes.clone(),
            });
        }
    }
    registry.retain(|host, _| !taken.contains(host));
    for service in registry.values() {
        for own in service
            .ports
            .iter()
            .filter(|own| own.protocol.is_http_or_sniffed())
        {
            wrappers.push(Wrapper {
                port: own.number,
                services: vec![Arc::clone(service)],
                hosts: Vec::new(),
                routes: vec![translate::default_route(
                    proxy,
                    &service.hostname,
                    own.number,
                )],
            });
        }
    }
    wrappers
}

/// Hosts of a VirtualService that no service has, and the services that it routes for.
fn split_hosts(
    egress: &EgressScope,
    config: &Arc<crate::model::Config<crate::model::VirtualService>>,
    registry: &BTreeMap<String, Arc<Service>>,
) -> (Vec<String>, Vec<Arc<Service>>) {
    let (mut hosts, mut services) = (Vec::new(), Vec::new());
    for host in &config.spec.hosts {
        let lower = host.to_lowercase();
        if !lower.starts_with('*') {
            match registry.get(&lower) {
                Some(service) => services.push(Arc::clone(service)),
                None => hosts.push(lower),
            }
            continue;
        }
        let mut any = false;
        for (known, service) in registry {
            if !hosts_meet(known, &lower) {
                continue;
            }
            any = true;
            // A wildcard routes for a service only where no other VirtualService is closer to it.
            let closest = closest_virtual_service(egress, known);
            if closest.is_some_and(|closest| Arc::ptr_eq(closest, config)) {
                services.push(Arc::clone(service));
            }
        }
        if !any {
            hosts.push(lower);
        }
    }
    (hosts, services)
}

fn closest_virtual_service<'a>(
    egress: &'a EgressScope,
    host: &str,
) -> Option<&'a Arc<crate::model::Config<crate::model::VirtualService>>> {
    let mut best: Option<(usize, &Arc<_>)> = None;
    for config in &egress.virtual_services {
        for pattern in &config.spec.hosts {
            let score = if pattern == host {
                usize::MAX
            } else if pattern.starts_with('*') && name::host_within(host, pattern) {
                pattern.len()
            } else {
                continue;
            };
            if best.is_none_or(|(known, _)| score > known) {
                best = Some((score, config));
            }
        }
    }
    best.map(|(_, config)| config)
}

fn finish(proxy: &Proxy, wrappers: &[Wrapper], port: u32) -> Vec<Value> {
    let mut full_names: HashSet<String> = HashSet::new();
    for wrapper in wrappers {
        for service in &wrapper.services {
            full_names.insert(name::domain(&service.hostname, wrapper.port));
            full_names.insert(service.hostname.clone());
        }
    }
    let (mut names, mut domains) = (HashSet::new(), HashSet::new());
    let mut built = Vec::new();
    for wrapper in wrappers
        .iter()
        .filter(|wrapper| port == 0 || wrapper.port == port)
    {
        let plain = wrapper.hosts.iter().map(|host| (host.as_str(), None));
        let services = wrapper
            .services
            .iter()
            .map(|service| (service.hostname.as_str(), Some(service)));
        for (host, service) in plain.chain(services) {
            let full = name::domain(host, wrapper.port);
            if !names.insert(full.clone()) {
                continue;
            }
            let with_port = port == 0;
            let (mut own, alternatives) = match service {
                Some(service) => service_domains(proxy, service, wrapper.port, with_port),
                None => (vec![host.to_owned()], Vec::new()),
            };
            own.retain(|domain| {
                let lower = domain.to_lowercase();
                // A short form must not shadow another service's full name.
                let shadows = alternatives.contains(domain) && full_names.contains(domain);
                !domains.contains(&lower) && !shadows && domains.insert(lower)
            });
            if with_port && wrapper.port != 80 {
                own.retain(|domain| domain.contains(':'));
            }
            if own.is_empty() {
                continue;
            }
            built.push(json!({
                "name": full,
                "domains": own,
                "routes": wrapper.routes,
                "includeRequestAttemptCount": true,
            }));
        }
    }
    built
}

fn service_domains(
    proxy: &Proxy,
    service: &Service,
    port: u32,
    with_port: bool,
) -> (Vec<String>, Vec<String>) {
    let expand = |names: Vec<String>| -> Vec<String> {
        if !with_port {
            return names;
        }
        names
            .into_iter()
            .flat_map(|one| [one.clone(), name::domain(&one, port)])
            .collect()
    };
    let alternatives = expand(name::alternatives(
        &service.hostname,
        &proxy.node.dns_domain,
    ));
    let mut domains = expand(vec![service.hostname.clone()]);
    domains.extend(alternatives.iter().cloned());
    if service.address != UNSPECIFIED && !service.address.contains('/') {
        domains.extend(expand(vec![service.address.clone()]));
    }
    (domains, alternatives)
}

fn catch_all(proxy: &Proxy) -> Value {
    if !proxy.scope.allow_any {
        return json!({
            "name": BLOCK_ALL,
            "domains": ["*"],
            "routes": [{"name": BLOCK_ALL, "match": {"prefix": "/"}, "directResponse": {"status": 502}}],
            "includeRequestAttemptCount": true,
        });
    }
    let cluster = proxy.scope.egress_proxy.as_ref().map_or_else(
        || PASSTHROUGH.to_owned(),
        |to| translate::destination_cluster(to, None, 0),
    );
    json!({
        "name": ALLOW_ANY,
        "domains": ["*"],
        "routes": [{
            "name": ALLOW_ANY,
            "match": {"prefix": "/"},
            "route": {"cluster": cluster, "timeout": "0s", "maxGrpcTimeout": "0s"},
        }],
        "includeRequestAttemptCount": true,
    })
}

/// Route name of the explicit HTTP proxy.
const HTTP_PROXY: &str = "http_proxy";
