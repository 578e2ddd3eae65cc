//! When the upstream does not answer as it should: retries, timeouts, breakers, nobody there.

mod failures;

use failures::{broken, timeouts};
use serde_json::{Value, json};

use super::{routes, to};
use crate::case::{Case, PORT, Table, case};
use crate::support::config::{cluster, listener, manager, virtual_host};
use crate::support::http1::{get, post};
use crate::support::upstream::{Act, SilentPort, dead_port, reply};

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
