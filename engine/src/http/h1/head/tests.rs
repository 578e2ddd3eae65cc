mod hop;
mod responses;

use proptest::prelude::*;

use super::*;

fn request(text: &str) -> Result<RequestHead, HeadError> {
    parse_request(Bytes::copy_from_slice(text.as_bytes()), &Limits::default())
}

/// A GET over HTTP/1.1 with these further field lines.
fn with(fields: &str) -> Result<RequestHead, HeadError> {
    request(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
}

#[test]
fn a_usual_request() {
    let text = "POST /a/b?c=d HTTP/1.1\r\nHost: Example.com:8080\r\nUser-Agent: curl/8\r\nAccept:*/*\r\n\
        X-Empty:\r\nX-Tab:\t a\tb \t\r\nContent-Length: 12\r\n\r\n";
    let head = request(text).expect("well-formed");
    assert_eq!(head.request.method, Method::POST);
    assert_eq!(head.request.version, Version::HTTP_11);
    assert_eq!(head.request.path, "/a/b?c=d");
    assert_eq!(head.request.authority, "Example.com:8080");
    assert_eq!(head.request.secure, None);
    assert_eq!(head.framing, Framing::Length(12));
    assert!(head.keep_alive && !head.expect_continue && head.upgrade.is_none());
    let fields: Vec<_> = head
        .request
        .headers
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_bytes()))
        .collect();
    assert_eq!(
        fields,
        [
            ("user-agent", &b"curl/8"[..]),
            ("accept", b"*/*"),
            ("x-empty", b""),
            ("x-tab", b"a\tb"),
            ("content-length", b"12"),
        ]
    );
}

#[test]
fn values_are_slices_of_the_head() {
    let head = Bytes::from_static(b"GET /path HTTP/1.1\r\nHost: example\r\n\r\n");
    let within = head.as_ptr_range();
    let parsed = parse_request(head, &Limits::default()).expect("well-formed");
    assert!(within.contains(&parsed.request.path.as_ptr()));
    assert!(within.contains(&parsed.request.authority.as_ptr()));
}

#[test]
fn request_lines() {
    use HeadError::*;
    let cases = [
        ("one leading empty line", "\r\nGET / HTTP/1.1", Ok(())),
        ("any token is a method", "M-SEARCH / HTTP/1.1", Ok(())),
        ("lower case is another method", "get / HTTP/1.1", Ok(())),
        ("1.0", "GET / HTTP/1.0", Ok(())),
        ("0.9", "GET /", Err(RequestLine)),
        ("no target", "GET HTTP/1.1", Err(RequestLine)),
        ("two leading empty lines", "\r\n\r\nGET / HTTP/1.1", Ok(())),
        ("nothing but an empty line", "\r\n", Err(RequestLine)),
        ("empty method", " / HTTP/1.1", Err(RequestLine)),
        ("method with a colon", "GET: / HTTP/1.1", Err(Method)),
        ("method not utf-8", "G\u{e9}T / HTTP/1.1", Err(Method)),
        ("two spaces before target", "GET  / HTTP/1.1", Err(Version)),
        ("two spaces before version", "GET /  HTTP/1.1", Err(Version)),
        ("tab as separator", "GET\t/\tHTTP/1.1", Err(RequestLine)),
        ("space in target", "GET /a b HTTP/1.1", Err(Version)),
        ("trailing space", "GET / HTTP/1.1 ", Err(Version)),
        ("lower case version", "GET / http/1.1", Err(Version)),
        ("version overflow", "GET / HTTP/1.256", Err(Version)),
        ("version 1.2", "GET / HTTP/1.2", Err(VersionNotSupported)),
        ("version 2.0", "GET / HTTP/2.0", Err(VersionNotSupported)),
        ("version 0.9", "GET / HTTP/0.9", Err(VersionNotSupported)),
        ("version without minor", "GET / HTTP/1", Err(Version)),
        ("other protocol", "GET / ICY/1.1", Err(Version)),
        ("bare cr in target", "GET /\r HTTP/1.1", Err(Target)),
        ("nul in target", "GET /\0 HTTP/1.1", Err(Target)),
        ("relative target", "GET a HTTP/1.1", Err(Target)),
    ];
    for (name, line, expected) in cases {
        let found = request(&format!("{line}\r\nHost: a\r\n\r\n")).map(|_| ());
        assert_eq!(found, expected, "{name}");
    }
    let not_ascii = Limits {
        non_ascii_target: true,
        ..Limits::default()
    };
    let head = Bytes::from_static("GET /ä HTTP/1.1\r\nHost: a\r\n\r\n".as_bytes());
    assert_eq!(
        parse_request(head, &not_ascii)
            .expect("allowed")
            .request
            .path,
        "/ä"
    );
}

#[test]
fn field_lines_that_two_parsers_read_in_two_ways() {
    use HeadError::*;
    let cases = [
        ("obs-fold", "a: b\r\n c\r\n", Folded),
        ("obs-fold with a tab", "a: b\r\n\tc\r\n", Folded),
        ("space before colon", "Content-Length : 5\r\n", FieldName),
        ("tab before colon", "a\t: b\r\n", FieldName),
        ("space in name", "a b: c\r\n", FieldName),
        ("empty name", ": b\r\n", FieldName),
        ("no colon", "abc\r\n", FieldName),
        ("nul in name", "a\0: b\r\n", FieldName),
        ("quote in name", "a\": b\r\n", FieldName),
        ("not ascii in name", "\u{e4}: b\r\n", FieldName),
        ("pseudo-header", ":path: /\r\n", FieldName),
        ("nul in value", "a: b\0c\r\n", FieldValue),
        ("bare cr in value", "a: b\rc: d\r\n", FieldValue),
        ("cr before crlf", "a: b\r\r\n", FieldValue),
        ("vertical tab in value", "a: \u{b}b\r\n", FieldValue),
        ("del in value", "a: \u{7f}\r\n", FieldValue),
        (
            "bare cr in a consumed value",
            "Connection: a\rb\r\n",
            FieldValue,
        ),
        ("bare cr in the name", "a\rb: c\r\n", FieldName),
        ("bare lf", "a: b\nc: d\r\n", BareLineFeed),
        ("early end", "\r\na: b\r\n", Incomplete),
    ];
    for (name, fields, expected) in cases {
        assert_eq!(with(fields).map(|_| ()), Err(expected), "{name}");
    }
    assert!(
        with("a: \u{e4}\r\n").is_ok(),
        "bytes above 0x7F may stand in values"
    );
}

#[test]
fn first_field_line_that_starts_with_whitespace() {
    let text = "GET / HTTP/1.1\r\n Host: a\r\nHost: b\r\n\r\n";
    assert_eq!(request(text).map(|_| ()), Err(HeadError::Folded));
}

#[test]
fn hosts() {
    let cases = [
        (
            "none",
            "GET / HTTP/1.1\r\n\r\n",
            // For `canonical` to refuse: the log shall show what was asked.
            Ok(""),
        ),
        (
            "two",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            Err(HeadError::HostRepeated),
        ),
        (
            "two alike",
            "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n",
            Err(HeadError::HostRepeated),
        ),
        (
            "second one empty",
            "GET / HTTP/1.1\r\nHost: a\r\nHost:\r\n\r\n",
            Err(HeadError::HostRepeated),
        ),
        (
            "differs from the target",
            "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
            Err(HeadError::HostMismatch),
        ),
        (
            "two and a target",
            "GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            Err(HeadError::HostRepeated),
        ),
        (
            "agrees with the target",
            "GET http://a/ HTTP/1.1\r\nHost: A\r\n\r\n",
            Ok("a"),
        ),
        ("none in 1.0", "GET / HTTP/1.0\r\n\r\n", Ok("")),
        (
            "named by connection",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: host\r\n\r\n",
            Err(HeadError::Connection),
        ),
    ];
    for (name, text, expected) in cases {
        let found =
            request(text).map(|head| String::from_utf8_lossy(&head.request.authority).into_owned());
        assert_eq!(found.as_deref().map_err(|error| *error), expected, "{name}");
    }
}

#[test]
fn request_framing() {
    use HeadError::*;
    let both = LengthAndEncoding;
    let cases = [
        ("none", "", Ok(Framing::None)),
        ("length", "Content-Length: 5\r\n", Ok(Framing::Length(5))),
        ("zero", "Content-Length: 0\r\n", Ok(Framing::Length(0))),
        (
            "same length twice",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            Err(ContentLength),
        ),
        (
            "CL.CL",
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            Err(ContentLength),
        ),
        (
            "CL.CL as a list",
            "Content-Length: 5, 5\r\n",
            Err(ContentLength),
        ),
        ("empty CL", "Content-Length:\r\n", Err(ContentLength)),
        ("signed CL", "Content-Length: +5\r\n", Err(ContentLength)),
        ("negative CL", "Content-Length: -5\r\n", Err(ContentLength)),
        (
            "hexadecimal CL",
            "Content-Length: 0x5\r\n",
            Err(ContentLength),
        ),
        (
            "CL overflow",
            "Content-Length: 18446744073709551621\r\n",
            Err(ContentLength),
        ),
        (
            "CL with vertical tab",
            "Content-Length: \u{b}5\r\n",
            Err(ContentLength),
        ),
        (
            "chunked",
            "Transfer-Encoding: chunked\r\n",
            Ok(Framing::Chunked),
        ),
        (
            "chunked, any case",
            "transfer-ENCODING: cHuNkEd\r\n",
            Ok(Framing::Chunked),
        ),
        (
            "CL.TE",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            Err(both),
        ),
        (
            "TE.CL",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            Err(both),
        ),
        (
            "CL.0 with TE",
            "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
            Err(both),
        ),
        (
            "TE.TE",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            Err(TransferEncoding),
        ),
        (
            "TE.TE obfuscated",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n",
            Err(TransferEncoding),
        ),
        (
            "TE leading comma",
            "Transfer-Encoding: ,chunked\r\n",
            Err(TransferEncoding),
        ),
        (
            "TE identity last",
            "Transfer-Encoding: chunked, identity\r\n",
            Err(TransferEncoding),
        ),
        (
            "TE vertical tab",
            "Transfer-Encoding: \u{b}chunked\r\n",
            Err(FieldValue),
        ),
        (
            "TE quoted",
            "Transfer-Encoding: \"chunked\"\r\n",
            Err(TransferEncoding),
        ),
        ("TE empty", "Transfer-Encoding:\r\n", Err(TransferEncoding)),
        (
            "TE gzip",
            "Transfer-Encoding: gzip, chunked\r\n",
            Err(TransferEncodingNotSupported),
        ),
        (
            "TE with space before colon",
            "Transfer-Encoding : chunked\r\n",
            Err(FieldName),
        ),
        (
            "TE named by connection",
            "Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n",
            Err(Connection),
        ),
        (
            "CL named by connection",
            "Connection: content-length\r\nContent-Length: 5\r\n",
            Err(Connection),
        ),
        (
            "underscore is another field",
            "Content_Length: 5\r\n",
            Ok(Framing::None),
        ),
    ];
    for (name, fields, expected) in cases {
        assert_eq!(with(fields).map(|head| head.framing), expected, "{name}");
    }
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(
        request(old).map(|_| ()),
        Err(TransferEncodingNotAllowed),
        "TE in 1.0"
    );
    let connect = "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n";
    let chunked = format!("{connect}Transfer-Encoding: chunked\r\n\r\n");
    assert_eq!(
        request(&chunked).map(|_| ()),
        Err(TransferEncodingNotAllowed)
    );
    let length = format!("{connect}Content-Length: 5\r\n\r\n");
    assert_eq!(request(&length).map(|_| ()), Err(ContentLengthNotAllowed));
}

#[test]
fn limits_answer_431_and_414() {
    let many = "a: b\r\n".repeat(100);
    let error = with(&many).expect_err("101 fields");
    assert_eq!(
        (error, error.status().as_u16()),
        (HeadError::TooManyFields, 431)
    );
    assert!(with(&"a: b\r\n".repeat(99)).is_ok());
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(8 * 1024));
    let error = request(&long).expect_err("long line");
    assert_eq!(
        (error, error.status().as_u16()),
        (HeadError::RequestLineTooLong, 414)
    );
    assert_eq!(HeadError::HeadTooLarge.status(), 431);
    assert_eq!(HeadError::VersionNotSupported.status(), 505);
    assert_eq!(HeadError::TransferEncodingNotSupported.status(), 501);
}

/// Words that make up heads, so that random sequences often come close to good ones.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "GET / HTTP/1.1\r\n",
        "POST /a HTTP/1.0\r\n",
        "CONNECT a:1 HTTP/1.1\r\n",
        "GET http://a/b HTTP/1.1\r\n",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 101 x\r\n",
        "Host: a\r\n",
        "host: a:1\r\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Connection: close\r\n",
        "Connection: upgrade, x\r\n",
        "Upgrade: h2c, b\r\n",
        "Expect: 100-continue\r\n",
        "TE: trailers\r\n",
        "x: y\r\n",
        "\r\n",
        "\r",
        "\n",
        " ",
        ":",
        "a",
        "\0",
        "\u{e4}",
    ]);
    prop::collection::vec(words, 0..9).prop_map(|words| words.concat().into_bytes())
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz_heads(&bytes);
    }

    #[test]
    fn near_heads_never_panic(bytes in pieces()) {
        fuzz_heads(&bytes);
    }

    #[test]
    fn no_accepted_field_holds_a_line_end(bytes in pieces()) {
        if let Ok(head) = parse_request(Bytes::from(bytes), &Limits::default()) {
            for (_, value) in &head.request.headers {
                prop_assert!(!value.as_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
            }
        }
    }
}
