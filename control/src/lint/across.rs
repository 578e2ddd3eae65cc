//! What several resources say together: routes that never match, two owners of one host, subsets and selectors that choose nobody.

use std::collections::{BTreeMap, BTreeSet};

use carbyne_mesh::{
    model::{Config, Labels, Origin, VirtualService, labels_match},
    source::Examined,
};

use super::istio::{Cluster, at};
use crate::output::{Finding, code};

/// Looks at routes, destination rules and selectors.
pub(super) fn look(examined: &Examined, cluster: &Cluster, findings: &mut Vec<Finding>) {
    for config in &examined.snapshot.virtual_services {
        unreachable(examined, config, findings);
    }
    hosts_of_two_virtual_services(examined, findings);
    destination_rules(examined, findings);
    selectors(examined, cluster, findings);
    services(examined, findings);
}

/// Routes behind one that matches everything.
fn unreachable(examined: &Examined, config: &Config<VirtualService>, findings: &mut Vec<Finding>) {
    let everything =
        |route: &carbyne_mesh::model::virtual_service::HttpRoute| route.matching.is_empty();
    let Some(last) = config.spec.http.iter().position(everything) else {
        return;
    };
    for index in last + 1..config.spec.http.len() {
        findings.push(at(
            examined,
            &code::NEVER_REACHED,
            format!("VirtualService {}", full(config)),
            &config.origin,
            &format!("/spec/http/{index}"),
            format!("spec.http[{index}] comes behind spec.http[{last}], which has no `match` and takes every request"),
        ));
    }
}

/// istiod merges VirtualServices of one host at gateways; for sidecars the oldest wins, and of files nobody knows which that is.
fn hosts_of_two_virtual_services(examined: &Examined, findings: &mut Vec<Finding>) {
    let mut owners: BTreeMap<&str, &Config<VirtualService>> = BTreeMap::new();
    for config in &examined.snapshot.virtual_services {
        if !config.spec.gateways.iter().any(|gateway| gateway == "mesh") {
            continue;
        }
        for (index, host) in config.spec.hosts.iter().enumerate() {
            if let Some(first) = owners.get(host.as_str()) {
                findings.push(at(
                    examined,
                    &code::TWO_OWNERS,
                    format!("VirtualService {}", full(config)),
                    &config.origin,
                    &format!("/spec/hosts/{index}"),
                    format!(
                        "VirtualService {} is for {host} too; sidecars take one of them",
                        full(first)
                    ),
                ));
            } else {
                owners.insert(host, config);
            }
        }
    }
}

fn destination_rules(examined: &Examined, findings: &mut Vec<Finding>) {
    let snapshot = &examined.snapshot;
    let mut owners = BTreeMap::new();
    for config in &snapshot.destination_rules {
        let object = || format!("DestinationRule {}", full(config));
        if config.spec.workload_selector.is_none() {
            let key = (config.meta.namespace.as_str(), config.spec.host.as_str());
            if let Some(first) = owners.insert(key, config) {
                findings.push(at(
                    examined,
                    &code::TWO_OWNERS,
                    object(),
                    &config.origin,
                    "/spec/host",
                    format!(
                        "DestinationRule {} is for {} too; only subsets are merged",
                        full(first),
                        config.spec.host
                    ),
                ));
            }
        }
        let mut names = BTreeSet::new();
        for (index, subset) in config.spec.subsets.iter().enumerate() {
            if !names.insert(&subset.name) {
                findings.push(at(
                    examined,
                    &code::TWICE,
                    object(),
                    &config.origin,
                    &format!("/spec/subsets/{index}/name"),
                    format!("the subset {} is there twice", subset.name),
                ));
            }
            let instances: Vec<&Labels> = snapshot
                .registry
                .named(&config.spec.host)
                .flat_map(|service| &service.instances)
                .map(|instance| &instance.labels)
                .collect();
            if !instances.is_empty()
                && !instances
                    .iter()
                    .any(|labels| labels_match(&subset.labels, labels))
            {
                findings.push(at(
                    examined,
                    &code::SELECTS_NOBODY,
                    object(),
                    &config.origin,
                    &format!("/spec/subsets/{index}/labels"),
                    format!("the subset {} chooses none of the {} endpoints of {}: its requests are answered 503", subset.name, instances.len(), config.spec.host),
                ));
            }
        }
    }
}

/// Selectors that choose none of the workloads that the files name; where they name none, nobody can know.
fn selectors(examined: &Examined, cluster: &Cluster, findings: &mut Vec<Finding>) {
    let snapshot = &examined.snapshot;
    let root = snapshot.mesh.root_namespace.as_str();
    let mut check = |kind: &str,
                     namespace: &str,
                     name: &str,
                     origin: &Origin,
                     pointer: &str,
                     labels: Option<&Labels>| {
        let Some(labels) = labels.filter(|labels| !labels.is_empty()) else {
            return;
        };
        let mut here = cluster
            .workloads
            .iter()
            .filter(|(own, _)| own == namespace || namespace == root)
            .peekable();
        if here.peek().is_none() || here.any(|(_, own)| labels_match(labels, own)) {
            return;
        }
        let wanted: Vec<String> = labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        findings.push(at(
            examined,
            &code::SELECTS_NOBODY,
            format!("{kind} {namespace}/{name}"),
            origin,
            pointer,
            format!("no workload of {namespace} has {}", wanted.join(", ")),
        ));
    };
    macro_rules! each {
        ($list:ident, $kind:literal, $selector:ident . $labels:ident, $pointer:literal) => {
            for config in &snapshot.$list {
                let meta = &config.meta;
                let labels = config
                    .spec
                    .$selector
                    .as_ref()
                    .map(|selector| &selector.$labels);
                check(
                    $kind,
                    &meta.namespace,
                    &meta.name,
                    &config.origin,
                    $pointer,
                    labels,
                );
            }
        };
    }
    each!(
        authorization_policies,
        "AuthorizationPolicy",
        selector.match_labels,
        "/spec/selector"
    );
    each!(
        peer_authentications,
        "PeerAuthentication",
        selector.match_labels,
        "/spec/selector"
    );
    each!(
        request_authentications,
        "RequestAuthentication",
        selector.match_labels,
        "/spec/selector"
    );
    each!(
        telemetries,
        "Telemetry",
        selector.match_labels,
        "/spec/selector"
    );
    each!(
        sidecars,
        "Sidecar",
        workload_selector.labels,
        "/spec/workloadSelector"
    );
}

/// In-mesh services that select their endpoints and find none.
fn services(examined: &Examined, findings: &mut Vec<Finding>) {
    for service in &examined.snapshot.registry.services {
        if service.selects && service.instances.is_empty() {
            findings.push(at(
                examined,
                &code::SELECTS_NOBODY,
                format!("ServiceEntry {}", service.hostname),
                &service.origin,
                "/spec/workloadSelector",
                format!(
                    "no WorkloadEntry of {} is chosen: requests are answered 503",
                    service.namespace
                ),
            ));
        }
    }
}

pub(super) fn full<T>(config: &Config<T>) -> String {
    format!("{}/{}", config.meta.namespace, config.meta.name)
}
