//! Zipkin: contexts in B3 and spans in its JSON.

use serde_json::{Value, json};

use crate::scene::{Case, Scene, Traced, case};
use crate::support::config::any;
use crate::support::http1::get;
use crate::support::upstream::reply;

const INBOUND: u16 = 10_000;
const OUTBOUND: u16 = 10_001;
/// The server's span is the client's.
const SHARED: u16 = 10_002;
const SHARED_OUTBOUND: u16 = 10_003;
/// Trace ids of 64 bits.
const NARROW: u16 = 10_004;
const GATEWAY: u16 = 10_005;
/// `traceparent` too.
const BOTH: u16 = 10_006;
const NEVER: u16 = 10_007;

#[test]
fn zipkin() {
    let traced = |port, direction, config: Value, more: Value| Traced {
        port,
        direction,
        tracing: tracing(config, more),
        more: json!({}),
    };
    let apart = json!({"shared_span_context": false});
    Scene {
        name: "zipkin",
        sentinel: INBOUND,
        listeners: vec![
            traced(INBOUND, "INBOUND", apart.clone(), json!({})),
            traced(OUTBOUND, "OUTBOUND", apart.clone(), json!({})),
            traced(SHARED, "INBOUND", json!({}), json!({})),
            traced(SHARED_OUTBOUND, "OUTBOUND", json!({}), json!({})),
            traced(
                NARROW,
                "INBOUND",
                json!({"trace_id_128bit": false, "shared_span_context": false}),
                json!({}),
            ),
            traced(
                GATEWAY,
                "OUTBOUND",
                apart.clone(),
                json!({"spawn_upstream_span": true, "verbose": true}),
            ),
            traced(
                BOTH,
                "INBOUND",
                json!({"shared_span_context": false, "trace_context_option": "USE_B3_WITH_W3C_PROPAGATION"}),
                json!({}),
            ),
            traced(NEVER, "INBOUND", apart, json!({"random_sampling": {"value": 0}})),
        ],
        cases: spans().into_iter().chain(contexts()).collect(),
    }
    .run();
}

fn spans() -> Vec<Case> {
    vec![
        case(
            "inbound",
            INBOUND,
            get("/plain").host("some.host:1234"),
            &[
                "1 spans",
                "span \"some.host:1234\" SERVER below none trace own of 32 digits",
                "span \"some.host:1234\" shared false",
                "span \"some.host:1234\" endpoint \"the-node-cluster\" true 0",
                "span \"some.host:1234\" event ss",
                "host x-b3-traceid: own of 32 digits",
                "host x-b3-spanid: of \"some.host:1234\"",
                "host x-b3-sampled: 1",
            ],
        ),
        case(
            "outbound",
            OUTBOUND,
            get("/"),
            &["span \"service.namespace:80/*\" CLIENT", "span * event cr"],
        ),
        case(
            "shared, without anybody to share",
            SHARED,
            get("/plain"),
            &["span \"a.test\" shared true"],
        ),
        case(
            "of 64 bits",
            NARROW,
            get("/plain"),
            &[
                "span * trace own of 16 digits",
                "host x-b3-traceid: own of 16 digits",
            ],
        ),
        case(
            "not drawn",
            NEVER,
            get("/plain"),
            &["0 spans", "host x-b3-sampled: 0"],
        ),
        case(
            "the server's fault",
            INBOUND,
            get("/plain"),
            &["span * tag error: true"],
        )
        .script(vec![vec![reply("503 Oh", &[], "")]]),
        case(
            "a try",
            GATEWAY,
            get("/"),
            &[
                "2 spans",
                "span \"service.namespace:80/*\" SERVER",
                "span \"router host-alt egress\" CLIENT below of \"service.namespace:80/*\"",
                "span \"router host-alt egress\" event last_upstream_rx_byte_received",
                "host x-b3-parentspanid: of \"service.namespace:80/*\"",
            ],
        ),
    ]
}

fn contexts() -> Vec<Case> {
    let several = || {
        get("/plain")
            .header("x-b3-traceid", "{trace}")
            .header("x-b3-spanid", "{span}")
    };
    let sampled = |value: &str| several().header("x-b3-sampled", value);
    let single = |value: &str| get("/plain").header("b3", value);
    vec![
        case(
            "below a span",
            INBOUND,
            sampled("1"),
            &[
                "span * below incoming trace incoming",
                "host x-b3-parentspanid: incoming",
            ],
        ),
        case(
            "below a span, outbound",
            OUTBOUND,
            sampled("1"),
            &["span * CLIENT below incoming"],
        ),
        case(
            "sharing a span",
            SHARED,
            sampled("1").header("x-b3-parentspanid", "1111111111111111"),
            &["1 spans", "host x-b3-spanid: incoming"],
        ),
        case(
            "outbound shares nothing",
            SHARED_OUTBOUND,
            sampled("1"),
            &["span * CLIENT below incoming"],
        ),
        case(
            "not sampled above",
            INBOUND,
            sampled("0"),
            &["0 spans", "host x-b3-sampled: 0"],
        ),
        case(
            "sampled above, in words",
            INBOUND,
            sampled("true"),
            &["1 spans"],
        ),
        case(
            "sampled above, not drawn here",
            NEVER,
            sampled("1"),
            &["1 spans", "host x-b3-sampled: 1"],
        ),
        case(
            "undecided above, not drawn here",
            NEVER,
            several(),
            &["0 spans"],
        ),
        case(
            "a debug flag",
            NEVER,
            several().header("x-b3-flags", "1"),
            &["host x-b3-flags: 1"],
        ),
        case(
            "a trace of 64 bits",
            INBOUND,
            get("/plain")
                .header("x-b3-traceid", "{wide}")
                .header("x-b3-spanid", "{span}"),
            &[
                "span * below incoming trace incoming, short",
                "host x-b3-traceid: incoming, short",
            ],
        ),
        case(
            "capital digits",
            INBOUND,
            get("/plain")
                .header("x-b3-traceid", "4BF92F3577B34DA6A3CE929D0E0E4736")
                .header("x-b3-spanid", "{span}"),
            &["1 spans"],
        ),
        case(
            "no trace id",
            INBOUND,
            get("/plain")
                .header("x-b3-traceid", "zz")
                .header("x-b3-spanid", "{span}"),
            &["0 spans"],
        ),
        case(
            "no span id",
            INBOUND,
            get("/plain").header("x-b3-traceid", "{trace}"),
            &["span * below none"],
        ),
        case(
            "no parent id",
            INBOUND,
            several().header("x-b3-parentspanid", "zz"),
            &["0 spans"],
        ),
        case(
            "a span of zeros",
            INBOUND,
            get("/plain")
                .header("x-b3-traceid", "{trace}")
                .header("x-b3-spanid", "0000000000000000"),
            &["1 spans"],
        ),
        case(
            "the decision alone",
            INBOUND,
            get("/plain").header("x-b3-sampled", "0"),
            &["0 spans", "host x-b3-sampled: 0"],
        ),
        case(
            "in one field",
            INBOUND,
            single("{trace}-{span}-1"),
            &[
                "span * below incoming",
                "host b3: trace incoming span of \"a.test\" [\"1\", \"incoming\"]",
            ],
        ),
        case(
            "in one field, sharing",
            SHARED,
            single("{trace}-{span}-d-1111111111111111"),
            &["host b3: trace incoming span incoming [\"1\", *"],
        ),
        case(
            "in one field, not sampled",
            INBOUND,
            single("{trace}-{span}-0"),
            &["0 spans"],
        ),
        case(
            "in one field, undecided",
            NEVER,
            single("{trace}-{span}"),
            &["0 spans"],
        ),
        case(
            "in one field, of 64 bits",
            INBOUND,
            single("{wide}-{span}-1"),
            &["span * trace incoming, short"],
        ),
        case(
            "one field for the decision, no",
            INBOUND,
            single("0"),
            &["0 spans"],
        ),
        case(
            "one field for the decision, yes",
            NEVER,
            single("1"),
            &["1 spans"],
        ),
        case(
            "one field of garbage",
            INBOUND,
            single("garbage"),
            &["0 spans", "host b3: garbage"],
        ),
        case(
            "one field with an odd decision",
            INBOUND,
            single("{trace}-{span}-x"),
            &["0 spans"],
        ),
        case(
            "traceparent is nothing to it",
            INBOUND,
            get("/plain").header("traceparent", "00-{trace}-{span}-01"),
            &[
                "span * below none",
                "host traceparent: 00 trace incoming span incoming 01",
            ],
        ),
        case(
            "both are told",
            BOTH,
            get("/plain"),
            &[
                "host traceparent: 00 trace own of 32 digits span of \"a.test\" 01",
                "host x-b3-sampled: 1",
            ],
        ),
        case(
            "traceparent where B3 says nothing",
            BOTH,
            get("/plain")
                .header("traceparent", "00-{trace}-{span}-01")
                .header("tracestate", "a=1"),
            &[
                "span * below incoming trace incoming",
                "host tracestate: a=1",
            ],
        ),
        case(
            "traceparent, not sampled",
            BOTH,
            get("/plain").header("traceparent", "00-{trace}-{span}-00"),
            &["0 spans"],
        ),
        case(
            "B3 wins",
            BOTH,
            sampled("1").header(
                "traceparent",
                "00-00112f3577b34da6a3ce929d0e0e4736-0011223344556677-00",
            ),
            &["span * below incoming trace incoming"],
        ),
        case(
            "a traceparent of garbage",
            BOTH,
            get("/plain").header("traceparent", "garbage"),
            &["span * below none"],
        ),
    ]
}

fn tracing(config: Value, more: Value) -> Value {
    let mut fields = json!({
        "collector_cluster": "collector",
        "collector_endpoint": "/api/v2/spans",
        "collector_hostname": "zipkin.test",
        "collector_endpoint_version": "HTTP_JSON",
        "trace_id_128bit": true,
    });
    let merge = |into: &mut Value, from: Value| {
        if let (Value::Object(into), Value::Object(from)) = (into, from) {
            into.extend(from);
        }
    };
    merge(&mut fields, config);
    let mut tracing = json!({"provider": {
        "name": "envoy.tracers.zipkin",
        "typed_config": any("envoy.config.trace.v3.ZipkinConfig", fields),
    }});
    merge(&mut tracing, more);
    tracing
}
