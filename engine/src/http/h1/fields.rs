//! The field lines of a head, and what its hop-by-hop fields say.

use std::ops::Range;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use smallvec::SmallVec;

use super::HeadError;
use super::framing::Announced;
use super::names::frequent;
use super::scan::{HeadScan, Lines};
use super::words::{equals, find_colon};
use crate::http::Headers;
use crate::http::headers::SPARE_FIELDS;

/// What the fields said that are no longer in the list: they speak to this hop or about it.
#[derive(Debug, Default)]
pub(super) struct Hop {
    pub(super) announced: Announced,
    pub(super) host: Option<Bytes>,
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) connection_upgrade: bool,
    pub(super) upgrade: Option<Bytes>,
    pub(super) expect_continue: bool,
    /// Fields that `Connection` named.
    nominated: SmallVec<[HeaderName; 2]>,
}

impl Hop {
    /// The upgrade that was asked for: `Upgrade` counts only with `Connection: upgrade` (RFC 9110 §7.8).
    pub(super) fn take_upgrade(&mut self) -> Option<Bytes> {
        if !self.connection_upgrade {
            return None;
        }
        self.upgrade.take().and_then(without_h2c)
    }

    fn connection(&mut self, value: &[u8], side: Side) -> Result<(), HeadError> {
        for option in value.split(|byte| *byte == b',') {
            let option = option.trim_ascii();
            if option.is_empty() {
                continue;
            }
            if equals(option, b"keep-alive") {
                self.keep_alive = true;
            } else if equals(option, b"close") {
                self.close = true;
            } else if equals(option, b"upgrade") {
                self.connection_upgrade = true;
            } else if side == Side::Request && !equals(option, b"te") {
                // A host speaks for its own fields: Envoy passes on what it names, and so do we.
                let name = HeaderName::from_bytes(option).map_err(|_| HeadError::Connection)?;
                if is_protected(&name) {
                    return Err(HeadError::Connection);
                }
                if self.nominated.len() == MAX_NOMINATED {
                    return Err(HeadError::Connection);
                }
                self.nominated.push(name);
            }
        }
        Ok(())
    }
}

/// Which kind of head is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Request,
    Response,
}

/// Reads the field lines of `head`: end-to-end fields go into the list, the rest into `Hop`.
pub(super) fn read_fields(
    head: &Bytes,
    lines: Lines<'_>,
    side: Side,
) -> Result<(Headers, Hop), HeadError> {
    let mut headers = Headers::with_capacity(lines.ends.len() + SPARE_FIELDS);
    let mut hop = Hop::default();
    each_field(head, lines, |name, value| {
        let bytes = &head[value.clone()];
        let known = known(name);
        let kept = match known {
            Known::EndToEnd => true,
            Known::ContentLength => {
                hop.announced.content_length(bytes)?;
                true
            }
            _ if !is_clean(bytes) => return Err(HeadError::FieldValue),
            Known::Host if side == Side::Response => true,
            Known::Expect if side == Side::Response => true,
            Known::Host => {
                if hop.host.replace(head.slice(value.clone())).is_some() {
                    return Err(HeadError::HostRepeated);
                }
                false
            }
            Known::TransferEncoding => {
                hop.announced.transfer_encoding(bytes)?;
                false
            }
            Known::Connection => {
                hop.connection(bytes, side)?;
                false
            }
            Known::Upgrade => {
                if hop.upgrade.replace(head.slice(value.clone())).is_some() {
                    return Err(HeadError::Upgrade);
                }
                false
            }
            Known::Expect => {
                let understood = bytes.eq_ignore_ascii_case(b"100-continue");
                hop.expect_continue |= understood;
                // Whatever else is expected is the origin's to meet or to refuse (RFC 9110 §10.1.1).
                !understood
            }
            Known::Te => {
                if lists(bytes, b"trailers") && !headers.contains(&header::TE) {
                    headers.append(header::TE, TRAILERS);
                }
                false
            }
            Known::HopOnly => false,
        };
        if kept {
            let name = match known {
                Known::ContentLength => header::CONTENT_LENGTH,
                _ => field_name(name)?,
            };
            headers.append(name, checked(head.slice(value))?);
        }
        Ok(())
    })?;
    if !hop.nominated.is_empty() {
        headers.retain(|name, _| !hop.nominated.contains(name));
    }
    Ok((headers, hop))
}

/// Reads a trailer section: the same grammar, but a field that would change framing, routing, authentication or how
/// the content is read is dropped (RFC 9110 §6.5.1).
pub(super) fn read_trailers(section: &Bytes, limit: usize) -> Result<Headers, HeadError> {
    let mut trailers = Headers::new();
    // A section has no start line.
    let scan = HeadScan::of_whole(section, limit.saturating_sub(1))?;
    each_field(section, scan.lines(), |name, value| {
        let name = field_name(name)?;
        let value = checked(section.slice(value))?;
        if may_trail(&name) {
            trailers.append(name, value);
        }
        Ok(())
    })?;
    Ok(trailers)
}

/// Whether a field may stand in a trailer section.
pub(super) fn may_trail(name: &HeaderName) -> bool {
    let text = name.as_str();
    !(is_protected(name)
        || known(text.as_bytes()) != Known::EndToEnd
        || NOT_IN_TRAILERS.contains(&text))
}

/// Whether a field may be left out of HTTP/1 heads that we write: framing and connection fields are ours to say.
pub(super) fn is_hop_by_hop(name: &HeaderName) -> bool {
    !matches!(
        known(name.as_str().as_bytes()),
        Known::EndToEnd | Known::Te | Known::Expect
    )
}

/// Whether no byte is a control byte other than a tab (RFC 9110 §5.5).
pub(super) fn is_clean(value: &[u8]) -> bool {
    // A fold instead of `all` lets the compiler use vectors.
    value.iter().fold(true, |clean, byte| {
        clean & ((*byte >= 0x20) & (*byte != 0x7f) | (*byte == b'\t'))
    })
}

/// Whether a comma-separated list holds `token`, alone or with parameters.
fn lists(value: &[u8], token: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|item| {
        let name = item.split(|byte| *byte == b';').next().unwrap_or(item);
        name.trim_ascii().eq_ignore_ascii_case(token)
    })
}

fn each_field(
    head: &[u8],
    lines: Lines<'_>,
    mut visit: impl FnMut(&[u8], Range<usize>) -> Result<(), HeadError>,
) -> Result<(), HeadError> {
    let mut start = lines.start;
    for end in lines.ends {
        let end = *end as usize;
        let text = &head[start..end];
        if matches!(text.first(), Some(b' ' | b'\t')) {
            return Err(HeadError::Folded);
        }
        let colon = find_colon(text).ok_or(HeadError::FieldName)?;
        let (name, value) = text.split_at(colon);
        visit(name, trim(value, start + colon))?;
        start = end + 2;
    }
    Ok(())
}

/// Where a value is without its colon and the whitespace around it; `text` starts at `start` with the colon.
fn trim(text: &[u8], start: usize) -> Range<usize> {
    // As nearly everybody writes it.
    if let [_, b' ', first, ..] = text
        && *first > b' '
        && text.last().is_some_and(|last| *last > b' ')
    {
        return start + 2..start + text.len();
    }
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let mut left = &text[1..];
    let mut skipped = 1;
    while is_space(left.first()) {
        left = &left[1..];
        skipped += 1;
    }
    while is_space(left.last()) {
        left = &left[..left.len() - 1];
    }
    start + skipped..start + skipped + left.len()
}

/// The type checks its bytes: token characters only.
fn field_name(name: &[u8]) -> Result<HeaderName, HeadError> {
    match frequent(name) {
        Some(name) => Ok(name.clone()),
        None => HeaderName::from_bytes(name).map_err(|_| HeadError::FieldName),
    }
}

/// The type checks its bytes: no control bytes.
fn checked(value: Bytes) -> Result<HeaderValue, HeadError> {
    HeaderValue::from_maybe_shared(value).map_err(|_| HeadError::FieldValue)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    EndToEnd,
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    Upgrade,
    Expect,
    Te,
    /// Says something to this hop that we do not use.
    HopOnly,
}

/// Length first: most names are told apart without looking at them.
#[inline]
fn known(name: &[u8]) -> Known {
    let (text, kind): (&[u8], Known) = match name.len() {
        2 => (b"te", Known::Te),
        4 => (b"host", Known::Host),
        6 => (b"expect", Known::Expect),
        7 => (b"upgrade", Known::Upgrade),
        10 if name[0] | 0x20 == b'c' => (b"connection", Known::Connection),
        10 => (b"keep-alive", Known::HopOnly),
        14 => (b"content-length", Known::ContentLength),
        16 => (b"proxy-connection", Known::HopOnly),
        17 => (b"transfer-encoding", Known::TransferEncoding),
        _ => return Known::EndToEnd,
    };
    // Most other names of that length are told apart by their first letter.
    if name[0] | 0x20 == text[0] && equals(name, text) {
        kind
    } else {
        Known::EndToEnd
    }
}

/// Fields that decide who someone is, where a request goes or how long it is. A hop that trusts us may rely on them,
/// so that a peer's `Connection` must not make them vanish (Envoy refuses some of these too).
fn is_protected(name: &HeaderName) -> bool {
    let text = name.as_str();
    PROTECTED.contains(&text)
        || PROTECTED_PREFIXES
            .iter()
            .any(|prefix| text.starts_with(prefix))
}

/// Drops `h2c`: whoever forwards it opens a tunnel past every rule (Envoy drops it too).
fn without_h2c(value: Bytes) -> Option<Bytes> {
    if !lists(&value, b"h2c") {
        return Some(value);
    }
    let mut rest = Vec::with_capacity(value.len());
    for protocol in value.split(|byte| *byte == b',') {
        let protocol = protocol.trim_ascii();
        if protocol.is_empty() || lists(protocol, b"h2c") {
            continue;
        }
        if !rest.is_empty() {
            rest.extend_from_slice(b", ");
        }
        rest.extend_from_slice(protocol);
    }
    (!rest.is_empty()).then(|| Bytes::from(rest))
}

/// Names that one message may nominate in `Connection`; Envoy stops at ten.
const MAX_NOMINATED: usize = 10;

const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");

const PROTECTED: [&str; 21] = [
    "api-key",
    "apikey",
    "authorization",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "grpc-timeout",
    "host",
    "proxy-authenticate",
    "proxy-authorization",
    "set-cookie",
    "transfer-encoding",
    "via",
    "www-authenticate",
    "x-api-key",
    "x-client-cert",
    "x-real-ip",
    "x-request-id",
];

const PROTECTED_PREFIXES: [&str; 5] = [
    "x-forwarded-",
    "x-envoy-",
    "x-consumer-",
    "x-credential-",
    "x-auth-",
];

/// Request modifiers, response control data and representation metadata that [`PROTECTED`] does not name.
const NOT_IN_TRAILERS: [&str; 20] = [
    "accept",
    "age",
    "cache-control",
    "content-range",
    "date",
    "expires",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "location",
    "max-forwards",
    "origin",
    "pragma",
    "range",
    "retry-after",
    "trailer",
    "vary",
    "warning",
];
