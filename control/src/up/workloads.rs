//! Who runs on this machine: every in-mesh endpoint of the folder that is on a loopback address, with the listeners that its Sidecar
//! resource gives it.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use carbyne_mesh::{
    model::{Config, Labels, Sidecar, labels_match},
    source::{Instance, Service, Snapshot},
};

use super::gateway;
use crate::{sample_service::Callee, traces};

/// One workload: a sample service and the sidecar in front of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Short name, one of its kind on this machine.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// Its own loopback address.
    pub address: IpAddr,
    /// Labels by which policies select.
    pub labels: Labels,
    /// Service account; its certificate bears it.
    pub service_account: String,
    /// Hosts of the services that it serves.
    pub hosts: Vec<String>,
    /// Inbound listeners.
    pub inbound: Vec<Inbound>,
    /// What it may call, and through which of its outbound listeners.
    pub outbound: Vec<Outbound>,
    /// Its application is the gateway, not a sample service.
    pub gateway: bool,
}

/// One inbound listener of a sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// Where the sidecar listens.
    pub listen: SocketAddr,
    /// Where the application listens.
    pub application: SocketAddr,
}

/// A service seen through an outbound listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbound {
    /// Host of the requests.
    pub host: String,
    /// Port of the service.
    pub port: u16,
    /// Where the sidecar listens.
    pub through: SocketAddr,
}

/// What a folder says about this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// By address.
    pub workloads: Vec<Workload>,
    /// What is left out, and why.
    pub left_out: Vec<String>,
}

impl Workload {
    /// The identity in its certificate, without `spiffe://`, as policies write principals.
    #[must_use]
    pub fn principal(&self, trust_domain: &str) -> String {
        format!(
            "{trust_domain}/ns/{}/sa/{}",
            self.namespace, self.service_account
        )
    }

    /// The admin port of its sidecar.
    #[must_use]
    pub const fn admin(&self) -> SocketAddr {
        SocketAddr::new(self.address, ADMIN_PORT)
    }

    /// The app that it is a version of, by the labels that Istio's canonical services go by; empty without one.
    #[must_use]
    pub fn app(&self) -> &str {
        let labels = [
            "service.istio.io/canonical-name",
            "app.kubernetes.io/name",
            "app",
        ];
        let mut named = labels.iter().filter_map(|name| self.labels.get(*name));
        named.next().map_or("", String::as_str)
    }

    /// The version label; empty without one.
    #[must_use]
    pub fn version(&self) -> &str {
        self.labels.get("version").map_or("", String::as_str)
    }

    /// The services that it may call, as its sample service is told; itself left out.
    #[must_use]
    pub fn callees(&self, all: &[Self]) -> Vec<Callee> {
        let mut names = BTreeSet::new();
        self.outbound
            .iter()
            .filter(|outbound| !self.hosts.contains(&outbound.host))
            .map(|outbound| Callee {
                name: name_of_host(&outbound.host, all),
                host: outbound.host.clone(),
                through: outbound.through,
            })
            .filter(|callee| names.insert(callee.name.clone()))
            .collect()
    }

    /// Every address that its processes will bind.
    pub fn listens(&self) -> impl Iterator<Item = SocketAddr> {
        let fixed = [ADMIN_PORT, STATUS_PORT, PROMETHEUS_PORT]
            .map(|port| SocketAddr::new(self.address, port));
        let inbound = self
            .inbound
            .iter()
            .flat_map(|inbound| [inbound.listen, inbound.application]);
        let outbound = self.outbound.iter().map(|outbound| outbound.through);
        let gateway = [gateway::proxy, gateway::admin, gateway::status].map(|at| at(self));
        let gateway = gateway.into_iter().filter(|_| self.gateway);
        let fixed = fixed.into_iter().chain(gateway);
        let all: BTreeSet<SocketAddr> = fixed.chain(inbound).chain(outbound).collect();
        all.into_iter()
    }
}

/// Finds the workloads of a snapshot; `gateway`: there is a configuration for one.
#[must_use]
pub fn find(snapshot: &Snapshot, gateway: bool) -> Found {
    let mut found = Found::default();
    for service in snapshot
        .registry
        .services
        .iter()
        .filter(|service| !service.external)
    {
        for instance in &service.instances {
            let Some(address) = instance
                .address
                .parse::<IpAddr>()
                .ok()
                .filter(IpAddr::is_loopback)
            else {
                let address = &instance.address;
                let line = format!(
                    "{address} of {} is not a loopback address: nothing is started for it",
                    service.hostname
                );
                if !found.left_out.contains(&line) {
                    found.left_out.push(line);
                }
                continue;
            };
            if let Some(known) = found
                .workloads
                .iter_mut()
                .find(|known| known.address == address)
            {
                if !known.hosts.contains(&service.hostname) {
                    known.hosts.push(service.hostname.clone());
                }
                continue;
            }
            let workload = workload(snapshot, service, instance, address);
            found.workloads.push(workload);
        }
    }
    found.workloads.sort_by_key(|workload| workload.address);
    distinct_names(&mut found.workloads);
    for workload in &mut found.workloads {
        workload.gateway = gateway && workload.name == gateway::NAME;
    }
    // Requests come in there.
    found.workloads.sort_by_key(|workload| !workload.gateway);
    for workload in &found.workloads {
        if workload.inbound.is_empty() && !workload.gateway {
            let Workload { name, address, .. } = workload;
            let line = format!(
                "no Sidecar gives {name} ({address}) an ingress listener with a defaultEndpoint: no service is started for it"
            );
            found.left_out.push(line);
        }
    }
    found
}

fn workload(
    snapshot: &Snapshot,
    service: &Service,
    instance: &Instance,
    address: IpAddr,
) -> Workload {
    let namespace = if instance.namespace.is_empty() {
        &service.namespace
    } else {
        &instance.namespace
    };
    let name = Some(&instance.workload)
        .filter(|name| !name.is_empty())
        .or_else(|| instance.labels.get("app"))
        .map_or_else(|| first_label(&service.hostname), String::as_str);
    let account = instance
        .account
        .as_deref()
        .and_then(|account| account.rsplit_once("/sa/"));
    let sidecar = sidecar(snapshot, namespace, &instance.labels).map(|config| &config.spec);
    Workload {
        name: name.to_owned(),
        namespace: namespace.clone(),
        address,
        labels: instance.labels.clone(),
        service_account: account.map_or("default", |(_, account)| account).to_owned(),
        hosts: vec![service.hostname.clone()],
        inbound: sidecar
            .map(|sidecar| inbound(sidecar, address))
            .unwrap_or_default(),
        outbound: sidecar
            .map(|sidecar| outbound(snapshot, sidecar, namespace))
            .unwrap_or_default(),
        gateway: false,
    }
}

/// istiod's choice: one that selects the workload, else the namespace's own, else the root namespace's.
fn sidecar<'a>(
    snapshot: &'a Snapshot,
    namespace: &str,
    labels: &Labels,
) -> Option<&'a Config<Sidecar>> {
    let of = |namespace: &str| {
        let namespace = namespace.to_owned();
        snapshot
            .sidecars
            .iter()
            .filter(move |config| config.meta.namespace == namespace)
    };
    let selecting = of(namespace).find(|config| {
        let selector = config.spec.workload_selector.as_ref();
        selector.is_some_and(|selector| labels_match(&selector.labels, labels))
    });
    let general =
        |namespace: &str| of(namespace).find(|config| config.spec.workload_selector.is_none());
    selecting
        .or_else(|| general(namespace))
        .or_else(|| general(&snapshot.mesh.root_namespace))
        .map(AsRef::as_ref)
}

fn inbound(sidecar: &Sidecar, own: IpAddr) -> Vec<Inbound> {
    let listeners = sidecar.ingress.iter().filter_map(|ingress| {
        let (host, port) = ingress.default_endpoint.rsplit_once(':')?;
        let host = match host {
            // The wildcard means the workload's own address (Istio: Sidecar, defaultEndpoint).
            "0.0.0.0" | "[::]" => own,
            other => other.trim_matches(['[', ']']).parse().ok()?,
        };
        Some(Inbound {
            listen: SocketAddr::new(
                bound(&ingress.bind, own)?,
                u16::try_from(ingress.port.number).ok()?,
            ),
            application: SocketAddr::new(host, port.parse().ok()?),
        })
    });
    listeners.collect()
}

fn outbound(snapshot: &Snapshot, sidecar: &Sidecar, namespace: &str) -> Vec<Outbound> {
    let mut found: Vec<Outbound> = Vec::new();
    for egress in &sidecar.egress {
        let Some((port, address)) = egress.port.as_ref().zip(egress.bind.parse().ok()) else {
            continue;
        };
        let Ok(number) = u16::try_from(port.number) else {
            continue;
        };
        let services = snapshot.registry.services.iter();
        // What takes spans is nobody to call.
        for service in services.filter(|service| !traces::is_collector(snapshot, service)) {
            let offered = service
                .port(port.number)
                .is_some_and(|port| port.protocol.is_http_or_sniffed());
            let seen = egress
                .hosts
                .iter()
                .any(|pattern| imported(pattern, service, namespace));
            if offered && seen && !found.iter().any(|known| known.host == service.hostname) {
                found.push(Outbound {
                    host: service.hostname.clone(),
                    port: number,
                    through: SocketAddr::new(address, number),
                });
            }
        }
    }
    found
}

/// `NAMESPACE/HOST` of an egress listener: `*` any namespace, `.` the Sidecar's own; host exact, `*` or `*.suffix`.
fn imported(pattern: &str, service: &Service, own: &str) -> bool {
    let Some((namespace, host)) = pattern.split_once('/') else {
        return false;
    };
    let namespace_fits = match namespace {
        "*" => true,
        "." => service.namespace == own,
        name => service.namespace == name,
    };
    let host_fits = match host.strip_prefix('*') {
        Some(suffix) => service.hostname.ends_with(suffix),
        None => service.hostname == host,
    };
    namespace_fits
        && host_fits
        && carbyne_mesh::source::exported(&service.export_to, &service.namespace, own)
}

fn bound(bind: &str, own: IpAddr) -> Option<IpAddr> {
    if bind.is_empty() {
        Some(own)
    } else {
        bind.parse().ok()
    }
}

/// Two workloads of one name get numbers, in the order of their addresses.
fn distinct_names(workloads: &mut [Workload]) {
    for index in 0..workloads.len() {
        let (before, rest) = workloads.split_at_mut(index);
        let Some(workload) = rest.first_mut() else {
            return;
        };
        let base = workload.name.clone();
        let mut number = 2;
        while before.iter().any(|other| other.name == workload.name) {
            workload.name = format!("{base}-{number}");
            number += 1;
        }
    }
}

/// A short name for a host: that of the workload that serves it, if only one does.
#[must_use]
pub fn name_of_host(host: &str, all: &[Workload]) -> String {
    let mut serving = all
        .iter()
        .filter(|workload| workload.hosts.iter().any(|own| own == host));
    match (serving.next(), serving.next()) {
        (Some(only), None) => only.name.clone(),
        _ => first_label(host).to_owned(),
    }
}

fn first_label(host: &str) -> &str {
    host.split('.').next().unwrap_or(host)
}

/// Port of a sidecar's admin interface, on the workload's address (pilot-agent's is on 127.0.0.1: there every pod has its own).
pub const ADMIN_PORT: u16 = 15000;
/// Port of `/healthz/ready` (pilot-agent's).
pub const STATUS_PORT: u16 = 15021;
/// Port of `/stats/prometheus` (pilot-agent's).
pub const PROMETHEUS_PORT: u16 = 15090;

#[cfg(test)]
#[path = "workloads_tests.rs"]
mod tests;
