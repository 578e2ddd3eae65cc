//! The events: what each says, which topic it belongs to, what its key is.
//!
//! Every module below is generated from the schema of its name in `schemas/`; `tests/schemas.rs` holds them equal and writes
//! them anew (`CARBYNE_WRITE_SCHEMAS=1`). Fields are borrowed: an event is made on the way of a request and lives until it is
//! encoded.

mod generated;
mod topic;

#[cfg(test)]
mod tests;

use std::fmt;

use bytes::BufMut;

use crate::avro::Schema;

pub use generated::*;
pub use topic::{Class, Topic};

/// Something that happened.
pub trait Event {
    /// Its schema and all that goes with it.
    const KIND: Kind;

    /// When it happened: microseconds since 1970.
    fn time(&self) -> u64;

    /// The key under which the topic keeps it. Events of compacted topics always have one: their schemas say it is never null.
    fn key(&self) -> Option<&[u8]>;

    /// The span that it happened in, in W3C's form.
    fn traceparent(&self) -> Option<&str> {
        None
    }

    /// Bytes that its body takes, at most.
    fn bound(&self) -> usize;

    /// Writes its body in Avro's binary form; nothing for a tombstone.
    fn encode(&self, into: &mut impl BufMut);
}

/// One version of one schema.
///
/// Its number stands in rings and spools, which outlive programs: it is never given again, and a changed schema has another.
#[derive(Clone, Copy)]
pub struct Kind(&'static Description);

/// What is known of a kind.
#[derive(Debug)]
pub struct Description {
    pub number: u16,
    pub topic: Topic,
    /// CloudEvents' `type`.
    pub event_type: &'static str,
    /// How its body is read; without one it is a tombstone, which has no body.
    pub schema: Option<&'static Schema>,
}

impl Kind {
    pub const fn new(description: &'static Description) -> Self {
        Self(description)
    }

    /// The kind of a number that was read; none for one that a later version wrote.
    pub fn from_number(number: u16) -> Option<Self> {
        let found = ALL.iter().find(|kind| kind.0.number == number);
        found.copied()
    }

    /// All kinds, those of earlier versions included.
    pub const fn all() -> &'static [Self] {
        ALL
    }

    pub const fn number(self) -> u16 {
        self.0.number
    }

    pub const fn topic(self) -> Topic {
        self.0.topic
    }

    /// CloudEvents' `type`.
    pub const fn event_type(self) -> &'static str {
        self.0.event_type
    }

    /// None for tombstones.
    pub const fn schema(self) -> Option<&'static Schema> {
        self.0.schema
    }
}

/// The trace's part of a `traceparent`.
fn trace_id(text: Option<&str>) -> Option<&str> {
    traceparent(text)?.get(3..35)
}

/// What of a client's text is a `traceparent` of version 00; nothing where it is not: whatever else it may be is told nobody.
fn traceparent(text: Option<&str>) -> Option<&str> {
    let text = text?;
    let head = text.as_bytes().first_chunk::<TRACEPARENT>()?;
    let (id, rest) = head.strip_prefix(b"00-")?.split_first_chunk::<32>()?;
    let (span, flags) = rest.strip_prefix(b"-")?.split_first_chunk::<16>()?;
    let flags = flags.strip_prefix(b"-")?;
    let sound = is_id(id) && is_id(span) && flags.iter().all(u8::is_ascii_hexdigit);
    // All of it is ASCII, so it ends where a letter does.
    sound.then(|| &text[..TRACEPARENT])
}

/// Digits of which not all are zero. Every event pays for this: without a branch a digit, many are looked at at once.
fn is_id<const DIGITS: usize>(digits: &[u8; DIGITS]) -> bool {
    let (mut all, mut other) = (true, false);
    for &digit in digits {
        all &= digit.is_ascii_digit() | matches!(digit, b'a'..=b'f');
        other |= digit != b'0';
    }
    all & other
}

const TRACEPARENT: usize = "00-".len() + 32 + "-".len() + 16 + "-01".len();

impl fmt::Debug for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.0.number, self.0.event_type)
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.0.number == other.0.number
    }
}

impl Eq for Kind {}
