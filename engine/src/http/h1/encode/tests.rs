use http::header::HeaderName;
use proptest::prelude::*;

use super::*;

fn headers(fields: &[(&'static str, &'static str)]) -> Headers {
    fields
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        })
        .collect()
}

fn written(request: &Request, framing: Framing, connection: Connection<'_>) -> String {
    let mut out = Vec::new();
    encode_request(request, framing, connection, &mut out).expect("encodes");
    String::from_utf8(out).expect("text")
}

fn answer(
    response: &Response,
    asked: Asked<'_>,
    framing: Framing,
    connection: Connection<'_>,
) -> (String, Written) {
    let mut out = Vec::new();
    let written =
        encode_response(response, asked, framing, connection, None, &mut out).expect("encodes");
    (String::from_utf8(out).expect("text"), written)
}

const GET: Asked<'_> = Asked {
    method: &Method::GET,
    version: Version::HTTP_11,
};
const OLD: Asked<'_> = Asked {
    method: &Method::GET,
    version: Version::HTTP_10,
};
const HEAD: Asked<'_> = Asked {
    method: &Method::HEAD,
    version: Version::HTTP_11,
};

#[test]
fn host_first_then_fields_then_one_framing_field() {
    let mut request = Request::get("a:1", "/b?c");
    request.headers = headers(&[("accept", "*/*"), ("content-length", "99"), ("x-a", "1")]);
    assert_eq!(
        written(&request, Framing::Chunked, Connection::KeepAlive),
        "GET /b?c HTTP/1.1\r\nhost: a:1\r\naccept: */*\r\nx-a: 1\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    assert_eq!(
        written(&request, Framing::Length(3), Connection::Close),
        "GET /b?c HTTP/1.1\r\nhost: a:1\r\naccept: */*\r\nx-a: 1\r\ncontent-length: 3\r\nconnection: close\r\n\r\n"
    );
}

#[test]
fn connection_fields_of_another_hop_are_left_out() {
    let mut request = Request::get("a", "/");
    request.headers = headers(&[
        ("connection", "keep-alive"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("transfer-encoding", "gzip"),
        ("upgrade", "h2c"),
        ("host", "b"),
        ("te", "gzip"),
    ]);
    assert_eq!(
        written(&request, Framing::None, Connection::KeepAlive),
        "GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\n\r\n"
    );
    assert_eq!(
        written(&request, Framing::None, Connection::Upgrade(b"websocket")),
        "GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"
    );
}

#[test]
fn special_targets() {
    let mut request = Request::get("a:1", "");
    request.method = Method::CONNECT;
    assert_eq!(
        written(&request, Framing::None, Connection::KeepAlive),
        "CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n"
    );
    let mut request = Request::get("a", "*");
    request.method = Method::OPTIONS;
    assert_eq!(
        written(&request, Framing::None, Connection::KeepAlive),
        "OPTIONS * HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"
    );
    let mut request = Request::get("a", "/");
    request.method = Method::POST;
    assert_eq!(
        written(&request, Framing::None, Connection::KeepAlive),
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"
    );
}

#[test]
fn nothing_that_came_from_http2_can_end_a_line() {
    let cases: &[(&str, &str, &str, Method, Connection<'_>, EncodeError)] = &[
        (
            "space in path",
            "a",
            "/ HTTP/1.1",
            Method::GET,
            Connection::KeepAlive,
            EncodeError::Target,
        ),
        (
            "crlf in path",
            "a",
            "/\r\nx: y",
            Method::GET,
            Connection::KeepAlive,
            EncodeError::Target,
        ),
        (
            "tab in path",
            "a",
            "/\t",
            Method::GET,
            Connection::KeepAlive,
            EncodeError::Target,
        ),
        (
            "empty path",
            "a",
            "",
            Method::GET,
            Connection::KeepAlive,
            EncodeError::Target,
        ),
        (
            "crlf in authority",
            "a\r\nx: y",
            "/",
            Method::GET,
            Connection::KeepAlive,
            EncodeError::Authority,
        ),
        (
            "space in authority",
            "a b",
            "/",
            Method::GET,
            Connection::KeepAlive,
            EncodeError::Authority,
        ),
        (
            "connect without authority",
            "",
            "",
            Method::CONNECT,
            Connection::KeepAlive,
            EncodeError::Authority,
        ),
        (
            "crlf in upgrade",
            "a",
            "/",
            Method::GET,
            Connection::Upgrade(b"a\r\nb"),
            EncodeError::Upgrade,
        ),
        (
            "empty upgrade",
            "a",
            "/",
            Method::GET,
            Connection::Upgrade(b""),
            EncodeError::Upgrade,
        ),
    ];
    for (name, authority, path, method, connection, expected) in cases {
        let mut request = Request::get(*authority, *path);
        request.method = method.clone();
        let mut out = b"before".to_vec();
        let found = encode_request(&request, Framing::None, *connection, &mut out);
        assert_eq!(found, Err(*expected), "{name}");
        assert_eq!(out, b"before", "{name}");
    }
}

#[test]
fn responses() {
    let mut response = Response::new(StatusCode::OK);
    response.headers = headers(&[
        ("content-length", "7"),
        ("x-a", "1"),
        ("connection", "close"),
    ]);
    let (text, written) = answer(&response, GET, Framing::Chunked, Connection::KeepAlive);
    assert_eq!(
        text,
        "HTTP/1.1 200 OK\r\nx-a: 1\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    assert_eq!(
        written,
        Written {
            framing: Framing::Chunked,
            keep_alive: true
        }
    );
    let (text, written) = answer(&response, HEAD, Framing::Chunked, Connection::KeepAlive);
    assert_eq!(
        text,
        "HTTP/1.1 200 OK\r\nx-a: 1\r\ncontent-length: 7\r\n\r\n"
    );
    assert_eq!(written.framing, Framing::None);
    let (text, written) = answer(&response, GET, Framing::None, Connection::Close);
    assert_eq!(
        text,
        "HTTP/1.1 200 OK\r\nx-a: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    assert_eq!(
        written,
        Written {
            framing: Framing::Length(0),
            keep_alive: false
        }
    );
    let (text, written) = answer(&response, GET, Framing::UntilClose, Connection::KeepAlive);
    assert_eq!(
        text,
        "HTTP/1.1 200 OK\r\nx-a: 1\r\nconnection: close\r\n\r\n"
    );
    assert!(!written.keep_alive);
}

#[test]
fn statuses_without_a_body() {
    for (status, expected) in [
        (100, "HTTP/1.1 100 Continue\r\n\r\n"),
        (103, "HTTP/1.1 103 Early Hints\r\n\r\n"),
        (204, "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"),
        (
            304,
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\nconnection: close\r\n\r\n",
        ),
    ] {
        let mut response = Response::new(StatusCode::from_u16(status).expect("a status"));
        response.headers = headers(&[("content-length", "7")]);
        let (text, written) = answer(&response, GET, Framing::Length(7), Connection::Close);
        assert_eq!(text, expected);
        assert_eq!(written.framing, Framing::None);
    }
    let mut response = Response::new(StatusCode::NOT_MODIFIED);
    response.headers = headers(&[("content-length", "7, 8")]);
    let (text, _) = answer(&response, GET, Framing::None, Connection::KeepAlive);
    assert_eq!(
        text, "HTTP/1.1 304 Not Modified\r\n\r\n",
        "an odd length is not passed on"
    );
}

#[test]
fn switching_protocols_names_the_protocol() {
    let response = Response::new(StatusCode::SWITCHING_PROTOCOLS);
    let (text, written) = answer(
        &response,
        GET,
        Framing::None,
        Connection::Upgrade(b"websocket"),
    );
    assert_eq!(
        text,
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"
    );
    assert!(!written.keep_alive);
}

#[test]
fn http_1_0_clients_get_no_chunks_and_keep_open_by_name() {
    let response = Response::new(StatusCode::OK);
    let (text, written) = answer(&response, OLD, Framing::Chunked, Connection::KeepAlive);
    assert_eq!(text, "HTTP/1.0 200 OK\r\nconnection: close\r\n\r\n");
    assert_eq!(
        written,
        Written {
            framing: Framing::UntilClose,
            keep_alive: false
        }
    );
    let (text, written) = answer(&response, OLD, Framing::Length(2), Connection::KeepAlive);
    assert_eq!(
        text,
        "HTTP/1.0 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\n"
    );
    assert!(written.keep_alive);
}

#[test]
fn date_goes_in_where_there_is_none() {
    let date = HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT");
    let mut out = Vec::new();
    let mut response = Response::new(StatusCode::NO_CONTENT);
    encode_response(
        &response,
        GET,
        Framing::None,
        Connection::KeepAlive,
        Some(&date),
        &mut out,
    )
    .expect("encodes");
    assert_eq!(
        out,
        b"HTTP/1.1 204 No Content\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n"
    );
    out.clear();
    response.headers = headers(&[("date", "x")]);
    encode_response(
        &response,
        GET,
        Framing::None,
        Connection::KeepAlive,
        Some(&date),
        &mut out,
    )
    .expect("encodes");
    assert_eq!(out, b"HTTP/1.1 204 No Content\r\ndate: x\r\n\r\n");
}

/// A request head from words that the parser mostly accepts.
fn heads() -> impl Strategy<Value = Vec<u8>> {
    let lines = prop::sample::select(vec![
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Connection: close\r\n",
        "Connection: upgrade, x\r\n",
        "Upgrade: h2c, b\r\n",
        "Expect: 100-continue\r\n",
        "TE: trailers\r\n",
        "x: y\r\n",
        "X-Long-Name: \u{e4} z\t.\r\n",
        "Keep-Alive: 5\r\n",
        "accept:\r\n",
    ]);
    let first = prop::sample::select(vec![
        "GET / HTTP/1.1\r\nHost: a\r\n",
        "POST /a?b HTTP/1.0\r\n",
        "CONNECT a:1 HTTP/1.1\r\nHost: A:1\r\n",
        "GET http://a/b HTTP/1.1\r\nhost: a:80\r\n",
        "OPTIONS * HTTP/1.1\r\nHost:\r\n",
        "PUT https://a?b HTTP/1.1\r\nHost: a\r\n",
        "\r\nPATCH /%zz HTTP/1.1\r\nHost: a,b\r\n",
        "DELETE http://[::1]:8080/ HTTP/1.1\r\nHost: [::1]:8080\r\n",
    ]);
    (first, prop::collection::vec(lines, 0..6))
        .prop_map(|(first, lines)| format!("{first}{}\r\n", lines.concat()).into_bytes())
}

proptest! {
    #[test]
    fn what_is_written_reads_the_same(head in heads()) {
        fuzz_round_trip(&head);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        fuzz_round_trip(&bytes);
    }
}
