//! Inbound clusters: one a workload port.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    super::{json::address, name, proxy::Proxy},
    Policy,
    policy::{self, HttpOptions},
    rule_path, service_metadata,
};
use crate::{
    model::{mesh_config::InboundMode, sidecar::Ingress},
    source::{Protocol, Service},
};

pub(super) fn build(proxy: &Proxy) -> Vec<Value> {
    let ingress = proxy.scope.ingress();
    if !ingress.is_empty() {
        return ingress
            .iter()
            .filter_map(|listener| from_ingress(proxy, listener))
            .collect();
    }
    if proxy.is_bare() {
        return Vec::new();
    }
    let mut ports: Vec<u32> = Vec::new();
    for target in &proxy.targets {
        if !ports.contains(&target.target) {
            ports.push(target.target);
        }
    }
    let local = proxy.snapshot.mesh.inbound_traffic_policy.mode == InboundMode::Localhost;
    ports
        .into_iter()
        .filter_map(|port| {
            let targets: Vec<_> = proxy
                .targets
                .iter()
                .filter(|target| target.target == port)
                .collect();
            let first = targets.first()?;
            let mut services: Vec<&Arc<Service>> = Vec::new();
            for target in &targets {
                if target.port.number == first.port.number {
                    services.push(&target.service);
                }
            }
            Some(cluster(
                proxy,
                &Inbound {
                    port,
                    protocol: first.port.protocol,
                    service_port: first.port.number,
                    service: Some(&first.service),
                    services,
                    endpoint: local.then(|| (LOCALHOST.to_owned(), port)),
                },
            ))
        })
        .collect()
}

struct Inbound<'a> {
    port: u32,
    protocol: Protocol,
    service_port: u32,
    service: Option<&'a Arc<Service>>,
    services: Vec<&'a Arc<Service>>,
    /// Where the workload listens; none: where the client dialled.
    endpoint: Option<(String, u32)>,
}

fn from_ingress(proxy: &Proxy, listener: &Ingress) -> Option<Value> {
    let endpoint = match listener.default_endpoint.as_str() {
        "" => None,
        unix if unix.starts_with("unix://") => Some((unix.to_owned(), 0)),
        text => {
            let (host, port) = text.rsplit_once(':')?;
            let wants_v6 = host.starts_with('[');
            let own = proxy
                .node
                .addresses
                .iter()
                .find(|address| address.contains(':') == wants_v6);
            let host = match host {
                // The wildcard means the workload's own address.
                "0.0.0.0" | "[::]" => own.map_or(LOCALHOST, String::as_str),
                "[::1]" => "::1",
                _ => LOCALHOST,
            };
            Some((host.to_owned(), port.parse().ok()?))
        }
    };
    let real = proxy
        .targets
        .iter()
        .find(|target| target.target == listener.port.number)
        .map(|target| &target.service);
    Some(cluster(
        proxy,
        &Inbound {
            port: listener.port.number,
            protocol: Protocol::parse(&listener.port.protocol),
            service_port: listener.port.number,
            service: real,
            services: real.into_iter().collect(),
            endpoint,
        },
    ))
}

fn cluster(proxy: &Proxy, inbound: &Inbound<'_>) -> Value {
    let mesh = &proxy.snapshot.mesh;
    let cluster_name = name::inbound(inbound.port);
    let rule = inbound
        .service
        .and_then(|service| proxy.destination_rule(&service.hostname, true));
    let traffic = rule.and_then(|rule| rule.spec.traffic_policy.as_ref());
    let policy = Policy::for_port(traffic, inbound.service_port).0;
    let sidecar = proxy.scope.sidecar.as_ref().map(|config| &config.spec);
    let own_pool = sidecar.and_then(|spec| {
        let listener = spec
            .ingress
            .iter()
            .find(|listener| listener.port.number == inbound.port);
        listener
            .and_then(|listener| listener.connection_pool.as_ref())
            .or(spec.inbound_connection_pool.as_ref())
    });
    let pool = own_pool.or(policy.connection_pool);
    let mut cluster = json!({
        "name": cluster_name,
        "altStatName": format!("{cluster_name};"),
        "commonLbConfig": {},
    });
    let dialled = inbound
        .endpoint
        .as_ref()
        .map(|(host, port)| (host.as_str(), *port));
    if let Some((host, port)) = dialled {
        cluster["type"] = json!("STATIC");
        cluster["loadAssignment"] = json!({
            "clusterName": cluster_name,
            "endpoints": [{"lbEndpoints": [{"endpoint": {"address": address(host, port)}}]}],
        });
    } else {
        cluster["type"] = json!("ORIGINAL_DST");
        cluster["lbPolicy"] = json!("CLUSTER_PROVIDED");
        // The longest time Envoy can hold: hosts are never forgotten.
        cluster["cleanupInterval"] = json!("9223372035s");
    }
    let mut http = HttpOptions::for_protocol(inbound.protocol, false);
    policy::connection_pool(mesh, &mut cluster, &mut http, pool, policy.retry_budget);
    http.write(&mut cluster);
    let services: Vec<Value> = inbound
        .services
        .iter()
        .filter(|service| !service.external)
        .map(|service| service_metadata(service))
        .collect();
    let config = rule
        .filter(|_| traffic.is_some())
        .map(|rule| rule_path(rule));
    if !services.is_empty() || config.is_some() {
        cluster["metadata"] = json!({"filterMetadata": {"istio": {
            "services": super::super::json::list(services),
            "config": config,
        }}});
    }
    if !matches!(dialled, Some((LOCALHOST | "::1", _))) {
        cluster["upstreamBindConfig"] = bind_config();
    }
    cluster
}

/// Connections to the workload leave from 127.0.0.6, so that iptables does not send them back (istio.md 6.2).
pub(super) fn bind_config() -> Value {
    json!({"sourceAddress": {"address": "127.0.0.6", "portValue": 0}})
}

const LOCALHOST: &str = "127.0.0.1";
