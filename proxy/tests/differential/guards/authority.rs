//! External authorization over HTTP.

use serde_json::{Value, json};

use super::on;
use crate::case::Case;
use crate::support::http1::{get, post, request};
use crate::support::upstream::{Act, reply};

pub(super) fn authz(cluster: &str, open: bool) -> Value {
    json!({
        "http_service": {
            "server_uri": {"uri": "http://authority.test", "cluster": cluster, "timeout": "0.3s"},
            "path_prefix": "/check",
            "authorization_request": {
                "allowed_headers": {"patterns": [{"exact": "x-token"}, {"prefix": "x-pass-"}]},
                "headers_to_add": [{"key": "x-from", "value": "proxy"}]},
            "authorization_response": {
                "allowed_upstream_headers": {"patterns": [{"exact": "x-user"}]},
                "allowed_upstream_headers_to_append": {"patterns": [{"exact": "x-role"}]},
                "allowed_client_headers": {"patterns": [{"exact": "www-authenticate"}, {"exact": "location"}]},
                "allowed_client_headers_on_success": {"patterns": [{"exact": "x-granted"}]}},
        },
        "failure_mode_allow": open,
        "failure_mode_allow_header_add": open,
        "status_on_error": {"code": "Forbidden"},
        "with_request_body": {"max_request_bytes": 8, "allow_partial_message": true},
        "clear_route_cache": true,
        "transport_api_version": "V3",
    })
}

pub(super) fn permissions() -> Vec<Case> {
    let answers = |acts: Vec<Act>| vec![acts];
    vec![
        on(
            5,
            "authority allows",
            get("/x?q=1")
                .header("x-token", "t")
                .header("x-pass-a", "1")
                .header("x-other", "no")
                .header("x-role", "client"),
            &[
                "status 200",
                "body \"one\"",
                "upstream authority: GET /check/x?q=1 HTTP/1.1",
                "upstream authority header x-token: t",
                "upstream authority header x-from: proxy",
                "upstream one header x-user: ann",
                "upstream one header x-role: admin",
                "header x-granted: yes",
            ],
        )
        .never(&[
            "upstream authority header x-other",
            "upstream one header x-secret",
        ])
        .script(
            1,
            answers(vec![reply(
                "200 OK",
                &[
                    "x-user: ann",
                    "x-role: admin",
                    "x-secret: s",
                    "x-granted: yes",
                ],
                "",
            )]),
        ),
        on(
            5,
            "authority replaces what the client says",
            get("/x").header("x-user", "forged"),
            &["upstream one header x-user: ann"],
        )
        .script(1, answers(vec![reply("200 OK", &["x-user: ann"], "")])),
        on(
            5,
            "authority denies",
            get("/x"),
            &[
                "status 401",
                "body \"who are you\"",
                "header www-authenticate: basic",
                "log details \"ext_authz_denied\"",
                "log flags \"UAEX\"",
            ],
        )
        .script(
            1,
            answers(vec![reply(
                "401 Unauthorized",
                &["www-authenticate: basic", "x-hidden: 1"],
                "who are you",
            )]),
        ),
        on(
            5,
            "authority redirects",
            get("/x"),
            &["status 302", "header location: http://login.test/"],
        )
        .script(
            1,
            answers(vec![reply(
                "302 Found",
                &["location: http://login.test/"],
                "",
            )]),
        ),
        on(
            5,
            "authority fails",
            get("/x"),
            &[
                "status 403",
                "log details \"ext_authz_error\"",
                "log flags \"UAEX\"",
            ],
        )
        .script(1, answers(vec![reply("500 Oops", &[], "oops")])),
        on(
            5,
            "authority is slow",
            get("/x"),
            &["status 403", "log details \"ext_authz_error\""],
        )
        .script(1, answers(vec![Act::Hang])),
        on(
            5,
            "authority gets a part of the body",
            post("/x", "0123456789"),
            &[
                "upstream authority body \"01234567\"",
                "upstream one body \"0123456789\"",
            ],
        ),
        on(
            5,
            "authority gets the body",
            post("/x", "0123"),
            &[
                "upstream authority body \"0123\"",
                "upstream one body \"0123\"",
            ],
        ),
        on(
            5,
            "authority gets the method",
            request("HEAD", "/x"),
            &["upstream authority: HEAD /check/x HTTP/1.1"],
        ),
        on(
            5,
            "authority is not asked",
            get("/open"),
            &["status 200", "reached 1 times"],
        ),
        on(
            6,
            "nobody there: closed",
            get("/x"),
            &[
                "status 403",
                "log details \"ext_authz_error\"",
                "log flags \"UAEX\"",
                "reached 0 times",
            ],
        ),
        on(
            7,
            "nobody there: open",
            get("/x"),
            &[
                "status 200",
                "upstream one header x-envoy-auth-failure-mode-allowed: true",
            ],
        ),
    ]
}
