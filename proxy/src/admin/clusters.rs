//! `/clusters`: text and JSON.

use carbyne_protos::envoy::admin::v3::{ClusterStatus, Clusters, HostHealthStatus, HostStatus};
use carbyne_protos::envoy::config::core::v3::{
    Address, HealthStatus, RoutingPriority, address, socket_address,
};
use carbyne_protos::json;

use super::{Query, Response, State};

/// Answers `/clusters`.
pub(super) fn page(query: &Query, state: &impl State) -> Response {
    let filter = match query.filter() {
        Ok(filter) => filter,
        Err(response) => return response,
    };
    let mut clusters = state.clusters();
    clusters.retain(|cluster| {
        filter
            .as_ref()
            .is_none_or(|filter| filter.is_match(&cluster.name))
    });
    if query.value("format") == Some("json") {
        let message = Clusters {
            cluster_statuses: clusters,
        };
        return Response::json(&json::to_json(&message));
    }
    let mut text = String::new();
    for cluster in &clusters {
        put_cluster(cluster, &mut text);
    }
    Response::ok(text)
}

fn put_cluster(cluster: &ClusterStatus, text: &mut String) {
    let name = &cluster.name;
    let mut line = |rest: String| text.push_str(&format!("{name}::{rest}\n"));
    line(format!(
        "observability_name::{}",
        cluster.observability_name
    ));
    let thresholds = cluster
        .circuit_breakers
        .iter()
        .flat_map(|breakers| &breakers.thresholds);
    for threshold in thresholds {
        let priority = if threshold.priority() == RoutingPriority::High {
            "high"
        } else {
            "default"
        };
        for (key, value) in [
            ("max_connections", threshold.max_connections),
            ("max_pending_requests", threshold.max_pending_requests),
            ("max_requests", threshold.max_requests),
            ("max_retries", threshold.max_retries),
        ] {
            line(format!(
                "{priority}_priority::{key}::{}",
                value.unwrap_or_default()
            ));
        }
    }
    line(format!("added_via_api::{}", cluster.added_via_api));
    if !cluster.eds_service_name.is_empty() {
        line(format!("eds_service_name::{}", cluster.eds_service_name));
    }
    for host in &cluster.host_statuses {
        put_host(host, &mut line);
    }
}

fn put_host(host: &HostStatus, line: &mut impl FnMut(String)) {
    let address = host.address.as_ref().map(address_text).unwrap_or_default();
    let mut line = |rest: String| line(format!("{address}::{rest}"));
    let mut stats: Vec<_> = host.stats.iter().collect();
    stats.sort_by(|left, right| left.name.cmp(&right.name));
    for stat in stats {
        line(format!("{}::{}", stat.name, stat.value));
    }
    let locality = host.locality.clone().unwrap_or_default();
    let rate = |rate: &Option<carbyne_protos::envoy::r#type::v3::Percent>| {
        rate.as_ref().map_or(-1.0, |rate| rate.value)
    };
    line(format!("hostname::{}", host.hostname));
    line(format!(
        "health_flags::{}",
        health_flags(host.health_status.as_ref())
    ));
    line(format!("weight::{}", host.weight));
    line(format!("region::{}", locality.region));
    line(format!("zone::{}", locality.zone));
    line(format!("sub_zone::{}", locality.sub_zone));
    line("canary::false".to_owned());
    line(format!("priority::{}", host.priority));
    line(format!("success_rate::{}", rate(&host.success_rate)));
    line(format!(
        "local_origin_success_rate::{}",
        rate(&host.local_origin_success_rate)
    ));
}

/// Envoy's words: `healthy`, or everything that speaks against the host.
fn health_flags(health: Option<&HostHealthStatus>) -> String {
    let Some(health) = health else {
        return "healthy".to_owned();
    };
    let eds = health.eds_health_status();
    let flags = [
        (health.failed_active_health_check, "/failed_active_hc"),
        (health.failed_outlier_check, "/failed_outlier_check"),
        (
            matches!(
                eds,
                HealthStatus::Unhealthy | HealthStatus::Draining | HealthStatus::Timeout
            ),
            "/failed_eds_health",
        ),
        (health.failed_active_degraded_check, "/degraded_active_hc"),
        (eds == HealthStatus::Degraded, "/degraded_eds_health"),
        (health.pending_dynamic_removal, "/pending_dynamic_removal"),
        (health.pending_active_hc, "/pending_active_hc"),
        (
            health.excluded_via_immediate_hc_fail,
            "/excluded_via_immediate_hc_fail",
        ),
        (health.active_hc_timeout, "/active_hc_timeout"),
        (
            health.failed_degraded_outlier_detection,
            "/degraded_outlier_detection",
        ),
        (eds == HealthStatus::Draining, "/eds_status_draining"),
    ];
    let text: String = flags
        .iter()
        .filter(|flag| flag.0)
        .map(|flag| flag.1)
        .collect();
    if text.is_empty() {
        "healthy".to_owned()
    } else {
        text
    }
}

/// An address as Envoy's text pages write it: `ip:port`, a path, or the name of an internal listener.
pub(super) fn address_text(address: &Address) -> String {
    match &address.address {
        Some(address::Address::SocketAddress(socket)) => {
            let port = match socket.port_specifier {
                Some(socket_address::PortSpecifier::PortValue(port)) => port.to_string(),
                Some(socket_address::PortSpecifier::NamedPort(ref name)) => name.clone(),
                None => "0".to_owned(),
            };
            if socket.address.contains(':') {
                format!("[{}]:{port}", socket.address)
            } else {
                format!("{}:{port}", socket.address)
            }
        }
        Some(address::Address::Pipe(pipe)) => pipe.path.clone(),
        Some(address::Address::EnvoyInternalAddress(internal)) => {
            format!(
                "envoy://{}/{}",
                internal_name(internal),
                internal.endpoint_id
            )
        }
        None => String::new(),
    }
}

fn internal_name(internal: &carbyne_protos::envoy::config::core::v3::EnvoyInternalAddress) -> &str {
    use carbyne_protos::envoy::config::core::v3::envoy_internal_address::AddressNameSpecifier;
    match &internal.address_name_specifier {
        Some(AddressNameSpecifier::ServerListenerName(name)) => name,
        None => "",
    }
}
