//! Heads into bytes.
use http::{HeaderValue, Method, Version};

use super::Framing;
use crate::http::{Request, Response};

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

/// Why a head cannot be written to HTTP/1 (it came from HTTP/2 or from a filter).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The path or authority holds a byte that would end it: space, control, CR, LF.
    #[error("request target holds a space or control byte")]
    Target,
    /// The authority holds such a byte.
    #[error("authority holds a space or control byte")]
    Authority,
    /// The upgrade protocol holds such a byte.
    #[error("upgrade protocol holds a control byte")]
    Upgrade,
}

/// Appends a request head, HTTP/1.1 always: `host` first, then the fields, then one framing field. Framing and
/// connection fields in `request.headers` are stale by definition and left out. On an error `out` is as before.
pub fn encode_request(
    request: &Request,
    framing: Framing,
    connection: Connection<'_>,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let _ = (request, framing, connection, out);
    todo!()
}

/// What was written, where it differs from what was asked: an HTTP/1.0 client cannot read chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// How the body must be written.
    pub framing: Framing,
    /// Whether the connection stays open after it.
    pub keep_alive: bool,
}

/// What a response answers to.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The method of the request.
    pub method: &'a Method,
    /// The version of the request: the answer to HTTP/1.0 is never chunked and keeps open only by name.
    pub version: Version,
}

/// Appends a response head. `date` goes in where the response has none. HEAD and 304 keep their
/// `content-length`, 1xx and 204 have none; any other response without a body says `content-length: 0`.
pub fn encode_response(
    response: &Response,
    asked: Asked<'_>,
    framing: Framing,
    connection: Connection<'_>,
    date: Option<&HeaderValue>,
    out: &mut Vec<u8>,
) -> Result<Written, EncodeError> {
    let _ = (response, asked, framing, connection, date, out);
    todo!()
}
