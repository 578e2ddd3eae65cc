//! HTTP/2 on either side, and gRPC: what is translated, and how failures are told.

mod grpc;

use grpc::grpc;
use serde_json::{Value, json};

use super::{routes, to};
use crate::case::{Case, PORT, Side, Table, case, does};
use crate::support::PATIENCE;
use crate::support::config::{cluster, http_filter, http2, listener, manager, virtual_host};
use crate::support::http1::{get, post, request};
use crate::support::http2 as h2;
use crate::support::transcript::Transcript;
use crate::support::upstream::{Act, dead_port, raw, reply};
use crate::support::upstream2::{Act as Act2, Upstream2};

#[test]
fn http2_and_grpc() {
    let mut table = Table::new("http2", &["one"]);
    let ports = table.ports(&[0]);
    table
        .upstreams2
        .push(Upstream2::plain("second", &table.log));
    let second = [table.upstreams2[0].port()];
    let dead = dead_port();
    table.resources = Box::new(move |place| {
        let denied = json!({"rules": {"action": "DENY", "policies": {"no": {"principals": [{"any": true}],
            "permissions": [{"url_path": {"path": {"prefix": "/denied"}}}]}}}});
        let filters = || {
            vec![http_filter(
                "envoy.filters.http.rbac",
                "rbac.v3.RBAC",
                denied.clone(),
            )]
        };
        let hosts = || json!([virtual_host("all", &["*"], all_routes())]);
        let trailers = json!({"http_protocol_options": {"enable_trailers": true}});
        let tuned = json!({"codec_type": "HTTP2", "http2_protocol_options": {"max_concurrent_streams": 1, "allow_connect": true},
            "upgrade_configs": [{"upgrade_type": "websocket"}]});
        (
            vec![
                listener(
                    place,
                    "http2",
                    PORT,
                    vec![manager("http2", hosts(), filters(), trailers)],
                ),
                listener(
                    place,
                    "tuned",
                    PORT + 1,
                    vec![manager("tuned", hosts(), filters(), tuned)],
                ),
            ],
            vec![
                cluster(
                    "one",
                    &ports,
                    json!({"http_protocol_options": {"enable_trailers": true}}),
                ),
                cluster("second", &second, http2()),
                cluster("dead", &[dead], http2()),
                cluster("empty", &[], http2()),
            ],
        )
    });
    table.cases = [up(), down(), both(), grpc()]
        .into_iter()
        .flatten()
        .collect();
    table.run();
}

fn all_routes() -> Value {
    json!([
        to("second", json!({"prefix": "/second"}), "second"),
        to("dead", json!({"prefix": "/dead"}), "dead"),
        to("empty", json!({"prefix": "/empty"}), "empty"),
        to("nowhere", json!({"prefix": "/nowhere"}), "nowhere"),
        routes("slow", json!({"prefix": "/slow"}), json!({"cluster": "second", "timeout": "0.15s"})),
        routes("slow-grpc", json!({"prefix": "/by-deadline"}), json!({"cluster": "second", "timeout": "5s",
            "max_stream_duration": {"grpc_timeout_header_max": "10s"}})),
        routes("retry", json!({"prefix": "/retry"}), json!({"cluster": "second", "retry_policy": {"retry_on": "unavailable,refused-stream,cancelled",
            "num_retries": 1, "retry_back_off": {"base_interval": "0.001s"}}})),
        {"name": "own", "match": {"prefix": "/own"}, "direct_response": {"status": 403, "body": {"inline_string": "own words"}}},
        {"name": "away", "match": {"prefix": "/away"}, "redirect": {"host_redirect": "other.test"}},
        to("one", json!({"prefix": "/one"}), "one"),
        to("denied", json!({"prefix": "/denied"}), "one"),
    ])
}

/// HTTP/1 in, HTTP/2 out.
fn up() -> Vec<Case> {
    let ok = || Act2::Headers(vec![(":status", "200"), ("x-answer", "2")], false);
    vec![
        case(
            "up get",
            get("/second?q").host("u.test"),
            &[
                "status 200",
                "body \"second\"",
                "upstream second: GET /second?q HTTP/2",
                "upstream second header :authority: u.test",
                "upstream second header :scheme: http",
            ],
        )
        .never(&["upstream second header host"]),
        case(
            "up post",
            post("/second", "body"),
            &[
                "upstream second body \"body\"",
                "upstream second header content-length: 4",
            ],
        ),
        case(
            "up chunks",
            request("POST", "/second").chunks(&["ab", "c"], &["x-t: 1"]),
            &[
                "upstream second body \"abc\"",
                "upstream second trailer x-t: 1",
            ],
        )
        .never(&["upstream second header transfer-encoding"]),
        case(
            "up hop-by-hop",
            get("/second")
                .header("connection", "x-hop")
                .header("x-hop", "1")
                .header("te", "trailers")
                .header("keep-alive", "1"),
            &["status 200"],
        ),
        case(
            "up cookies",
            get("/second")
                .header("cookie", "a=1; b=2")
                .header("cookie", "c=3"),
            &["status 200"],
        ),
        case("up trailers back", get("/second"), &["trailer x-end: 1"]).script2(
            0,
            vec![vec![
                ok(),
                Act2::Data(b"abc".to_vec(), false),
                Act2::Headers(vec![("x-end", "1")], true),
            ]],
        ),
        case("up head only", request("HEAD", "/second"), &["status 200"]).script2(
            0,
            vec![vec![Act2::Headers(
                vec![(":status", "200"), ("content-length", "7")],
                true,
            )]],
        ),
        case("up 204", get("/second"), &["status 204"])
            .script2(0, vec![vec![Act2::Headers(vec![(":status", "204")], true)]]),
        case("up interim", get("/second"), &["status 200"]).script2(
            0,
            vec![vec![
                Act2::Headers(vec![(":status", "103"), ("link", "x")], false),
                ok(),
                Act2::Data(b"x".to_vec(), true),
            ]],
        ),
        case(
            "up reset",
            get("/second"),
            &["status 503", "log flags \"UR\"", "log details "],
        )
        .script2(0, vec![vec![Act2::Reset(2)]]),
        case("up refused stream", get("/second"), &["status 503"])
            .script2(0, vec![vec![Act2::Reset(7)]]),
        case(
            "up refused stream retried",
            get("/retry"),
            &["status 200", "reached 2 times"],
        )
        .script2(0, vec![vec![Act2::Reset(7)]]),
        case(
            "up reset after the head",
            get("/second"),
            &["no response: broken", "log flags \"UR\""],
        )
        .script2(
            0,
            vec![vec![
                Act2::Headers(vec![(":status", "200"), ("content-length", "9")], false),
                Act2::Data(b"abc".to_vec(), false),
                Act2::Reset(2),
            ]],
        ),
        case("up go away", get("/second"), &["status 200"]).script2(
            0,
            vec![vec![
                Act2::GoAway(0),
                ok(),
                Act2::Data(b"last".to_vec(), true),
            ]],
        ),
        case(
            "up closed",
            get("/second"),
            &["status 503", "log flags \"UC\""],
        )
        .script2(0, vec![vec![Act2::Close]]),
        case("up no status", get("/second"), &["status "])
            .script2(0, vec![vec![Act2::Headers(vec![("x-no", "status")], true)]]),
        case("up bad header", get("/second"), &["status "]).script2(
            0,
            vec![vec![Act2::Headers(
                vec![(":status", "200"), ("Upper", "1")],
                true,
            )]],
        ),
        case("up connection header", get("/second"), &["status "]).script2(
            0,
            vec![vec![Act2::Headers(
                vec![(":status", "200"), ("connection", "x")],
                true,
            )]],
        ),
        case(
            "up shorter than its length",
            get("/second"),
            &["no response: broken"],
        )
        .script2(
            0,
            vec![vec![
                Act2::Headers(vec![(":status", "200"), ("content-length", "9")], false),
                Act2::Data(b"abc".to_vec(), true),
            ]],
        ),
        case("up slow", get("/slow"), &["status 504"]).script2(0, vec![vec![Act2::Hang]]),
        case(
            "up nobody",
            get("/dead"),
            &["status 503", "log flags \"UF\""],
        ),
    ]
}

fn ask(side: &Side<'_>, transcript: &mut Transcript, fields: &[(&str, &str)], body: Option<&str>) {
    let mut client = side.connect2();
    let mut bytes = h2::headers(1, body.is_none(), fields);
    if let Some(body) = body {
        bytes.extend(h2::data(1, true, body.as_bytes()));
    }
    client.send(&bytes);
    transcript.answer(&client.answer(1, PATIENCE));
}

const BASE: [(&str, &str); 3] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":authority", "d.test"),
];

fn asks(
    name: &str,
    path: &'static str,
    more: &'static [(&'static str, &'static str)],
    expect: &[&str],
) -> Case {
    does(name, expect, move |side, transcript| {
        let fields = [&BASE[..], &[(":path", path)], more].concat();
        ask(side, transcript, &fields, None);
    })
}

fn posts(
    name: &str,
    path: &'static str,
    more: &'static [(&'static str, &'static str)],
    body: &'static str,
    expect: &[&str],
) -> Case {
    does(name, expect, move |side, transcript| {
        let fields = [&[(":method", "POST")], &BASE[1..], &[(":path", path)], more].concat();
        ask(side, transcript, &fields, Some(body));
    })
}

/// HTTP/2 in, HTTP/1 out.
fn down() -> Vec<Case> {
    vec![
        asks("down get", "/one?q", &[("user-agent", "t/2")], &["status 200 HTTP/2", "body \"one\"", "upstream one: GET /one?q HTTP/1.1", "upstream one header host: d.test",
            "log protocol \"HTTP/2\""]),
        posts("down post without a length", "/one", &[], "body", &["upstream one header transfer-encoding: chunked", "upstream one body \"body\""]),
        posts("down post with its length", "/one", &[("content-length", "4")], "body", &["upstream one header content-length: 4"]),
        asks("down cookies", "/one", &[("cookie", "a=1"), ("cookie", "b=2")], &["upstream one header cookie: a=1; b=2"]),
        asks("down te", "/one", &[("te", "trailers")], &["status 200"]),
        asks("down hop-by-hop of the upstream", "/one", &[], &["status 200"]).script(0,
            vec![vec![reply("200 OK", &["connection: close, x-hop", "x-hop: 1", "keep-alive: 1", "X-Mixed: M"], "ok"), Act::Close]]),
        asks("down chunks of the upstream", "/one", &[], &["status 200", "body \"abc\"", "trailer x-t: 1"]).script(0,
            vec![vec![raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n")]])
            .never(&["header transfer-encoding"]),
        asks("down truncated by the upstream", "/one", &[], &["no response: RST_STREAM"]).script(0,
            vec![vec![raw("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"), Act::Close]]),
        asks("down reset by the upstream", "/one", &[], &["status 503"]).script(0, vec![vec![Act::Reset]]),
        asks("down direct", "/own", &[], &["status 403", "body \"own words\""]),
        asks("down redirect", "/away", &[], &["status 301", "header location: http://other.test/away"]),
        asks("down no route", "/none", &[], &["status 404"]),
        asks("down denied", "/denied", &[], &["status 403"]),
        does("down head", &["status 200"], |side, transcript| {
            let fields = [&[(":method", "HEAD")], &BASE[1..], &[(":path", "/one")]].concat();
            ask(side, transcript, &fields, None);
        }),
        does("down host instead of authority", &["status "], |side, transcript| {
            ask(side, transcript, &[(":method", "GET"), (":scheme", "http"), (":path", "/one"), ("host", "h.test")], None);
        }),
        does("down host beside authority", &["status "], |side, transcript| {
            ask(side, transcript, &[&BASE[..], &[(":path", "/one"), ("host", "other.test")]].concat(), None);
        }).differs("a Host that contradicts :authority is refused", &["status 400 HTTP/2", "reached 0 times"]),
        does("down scheme https", &["status 200"], |side, transcript| {
            ask(side, transcript, &[(":method", "GET"), (":scheme", "https"), (":authority", "d.test"), (":path", "/one")], None);
        }),
        does("down trailers", &["status 200", "upstream one trailer x-t: 1"], |side, transcript| {
            let mut client = side.connect2();
            let fields = [&[(":method", "POST")], &BASE[1..], &[(":path", "/one")]].concat();
            client.send(&[h2::headers(1, false, &fields), h2::data(1, false, b"abc"), h2::headers(1, true, &[("x-t", "1")])].concat());
            transcript.answer(&client.answer(1, PATIENCE));
        }),
        does("down expect", &["status 200"], |side, transcript| {
            let mut client = side.connect2();
            let fields = [&[(":method", "POST")], &BASE[1..], &[(":path", "/one"), ("expect", "100-continue"), ("content-length", "3")]].concat();
            client.send(&[h2::headers(1, false, &fields), h2::data(1, true, b"abc")].concat());
            transcript.answer(&client.answer(1, PATIENCE));
        }),
        does("down two streams", &["reached 2 times"], |side, transcript| {
            let mut client = side.connect2();
            let fields = [&BASE[..], &[(":path", "/one")]].concat();
            client.send(&h2::headers(1, true, &fields));
            transcript.answer(&client.answer(1, PATIENCE));
            client.send(&h2::headers(3, true, &fields));
            transcript.answer(&client.answer(3, PATIENCE));
        }).logs(2),
        does("down reset by the client", &["log flags \"DR\""], |side, _| {
            let mut client = side.connect2();
            client.send(&h2::headers(1, true, &[&BASE[..], &[(":path", "/one")]].concat()));
            crate::support::poll(PATIENCE, || (side.seen() > 0).then_some(()));
            client.send(&h2::reset(1, 8));
            // The connection stays open until the log line is there: another stream follows.
            client.send(&h2::headers(3, true, &[&BASE[..], &[(":path", "/own")]].concat()));
            drop(client.answer(3, PATIENCE));
        }).script(0, vec![vec![Act::Hang]]).logs(2).reaches(1),
        does("down extended connect", &["field :status: 200", "data \"ping\""], |side, transcript| {
            let mut client = side.connect2();
            let fields = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", "d.test"), (":path", "/one"),
                ("sec-websocket-version", "13")];
            client.send(&h2::headers(1, false, &fields));
            client.send(&h2::data(1, false, b"ping"));
            while let Ok(found) = client.frames.next_of_stream(PATIENCE) {
                match found.kind {
                    h2::kind::HEADERS => match client.frames.fields(&found) {
                        Ok(fields) => transcript.headers("field", &fields),
                        Err(end) => transcript.line(format!("fields {end}")),
                    },
                    h2::kind::DATA => {
                        transcript.line(format!("data {:?}", String::from_utf8_lossy(found.content())));
                        break;
                    }
                    _ => {}
                }
            }
        }).port(PORT + 1).script(0, vec![vec![raw("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"), Act::Echo]]),
    ]
}

/// HTTP/2 on both sides.
fn both() -> Vec<Case> {
    vec![
        asks(
            "both get",
            "/second",
            &[],
            &["status 200", "body \"second\""],
        ),
        posts(
            "both post",
            "/second",
            &[],
            "body",
            &["upstream second body \"body\""],
        ),
        asks(
            "both cookies",
            "/second",
            &[("cookie", "a=1"), ("cookie", "b=2")],
            &["status 200"],
        ),
        asks("both reset", "/second", &[], &["status 503"]).script2(0, vec![vec![Act2::Reset(8)]]),
        asks(
            "both reset after the head",
            "/second",
            &[],
            &["no response: RST_STREAM"],
        )
        .script2(
            0,
            vec![vec![
                Act2::Headers(vec![(":status", "200")], false),
                Act2::Data(b"abc".to_vec(), false),
                Act2::Reset(2),
            ]],
        ),
        asks(
            "both early answer",
            "/second",
            &[("te", "trailers")],
            &["status 200", "trailer grpc-status: 0"],
        )
        .script2(
            0,
            vec![vec![
                Act2::Headers(vec![(":status", "200")], false),
                Act2::Headers(vec![("grpc-status", "0")], true),
            ]],
        ),
    ]
}
