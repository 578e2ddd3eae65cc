//! Heads and trailers out of fields, strictly (RFC 9113 §8).

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, Version, header};

use super::hpack::decoder::Sink;
use super::hpack::{Broken, Name, Value};
use crate::http::headers::SPARE_FIELDS;
use crate::http::{Headers, Request, Response};

/// What a block of fields is meant to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Request,
    Response,
    Trailers,
    /// Of a stream that is over: only the compression state counts.
    Nothing,
}

/// The fields of one block, while they are decoded.
#[derive(Debug)]
pub(super) struct Section {
    kind: Kind,
    /// Decoded bytes that may come, and that came.
    limit: usize,
    size: usize,
    malformed: bool,
    method: Option<Method>,
    status: Option<StatusCode>,
    /// Whether `:scheme` was `https`.
    secure: Option<bool>,
    authority: Option<Bytes>,
    path: Option<Bytes>,
    protocol: Option<Bytes>,
    headers: Headers,
    length: Option<u64>,
    host: Option<Bytes>,
    two_hosts: bool,
    cookies: u32,
}

/// The message breaks a rule: its stream is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl Section {
    pub(super) fn new(kind: Kind, limit: u32) -> Self {
        Self {
            kind,
            limit: limit as usize,
            size: 0,
            malformed: false,
            method: None,
            status: None,
            secure: None,
            authority: None,
            path: None,
            protocol: None,
            headers: match kind {
                Kind::Request | Kind::Response => Headers::with_capacity(USUAL_FIELDS),
                Kind::Trailers | Kind::Nothing => Headers::new(),
            },
            length: None,
            host: None,
            two_hosts: false,
            cookies: 0,
        }
    }

    /// Whether more came than may.
    pub(super) const fn is_too_large(&self) -> bool {
        self.size > self.limit
    }

    /// Whether so much came that the connection is at fault.
    pub(super) const fn is_a_bomb(&self) -> bool {
        self.size > self.limit.saturating_mul(BOMB)
    }

    /// The request, with the length that it announced. `extended` says that we offered extended CONNECT (RFC 8441).
    pub(super) fn request(mut self, extended: bool) -> Result<(Request, Option<u64>), Malformed> {
        if self.malformed || self.status.is_some() {
            return Err(Malformed);
        }
        let method = self.method.take().ok_or(Malformed)?;
        let path = self.path.take();
        if method == Method::CONNECT && self.protocol.is_none() {
            // RFC 9113 §8.5: a host, and nothing to ask of it.
            if self.secure.is_some() || path.is_some() || self.authority.is_none() {
                return Err(Malformed);
            }
        } else {
            let tunnels = self.protocol.is_some();
            if tunnels && !(extended && method == Method::CONNECT) {
                return Err(Malformed);
            }
            if self.secure.is_none() || !path.as_deref().is_some_and(is_path) {
                return Err(Malformed);
            }
        }
        if self.authority.as_ref().is_some_and(Bytes::is_empty) {
            return Err(Malformed);
        }
        let authority = match (self.authority, self.host) {
            // An authority that the canonical check refuses, whatever policy is set.
            _ if self.two_hosts => Bytes::from_static(b","),
            (Some(authority), Some(host)) if !host.eq_ignore_ascii_case(&authority) => {
                // Two hosts as well.
                Bytes::from_static(b",")
            }
            (Some(authority), _) => authority,
            // RFC 9113 §8.3.1: Host stands in where there is no `:authority`.
            (None, Some(host)) => host,
            (None, None) => Bytes::new(),
        };
        if self.cookies > 1 {
            join_cookies(&mut self.headers);
        }
        let request = Request {
            method,
            secure: self.secure,
            authority,
            host: Bytes::new(),
            path: path.unwrap_or_default(),
            version: Version::HTTP_2,
            headers: self.headers,
            protocol: self.protocol,
        };
        Ok((request, self.length))
    }

    /// The response, with the length that it announced.
    pub(super) fn response(self) -> Result<(Response, Option<u64>), Malformed> {
        let status = self.status.ok_or(Malformed)?;
        let asks = self.method.is_some()
            || self.secure.is_some()
            || self.authority.is_some()
            || self.path.is_some()
            || self.protocol.is_some();
        // RFC 9113 §8.6: HTTP/2 has no 101.
        if self.malformed || asks || status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Malformed);
        }
        let response = Response {
            status,
            version: Version::HTTP_2,
            headers: self.headers,
        };
        Ok((response, self.length))
    }

    /// The trailers.
    pub(super) fn trailers(self) -> Result<Headers, Malformed> {
        if self.malformed {
            return Err(Malformed);
        }
        Ok(self.headers)
    }

    fn pseudo(&mut self, name: &Name, value: &Bytes) -> Result<(), Malformed> {
        // RFC 9113 §8.1 and §8.3: none in trailers, none behind other fields, none twice.
        if self.kind == Kind::Trailers || !self.headers.is_empty() || self.host.is_some() {
            return Err(Malformed);
        }
        match name {
            Name::Method => {
                let method = Method::from_bytes(value).map_err(|_| Malformed)?;
                once(&mut self.method, method)
            }
            Name::Scheme => once(&mut self.secure, is_https(value)?),
            Name::Authority => once(&mut self.authority, value.clone()),
            Name::Path => once(&mut self.path, value.clone()),
            Name::Protocol => once(&mut self.protocol, value.clone()),
            Name::Status => {
                let status = StatusCode::from_bytes(value).map_err(|_| Malformed)?;
                once(&mut self.status, status)
            }
            Name::Field(_) | Name::Bad => Err(Malformed),
        }
    }

    fn regular(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<(), Malformed> {
        match special(name) {
            Special::None => {}
            // RFC 9113 §8.2.2: HTTP/2 says these things by itself.
            Special::Connection => return Err(Malformed),
            Special::Te => {
                if self.kind == Kind::Request && value != "trailers" {
                    return Err(Malformed);
                }
            }
            Special::Host if self.kind == Kind::Request => {
                self.two_hosts |= self.host.is_some();
                self.host = Some(Bytes::copy_from_slice(value.as_bytes()));
                return Ok(());
            }
            Special::Host => {}
            Special::Length if self.kind == Kind::Trailers => {}
            Special::Length => {
                let length = digits(value.as_bytes()).ok_or(Malformed)?;
                match self.length {
                    None => self.length = Some(length),
                    // The same again: no second reader shall have to compare them.
                    Some(known) if known == length => return Ok(()),
                    Some(_) => return Err(Malformed),
                }
            }
            Special::Cookie => self.cookies += 1,
        }
        self.headers.append(name.clone(), value.clone());
        Ok(())
    }
}

impl Sink for Section {
    fn field(&mut self, name: &Name, value: &Value, size: usize) -> Result<(), Broken> {
        self.size += size;
        if self.is_too_large() {
            return if self.is_a_bomb() {
                Err(Broken)
            } else {
                Ok(())
            };
        }
        if self.malformed || self.kind == Kind::Nothing {
            return Ok(());
        }
        let taken = match (name, value) {
            (Name::Field(name), Value::Field(value)) => self.regular(name, value),
            (pseudo, Value::Pseudo(value)) => self.pseudo(pseudo, value),
            _ => Err(Malformed),
        };
        self.malformed |= taken.is_err();
        Ok(())
    }
}

/// A field that is more than something to pass on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Special {
    None,
    /// Speaks about the connection, which HTTP/2 does in other ways.
    Connection,
    Cookie,
    Host,
    Length,
    Te,
}

/// Length first: most names are told apart without looking at them.
#[inline]
pub(super) fn special(name: &HeaderName) -> Special {
    let name = name.as_str();
    let (text, kind) = match name.len() {
        2 => ("te", Special::Te),
        4 => ("host", Special::Host),
        6 => ("cookie", Special::Cookie),
        7 => ("upgrade", Special::Connection),
        10 if name.starts_with('c') => ("connection", Special::Connection),
        10 => ("keep-alive", Special::Connection),
        14 => ("content-length", Special::Length),
        16 => ("proxy-connection", Special::Connection),
        17 => ("transfer-encoding", Special::Connection),
        _ => return Special::None,
    };
    if name == text { kind } else { Special::None }
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<(), Malformed> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Malformed),
    }
}

/// A path, or the asterisk; which bytes may be in it is nghttp2's rule and so Envoy's, [`super::super::canonical`] looks closer.
pub(super) fn is_path(path: &[u8]) -> bool {
    (path.first() == Some(&b'/') || path == b"*")
        && path.iter().all(|byte| *byte > b' ' && *byte != 0x7f)
}

/// Whether a scheme is `https`; an error where it is none (RFC 3986 §3.1).
fn is_https(scheme: &[u8]) -> Result<bool, Malformed> {
    let valid = scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    if !valid {
        return Err(Malformed);
    }
    Ok(scheme.eq_ignore_ascii_case(b"https"))
}

/// A number of digits and nothing else (RFC 9110 §8.6).
fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// RFC 9113 §8.2.3: crumbs of a cookie are joined before they reach anything that knows one field only.
fn join_cookies(headers: &mut Headers) {
    let mut joined = Vec::new();
    for crumb in headers.all(&header::COOKIE) {
        if !joined.is_empty() {
            joined.extend_from_slice(b"; ");
        }
        joined.extend_from_slice(crumb.as_bytes());
    }
    // Each crumb was a value, and so are all together.
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(joined)) {
        headers.insert(header::COOKIE, value);
    }
}

/// What a head has mostly, and room for what filters add.
const USUAL_FIELDS: usize = 12 + SPARE_FIELDS;
/// How much larger than its limit a list of fields may be before it is an attack on the connection.
const BOMB: usize = 4;
