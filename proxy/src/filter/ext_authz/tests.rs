//! Services on this machine, asked for real. What passes either way over HTTP was checked against Envoy 1.40.

mod grpc;
mod http_plain;

use carbyne_engine::forward::Exchange;
use serde_json::{Value, json};

use super::*;
use crate::filter::testing::{exchange, outcome, request};

/// The request that services are asked about.
fn original() -> Exchange<Context> {
    exchange(request(
        "GET",
        "/a?q=1",
        &[
            ("authorization", "tok"),
            ("x-foo", "1"),
            ("x-foo", "2"),
            ("cookie", "q=1"),
            ("x-rm", "bye"),
            ("x-app", "orig"),
            ("x-up", "0"),
            ("x-envoy-auth-partial-body", "spoof"),
        ],
    ))
}

#[test]
fn what_is_not_understood_refuses_and_what_is_wrong_is_rejected() {
    let grpc = json!({"envoy_grpc": {"cluster_name": "c"}});
    let with = |more: Value| {
        let mut message = json!({"transport_api_version": "V3", "grpc_service": grpc});
        for (name, value) in more.as_object().unwrap() {
            message[name] = value.clone();
        }
        message
    };
    let cases = vec![
        (with(json!({})), "served"),
        (
            with(json!({"transport_api_version": "V2"})),
            "refused: transport_api_version",
        ),
        (with(json!({"shadow_mode": true})), "refused: shadow_mode"),
        (
            with(json!({"decoder_header_mutation_rules": {}})),
            "refused: decoder_header_mutation_rules",
        ),
        (
            with(json!({"route_metadata_context_namespaces": ["x"]})),
            "refused: route_metadata_context_namespaces",
        ),
        (
            json!({"transport_api_version": "V3", "grpc_service": {"google_grpc": {"target_uri": "x", "stat_prefix": "y"}}}),
            "refused: grpc_service.google_grpc",
        ),
        (
            json!({"transport_api_version": "V3"}),
            "rejected: write `grpc_service` or `http_service`",
        ),
        (
            json!({"transport_api_version": "V3", "http_service": {}}),
            "rejected: http_service.server_uri.cluster: required",
        ),
        (
            json!({"transport_api_version": "V3", "http_service": {"server_uri": {"uri": "x", "cluster": "c", "timeout": "1s"}, "path_prefix": "x"}}),
            "rejected: http_service: `x` is not a path",
        ),
        (
            with(json!({"with_request_body": {}})),
            "rejected: with_request_body.max_request_bytes",
        ),
        (
            with(json!({"filter_enabled": {"runtime_key": "x"}})),
            "rejected: filter_enabled.default_value: required",
        ),
        (
            with(json!({"status_on_error": {"code": "Continue"}})),
            "rejected: status_on_error.code",
        ),
    ];
    for (message, expected) in cases {
        let found = outcome::<wire::ExtAuthz, _>(message.clone(), ExtAuthzFilter::plan);
        assert!(found.starts_with(expected), "{message}: {found}");
    }
    let own_service = json!({"check_settings": {"grpc_service": grpc}});
    assert!(
        outcome::<wire::ExtAuthzPerRoute, _>(own_service, ExtAuthzFilter::plan_route)
            .starts_with("refused")
    );
    assert!(
        outcome::<wire::ExtAuthzPerRoute, _>(json!({}), ExtAuthzFilter::plan_route)
            .starts_with("rejected")
    );
}
