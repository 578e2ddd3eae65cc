//! The static table (RFC 7541 appendix A), by index and by name.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use super::table::{Entry, Name, OVERHEAD, Value};

/// The entry with that index, which counts from one.
#[inline]
pub(super) fn get(index: usize) -> Option<&'static Entry> {
    ENTRIES.get(index.wrapping_sub(1))
}

/// The index of the first entry of that name.
#[inline]
pub(super) fn index_of(name: &str, hash: usize) -> Option<usize> {
    let mut slot = hash % SLOTS;
    loop {
        let index = usize::from(BY_NAME[slot]);
        if index == 0 {
            return None;
        }
        if TEXTS[index - 1] == name {
            return Some(index);
        }
        slot = (slot + 1) % SLOTS;
    }
}

/// Spreads names by their length and three of their letters.
#[inline]
pub(super) const fn hash(name: &[u8]) -> usize {
    let length = name.len();
    if length == 0 {
        return 0;
    }
    let fourth_last = if length > 3 { length - 4 } else { 0 };
    length * 293
        + name[length / 2] as usize * 431
        + name[fourth_last] as usize * 187
        + name[length - 1] as usize * 127
}

const SLOTS: usize = 256;

/// Indexes by hash; a name whose place is taken has the next one that is free.
static BY_NAME: [u8; SLOTS] = {
    let mut slots = [0; SLOTS];
    let mut index = COUNT;
    // Backwards: of several entries of a name the first stays.
    while index > 0 {
        let name = TEXTS[index - 1].as_bytes();
        let mut slot = hash(name) % SLOTS;
        while slots[slot] != 0 && !same(TEXTS[slots[slot] as usize - 1].as_bytes(), name) {
            slot = (slot + 1) % SLOTS;
        }
        slots[slot] = index as u8;
        index -= 1;
    }
    slots
};

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut index = 0;
    while index < a.len() {
        if a[index] != b[index] {
            return false;
        }
        index += 1;
    }
    true
}

/// Entries in the static table; the dynamic one begins behind them.
pub(super) const COUNT: usize = 61;

const fn entry(name: Name, text: &str, length: usize, value: Value) -> Entry {
    Entry {
        name,
        value,
        value_length: length,
        size: text.len() + length + OVERHEAD,
    }
}

const fn field(text: &'static str, value: &'static str) -> Entry {
    let name = Name::Field(HeaderName::from_static(text));
    let length = value.len();
    entry(
        name,
        text,
        length,
        Value::Field(HeaderValue::from_static(value)),
    )
}

const fn pseudo(name: Name, text: &'static str, value: &'static str) -> Entry {
    let length = value.len();
    let value = Value::Pseudo(Bytes::from_static(value.as_bytes()));
    entry(name, text, length, value)
}

#[rustfmt::skip]
const TEXTS: [&str; COUNT] = [
    ":authority",
    ":method",
    ":method",
    ":path",
    ":path",
    ":scheme",
    ":scheme",
    ":status",
    ":status",
    ":status",
    ":status",
    ":status",
    ":status",
    ":status",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "accept",
    "access-control-allow-origin",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "link",
    "location",
    "max-forwards",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "refresh",
    "retry-after",
    "server",
    "set-cookie",
    "strict-transport-security",
    "transfer-encoding",
    "user-agent",
    "vary",
    "via",
    "www-authenticate",
];

#[rustfmt::skip]
static ENTRIES: [Entry; COUNT] = [
    pseudo(Name::Authority, ":authority", ""),
    pseudo(Name::Method, ":method", "GET"),
    pseudo(Name::Method, ":method", "POST"),
    pseudo(Name::Path, ":path", "/"),
    pseudo(Name::Path, ":path", "/index.html"),
    pseudo(Name::Scheme, ":scheme", "http"),
    pseudo(Name::Scheme, ":scheme", "https"),
    pseudo(Name::Status, ":status", "200"),
    pseudo(Name::Status, ":status", "204"),
    pseudo(Name::Status, ":status", "206"),
    pseudo(Name::Status, ":status", "304"),
    pseudo(Name::Status, ":status", "400"),
    pseudo(Name::Status, ":status", "404"),
    pseudo(Name::Status, ":status", "500"),
    field("accept-charset", ""),
    field("accept-encoding", "gzip, deflate"),
    field("accept-language", ""),
    field("accept-ranges", ""),
    field("accept", ""),
    field("access-control-allow-origin", ""),
    field("age", ""),
    field("allow", ""),
    field("authorization", ""),
    field("cache-control", ""),
    field("content-disposition", ""),
    field("content-encoding", ""),
    field("content-language", ""),
    field("content-length", ""),
    field("content-location", ""),
    field("content-range", ""),
    field("content-type", ""),
    field("cookie", ""),
    field("date", ""),
    field("etag", ""),
    field("expect", ""),
    field("expires", ""),
    field("from", ""),
    field("host", ""),
    field("if-match", ""),
    field("if-modified-since", ""),
    field("if-none-match", ""),
    field("if-range", ""),
    field("if-unmodified-since", ""),
    field("last-modified", ""),
    field("link", ""),
    field("location", ""),
    field("max-forwards", ""),
    field("proxy-authenticate", ""),
    field("proxy-authorization", ""),
    field("range", ""),
    field("referer", ""),
    field("refresh", ""),
    field("retry-after", ""),
    field("server", ""),
    field("set-cookie", ""),
    field("strict-transport-security", ""),
    field("transfer-encoding", ""),
    field("user-agent", ""),
    field("vary", ""),
    field("via", ""),
    field("www-authenticate", ""),
];
