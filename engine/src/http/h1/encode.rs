//! Heads into bytes. Every message that leaves is worded anew: one framing field, one connection field, lower-case names.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, StatusCode, Version};

use super::Framing;
use super::fields::{is_clean, is_hop_by_hop};
use super::framing::parse_length;
use crate::http::{Headers, Request, Response};

/// What a head says about its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection<'a> {
    /// It stays open.
    KeepAlive,
    /// It closes after this exchange.
    Close,
    /// It turns into another protocol; the value of `Upgrade`.
    Upgrade(&'a [u8]),
}

/// Why a head cannot be written to HTTP/1: it came from HTTP/2 or from a filter with bytes that would end the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The path is empty or holds a space or control byte.
    #[error("request target is empty or holds a space or control byte")]
    Target,
    /// The authority holds such a byte, or CONNECT has none.
    #[error("authority is missing or holds a space or control byte")]
    Authority,
    /// The upgrade protocol is empty or holds a control byte.
    #[error("upgrade protocol is empty or holds a control byte")]
    Upgrade,
}

/// What a response answers to.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The method of the request.
    pub method: &'a Method,
    /// The version of the request: the answer to HTTP/1.0 is never chunked and keeps open only by name.
    pub version: Version,
}

/// What was written, where it differs from what was asked: an HTTP/1.0 client cannot read chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// How the body must be written.
    pub framing: Framing,
    /// Whether the connection stays open after it; false for an upgrade, which is a tunnel then.
    pub keep_alive: bool,
}

/// Appends a request head, always HTTP/1.1: `host` first, then the fields, then one framing field. Framing and
/// connection fields in `request.headers` are stale by definition and left out. On an error `out` is as before.
/// `UntilClose` is no request framing and is written as `Chunked`.
pub fn encode_request(
    request: &Request,
    framing: Framing,
    connection: Connection<'_>,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let is_connect = request.method == Method::CONNECT;
    let target = if is_connect {
        &request.authority
    } else {
        &request.path
    };
    if !is_visible(&request.authority) || (is_connect && request.authority.is_empty()) {
        return Err(EncodeError::Authority);
    }
    if target.is_empty() || !is_visible(target) {
        return Err(EncodeError::Target);
    }
    check_upgrade(connection)?;
    out.reserve(head_size(&request.headers) + 2 * request.authority.len() + target.len());
    out.extend_from_slice(request.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target);
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    out.extend_from_slice(&request.authority);
    out.extend_from_slice(b"\r\n");
    encode_fields(&request.headers, out);
    match framing {
        Framing::Length(length) => encode_length(length, out),
        Framing::Chunked | Framing::UntilClose => out.extend_from_slice(CHUNKED),
        // RFC 9110 §8.6: a method that may have a body says that there is none.
        Framing::None if may_have_body(&request.method, connection) => encode_length(0, out),
        Framing::None => {}
    }
    encode_connection(connection, false, out);
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Appends a response head. `date` goes in where the response has none. A response to HEAD and a 304 keep their
/// `content-length`, 1xx and 204 have none; any other response without a body says `content-length: 0`.
/// On an error `out` is as before.
pub fn encode_response(
    response: &Response,
    asked: Asked<'_>,
    framing: Framing,
    connection: Connection<'_>,
    date: Option<&HeaderValue>,
    out: &mut Vec<u8>,
) -> Result<Written, EncodeError> {
    check_upgrade(connection)?;
    let old = asked.version < Version::HTTP_11;
    let bodyless = response.is_bodyless(asked.method);
    let framing = match framing {
        _ if bodyless => Framing::None,
        Framing::Chunked if old => Framing::UntilClose,
        Framing::None => Framing::Length(0),
        framing => framing,
    };
    let connection = if framing == Framing::UntilClose {
        Connection::Close
    } else {
        connection
    };
    out.reserve(head_size(&response.headers));
    // An old client may look at the version before it reads on (Envoy answers so too; RFC 9110 §6.2 lets a server).
    out.extend_from_slice(if old { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    out.extend_from_slice(response.status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason(response.status).as_bytes());
    out.extend_from_slice(b"\r\n");
    encode_fields(&response.headers, out);
    if response.status == StatusCode::UPGRADE_REQUIRED
        && let Some(protocols) = response.headers.get(&header::UPGRADE)
    {
        // RFC 9110 §15.5.22: such an answer names the protocols. It is ours to say, so that it is in the list.
        encode_field(b"upgrade", protocols.as_bytes(), out);
    }
    if let Some(date) = date
        && !response.status.is_informational()
        && !response.headers.contains(&header::DATE)
    {
        encode_field(b"date", date.as_bytes(), out);
    }
    match framing {
        Framing::Length(length) => encode_length(length, out),
        Framing::Chunked => out.extend_from_slice(CHUNKED),
        Framing::None if keeps_length(response.status, asked.method) => {
            let length = response.headers.get(&header::CONTENT_LENGTH);
            if let Some(length) = length.and_then(|value| parse_length(value.as_bytes())) {
                encode_length(length, out);
            }
        }
        Framing::None | Framing::UntilClose => {}
    }
    let interim =
        response.status.is_informational() && response.status != StatusCode::SWITCHING_PROTOCOLS;
    if !interim {
        encode_connection(connection, old, out);
    }
    out.extend_from_slice(b"\r\n");
    Ok(Written {
        framing,
        keep_alive: connection == Connection::KeepAlive,
    })
}

/// Appends all but framing, connection and host fields.
fn encode_fields(headers: &Headers, out: &mut Vec<u8>) {
    for (name, value) in headers {
        if is_hop_by_hop(name) {
            continue;
        }
        if *name == header::TE {
            // Nothing else of it may pass a hop. RFC 9110 §10.1.4 has it named in `connection` too; Envoy and gRPC do not,
            // and a name there is one more thing for servers to differ about.
            encode_field(b"te", b"trailers", out);
            continue;
        }
        encode_field(name.as_str().as_bytes(), value.as_bytes(), out);
    }
}

fn encode_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn encode_length(length: u64, out: &mut Vec<u8>) {
    encode_field(
        b"content-length",
        itoa::Buffer::new().format(length).as_bytes(),
        out,
    );
}

fn encode_connection(connection: Connection<'_>, old: bool, out: &mut Vec<u8>) {
    let option: &[u8] = match connection {
        Connection::KeepAlive if old => b"keep-alive",
        Connection::KeepAlive => return,
        Connection::Close => b"close",
        // As browsers write it: some servers compare it letter by letter.
        Connection::Upgrade(_) => b"Upgrade",
    };
    encode_field(b"connection", option, out);
    if let Connection::Upgrade(protocol) = connection {
        encode_field(b"upgrade", protocol, out);
    }
}

fn check_upgrade(connection: Connection<'_>) -> Result<(), EncodeError> {
    match connection {
        Connection::Upgrade(protocol) if protocol.is_empty() || !is_clean(protocol) => {
            Err(EncodeError::Upgrade)
        }
        _ => Ok(()),
    }
}

/// Whether no byte could end the word: no space, no control byte.
fn is_visible(word: &[u8]) -> bool {
    word.iter()
        .fold(true, |good, byte| good & (*byte > b' ') & (*byte != 0x7f))
}

fn may_have_body(method: &Method, connection: Connection<'_>) -> bool {
    let never = matches!(
        *method,
        Method::GET | Method::HEAD | Method::DELETE | Method::TRACE | Method::CONNECT
    );
    !never && !matches!(connection, Connection::Upgrade(_))
}

/// A length that describes a body which is not sent (RFC 9110 §8.6).
fn keeps_length(status: StatusCode, method: &Method) -> bool {
    (*method == Method::HEAD || status == StatusCode::NOT_MODIFIED)
        && !status.is_informational()
        && status != StatusCode::NO_CONTENT
}

/// Enough for names, values, separators, and what we add ourselves.
fn head_size(headers: &Headers) -> usize {
    headers.byte_size() + 4 * headers.len() + OWN_BYTES
}

const CHUNKED: &[u8] = b"transfer-encoding: chunked\r\n";
/// Start line without target, framing, connection and date fields.
const OWN_BYTES: usize = 160;

/// Parses arbitrary bytes as a request, writes what came out, and parses that: both must say the same.
#[doc(hidden)]
pub fn fuzz_round_trip(bytes: &[u8]) {
    let limits = super::Limits::default();
    let Ok(first) = super::parse_request(Bytes::copy_from_slice(bytes), &limits) else {
        return;
    };
    let connection = match (&first.upgrade, first.keep_alive) {
        (Some(protocol), _) => Connection::Upgrade(protocol),
        (None, true) => Connection::KeepAlive,
        (None, false) => Connection::Close,
    };
    let mut out = Vec::new();
    if encode_request(&first.request, first.framing, connection, &mut out).is_err() {
        assert!(out.is_empty());
        return;
    }
    let end = super::HeadScan::default().find_end(
        &out,
        &super::Limits {
            head_bytes: usize::MAX,
            fields: limits.fields + 4,
            request_line_bytes: usize::MAX,
            ..limits
        },
    );
    assert_eq!(end, Ok(Some(out.len())));
    let limits = super::Limits {
        fields: usize::MAX,
        request_line_bytes: usize::MAX,
        ..super::Limits::default()
    };
    let second = super::parse_request(out.into(), &limits);
    assert!(
        second.is_ok(),
        "we refuse what we wrote: {second:?} from {first:?}"
    );
    if let Ok(second) = second {
        assert_eq!(first.request.method, second.request.method);
        assert_eq!(first.request.path, second.request.path);
        assert_eq!(first.request.authority, second.request.authority);
        assert_eq!(first.upgrade, second.upgrade);
        assert_eq!(first.framing.is_empty(), second.framing.is_empty());
        assert_eq!(
            without_length(&first.request.headers),
            without_length(&second.request.headers)
        );
    }
}

fn without_length(headers: &Headers) -> Vec<(&str, &[u8])> {
    headers
        .iter()
        .filter(|(name, _)| name != header::CONTENT_LENGTH)
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect()
}

/// The words behind a status, which nobody reads but people (RFC 9112 §4). What has no name is `Unknown`, and so is 418, which RFC 9110
/// §15.5.19 leaves unused.
fn reason(status: StatusCode) -> &'static str {
    match status {
        StatusCode::IM_A_TEAPOT => "Unknown",
        _ => status.canonical_reason().unwrap_or("Unknown"),
    }
}

#[cfg(test)]
mod tests;
