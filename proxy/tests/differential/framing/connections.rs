//! Versions, upgrades, and several requests on one connection.

use crate::case::{Case, PORT, Side, case, does, sends};
use crate::support::PATIENCE;
use crate::support::http1::{self, get, post, request};
use crate::support::transcript::Transcript;
use crate::support::upstream::{Act, raw, reply};

pub(super) fn versions() -> Vec<Case> {
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
        )
        .differs(
            "an empty Host names nobody",
            &["status 400", "reached 0 times"],
        ),
        bytes(
            "absolute form",
            "GET http://abs.test:81/path?q HTTP/1.1\r\nhost: abs.test:81\r\n\r\n",
            &["upstream one: GET /path?q HTTP/1.1"],
        ),
        bytes(
            "absolute form of https",
            "GET https://abs.test/path HTTP/1.1\r\nhost: abs.test\r\n\r\n",
            &["status "],
        ),
        bytes(
            "absolute form of another host",
            "GET http://abs.test/path HTTP/1.1\r\nhost: a.test\r\n\r\n",
            &["upstream one header host: abs.test"],
        )
        .differs(
            "a Host that contradicts the target is refused",
            &["status 400", "reached 0 times"],
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
        bytes("nonsense", "nonsense\r\n\r\n", &["status 400"]),
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

pub(super) fn upgrades() -> Vec<Case> {
    let handshake = || {
        get("/ws")
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("sec-websocket-version", "13")
    };
    let accepts =
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
    let talks = move |side: &Side<'_>, transcript: &mut Transcript| {
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
        move |side: &Side<'_>, transcript: &mut Transcript| {
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

pub(super) fn pipelines() -> Vec<Case> {
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
                crate::support::poll(PATIENCE, || (side.seen() > 0).then_some(()));
                connection.finish();
                transcript.response(&connection.response(false));
            },
        )
        .script(0, vec![vec![Act::Hang]])
        .reaches(1),
    ]
}
