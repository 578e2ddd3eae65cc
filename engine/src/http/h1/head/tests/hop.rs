//! What the fields of one hop say, and that they stay there.

use http::header;

use super::*;

/// Names of the fields that stay, or why the head was refused.
type Names = Result<&'static [&'static str], HeadError>;

fn names(head: &RequestHead) -> Vec<&str> {
    head.request
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect()
}

#[test]
fn one_content_length_stays_and_transfer_encoding_goes() {
    let head = with("Content-Length: 05\r\na: b\r\n").expect("one value");
    assert_eq!(names(&head), ["content-length", "a"]);
    assert_eq!(
        names(&with("Transfer-Encoding: chunked\r\n").expect("chunked")),
        [""; 0]
    );
}

#[test]
fn hop_by_hop_fields_stay_on_their_hop() {
    let cases: &[(&str, &str, Names)] = &[
        (
            "plain",
            "Connection: keep-alive\r\nKeep-Alive: timeout=5\r\na: b\r\n",
            Ok(&["a"]),
        ),
        (
            "proxy-connection",
            "Proxy-Connection: keep-alive\r\na: b\r\n",
            Ok(&["a"]),
        ),
        (
            "nominated",
            "X-User: 1\r\nConnection: close, X-User\r\na: b\r\n",
            Ok(&["a"]),
        ),
        (
            "nominated after",
            "Connection: x-user\r\nX-User: 1\r\nx-USER: 2\r\n",
            Ok(&[]),
        ),
        (
            "authorization",
            "Connection: x-user, authorization\r\n",
            Err(HeadError::Connection),
        ),
        (
            "cookie",
            "Connection: Cookie\r\n",
            Err(HeadError::Connection),
        ),
        (
            "x-forwarded-for",
            "Connection: X-Forwarded-For\r\n",
            Err(HeadError::Connection),
        ),
        (
            "x-envoy",
            "Connection: x-envoy-internal\r\n",
            Err(HeadError::Connection),
        ),
        (
            "pseudo-header",
            "Connection: :path\r\n",
            Err(HeadError::Connection),
        ),
        (
            "no token",
            "Connection: a b\r\n",
            Err(HeadError::Connection),
        ),
        ("empty elements", "Connection: , close,,\r\n", Ok(&[])),
        (
            "too many",
            "Connection: a,b,c,d,e,f,g,h,i,j,k\r\n",
            Err(HeadError::Connection),
        ),
        ("te", "TE: gzip, trailers;q=1\r\n", Ok(&["te"])),
        ("te twice", "TE: trailers\r\nTE: trailers\r\n", Ok(&["te"])),
        ("te without trailers", "TE: gzip, trailersx\r\n", Ok(&[])),
        ("trailer stays", "Trailer: x-sum\r\n", Ok(&["trailer"])),
        (
            "proxy-authorization stays",
            "Proxy-Authorization: x\r\n",
            Ok(&["proxy-authorization"]),
        ),
    ];
    for (name, fields, expected) in cases {
        let found = with(fields);
        assert_eq!(
            found.as_ref().map(names).map_err(|error| *error),
            expected.map(<[_]>::to_vec),
            "{name}"
        );
    }
    let te = with("TE: gzip, trailers\r\n").expect("te");
    assert_eq!(te.request.headers.text(&header::TE), Some("trailers"));
}

#[test]
fn keep_alive_follows_version_and_connection() {
    let cases = [
        ("HTTP/1.1", "", true),
        ("HTTP/1.1", "Connection: close\r\n", false),
        ("HTTP/1.1", "Connection: Keep-Alive, CLOSE\r\n", false),
        (
            "HTTP/1.1",
            "Connection: keep-alive\r\nConnection: close\r\n",
            false,
        ),
        ("HTTP/1.0", "", false),
        ("HTTP/1.0", "Connection: keep-alive\r\n", true),
    ];
    for (version, fields, expected) in cases {
        let head =
            request(&format!("GET / {version}\r\nHost: a\r\n{fields}\r\n")).expect("well-formed");
        assert_eq!(head.keep_alive, expected, "{version} {fields}");
    }
}

#[test]
fn upgrades() {
    let cases = [
        (
            "websocket",
            "Connection: Upgrade\r\nUpgrade: websocket\r\n",
            Ok(Some("websocket")),
        ),
        (
            "listed with others",
            "Connection: keep-alive, upgrade\r\nUpgrade: websocket\r\n",
            Ok(Some("websocket")),
        ),
        ("not announced", "Upgrade: websocket\r\n", Ok(None)),
        ("nothing to upgrade to", "Connection: upgrade\r\n", Ok(None)),
        (
            "h2c",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n",
            Ok(None),
        ),
        (
            "h2c in a list",
            "Connection: upgrade\r\nUpgrade: H2C, websocket\r\n",
            Ok(Some("websocket")),
        ),
        (
            "two fields",
            "Connection: upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n",
            Err(HeadError::Upgrade),
        ),
    ];
    for (name, fields, expected) in cases {
        let found = with(fields).map(|head| {
            assert_eq!(names(&head), [""; 0], "{name}");
            head.upgrade
                .map(|value| String::from_utf8_lossy(&value).into_owned())
        });
        assert_eq!(
            found,
            expected.map(|value| value.map(str::to_owned)),
            "{name}"
        );
    }
    let old = request("GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(old.expect("well-formed").upgrade, None, "HTTP/1.0");
}

#[test]
fn expectations() {
    let body = "Content-Length: 5\r\n";
    let cases = [
        (
            "with a body",
            format!("Expect: 100-Continue\r\n{body}"),
            Ok(true),
        ),
        (
            "chunked",
            "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n".to_owned(),
            Ok(true),
        ),
        (
            "without a body",
            "Expect: 100-continue\r\n".to_owned(),
            Ok(false),
        ),
        (
            "obfuscated",
            format!("Expect: y 100-continue\r\n{body}"),
            Ok(false),
        ),
        ("unknown", format!("Expect: 200-ok\r\n{body}"), Ok(false)),
    ];
    for (name, fields, expected) in cases {
        let found = with(&fields).map(|head| {
            // What we do not understand is for the host to refuse.
            let kept = matches!(name, "obfuscated" | "unknown");
            assert_eq!(
                head.request.headers.contains(&header::EXPECT),
                kept,
                "{name}"
            );
            head.expect_continue
        });
        assert_eq!(found, expected, "{name}");
    }
    let limits = Limits {
        forward_expect: true,
        ..Limits::default()
    };
    let passed = format!("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n{body}\r\n");
    let passed = parse_request(passed.into(), &limits).expect("well-formed");
    assert!(!passed.expect_continue, "the host answers it");
    assert!(passed.request.headers.contains(&header::EXPECT));
    let old = format!("POST / HTTP/1.0\r\nExpect: 100-continue\r\n{body}\r\n");
    assert!(
        !request(&old).expect("well-formed").expect_continue,
        "HTTP/1.0"
    );
}
