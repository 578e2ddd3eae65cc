//! OpenTelemetry: decisions, contexts, names, tags and statuses, over HTTP.

use serde_json::{Value, json};

use crate::scene::{Scene, Traced};
use crate::support::config::any;

mod decisions;
mod outcomes;

const INBOUND: u16 = 10_000;
const OUTBOUND: u16 = 10_001;
/// Tries have spans of their own, phases are told, and so is much else.
const GATEWAY: u16 = 10_002;
const NEVER: u16 = 10_003;
/// Sampling does not follow the request's id.
const BY_PROVIDER: u16 = 10_004;
const UNPACKED: u16 = 10_005;
const NAMED: u16 = 10_006;
const SILENT: u16 = 10_007;
/// An edge whose clients are internal, and one whose are not.
const INSIDE: u16 = 10_008;
const OUTSIDE: u16 = 10_009;
const NOTHING: u16 = 10_010;
const ALWAYS: u16 = 10_011;
const BY_PARENT: u16 = 10_012;
const NO_TRACE: u16 = 10_013;
const HALF: u16 = 10_014;

#[test]
fn opentelemetry() {
    let traced = |port, direction, more: Value| Traced {
        port,
        direction,
        tracing: tracing(json!({}), more),
        more: json!({}),
    };
    let with = |port, direction, more: Value, fields: Value| Traced {
        more: fields,
        ..traced(port, direction, more)
    };
    let sampled = |port, sampler: Value| Traced {
        port,
        direction: "INBOUND",
        tracing: tracing(json!({"sampler": sampler}), json!({})),
        more: json!({}),
    };
    let edge = |range: &str| {
        json!({
            "use_remote_address": true,
            "internal_address_config": {"cidr_ranges": [{"address_prefix": range, "prefix_len": 8}]},
        })
    };
    let ids = |fields: Value| json!({"request_id_extension": {"typed_config": any("envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig", fields)}});
    let never = json!({"random_sampling": {"value": 0}});
    Scene {
        name: "opentelemetry",
        sentinel: INBOUND,
        listeners: vec![
            with(
                INBOUND,
                "INBOUND",
                json!({"custom_tags": tags(), "max_path_tag_length": 12}),
                json!({}),
            ),
            traced(OUTBOUND, "OUTBOUND", json!({})),
            traced(
                GATEWAY,
                "OUTBOUND",
                json!({"custom_tags": tags(), "spawn_upstream_span": true, "verbose": true}),
            ),
            traced(NEVER, "INBOUND", never.clone()),
            with(
                BY_PROVIDER,
                "INBOUND",
                never.clone(),
                ids(json!({"use_request_id_for_trace_sampling": false})),
            ),
            with(
                UNPACKED,
                "INBOUND",
                json!({}),
                ids(json!({"pack_trace_reason": false})),
            ),
            traced(
                NAMED,
                "OUTBOUND",
                json!({"operation": "request-%REQ(:METHOD)%-%RESPONSE_CODE%", "upstream_operation": "try-%REQ(:PATH)%", "spawn_upstream_span": true}),
            ),
            traced(
                SILENT,
                "INBOUND",
                json!({"no_context_propagation": true, "spawn_upstream_span": true}),
            ),
            with(INSIDE, "INBOUND", never, edge("127.0.0.0")),
            with(OUTSIDE, "OUTBOUND", json!({}), edge("10.0.0.0")),
            traced(NOTHING, "INBOUND", json!({"overall_sampling": {"value": 0}})),
            sampled(ALWAYS, extension("always_on", "AlwaysOnSamplerConfig", json!({}))),
            sampled(
                BY_PARENT,
                extension(
                    "parent_based",
                    "ParentBasedSamplerConfig",
                    json!({"wrapped_sampler": extension("trace_id_ratio_based", "TraceIdRatioBasedSamplerConfig", json!({"sampling_percentage": {"numerator": 0}}))}),
                ),
            ),
            Traced {
                port: NO_TRACE,
                direction: "INBOUND",
                tracing: Value::Null,
                more: json!({}),
            },
            traced(HALF, "INBOUND", json!({"random_sampling": {"value": 50}})),
        ],
        cases: decisions::decisions()
            .into_iter()
            .chain(decisions::contexts())
            .chain(decisions::operations())
            .chain(outcomes::outcomes())
            .chain(outcomes::tries())
            .collect(),
    }
    .run();
}

fn tracing(provider: Value, more: Value) -> Value {
    let mut config = json!({
        "http_service": {"http_uri": {"uri": "http://collector.test/v1/traces", "cluster": "collector", "timeout": "5s"}},
        "service_name": "the-service",
    });
    let merge = |into: &mut Value, from: Value| {
        if let (Value::Object(into), Value::Object(from)) = (into, from) {
            into.extend(from);
        }
    };
    merge(&mut config, provider);
    let mut tracing = json!({"provider": {
        "name": "envoy.tracers.opentelemetry",
        "typed_config": any("envoy.config.trace.v3.OpenTelemetryConfig", config),
    }});
    merge(&mut tracing, more);
    tracing
}

fn extension(name: &str, message: &str, fields: Value) -> Value {
    json!({
        "name": format!("envoy.tracers.opentelemetry.samplers.{name}"),
        "typed_config": any(&format!("envoy.extensions.tracers.opentelemetry.samplers.v3.{message}"), fields),
    })
}

fn tags() -> Value {
    let metadata = |tag: &str, kind: &str, path: &str| {
        json!({"tag": tag, "metadata": {
            "kind": {kind: {}},
            "metadata_key": {"key": "m", "path": [{"key": path}]},
        }})
    };
    let mut missing = metadata("missing", "route", "none");
    missing["metadata"]["default_value"] = "default".into();
    json!([
        {"tag": "literal", "literal": {"value": "of the manager"}},
        {"tag": "literal", "literal": {"value": "the second of this name"}},
        {"tag": "unset", "environment": {"name": "CARBYNE_NO_SUCH_VARIABLE", "default_value": "default"}},
        {"tag": "unset-too", "environment": {"name": "CARBYNE_NO_SUCH_VARIABLE"}},
        {"tag": "sent", "request_header": {"name": "X-Sent"}},
        {"tag": "not-sent", "request_header": {"name": "x-not-sent", "default_value": "default"}},
        metadata("request", "request", "k"),
        metadata("route", "route", "k"),
        metadata("number", "route", "n"),
        metadata("boolean", "route", "b"),
        metadata("list", "route", "l"),
        metadata("struct", "route", "s"),
        metadata("cluster", "cluster", "k"),
        metadata("host", "host", "k"),
        missing,
        {"tag": "format", "value": "%REQ(:METHOD)%-%RESPONSE_CODE%"},
        {"tag": "empty", "value": "%REQ(x-not-sent)%"},
        {"tag": "http.method", "literal": {"value": "instead"}},
    ])
}
