//! What is sent over HTTP/1, to either protocol behind.

mod heads;

use heads::{heads, hosts, paths, sizes, versions};

use super::row::{Accept, Row, Sent};

/// A request behind another, where the first is wrong and must end the connection.
const NEXT: &str = "GET /next HTTP/1.1\r\nhost: a.test\r\n\r\n";

/// A request within the body of another, which nobody but the attacker asked for.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: a.test\r\n\r\n";

pub fn rows() -> Vec<Row> {
    [
        controls(),
        lengths(),
        encodings(),
        chunks(),
        heads(),
        versions(),
        hosts(),
        paths(),
        hops(),
        sizes(),
        slow(),
    ]
    .concat()
}

fn row(family: &'static str, name: &str, text: impl AsRef<[u8]>, accept: Accept) -> Row {
    Row {
        family,
        name: name.to_owned(),
        sent: Sent::Bytes(text.as_ref().to_vec()),
        accept,
        forbidden: Vec::new(),
    }
}

fn post(lines: &str, body: &str) -> String {
    format!("POST /x HTTP/1.1\r\nhost: a.test\r\n{lines}\r\n{body}")
}

fn get(lines: &str) -> String {
    format!("GET /x HTTP/1.1\r\nhost: a.test\r\n{lines}\r\n")
}

fn controls() -> Vec<Row> {
    let served = |name: &str, text: String| row("control", name, text, Accept::Served);
    vec![
        served("a plain GET", get("")),
        served(
            "a POST with its length",
            post("content-length: 3\r\n", "abc"),
        ),
        served(
            "a POST in chunks",
            post("transfer-encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n"),
        ),
        served(
            "a chunk extension",
            post(
                "transfer-encoding: chunked\r\n",
                "3;x=y\r\nabc\r\n0\r\n\r\n",
            ),
        ),
    ]
}

fn lengths() -> Vec<Row> {
    let bad = |name: &str, lines: &str| {
        row(
            "Content-Length",
            name,
            post(lines, "abc") + NEXT,
            Accept::Refused,
        )
    };
    vec![
        bad(
            "two that differ",
            "content-length: 3\r\ncontent-length: 4\r\n",
        ),
        row(
            "Content-Length",
            "two that agree",
            post("content-length: 3\r\ncontent-length: 3\r\n", "abc"),
            Accept::Harmless,
        ),
        bad("a list that differs", "content-length: 3, 4\r\n"),
        row(
            "Content-Length",
            "a list that agrees",
            post("content-length: 3, 3\r\n", "abc"),
            Accept::Harmless,
        ),
        bad("empty", "content-length:\r\n"),
        bad("a plus sign", "content-length: +3\r\n"),
        bad("a minus sign", "content-length: -3\r\n"),
        bad("hexadecimal", "content-length: 0x3\r\n"),
        bad("a fraction", "content-length: 3.0\r\n"),
        bad("letters behind it", "content-length: 3abc\r\n"),
        bad("a space within", "content-length: 1 3\r\n"),
        bad(
            "more than 64 bits",
            "content-length: 18446744073709551619\r\n",
        ),
        bad(
            "more than 63 bits",
            "content-length: 9223372036854775811\r\n",
        ),
        bad(
            "an underscore for the dash, beside the real one",
            "content-length: 3\r\ncontent_length: 0\r\n",
        ),
        row(
            "Content-Length",
            "a GET with a body",
            format!(
                "GET /x HTTP/1.1\r\nhost: a.test\r\ncontent-length: {}\r\n\r\n{SMUGGLED}",
                SMUGGLED.len()
            ),
            Accept::Harmless,
        ),
        row(
            "Content-Length",
            "an OPTIONS with a body",
            format!(
                "OPTIONS /x HTTP/1.1\r\nhost: a.test\r\ncontent-length: {}\r\n\r\n{SMUGGLED}",
                SMUGGLED.len()
            ),
            Accept::Harmless,
        ),
        row(
            "Content-Length",
            "a HEAD with a body",
            format!(
                "HEAD /x HTTP/1.1\r\nhost: a.test\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{SMUGGLED}",
                SMUGGLED.len()
            ),
            Accept::Harmless,
        ),
        row(
            "Content-Length",
            "a refused request with a body",
            format!(
                "POST /secret HTTP/1.1\r\nhost: a.test\r\ncontent-length: {}\r\n\r\n{SMUGGLED}",
                SMUGGLED.len()
            ),
            Accept::Refused,
        ),
    ]
}

fn encodings() -> Vec<Row> {
    let bad = |name: &str, lines: &str| {
        row(
            "Transfer-Encoding",
            name,
            post(lines, "0\r\n\r\n") + NEXT,
            Accept::Refused,
        )
    };
    vec![
        bad(
            "beside Content-Length (CL.TE)",
            "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        ),
        row(
            "Transfer-Encoding",
            "Content-Length behind it (TE.CL)",
            post(
                "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
                &format!("{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len()),
            ),
            Accept::Refused,
        ),
        bad(
            "beside an empty Content-Length",
            "content-length:\r\ntransfer-encoding: chunked\r\n",
        ),
        bad(
            "two lines",
            "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        ),
        bad("chunked twice", "transfer-encoding: chunked, chunked\r\n"),
        bad(
            "chunked not last",
            "transfer-encoding: chunked, identity\r\n",
        ),
        bad("a comma before it", "transfer-encoding: , chunked\r\n"),
        bad("gzip alone", "transfer-encoding: gzip\r\n"),
        bad("identity", "transfer-encoding: identity\r\n"),
        bad(
            "a vertical tab before it",
            "transfer-encoding: \x0bchunked\r\n",
        ),
        bad(
            "a form feed behind it",
            "transfer-encoding: chunked\x0c\r\n",
        ),
        bad("a misspelt name", "transfer-encoding: xchunked\r\n"),
        bad("quoted", "transfer-encoding: \"chunked\"\r\n"),
        bad("a parameter", "transfer-encoding: chunked;q=1\r\n"),
        bad(
            "a space before the colon",
            "transfer-encoding : chunked\r\n",
        ),
        bad("folded", "transfer-encoding:\r\n chunked\r\n"),
        bad("a NUL in the name", "transfer-\0encoding: chunked\r\n"),
        bad("empty", "transfer-encoding:\r\n"),
        row(
            "Transfer-Encoding",
            "an underscore for the dash",
            post(
                "transfer_encoding: chunked\r\ncontent-length: 5\r\n",
                "0\r\n\r\n",
            ),
            Accept::Harmless,
        ),
        row(
            "Transfer-Encoding",
            "capitals",
            post("Transfer-Encoding: CHUNKED\r\n", "3\r\nabc\r\n0\r\n\r\n"),
            Accept::Harmless,
        ),
        row(
            "Transfer-Encoding",
            "with HTTP/1.0",
            format!(
                "POST /x HTTP/1.0\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{NEXT}"
            ),
            Accept::Refused,
        ),
        row(
            "Transfer-Encoding",
            "hidden by Connection",
            post(
                "transfer-encoding: chunked\r\nconnection: transfer-encoding\r\n",
                "3\r\nabc\r\n0\r\n\r\n",
            ),
            Accept::Harmless,
        ),
        row(
            "Transfer-Encoding",
            "Content-Length hidden by Connection",
            post(
                &format!(
                    "content-length: {}\r\nconnection: content-length\r\n",
                    SMUGGLED.len()
                ),
                SMUGGLED,
            ),
            Accept::Harmless,
        ),
    ]
}

fn chunks() -> Vec<Row> {
    let chunked = |body: &str| post("transfer-encoding: chunked\r\n", body);
    let bad = |name: &str, body: &str| row("chunks", name, chunked(body) + NEXT, Accept::Refused);
    vec![
        bad("size is no number", "xyz\r\nabc\r\n0\r\n\r\n"),
        bad("size with 0x", "0x3\r\nabc\r\n0\r\n\r\n"),
        bad("size with a minus sign", "-3\r\nabc\r\n0\r\n\r\n"),
        bad("size with a plus sign", "+3\r\nabc\r\n0\r\n\r\n"),
        bad("size with an underscore", "1_0\r\nabc\r\n0\r\n\r\n"),
        bad("size of 17 digits", "10000000000000003\r\nabc\r\n0\r\n\r\n"),
        bad("size of 16 F", "ffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
        bad("size is empty", "\r\nabc\r\n0\r\n\r\n"),
        bad("a space before the size", " 3\r\nabc\r\n0\r\n\r\n"),
        bad("bare LF behind the size", "3\nabc\r\n0\r\n\r\n"),
        bad("bare CR behind the size", "3\rabc\r\n0\r\n\r\n"),
        bad("bare LF behind the data", "3\r\nabc\n0\r\n\r\n"),
        bad("no CRLF behind the data", "3\r\nabcd0\r\n\r\n"),
        bad("data longer than its size", "3\r\nabcdef\r\n0\r\n\r\n"),
        bad("bare LF behind the last chunk", "3\r\nabc\r\n0\n\r\n"),
        bad("bare LF ends the trailers", "3\r\nabc\r\n0\r\n\n"),
        bad("LF in an extension (TERM.EXT)", "3;\nx\r\nabc\r\n0\r\n\r\n"),
        bad("CR in an extension", "3;a\rb\r\nabc\r\n0\r\n\r\n"),
        row(
            "chunks",
            "a NUL in an extension",
            chunked("3;a\0b\r\nabc\r\n0\r\n\r\n"),
            Accept::Harmless,
        ),
        row(
            "chunks",
            "extensions of 64 KiB",
            chunked(&format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(65536))),
            Accept::Refused,
        ),
        row(
            "chunks",
            "leading zeros",
            chunked("0000000000000003\r\nabc\r\n0\r\n\r\n"),
            Accept::Harmless,
        ),
        row(
            "chunks",
            "a space behind the size",
            chunked("3 \r\nabc\r\n0\r\n\r\n"),
            Accept::Harmless,
        ),
        bad(
            "a trailer without a colon",
            "3\r\nabc\r\n0\r\nbad trailer\r\n\r\n",
        ),
        row(
            "chunks",
            "framing headers as trailers",
            chunked(
                "3\r\nabc\r\n0\r\ncontent-length: 7\r\ntransfer-encoding: chunked\r\nhost: b.test\r\n\r\n",
            ),
            Accept::Harmless,
        ),
        bad("a folded trailer", "3\r\nabc\r\n0\r\nx: a\r\n b\r\n\r\n"),
    ]
}

fn hops() -> Vec<Row> {
    // What follows the upgrade goes through the same rules as any request.
    let upgrade = |name: &str, lines: &str| Row {
        forbidden: vec!["secret", "h2c", "websocket"],
        ..row(
            "hop-by-hop",
            name,
            get(lines) + "GET /secret HTTP/1.1\r\nhost: a.test\r\n\r\n",
            Accept::Harmless,
        )
    };
    vec![
        Row {
            forbidden: vec!["keep-alive, x-a"],
            ..row(
                "hop-by-hop",
                "Connection passed on",
                get("connection: keep-alive, x-a\r\nx-a: 1\r\n"),
                Accept::Harmless,
            )
        },
        Row {
            forbidden: vec!["basic"],
            ..row(
                "hop-by-hop",
                "Proxy-Connection and Keep-Alive passed on",
                get("proxy-connection: basic\r\nkeep-alive: basic\r\n"),
                Accept::Harmless,
            )
        },
        Row {
            forbidden: vec!["gzip"],
            ..row(
                "hop-by-hop",
                "TE other than trailers",
                get("te: trailers, gzip\r\n"),
                Accept::Harmless,
            )
        },
        upgrade(
            "an upgrade that nobody allowed, with a request behind it",
            "connection: upgrade\r\nupgrade: websocket\r\n",
        ),
        upgrade(
            "an upgrade to h2c",
            "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n",
        ),
        row(
            "hop-by-hop",
            "Expect with a body at once",
            post(
                &format!(
                    "expect: 100-continue\r\ncontent-length: {}\r\n",
                    SMUGGLED.len()
                ),
                SMUGGLED,
            ),
            Accept::Harmless,
        ),
        row(
            "hop-by-hop",
            "Expect of something else",
            post("expect: y 100-continue\r\ncontent-length: 3\r\n", "abc"),
            Accept::Harmless,
        ),
    ]
}

fn slow() -> Vec<Row> {
    let stalls = |name: &str, text: &str| Row {
        family: "slow",
        name: name.to_owned(),
        sent: Sent::Stalled(text.as_bytes().to_vec()),
        accept: Accept::GivenUp,
        forbidden: Vec::new(),
    };
    vec![
        stalls("nothing sent", ""),
        stalls("half a request line", "GET /x"),
        stalls("half a head", "GET /x HTTP/1.1\r\nhost: a.test\r\nx-a"),
        stalls(
            "half a body",
            "POST /x HTTP/1.1\r\nhost: a.test\r\ncontent-length: 10\r\n\r\nabc",
        ),
        stalls(
            "half a chunk",
            "POST /x HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
        ),
        stalls(
            "no last chunk",
            "POST /x HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
        ),
        Row {
            accept: Accept::Ended,
            ..stalls(
                "nothing behind a request",
                "GET /x HTTP/1.1\r\nhost: a.test\r\n\r\n",
            )
        },
    ]
}
