//! One event as it lies in rings and blocks: its place in its producer's count, its envelope and its Avro body.
//!
//! ```text
//! sequence u64 · previous u64 · time u64 · kind u16 · flags u8 · length of trace u8 · length of key u16 · 0 u16 · key · trace · body
//! ```
//!
//! Little-endian, as everything in rings and spools.

use bytes::BufMut;

/// An event that was read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Record<'a> {
    /// The producer's count, from 1, without a hole.
    pub sequence: u64,
    /// The sequence of the producer's event before this one in the same topic; 0 for the first. So what is missing can be told from
    /// one topic alone, and what a topic's compaction took from what was lost.
    pub previous: u64,
    /// Microseconds since 1970.
    pub time: u64,
    /// [`crate::event::Kind::number`].
    pub kind: u16,
    /// Somebody waits until it is on disk.
    pub awaited: bool,
    pub key: Option<&'a [u8]>,
    /// A `traceparent` in W3C's form.
    pub trace: Option<&'a [u8]>,
    pub body: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads one that takes all of `bytes`; none where these are not a record.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&head[at..at + 8]);
            u64::from_le_bytes(word)
        };
        let half = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let flags = head[26];
        if flags & !(HAS_KEY | AWAITED) != 0 {
            return None;
        }
        let (key, rest) = rest.split_at_checked(usize::from(half(28)))?;
        let (trace, body) = rest.split_at_checked(usize::from(head[27]))?;
        Some(Self {
            sequence: word(0),
            previous: word(8),
            time: word(16),
            kind: half(24),
            awaited: flags & AWAITED != 0,
            key: (flags & HAS_KEY != 0).then_some(key),
            trace: (!trace.is_empty()).then_some(trace),
            body,
        })
    }

    /// Writes all but the body, which is `body` of what follows. A key or trace that is longer than its length can say is left out: see
    /// [`Self::fits`].
    pub fn write_head(&self, into: &mut impl BufMut) {
        let key = self.key.unwrap_or_default();
        let trace = self.trace.unwrap_or_default();
        let mut flags = 0;
        if self.key.is_some() {
            flags |= HAS_KEY;
        }
        if self.awaited {
            flags |= AWAITED;
        }
        into.put_u64_le(self.sequence);
        into.put_u64_le(self.previous);
        into.put_u64_le(self.time);
        into.put_u16_le(self.kind);
        into.put_u8(flags);
        into.put_u8(u8::try_from(trace.len()).unwrap_or(0));
        into.put_u16_le(u16::try_from(key.len()).unwrap_or(0));
        into.put_u16_le(0);
        if key.len() <= usize::from(u16::MAX) {
            into.put_slice(key);
        }
        if trace.len() <= usize::from(u8::MAX) {
            into.put_slice(trace);
        }
    }

    /// Writes all of it.
    pub fn write(&self, into: &mut impl BufMut) {
        self.write_head(into);
        into.put_slice(self.body);
    }

    /// Whether key and trace are short enough to be written.
    pub fn fits(&self) -> bool {
        self.key
            .is_none_or(|key| key.len() <= usize::from(u16::MAX))
            && self
                .trace
                .is_none_or(|trace| trace.len() <= usize::from(u8::MAX))
    }
}

/// Bytes before the key.
pub(super) const HEAD: usize = 32;

const HAS_KEY: u8 = 1;
const AWAITED: u8 = 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(
            (sequence, previous, time, kind) in any::<(u64, u64, u64, u16)>(),
            awaited in any::<bool>(),
            key in any::<Option<Vec<u8>>>(),
            trace in proptest::option::of(proptest::collection::vec(any::<u8>(), 1..256)),
            body in any::<Vec<u8>>(),
        ) {
            let record = Record {
                sequence, previous, time, kind, awaited,
                key: key.as_deref(), trace: trace.as_deref(), body: &body,
            };
            let mut bytes = Vec::new();
            record.write(&mut bytes);
            prop_assert!(record.fits());
            prop_assert_eq!(Record::read(&bytes), Some(record));
        }

        #[test]
        fn any_bytes_are_a_record_or_none(bytes in any::<Vec<u8>>()) {
            if let Some(record) = Record::read(&bytes) {
                prop_assert!(record.body.len() + HEAD <= bytes.len());
            }
        }
    }
}
