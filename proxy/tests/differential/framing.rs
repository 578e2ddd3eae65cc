//! How messages begin and end on both sides of HTTP/1.

use serde_json::json;

use super::to;
use crate::case::{Case, PORT, Table, case, does, sends};
use crate::support::config::{cluster, listener, manager, virtual_host};
use crate::support::http1::{get, post, request};
use crate::support::upstream::{Act, raw, reply};
use crate::support::{PATIENCE, http1};

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
            &["status "],
        )
        .differs(
            "two Content-Length lines are refused even when they agree",
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

fn versions() -> Vec<Case> {
    let bytes = |name: &str, text: &str, expect: &[&str]| {
        sends(name, text.as_bytes().to_vec(), &[false], expect)
    };
    vec![
        bytes(
            "1.0 refused",
            "GET /x HTTP/1.0\r\nhost: a.test\r\n\r\n",
            &["status 426 Upgrade Required"],
        ),
        bytes(
            "1.0 accepted",
            "GET /x HTTP/1.0\r\nhost: a.test\r\n\r\n",
            &["status 200"],
        )
        .port(PORT + 1),
        bytes(
            "1.0 without a host",
            "GET /x HTTP/1.0\r\n\r\n",
            &["status 200", "upstream one header host: ten.test"],
        )
        .port(PORT + 1),
        bytes(
            "1.0 kept alive",
            "GET /x HTTP/1.0\r\nhost: a.test\r\nconnection: keep-alive\r\n\r\n",
            &["status 200"],
        )
        .port(PORT + 1),
        bytes(
            "1.0 gets no chunks",
            "GET /x HTTP/1.0\r\nhost: a.test\r\n\r\n",
            &["status 200", "body \"abc\""],
        )
        .port(PORT + 1)
        .script(
            0,
            vec![vec![raw(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            )]],
        ),
        bytes(
            "1.1 closes",
            "GET /x HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n",
            &["status 200", "header connection: close", "then closed"],
        ),
        bytes("no host", "GET /x HTTP/1.1\r\n\r\n", &["status 400"]),
        bytes(
            "empty host",
            "GET /x HTTP/1.1\r\nhost:\r\n\r\n",
            &["status "],
        ),
        bytes(
            "absolute form",
            "GET http://abs.test:81/path?q HTTP/1.1\r\nhost: a.test\r\n\r\n",
            &["upstream one: GET /path?q HTTP/1.1"],
        ),
        bytes(
            "absolute form of https",
            "GET https://abs.test/path HTTP/1.1\r\nhost: a.test\r\n\r\n",
            &["status "],
        ),
        bytes(
            "absolute form without a path",
            "GET http://abs.test HTTP/1.1\r\nhost: abs.test\r\n\r\n",
            &["status "],
        ),
        bytes(
            "absolute form of another scheme",
            "GET ftp://abs.test/x HTTP/1.1\r\nhost: a.test\r\n\r\n",
            &["status "],
        ),
        bytes("nonsense", "nonsense\r\n\r\n", &["status 400"]).logs(0),
        bytes(
            "empty lines before the request",
            "\r\n\r\nGET /x HTTP/1.1\r\nhost: a.test\r\n\r\n",
            &["status "],
        ),
        bytes(
            "target without a slash",
            "GET x HTTP/1.1\r\nhost: a.test\r\n\r\n",
            &["status "],
        ),
        bytes(
            "version of the future",
            "GET /x HTTP/1.2\r\nhost: a.test\r\n\r\n",
            &["status "],
        ),
        sends(
            "head too large",
            format!(
                "GET /x HTTP/1.1\r\nhost: a.test\r\nx-big: {}\r\n\r\n",
                "x".repeat(61 * 1024)
            )
            .into_bytes(),
            &[false],
            &["status 431"],
        ),
        sends(
            "too many headers",
            (String::from("GET /x HTTP/1.1\r\nhost: a.test\r\n")
                + &"x-n: 1\r\n".repeat(101)
                + "\r\n")
                .into_bytes(),
            &[false],
            &["status 431"],
        ),
        sends(
            "long target",
            format!(
                "GET /{} HTTP/1.1\r\nhost: a.test\r\n\r\n",
                "y".repeat(20000)
            )
            .into_bytes(),
            &[false],
            &["status 200"],
        ),
    ]
}

fn upgrades() -> Vec<Case> {
    let handshake = || {
        get("/ws")
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("sec-websocket-version", "13")
    };
    let accepts =
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
    let talks = move |side: &crate::case::Side<'_>,
                      transcript: &mut crate::support::transcript::Transcript| {
        let mut connection = side.connect();
        connection.send(&handshake().bytes());
        let response = connection.response(false);
        transcript.response(&response);
        if response.is_ok_and(|response| response.status == 101) {
            connection.send(b"ping");
            transcript.line(format!("echo {:?}", connection.read_exactly(4)));
            connection.finish();
            transcript.line(format!("end {:?}", connection.closes(PATIENCE)));
        }
    };
    let refused = get("/ws")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket");
    let tunnel = |early: &'static str| {
        move |side: &crate::case::Side<'_>,
              transcript: &mut crate::support::transcript::Transcript| {
            let mut connection = side.connect();
            connection.send(
                format!("CONNECT target.test:443 HTTP/1.1\r\nhost: target.test:443\r\n\r\n{early}")
                    .as_bytes(),
            );
            let response = connection.response(true);
            transcript.response(&response);
            if response.is_ok() {
                connection.send(b"bytes");
                transcript.line(format!(
                    "echo {:?}",
                    connection
                        .read_exactly(early.len() + 5)
                        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                ));
                connection.finish();
                transcript.line(format!("end {:?}", connection.closes(PATIENCE)));
            }
        }
    };
    vec![
        does(
            "websocket",
            &[
                "status 101",
                "echo Ok([112, 105, 110, 103])",
                "end Ok(())",
                "log status 101",
            ],
            talks,
        )
        .script(0, vec![vec![raw(accepts), Act::Echo]]),
        case(
            "websocket refused by the upstream",
            refused.clone(),
            &["status 403", "body \"no\""],
        )
        .script(0, vec![vec![reply("403 Forbidden", &[], "no")]]),
        case("websocket answered with 200", refused.clone(), &["status "])
            .script(0, vec![vec![reply("200 OK", &[], "no")]]),
        case(
            "websocket that the route refuses",
            get("/refused")
                .header("connection", "Upgrade")
                .header("upgrade", "websocket"),
            &["status 403"],
        ),
        case(
            "websocket that nobody allows",
            refused,
            &["status 403", "log details \"upgrade_failed\""],
        )
        .port(PORT + 1),
        case(
            "upgrade to something else",
            get("/x")
                .header("connection", "Upgrade")
                .header("upgrade", "other"),
            &["status 403"],
        ),
        case(
            "upgrade to h2c is ignored",
            get("/x")
                .header("connection", "Upgrade, HTTP2-Settings")
                .header("upgrade", "h2c")
                .header("http2-settings", "AAMAAABk"),
            &["status "],
        ),
        does("connect", &["status 200", "echo Ok(\"bytes\")"], tunnel("")),
        does("connect with early bytes", &["status 200"], tunnel("early")),
        case(
            "connect that no route takes",
            request("CONNECT", "no.test:443").host("no.test:443"),
            &["status 404"],
        ),
    ]
}

fn pipelines() -> Vec<Case> {
    let two = [get("/first").bytes(), get("/second").bytes()].concat();
    let bodies = [
        post("/first", "abc").bytes(),
        request("POST", "/second").chunks(&["de"], &[]).bytes(),
        get("/third").bytes(),
    ]
    .concat();
    let ends = [
        get("/first").header("connection", "close").bytes(),
        get("/second").bytes(),
    ]
    .concat();
    vec![
        sends(
            "two requests at once",
            two,
            &[false, false],
            &[
                "upstream one: GET /first",
                "upstream one: GET /second",
                "reached 2 times",
            ],
        ),
        sends(
            "three requests with bodies at once",
            bodies,
            &[false, false, false],
            &["upstream one: GET /third", "reached 3 times"],
        ),
        sends(
            "nothing after close",
            ends,
            &[false],
            &["status 200", "then closed", "reached 1 times"],
        ),
        does(
            "one connection after the other request",
            &["status 200", "reached 3 times"],
            |side, transcript| {
                let mut connection = side.connect();
                for target in ["/1", "/2", "/3"] {
                    connection.send(&get(target).bytes());
                    transcript.response(&connection.response(false));
                }
            },
        )
        .logs(3),
        does(
            "client goes away",
            &[
                "upstream one: GET /gone",
                "log flags \"DC\"",
                "log status 0",
            ],
            |side, _| {
                let mut connection = side.connect();
                connection.send(&get("/gone").bytes());
                // The upstream has it when the log says so; until then the client stays.
                crate::support::poll(PATIENCE, || {
                    (side.upstreams[0].connections() > 0 && side.seen() > 0).then_some(())
                });
                drop(connection);
            },
        )
        .script(0, vec![vec![Act::Hang]])
        .reaches(1),
        does(
            "client ends its direction",
            &["no response: closed", "log flags \"DC\""],
            |side, transcript| {
                let mut connection: http1::Connection = side.connect();
                connection.send(&get("/half").header("connection", "close").bytes());
                connection.finish();
                transcript.response(&connection.response(false));
            },
        ),
    ]
}
