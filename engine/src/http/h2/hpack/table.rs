//! Entries, and the dynamic table of either side (RFC 7541 §2.3.2 and §4).

use std::collections::VecDeque;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

/// The name of a field as HTTP/2 knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::http::h2) enum Name {
    Authority,
    Method,
    Path,
    Protocol,
    Scheme,
    Status,
    Field(HeaderName),
    /// Nothing that may be a name: the message is malformed, the compression state is not.
    Bad,
}

/// The value of a field.
#[derive(Clone, Debug)]
pub(in crate::http::h2) enum Value {
    Field(HeaderValue),
    /// Of a pseudo-header field.
    Pseudo(Bytes),
    /// Bytes that may not be a value.
    Bad,
}

/// A field of a table.
#[derive(Clone, Debug)]
pub(in crate::http::h2) struct Entry {
    pub(super) name: Name,
    pub(super) value: Value,
    /// Of the value alone, which a value that may not be one does not tell.
    pub(super) value_length: usize,
    /// With the 32 bytes that each entry counts beyond its text.
    pub(super) size: usize,
}

/// Entries by age, the oldest first; those that do not fit any more go.
#[derive(Debug)]
pub(super) struct Table {
    entries: VecDeque<Entry>,
    size: usize,
    limit: usize,
    /// Entries that were ever added; the number of the next one.
    added: u32,
}

impl Name {
    /// The text of a name that is one.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Authority => ":authority",
            Self::Method => ":method",
            Self::Path => ":path",
            Self::Protocol => ":protocol",
            Self::Scheme => ":scheme",
            Self::Status => ":status",
            Self::Field(name) => name.as_str(),
            Self::Bad => "",
        }
    }
}

impl Value {
    /// What a field of that name has for `text`.
    pub(super) fn new(name: &Name, text: &[u8]) -> Self {
        match name {
            Name::Field(_) => {
                let value = if text.is_empty() {
                    Ok(HeaderValue::from_static(""))
                } else {
                    // The type checks its bytes: no control bytes.
                    HeaderValue::from_maybe_shared(Bytes::copy_from_slice(text))
                };
                value.map_or(Self::Bad, Self::Field)
            }
            Name::Bad => Self::Bad,
            _ if text.iter().all(|byte| *byte >= b' ' && *byte != 0x7f) => {
                Self::Pseudo(Bytes::copy_from_slice(text))
            }
            _ => Self::Bad,
        }
    }

    /// Its bytes, if it is a value.
    #[inline]
    pub(super) fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Field(value) => Some(value.as_bytes()),
            Self::Pseudo(bytes) => Some(bytes),
            Self::Bad => None,
        }
    }
}

impl Table {
    pub(super) const fn new(limit: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            limit,
            added: 0,
        }
    }

    /// The entry that was added `age` entries ago, 0 for the last.
    #[inline]
    pub(super) fn get(&self, age: usize) -> Option<&Entry> {
        let place = self.entries.len().checked_sub(age + 1)?;
        self.entries.get(place)
    }

    /// The age of the entry with that number, if it is still there.
    #[inline]
    pub(super) fn age(&self, number: u32) -> Option<usize> {
        let age = self.added.wrapping_sub(number).wrapping_sub(1) as usize;
        (age < self.entries.len()).then_some(age)
    }

    /// Adds an entry and returns its number; one that is larger than the table empties it.
    pub(super) fn add(&mut self, entry: Entry) -> u32 {
        self.shrink(self.limit.saturating_sub(entry.size));
        let number = self.added;
        if entry.size <= self.limit {
            self.size += entry.size;
            self.entries.push_back(entry);
            self.added = self.added.wrapping_add(1);
        }
        number
    }

    pub(super) const fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.shrink(limit);
    }

    fn shrink(&mut self, limit: usize) {
        while self.size > limit
            && let Some(entry) = self.entries.pop_front()
        {
            self.size -= entry.size;
        }
    }
}

/// What each entry counts beyond its text.
pub(super) const OVERHEAD: usize = 32;
