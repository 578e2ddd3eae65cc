//! Resources with one thing wrong are refused by name and place, and nothing else of them is.

use carbyne_protos::any::{pack, type_name};
use carbyne_protos::json;
use carbyne_protos::prost_types::Any;
use serde_json::{Value, json};

use super::Environment;
use super::captures::plan;

fn resource(value: Value) -> Any {
    json::any_from_json(&value).unwrap_or_else(|error| panic!("{error}"))
}

fn url(name: &str) -> String {
    format!("type.googleapis.com/{name}")
}

fn cluster() -> Value {
    json!({
        "@type": url("envoy.config.cluster.v3.Cluster"), "name": "c", "type": "EDS", "connect_timeout": "1s",
        "eds_cluster_config": {"eds_config": {"ads": {}}},
        "outlier_detection": {"interval": "5s", "max_ejection_percent": 50},
        "lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 65537},
        "transport_socket_matches": [{"name": "a", "match": {}, "transport_socket": {"name": "tls", "typed_config": {
            "@type": url("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"),
            "common_tls_context": {"combined_validation_context": {
                "default_validation_context": {"match_subject_alt_names": [{"exact": "spiffe://a"}]},
                "validation_context_sds_secret_config": {"name": "ROOTCA", "sds_config": {"ads": {}}}}},
        }}}],
    })
}

fn table() -> Value {
    json!({
        "@type": url("envoy.config.route.v3.RouteConfiguration"), "name": "80",
        "virtual_hosts": [{"name": "v", "domains": ["a"], "routes": [
            {"match": {"safe_regex": {"regex": "/a.*"}}, "route": {"cluster": "c", "timeout": "1s"}},
            {"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": [{"name": "c", "weight": 1}]}}},
            {"match": {"prefix": "/d"}, "direct_response": {"status": 200, "body": {"inline_string": "x"}},
             "response_headers_to_add": [{"header": {"key": "x", "value": "1"}}]},
        ]}],
    })
}

fn listener() -> Value {
    json!({
        "@type": url("envoy.config.listener.v3.Listener"), "name": "l",
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": 15006}},
        "filter_chains": [
            {"filter_chain_match": {"destination_port": 1}, "filters": [{"name": "t", "typed_config": {
                "@type": url("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"), "stat_prefix": "t", "cluster": "c"}}]},
            {"filter_chain_match": {"destination_port": 2}, "filters": [{"name": "h", "typed_config": {
                "@type": url("envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"), "stat_prefix": "h",
                "rds": {"route_config_name": "80", "config_source": {"ads": {}}},
                "http_filters": [
                    {"name": "rbac", "typed_config": {"@type": url("envoy.extensions.filters.http.rbac.v3.RBAC"), "rules": {"policies": {"p": {
                        "permissions": [{"header": {"name": "x", "string_match": {"safe_regex": {"regex": "a"}}}}], "principals": [{"any": true}]}}}}},
                    {"name": "router", "typed_config": {"@type": url("envoy.extensions.filters.http.router.v3.Router")}},
                ]}}]},
        ],
    })
}

fn endpoints() -> Value {
    json!({
        "@type": url("envoy.config.endpoint.v3.ClusterLoadAssignment"), "cluster_name": "c",
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": "10.0.0.1", "port_value": 80}}}}], "priority": 0}],
    })
}

/// Resource, place of the change, new value, place of the error.
fn mutations() -> Vec<(Value, &'static str, Value, &'static str)> {
    vec![
        (
            cluster(),
            "/connect_timeout",
            json!("-1s"),
            "connect_timeout",
        ),
        (
            cluster(),
            "/outlier_detection/max_ejection_percent",
            json!(101),
            "outlier_detection.max_ejection_percent",
        ),
        (
            cluster(),
            "/maglev_lb_config/table_size",
            json!(65536),
            "maglev_lb_config.table_size",
        ),
        (cluster(), "/name", json!(""), "name"),
        (
            cluster(),
            "/eds_cluster_config",
            json!(null),
            "eds_cluster_config",
        ),
        (
            cluster(),
            "/transport_socket_matches/0/transport_socket/typed_config/common_tls_context/combined_validation_context/default_validation_context/match_subject_alt_names/0",
            json!({"safe_regex": {"regex": "("}}),
            "transport_socket_matches[0].transport_socket.typed_config.common_tls_context.combined_validation_context.default_validation_context.match_subject_alt_names[0]",
        ),
        (
            table(),
            "/virtual_hosts/0/routes/0/match/safe_regex/regex",
            json!("("),
            "virtual_hosts[0].routes[0].match.safe_regex.regex",
        ),
        (
            table(),
            "/virtual_hosts/0/domains",
            json!(["a", "A"]),
            "virtual_hosts[0].domains",
        ),
        (
            table(),
            "/virtual_hosts/0/routes/1/route/weighted_clusters/clusters/0/weight",
            json!(0),
            "virtual_hosts[0].routes[1].route.weighted_clusters.clusters",
        ),
        (
            table(),
            "/virtual_hosts/0/routes/2/direct_response/status",
            json!(99),
            "virtual_hosts[0].routes[2].direct_response.status",
        ),
        (
            table(),
            "/virtual_hosts/0/routes/2/response_headers_to_add/0/header/key",
            json!(":status"),
            "virtual_hosts[0].routes[2].response_headers_to_add[0].header.key",
        ),
        (
            table(),
            "/virtual_hosts/0/routes/2/response_headers_to_add/0/header/value",
            json!("%NO_SUCH%"),
            "virtual_hosts[0].routes[2].response_headers_to_add[0].header.value",
        ),
        (
            table(),
            "/virtual_hosts/0/routes/0/match",
            json!(null),
            "virtual_hosts[0].routes[0].match",
        ),
        (
            listener(),
            "/address/socket_address/address",
            json!("localhost"),
            "address.socket_address.address",
        ),
        (
            listener(),
            "/filter_chains/1/filter_chain_match/destination_port",
            json!(1),
            "filter_chains",
        ),
        (
            listener(),
            "/filter_chains/0/filters/0/typed_config/stat_prefix",
            json!(""),
            "filter_chains[0].filters[0].typed_config.stat_prefix",
        ),
        (
            listener(),
            "/filter_chains/1/filters/0/typed_config/http_filters/0/typed_config/rules/policies/p/permissions/0/header/string_match/safe_regex/regex",
            json!("["),
            "filter_chains[1].filters[0].typed_config.http_filters[0].typed_config.rules.policies[\"p\"].permissions[0].header.string_match",
        ),
        (
            listener(),
            "/filter_chains/1/filters/0/typed_config/http_filters",
            json!([]),
            "filter_chains[1].filters[0].typed_config.http_filters",
        ),
        (
            endpoints(),
            "/endpoints/0/priority",
            json!(200),
            "endpoints[0].priority",
        ),
        (
            endpoints(),
            "/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/port_value",
            json!(70000),
            "endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_value",
        ),
    ]
}

#[test]
fn each_mutation_is_refused_by_its_place() {
    let environment = Environment::default();
    for base in [cluster(), table(), listener(), endpoints()] {
        let findings =
            plan(&environment, &resource(base)).unwrap_or_else(|rejection| panic!("{rejection}"));
        assert!(findings.is_empty(), "{findings:?}");
    }
    for (mut value, pointer, replacement, path) in mutations() {
        *value
            .pointer_mut(pointer)
            .unwrap_or_else(|| panic!("{pointer}")) = replacement;
        let rejection = plan(&environment, &resource(value)).expect_err(pointer);
        assert_eq!(rejection.errors.len(), 1, "{pointer}: {rejection}");
        assert_eq!(rejection.errors[0].path, path, "{rejection}");
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let mut value = table();
    for (pointer, replacement) in [
        (
            "/virtual_hosts/0/routes/0/match/safe_regex/regex",
            json!("("),
        ),
        ("/virtual_hosts/0/routes/0/route/timeout", json!("-1s")),
        (
            "/virtual_hosts/0/routes/2/direct_response/status",
            json!(99),
        ),
    ] {
        *value.pointer_mut(pointer).unwrap() = replacement;
    }
    let rejection = plan(&Environment::default(), &resource(value)).unwrap_err();
    assert_eq!(rejection.errors.len(), 3, "{rejection}");
}

#[test]
fn bytes_that_are_no_message_are_refused() {
    use carbyne_protos::envoy::config::cluster::v3::Cluster;
    let mut any = pack(&Cluster {
        name: "c".to_owned(),
        ..Cluster::default()
    });
    any.value.push(0x0a);
    assert_eq!(type_name(&any.type_url), "envoy.config.cluster.v3.Cluster");
    assert!(plan(&Environment::default(), &any).is_err());
}
