//! Endpoints: who serves a cluster, in which locality and priority, with or without mTLS.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    cluster::Policy, json, name, node::Locality, peer::Mode, peer::PeerPolicy, proxy::Proxy,
};
use crate::{
    model::{
        Labels, MeshConfig,
        destination_rule::{ClientTlsMode, LoadBalancer, LocalitySetting, TrafficPolicy},
        labels_match,
        service_entry::Resolution,
    },
    source::{Instance, Service},
};

/// The assignment of an EDS cluster; none when the name is not of an outbound cluster that EDS serves.
pub(super) fn build(proxy: &Proxy, cluster: &str) -> Option<Value> {
    let (_, _, host) = name::parse_outbound(cluster)?;
    let service = proxy.scope.service(host)?;
    if matches!(
        service.resolution,
        Resolution::Dns | Resolution::DnsRoundRobin
    ) {
        return Some(json!({"clusterName": cluster}));
    }
    Some(assignment(proxy, service, cluster))
}

/// The assignment of any outbound cluster; DNS clusters carry theirs inside.
pub(super) fn assignment(proxy: &Proxy, service: &Service, cluster: &str) -> Value {
    let Some((port, subset, _)) = name::parse_outbound(cluster) else {
        return json!({"clusterName": cluster});
    };
    let rule = proxy.rule_for(service, false).map(|rule| &rule.spec);
    let traffic = rule.and_then(|rule| rule.traffic_policy.as_ref());
    let part = rule.and_then(|rule| rule.subsets.iter().find(|part| part.name == subset));
    let none = Labels::new();
    let wanted = part.map_or(&none, |part| &part.labels);
    // The rule's TLS mode decides for all endpoints; a subset does not inherit it here (istiod: mtlsChecker).
    let said = if subset.is_empty() {
        tls_mode(traffic, port)
    } else {
        tls_mode(part.and_then(|part| part.traffic_policy.as_ref()), port)
    };
    let mut localities: BTreeMap<&str, Vec<&Instance>> = BTreeMap::new();
    for instance in &service.instances {
        if instance.service_port == port && labels_match(wanted, &instance.labels) {
            localities
                .entry(&instance.locality)
                .or_default()
                .push(instance);
        }
    }
    let mut endpoints: Vec<Value> = localities
        .iter()
        .map(|(place, instances)| {
            let weight: u64 = instances.iter().map(|instance| u64::from(instance.weight.max(1))).sum();
            let built: Vec<Value> = instances.iter().map(|instance| endpoint(proxy, instance, said)).collect();
            json!({"locality": locality(place), "lbEndpoints": built, "loadBalancingWeight": weight.min(u64::from(u32::MAX))})
        })
        .collect();
    let policy = Policy::for_port(traffic, port)
        .0
        .with_subset(part.and_then(|part| part.traffic_policy.as_ref()), port);
    if let Some(setting) = locality_setting(&proxy.snapshot.mesh, policy.load_balancer) {
        place(
            &mut endpoints,
            proxy,
            setting,
            policy.outlier_detection.is_some(),
            &localities,
        );
    }
    json!({"clusterName": cluster, "endpoints": json::list(endpoints)})
}

fn endpoint(proxy: &Proxy, instance: &Instance, said: Option<ClientTlsMode>) -> Value {
    let mutual = match said {
        Some(mode) => mode == ClientTlsMode::IstioMutual,
        None => {
            instance.mutual_tls && {
                let peer = PeerPolicy::of(&proxy.snapshot, &instance.namespace, &instance.labels);
                peer.port(instance.port) != Mode::Disable
            }
        }
    };
    // The rule's mode is about the client; only an endpoint that has a proxy says so.
    let socket = (mutual && instance.mutual_tls).then(|| json!({"tlsMode": "istio"}));
    let (service, revision) = canonical(&instance.labels, &instance.workload);
    let revision = if revision == "latest" { "" } else { revision };
    let cluster_id = &proxy.node.cluster_id;
    let workload = format!(
        "{};{};{service};{revision};{cluster_id}",
        instance.workload, instance.namespace
    );
    json!({
        "endpoint": {"address": json::address(&instance.address, instance.port)},
        "metadata": {"filterMetadata": {
            "envoy.transport_socket_match": socket,
            "istio": {"workload": workload},
        }},
        "loadBalancingWeight": instance.weight.max(1),
    })
}

/// Canonical service and revision of a workload, by Istio's order of labels.
fn canonical<'a>(labels: &'a Labels, workload: &'a str) -> (&'a str, &'a str) {
    let first = |keys: &[&str]| {
        keys.iter()
            .find_map(|key| labels.get(*key))
            .map(String::as_str)
    };
    let service = first(&[
        "service.istio.io/canonical-name",
        "app.kubernetes.io/name",
        "app",
    ])
    .unwrap_or(workload);
    let revision = first(&[
        "service.istio.io/canonical-revision",
        "app.kubernetes.io/version",
        "version",
    ])
    .unwrap_or("latest");
    (service, revision)
}

fn locality(text: &str) -> Value {
    let place = Locality::parse(text);
    json!({"region": json::text(&place.region), "zone": json::text(&place.zone), "subZone": json::text(&place.sub_zone)})
}

fn tls_mode(policy: Option<&TrafficPolicy>, port: u32) -> Option<ClientTlsMode> {
    let policy = policy?;
    let own = policy
        .port_level_settings
        .iter()
        .find(|setting| setting.port.number == port)
        .and_then(|setting| setting.tls.as_ref());
    own.or(policy.tls.as_ref()).map(|tls| tls.mode)
}

/// The rule's locality setting, else the mesh's; none when switched off.
pub(super) fn locality_setting<'a>(
    mesh: &'a MeshConfig,
    balancer: Option<&'a LoadBalancer>,
) -> Option<&'a LocalitySetting> {
    let setting = balancer
        .and_then(|balancer| balancer.locality_lb_setting.as_ref())
        .or(mesh.locality_lb_setting.as_ref())?;
    (setting.enabled != Some(false)).then_some(setting)
}

/// Weights by `distribute`, else priorities by failover when outliers are detected.
fn place(
    endpoints: &mut Vec<Value>,
    proxy: &Proxy,
    setting: &LocalitySetting,
    failover: bool,
    localities: &BTreeMap<&str, Vec<&Instance>>,
) {
    let own = &proxy.locality;
    let places: Vec<Locality> = localities
        .keys()
        .map(|place| Locality::parse(place))
        .collect();
    if !setting.distribute.is_empty() {
        distribute(endpoints, own, setting, &places);
    } else if failover && !setting.failover_priority.is_empty() {
        by_labels(endpoints, proxy, &setting.failover_priority, localities);
    } else if failover {
        let priorities: Vec<usize> = places
            .iter()
            .map(|place| distance(own, place, setting))
            .collect();
        number(endpoints, &priorities);
    }
}

/// 0 same place, 1 same zone, 2 same region, 3 elsewhere, 4 elsewhere and not the region to fail over to.
fn distance(own: &Locality, other: &Locality, setting: &LocalitySetting) -> usize {
    if own.region != other.region {
        let to = setting
            .failover
            .iter()
            .find(|failover| failover.from == own.region);
        return if to.is_some_and(|failover| failover.to != other.region) {
            4
        } else {
            3
        };
    }
    if own.zone != other.zone {
        2
    } else if own.sub_zone != other.sub_zone {
        1
    } else {
        0
    }
}

/// Priorities without gaps.
fn number(endpoints: &mut [Value], priorities: &[usize]) {
    let mut levels: Vec<usize> = priorities.to_vec();
    levels.sort_unstable();
    levels.dedup();
    for (endpoint, priority) in endpoints.iter_mut().zip(priorities) {
        let level = levels.binary_search(priority).unwrap_or_default();
        if level > 0 {
            endpoint["priority"] = json!(level);
        }
    }
}

fn distribute(
    endpoints: &mut [Value],
    own: &Locality,
    setting: &LocalitySetting,
    places: &[Locality],
) {
    let Some(rule) = setting.distribute.iter().find(|rule| fits(own, &rule.from)) else {
        return;
    };
    let mut left: Vec<usize> = (0..endpoints.len()).collect();
    for (pattern, share) in &rule.to {
        let matched: Vec<usize> = left
            .iter()
            .copied()
            .filter(|at| fits(&places[*at], pattern))
            .collect();
        left.retain(|at| !matched.contains(at));
        let weight = |at: usize| endpoints[at]["loadBalancingWeight"].as_u64().unwrap_or(1);
        let total: u64 = matched.iter().map(|at| weight(*at)).sum();
        let shares: Vec<u64> = matched
            .iter()
            .map(|at| (weight(*at) * u64::from(*share)).div_ceil(total.max(1)))
            .collect();
        for (at, share) in matched.into_iter().zip(shares) {
            if share > 0 {
                endpoints[at]["loadBalancingWeight"] = json!(share);
            }
        }
    }
    for at in left {
        endpoints[at]["lbEndpoints"] = Value::Null;
    }
}

/// `region/zone/sub-zone` with `*` from some part on.
fn fits(place: &Locality, pattern: &str) -> bool {
    let parts = [&place.region, &place.zone, &place.sub_zone];
    for (part, wanted) in parts.iter().zip(pattern.split('/')) {
        if wanted == "*" {
            return true;
        }
        if *part != wanted {
            return false;
        }
    }
    true
}

/// One group a number of leading labels shared with the proxy.
fn by_labels(
    endpoints: &mut Vec<Value>,
    proxy: &Proxy,
    priority: &[String],
    localities: &BTreeMap<&str, Vec<&Instance>>,
) {
    let wanted: Vec<(&str, Option<&str>)> = priority
        .iter()
        .map(|entry| match entry.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (entry.as_str(), proxy.labels.get(entry).map(String::as_str)),
        })
        .collect();
    let (mut groups, mut priorities) = (Vec::new(), Vec::new());
    for (whole, instances) in endpoints.iter().zip(localities.values()) {
        let mut split: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (at, instance) in instances.iter().enumerate() {
            let shared = wanted
                .iter()
                .take_while(|(key, value)| instance.labels.get(*key).map(String::as_str) == *value)
                .count();
            split.entry(wanted.len() - shared).or_default().push(at);
        }
        for (level, members) in split {
            let mut group = whole.clone();
            let chosen: Vec<Value> = members
                .iter()
                .map(|at| whole["lbEndpoints"][*at].clone())
                .collect();
            let weight: u64 = members
                .iter()
                .map(|at| u64::from(instances[*at].weight.max(1)))
                .sum();
            group["lbEndpoints"] = Value::Array(chosen);
            group["loadBalancingWeight"] = json!(weight);
            groups.push(group);
            priorities.push(level);
        }
    }
    number(&mut groups, &priorities);
    *endpoints = groups;
}
