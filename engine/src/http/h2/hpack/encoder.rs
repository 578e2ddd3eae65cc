//! Fields to header blocks.
//!
//! Entries are found by a hash of name and value, one guess a field: what the guess misses is written out, which is
//! always right. A name whose values keep missing is not worth entries: each would push out one that is used. Strings
//! are written as they are: Huffman's code saves a quarter of what is written once, and costs both sides for each byte.

use http::{HeaderName, HeaderValue};

use super::table::{Entry, Name, OVERHEAD, Table, Value};
use super::{TABLE_BYTES, integer, statics};

/// The sending side of a connection's compression.
#[derive(Debug)]
pub(in crate::http::h2) struct Encoder {
    table: Table,
    /// A change of the table's size that the next block begins with, the smallest on the way to it first.
    update: Option<(usize, usize)>,
    /// Where to look, once there is anything to find.
    found: Option<Box<Found>>,
}

/// Numbers of entries by hash.
#[derive(Debug)]
struct Found {
    fields: [u32; FIELDS],
    names: [Seen; NAMES],
}

/// What is known about the names of one hash.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// The last entry.
    number: u32,
    /// Values that were in no entry, one after another.
    misses: u8,
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            table: Table::new(TABLE_BYTES),
            update: None,
            found: None,
        }
    }
}

impl Encoder {
    /// The peer's SETTINGS_HEADER_TABLE_SIZE.
    pub(in crate::http::h2) fn set_peer_limit(&mut self, limit: usize) {
        let limit = limit.min(TABLE_BYTES);
        if limit == self.table.limit() {
            return;
        }
        let least = self.update.map_or(limit, |(least, _)| least.min(limit));
        self.update = Some((least, limit));
        self.table.set_limit(limit);
    }

    /// Begins a block.
    #[inline]
    pub(in crate::http::h2) fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some((least, last)) = self.update.take() {
            // RFC 7541 §4.2: the smallest, and the last where that is another one.
            integer::write(out, 0x20, 5, least);
            if last != least {
                integer::write(out, 0x20, 5, last);
            }
        }
    }

    /// Writes an entry of the static table.
    #[inline]
    pub(in crate::http::h2) fn indexed(out: &mut Vec<u8>, index: usize) {
        integer::write(out, 0x80, 7, index);
    }

    /// Writes a pseudo-header field.
    pub(in crate::http::h2) fn pseudo(&mut self, out: &mut Vec<u8>, name: &Name, value: &[u8]) {
        self.write(out, name.text(), value, Care::Index, || name.clone());
    }

    /// Writes a field.
    #[inline]
    pub(in crate::http::h2) fn field(
        &mut self,
        out: &mut Vec<u8>,
        name: &HeaderName,
        value: &HeaderValue,
    ) {
        let care = if value.is_sensitive() {
            Care::Never
        } else {
            Care::Index
        };
        let text = name.as_str();
        self.write(out, text, value.as_bytes(), care, || {
            Name::Field(name.clone())
        });
    }

    fn write(
        &mut self,
        out: &mut Vec<u8>,
        name: &str,
        value: &[u8],
        care: Care,
        own: impl FnOnce() -> Name,
    ) {
        let hash = statics::hash(name.as_bytes());
        let found = self.found.get_or_insert_with(Box::default);
        let spread = spread(hash, value);
        if care == Care::Index
            && let Some(age) = self.table.age(found.fields[spread])
            && let Some(entry) = self.table.get(age)
            && entry.value.text() == Some(value)
            && entry.name.text() == name
        {
            found.names[hash % NAMES].misses = 0;
            integer::write(out, 0x80, 7, statics::COUNT + 1 + age);
            return;
        }
        let seen = &mut found.names[hash % NAMES];
        let index = statics::index_of(name, hash).or_else(|| {
            let age = self.table.age(seen.number)?;
            let entry = self.table.get(age)?;
            (entry.name.text() == name).then_some(statics::COUNT + 1 + age)
        });
        let size = name.len() + value.len() + OVERHEAD;
        let kept = care == Care::Index
            && seen.misses < MISSES
            && size <= self.table.limit() / 2
            && is_worth_an_entry(name, value);
        seen.misses = if seen.misses == ROUND {
            MISSES - 1
        } else {
            seen.misses + 1
        };
        let (pattern, prefix) = match (kept, care) {
            (true, _) => (0x40, 6),
            (false, Care::Index) => (0, 4),
            // RFC 7541 §7.1.3: no hop behind us shall remember it either.
            (false, Care::Never) => (0x10, 4),
        };
        integer::write(out, pattern, prefix, index.unwrap_or(0));
        if index.is_none() {
            string(out, name.as_bytes());
        }
        string(out, value);
        if !kept {
            return;
        }
        // A copy: the value is often part of a whole head, which an entry must not keep.
        let name = own();
        let number = self.table.add(Entry {
            value: Value::new(&name, value),
            name,
            value_length: value.len(),
            size,
        });
        seen.number = number;
        found.fields[spread] = number;
    }
}

impl Default for Found {
    fn default() -> Self {
        // No entry has that number yet; by the time one has, all of these were set or the comparison fails.
        let number = u32::MAX;
        Self {
            fields: [number; FIELDS],
            names: [Seen { number, misses: 0 }; NAMES],
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Care {
    Index,
    Never,
}

/// What the hash of a name does not tell: values that differ each time, or that are a secret short enough to be guessed
/// by whoever sees the size of what he made us send (RFC 7541 §7.1).
fn is_worth_an_entry(name: &str, value: &[u8]) -> bool {
    match name {
        "x-request-id" | "authorization" | "proxy-authorization" => false,
        "cookie" => value.len() >= 20,
        _ => true,
    }
}

#[inline]
fn string(out: &mut Vec<u8>, text: &[u8]) {
    integer::write(out, 0, 7, text.len());
    out.extend_from_slice(text);
}

/// A place for name and value: the length and the last bytes are where values of one name differ.
#[inline]
fn spread(name: usize, value: &[u8]) -> usize {
    let tail = match value.last_chunk::<8>() {
        Some(tail) => u64::from_le_bytes(*tail),
        None => value
            .iter()
            .fold(0, |word, byte| word << 8 | u64::from(*byte)),
    };
    let mixed =
        (tail ^ ((name as u64) << 20) ^ value.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> (u64::BITS - FIELDS.ilog2())) as usize
}

const FIELDS: usize = 128;
const NAMES: usize = 64;
/// Values that a name may miss with before it is given up for a while.
const MISSES: u8 = 4;
/// Misses after which a name is tried once more.
const ROUND: u8 = 100;
