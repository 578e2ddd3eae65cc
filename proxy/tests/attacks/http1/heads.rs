//! The head: lines, names, versions, hosts, paths, sizes.

use super::super::row::{Accept, Row};
use super::{NEXT, get, row};

pub(super) fn heads() -> Vec<Row> {
    let bad = |name: &str, lines: &str| row("head", name, get(lines), Accept::Refused);
    vec![
        bad("a folded header", "x-a: 1\r\n 2\r\n"),
        row(
            "head",
            "a folded first header",
            "GET /x HTTP/1.1\r\n x: y\r\nhost: a.test\r\n\r\n",
            Accept::Refused,
        ),
        bad("a space before the colon", "x-a : 1\r\n"),
        bad("a tab before the colon", "x-a\t: 1\r\n"),
        bad("an empty name", ": 1\r\n"),
        bad("a line without a colon", "nothing\r\n"),
        bad("a NUL in a value", "x-a: 1\x002\r\n"),
        bad("a bare CR in a value", "x-a: 1\r2\r\n"),
        row(
            "head",
            "a bare LF in a value",
            get("x-a: 1\nx-smuggled: 1\r\n"),
            Accept::Refused,
        ),
        bad("a NUL in a name", "x\0a: 1\r\n"),
        bad("a space in a name", "x a: 1\r\n"),
        bad("a parenthesis in a name", "x(a): 1\r\n"),
        bad("a byte over 127 in a name", "x\u{e9}: 1\r\n"),
        bad("an escape character in a value", "x-a: 1\x1b2\r\n"),
        bad("a delete character in a value", "x-a: 1\x7f2\r\n"),
        row(
            "head",
            "bare LF for every line",
            "GET /x HTTP/1.1\nhost: a.test\n\n",
            Accept::Refused,
        ),
        row(
            "head",
            "bare LF behind the request line",
            "GET /x HTTP/1.1\nhost: a.test\r\n\r\n",
            Accept::Refused,
        ),
        row(
            "head",
            "CR CR LF",
            "GET /x HTTP/1.1\r\r\nhost: a.test\r\n\r\n",
            Accept::Refused,
        ),
        row(
            "head",
            "a space before the method",
            " GET /x HTTP/1.1\r\nhost: a.test\r\n\r\n",
            Accept::Refused,
        ),
        row(
            "head",
            "a space behind the version",
            "GET /x HTTP/1.1 \r\nhost: a.test\r\n\r\n",
            Accept::Refused,
        ),
        row(
            "head",
            "two spaces before the target",
            "GET  /x HTTP/1.1\r\nhost: a.test\r\n\r\n",
            Accept::Refused,
        ),
        row(
            "head",
            "a tab before the target",
            "GET\t/x HTTP/1.1\r\nhost: a.test\r\n\r\n",
            Accept::Refused,
        ),
        row(
            "head",
            "a space in the target",
            "GET /x y HTTP/1.1\r\nhost: a.test\r\n\r\n",
            Accept::Refused,
        ),
        row(
            "head",
            "a NUL in the target",
            "GET /x\0y HTTP/1.1\r\nhost: a.test\r\n\r\n",
            Accept::Refused,
        ),
        row(
            "head",
            "a method that is no token",
            "G(T /x HTTP/1.1\r\nhost: a.test\r\n\r\n",
            Accept::Refused,
        ),
        row(
            "head",
            "a method of bytes over 127",
            b"G\xc3\xa9T /x HTTP/1.1\r\nhost: a.test\r\n\r\n",
            Accept::Refused,
        ),
        row(
            "head",
            "a method that is not UTF-8",
            b"G\xff /x HTTP/1.1\r\nhost: a.test\r\n\r\n",
            Accept::Refused,
        ),
        row(
            "head",
            "no target",
            "GET HTTP/1.1\r\nhost: a.test\r\n\r\n",
            Accept::Refused,
        ),
        row(
            "head",
            "nothing but noise",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".as_slice(),
            Accept::Refused,
        ),
        row(
            "head",
            "the preface of HTTP/2",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(),
            Accept::Refused,
        ),
        row(
            "head",
            "a PROXY line",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET /x HTTP/1.1\r\nhost: a.test\r\n\r\n",
            Accept::Refused,
        ),
        Row {
            forbidden: vec!["x_under"],
            ..row(
                "head",
                "an underscore in a name",
                get("x_under: 1\r\n"),
                Accept::Harmless,
            )
        },
    ]
}

pub(super) fn versions() -> Vec<Row> {
    let bad = |name: &str, line: &str| {
        row(
            "version",
            name,
            format!("{line}\r\nhost: a.test\r\n\r\n"),
            Accept::Refused,
        )
    };
    vec![
        bad("HTTP/0.9", "GET /x"),
        bad("HTTP/1.256", "GET /x HTTP/1.256"),
        bad("HTTP/1.01", "GET /x HTTP/1.01"),
        bad("HTTP/2.0", "GET /x HTTP/2.0"),
        bad("HTTP/9.9", "GET /x HTTP/9.9"),
        bad("http/1.1 in small letters", "GET /x http/1.1"),
        bad("HTTPS/1.1", "GET /x HTTPS/1.1"),
        bad("HTTP/1,1", "GET /x HTTP/1,1"),
        bad("HTTP/-1.1", "GET /x HTTP/-1.1"),
        bad("HTTP/1", "GET /x HTTP/1"),
    ]
}

pub(super) fn hosts() -> Vec<Row> {
    let line = |lines: &str| format!("GET /x HTTP/1.1\r\n{lines}\r\n");
    let bad = |name: &str, lines: &str| row("host", name, line(lines), Accept::Refused);
    vec![
        bad("none", ""),
        bad("two that differ", "host: a.test\r\nhost: b.test\r\n"),
        bad("two that agree", "host: a.test\r\nhost: a.test\r\n"),
        bad("two, one in capitals", "host: a.test\r\nHOST: b.test\r\n"),
        bad("a comma", "host: a.test,b.test\r\n"),
        bad("a user name", "host: user@a.test\r\n"),
        bad("a path", "host: a.test/x\r\n"),
        bad("a question mark", "host: a.test?x\r\n"),
        bad("a fragment", "host: a.test#x\r\n"),
        bad("a space", "host: a test\r\n"),
        bad("a backslash", "host: a\\test\r\n"),
        bad("a port over 65535", "host: a.test:65536\r\n"),
        bad("a port of letters", "host: a.test:abc\r\n"),
        bad("a bracket that stays open", "host: [::1\r\n"),
        row(
            "host",
            "an absolute target of another host",
            "GET http://b.test/x HTTP/1.1\r\nhost: a.test\r\n\r\n",
            Accept::Harmless,
        ),
        row(
            "host",
            "an absolute target with a user name",
            "GET http://user@b.test/x HTTP/1.1\r\nhost: b.test\r\n\r\n",
            Accept::Refused,
        ),
        row(
            "host",
            "an absolute target without a host",
            "GET http:///x HTTP/1.1\r\nhost: a.test\r\n\r\n",
            Accept::Refused,
        ),
        row(
            "host",
            "CONNECT to a path",
            "CONNECT /x HTTP/1.1\r\nhost: a.test\r\n\r\n",
            Accept::Refused,
        ),
        row(
            "host",
            "CONNECT with early data",
            format!("CONNECT a.test:80 HTTP/1.1\r\nhost: a.test:80\r\n\r\n{NEXT}"),
            Accept::Refused,
        ),
    ]
}

/// Every spelling of a path that is refused; an upstream that decodes it once must not be asked for it.
pub(super) fn paths() -> Vec<Row> {
    let hidden = |name: &str, target: &str| Row {
        forbidden: vec!["secret"],
        ..row(
            "path",
            name,
            format!("GET {target} HTTP/1.1\r\nhost: a.test\r\n\r\n"),
            Accept::Harmless,
        )
    };
    vec![
        hidden("as it is", "/secret/x"),
        hidden("dot segments", "/public/../secret/x"),
        hidden("encoded dot segments", "/public/%2e%2e/secret/x"),
        hidden("half encoded dot segments", "/public/.%2E/secret/x"),
        hidden("two slashes", "//secret/x"),
        hidden("a dot", "/./secret/x"),
        hidden("an encoded letter", "/%73ecret/x"),
        hidden("an encoded slash", "/public%2f..%2fsecret/x"),
        hidden("a backslash", "/public\\..\\secret/x"),
        hidden("an encoded backslash", "/public%5c..%5csecret/x"),
        hidden("a fragment", "/secret#/../x"),
        hidden("a parameter", "/secret;a=b/x"),
        hidden("an absolute target", "http://a.test/secret/x"),
        hidden(
            "an absolute target with dots",
            "http://a.test/public/../secret/x",
        ),
        row(
            "path",
            "no slash before it",
            "GET x HTTP/1.1\r\nhost: a.test\r\n\r\n",
            Accept::Refused,
        ),
        row(
            "path",
            "an asterisk for GET",
            "GET * HTTP/1.1\r\nhost: a.test\r\n\r\n",
            Accept::Refused,
        ),
        row(
            "path",
            "an encoded NUL",
            "GET /x%00y HTTP/1.1\r\nhost: a.test\r\n\r\n",
            Accept::Refused,
        ),
        row(
            "path",
            "above the root",
            "GET /../../x HTTP/1.1\r\nhost: a.test\r\n\r\n",
            Accept::Harmless,
        ),
        row(
            "path",
            "half an escape",
            "GET /x%2 HTTP/1.1\r\nhost: a.test\r\n\r\n",
            Accept::Harmless,
        ),
    ]
}

pub(super) fn sizes() -> Vec<Row> {
    let bad = |name: &str, text: String| row("size", name, text, Accept::Refused);
    vec![
        bad(
            "a target of 64 KiB",
            format!(
                "GET /{} HTTP/1.1\r\nhost: a.test\r\n\r\n",
                "x".repeat(65536)
            ),
        ),
        bad(
            "a header of 64 KiB",
            get(&format!("x-a: {}\r\n", "x".repeat(65536))),
        ),
        bad(
            "a name of 64 KiB",
            get(&format!("{}: 1\r\n", "x".repeat(65536))),
        ),
        bad(
            "a head of 128 KiB in many lines",
            get(&format!("x-a: {}\r\n", "x".repeat(1000)).repeat(128)),
        ),
        bad("200 headers", get(&"x-a: 1\r\n".repeat(200))),
        bad("10,000 headers", get(&"a: b\r\n".repeat(10_000))),
        bad(
            "a method of 64 KiB",
            format!("{} /x HTTP/1.1\r\nhost: a.test\r\n\r\n", "G".repeat(65536)),
        ),
        bad("a megabyte without a line end", "x".repeat(1 << 20)),
    ]
}
