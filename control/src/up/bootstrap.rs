//! The bootstrap of a sidecar, as pilot-agent 1.29 writes it for a pod, with what differs on a machine without pods:
//!
//! * admin, 15021 and 15090 are on the workload's own loopback address;
//! * there is no agent on 15020: `/healthz/ready` is answered by the proxy's own `/ready`;
//! * the interception mode is NONE;
//! * spans are sent sooner (Envoy: 5 s), because somebody is looking.
//!
//! The proxy runs in its workload's folder, so the sockets have pilot-agent's relative paths.

use carbyne_mesh::{ISTIO_VERSION, model::ProxyStatsMatcher};
use serde_json::{Value, json};

use super::workloads::{PROMETHEUS_PORT, STATUS_PORT, Workload};

/// What all workloads of a mesh share.
#[derive(Clone, Debug)]
pub struct Mesh {
    /// DNS domain, `cluster.local`.
    pub domain: String,
    /// Statistics that are shown beside Istio's own choice.
    pub stats: ProxyStatsMatcher,
}

/// Makes the bootstrap in proto3-JSON.
#[must_use]
pub fn bootstrap(workload: &Workload, mesh: &Mesh) -> Value {
    let address = workload.address.to_string();
    let admin = socket(&address, workload.admin().port());
    json!({
        "node": node(workload, mesh),
        "layered_runtime": {"layers": [
            {"name": "platform", "static_layer": {"tracing.opentelemetry.flush_interval_ms": SPANS_MILLISECONDS}},
            {"name": "admin", "admin_layer": {}},
        ]},
        "stats_config": stats(&mesh.stats),
        "admin": {
            "access_log": [{
                "name": "envoy.access_loggers.file",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                    "path": "/dev/null",
                },
            }],
            "address": admin,
        },
        "dynamic_resources": {
            "lds_config": over_ads(),
            "cds_config": over_ads(),
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "set_node_on_first_message_only": true,
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
            },
        },
        "static_resources": {
            "clusters": [
                cluster("prometheus_stats", "0.250s", &admin),
                cluster("agent", "0.250s", &admin),
                grpc(cluster("sds-grpc", "1s", &pipe(SDS_SOCKET))),
                xds(grpc(cluster("xds-grpc", "1s", &pipe(XDS_SOCKET)))),
            ],
            "listeners": [
                listener(&address, PROMETHEUS_PORT, "stats", &json!({
                    "match": {"prefix": "/stats/prometheus"},
                    "route": {"cluster": "prometheus_stats"},
                })),
                listener(&address, STATUS_PORT, "agent", &json!({
                    "match": {"prefix": "/healthz/ready"},
                    "route": {"cluster": "agent", "prefix_rewrite": "/ready"},
                })),
            ],
        },
    })
}

/// The node id that the sidecar introduces itself with.
#[must_use]
pub fn node_id(workload: &Workload, mesh: &Mesh) -> String {
    let Workload {
        name,
        namespace,
        address,
        ..
    } = workload;
    format!(
        "sidecar~{address}~{name}.{namespace}~{namespace}.svc.{}",
        mesh.domain
    )
}

fn node(workload: &Workload, mesh: &Mesh) -> Value {
    let Workload {
        name, namespace, ..
    } = workload;
    let application = workload.labels.get("app").unwrap_or(name);
    json!({
        "id": node_id(workload, mesh),
        "cluster": format!("{application}.{namespace}"),
        "locality": {},
        "metadata": {
            "APP_CONTAINERS": application,
            "CLUSTER_ID": "Kubernetes",
            "ENVOY_PROMETHEUS_PORT": PROMETHEUS_PORT,
            "ENVOY_STATUS_PORT": STATUS_PORT,
            "INSTANCE_IPS": workload.address.to_string(),
            "INTERCEPTION_MODE": "NONE",
            "ISTIO_VERSION": ISTIO_VERSION,
            "LABELS": workload.labels,
            "MESH_ID": mesh.domain,
            "METADATA_DISCOVERY": "false",
            "NAME": name,
            "NAMESPACE": namespace,
            "PROXY_CONFIG": {
                "concurrency": CONCURRENCY,
                "configPath": "./etc/istio/proxy",
                "interceptionMode": "NONE",
                "proxyAdminPort": workload.admin().port(),
                "serviceCluster": "istio-proxy",
                "statNameLength": 189,
                "terminationDrainDuration": "5s",
            },
            "SERVICE_ACCOUNT": workload.service_account,
            "WORKLOAD_IDENTITY_SOCKET_FILE": "socket",
            "WORKLOAD_NAME": name,
        },
    })
}

/// Istio's default, and what the mesh adds: what has these names is counted and shown, nothing else.
fn stats(added: &ProxyStatsMatcher) -> Value {
    let prefixes = [
        "reporter=",
        "cluster_manager",
        "listener_manager",
        "server",
        "cluster.xds-grpc",
        "component",
        "istio",
    ];
    let suffixes = [
        "rbac.allowed",
        "rbac.denied",
        "shadow_allowed",
        "shadow_denied",
    ];
    let prefixes = prefixes.into_iter();
    let prefixes = prefixes.chain(added.inclusion_prefixes.iter().map(String::as_str));
    let suffixes = suffixes.into_iter();
    let suffixes = suffixes.chain(added.inclusion_suffixes.iter().map(String::as_str));
    let regexps = added.inclusion_regexps.iter();
    let patterns: Vec<Value> = prefixes
        .map(|prefix| json!({"prefix": prefix}))
        .chain(suffixes.map(|suffix| json!({"suffix": suffix})))
        .chain(regexps.map(|regex| json!({"safe_regex": {"regex": regex}})))
        .collect();
    json!({
        "use_all_default_tags": false,
        "stats_tags": [
            {"tag_name": "cluster_name", "regex": "^cluster(\\.(.+);)"},
            {"tag_name": "http_conn_manager_prefix", "regex": "^http\\.(((?:[_.[:digit:]\\w]*|[_\\[\\]aAbBcCdDeEfF[:digit:]\\w\\:]*));\\.)"},
            {"tag_name": "response_code", "regex": "_rq(_(\\d{3}))$"},
            {"tag_name": "response_code_class", "regex": "_rq(_(\\dxx))$"},
            {"tag_name": "authz_enforce_result", "regex": "rbac(\\.(allowed|denied))"},
        ],
        "stats_matcher": {"inclusion_list": {"patterns": patterns}},
    })
}

fn over_ads() -> Value {
    json!({"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"})
}

fn cluster(name: &str, connect_timeout: &str, address: &Value) -> Value {
    json!({
        "name": name,
        "alt_stat_name": format!("{name};"),
        "type": "STATIC",
        "connect_timeout": connect_timeout,
        "lb_policy": "ROUND_ROBIN",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    })
}

fn grpc(mut cluster: Value) -> Value {
    cluster["typed_extension_protocol_options"] = json!({
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        },
    });
    cluster
}

fn xds(mut cluster: Value) -> Value {
    let unlimited = |priority: &str| json!({"priority": priority, "max_connections": 100_000, "max_pending_requests": 100_000, "max_requests": 100_000});
    cluster["circuit_breakers"] = json!({"thresholds": [unlimited("DEFAULT"), unlimited("HIGH")]});
    // One stream a connection: a stream that ends is opened again on a fresh one.
    cluster["max_requests_per_connection"] = json!(1);
    cluster
}

fn listener(address: &str, port: u16, stat_prefix: &str, route: &Value) -> Value {
    json!({
        "name": format!("{address}_{port}"),
        "address": socket(address, port),
        "ignore_global_conn_limit": true,
        "bypass_overload_manager": true,
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "codec_type": "AUTO",
                "stat_prefix": stat_prefix,
                "route_config": {"virtual_hosts": [{"name": "backend", "domains": ["*"], "routes": [route]}]},
                "http_filters": [{
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
                }],
            },
        }]}],
    })
}

fn socket(address: &str, port: u16) -> Value {
    json!({"socket_address": {"address": address, "port_value": port}})
}

fn pipe(path: &str) -> Value {
    json!({"pipe": {"path": format!("./{path}")}})
}

/// How long a span may wait to be sent with others.
const SPANS_MILLISECONDS: u32 = 250;
/// Worker threads of a sidecar: three of them share a laptop.
pub const CONCURRENCY: u32 = 1;
/// Where the bootstrap is, in the workload's folder.
pub const BOOTSTRAP_FILE: &str = "etc/istio/proxy/envoy-rev.json";
/// Where ADS is served, in the workload's folder.
pub const XDS_SOCKET: &str = "etc/istio/proxy/XDS";
/// Where SDS is served, in the workload's folder.
pub const SDS_SOCKET: &str = "var/run/secrets/workload-spiffe-uds/socket";

#[cfg(test)]
mod tests {
    use carbyne_protos::{envoy::config::bootstrap::v3::Bootstrap, json};

    use super::*;

    fn portal() -> Workload {
        Workload {
            name: "portal".to_owned(),
            namespace: "shop".to_owned(),
            address: [127, 0, 10, 1].into(),
            labels: [
                ("app".to_owned(), "portal".to_owned()),
                ("version".to_owned(), "v1".to_owned()),
            ]
            .into(),
            service_account: "portal".to_owned(),
            hosts: Vec::new(),
            inbound: Vec::new(),
            outbound: Vec::new(),
            gateway: false,
        }
    }

    fn made() -> Value {
        bootstrap(
            &portal(),
            &Mesh {
                domain: "cluster.local".to_owned(),
                stats: ProxyStatsMatcher {
                    inclusion_suffixes: vec!["upstream_rq_retry".to_owned()],
                    inclusion_regexps: vec![r"cluster\.outbound.*ejections_.*".to_owned()],
                    ..ProxyStatsMatcher::default()
                },
            },
        )
    }

    #[test]
    fn is_a_bootstrap_to_the_last_field() {
        let parsed: Bootstrap = json::from_json(&made()).unwrap();
        let node = parsed.node.unwrap();
        assert_eq!(
            node.id,
            "sidecar~127.0.10.1~portal.shop~shop.svc.cluster.local"
        );
        assert_eq!(node.cluster, "portal.shop");
        let resources = parsed.static_resources.unwrap();
        assert_eq!(resources.listeners.len(), 2);
        assert_eq!(resources.clusters.len(), 4);
        let patterns = &made()["stats_config"]["stats_matcher"]["inclusion_list"]["patterns"];
        let patterns = patterns.as_array().unwrap();
        assert_eq!(patterns.len(), 13);
        assert!(patterns.contains(&json!({"suffix": "upstream_rq_retry"})));
    }

    #[test]
    fn the_control_plane_reads_the_node_as_meant() {
        let node = carbyne_mesh::generate::Node::from_json(&made()["node"]).unwrap();
        assert_eq!(
            node.interception,
            carbyne_mesh::generate::Interception::None
        );
        assert_eq!(
            (node.name.as_str(), node.namespace.as_str()),
            ("portal", "shop")
        );
        assert_eq!(node.addresses, ["127.0.10.1"]);
        assert_eq!(node.service_account, "portal");
        assert_eq!(node.labels["version"], "v1");
    }

    /// What istiod and the proxy look up must have the names that pilot-agent gives them.
    #[test]
    fn names_are_pilot_agents() {
        let made = made();
        for (pointer, value) in [
            (
                "/dynamic_resources/ads_config/grpc_services/0/envoy_grpc/cluster_name",
                "xds-grpc",
            ),
            ("/static_resources/clusters/2/name", "sds-grpc"),
            (
                "/static_resources/clusters/2/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/pipe/path",
                "./var/run/secrets/workload-spiffe-uds/socket",
            ),
            ("/static_resources/clusters/3/name", "xds-grpc"),
            (
                "/static_resources/clusters/3/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/pipe/path",
                "./etc/istio/proxy/XDS",
            ),
            ("/node/metadata/INTERCEPTION_MODE", "NONE"),
            ("/admin/address/socket_address/address", "127.0.10.1"),
        ] {
            assert_eq!(
                made.pointer(pointer).and_then(Value::as_str),
                Some(value),
                "{pointer}"
            );
        }
    }
}
