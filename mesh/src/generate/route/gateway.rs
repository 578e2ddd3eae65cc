//! Gateways: their servers merged by port, and the routes of each.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::{
    super::{
        name::{self, host_within},
        proxy::Proxy,
    },
    translate::{self, Context},
};
use crate::{
    model::{
        Config, VirtualService,
        gateway::{Server, ServerTlsMode},
        labels_match,
    },
    source::{Protocol, Service, exported},
};

/// One server of one gateway at one port of the proxy.
#[derive(Clone, Debug)]
pub(in crate::generate) struct MergedServer<'a> {
    /// `namespace/name` of the Gateway.
    pub(in crate::generate) gateway: String,
    pub(in crate::generate) namespace: &'a str,
    pub(in crate::generate) server: &'a Server,
    /// Port that the proxy listens on.
    pub(in crate::generate) port: u32,
    /// Route configuration; none where there is no HTTP.
    pub(in crate::generate) route: Option<String>,
}

impl MergedServer<'_> {
    pub(in crate::generate) fn protocol(&self) -> Protocol {
        Protocol::parse(&self.server.port.protocol)
    }

    /// HTTP after TLS is taken off.
    pub(in crate::generate) fn terminates_http(&self) -> bool {
        let passes = |mode| {
            matches!(
                mode,
                ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough
            )
        };
        self.protocol() == Protocol::Https
            && self
                .server
                .tls
                .as_ref()
                .is_some_and(|tls| !passes(tls.mode))
    }

    /// Hosts without their namespace part.
    pub(in crate::generate) fn hosts(&self) -> impl Iterator<Item = &str> {
        self.server
            .hosts
            .iter()
            .map(|host| host.split_once('/').map_or(host.as_str(), |(_, host)| host))
    }
}

/// Servers of all gateways that select the proxy.
pub(in crate::generate) fn merged(proxy: &Proxy) -> Vec<MergedServer<'_>> {
    let mut servers = Vec::new();
    for gateway in &proxy.snapshot.gateways {
        if !labels_match(&gateway.spec.selector, &proxy.labels) {
            continue;
        }
        for server in &gateway.spec.servers {
            // The gateway's own Service may lead the port elsewhere.
            let mut ports: Vec<u32> = proxy
                .targets
                .iter()
                .filter(|target| target.port.number == server.port.number)
                .map(|target| target.target)
                .collect();
            ports.sort_unstable();
            ports.dedup();
            if ports.is_empty() {
                ports.push(server.port.number);
            }
            for port in ports {
                let (meta, protocol) = (&gateway.meta, Protocol::parse(&server.port.protocol));
                let mut merged = MergedServer {
                    gateway: format!("{}/{}", meta.namespace, meta.name),
                    namespace: &meta.namespace,
                    server,
                    port,
                    route: None,
                };
                if protocol.is_http() {
                    merged.route = Some(format!("http.{port}"));
                } else if merged.terminates_http() {
                    let number = server.port.number;
                    merged.route = Some(format!(
                        "https.{number}.{}.{}.{}",
                        server.port.name, meta.name, meta.namespace
                    ));
                }
                servers.push(merged);
            }
        }
    }
    servers
}

/// A virtual host in the making.
struct Host {
    domains: Vec<String>,
    /// VirtualServices whose routes it has, by identity: hosts with the same are put together.
    sources: Vec<usize>,
    routes: Vec<Value>,
    redirect: bool,
    port: u32,
}

pub(super) fn build(proxy: &Proxy, route: &str) -> Value {
    let servers = merged(proxy);
    let mine: Vec<&MergedServer<'_>> = servers
        .iter()
        .filter(|server| server.route.as_deref() == Some(route))
        .collect();
    let Some(first) = mine.first() else {
        return json!({"name": route, "validateClusters": false});
    };
    let mut hosts: BTreeMap<String, Host> = BTreeMap::new();
    for server in &mine {
        add_server(proxy, server, &mut hosts);
    }
    let mut virtual_hosts: Vec<Value> = collapse(hosts)
        .into_iter()
        .map(|mut host| {
            // Routes without a condition go last (several VirtualServices may share a host).
            host.routes.sort_by_key(translate::takes_all);
            json!({
                "name": name::domain(&host.domains[0], host.port),
                "domains": host.domains,
                "routes": super::super::json::list(host.routes),
                "requireTls": host.redirect.then_some("ALL"),
                "includeRequestAttemptCount": true,
            })
        })
        .collect();
    if virtual_hosts.is_empty() {
        virtual_hosts.push(
            json!({"name": format!("blackhole:{}", first.server.port.number), "domains": ["*"]}),
        );
    }
    virtual_hosts.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    json!({
        "name": route,
        "virtualHosts": virtual_hosts,
        "validateClusters": false,
        "maxDirectResponseBodySizeBytes": 1_048_576,
        "ignorePortInHostMatching": true,
    })
}

fn add_server(proxy: &Proxy, merged: &MergedServer<'_>, hosts: &mut BTreeMap<String, Host>) {
    let server = merged.server;
    let port = server.port.number;
    let redirect = server.tls.as_ref().is_some_and(|tls| tls.https_redirect);
    for (index, config) in virtual_services(proxy, &merged.gateway) {
        let shared = intersection(merged, config);
        if shared.is_empty() {
            continue;
        }
        let registry = &proxy.snapshot.registry;
        let lookup = |host: &str| -> Option<&Service> {
            registry
                .named(host)
                .find(|service| service.namespace == config.meta.namespace)
                .or_else(|| registry.visible(host, &proxy.node.namespace))
                .map(AsRef::as_ref)
        };
        let context = Context {
            proxy,
            port,
            gateway: &merged.gateway,
            tls: server.tls.is_some(),
            lookup: &lookup,
        };
        let routes = translate::routes(&context, config);
        if routes.is_empty() {
            continue;
        }
        for host in shared {
            let entry = hosts.entry(host.to_lowercase()).or_insert_with(|| Host {
                domains: vec![host.to_lowercase()],
                sources: Vec::new(),
                routes: Vec::new(),
                redirect: false,
                port,
            });
            entry.sources.push(index);
            entry.routes.extend(routes.iter().cloned());
            entry.redirect |= redirect;
        }
    }
    if redirect {
        for host in &server.hosts {
            let host = host.to_lowercase();
            let entry = hosts.entry(host.clone()).or_insert_with(|| Host {
                domains: vec![host],
                sources: Vec::new(),
                routes: Vec::new(),
                redirect: true,
                port,
            });
            entry.redirect = true;
        }
    }
}

/// VirtualServices bound to a gateway, with their place in the snapshot.
pub(in crate::generate) fn virtual_services<'a>(
    proxy: &'a Proxy,
    gateway: &'a str,
) -> impl Iterator<Item = (usize, &'a Arc<Config<VirtualService>>)> {
    proxy
        .snapshot
        .virtual_services
        .iter()
        .enumerate()
        .filter(move |(_, config)| {
            config.spec.gateways.iter().any(|name| name == gateway)
                && exported(
                    &config.spec.export_to,
                    &config.meta.namespace,
                    &proxy.node.namespace,
                )
        })
}

/// Hosts that both the server and the VirtualService name, the narrower of each pair.
pub(in crate::generate) fn intersection(
    merged: &MergedServer<'_>,
    config: &Config<VirtualService>,
) -> Vec<String> {
    let mut shared: Vec<String> = Vec::new();
    for entry in &merged.server.hosts {
        let (namespace, host) = entry.split_once('/').unwrap_or(("*", entry));
        let meant = namespace == "*"
            || namespace == config.meta.namespace
            || (namespace == "." && merged.namespace == config.meta.namespace);
        if !meant {
            continue;
        }
        for other in &config.spec.hosts {
            let narrow = if host_within(host, other) {
                host
            } else if host_within(other, host) {
                other
            } else {
                continue;
            };
            if !shared.iter().any(|known| known == narrow) {
                shared.push(narrow.to_owned());
            }
        }
    }
    shared
}

/// Hosts with the same routes share one virtual host, named after the most specific.
fn collapse(hosts: BTreeMap<String, Host>) -> Vec<Host> {
    let mut ordered: Vec<Host> = hosts.into_values().collect();
    ordered.sort_by(|a, b| {
        let key = |host: &Host| {
            let name = host.domains[0].clone();
            (name.starts_with('*'), std::cmp::Reverse(name.len()), name)
        };
        key(a).cmp(&key(b))
    });
    let mut out: Vec<Host> = Vec::new();
    for host in ordered {
        let same = out.iter_mut().find(|known| {
            known.sources == host.sources
                && known.redirect == host.redirect
                && known.port == host.port
        });
        match same {
            Some(known) => known.domains.extend(host.domains),
            None => out.push(host),
        }
    }
    out
}
