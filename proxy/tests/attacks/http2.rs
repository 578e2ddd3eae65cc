//! What is sent over HTTP/2 as well-formed frames: fields and bodies that HTTP does not allow (RFC 9113 section 8).

use super::row::{Accept, Row, Sent};
use crate::support::http2::{data, headers};

pub fn rows() -> Vec<Row> {
    [
        controls(),
        fields(),
        pseudo(),
        hops(),
        lengths(),
        hosts(),
        paths(),
        trailers(),
    ]
    .concat()
}

type Field = (&'static str, &'static str);

const METHOD: Field = (":method", "GET");
const SCHEME: Field = (":scheme", "http");
const AUTHORITY: Field = (":authority", "a.test");
const PATH: Field = (":path", "/x");

fn sends(family: &'static str, name: &str, bytes: Vec<u8>, accept: Accept) -> Row {
    Row {
        family,
        name: name.to_owned(),
        sent: Sent::Frames {
            settings: Vec::new(),
            bytes,
            stream: 1,
        },
        accept,
        forbidden: Vec::new(),
    }
}

/// One request of these fields and nothing behind them.
fn only(family: &'static str, name: &str, fields: &[Field], accept: Accept) -> Row {
    sends(family, name, headers(1, true, fields), accept)
}

/// A GET with these fields behind the usual ones.
fn with(family: &'static str, name: &str, more: &[Field], accept: Accept) -> Row {
    only(
        family,
        name,
        &[&[METHOD, SCHEME, AUTHORITY, PATH], more].concat(),
        accept,
    )
}

/// A POST with these fields and this body.
fn posts(family: &'static str, name: &str, more: &[Field], body: &[&[u8]], accept: Accept) -> Row {
    let mut bytes = headers(
        1,
        false,
        &[&[(":method", "POST"), SCHEME, AUTHORITY, PATH], more].concat(),
    );
    for (number, part) in body.iter().enumerate() {
        bytes.extend(data(1, number + 1 == body.len(), part));
    }
    sends(family, name, bytes, accept)
}

fn controls() -> Vec<Row> {
    vec![
        with("control", "a plain GET", &[], Accept::Served),
        posts(
            "control",
            "a POST with its length",
            &[("content-length", "3")],
            &[b"abc"],
            Accept::Served,
        ),
        posts(
            "control",
            "a POST without a length",
            &[],
            &[b"abc", b"def"],
            Accept::Served,
        ),
        with(
            "control",
            "te: trailers",
            &[("te", "trailers")],
            Accept::Served,
        ),
    ]
}

fn fields() -> Vec<Row> {
    let bad = |name: &str, field: Field| with("fields", name, &[field], Accept::Refused);
    vec![
        bad("a name in capitals", ("X-Upper", "1")),
        bad("an empty name", ("", "1")),
        bad("a space in a name", ("x a", "1")),
        bad("a colon in a name", ("x:a", "1")),
        bad("CR LF in a name", ("x\r\nsmuggled", "1")),
        bad("a NUL in a name", ("x\0a", "1")),
        bad("a byte over 127 in a name", ("x\u{e9}", "1")),
        bad("CR LF in a value", ("x-a", "1\r\nx-smuggled: 1")),
        bad(
            "a request in a value",
            (
                "x-a",
                "1\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a.test\r\n\r\n",
            ),
        ),
        bad("a bare LF in a value", ("x-a", "1\n2")),
        bad("a bare CR in a value", ("x-a", "1\r2")),
        bad("a NUL in a value", ("x-a", "1\x002")),
        with(
            "fields",
            "a space before a value",
            &[("x-a", " 1")],
            Accept::Harmless,
        ),
        with(
            "fields",
            "a tab behind a value",
            &[("x-a", "1\t")],
            Accept::Harmless,
        ),
        Row {
            forbidden: vec!["x_under"],
            ..with(
                "fields",
                "an underscore in a name",
                &[("x_under", "1")],
                Accept::Harmless,
            )
        },
        with(
            "fields",
            "a NUL in a cookie",
            &[("cookie", "a=\0")],
            Accept::Refused,
        ),
        with(
            "fields",
            "cookies in crumbs",
            &[("cookie", "a=1"), ("cookie", "b=2")],
            Accept::Served,
        ),
    ]
}

fn pseudo() -> Vec<Row> {
    let bad = |name: &str, fields: &[Field]| only("pseudo-headers", name, fields, Accept::Refused);
    let method = |name: &str, method: &'static str| {
        bad(name, &[(":method", method), SCHEME, AUTHORITY, PATH])
    };
    vec![
        bad("no :method", &[SCHEME, AUTHORITY, PATH]),
        bad("no :scheme", &[METHOD, AUTHORITY, PATH]),
        bad("no :path", &[METHOD, SCHEME, AUTHORITY]),
        bad(
            "two :method",
            &[METHOD, (":method", "POST"), SCHEME, AUTHORITY, PATH],
        ),
        bad(
            "two :path",
            &[METHOD, SCHEME, AUTHORITY, PATH, (":path", "/y")],
        ),
        bad(
            "two :authority",
            &[METHOD, SCHEME, AUTHORITY, (":authority", "b.test"), PATH],
        ),
        bad("two :scheme", &[METHOD, SCHEME, SCHEME, AUTHORITY, PATH]),
        bad(
            "behind a header",
            &[METHOD, SCHEME, AUTHORITY, ("x-a", "1"), PATH],
        ),
        bad(
            "unknown",
            &[METHOD, SCHEME, AUTHORITY, PATH, (":unknown", "1")],
        ),
        bad(
            "an empty name",
            &[METHOD, SCHEME, AUTHORITY, PATH, (":", "1")],
        ),
        bad(
            ":status in a request",
            &[METHOD, SCHEME, AUTHORITY, PATH, (":status", "200")],
        ),
        bad(
            ":protocol without CONNECT",
            &[METHOD, SCHEME, AUTHORITY, PATH, (":protocol", "websocket")],
        ),
        bad(
            "extended CONNECT that nobody allowed",
            &[
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                SCHEME,
                AUTHORITY,
                PATH,
            ],
        ),
        bad(
            "CONNECT with :path",
            &[(":method", "CONNECT"), AUTHORITY, PATH],
        ),
        bad("CONNECT without :authority", &[(":method", "CONNECT")]),
        method("a space in :method", "GET /smuggled HTTP/1.1"),
        method("CR LF in :method", "GET /smuggled HTTP/1.1\r\nx: y\r\n\r\n"),
        method("an empty :method", ""),
        method("a :method that is no token", "G(T"),
        bad(
            "CR LF in :scheme",
            &[METHOD, (":scheme", "http\r\nx: y"), AUTHORITY, PATH],
        ),
        bad(
            "an invalid :scheme",
            &[METHOD, (":scheme", "1http://x"), AUTHORITY, PATH],
        ),
        only(
            "pseudo-headers",
            "an unknown :scheme",
            &[METHOD, (":scheme", "gopher"), AUTHORITY, PATH],
            Accept::Harmless,
        ),
    ]
}

fn hops() -> Vec<Row> {
    let bad = |name: &str, field: Field| with("hop-by-hop", name, &[field], Accept::Refused);
    vec![
        bad("connection", ("connection", "close")),
        bad("keep-alive", ("keep-alive", "5")),
        bad("proxy-connection", ("proxy-connection", "close")),
        bad("upgrade", ("upgrade", "websocket")),
        bad("transfer-encoding", ("transfer-encoding", "chunked")),
        bad("te other than trailers", ("te", "gzip")),
        posts(
            "hop-by-hop",
            "transfer-encoding and a body (H2.TE)",
            &[("transfer-encoding", "chunked")],
            &[b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a.test\r\n\r\n"],
            Accept::Refused,
        ),
        posts(
            "hop-by-hop",
            "transfer-encoding in capitals and a body",
            &[("Transfer-Encoding", "chunked")],
            &[b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a.test\r\n\r\n"],
            Accept::Refused,
        ),
        posts(
            "hop-by-hop",
            "expect and a body",
            &[("expect", "100-continue"), ("content-length", "3")],
            &[b"abc"],
            Accept::Harmless,
        ),
    ]
}

fn lengths() -> Vec<Row> {
    let bad = |name: &str, length: &'static str, body: &[&[u8]]| {
        posts(
            "Content-Length",
            name,
            &[("content-length", length)],
            body,
            Accept::Refused,
        )
    };
    vec![
        posts(
            "Content-Length",
            "less than the body (H2.CL)",
            &[("content-length", "0")],
            &[b"GET /smuggled HTTP/1.1\r\nhost: a.test\r\n\r\n"],
            Accept::Harmless,
        ),
        Row {
            forbidden: vec!["def"],
            ..posts(
                "Content-Length",
                "less than two frames",
                &[("content-length", "3")],
                &[b"abc", b"def"],
                Accept::Harmless,
            )
        },
        bad("more than the body", "10", &[b"abc"]),
        with(
            "Content-Length",
            "more than no body",
            &[("content-length", "3")],
            Accept::Refused,
        ),
        bad("empty", "", &[b"abc"]),
        bad("a plus sign", "+3", &[b"abc"]),
        bad("hexadecimal", "0x3", &[b"abc"]),
        bad("more than 64 bits", "18446744073709551619", &[b"abc"]),
        bad("a list that differs", "3, 4", &[b"abc"]),
        posts(
            "Content-Length",
            "two that differ",
            &[("content-length", "3"), ("content-length", "4")],
            &[b"abc"],
            Accept::Refused,
        ),
        posts(
            "Content-Length",
            "two that agree",
            &[("content-length", "3"), ("content-length", "3")],
            &[b"abc"],
            Accept::Harmless,
        ),
    ]
}

fn hosts() -> Vec<Row> {
    let bad = |name: &str, authority: &'static str| {
        only(
            "host",
            name,
            &[METHOD, SCHEME, (":authority", authority), PATH],
            Accept::Refused,
        )
    };
    vec![
        only(
            "host",
            "neither :authority nor Host",
            &[METHOD, SCHEME, PATH],
            Accept::Refused,
        ),
        only(
            "host",
            "Host instead of :authority",
            &[METHOD, SCHEME, PATH, ("host", "a.test")],
            Accept::Harmless,
        ),
        Row {
            forbidden: vec!["b.test"],
            ..with(
                "host",
                "a Host that differs",
                &[("host", "b.test")],
                Accept::Harmless,
            )
        },
        only(
            "host",
            "two Host",
            &[METHOD, SCHEME, PATH, ("host", "a.test"), ("host", "b.test")],
            Accept::Refused,
        ),
        bad("CR LF in :authority", "a.test\r\nx: y"),
        bad("a space in :authority", "a test"),
        bad("a comma in :authority", "a.test,b.test"),
        bad("a user name in :authority", "user@a.test"),
        bad("a path in :authority", "a.test/x"),
        bad("a port over 65535", "a.test:65536"),
        bad("an empty :authority", ""),
    ]
}

fn paths() -> Vec<Row> {
    let bad = |name: &str, path: &'static str| {
        only(
            "path",
            name,
            &[METHOD, SCHEME, AUTHORITY, (":path", path)],
            Accept::Refused,
        )
    };
    let hidden = |name: &str, path: &'static str| Row {
        forbidden: vec!["secret"],
        ..only(
            "path",
            name,
            &[METHOD, SCHEME, AUTHORITY, (":path", path)],
            Accept::Harmless,
        )
    };
    vec![
        bad("empty", ""),
        bad("no slash before it", "x"),
        bad("a space", "/x y"),
        bad(
            "a request behind it",
            "/x HTTP/1.1\r\nhost: a.test\r\n\r\nGET /smuggled",
        ),
        bad("CR LF", "/x\r\nsmuggled: 1"),
        bad("a NUL", "/x\0y"),
        bad("a tab", "/x\ty"),
        bad("an asterisk for GET", "*"),
        hidden("hidden: as it is", "/secret/x"),
        hidden("hidden: dot segments", "/public/../secret/x"),
        hidden("hidden: encoded dot segments", "/public/%2e%2e/secret/x"),
        hidden("hidden: two slashes", "//secret/x"),
        hidden("hidden: an encoded letter", "/%73ecret/x"),
        hidden("hidden: an encoded slash", "/public%2f..%2fsecret/x"),
        hidden("hidden: a backslash", "/public\\..\\secret/x"),
        hidden("hidden: a fragment", "/secret#/../x"),
        hidden("hidden: a full address", "http://a.test/secret/x"),
    ]
}

fn trailers() -> Vec<Row> {
    let ends = |name: &str, fields: &[Field], accept: Accept| {
        let mut bytes = headers(1, false, &[(":method", "POST"), SCHEME, AUTHORITY, PATH]);
        bytes.extend(data(1, false, b"abc"));
        bytes.extend(headers(1, true, fields));
        sends("trailers", name, bytes, accept)
    };
    vec![
        ends("plain", &[("x-a", "1")], Accept::Harmless),
        ends("a pseudo-header", &[(":path", "/y")], Accept::Refused),
        ends("CR LF in a value", &[("x-a", "1\r\nx: y")], Accept::Refused),
        ends("a name in capitals", &[("X-A", "1")], Accept::Refused),
        ends("connection", &[("connection", "close")], Accept::Refused),
        ends(
            "content-length",
            &[("content-length", "0")],
            Accept::Harmless,
        ),
    ]
}
