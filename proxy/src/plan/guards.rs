//! Guards with something in them that was not understood are accepted, listed, and refuse.

use carbyne_protos::any::pack;
use carbyne_protos::envoy::config::cluster::v3::Cluster;
use carbyne_protos::envoy::config::listener::v3::Listener;
use carbyne_protos::envoy::config::route::v3::RouteConfiguration;
use carbyne_protos::json;
use carbyne_protos::prost_types::Any;
use prost::Message;
use serde_json::{Value, json};

use super::error::Finding;
use super::filter::NetworkFilterKind;
use super::listener::ListenerPlan;
use super::tls::Upstream;
use super::{Environment, cluster, listener, route};
use crate::live::route::RouteAction;

/// Field 9999 with the value 1: whatever a newer control plane may have added.
const UNKNOWN: [u8; 4] = [0xf8, 0xf0, 0x04, 0x01];

fn any(type_name: &str, fields: Value) -> Any {
    let mut fields = fields;
    fields["@type"] = Value::from(type_name);
    json::any_from_json(&fields).unwrap_or_else(|error| panic!("{type_name}: {error}"))
}

/// The same with an unknown field.
fn with_unknown(mut any: Any) -> Any {
    any.value.extend_from_slice(&UNKNOWN);
    any
}

fn listener_of(http_filters: &[Any], network_filters: &[Any]) -> Any {
    use carbyne_protos::envoy::config::listener::v3::{Filter, FilterChain, filter};
    use carbyne_protos::envoy::extensions::filters::network::http_connection_manager::v3::{
        HttpConnectionManager, HttpFilter, http_filter,
    };
    let mut manager: HttpConnectionManager = json::from_json(&json!({
        "stat_prefix": "p",
        "route_config": {"name": "r", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c"}}]}]},
    }))
    .unwrap();
    let router = any(
        "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
        json!({}),
    );
    for (index, config) in http_filters.iter().chain([&router]).enumerate() {
        manager.http_filters.push(HttpFilter {
            name: format!("filter {index}"),
            config_type: Some(http_filter::ConfigType::TypedConfig(config.clone())),
            ..HttpFilter::default()
        });
    }
    let tcp = any(
        "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        json!({"stat_prefix": "t", "cluster": "c"}),
    );
    let last = if network_filters.is_empty() {
        pack(&manager)
    } else {
        tcp
    };
    let filters = network_filters
        .iter()
        .chain([&last])
        .enumerate()
        .map(|(index, config)| Filter {
            name: format!("network {index}"),
            config_type: Some(filter::ConfigType::TypedConfig(config.clone())),
        });
    let mut message: Listener = json::from_json(&json!({"name": "l", "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}})).unwrap();
    message.filter_chains.push(FilterChain {
        filters: filters.collect(),
        ..FilterChain::default()
    });
    pack(&message)
}

/// What a listener refuses (by HTTP, by reset), and what was found.
fn refusals(resource: &Any) -> (bool, bool, Vec<Finding>) {
    let planned = Environment::default()
        .plan::<Listener, ListenerPlan>(resource, listener::plan)
        .unwrap_or_else(|rejection| panic!("{rejection}"));
    let chain = &planned.plan.chains[0];
    let http = chain.filters.iter().any(
        |filter| matches!(&filter.kind, NetworkFilterKind::Http(http) if http.refuse.is_some()),
    );
    (
        http,
        chain.refuse.is_some() || planned.plan.refuse.is_some(),
        planned.findings,
    )
}

fn rbac(rule: Value) -> Value {
    json!({"rules": {"action": "DENY", "policies": {"p": {"permissions": [rule], "principals": [{"any": true}]}}}})
}

/// Type and content of the HTTP guards, and of those that are not served.
fn http_guards() -> Vec<(&'static str, Value)> {
    vec![
        (
            "envoy.extensions.filters.http.rbac.v3.RBAC",
            rbac(json!({"any": true})),
        ),
        (
            "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            json!({"providers": {"p": {"issuer": "i", "local_jwks": {"inline_string": "{\"keys\":[]}"}}}}),
        ),
        (
            "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
            json!({"transport_api_version": "V3", "http_service": {"server_uri": {"uri": "http://a", "cluster": "a", "timeout": "1s"}}}),
        ),
        (
            "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
            json!({"stat_prefix": "s", "token_bucket": {"max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "1s"}}),
        ),
    ]
}

fn url(name: &str) -> String {
    format!("type.googleapis.com/{name}")
}

#[test]
fn guards_that_are_understood_serve() {
    for (name, content) in http_guards() {
        let (http, reset, findings) = refusals(&listener_of(&[any(&url(name), content)], &[]));
        assert!(
            !http && !reset && findings.is_empty(),
            "{name}: {findings:?}"
        );
    }
    let network = any(&url("envoy.extensions.filters.network.rbac.v3.RBAC"), {
        let mut message = rbac(json!({"any": true}));
        message["stat_prefix"] = Value::from("tcp.");
        message
    });
    let (http, reset, findings) = refusals(&listener_of(&[], &[network]));
    assert!(!http && !reset && findings.is_empty(), "{findings:?}");
}

#[test]
fn an_unknown_field_in_a_guard_refuses() {
    for (name, content) in http_guards() {
        let guard = with_unknown(any(&url(name), content));
        let (http, reset, findings) = refusals(&listener_of(&[guard], &[]));
        assert!(http && !reset, "{name}");
        let path = "filter_chains[0].filters[0].typed_config.http_filters[0].typed_config";
        assert!(
            findings.iter().any(|finding| finding.path == path),
            "{name}: {findings:?}"
        );
    }
    let mut content = rbac(json!({"any": true}));
    content["stat_prefix"] = Value::from("tcp.");
    let guard = with_unknown(any(
        &url("envoy.extensions.filters.network.rbac.v3.RBAC"),
        content,
    ));
    let (_, reset, findings) = refusals(&listener_of(&[], &[guard]));
    assert!(reset && !findings.is_empty());
}

#[test]
fn an_unknown_arm_deep_in_a_guard_refuses() {
    use carbyne_protos::envoy::config::rbac::v3::{
        Permission, Policy, Principal, Rbac as Rules, permission, principal,
    };
    use carbyne_protos::envoy::extensions::filters::http::rbac::v3::Rbac;
    use carbyne_protos::envoy::extensions::filters::network::rbac::v3::Rbac as NetworkRbac;
    // A permission of an arm that does not exist is a permission without any.
    let policy = |permission: Permission, principal: Principal| Policy {
        permissions: vec![permission],
        principals: vec![principal],
        ..Policy::default()
    };
    let anybody = || Principal {
        identifier: Some(principal::Identifier::Any(true)),
    };
    let inner = Permission {
        rule: Some(permission::Rule::AndRules(permission::Set {
            rules: vec![Permission { rule: None }],
        })),
    };
    let rules = Rules {
        policies: [("p".to_owned(), policy(inner, anybody()))].into(),
        ..Rules::default()
    };
    // The arm goes into the innermost, empty message: its length byte is the last one of the encoded permission.
    let http = Rbac {
        rules: Some(rules.clone()),
        ..Rbac::default()
    };
    let network = NetworkRbac {
        rules: Some(rules),
        stat_prefix: "tcp.".to_owned(),
        ..NetworkRbac::default()
    };
    let http = put_into_empty(&pack(&http), "envoy.extensions.filters.http.rbac.v3.RBAC");
    let network = put_into_empty(
        &pack(&network),
        "envoy.extensions.filters.network.rbac.v3.RBAC",
    );
    assert!(refusals(&listener_of(&[http], &[])).0);
    assert!(refusals(&listener_of(&[], &[network])).1);
}

/// Puts an unknown arm into the permission below `and_rules`, by rebuilding the messages around it.
fn put_into_empty(any: &Any, type_name: &str) -> Any {
    // rules(1){policies(2){key(1) value(2){permissions(1){and_rules(1){rules(1){}}} principals(2){any(3)}}}}
    let field = |number: u8, content: &[u8]| {
        let mut bytes = vec![number << 3 | 2, u8::try_from(content.len()).unwrap()];
        bytes.extend_from_slice(content);
        bytes
    };
    let permission = field(1, &field(1, &field(1, &UNKNOWN)));
    let policy = [permission, field(2, &[3 << 3, 1])].concat();
    let entry = [field(1, b"p"), field(2, &policy)].concat();
    let mut value = field(1, &field(2, &entry));
    if type_name.contains("network") {
        value.extend(field(3, b"tcp."));
    }
    assert!(any.type_url.ends_with(type_name));
    Any {
        type_url: any.type_url.clone(),
        value,
    }
}

#[test]
fn filters_that_may_guard_refuse_and_harmless_ones_are_left_out() {
    let unknown = Any {
        type_url: url("acme.Guard"),
        value: vec![],
    };
    let cases = [
        (unknown, true),
        (
            any(&url("envoy.extensions.filters.http.lua.v3.Lua"), json!({})),
            true,
        ),
        (
            any(
                &url("envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor"),
                json!({}),
            ),
            true,
        ),
        (
            any(
                &url("envoy.extensions.filters.http.wasm.v3.Wasm"),
                json!({}),
            ),
            true,
        ),
        (
            any(
                &url("envoy.extensions.filters.http.basic_auth.v3.BasicAuth"),
                json!({}),
            ),
            true,
        ),
        (
            any(
                &url("envoy.extensions.filters.http.grpc_web.v3.GrpcWeb"),
                json!({}),
            ),
            false,
        ),
        (
            any(
                &url("udpa.type.v1.TypedStruct"),
                json!({"type_url": "acme.Guard", "value": {}}),
            ),
            true,
        ),
    ];
    for (filter, refuses) in cases {
        let name = filter.type_url.clone();
        let (http, reset, findings) = refusals(&listener_of(&[filter], &[]));
        assert_eq!((http, reset), (refuses, false), "{name}");
        assert!(!findings.is_empty(), "{name}");
    }
    let network = Any {
        type_url: url("acme.NetworkGuard"),
        value: vec![],
    };
    assert!(refusals(&listener_of(&[], &[network])).1);
}

#[test]
fn a_listener_that_is_not_understood_resets() {
    let base = listener_of(&[], &[]);
    let mut message = Listener::decode(base.value.as_slice()).unwrap();
    message.filter_chains[0].transport_socket = Some(
        json::from_json(&json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": url("envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"),
                "common_tls_context": {"tls_certificate_sds_secret_configs": [{"name": "default", "sds_config": {"ads": {}}}]},
                "require_sni": true,
            },
        }))
        .unwrap(),
    );
    // `require_sni` is known and not served: it would let in whom it keeps out.
    assert!(refusals(&pack(&message)).1);
    let mut message = Listener::decode(base.value.as_slice()).unwrap();
    message.filter_chains[0].filter_chain_match =
        Some(json::from_json(&json!({"address_suffix": "10.0.0.0"})).unwrap());
    assert!(refusals(&pack(&message)).1);
    let mut message = Listener::decode(base.value.as_slice()).unwrap();
    message.listener_filters.push(json::from_json(&json!({"name": "f", "typed_config": {"@type": url("envoy.extensions.filters.listener.local_ratelimit.v3.LocalRateLimit"), "stat_prefix": "s"}})).unwrap());
    assert!(refusals(&pack(&message)).1);
}

#[test]
fn routes_that_are_not_understood_refuse() {
    let table = |route: Value| {
        let message: RouteConfiguration = json::from_json(&json!({"name": "r", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [route]}]})).unwrap();
        Environment::default()
            .plan::<RouteConfiguration, _>(&pack(&message), route::plan)
            .unwrap_or_else(|rejection| panic!("{rejection}"))
    };
    let refuses = |route: Value| {
        let planned = table(route);
        let refuses = planned.plan.hosts()[0]
            .routes()
            .all(|entry| matches!(entry.action, RouteAction::Refuse(_)));
        (refuses, planned.findings.len())
    };
    let forward = json!({"cluster": "c"});
    assert_eq!(
        refuses(json!({"match": {"prefix": "/"}, "route": forward})),
        (false, 0)
    );
    let cookies = json!({"match": {"prefix": "/", "cookies": [{"name": "a", "string_match": {"exact": "b"}}]}, "route": forward});
    assert!(refuses(cookies).0, "a criterion that is not served");
    let disabled = json!({"@type": url("envoy.config.route.v3.FilterConfig"), "disabled": true});
    assert_eq!(
        refuses(
            json!({"match": {"prefix": "/"}, "route": forward, "typed_per_filter_config": {"rbac": disabled}})
        ),
        (false, 0)
    );
    let lua =
        json!({"@type": url("envoy.extensions.filters.http.lua.v3.LuaPerRoute"), "name": "x"});
    assert!(refuses(json!({"match": {"prefix": "/"}, "route": forward, "typed_per_filter_config": {"lua": lua}})).0);
    let rules = json!({"@type": url("envoy.extensions.filters.http.rbac.v3.RBACPerRoute"), "rbac": {"matcher": {}}});
    assert!(refuses(json!({"match": {"prefix": "/"}, "route": forward, "typed_per_filter_config": {"rbac": rules}})).0);
}

#[test]
fn tls_of_a_cluster_that_is_not_understood_makes_no_connection() {
    let message: Cluster = json::from_json(&json!({
        "name": "c",
        "transport_socket": {
            "name": "tls",
            "typed_config": {
                "@type": url("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"),
                "common_tls_context": {"validation_context": {"trusted_ca": {"inline_string": "x"}, "max_verify_depth": 1}},
            },
        },
    }))
    .unwrap();
    let planned = Environment::default()
        .plan::<Cluster, _>(&pack(&message), cluster::plan)
        .unwrap_or_else(|rejection| panic!("{rejection}"));
    assert!(matches!(
        planned.plan.transports[0].kind,
        Upstream::Refuse(_)
    ));
    assert!(!planned.findings.is_empty());
}
