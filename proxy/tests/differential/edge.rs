//! What an edge or a sidecar makes of the request before routes see it: path, forwarding headers, identity.

use serde_json::{Value, json};

use super::to;
use crate::case::{Case, PORT, Table, case, sends};
use crate::support::config::{cluster, listener, manager, virtual_host};
use crate::support::http1::{Request, get};
use crate::support::upstream::reply;

/// Listeners, each with fields of its own.
const LISTENERS: [&str; 12] = [
    "trusting",
    "edge",
    "hops",
    "base",
    "merge",
    "reject",
    "redirect",
    "forward",
    "server",
    "ids",
    "underscore",
    "ports",
];

#[test]
fn edge() {
    let mut table = Table::new("edge", &["one"]);
    let ports = table.ports(&[0]);
    table.resources = Box::new(move |place| {
        let listeners = LISTENERS.iter().zip(PORT..).map(|(name, port)| {
            let hosts = json!([virtual_host(
                "all",
                &["*"],
                json!([
                    to("secret", json!({"prefix": "/secret"}), "one"),
                    to("rest", json!({"prefix": "/"}), "one")
                ])
            )]);
            listener(
                place,
                name,
                port,
                vec![manager(name, hosts, Vec::new(), fields(name))],
            )
        });
        (listeners.collect(), vec![cluster("one", &ports, json!({}))])
    });
    table.cases = [forwarding(), paths(), small()]
        .into_iter()
        .flatten()
        .collect();
    table.run();
}

fn fields(name: &str) -> Value {
    match name {
        "edge" => json!({"use_remote_address": true, "via": "edge-1"}),
        "hops" => {
            json!({"use_remote_address": true, "xff_num_trusted_hops": 1, "skip_xff_append": false})
        }
        "base" => json!({"normalize_path": true}),
        "merge" => {
            json!({"normalize_path": true, "merge_slashes": true, "path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD"})
        }
        "reject" => {
            json!({"normalize_path": true, "path_with_escaped_slashes_action": "REJECT_REQUEST"})
        }
        "redirect" => {
            json!({"normalize_path": true, "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT"})
        }
        "forward" => {
            json!({"use_remote_address": false, "xff_num_trusted_hops": 1, "represent_ipv4_remote_address_as_ipv4_mapped_ipv6": false})
        }
        "server" => {
            json!({"server_name": "mine", "server_header_transformation": "APPEND_IF_ABSENT"})
        }
        "ids" => {
            json!({"preserve_external_request_id": true, "always_set_request_id_in_response": true, "use_remote_address": true})
        }
        "underscore" => {
            json!({"common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST", "max_headers_count": 10},
            "server_header_transformation": "PASS_THROUGH", "generate_request_id": false})
        }
        "ports" => {
            json!({"strip_any_host_port": true, "common_http_protocol_options": {"headers_with_underscores_action": "DROP_HEADER"},
            "strip_trailing_host_dot": true, "original_ip_detection_extensions": []})
        }
        _ => json!({}),
    }
}

fn at(listener: &str) -> u16 {
    PORT + LISTENERS.iter().position(|name| *name == listener).unwrap() as u16
}

fn on(listener: &str, name: &str, request: Request, expect: &[&str]) -> Case {
    case(&format!("{listener}: {name}"), request, expect).port(at(listener))
}

/// Hosts that Envoy serves and we do not.
const ODD_HOSTS: [&str; 6] = [
    "user@a.test",
    "a.test,b.test",
    "a.test:port",
    "a.test:99999",
    "[::1",
    "%61.test",
];

/// What a client outside may not say of itself.
fn forged(request: Request) -> Request {
    let names = [
        "x-envoy-retry-on",
        "x-envoy-max-retries",
        "x-envoy-upstream-rq-timeout-ms",
        "x-envoy-expected-rq-timeout-ms",
        "x-envoy-internal",
        "x-envoy-force-trace",
        "x-envoy-downstream-service-cluster",
        "x-envoy-downstream-service-node",
        "x-envoy-original-path",
        "x-envoy-decorator-operation",
        "x-envoy-hedge-on-per-try-timeout",
        "x-envoy-retriable-status-codes",
        "x-envoy-external-address",
        "x-envoy-peer-metadata",
        "x-envoy-attempt-count",
        "x-envoy-ip-tags",
        "x-envoy-original-host",
        "x-envoy-is-timeout-retry",
        "x-real-ip",
        "x-client-trace-id",
        "forwarded",
    ];
    names
        .iter()
        .fold(request, |request, name| request.header(name, "7"))
}

fn forwarding() -> Vec<Case> {
    let chain = || {
        get("/x")
            .header("x-forwarded-for", "1.2.3.4, 5.6.7.8")
            .header("x-forwarded-proto", "https")
    };
    let mut cases = Vec::new();
    for listener in ["trusting", "edge", "hops", "forward"] {
        cases.push(on(listener, "nothing said", get("/x"), &["status 200"]));
        cases.push(on(
            listener,
            "a chain of addresses",
            chain(),
            &["status 200", "upstream one header x-forwarded-for: 1.2.3.4"],
        ));
        cases.push(on(
            listener,
            "one internal address",
            get("/x").header("x-forwarded-for", "10.0.0.1"),
            &["status 200"],
        ));
        cases.push(on(
            listener,
            "one external address",
            get("/x").header("x-forwarded-for", "8.8.8.8"),
            &["status 200"],
        ));
        cases.push(on(
            listener,
            "forged headers",
            forged(get("/x")),
            &["status 200"],
        ));
        cases.push(on(
            listener,
            "forged headers from outside",
            forged(get("/x").header("x-forwarded-for", "8.8.8.8")),
            &["status 200"],
        ));
        cases.push(on(
            listener,
            "forwarded proto of nonsense",
            get("/x").header("x-forwarded-proto", "gopher"),
            &["status "],
        ));
        cases.push(on(
            listener,
            "client certificate claimed",
            get("/x").header("x-forwarded-client-cert", "By=x;Hash=y"),
            &["status 200"],
        ));
        cases.push(on(
            listener,
            "host and port forwarded",
            get("/x")
                .header("x-forwarded-host", "h")
                .header("x-forwarded-port", "99"),
            &["status 200"],
        ));
    }
    cases.push(on(
        "trusting",
        "forwarded for with a port",
        get("/x").header("x-forwarded-for", "1.2.3.4:99"),
        &["log client "],
    ));
    cases.push(on(
        "trusting",
        "forwarded for of nonsense",
        get("/x").header("x-forwarded-for", "unknown"),
        &["log client "],
    ));
    cases.push(on(
        "trusting",
        "forwarded for of version 6",
        get("/x").header("x-forwarded-for", "2001:db8::1"),
        &["log client \"2001:db8::1\""],
    ));
    cases.push(on(
        "trusting",
        "forwarded for of two lines",
        get("/x")
            .header("x-forwarded-for", "1.1.1.1")
            .header("x-forwarded-for", "2.2.2.2"),
        &["log client \"2.2.2.2\""],
    ));
    cases
}

fn paths() -> Vec<Case> {
    let spellings = [
        ("dots", "/a/../secret/x"),
        ("encoded dots", "/a/%2e%2e/secret"),
        ("single dots", "/./secret/./x"),
        ("above the root", "/../../secret"),
        ("two slashes", "//secret//x"),
        ("escaped slash", "/a%2fb"),
        ("escaped slash in capitals", "/a%2Fsecret"),
        ("escaped backslash", "/a%5Cb"),
        ("backslash", "/a\\b"),
        ("parameters", "/secret;x=1/y"),
        ("encoded letters", "/%73ecret"),
        ("encoded percent", "/%2573ecret"),
        ("encoded space", "/a%20b"),
        ("encoded nothing", "/a%00b"),
        ("bad encoding", "/a%zz"),
        ("bytes over 127", "/\u{e9}"),
        ("plus", "/a+b"),
        ("query kept", "/a/./b?x=/../%2e//"),
        ("escaped dot file", "/%2e"),
        ("trailing dots", "/secret/.."),
        ("slash and dots", "/a/..%2fsecret"),
        ("lower-case escapes", "/a%e2%82%ac"),
        ("fragment", "/secret#/../x"),
        ("unreserved escapes", "/%7Ea%2Db%5f"),
    ];
    let mut cases = Vec::new();
    for listener in ["trusting", "base", "merge", "reject", "redirect"] {
        for (name, target) in spellings {
            cases.push(on(
                listener,
                &format!("path {name}"),
                get(target),
                &["status "],
            ));
        }
    }
    cases
}

fn small() -> Vec<Case> {
    let theirs = || {
        vec![vec![reply(
            "200 OK",
            &["server: theirs", "via: 1.1 before"],
            "ok",
        )]]
    };
    let own = "11111111-2222-4333-8444-555555555555";
    let mut cases = vec![
        on(
            "trusting",
            "server of the upstream",
            get("/x"),
            &["header server: envoy"],
        )
        .script(0, theirs()),
        on(
            "server",
            "server of the upstream",
            get("/x"),
            &["header server: theirs"],
        )
        .script(0, theirs()),
        on(
            "server",
            "server of nobody",
            get("/x"),
            &["header server: mine"],
        ),
        on(
            "underscore",
            "server of the upstream",
            get("/x"),
            &["header server: theirs"],
        )
        .script(0, theirs()),
        on("underscore", "server of nobody", get("/x"), &["status 200"]).never(&["header server"]),
        on(
            "edge",
            "via",
            get("/x").header("via", "1.0 first"),
            &["status 200"],
        )
        .script(0, theirs()),
        on(
            "underscore",
            "underscore",
            get("/x").header("x_y", "1"),
            &["status 400"],
        ),
        on(
            "ports",
            "underscore",
            get("/x").header("x_y", "1"),
            &["status 200"],
        )
        .never(&["upstream one header x_y"]),
        on(
            "underscore",
            "eleven headers",
            (0..10).fold(get("/x"), |request, number| {
                request.header(&format!("x-{number}"), "1")
            }),
            &["status 431"],
        ),
        on("underscore", "no request id", get("/x"), &["status 200"])
            .never(&["upstream one header x-request-id"]),
        on(
            "ports",
            "host with a port",
            get("/x").host("a.test:8080"),
            &["upstream one header host: a.test"],
        ),
        on(
            "ports",
            "host with a dot",
            get("/x").host("a.test."),
            &["upstream one header host: a.test"],
        ),
        on(
            "ports",
            "host with a dot and a port",
            get("/x").host("a.test.:80"),
            &["status 200"],
        ),
        on(
            "ports",
            "host in brackets",
            get("/x").host("[::1]:80"),
            &["upstream one header host: [::1]"],
        ),
    ];
    for listener in ["trusting", "edge", "ids"] {
        cases.push(on(
            listener,
            "request id of the client",
            get("/x").header("x-request-id", own),
            &["status 200"],
        ));
        cases.push(on(
            listener,
            "request id of nonsense",
            get("/x").header("x-request-id", "mine"),
            &["status 200"],
        ));
        cases.push(on(
            listener,
            "request id of nobody",
            get("/x"),
            &["upstream one header x-request-id: (uuid)"],
        ));
    }
    for host in [
        "user@a.test",
        "a.test,b.test",
        "a b",
        "a.test/x",
        "a.test:port",
        "a.test:99999",
        "[::1",
        "-a.test",
        "a_b.test",
        "%61.test",
        "a.test#x",
        "a.test?x",
    ] {
        let bytes = format!("GET /x HTTP/1.1\r\nhost: {host}\r\n\r\n").into_bytes();
        let case = sends(
            &format!("trusting: host {host}"),
            bytes,
            &[false],
            &["status "],
        );
        cases.push(if ODD_HOSTS.contains(&host) {
            let refused = [
                "status 400 Bad Request",
                "reached 0 times",
                "log details \"http.invalid_authority\"",
            ];
            case.differs(
                "an authority that can be read in two ways is refused",
                &refused,
            )
        } else {
            case
        });
    }
    cases
}
