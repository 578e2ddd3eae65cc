//! Timeouts, and upstreams that answer badly or not at all.

use std::time::Duration;

use crate::case::{Case, case, does};
use crate::support::PATIENCE;
use crate::support::http1::{get, post};
use crate::support::upstream::{Act, raw, reply};

pub(super) fn timeouts() -> Vec<Case> {
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
                // The upstream tells of a request that was cut only when its connection ended.
                crate::support::poll(PATIENCE, || (side.seen() > 0).then_some(()));
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

pub(super) fn broken() -> Vec<Case> {
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
