//! Request and response heads out of bytes, strictly: whatever two parsers could read in two ways is refused.

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, Version, header};
use memchr::memchr;

use super::fields::{Hop, Side, read_fields};
use super::scan::{HeadScan, Lines};
use super::target::Target;
use super::{Framing, HeadError, Limits};
use crate::http::{Request, Response};

/// A request head and what its hop-by-hop fields said. Those are no longer in `request.headers`: `connection`,
/// `keep-alive`, `proxy-connection`, `transfer-encoding`, `upgrade`, and every field that `Connection` lists; `te` stays
/// only as `trailers`; `expect: 100-continue` becomes `expect_continue` (or stays, [`Limits::forward_expect`]). `content-length` stays, once, for filters and logs to see.
/// `proxy-authorization` stays: Kong's basic-auth reads it.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// The head; `host` is empty until [`crate::http::canonical::apply`] ran.
    pub request: Request,
    /// How the body is delimited; never `UntilClose`.
    pub framing: Framing,
    /// Whether the client wants the connection to stay open after this exchange.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends a body.
    pub expect_continue: bool,
    /// The value of `Upgrade` where `Connection: upgrade` went with it; `h2c` is dropped, as Envoy does.
    pub upgrade: Option<Bytes>,
}

/// A response head and what its hop-by-hop fields said; see [`RequestHead`].
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// The head; a `content-length` that came with `transfer-encoding` is gone.
    pub response: Response,
    /// How the body is delimited. `None` after a 2xx to CONNECT or a 101: what follows is a tunnel.
    pub framing: Framing,
    /// Whether the connection may carry another exchange; false where framing was doubtful.
    pub keep_alive: bool,
    /// The value of `Upgrade` in a 101 or 426; Apache sends it with any other status too, where it means nothing.
    pub upgrade: Option<Bytes>,
}

/// Parses a complete request head, leading empty lines included. Values are slices of `head`.
/// Where a [`HeadScan`] found the end already, [`HeadScan::request`] does not look for the lines again.
pub fn parse_request(head: Bytes, limits: &Limits) -> Result<RequestHead, HeadError> {
    let scan = HeadScan::of_whole(&head, limits.fields)?;
    read_request(&head, scan.lines(), limits)
}

/// Parses a complete response head to a request with `method`. Values are slices of `head`; the reason phrase is dropped.
/// Where a [`HeadScan`] found the end already, [`HeadScan::response`] does not look for the lines again.
pub fn parse_response(
    head: Bytes,
    method: &Method,
    limits: &Limits,
) -> Result<ResponseHead, HeadError> {
    let scan = HeadScan::of_whole(&head, limits.fields)?;
    read_response(&head, scan.lines(), method)
}

pub(super) fn read_request(
    head: &Bytes,
    lines: Lines<'_>,
    limits: &Limits,
) -> Result<RequestHead, HeadError> {
    let (first, fields) = lines.split_first()?;
    if first.len() > limits.request_line_bytes {
        return Err(HeadError::RequestLineTooLong);
    }
    let start = first.start;
    let text = &head[first];
    let method_end = memchr(b' ', text).ok_or(HeadError::RequestLine)?;
    let target_end = memchr(b' ', &text[method_end + 1..])
        .map(|length| method_end + 1 + length)
        .ok_or(HeadError::RequestLine)?;
    let method = Method::from_bytes(&text[..method_end]).map_err(|_| HeadError::Method)?;
    if limits.registered_methods && !is_registered(&method) {
        return Err(HeadError::Method);
    }
    let version = parse_version(&text[target_end + 1..])?;
    if limits.refuse_http_10 && version == Version::HTTP_10 {
        return Err(HeadError::VersionNotSupported);
    }
    let target = head.slice(start + method_end + 1..start + target_end);

    let (mut headers, mut hop) = read_fields(head, fields, Side::Request)?;
    let framing = hop.announced.of_request(&method, version)?;
    let target = Target::resolve(target, hop.host.take(), &method, version, limits)?;
    // HTTP/1.0 knows neither upgrades nor expectations (RFC 9110 §7.8, §10.1.1).
    let modern = version == Version::HTTP_11;
    let expects = modern && hop.expect_continue && !framing.is_empty();
    if expects && limits.forward_expect {
        headers.append(header::EXPECT, CONTINUE);
    }
    Ok(RequestHead {
        framing,
        keep_alive: keeps_alive(&hop, version),
        expect_continue: expects && !limits.forward_expect,
        upgrade: if modern { hop.take_upgrade() } else { None },
        request: Request {
            method,
            secure: target.secure,
            authority: target.authority,
            host: Bytes::new(),
            path: target.path,
            version,
            headers,
            protocol: None,
        },
    })
}

pub(super) fn read_response(
    head: &Bytes,
    lines: Lines<'_>,
    method: &Method,
) -> Result<ResponseHead, HeadError> {
    // An empty line before a response is the end of a body that was longer than it said.
    if lines.start != 0 {
        return Err(HeadError::StatusLine);
    }
    let (first, fields) = lines.split_first()?;
    let (version, status) = parse_status_line(&head[first])?;
    let (mut headers, mut hop) = read_fields(head, fields, Side::Response)?;
    let (framing, sure) = hop.announced.of_response(method, status, version);
    let bodyless_by_status = status.is_informational() || status == StatusCode::NO_CONTENT;
    if hop.announced.length.is_some() && (hop.announced.chunked || bodyless_by_status) {
        headers.remove(&header::CONTENT_LENGTH);
    }
    Ok(ResponseHead {
        framing,
        keep_alive: sure && keeps_alive(&hop, version),
        upgrade: if matches!(
            status,
            StatusCode::SWITCHING_PROTOCOLS | StatusCode::UPGRADE_REQUIRED
        ) {
            hop.take_upgrade()
        } else {
            None
        },
        response: Response {
            status,
            version,
            headers,
        },
    })
}

fn keeps_alive(hop: &Hop, version: Version) -> bool {
    !hop.close && (version == Version::HTTP_11 || hop.keep_alive)
}

/// Whether a method is one of those that parsers with a fixed list know (Envoy's among them).
fn is_registered(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET
            | Method::POST
            | Method::PUT
            | Method::DELETE
            | Method::HEAD
            | Method::OPTIONS
            | Method::PATCH
            | Method::CONNECT
            | Method::TRACE
    ) || FURTHER_METHODS.contains(&method.as_str())
}

fn parse_version(text: &[u8]) -> Result<Version, HeadError> {
    match text {
        b"HTTP/1.1" => Ok(Version::HTTP_11),
        b"HTTP/1.0" => Ok(Version::HTTP_10),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(HeadError::VersionNotSupported)
        }
        _ => Err(HeadError::Version),
    }
}

fn parse_status_line(text: &[u8]) -> Result<(Version, StatusCode), HeadError> {
    let (version, rest) = text.split_at_checked(8).ok_or(HeadError::StatusLine)?;
    let version = parse_version(version)?;
    let [b' ', a, b, c, reason @ ..] = rest else {
        return Err(HeadError::StatusLine);
    };
    // Servers in the field leave out the space before an empty reason; nothing can be misread there.
    let reason_is_good = match reason {
        [] => true,
        [b' ', reason @ ..] => super::fields::is_clean(reason),
        _ => false,
    };
    if !reason_is_good {
        return Err(HeadError::StatusLine);
    }
    let status = StatusCode::from_bytes(&[*a, *b, *c]).map_err(|_| HeadError::StatusLine)?;
    Ok((version, status))
}

const CONTINUE: HeaderValue = HeaderValue::from_static("100-continue");

/// Of WebDAV (RFC 3253, 3648, 3744, 4791, 4918, 5323, 5842), RFC 2068, GENA and caches.
const FURTHER_METHODS: [&str; 25] = [
    "ACL",
    "BIND",
    "CHECKOUT",
    "COPY",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MOVE",
    "MSEARCH",
    "NOTIFY",
    "PROPFIND",
    "PROPPATCH",
    "PURGE",
    "REBIND",
    "REPORT",
    "SEARCH",
    "SOURCE",
    "SUBSCRIBE",
    "UNBIND",
    "UNLINK",
    "UNLOCK",
    "UNSUBSCRIBE",
];

/// Feeds arbitrary bytes to both parsers; they must not panic, and must agree with the scan about where a head ends.
#[doc(hidden)]
pub fn fuzz_heads(bytes: &[u8]) {
    let limits = Limits::default();
    if let Ok(Some(end)) = HeadScan::default().find_end(bytes, &limits) {
        let head = Bytes::copy_from_slice(&bytes[..end]);
        let refused_as_cut = |error| error == HeadError::Incomplete;
        assert!(!parse_request(head.clone(), &limits).is_err_and(refused_as_cut));
        assert!(!parse_response(head, &Method::GET, &limits).is_err_and(refused_as_cut));
    }
    let all = Bytes::copy_from_slice(bytes);
    // Neither result matters, only that there is one.
    drop(parse_request(all.clone(), &limits));
    drop(parse_response(all, &Method::HEAD, &limits));
}

#[cfg(test)]
mod tests;
