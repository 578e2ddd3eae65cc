//! A block: a run of one producer's records, compressed, with a head that says what it holds without its body.
//!
//! ```text
//! magic u32 · CRC32C of the head u32 · CRC32C of the body u32 · stored u32 · raw u32 · count u32 · codec u8 · 0 u8 · worker u16 · 0 u32
//! · epoch u64 · first u64 · last u64 · first time u64 · last time u64 · offset u64 · body · zeros to a multiple of 8
//! ```
//!
//! The offset is where it begins in its segment: bytes of an older file are never taken for a block. The body is records, each after its
//! length in a u32.

use crate::ring::Record;

/// What a block's head says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    pub epoch: u64,
    pub worker: u16,
    /// The first sequence that it holds, and the last that it accounts for.
    pub first: u64,
    pub last: u64,
    /// Microseconds since 1970 of the first and the last record.
    pub first_time: u64,
    pub last_time: u64,
    pub count: u32,
    pub(super) stored: u32,
    raw: u32,
    codec: u8,
    body_sum: u32,
    pub(super) offset: u64,
}

/// A block that was read.
#[derive(Clone, Debug)]
pub struct Block {
    pub header: Header,
    raw: Vec<u8>,
}

/// The records of a block, in order.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
}

/// Gathers records of one producer and makes a block of them.
#[derive(Debug)]
pub(crate) struct Builder {
    raw: Vec<u8>,
    count: u32,
    first: u64,
    last: u64,
    first_time: u64,
    last_time: u64,
}

impl Header {
    /// Reads a head that lies at this offset of its segment.
    pub(super) fn read(bytes: &[u8; HEAD], offset: u64) -> Option<Self> {
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(word)
        };
        let half = |at: usize| {
            let mut half = [0; 4];
            half.copy_from_slice(&bytes[at..at + 4]);
            u32::from_le_bytes(half)
        };
        let header = Self {
            epoch: word(32),
            worker: u16::from_le_bytes([bytes[26], bytes[27]]),
            first: word(40),
            last: word(48),
            first_time: word(56),
            last_time: word(64),
            count: half(20),
            stored: half(12),
            raw: half(16),
            codec: bytes[24],
            body_sum: half(8),
            offset: word(72),
        };
        let sound = half(0) == MAGIC
            && half(4) == crc32c::crc32c(&bytes[8..])
            && header.offset == offset
            && header.raw <= LIMIT
            && header.stored <= LIMIT
            && header.first <= header.last;
        sound.then_some(header)
    }

    fn write(&self, into: &mut [u8]) {
        into[..4].copy_from_slice(&MAGIC.to_le_bytes());
        into[8..12].copy_from_slice(&self.body_sum.to_le_bytes());
        into[12..16].copy_from_slice(&self.stored.to_le_bytes());
        into[16..20].copy_from_slice(&self.raw.to_le_bytes());
        into[20..24].copy_from_slice(&self.count.to_le_bytes());
        into[24] = self.codec;
        into[25] = 0;
        into[26..28].copy_from_slice(&self.worker.to_le_bytes());
        into[28..32].fill(0);
        let words = [
            self.epoch,
            self.first,
            self.last,
            self.first_time,
            self.last_time,
            self.offset,
        ];
        for (word, at) in words.into_iter().zip((32..).step_by(8)) {
            into[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        let sum = crc32c::crc32c(&into[8..HEAD]);
        into[4..8].copy_from_slice(&sum.to_le_bytes());
    }

    /// Bytes that the whole block takes in its segment.
    pub(super) fn size(&self) -> u64 {
        (HEAD as u64 + u64::from(self.stored)).next_multiple_of(ALIGN)
    }

    /// Reads the body that belongs to it; none where it is damaged.
    pub(super) fn open(self, stored: &[u8]) -> Option<Block> {
        if stored.len() != self.stored as usize || crc32c::crc32c(stored) != self.body_sum {
            return None;
        }
        let raw = match self.codec {
            PLAIN if self.raw == self.stored => stored.to_vec(),
            LZ4 => {
                let mut raw = vec![0; self.raw as usize];
                let length = lz4_flex::block::decompress_into(stored, &mut raw).ok()?;
                if length != raw.len() {
                    return None;
                }
                raw
            }
            _ => return None,
        };
        Some(Block { header: self, raw })
    }
}

impl Block {
    pub fn records(&self) -> Records<'_> {
        Records { rest: &self.raw }
    }

    /// The record that lies at this offset of the body, and where the next one lies.
    #[cfg(feature = "kafka")]
    pub(crate) fn record_at(&self, offset: usize) -> Option<(Record<'_>, usize)> {
        let mut records = Records {
            rest: self.raw.get(offset..)?,
        };
        let record = records.next()?;
        Some((record, self.raw.len() - records.rest.len()))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let (length, rest) = self.rest.split_first_chunk::<4>()?;
        let (record, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        self.rest = rest;
        Record::read(record)
    }
}

impl Builder {
    pub(crate) fn new(size: usize) -> Self {
        Self {
            raw: Vec::with_capacity(size + size / 4),
            count: 0,
            first: 0,
            last: 0,
            first_time: 0,
            last_time: 0,
        }
    }

    /// Takes a record, whose bytes these are.
    pub(crate) fn push(&mut self, sequence: u64, time: u64, record: &[u8]) {
        // A record comes from a ring, whose frames a u32 measures.
        self.raw
            .extend_from_slice(&(record.len() as u32).to_le_bytes());
        self.raw.extend_from_slice(record);
        if self.count == 0 {
            (self.first, self.first_time) = (sequence, time);
        }
        (self.last, self.last_time) = (sequence, time);
        self.count += 1;
    }

    /// Says that it accounts for all sequences up to this one.
    pub(crate) fn account(&mut self, last: u64) {
        self.last = self.last.max(last);
    }

    pub(crate) fn len(&self) -> usize {
        self.raw.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn clear(&mut self) {
        self.raw.clear();
        self.count = 0;
    }

    /// Writes the block into `into`, in place of what is there. It still has to be told where it goes: [`bind`].
    pub(crate) fn finish(&self, epoch: u64, worker: u16, into: &mut Vec<u8>) {
        let most = lz4_flex::block::get_maximum_output_size(self.raw.len());
        // What the block before has left is overwritten or cut off: no need to clear it.
        into.resize(HEAD + most, 0);
        // The room is what LZ4 takes at most; a block that it cannot make smaller lies as it is.
        let packed = lz4_flex::block::compress_into(&self.raw, &mut into[HEAD..])
            .ok()
            .filter(|length| *length < self.raw.len());
        let (codec, stored) = match packed {
            Some(length) => (LZ4, length),
            None => {
                into[HEAD..HEAD + self.raw.len()].copy_from_slice(&self.raw);
                (PLAIN, self.raw.len())
            }
        };
        let header = Header {
            epoch,
            worker,
            first: self.first,
            last: self.last,
            first_time: self.first_time,
            last_time: self.last_time,
            count: self.count,
            stored: stored as u32,
            raw: self.raw.len() as u32,
            codec,
            body_sum: crc32c::crc32c(&into[HEAD..HEAD + stored]),
            offset: 0,
        };
        into.truncate(HEAD + stored);
        into.resize(into.len().next_multiple_of(ALIGN as usize), 0);
        header.write(&mut into[..HEAD]);
    }
}

/// Tells a finished block at which offset of its segment it lies.
pub(super) fn bind(block: &mut [u8], offset: u64) {
    block[72..80].copy_from_slice(&offset.to_le_bytes());
    let sum = crc32c::crc32c(&block[8..HEAD]);
    block[4..8].copy_from_slice(&sum.to_le_bytes());
}

/// Bytes of a head.
pub(super) const HEAD: usize = 80;
/// What blocks begin at multiples of.
pub(super) const ALIGN: u64 = 8;
/// No body is longer, stored or raw: a damaged head cannot ask for more memory.
const LIMIT: u32 = 64 << 20;
const MAGIC: u32 = u32::from_le_bytes(*b"CBLK");
const PLAIN: u8 = 0;
const LZ4: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn block(bodies: &[Vec<u8>]) -> Vec<u8> {
        let mut builder = Builder::new(1024);
        for (body, sequence) in bodies.iter().zip(7..) {
            let record = Record {
                sequence,
                previous: sequence - 1,
                time: sequence * 10,
                kind: 3,
                awaited: false,
                key: None,
                trace: None,
                body,
            };
            let mut bytes = Vec::new();
            record.write(&mut bytes);
            builder.push(sequence, record.time, &bytes);
        }
        let mut out = Vec::new();
        builder.finish(5, 2, &mut out);
        bind(&mut out, 512);
        out
    }

    fn open(bytes: &[u8]) -> Option<Block> {
        let header = Header::read(bytes.first_chunk()?, 512)?;
        header.open(bytes.get(HEAD..HEAD + header.stored as usize)?)
    }

    #[test]
    fn a_block_is_read_back_packed_or_plain() {
        let noise: Vec<u8> = (0..200_u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        for bodies in [vec![vec![b'a'; 400]; 20], vec![noise]] {
            let bytes = block(&bodies);
            let block = open(&bytes).unwrap();
            assert_eq!((block.header.epoch, block.header.worker), (5, 2));
            assert_eq!(block.header.first, 7);
            assert_eq!(block.header.last, 6 + bodies.len() as u64);
            let read: Vec<Vec<u8>> = block.records().map(|record| record.body.to_vec()).collect();
            assert_eq!(read, bodies);
        }
    }

    #[test]
    fn no_flipped_bit_goes_unseen() {
        let bodies = vec![b"something that is said".to_vec(); 3];
        let sound = block(&bodies);
        let header = Header::read(sound.first_chunk().unwrap(), 512).unwrap();
        for bit in 0..(HEAD + header.stored as usize) * 8 {
            let mut bytes = sound.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&bytes).is_none(), "bit {bit}");
        }
        assert!(Header::read(sound.first_chunk().unwrap(), 520).is_none());
    }
}
