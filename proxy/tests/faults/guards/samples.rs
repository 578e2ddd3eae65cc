//! Guards with as much in them as is served: istiod's own shapes, and the rest of each message.

use carbyne_protos::json;
use carbyne_protos::prost_types::Any;
use serde_json::{Value, json};

fn any(name: &str, mut fields: Value) -> Any {
    let url = format!("type.googleapis.com/{name}");
    fields["@type"] = url.into();
    json::any_from_json(&fields).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn http_any(name: &str, fields: Value) -> Any {
    any(&format!("envoy.extensions.filters.http.{name}"), fields)
}

/// Rules of every kind that istiod writes; nobody meets them.
fn rules() -> Value {
    let header =
        json!({"header": {"name": "x-a", "string_match": {"prefix": "b", "ignore_case": true}}});
    let path = json!({"url_path": {"path": {"safe_regex": {"regex": "/never/.*"}}}});
    let claims = json!({"metadata": {
        "filter": "envoy.filters.http.jwt_authn",
        "path": [{"key": "payload"}, {"key": "iss"}],
        "value": {"or_match": {"value_matchers": [
            {"string_match": {"exact": "i"}},
            {"list_match": {"one_of": {"string_match": {"suffix": "j"}}}},
        ]}},
    }});
    let permission = json!({"and_rules": {"rules": [
        {"or_rules": {"rules": [header, path, {"destination_port": 80}]}},
        {"not_rule": {"destination_ip": {"address_prefix": "10.9.0.0", "prefix_len": 16}}},
        {"requested_server_name": {"exact": "never"}},
    ]}});
    let principal = json!({"and_ids": {"ids": [
        {"or_ids": {"ids": [
            {"authenticated": {"principal_name": {"safe_regex": {"regex": "spiffe://never/.*"}}}},
            {"direct_remote_ip": {"address_prefix": "10.9.0.0", "prefix_len": 16}},
            {"remote_ip": {"address_prefix": "10.9.0.0", "prefix_len": 16}},
        ]}},
        {"not_id": {"header": {"name": ":authority", "present_match": true}}},
        claims,
    ]}});
    json!({"action": "DENY", "policies": {"ns[a]-policy[b]-rule[0]": {"permissions": [permission], "principals": [principal]}}})
}

fn bucket() -> Value {
    json!({"max_tokens": 100_000, "tokens_per_fill": 1000, "fill_interval": "1s"})
}

fn percent() -> Value {
    json!({"default_value": {"numerator": 100, "denominator": "HUNDRED"}, "runtime_key": "k"})
}

/// Every guard of requests that is served.
pub fn http() -> Vec<Any> {
    let allowed = json!({"patterns": [{"exact": "x-a", "ignore_case": true}, {"prefix": "x-b"}]});
    vec![
        http_any(
            "rbac.v3.RBAC",
            json!({"rules": rules(), "shadow_rules": rules(), "shadow_rules_stat_prefix": "istio_dry_run_"}),
        ),
        http_any(
            "jwt_authn.v3.JwtAuthentication",
            json!({
                "providers": {
                    "a": {
                        "issuer": "i",
                        "audiences": ["b"],
                        "local_jwks": {"inline_string": "{\"keys\":[]}"},
                        "forward": true,
                        "from_headers": [{"name": "authorization", "value_prefix": "Bearer "}],
                        "from_params": ["token"],
                        "payload_in_metadata": "payload",
                        "clock_skew_seconds": 30,
                    },
                    "c": {"issuer": "d", "local_jwks": {"inline_string": "{\"keys\":[]}"}},
                },
                "rules": [{
                    "match": {"prefix": "/never"},
                    "requires": {"requires_any": {"requirements": [
                        {"provider_name": "a"},
                        {"provider_and_audiences": {"provider_name": "c", "audiences": ["e"]}},
                        {"allow_missing": {}},
                    ]}},
                }],
                "bypass_cors_preflight": true,
            }),
        ),
        http_any(
            "ext_authz.v3.ExtAuthz",
            json!({
                "transport_api_version": "V3",
                "http_service": {
                    "server_uri": {"uri": "http://a.test", "cluster": "nowhere", "timeout": "0.5s"},
                    "path_prefix": "/check",
                    "authorization_request": {"allowed_headers": allowed, "headers_to_add": [{"key": "x-c", "value": "d"}]},
                    "authorization_response": {"allowed_upstream_headers": allowed, "allowed_client_headers": allowed},
                },
                "with_request_body": {"max_request_bytes": 100, "allow_partial_message": true},
                "status_on_error": {"code": "Forbidden"},
                "filter_enabled_metadata": {"filter": "envoy.filters.http.rbac", "path": [{"key": "k"}], "value": {"string_match": {"prefix": "istio-ext-authz"}}},
            }),
        ),
        http_any(
            "ext_authz.v3.ExtAuthz",
            json!({
                "transport_api_version": "V3",
                "grpc_service": {"envoy_grpc": {"cluster_name": "nowhere", "authority": "a.test"}, "timeout": "0.5s", "initial_metadata": [{"key": "x-a", "value": "b"}]},
                "failure_mode_allow": true,
                "metadata_context_namespaces": ["n"],
            }),
        ),
        http_any(
            "local_ratelimit.v3.LocalRateLimit",
            json!({
                "stat_prefix": "s",
                "token_bucket": bucket(),
                "filter_enabled": percent(),
                "filter_enforced": percent(),
                "response_headers_to_add": [{"header": {"key": "x-a", "value": "b"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}],
                "status": {"code": "TooManyRequests"},
            }),
        ),
        http_any("buffer.v3.Buffer", json!({"max_request_bytes": 1000})),
    ]
}

/// What routes may tell them.
pub fn per_route() -> Vec<Any> {
    vec![
        http_any(
            "rbac.v3.RBACPerRoute",
            json!({"rbac": {"rules": rules(), "shadow_rules": rules()}}),
        ),
        http_any(
            "jwt_authn.v3.PerRouteConfig",
            json!({"requirement_name": "r"}),
        ),
        http_any("jwt_authn.v3.PerRouteConfig", json!({"disabled": true})),
        http_any("ext_authz.v3.ExtAuthzPerRoute", json!({"disabled": true})),
        http_any(
            "ext_authz.v3.ExtAuthzPerRoute",
            json!({"check_settings": {"context_extensions": {"a": "b"}, "disable_request_body_buffering": true}}),
        ),
        http_any(
            "local_ratelimit.v3.LocalRateLimit",
            json!({"stat_prefix": "s", "token_bucket": bucket(), "filter_enabled": percent()}),
        ),
        http_any(
            "buffer.v3.BufferPerRoute",
            json!({"buffer": {"max_request_bytes": 1000}}),
        ),
        http_any("buffer.v3.BufferPerRoute", json!({"disabled": true})),
    ]
}

/// Guards of connections.
pub fn network() -> Vec<Any> {
    vec![any(
        "envoy.extensions.filters.network.rbac.v3.RBAC",
        json!({"stat_prefix": "tcp.", "rules": rules(), "shadow_rules": rules(), "shadow_rules_stat_prefix": "istio_dry_run_"}),
    )]
}

fn common_tls() -> Value {
    json!({
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3", "cipher_suites": ["ECDHE-ECDSA-AES256-GCM-SHA384"]},
        "alpn_protocols": ["h2"],
        "tls_certificate_sds_secret_configs": [{"name": "default", "sds_config": {"ads": {}, "resource_api_version": "V3"}}],
        "combined_validation_context": {
            "default_validation_context": {"match_typed_subject_alt_names": [
                {"san_type": "URI", "matcher": {"prefix": "spiffe://cluster.local/"}},
                {"san_type": "DNS", "matcher": {"safe_regex": {"regex": ".*"}}},
            ]},
            "validation_context_sds_secret_config": {"name": "ROOTCA", "sds_config": {"ads": {}, "resource_api_version": "V3"}},
        },
    })
}

pub fn downstream_tls() -> Any {
    any(
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        json!({"common_tls_context": common_tls(), "require_client_certificate": true}),
    )
}

pub fn upstream_tls() -> Any {
    any(
        "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        json!({"common_tls_context": common_tls(), "sni": "a.test"}),
    )
}

/// What looks at a connection before its chain is chosen.
pub fn listener_filters() -> Vec<Any> {
    let listener =
        |name: &str, fields| any(&format!("envoy.extensions.filters.listener.{name}"), fields);
    vec![
        listener(
            "tls_inspector.v3.TlsInspector",
            json!({"enable_ja3_fingerprinting": false, "initial_read_buffer_size": 1024}),
        ),
        listener("http_inspector.v3.HttpInspector", json!({})),
        listener("original_dst.v3.OriginalDst", json!({})),
        listener(
            "proxy_protocol.v3.ProxyProtocol",
            json!({"rules": [{"tlv_type": 2, "on_tlv_present": {"key": "k"}}]}),
        ),
    ]
}

/// Filters that are not served, or that nobody knows, of one kind.
pub fn not_served(kind: &str) -> Vec<(String, Any)> {
    let names: &[&str] = match kind {
        "http" => &[
            "envoy.extensions.filters.http.lua.v3.Lua",
            "envoy.extensions.filters.http.wasm.v3.Wasm",
            "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor",
            "envoy.extensions.filters.http.ratelimit.v3.RateLimit",
            "envoy.extensions.filters.http.oauth2.v3.OAuth2",
            "envoy.extensions.filters.http.basic_auth.v3.BasicAuth",
            "envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth",
            "envoy.extensions.filters.http.golang.v3alpha.Config",
            "acme.Guard",
        ],
        "network" => &[
            "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz",
            "envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit",
            "envoy.extensions.filters.network.ratelimit.v3.RateLimit",
            "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit",
            "envoy.extensions.filters.network.wasm.v3.Wasm",
            "acme.NetworkGuard",
        ],
        "route" => &[
            "envoy.extensions.filters.http.lua.v3.LuaPerRoute",
            "envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute",
            "envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute",
            "envoy.extensions.filters.http.basic_auth.v3.BasicAuthPerRoute",
            "acme.GuardOfARoute",
        ],
        _ => &[
            "envoy.extensions.filters.listener.local_ratelimit.v3.LocalRateLimit",
            "acme.Inspector",
        ],
    };
    let typed = names.iter().map(|name| {
        let any = Any {
            type_url: format!("type.googleapis.com/{name}"),
            value: Vec::new(),
        };
        ((*name).to_owned(), any)
    });
    let described = any(
        "udpa.type.v1.TypedStruct",
        json!({"type_url": "type.googleapis.com/acme.Described", "value": {"a": 1}}),
    );
    typed
        .chain([("TypedStruct of acme.Described".to_owned(), described)])
        .collect()
}
