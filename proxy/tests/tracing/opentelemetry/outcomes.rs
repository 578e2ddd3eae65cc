//! How a request and its tries went.

use super::{GATEWAY, INBOUND, OUTBOUND};
use crate::scene::{Case, case};
use crate::support::http1::{get, post, request};
use crate::support::upstream::{Act, reply};

/// How it went.
pub(super) fn outcomes() -> Vec<Case> {
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
pub(super) fn tries() -> Vec<Case> {
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
