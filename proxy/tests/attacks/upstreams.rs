//! What a bad upstream answers to a good request.

use super::row::{Accept, Pair, Row, Sent};
use crate::support::http2::kind;
use crate::support::upstream::{Act, raw};
use crate::support::upstream2::Act as Act2;

pub fn rows(pair: Pair) -> Vec<Row> {
    if pair.reaches_http2() { two() } else { one() }
}

fn row(name: &str, sent: Sent, accept: Accept) -> Row {
    Row {
        family: "upstream",
        name: format!("answers {name}"),
        sent,
        accept,
        forbidden: Vec::new(),
    }
}

fn one() -> Vec<Row> {
    let answers = |name: &str, text: &str, accept: Accept| {
        row(name, Sent::Answered(vec![raw(text), Act::Close]), accept)
    };
    let stays =
        |name: &str, text: &str, accept: Accept| row(name, Sent::Answered(vec![raw(text)]), accept);
    vec![
        stays(
            "with a length and chunks",
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            Accept::Harmless,
        ),
        stays(
            "with two lengths",
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabc",
            Accept::Failed,
        ),
        stays(
            "with more than its length",
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\npoisoned",
            Accept::Harmless,
        ),
        stays(
            "twice",
            "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\npoisoned",
            Accept::Harmless,
        ),
        answers(
            "with less than its length",
            "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
            Accept::Failed,
        ),
        answers(
            "with half a chunk",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
            Accept::Failed,
        ),
        answers(
            "with a bad chunk size",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\nabc\r\n0\r\n\r\n",
            Accept::Failed,
        ),
        answers(
            "with a folded header",
            "HTTP/1.1 200 OK\r\nx-a: 1\r\n 2\r\ncontent-length: 2\r\n\r\nok",
            Accept::Harmless,
        ),
        answers(
            "with a NUL in a header",
            "HTTP/1.1 200 OK\r\nx-a: 1\x002\r\ncontent-length: 2\r\n\r\nok",
            Accept::Failed,
        ),
        answers(
            "with a bare CR in a header",
            "HTTP/1.1 200 OK\r\nx-a: 1\r2\r\ncontent-length: 2\r\n\r\nok",
            Accept::Failed,
        ),
        answers(
            "with an empty name",
            "HTTP/1.1 200 OK\r\n: 1\r\ncontent-length: 2\r\n\r\nok",
            Accept::Failed,
        ),
        answers(
            "with a status of words",
            "HTTP/1.1 abc OK\r\ncontent-length: 2\r\n\r\nok",
            Accept::Failed,
        ),
        answers("with HTTP/0.9", "<html>hello</html>", Accept::Failed),
        answers("with nothing", "", Accept::Failed),
        answers(
            "with 101 that nobody asked for",
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nbytes",
            Accept::Failed,
        ),
        answers(
            "with a header of 128 KiB",
            &format!(
                "HTTP/1.1 200 OK\r\nx-a: {}\r\ncontent-length: 2\r\n\r\nok",
                "x".repeat(131_072)
            ),
            Accept::Failed,
        ),
        answers(
            "with interim answers for ever",
            &("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n".repeat(3000)
                + "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
            Accept::Harmless,
        ),
    ]
}

fn two() -> Vec<Row> {
    let answers =
        |name: &str, acts: Vec<Act2>, accept: Accept| row(name, Sent::Answered2(acts), accept);
    let ok = |more: Vec<(&'static str, &'static str)>, end: bool| {
        Act2::Headers([vec![(":status", "200")], more].concat(), end)
    };
    let body = |text: &str, end: bool| Act2::Data(text.as_bytes().to_vec(), end);
    vec![
        answers(
            "with CR LF in a value",
            vec![ok(vec![("x-a", "1\r\nset-cookie: evil=1")], true)],
            Accept::Failed,
        ),
        answers(
            "with a NUL in a value",
            vec![ok(vec![("x-a", "1\x002")], true)],
            Accept::Failed,
        ),
        answers(
            "with a name in capitals",
            vec![ok(vec![("X-A", "1")], true)],
            Accept::Failed,
        ),
        answers(
            "with an empty name",
            vec![ok(vec![("", "1")], true)],
            Accept::Failed,
        ),
        answers(
            "with transfer-encoding",
            vec![
                ok(vec![("transfer-encoding", "chunked")], false),
                body("0\r\n\r\n", true),
            ],
            Accept::Failed,
        ),
        answers(
            "with connection",
            vec![ok(vec![("connection", "close")], true)],
            Accept::Failed,
        ),
        answers(
            "without a status",
            vec![Act2::Headers(vec![("x-a", "1")], true)],
            Accept::Failed,
        ),
        answers(
            "with two statuses",
            vec![Act2::Headers(
                vec![(":status", "200"), (":status", "404")],
                true,
            )],
            Accept::Failed,
        ),
        answers(
            "with a status of words",
            vec![Act2::Headers(vec![(":status", "abc")], true)],
            Accept::Failed,
        ),
        answers(
            "with a request's pseudo-header",
            vec![ok(vec![(":path", "/x")], true)],
            Accept::Failed,
        ),
        answers(
            "with less than its length",
            vec![ok(vec![("content-length", "10")], false), body("abc", true)],
            Accept::Failed,
        ),
        answers(
            "with more than its length",
            vec![ok(vec![("content-length", "1")], false), body("abc", true)],
            Accept::Failed,
        ),
        answers(
            "with a pseudo-header in the trailers",
            vec![
                ok(Vec::new(), false),
                body("abc", false),
                Act2::Headers(vec![(":status", "200")], true),
            ],
            Accept::Failed,
        ),
        answers(
            "with 101",
            vec![Act2::Headers(vec![(":status", "101")], true)],
            Accept::Failed,
        ),
        answers(
            "with a push that nobody allowed",
            vec![Act2::Frame {
                kind: kind::PUSH_PROMISE,
                flags: 4,
                payload: vec![0, 0, 0, 2, 0x82],
            }],
            Accept::Failed,
        ),
        answers(
            "with DATA before its head",
            vec![body("abc", true)],
            Accept::Failed,
        ),
        answers(
            "with a frame that is too large",
            vec![Act2::Frame {
                kind: kind::DATA,
                flags: 0,
                payload: vec![0; 20_000],
            }],
            Accept::Failed,
        ),
        answers(
            "with GOAWAY and no streams allowed",
            vec![
                Act2::Frame {
                    kind: kind::SETTINGS,
                    flags: 0,
                    payload: vec![0, 3, 0, 0, 0, 0],
                },
                Act2::GoAway(0),
                Act2::Close,
            ],
            Accept::Failed,
        ),
        answers("with a reset", vec![Act2::Reset(2)], Accept::Failed),
        answers(
            "with HEADERS without an end",
            vec![
                Act2::Frame {
                    kind: kind::HEADERS,
                    flags: 0,
                    payload: vec![0x88],
                },
                Act2::Close,
            ],
            Accept::Failed,
        ),
    ]
}
