//! How messages begin and end on both sides of HTTP/1.

mod connections;

use connections::{pipelines, upgrades, versions};
use serde_json::json;

use super::to;
use crate::case::{Case, PORT, Table, case, does};
use crate::support::config::{cluster, listener, manager, virtual_host};
use crate::support::http1::{get, post, request};
use crate::support::upstream::{Act, raw, reply};

#[test]
fn framing() {
    let mut table = Table::new("framing", &["one", "tunnel"]);
    table.upstreams[1] = crate::support::upstream::Upstream::tcp("tunnel", &table.log);
    let ports = table.ports(&[0, 1]);
    table.resources = Box::new(move |place| {
        let routes = json!([
            {"name": "connect", "match": {"connect_matcher": {}}, "route": {"cluster": "tunnel",
                "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}]}},
            {"name": "no-upgrade", "match": {"prefix": "/refused"}, "route": {"cluster": "one",
                "upgrade_configs": [{"upgrade_type": "websocket", "enabled": false}]}},
            to("rest", json!({"prefix": "/"}), "one"),
        ]);
        let no_connect = virtual_host(
            "no-connect",
            &["no.test:443"],
            json!([to("rest", json!({"prefix": "/"}), "one")]),
        );
        let hosts = json!([virtual_host("all", &["*"], routes), no_connect]);
        let upgrades = json!({"upgrade_configs": [{"upgrade_type": "websocket"}, {"upgrade_type": "CONNECT"}]});
        let first = manager("framing", hosts.clone(), Vec::new(), upgrades);
        let strict = json!({"http_protocol_options": {"accept_http_10": true, "default_host_for_http_10": "ten.test", "enable_trailers": true},
            "proxy_100_continue": true});
        let second = manager("other", hosts, Vec::new(), strict);
        (
            vec![
                listener(place, "framing", PORT, vec![first]),
                listener(place, "other", PORT + 1, vec![second]),
            ],
            vec![
                cluster(
                    "one",
                    &ports[..1],
                    json!({"http_protocol_options": {"enable_trailers": true}}),
                ),
                cluster("tunnel", &ports[1..], json!({})),
            ],
        )
    });
    table.cases = [methods(), bodies(), versions(), upgrades(), pipelines()]
        .into_iter()
        .flatten()
        .collect();
    table.run();
}

fn methods() -> Vec<Case> {
    vec![
        case(
            "get",
            get("/x")
                .header("Accept", "*/*")
                .header("User-Agent", "t/1"),
            &[
                "status 200",
                "body \"one\"",
                "upstream one header accept: */*",
                "upstream one header x-forwarded-proto: http",
                "header server: envoy",
                "header date: (date)",
            ],
        ),
        case(
            "head",
            request("HEAD", "/x"),
            &["status 200", "header content-length: 3", "body \"\""],
        ),
        case(
            "options",
            request("OPTIONS", "/x"),
            &["upstream one: OPTIONS /x HTTP/1.1"],
        ),
        case(
            "options of everything",
            request("OPTIONS", "*"),
            &["status "],
        ),
        case(
            "put",
            request("PUT", "/x").body("data"),
            &["upstream one: PUT /x", "upstream one body \"data\""],
        ),
        case("unknown method", request("BREW", "/x"), &["status "]),
        case(
            "method of odd characters",
            request("M-SEARCH", "/x"),
            &["status "],
        ),
        case("lower-case method", request("get", "/x"), &["status "]),
        case("trace", request("TRACE", "/x"), &["status "]),
        case(
            "get with a body",
            request("GET", "/x").body("body"),
            &[
                "upstream one body \"body\"",
                "upstream one header content-length: 4",
            ],
        ),
        case(
            "post without a body",
            request("POST", "/x"),
            &["status 200"],
        ),
        case(
            "post of no bytes",
            request("POST", "/x").header("content-length", "0"),
            &["upstream one header content-length: 0"],
        ),
    ]
}

fn bodies() -> Vec<Case> {
    let answers = |name: &str, bytes: &str, expect: &[&str]| {
        case(name, get("/x"), expect).script(0, vec![vec![raw(bytes)]])
    };
    vec![
        case(
            "body with its length",
            post("/x", "12345"),
            &[
                "upstream one header content-length: 5",
                "upstream one body \"12345\"",
                "log received 5",
            ],
        ),
        case(
            "body in chunks",
            request("POST", "/x").chunks(&["abc", "de"], &[]),
            &[
                "upstream one header transfer-encoding: chunked",
                "upstream one body \"abcde\"",
            ],
        ),
        case(
            "body in chunks with trailers",
            request("POST", "/x").chunks(&["abc"], &["x-trailer: t"]),
            &["status 200"],
        ),
        case(
            "body in chunks with trailers let through",
            request("POST", "/x").chunks(&["abc"], &["x-trailer: t"]),
            &["upstream one trailer x-trailer: t"],
        )
        .port(PORT + 1),
        answers(
            "response in chunks",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            &[
                "header transfer-encoding: chunked",
                "body \"abc\"",
                "log sent 3",
            ],
        ),
        answers(
            "response with trailers",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n",
            &["body \"abc\""],
        ),
        answers(
            "response with trailers let through",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n",
            &["trailer x-t: 1"],
        )
        .port(PORT + 1),
        answers(
            "response 204",
            "HTTP/1.1 204 No Content\r\n\r\n",
            &["status 204"],
        ),
        answers(
            "response 304",
            "HTTP/1.1 304 Not Modified\r\netag: x\r\ncontent-length: 10\r\n\r\n",
            &["status 304"],
        ),
        answers(
            "interim response",
            "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            &["status 200"],
        ),
        answers(
            "hop-by-hop headers of the response",
            "HTTP/1.1 200 OK\r\nconnection: keep-alive, x-hop\r\nkeep-alive: 5\r\nx-hop: 1\r\nproxy-connection: x\r\ncontent-length: 2\r\n\r\nok",
            &["status 200"],
        ),
        answers(
            "upstream that will close",
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
            &["status 200", "body \"ok\""],
        ),
        answers(
            "header names of the response",
            "HTTP/1.1 200 Fine\r\nX-Mixed-Case: A\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\ncontent-length: 2\r\n\r\nok",
            &[
                "status 200 OK",
                "header x-mixed-case: A",
                "header set-cookie: a=1",
                "header set-cookie: b=2",
            ],
        ),
        does(
            "expect answered by the proxy",
            &["interim 100", "status 200", "upstream one body \"1234\""],
            continues,
        ),
        does(
            "expect passed on",
            &["interim 100", "status 200"],
            continues,
        )
        .port(PORT + 1)
        .script(
            0,
            vec![vec![
                Act::Early,
                raw("HTTP/1.1 100 Continue\r\n\r\n"),
                Act::Expect(4),
                reply("200 OK", &[], "ok"),
                Act::Close,
            ]],
        )
        .reaches(1),
        case(
            "expect of something else",
            get("/x").header("expect", "miracles"),
            &["status "],
        ),
        case(
            "hop-by-hop headers of the request",
            get("/x")
                .header("connection", "keep-alive, x-hop")
                .header("x-hop", "1")
                .header("keep-alive", "5")
                .header("proxy-connection", "x")
                .header("te", "trailers, deflate")
                .header("proxy-authorization", "basic x"),
            &["status "],
        ),
        case(
            "te: trailers",
            get("/x").header("te", "trailers"),
            &["status "],
        ),
        case(
            "odd characters in a value",
            get("/x").header("x-odd", "a\tb \u{e9} \"q\""),
            &["status "],
        ),
        case(
            "empty value",
            get("/x").header("x-empty", ""),
            &["upstream one header x-empty: "],
        ),
        case(
            "underscore in a name",
            get("/x").header("x_under", "1"),
            &["status "],
        ),
        case(
            "header of many lines",
            get("/x")
                .header("x-many", "1")
                .header("x-many", "2")
                .header("cookie", "a=1")
                .header("cookie", "b=2"),
            &["status 200"],
        ),
        case(
            "two equal lengths",
            request("POST", "/x")
                .header("content-length", "2")
                .header("content-length", "2"),
            &["status 400"],
        ),
    ]
}

fn continues(
    side: &crate::case::Side<'_>,
    transcript: &mut crate::support::transcript::Transcript,
) {
    let mut connection = side.connect();
    connection.send(
        b"POST /x HTTP/1.1\r\nhost: a.test\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n",
    );
    let interim = connection.read_exactly(b"HTTP/1.1 100 Continue\r\n\r\n".len());
    transcript.line(format!(
        "interim 100: {:?}",
        interim.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    ));
    connection.send(b"1234");
    transcript.response(&connection.response(false));
}
