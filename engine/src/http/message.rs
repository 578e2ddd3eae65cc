//! Request and response heads, the same for HTTP/1 and HTTP/2.

use bytes::Bytes;
use http::{Method, StatusCode, Version};

use super::Headers;

/// The head of a request. Pseudo-headers are fields of their own; `headers` holds the rest, without
/// `host`: HTTP/1's Host and HTTP/2's `:authority` both arrive in `authority`.
///
/// After [`super::canonical`] ran, `host` and `path` are the only host and path there are: route, access
/// rules, log and upstream all read these.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method, as sent.
    pub method: Method,
    /// Whether the target's scheme (HTTP/2 `:scheme`, or an absolute-form target) said `https`;
    /// `None` when the message did not say.
    pub secure: Option<bool>,
    /// Host and optional port as sent; empty where HTTP/1.0 sent none.
    pub authority: Bytes,
    /// The canonical host: lower-case, without port. Filled by [`super::canonical`].
    pub host: Bytes,
    /// Path and query. For `CONNECT` without a path: empty; for `OPTIONS *`: `*`.
    pub path: Bytes,
    /// Protocol version it arrived with.
    pub version: Version,
    /// All other fields in order.
    pub headers: Headers,
    /// `:protocol` of an extended CONNECT (RFC 8441), such as `websocket`.
    pub protocol: Option<Bytes>,
}

/// The head of a response.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: StatusCode,
    /// Protocol version it arrived with.
    pub version: Version,
    /// Header fields in order.
    pub headers: Headers,
}

impl Request {
    /// A `GET` of `path` at `authority` over HTTP/1.1, for requests that the programs send themselves.
    pub fn get(authority: impl Into<Bytes>, path: impl Into<Bytes>) -> Self {
        let authority = authority.into();
        Self {
            method: Method::GET,
            secure: None,
            host: authority.clone(),
            authority,
            path: path.into(),
            version: Version::HTTP_11,
            headers: Headers::new(),
            protocol: None,
        }
    }

    /// The path without the query.
    pub fn path_only(&self) -> &[u8] {
        match memchr::memchr(b'?', &self.path) {
            Some(end) => &self.path[..end],
            None => &self.path,
        }
    }

    /// The query without its `?`, if there is one.
    pub fn query(&self) -> Option<&[u8]> {
        memchr::memchr(b'?', &self.path).map(|end| &self.path[end + 1..])
    }
}

impl Response {
    /// A response of our own without header fields.
    pub const fn new(status: StatusCode) -> Self {
        Self {
            status,
            version: Version::HTTP_11,
            headers: Headers::new(),
        }
    }

    /// Whether a response to `method` with this status carries no body (RFC 9110 §6.4.1).
    pub fn is_bodyless(&self, method: &Method) -> bool {
        method == Method::HEAD
            || self.status.is_informational()
            || self.status == StatusCode::NO_CONTENT
            || self.status == StatusCode::NOT_MODIFIED
            || (method == Method::CONNECT && self.status.is_success())
    }
}
