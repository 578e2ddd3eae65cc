//! OpenTelemetry: decisions, contexts, names, tags and statuses, over HTTP.

use serde_json::{Value, json};

use crate::scene::{Case, Scene, Traced, case};
use crate::support::config::any;
use crate::support::http1::{get, post, request};
use crate::support::upstream::{Act, reply};

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
        cases: decisions()
            .into_iter()
            .chain(contexts())
            .chain(operations())
            .chain(outcomes())
            .chain(tries())
            .collect(),
    }
    .run();
}

/// Who decides, and what the id says then.
fn decisions() -> Vec<Case> {
    let id = |nibble: char| format!("00000000-0000-{nibble}000-8000-000000000000");
    vec![
        case(
            "drawn",
            INBOUND,
            get("/plain"),
            &[
                "1 spans",
                "host x-request-id: (uuid 9)",
                "told the client x-request-id: (uuid 9)",
                "host traceparent: 00 trace own of 32 digits span of \"ingress\" 01",
                "span \"ingress\" SERVER below none trace own",
                "span \"ingress\" flags 0x101",
            ],
        ),
        case(
            "not drawn",
            NEVER,
            get("/plain"),
            &[
                "0 spans",
                "host x-request-id: (uuid 4)",
                "host traceparent: *00",
            ],
        ),
        case(
            "not drawn on this route",
            INBOUND,
            get("/unsampled"),
            &["0 spans", "host x-request-id: (uuid 4)"],
        ),
        case(
            "asked for by the client",
            NEVER,
            get("/plain").header("x-client-trace-id", "mine"),
            &[
                "1 spans",
                "host x-request-id: (uuid b)",
                "span \"ingress\" tag guid:x-client-trace-id: mine",
            ],
        ),
        case(
            "forced from outside",
            NEVER,
            get("/plain").header("x-envoy-force-trace", "true"),
            &["0 spans"],
        ),
        case(
            "forced from inside",
            INSIDE,
            get("/plain").header("x-envoy-force-trace", "true"),
            &["1 spans", "host x-request-id: (uuid a)"],
        ),
        case(
            "sampled by an earlier proxy",
            NEVER,
            get("/plain").header("x-request-id", &id('9')),
            &["1 spans"],
        ),
        case(
            "forced at an earlier proxy",
            NEVER,
            get("/plain").header("x-request-id", &id('a')),
            &["1 spans"],
        ),
        case(
            "asked for at an earlier proxy",
            NEVER,
            get("/plain").header("x-request-id", &id('b')),
            &["1 spans"],
        ),
        case(
            "told so by a client at the edge",
            OUTSIDE,
            get("/plain").header("x-request-id", &id('a')),
            &["1 spans", "host x-request-id: (uuid 9)"],
        ),
        case(
            "nothing overall",
            NOTHING,
            get("/plain").header("x-request-id", &id('9')),
            &["0 spans", "host x-request-id: 00000000-0000-4"],
        ),
        case(
            "half, by a low id",
            HALF,
            // 4999 of 10000.
            get("/plain").header("x-request-id", "00001387-0000-4000-8000-000000000000"),
            &["1 spans", "host x-request-id: 00001387-0000-9"],
        ),
        case(
            "half, by a high id",
            HALF,
            get("/plain").header("x-request-id", "00001388-0000-4000-8000-000000000000"),
            &["0 spans", "host x-request-id: 00001388-0000-4"],
        ),
        case(
            "an id that is no number",
            INBOUND,
            get("/plain").header("x-request-id", "abc"),
            &["0 spans"],
        ),
        case(
            "an id with a letter beyond f",
            INBOUND,
            get("/plain").header("x-request-id", "0000000g-0000-4000-8000-000000000000"),
            &["0 spans"],
        ),
        case(
            "an id that is a number",
            INBOUND,
            get("/plain").header("x-request-id", "12345678"),
            &["1 spans", "host x-request-id: 12345678"],
        ),
        case("by the provider", BY_PROVIDER, get("/plain"), &["1 spans"]),
        case(
            "not packed",
            UNPACKED,
            get("/plain"),
            &["1 spans", "host x-request-id: (uuid 4)"],
        ),
        case("nobody traces", NO_TRACE, get("/"), &["0 spans"]),
    ]
}

/// Whose trace it is.
fn contexts() -> Vec<Case> {
    let parent = |flags: &str| {
        get("/plain").header("traceparent", &format!("00-{{trace}}-{{span}}-{flags}"))
    };
    vec![
        case(
            "below a sampled span",
            INBOUND,
            parent("01").header("tracestate", "a=1,b=2"),
            &[
                "1 spans",
                "span \"ingress\" SERVER below incoming trace incoming",
                "span \"ingress\" flags 0x301",
                "span \"ingress\" state \"a=1,b=2\"",
                "host tracestate: a=1,b=2",
                "host traceparent: 00 trace incoming span of \"ingress\" 01",
            ],
        ),
        case(
            "below a span that is not sampled",
            INBOUND,
            parent("00"),
            &[
                "0 spans",
                "host traceparent: 00 trace incoming span unknown 00",
            ],
        ),
        case(
            "below a sampled span, and not drawn",
            NEVER,
            parent("01"),
            &[
                "0 spans",
                "host traceparent: 00 trace incoming span unknown 00",
            ],
        ),
        case(
            "not sampled above, asked for here",
            INBOUND,
            parent("00").header("x-client-trace-id", "mine"),
            &["0 spans", "host x-request-id: (uuid b)"],
        ),
        case(
            "on the outbound side",
            OUTBOUND,
            parent("01"),
            &["span * CLIENT below incoming trace incoming"],
        ),
        case(
            "other versions and flags",
            INBOUND,
            get("/plain").header("traceparent", "01-{trace}-{span}-03"),
            &[
                "1 spans",
                "host traceparent: 00 trace incoming span of \"ingress\" 01",
            ],
        ),
        case(
            "a version that is none",
            INBOUND,
            get("/plain").header("traceparent", "ff-{trace}-{span}-01"),
            &["1 spans"],
        ),
        case(
            "capital digits",
            INBOUND,
            get("/plain").header(
                "traceparent",
                "00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01",
            ),
            &["1 spans"],
        ),
        case(
            "garbage",
            INBOUND,
            get("/plain").header("traceparent", "garbage"),
            &["0 spans", "host traceparent: garbage"],
        ),
        case(
            "more behind it",
            INBOUND,
            get("/plain").header("traceparent", "01-{trace}-{span}-01-more"),
            &["0 spans"],
        ),
        case(
            "no trace",
            INBOUND,
            get("/plain").header(
                "traceparent",
                "00-00000000000000000000000000000000-{span}-01",
            ),
            &["0 spans"],
        ),
        case(
            "B3 is nothing to it",
            INBOUND,
            get("/plain")
                .header("x-b3-traceid", "{trace}")
                .header("x-b3-spanid", "{span}")
                .header("x-b3-sampled", "0"),
            &[
                "1 spans",
                "host x-b3-traceid: incoming",
                "span \"ingress\" SERVER below none",
            ],
        ),
        case(
            "not told on",
            SILENT,
            parent("01"),
            &[
                "2 spans",
                "host traceparent: 00 trace incoming span incoming 01",
            ],
        ),
        case(
            "a sampler for all, and drawn",
            ALWAYS,
            parent("00"),
            &["1 spans"],
        ),
        case("a parent decides", BY_PARENT, parent("01"), &["1 spans"]),
        case(
            "a parent decides against",
            BY_PARENT,
            parent("00"),
            &["0 spans"],
        ),
        case(
            "without a parent another decides",
            BY_PARENT,
            get("/plain"),
            &["0 spans"],
        ),
    ]
}

/// What it is called.
fn operations() -> Vec<Case> {
    let peer = |path: &str| get(path).header("x-envoy-decorator-operation", "of-the-peer");
    let answered = || {
        vec![vec![reply(
            "200 OK",
            &["x-envoy-decorator-operation: of-the-server"],
            "",
        )]]
    };
    vec![
        case(
            "outbound, nobody names it",
            OUTBOUND,
            get("/plain").host("some.host:1234"),
            &["span \"egress some.host:1234\" CLIENT below none"],
        ),
        case(
            "inbound, the route names it",
            INBOUND,
            get("/"),
            &[
                "span \"service.namespace:80/*\" SERVER",
                "told the client x-envoy-decorator-operation: service.namespace:80/*",
            ],
        ),
        case(
            "outbound, the route names it",
            OUTBOUND,
            get("/"),
            &[
                "span \"service.namespace:80/*\" CLIENT",
                "host x-envoy-decorator-operation: service.namespace:80/*",
            ],
        ),
        case(
            "inbound, the client's proxy names it",
            INBOUND,
            peer("/"),
            &["span \"of-the-peer\" SERVER"],
        ),
        case(
            "inbound, an empty name",
            INBOUND,
            get("/").header("x-envoy-decorator-operation", ""),
            &["span \"service.namespace:80/*\""],
        ),
        case(
            "at the edge nobody does",
            OUTSIDE,
            peer("/plain"),
            &["span \"egress a.test\""],
        ),
        case(
            "outbound, the server's proxy names it",
            OUTBOUND,
            get("/"),
            &["span \"of-the-server\" CLIENT"],
        )
        .script(answered()),
        case(
            "outbound, not told on",
            OUTBOUND,
            get("/quiet"),
            &["span \"quiet-operation\""],
        ),
        case(
            "inbound, not told on",
            INBOUND,
            get("/quiet"),
            &["span \"quiet-operation\""],
        ),
        case(
            "not sampled, told all the same",
            NEVER,
            get("/"),
            &[
                "0 spans",
                "told the client x-envoy-decorator-operation: service.namespace:80/*",
            ],
        ),
        case(
            "the route's text",
            INBOUND,
            peer("/named"),
            &[
                "span \"route-GET-200\" SERVER",
                "host x-envoy-decorator-operation: of-the-peer",
            ],
        ),
        case(
            "the manager's text",
            NAMED,
            get("/"),
            &[
                "span \"request-GET-200\" SERVER",
                "span \"try-/\" CLIENT below of \"request-GET-200\"",
            ],
        ),
        case(
            "the route's text wins",
            NAMED,
            get("/named"),
            &["span \"route-GET-200\"", "span \"try-/named\""],
        )
        .script(answered()),
    ]
}

/// How it went.
fn outcomes() -> Vec<Case> {
    let grpc = |status: &'static str| -> Vec<Vec<Act>> {
        let status: &'static str = Box::leak(format!("grpc-status: {status}").into_boxed_str());
        vec![vec![reply(
            "200 OK",
            &[
                status,
                "grpc-message: some words",
                "content-type: application/grpc",
            ],
            "",
        )]]
    };
    let call = || {
        post("/plain", "abcde")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-timeout", "1S")
    };
    let mut cases = vec![
        case(
            "custom tags",
            INBOUND,
            get("/").header("x-sent", "value"),
            &[
                "span * tag literal: of the manager",
                "span * tag unset: default",
                "span * tag sent: value",
                "span * tag not-sent: default",
                "span * tag route: of the route",
                "span * tag number: 1.5",
                "span * tag list: [1,\"a\"]",
                "span * tag struct: {\"t\":\"u\"}",
                "span * tag cluster: of the cluster",
                "span * tag format: GET-200",
                "span * tag http.method: _OTHER",
            ],
        ),
        case(
            "tags of the route",
            INBOUND,
            get("/tagged"),
            &[
                "span * tag of-the-route: yes",
                "span * tag literal: of the route",
            ],
        ),
        case(
            "a long path",
            INBOUND,
            get("/plain/long/path?query"),
            &["span * tag http.url: http://a.test/plain/long/"],
        ),
        case(
            "rewritten",
            OUTBOUND,
            get("/rewritten/1").host("asked.for"),
            &[
                "span \"egress asked.for\"",
                "span * tag http.url: http://other/rewritten/1",
            ],
        ),
        case(
            "a known cluster's name",
            OUTBOUND,
            request("DELETE", "/plain").header("x-envoy-downstream-service-cluster", "client"),
            &[
                "span * tag http.method: DELETE",
                "span * tag downstream_cluster: client",
                "span * tag upstream_cluster: host",
                "span * tag upstream_cluster.name: host-alt",
            ],
        ),
        case(
            "an answer of the route's own",
            INBOUND,
            get("/direct"),
            &[
                "status 418",
                "span * tag http.status_code: 418",
                "span * status 0",
            ],
        ),
        case(
            "no such cluster",
            INBOUND,
            get("/nowhere"),
            &[
                "status 503",
                "span * tag response_flags: NC",
                "span * tag error: true",
                "span * status 2",
            ],
        ),
        case(
            "the client's fault, inbound",
            INBOUND,
            get("/plain"),
            &["span * tag http.status_code: 404", "span * status 0"],
        )
        .script(vec![vec![reply("404 Not Found", &[], "")]]),
        case(
            "the client's fault, outbound",
            OUTBOUND,
            get("/plain"),
            &["span * tag http.status_code: 404", "span * status 2"],
        )
        .script(vec![vec![reply("404 Not Found", &[], "")]]),
        case(
            "the server's fault",
            INBOUND,
            get("/plain"),
            &["span * tag error: true", "span * status 2"],
        )
        .script(vec![vec![reply("500 Oh", &[], "")]]),
        case(
            "too slow",
            INBOUND,
            get("/slow"),
            &["status 504", "span * tag response_flags: UT"],
        )
        .script(vec![vec![Act::Hang]]),
        case(
            "sizes",
            INBOUND,
            post("/plain", "12345"),
            &["span * tag request_size: 5", "span * tag response_size: 3"],
        )
        .script(vec![vec![reply("200 OK", &[], "abc")]]),
    ];
    for (name, port, status, expect) in [
        (
            "gRPC, all is well",
            INBOUND,
            "0",
            &["span * tag grpc.status_code: 0", "span * status 0"][..],
        ),
        (
            "gRPC, not found, inbound",
            INBOUND,
            "5",
            &["span * status 0"],
        ),
        (
            "gRPC, not found, outbound",
            OUTBOUND,
            "5",
            &["span * status 2"],
        ),
        (
            "gRPC, exhausted, inbound",
            INBOUND,
            "8",
            &["span * tag error: true", "span * status 0"],
        ),
        (
            "gRPC, unavailable",
            INBOUND,
            "14",
            &[
                "span * tag grpc.message: some words",
                "span * tag error: true",
                "span * status 2",
            ],
        ),
        ("gRPC, no such status", OUTBOUND, "99", &["span * status 2"]),
        (
            "gRPC, no number",
            OUTBOUND,
            "x",
            &["span * tag grpc.status_code: x", "span * status 0"],
        ),
        (
            "gRPC, a span for each try",
            GATEWAY,
            "5",
            &["span \"router host-alt egress\" tag grpc.status_code: 5"],
        ),
    ] {
        cases.push(case(name, port, call(), expect).script(grpc(status)));
    }
    cases
}

/// A span for each try.
fn tries() -> Vec<Case> {
    vec![
        case(
            "a try",
            GATEWAY,
            get("/"),
            &[
                "2 spans",
                "span \"service.namespace:80/*\" SERVER below none",
                "span \"router host-alt egress\" CLIENT below of \"service.namespace:80/*\"",
                "span \"router host-alt egress\" flags 0x101",
                "span \"router host-alt egress\" event first_upstream_rx_byte_received",
                "host traceparent: 00 trace own of 32 digits span of \"router host-alt egress\" 01",
                "host x-envoy-decorator-operation: service.namespace:80/*",
            ],
        ),
        case(
            "a try below a sampled span",
            GATEWAY,
            get("/plain")
                .header("traceparent", "00-{trace}-{span}-01")
                .header("tracestate", "a=1"),
            &[
                "span \"router host-alt egress\" state \"a=1\"",
                "host tracestate: a=1",
            ],
        ),
        case(
            "two tries",
            GATEWAY,
            get("/retry"),
            &[
                "3 spans",
                "span \"router host-alt egress\" event last_upstream_rx_byte_received",
                "span \"router host-alt egress\" tag retry.count: 1",
            ],
        )
        .script(vec![
            vec![reply("503 Oh", &[], "")],
            vec![reply("200 OK", &[], "")],
        ]),
        case(
            "two tries, the first given up",
            GATEWAY,
            get("/retry"),
            &[
                "3 spans",
                "span \"router host-alt egress\" tag canceled: true",
            ],
        )
        .script(vec![
            vec![reply("503 Oh", &[], "words")],
            vec![reply("200 OK", &[], "")],
        ]),
        case(
            "a host that refuses",
            GATEWAY,
            // The words of the answer are another suite's affair.
            request("HEAD", "/dead"),
            &[
                "span \"router dead egress\" tag error.reason: remote connection failure",
                "span \"router dead egress\" tag http.protocol: -",
            ],
        ),
        case(
            "a host that is too slow",
            GATEWAY,
            get("/slow"),
            &["span \"router host-alt egress\" tag canceled: true"],
        )
        .script(vec![vec![Act::Hang]]),
        case(
            "a host that goes away",
            GATEWAY,
            get("/plain"),
            &["span \"router host-alt egress\" tag error.reason: connection termination"],
        )
        .script(vec![vec![Act::Close]]),
        case("no try", GATEWAY, get("/direct"), &["1 spans"]),
    ]
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
