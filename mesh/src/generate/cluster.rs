//! Clusters: one an outbound service port and subset, one an inbound port, and the four that catch the rest.

mod inbound;
mod outbound;
mod policy;

use serde_json::{Value, json};

pub(super) use self::policy::Policy;
use super::{
    json::typed_struct,
    name::{BLACK_HOLE, INBOUND_PASSTHROUGH, PASSTHROUGH},
    proxy::Proxy,
};
use crate::source::Service;

/// All clusters of a node, in istiod's order.
pub(super) fn build(proxy: &Proxy) -> Vec<Value> {
    let mut clusters = outbound::build(proxy);
    clusters.push(black_hole(proxy));
    if proxy.is_router() {
        return clusters;
    }
    clusters.push(passthrough(proxy));
    clusters.extend(inbound::build(proxy));
    let mut inbound = passthrough(proxy);
    inbound["name"] = json!(INBOUND_PASSTHROUGH);
    inbound["filters"] = Value::Null;
    inbound["upstreamBindConfig"] = inbound::bind_config();
    clusters.push(inbound);
    clusters
}

fn black_hole(proxy: &Proxy) -> Value {
    json!({
        "name": BLACK_HOLE,
        "altStatName": format!("{BLACK_HOLE};"),
        "type": "STATIC",
        "connectTimeout": proxy.snapshot.mesh.connect_timeout.to_string(),
    })
}

fn passthrough(proxy: &Proxy) -> Value {
    let mut cluster = json!({
        "name": PASSTHROUGH,
        "altStatName": format!("{PASSTHROUGH};"),
        "type": "ORIGINAL_DST",
        "lbPolicy": "CLUSTER_PROVIDED",
        "filters": [metadata_exchange()],
    });
    let mut http = policy::HttpOptions {
        upstream: Some(policy::use_downstream()),
        ..policy::HttpOptions::default()
    };
    http.common = Some(json!({"idleTimeout": "300s"}));
    policy::connection_pool(&proxy.snapshot.mesh, &mut cluster, &mut http, None, None);
    http.write(&mut cluster);
    cluster
}

/// Sends and takes the TCP metadata frame where both sides speak `istio-peer-exchange`.
fn metadata_exchange() -> Value {
    typed_struct(
        "istio.metadata_exchange",
        "envoy.tcp.metadataexchange.config.MetadataExchange",
        json!({"enable_discovery": true, "protocol": "istio-peer-exchange"}),
    )
}

/// `metadata.filter_metadata.istio.services[]`, the source of metric labels.
fn service_metadata(service: &Service) -> Value {
    json!({"host": service.hostname, "name": service.hostname, "namespace": service.namespace})
}

/// Path of a DestinationRule in cluster metadata.
fn rule_path(rule: &crate::model::Config<crate::model::DestinationRule>) -> String {
    rule.path("networking.istio.io/v1", "destination-rule")
}
