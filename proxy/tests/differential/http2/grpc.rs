//! gRPC over HTTP/2: its answers, and how failures are told.

use super::posts;
use crate::case::{Case, case};
use crate::support::http1::post;
use crate::support::upstream2::Act as Act2;

const CALL: &[(&str, &str)] = &[("content-type", "application/grpc"), ("te", "trailers")];

/// gRPC: failures become grpc-status in a 200 with trailers only.
pub(super) fn grpc() -> Vec<Case> {
    let message = "\0\0\0\0\x02hi";
    let call =
        |name: &str, path: &'static str, expect: &[&str]| posts(name, path, CALL, message, expect);
    let unavailable = || {
        vec![Act2::Headers(
            vec![
                (":status", "200"),
                ("content-type", "application/grpc"),
                ("grpc-status", "14"),
                ("grpc-message", "busy"),
            ],
            true,
        )]
    };
    vec![
        call(
            "grpc answered",
            "/second.Service/Call",
            &[
                "status 200",
                "trailer grpc-status: 0",
                "upstream second header te: trailers",
            ],
        )
        .script2(
            0,
            vec![vec![
                Act2::Headers(
                    vec![(":status", "200"), ("content-type", "application/grpc")],
                    false,
                ),
                Act2::Data(message.as_bytes().to_vec(), false),
                Act2::Headers(vec![("grpc-status", "0")], true),
            ]],
        ),
        call(
            "grpc with trailers only",
            "/second.Service/Call",
            &["status 200", "header grpc-status: 14"],
        )
        .script2(0, vec![unavailable()]),
        call("grpc retried", "/retry", &["reached 2 times"]).script2(0, vec![unavailable()]),
        call(
            "grpc without an upstream",
            "/dead",
            &[
                "status 200",
                "header grpc-status: 14",
                "header grpc-message: upstream connect error",
            ],
        ),
        call(
            "grpc without an endpoint",
            "/empty",
            &[
                "header grpc-status: 14",
                "header grpc-message: no healthy upstream",
            ],
        ),
        call(
            "grpc without a cluster",
            "/nowhere",
            &["header grpc-status: 14"],
        ),
        call("grpc without a route", "/none", &["header grpc-status: 12"]),
        call(
            "grpc denied",
            "/denied",
            &[
                "header grpc-status: 7",
                "header grpc-message: RBAC: access denied",
            ],
        ),
        call(
            "grpc answered by the route",
            "/own",
            &["header grpc-status: 7", "header grpc-message: own words"],
        ),
        call("grpc redirected", "/away", &["status "]),
        call("grpc in time", "/slow", &["header grpc-status: "]).script2(0, vec![vec![Act2::Hang]]),
        call("grpc reset", "/second", &["header grpc-status: 14"])
            .script2(0, vec![vec![Act2::Reset(2)]]),
        call(
            "grpc upstream answers 503 of no grpc",
            "/second",
            &["status 503"],
        )
        .script2(
            0,
            vec![vec![Act2::Headers(
                vec![(":status", "503"), ("content-type", "text/html")],
                true,
            )]],
        ),
        posts(
            "grpc deadline",
            "/by-deadline",
            &[
                ("content-type", "application/grpc"),
                ("te", "trailers"),
                ("grpc-timeout", "150m"),
            ],
            message,
            &[
                "header grpc-status: ",
                "upstream second header grpc-timeout",
            ],
        )
        .script2(0, vec![vec![Act2::Hang]]),
        case(
            "grpc over HTTP/1",
            post("/dead", "x").header("content-type", "application/grpc"),
            &["status 200", "header grpc-status: 14"],
        ),
        case(
            "grpc-web is not grpc",
            post("/dead", "x").header("content-type", "application/grpc-web"),
            &["status 503"],
        ),
    ]
}
