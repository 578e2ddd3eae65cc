//! When the upstream does not answer as it should: retries, timeouts, breakers, nobody there.

use std::time::Duration;

use serde_json::{Value, json};

use super::{routes, to};
use crate::case::{Case, PORT, Table, case, does};
use crate::support::config::{cluster, listener, manager, virtual_host};
use crate::support::http1::{get, post};
use crate::support::upstream::{Act, SilentPort, dead_port, raw, reply};

#[test]
fn resilience() {
    let mut table = Table::new("resilience", &["one", "two"]);
    let ports = table.ports(&[0, 1]);
    let dead = dead_port();
    let silent = SilentPort::new();
    table.resources = Box::new(move |place| {
        let host = virtual_host("all", &["*"], all_routes());
        let mut counting = virtual_host("counting", &["counting.test"], all_routes());
        counting["include_request_attempt_count"] = true.into();
        counting["include_attempt_count_in_response"] = true.into();
        let fields = json!({"stream_idle_timeout": "0.6s"});
        let filter = manager("resilience", json!([host, counting]), Vec::new(), fields);
        let none = json!({"circuit_breakers": {"thresholds": [{"max_requests": 0}]}});
        let no_connection = json!({"circuit_breakers": {"thresholds": [{"max_connections": 0, "max_pending_requests": 0}]}});
        let short = json!({"connect_timeout": "0.2s"});
        let degraded = json!({"load_assignment": {"cluster_name": "second-priority", "endpoints": [
            {"priority": 1, "lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": ports[1]}}}}]}]}});
        (
            vec![listener(place, "resilience", PORT, vec![filter])],
            vec![
                cluster("one", &ports[..1], json!({})),
                cluster("both", &ports, json!({})),
                cluster("dead", &[dead], json!({})),
                cluster("dead-or-one", &[dead, ports[0]], json!({})),
                cluster("no-requests", &ports[..1], none),
                cluster("no-connections", &ports[..1], no_connection),
                cluster(
                    "no-retries",
                    &ports[..1],
                    json!({"circuit_breakers": {"thresholds": [{"max_retries": 0}]}}),
                ),
                cluster("second-priority", &[], degraded),
                cluster("silent", &[silent.port], short),
            ],
        )
    });
    table.cases = [retries(), timeouts(), broken()]
        .into_iter()
        .flatten()
        .collect();
    table.run();
}

fn retrying(name: &str, prefix: &str, cluster: &str, policy: Value) -> Value {
    let mut policy = policy;
    policy["retry_back_off"] = json!({"base_interval": "0.001s", "max_interval": "0.002s"});
    routes(
        name,
        json!({"prefix": prefix}),
        json!({"cluster": cluster, "retry_policy": policy}),
    )
}

fn all_routes() -> Value {
    json!([
        retrying(
            "r5",
            "/retry/5xx",
            "one",
            json!({"retry_on": "5xx", "num_retries": 2})
        ),
        retrying(
            "rg",
            "/retry/gateway",
            "one",
            json!({"retry_on": "gateway-error"})
        ),
        retrying(
            "rc",
            "/retry/connect",
            "dead",
            json!({"retry_on": "connect-failure", "num_retries": 2})
        ),
        retrying("rr", "/retry/reset", "one", json!({"retry_on": "reset"})),
        retrying(
            "rb",
            "/retry/before",
            "one",
            json!({"retry_on": "reset-before-request"})
        ),
        retrying(
            "rs",
            "/retry/status",
            "one",
            json!({"retry_on": "retriable-status-codes", "retriable_status_codes": [418, 409]})
        ),
        retrying(
            "r4",
            "/retry/4xx",
            "one",
            json!({"retry_on": "retriable-4xx"})
        ),
        retrying(
            "rh",
            "/retry/headers",
            "one",
            json!({"retry_on": "retriable-headers",
            "retriable_headers": [{"name": "x-again", "present_match": true}]})
        ),
        retrying(
            "rq",
            "/retry/posts",
            "one",
            json!({"retry_on": "5xx", "retriable_request_headers":
            [{"name": ":method", "string_match": {"exact": "POST"}}]})
        ),
        retrying(
            "rp",
            "/retry/previous",
            "both",
            json!({"retry_on": "5xx", "host_selection_retry_max_attempts": 5,
            "retry_host_predicate": [{"name": "envoy.retry_host_predicates.previous_hosts", "typed_config":
                {"@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"}}]})
        ),
        retrying(
            "rt",
            "/retry/slow",
            "one",
            json!({"retry_on": "5xx", "per_try_timeout": "0.15s"})
        ),
        retrying(
            "rn",
            "/retry/none",
            "no-retries",
            json!({"retry_on": "5xx"})
        ),
        retrying(
            "rl",
            "/retry/after",
            "one",
            json!({"retry_on": "5xx", "rate_limited_retry_back_off":
            {"reset_headers": [{"name": "retry-after", "format": "SECONDS"}], "max_interval": "1s"}})
        ),
        routes(
            "t",
            json!({"prefix": "/timeout/short"}),
            json!({"cluster": "one", "timeout": "0.2s"})
        ),
        routes(
            "t0",
            json!({"prefix": "/timeout/none"}),
            json!({"cluster": "one", "timeout": "0s"})
        ),
        routes(
            "ti",
            json!({"prefix": "/timeout/idle"}),
            json!({"cluster": "one", "timeout": "0s", "idle_timeout": "0.2s"})
        ),
        routes(
            "tm",
            json!({"prefix": "/timeout/max"}),
            json!({"cluster": "one", "timeout": "0s",
            "max_stream_duration": {"max_stream_duration": "0.2s"}})
        ),
        to("dead", json!({"prefix": "/dead"}), "dead"),
        to("silent", json!({"prefix": "/silent"}), "silent"),
        to(
            "no-requests",
            json!({"prefix": "/no-requests"}),
            "no-requests"
        ),
        to(
            "no-connections",
            json!({"prefix": "/no-connections"}),
            "no-connections"
        ),
        to(
            "second-priority",
            json!({"prefix": "/second-priority"}),
            "second-priority"
        ),
        to("plain", json!({"prefix": "/"}), "one"),
    ])
}

fn bad(status: &str) -> Vec<Act> {
    vec![reply(status, &[], "bad")]
}

fn good() -> Vec<Act> {
    vec![reply("200 OK", &[], "good")]
}

fn retries() -> Vec<Case> {
    let twice = |name: &str, target: &str, first: Vec<Act>, expect: &[&str]| {
        case(name, get(target), expect).script(0, vec![first, good()])
    };
    let again = &[
        "status 200",
        "body \"good\"",
        "reached 2 times",
        "log attempts 2",
    ][..];
    let once = &["reached 1 times", "log attempts 1"][..];
    vec![
        twice(
            "retry 503",
            "/retry/5xx",
            bad("503 Service Unavailable"),
            again,
        ),
        twice(
            "retry 500",
            "/retry/5xx",
            bad("500 Internal Server Error"),
            again,
        ),
        twice(
            "retry of 5xx after a reset",
            "/retry/5xx",
            vec![Act::Reset],
            again,
        ),
        twice(
            "retry of 5xx after a close",
            "/retry/5xx",
            vec![Act::Close],
            again,
        ),
        case(
            "retries used up",
            get("/retry/5xx"),
            &[
                "status 503",
                "body \"bad\"",
                "reached 3 times",
                "log flags \"URX\"",
                "log attempts 3",
            ],
        )
        .script(0, vec![bad("503 Service Unavailable"); 3]),
        twice(
            "no retry of 500 as a gateway error",
            "/retry/gateway",
            bad("500 Internal Server Error"),
            once,
        ),
        twice(
            "retry 502 as a gateway error",
            "/retry/gateway",
            bad("502 Bad Gateway"),
            again,
        ),
        case(
            "retry of a refused connection",
            get("/retry/connect"),
            &["status 503", "log flags \"URX,UF\"", "log attempts 3"],
        ),
        twice("retry a reset", "/retry/reset", vec![Act::Reset], again),
        twice(
            "no retry of 503 on reset",
            "/retry/reset",
            bad("503 Service Unavailable"),
            once,
        ),
        twice(
            "no retry before a request that was sent",
            "/retry/before",
            vec![Act::Reset],
            once,
        ),
        twice(
            "retry a listed status",
            "/retry/status",
            bad("418 x"),
            again,
        ),
        twice(
            "no retry of an unlisted status",
            "/retry/status",
            bad("417 x"),
            once,
        ),
        twice("retry 409", "/retry/4xx", bad("409 Conflict"), again),
        twice("no retry of 404", "/retry/4xx", bad("404 Not Found"), once),
        twice(
            "retry by a header of the response",
            "/retry/headers",
            vec![reply("200 OK", &["x-again: 1"], "bad")],
            again,
        ),
        twice(
            "no retry by the request's method",
            "/retry/posts",
            bad("503 x"),
            once,
        ),
        case(
            "retry by the request's method",
            post("/retry/posts", "body"),
            again,
        )
        .script(0, vec![bad("503 x"), good()]),
        case(
            "retry with the body",
            post("/retry/5xx", "the body"),
            &["upstream one body \"the body\"", "reached 2 times"],
        )
        .script(0, vec![bad("503 x"), good()]),
        case(
            "retry elsewhere",
            get("/retry/previous"),
            &[
                "status 503",
                "upstream one: GET",
                "upstream two: GET",
                "reached 2 times",
            ],
        )
        .script(0, vec![bad("503 x")])
        .script(1, vec![bad("503 x")])
        .differs(
            "which of the two comes first is chance",
            &[
                "status 503",
                "upstream one: GET",
                "upstream two: GET",
                "reached 2 times",
            ],
        ),
        twice("retry a slow try", "/retry/slow", vec![Act::Hang], again),
        case(
            "every try is slow",
            get("/retry/slow"),
            &[
                "status 504",
                "body \"upstream request timeout\"",
                "log flags \"URX,UT\"",
                "reached 2 times",
            ],
        )
        .script(0, vec![vec![Act::Hang], vec![Act::Hang]]),
        twice(
            "no retry by the breaker",
            "/retry/none",
            bad("503 x"),
            &["reached 1 times", "log flags \"UO\""],
        ),
        twice(
            "retry after a while told by the upstream",
            "/retry/after",
            vec![reply("503 x", &["retry-after: 0"], "bad")],
            &["status "],
        ),
        case(
            "retry asked for by the client",
            get("/")
                .header("x-envoy-retry-on", "5xx")
                .header("x-envoy-max-retries", "1"),
            &["status "],
        )
        .script(0, vec![bad("503 x"), good()]),
        case(
            "attempts are counted for both sides",
            get("/retry/5xx").host("counting.test"),
            &[
                "header x-envoy-attempt-count: 2",
                "upstream one header x-envoy-attempt-count: 1",
                "upstream one header x-envoy-attempt-count: 2",
            ],
        )
        .script(0, vec![bad("503 x"), good()]),
    ]
}

fn timeouts() -> Vec<Case> {
    let slow = || vec![vec![Act::Hang]];
    vec![
        case(
            "timeout of the route",
            get("/timeout/short"),
            &[
                "status 504 Gateway Timeout",
                "body \"upstream request timeout\"",
                "log flags \"UT\"",
                "log details \"response_timeout\"",
                "upstream one header x-envoy-expected-rq-timeout-ms: 200",
            ],
        )
        .script(0, slow()),
        case(
            "timeout after the head",
            get("/timeout/short"),
            &["no response: broken", "log flags \"UT\""],
        )
        .script(
            0,
            vec![vec![
                raw("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"),
                Act::Hang,
            ]],
        ),
        case(
            "no timeout, no header for it",
            get("/timeout/none"),
            &["status 200"],
        )
        .never(&["upstream one header x-envoy-expected-rq-timeout-ms"]),
        case(
            "timeout asked for by the client",
            get("/timeout/none").header("x-envoy-upstream-rq-timeout-ms", "150"),
            &["status "],
        )
        .script(
            0,
            vec![vec![
                Act::Wait(Duration::from_millis(300)),
                reply("200 OK", &[], "late"),
            ]],
        ),
        case(
            "idle timeout of the route",
            get("/timeout/idle"),
            &[
                "status 504",
                "body \"stream timeout\"",
                "log details \"stream_idle_timeout\"",
                "log flags \"SI\"",
            ],
        )
        .script(0, slow()),
        case(
            "idle timeout after the head",
            get("/timeout/idle"),
            &["no response: broken", "log flags \"SI\""],
        )
        .script(
            0,
            vec![vec![
                raw("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"),
                Act::Hang,
            ]],
        ),
        case(
            "longest duration",
            get("/timeout/max"),
            &["status ", "log details \"max_duration_timeout\""],
        )
        .script(0, slow()),
        does(
            "body that never comes",
            &[
                "status 408",
                "body \"stream timeout\"",
                "log details \"stream_idle_timeout\"",
            ],
            |side, transcript| {
                let mut connection = side.connect();
                connection.send(b"POST /timeout/none HTTP/1.1\r\nhost: a.test\r\ncontent-length: 10\r\n\r\nhalf");
                transcript.response(&connection.response(false));
            },
        ),
        case(
            "connection that is never answered",
            get("/silent"),
            &[
                "status 503",
                "log flags \"UF\"",
                "body \"upstream connect error or disconnect/reset before headers. reset reason: connection timeout\"",
            ],
        ),
    ]
}

fn broken() -> Vec<Case> {
    let answers = |name: &str, text: &str, expect: &[&str]| {
        case(name, get("/x"), expect).script(0, vec![vec![raw(text), Act::Close]])
    };
    vec![
        case(
            "refused connection",
            get("/dead"),
            &[
                "status 503",
                "log flags \"UF\"",
                "log transport_failure ",
                "body \"upstream connect error or disconnect/reset before headers. reset reason: remote connection failure",
            ],
        ),
        case(
            "breaker of requests",
            get("/no-requests"),
            &[
                "status 503",
                "header x-envoy-overloaded: true",
                "log flags \"UO\"",
                "body \"upstream connect error or disconnect/reset before headers. reset reason: overflow\"",
            ],
        ),
        case(
            "breaker of connections",
            get("/no-connections"),
            &["status "],
        ),
        case(
            "only the second priority has somebody",
            get("/second-priority"),
            &["status 200", "body \"two\""],
        ),
        case(
            "upstream resets",
            get("/x"),
            &[
                "status 503",
                "log flags \"UC\"",
                "body \"upstream connect error or disconnect/reset before headers.",
            ],
        )
        .script(0, vec![vec![Act::Reset]]),
        case(
            "upstream closes",
            get("/x"),
            &["status 503", "log flags \"UC\""],
        )
        .script(0, vec![vec![Act::Close]]),
        answers(
            "upstream closes within the head",
            "HTTP/1.1 200 OK\r\nx: y\r\n",
            &["status 502", "log flags \"UPE\""],
        ),
        answers(
            "upstream closes within the body",
            "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
            &["no response: broken", "log flags \"UPE\""],
        ),
        answers(
            "upstream closes within a chunk",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
            &["no response: broken"],
        ),
        answers(
            "upstream speaks nonsense",
            "nonsense\r\n\r\n",
            &["status 502", "log flags \"UPE\""],
        ),
        answers(
            "upstream answers with a bad header",
            "HTTP/1.1 200 OK\r\nbad header: x\r\n\r\n",
            &["status "],
        ),
        answers(
            "upstream answers with two lengths",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
            &["status "],
        ),
        answers(
            "upstream answers until it closes",
            "HTTP/1.1 200 OK\r\n\r\nuntil the end",
            &[
                "status 200",
                "body \"until the end\"",
                "header transfer-encoding: chunked",
            ],
        ),
        answers(
            "upstream answers of HTTP/1.0",
            "HTTP/1.0 200 OK\r\n\r\nold",
            &["status 200", "body \"old\""],
        ),
        answers(
            "upstream answers of HTTP/0.9",
            "<html>hello</html>\r\n\r\n",
            &["status 502"],
        ),
        answers(
            "upstream's status of another world",
            "HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n",
            &["status "],
        ),
        answers(
            "upstream's status without words",
            "HTTP/1.1 299\r\ncontent-length: 0\r\n\r\n",
            &["status "],
        ),
        case(
            "upstream answers early",
            post("/x", "the body of the request"),
            &["status 413"],
        )
        .script(
            0,
            vec![vec![
                Act::Early,
                reply("413 Payload Too Large", &[], "no"),
                Act::Wait(Duration::from_millis(20)),
            ]],
        ),
    ]
}
