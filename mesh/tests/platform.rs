//! The example platform: loads without a warning, and its proxies get what Sidecars without interception mean.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::{path::Path, sync::Arc};

use carbyne_mesh::{
    generate::{self, Kind, Node, Proxy, Resource},
    source,
};
use serde_json::Value;

fn proxy(name: &str, address: &str) -> Proxy {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/platform");
    let snapshot = Arc::new(source::read_folder(&folder).unwrap());
    assert_eq!(snapshot.warnings, []);
    let node = serde_json::json!({
        "id": format!("sidecar~{address}~{name}.platform~platform.svc.cluster.local"),
        "cluster": format!("{name}.platform"),
        "metadata": {"NAMESPACE": "platform", "INTERCEPTION_MODE": "NONE", "CLUSTER_ID": "Kubernetes", "LABELS": {"app": name}},
    });
    generate::proxy(&snapshot, &Node::from_json(&node).unwrap())
}

fn names(resources: &[Resource]) -> Vec<&str> {
    let mut names: Vec<&str> = resources
        .iter()
        .map(|resource| resource.name.as_str())
        .collect();
    names.sort_unstable();
    names
}

fn find<'a>(resources: &'a [Resource], name: &str) -> &'a Value {
    &resources
        .iter()
        .find(|resource| resource.name == name)
        .unwrap()
        .value
}

#[test]
fn every_resource_is_a_message() {
    for (name, address) in [
        ("portal", "127.0.10.1"),
        ("catalogue", "127.0.10.2"),
        ("billing", "127.0.10.3"),
        ("gateway", "127.0.10.10"),
    ] {
        let proxy = proxy(name, address);
        for kind in [Kind::Cluster, Kind::Listener] {
            for resource in generate::all(&proxy, kind) {
                resource.encode().unwrap();
            }
        }
    }
}

#[test]
fn listeners_are_bound_where_the_sidecar_says() {
    let portal = proxy("portal", "127.0.10.1");
    let listeners = generate::all(&portal, Kind::Listener);
    assert_eq!(
        names(&listeners),
        [
            "127.0.10.1_4318",
            "127.0.10.1_8080",
            "127.0.10.1_8081",
            "127.0.10.1_8082"
        ]
    );
    for listener in &listeners {
        assert_ne!(
            listener.value["bindToPort"], false,
            "{} is really bound",
            listener.name
        );
        assert_eq!(
            listener.value["address"]["socketAddress"]["address"],
            "127.0.10.1"
        );
        let filters = listener.value["listenerFilters"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        assert!(
            filters
                .iter()
                .all(|filter| filter["name"] != "envoy.filters.listener.original_dst")
        );
    }
    let egress = find(&listeners, "127.0.10.1_8081");
    let hcm = &egress["filterChains"][0]["filters"][0]["typedConfig"];
    assert_eq!(hcm["rds"]["routeConfigName"], "8081");
}

#[test]
fn inbound_is_mutual_tls_and_a_gateway_has_none() {
    for (name, address, port) in [
        ("portal", "127.0.10.1", 8080),
        ("catalogue", "127.0.10.2", 8081),
        ("catalogue", "127.0.10.4", 8081),
        ("billing", "127.0.10.3", 8082),
    ] {
        let listeners = generate::all(&proxy(name, address), Kind::Listener);
        let listener = find(&listeners, &format!("{address}_{port}"));
        let chains = listener["filterChains"].as_array().unwrap();
        assert_eq!(chains.len(), 1, "{name}");
        assert_eq!(chains[0]["filterChainMatch"]["transportProtocol"], "tls");
        assert!(chains[0]["transportSocket"].is_object());
    }
    let listeners = generate::all(&proxy("gateway", "127.0.10.10"), Kind::Listener);
    assert_eq!(
        names(&listeners),
        ["127.0.10.10_4318", "127.0.10.10_8080", "127.0.10.10_8082"],
        "egress alone"
    );
}

#[test]
fn clusters_lead_to_the_other_proxies_and_to_the_service_itself() {
    let portal = proxy("portal", "127.0.10.1");
    let clusters = generate::all(&portal, Kind::Cluster);
    assert_eq!(
        names(&clusters),
        [
            "BlackHoleCluster",
            "InboundPassthroughCluster",
            "PassthroughCluster",
            "inbound|8080||",
            "outbound|4318||collector.platform.svc.cluster.local",
            "outbound|8081|v1|catalogue.platform.svc.cluster.local",
            "outbound|8081|v2|catalogue.platform.svc.cluster.local",
            "outbound|8081||catalogue.platform.svc.cluster.local",
            "outbound|8082||billing.platform.svc.cluster.local",
        ]
    );
    let own = find(&clusters, "inbound|8080||");
    assert_eq!(own["type"], "STATIC");
    let address = &own["loadAssignment"]["endpoints"][0]["lbEndpoints"][0]["endpoint"]["address"]["socketAddress"];
    assert_eq!(
        (address["address"].as_str(), address["portValue"].as_u64()),
        (Some("127.0.10.1"), Some(18_080))
    );
    // As Istio has it for the workload's own address: the service sees that the call came from its sidecar.
    assert_eq!(
        own["upstreamBindConfig"]["sourceAddress"]["address"],
        "127.0.0.6"
    );
    let endpoints = generate::named(
        &portal,
        Kind::Endpoint,
        ["outbound|8081||catalogue.platform.svc.cluster.local"],
    );
    let endpoint = &endpoints[0].value["endpoints"][0]["lbEndpoints"][0];
    let address = &endpoint["endpoint"]["address"]["socketAddress"];
    assert_eq!(
        (address["address"].as_str(), address["portValue"].as_u64()),
        (Some("127.0.10.2"), Some(8_081))
    );
    assert_eq!(
        endpoint["metadata"]["filterMetadata"]["envoy.transport_socket_match"]["tlsMode"],
        "istio"
    );
}

#[test]
fn routes_of_an_egress_listener_know_its_one_service() {
    let portal = proxy("portal", "127.0.10.1");
    let routes = generate::named(&portal, Kind::Route, ["8081"]);
    let hosts = routes[0].value["virtualHosts"].as_array().unwrap();
    let names: Vec<_> = hosts
        .iter()
        .map(|host| host["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["catalogue.platform.svc.cluster.local:8081", "block_all"]
    );
    assert_eq!(hosts[0]["routes"][0]["route"]["timeout"], "5s");
}

#[test]
fn policies_are_named_as_the_log_will_name_them() {
    let listeners = generate::all(&proxy("billing", "127.0.10.3"), Kind::Listener);
    let hcm = &find(&listeners, "127.0.10.3_8082")["filterChains"][0]["filters"][1]["typedConfig"];
    let filters = hcm["httpFilters"].as_array().unwrap();
    let rbac: Vec<&Value> = filters
        .iter()
        .filter(|filter| filter["name"] == "envoy.filters.http.rbac")
        .collect();
    assert_eq!(rbac.len(), 2);
    let deny = &rbac[0]["typedConfig"]["rules"];
    assert_eq!(deny["action"], "DENY");
    assert!(deny["policies"]["ns[platform]-policy[billing-not-portal]-rule[0]"].is_object());
    assert!(
        rbac[1]["typedConfig"]["rules"]["policies"]["ns[platform]-policy[billing-callers]-rule[0]"]
            .is_object()
    );
    let log = &hcm["accessLog"][0]["typedConfig"];
    assert_eq!(
        log["logFormat"]["jsonFormat"]["response_code_details"],
        "%RESPONSE_CODE_DETAILS%"
    );
}
