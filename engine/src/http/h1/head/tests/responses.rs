//! Response heads.

use super::*;

fn response(text: &str, method: &Method) -> Result<ResponseHead, HeadError> {
    parse_response(
        Bytes::copy_from_slice(text.as_bytes()),
        method,
        &Limits::default(),
    )
}

#[test]
fn status_lines() {
    let cases = [
        ("plain", "HTTP/1.1 200 OK", Ok(200)),
        ("1.0", "HTTP/1.0 404 Not Found", Ok(404)),
        ("empty reason", "HTTP/1.1 200 ", Ok(200)),
        ("no space before an empty reason", "HTTP/1.1 200", Ok(200)),
        ("reason with high bytes", "HTTP/1.1 200 \u{e4}", Ok(200)),
        ("unassigned", "HTTP/1.1 799 x", Ok(799)),
        ("below 100", "HTTP/1.1 099 x", Err(HeadError::StatusLine)),
        ("two digits", "HTTP/1.1 20 OK", Err(HeadError::StatusLine)),
        (
            "four digits",
            "HTTP/1.1 2000 OK",
            Err(HeadError::StatusLine),
        ),
        ("two spaces", "HTTP/1.1  200 OK", Err(HeadError::StatusLine)),
        ("not digits", "HTTP/1.1 2x0 OK", Err(HeadError::StatusLine)),
        (
            "nul in reason",
            "HTTP/1.1 200 \0",
            Err(HeadError::StatusLine),
        ),
        (
            "cr in reason",
            "HTTP/1.1 200 \rX",
            Err(HeadError::StatusLine),
        ),
        ("other protocol", "ICY 200 OK", Err(HeadError::Version)),
        (
            "version 2",
            "HTTP/2.0 200 OK",
            Err(HeadError::VersionNotSupported),
        ),
        ("short", "HTTP", Err(HeadError::StatusLine)),
        (
            "leading empty line",
            "\r\nHTTP/1.1 200 OK",
            Err(HeadError::StatusLine),
        ),
    ];
    for (name, line, expected) in cases {
        let found = response(&format!("{line}\r\n\r\n"), &Method::GET);
        assert_eq!(
            found.map(|head| head.response.status.as_u16()),
            expected,
            "{name}"
        );
    }
}

#[test]
fn responses_with_doubtful_framing_close() {
    let cases = [
        (
            "length",
            "Content-Length: 5\r\n",
            Ok((Framing::Length(5), true, 1)),
        ),
        (
            "both",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            Ok((Framing::Chunked, false, 0)),
        ),
        (
            "both, other order",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            Ok((Framing::Chunked, false, 0)),
        ),
        (
            "two lengths",
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            Err(HeadError::ContentLength),
        ),
        (
            "two lengths alike",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            Err(HeadError::ContentLength),
        ),
        ("until close", "", Ok((Framing::UntilClose, false, 0))),
        (
            "close",
            "Connection: close\r\nContent-Length: 5\r\n",
            Ok((Framing::Length(5), false, 1)),
        ),
        (
            "protected nomination is ignored",
            "Connection: set-cookie\r\nSet-Cookie: a\r\nContent-Length: 0\r\n",
            Ok((Framing::Length(0), true, 2)),
        ),
        (
            "nomination is the host's own affair",
            "Connection: x\r\nX: a\r\nContent-Length: 0\r\n",
            Ok((Framing::Length(0), true, 2)),
        ),
        ("folded", "a: b\r\n c\r\n", Err(HeadError::Folded)),
    ];
    for (name, fields, expected) in cases {
        let found = response(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), &Method::GET)
            .map(|head| (head.framing, head.keep_alive, head.response.headers.len()));
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn upgrade_of_a_response_counts_with_101_only() {
    let fields = "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let switched =
        response(&format!("HTTP/1.1 101 Switching\r\n{fields}"), &Method::GET).expect("101");
    assert_eq!(switched.upgrade.as_deref(), Some(&b"websocket"[..]));
    assert_eq!(switched.framing, Framing::None);
    let ok = response(&format!("HTTP/1.1 200 OK\r\n{fields}"), &Method::GET).expect("200");
    assert_eq!(ok.upgrade, None);
}
