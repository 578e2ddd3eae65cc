//! A worker's records in a shared mapping: one producer, one consumer, no lock.
//!
//! To emit is to copy a frame and to store where the next begins: no system call, no wait, no allocation. The mapping is a file's, so what
//! was stored outlives `kill -9`; the next process, or the shipper, reads what is left. A frame carries the CRC32C of its position and
//! its bytes: half a frame, or a frame of an earlier lap, is never taken for a record, whatever a power cut made of the file.
//!
//! ```text
//! frame:  length u32 · CRC32C u32 · record (`record.rs`) · zeros to a multiple of 8
//! filler: 0xffff_ffff · CRC32C of the position: the next frame begins at the start of the memory
//! ```
//!
//! The consumer owns the bytes between `TAIL` and `HEAD`, the producer all others. `HEAD` is stored by the producer alone, with
//! release, after the frame is complete; `TAIL` by the consumer alone, with release, after it has read. Positions count bytes since
//! the ring was made and never go back.

mod record;
mod region;

use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use bytes::BufMut;

pub use record::Record;
use region::Region;

/// How many topics a ring counts.
pub const TOPICS: usize = 12;

/// The end that emits.
#[derive(Debug)]
pub struct Producer {
    region: Arc<Region>,
    head: u64,
    /// `TAIL`, as it was when it was last looked at.
    tail: u64,
    /// The sequence of the next record.
    next: u64,
    /// Of each topic the last sequence.
    previous: [u64; TOPICS],
    /// The frame in the making.
    frame: Vec<u8>,
}

/// The end that drains.
#[derive(Debug)]
pub struct Consumer {
    region: Arc<Region>,
    /// Where the next frame is read.
    position: u64,
    /// The producer has died: what is complete behind `HEAD` counts too.
    orphaned: bool,
}

/// What everybody may know of a ring.
#[derive(Clone, Debug)]
pub struct Gauge {
    region: Arc<Region>,
}

/// What is emitted, but for its sequence.
#[derive(Clone, Copy, Debug)]
pub struct Draft<'a> {
    pub kind: u16,
    /// Index of the topic.
    pub topic: usize,
    pub time: u64,
    pub awaited: bool,
    pub key: Option<&'a [u8]>,
    pub trace: Option<&'a [u8]>,
}

/// How much of a ring a record may fill.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Share {
    /// Seven eighths: events that come in floods leave room for the others.
    Most,
    All,
}

/// Why a record was not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoRoom {
    /// The consumer is behind.
    #[error("the ring is full")]
    Full,
    /// It would not fit into an empty ring's quarter, or its key or trace are too long.
    #[error("the record is too large")]
    TooLarge,
}

/// What counts of a topic a ring holds.
#[derive(Clone, Copy, Debug)]
pub enum Count {
    Emitted,
    LostFull,
    LostQuota,
    LostTooLarge,
    Refused,
    Coalesced,
}

/// Frames that cannot be read: memory or file were damaged.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{bytes} bytes of the ring are damaged")]
pub struct Torn {
    pub bytes: u64,
}

/// Who writes into a ring.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Owner {
    /// Grows with every start of the process.
    pub epoch: u64,
    pub worker: u64,
}

/// A ring in a new file.
pub fn create(path: &Path, capacity: usize, owner: Owner) -> io::Result<(Producer, Consumer)> {
    Ok(ends(Region::create(path, rounded(capacity))?, owner))
}

/// A ring that ends with the process.
pub fn in_memory(capacity: usize, owner: Owner) -> (Producer, Consumer) {
    ends(Region::own(rounded(capacity)), owner)
}

/// What the producer of a file has left. No process may have the file open as its producer or its consumer.
pub fn orphan(path: &Path) -> io::Result<(Owner, Consumer)> {
    left_in(Region::open(path)?, path)
}

/// As [`orphan`], of a copy: the file stays as it is, and need not be writable.
pub fn copy(path: &Path) -> io::Result<(Owner, Consumer)> {
    left_in(Region::copy(path)?, path)
}

fn left_in(region: Region, path: &Path) -> io::Result<(Owner, Consumer)> {
    let word = |index| region.word(index).load(Acquire);
    let (head, tail) = (word(HEAD), word(TAIL));
    let sound = word(MAGIC) == MAGIC_WORD
        && head
            .checked_sub(tail)
            .is_some_and(|left| left <= region.capacity() as u64);
    if !sound {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "{} is no ring, or its first page is damaged",
                path.display()
            ),
        ));
    }
    let owner = Owner {
        epoch: word(EPOCH),
        worker: word(WORKER),
    };
    let consumer = Consumer {
        region: Arc::new(region),
        position: tail,
        orphaned: true,
    };
    Ok((owner, consumer))
}

fn rounded(capacity: usize) -> usize {
    capacity.next_power_of_two().max(4096)
}

fn ends(region: Region, owner: Owner) -> (Producer, Consumer) {
    region.word(EPOCH).store(owner.epoch, Relaxed);
    region.word(WORKER).store(owner.worker, Relaxed);
    region.word(NEXT).store(1, Relaxed);
    region.word(MAGIC).store(MAGIC_WORD, Release);
    let region = Arc::new(region);
    let producer = Producer {
        region: Arc::clone(&region),
        head: 0,
        tail: 0,
        next: 1,
        previous: [0; TOPICS],
        frame: Vec::with_capacity(1024),
    };
    let consumer = Consumer {
        region,
        position: 0,
        orphaned: false,
    };
    (producer, consumer)
}

impl Producer {
    /// Emits what `draft` and `body` make, and says its sequence.
    pub fn push(
        &mut self,
        draft: Draft<'_>,
        share: Share,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Result<u64, NoRoom> {
        let record = Record {
            sequence: self.next,
            previous: self.previous[draft.topic],
            time: draft.time,
            kind: draft.kind,
            awaited: draft.awaited,
            key: draft.key,
            trace: draft.trace,
            body: &[],
        };
        if !record.fits() {
            return Err(NoRoom::TooLarge);
        }
        self.frame.clear();
        self.frame.put_u64_le(0);
        record.write_head(&mut self.frame);
        body(&mut self.frame);
        let length = self.frame.len();
        self.frame.resize(length.next_multiple_of(FRAME), 0);

        let capacity = self.region.capacity();
        let size = self.frame.len();
        if size > capacity / 4 {
            return Err(NoRoom::TooLarge);
        }
        let left = capacity - offset(self.head, capacity);
        let filler = if size > left { left } else { 0 };
        let limit = match share {
            Share::Most => capacity - capacity / 8,
            Share::All => capacity,
        };
        if !self.has_room(filler + size, limit) {
            return Err(NoRoom::Full);
        }
        if filler > 0 {
            let mut words = [0; FRAME];
            words[..4].copy_from_slice(&FILLER.to_le_bytes());
            words[4..].copy_from_slice(&checksum(self.head, &[]).to_le_bytes());
            self.write(&words);
            self.head += filler as u64;
        }
        let sum = checksum(self.head, &self.frame[FRAME..length]);
        // A frame is shorter than a quarter of a capacity that fits a u32 (`rounded` of what `Options` allow).
        self.frame[..4].copy_from_slice(&(length as u32).to_le_bytes());
        self.frame[4..FRAME].copy_from_slice(&sum.to_le_bytes());
        self.write(&self.frame);
        self.head += size as u64;

        self.region.word(HEAD).store(self.head, Release);
        self.previous[draft.topic] = self.next;
        self.count(draft.topic, Count::Emitted);
        self.pass();
        Ok(self.next - 1)
    }

    /// Uses up the sequence of a record that is dropped, so that whoever drains sees that one is missing and says so.
    pub fn lose(&mut self, topic: usize, count: Count) {
        self.region
            .word(LOST_LAST + topic)
            .store(self.next, Relaxed);
        self.region
            .word(count.last_word())
            .store(self.next, Relaxed);
        self.count(topic, count);
        self.pass();
    }

    /// Counts what only this end knows of.
    pub fn count(&self, topic: usize, count: Count) {
        let word = self.region.word(count.word(topic));
        // This end alone writes it.
        word.store(word.load(Relaxed) + 1, Relaxed);
    }

    /// The sequence of the last record, emitted or lost; 0 before the first.
    pub fn last(&self) -> u64 {
        self.next - 1
    }

    /// The part of the ring that is in use, as far as this end knows.
    pub fn gauge(&self) -> Gauge {
        Gauge {
            region: Arc::clone(&self.region),
        }
    }

    fn pass(&mut self) {
        self.next += 1;
        // After `HEAD`: who sees the next sequence sees every record before it.
        self.region.word(NEXT).store(self.next, Release);
    }

    fn has_room(&mut self, size: usize, limit: usize) -> bool {
        let fits = |tail: u64| (self.head - tail) as usize + size <= limit;
        if fits(self.tail) {
            return true;
        }
        self.tail = self.region.word(TAIL).load(Acquire);
        fits(self.tail)
    }

    #[expect(unsafe_code, reason = "see `region`")]
    fn write(&self, bytes: &[u8]) {
        let at = offset(self.head, self.region.capacity());
        // SAFETY: `has_room` has seen that these bytes are not between TAIL and HEAD, so they are the producer's, and `&mut self`
        // of `push` makes this the only producer.
        unsafe { self.region.write(at, bytes) }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.region.word(CLOSED).store(1, Release);
    }
}

impl Consumer {
    /// The next record's bytes; `Torn` where damage hides the rest of what was emitted so far.
    pub fn take(&mut self) -> Option<Result<&[u8], Torn>> {
        let capacity = self.region.capacity();
        let head = self.region.word(HEAD).load(Acquire);
        let tail = self.region.word(TAIL).load(Relaxed);
        // Behind `HEAD` an orphan may hold a last record whose emission was not confirmed, and after a power cut more of them, because
        // pages reach the disk in any order.
        let end = if self.orphaned {
            tail + capacity as u64
        } else {
            head
        };
        if !self.orphaned && head.wrapping_sub(self.position) > capacity as u64 {
            return self.torn(head);
        }
        loop {
            if self.position >= end {
                return None;
            }
            match frame(&self.region, self.position, end) {
                Some(Frame::Filler(size)) => self.position += size,
                Some(Frame::Record { at, length, size }) => {
                    self.position += size;
                    return bytes(&self.region, at, length).map(Ok);
                }
                None if self.position >= head => return None,
                None => return self.torn(head),
            }
        }
    }

    fn torn(&mut self, head: u64) -> Option<Result<&[u8], Torn>> {
        let bytes = head.wrapping_sub(self.position);
        self.position = head;
        Some(Err(Torn { bytes }))
    }

    /// Gives what was taken back to the producer: up to the sequence all is kept elsewhere.
    pub fn release(&mut self, sequence: u64) {
        // In this order: a process that dies in between leaves records that are known to be kept, not a hole before the first.
        self.region.word(RELEASED).store(sequence, Release);
        self.region.word(TAIL).store(self.position, Release);
    }

    /// The sequence that was released last.
    pub fn released(&self) -> u64 {
        self.region.word(RELEASED).load(Relaxed)
    }

    /// Takes what was not released once more.
    pub fn rewind(&mut self) {
        self.position = self.region.word(TAIL).load(Relaxed);
    }

    /// Bytes that were emitted and not taken.
    pub fn left(&self) -> u64 {
        self.region
            .word(HEAD)
            .load(Acquire)
            .saturating_sub(self.position)
    }

    /// The last sequence that the producer has used, if all that it emitted up to then has been taken. What is missing between the last
    /// record and this one was lost.
    pub fn settled(&self) -> Option<u64> {
        // In this order: see `Producer::pass`.
        let next = self.region.word(NEXT).load(Acquire);
        let head = self.region.word(HEAD).load(Acquire);
        (self.position >= head).then(|| next.saturating_sub(1))
    }

    /// Whether the producer is gone. Ask before the last [`Self::take`].
    pub fn is_closed(&self) -> bool {
        self.orphaned || self.region.word(CLOSED).load(Acquire) != 0
    }

    pub fn gauge(&self) -> Gauge {
        Gauge {
            region: Arc::clone(&self.region),
        }
    }
}

impl Gauge {
    /// How full it is, from 0 to 1.
    pub fn used(&self) -> f64 {
        let word = |index| self.region.word(index).load(Relaxed);
        let (tail, head) = (word(TAIL), word(HEAD));
        head.saturating_sub(tail) as f64 / self.region.capacity() as f64
    }

    /// The last sequence that the producer has used.
    pub fn last(&self) -> u64 {
        self.region.word(NEXT).load(Acquire).saturating_sub(1)
    }

    pub fn count(&self, topic: usize, count: Count) -> u64 {
        self.region.word(count.word(topic)).load(Relaxed)
    }

    /// Whether a record whose sequence is `first` or later may have been lost for this reason.
    pub fn lost_so_since(&self, count: Count, first: u64) -> bool {
        self.region.word(count.last_word()).load(Relaxed) >= first
    }

    /// Whether the topic may have lost a record whose sequence is `first` or later.
    pub fn lost_since(&self, topic: usize, first: u64) -> bool {
        self.region.word(LOST_LAST + topic).load(Relaxed) >= first
    }

    pub fn worker(&self) -> u64 {
        self.region.word(WORKER).load(Relaxed)
    }

    /// Whether it outlives the process.
    pub fn is_shared(&self) -> bool {
        self.region.is_shared()
    }

    /// Whether both are of one ring.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.region, &other.region)
    }
}

/// What a living ring's file says of its producer: who it is, and the last sequence that it has used. Read without the mapping, so that
/// anybody who may read the file can ask.
pub fn peek(path: &Path) -> io::Result<(Owner, u64)> {
    let page = Page::read(path)?;
    Ok((page.owner(), page.word(NEXT).saturating_sub(1)))
}

/// As [`peek`], with the last sequence that is in the spool.
pub fn peek_released(path: &Path) -> io::Result<(Owner, u64)> {
    let page = Page::read(path)?;
    Ok((page.owner(), page.word(RELEASED)))
}

/// The words of a ring's file, as they were at one moment or the next.
struct Page(Vec<u8>);

impl Page {
    fn read(path: &Path) -> io::Result<Self> {
        let mut page = Self(vec![0; region::WORDS * 8]);
        std::fs::File::open(path)?.read_exact_at(&mut page.0, 0)?;
        if page.word(MAGIC) != MAGIC_WORD {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} is no ring", path.display()),
            ));
        }
        Ok(page)
    }

    fn word(&self, index: usize) -> u64 {
        let mut word = [0; 8];
        word.copy_from_slice(&self.0[index * 8..index * 8 + 8]);
        u64::from_ne_bytes(word)
    }

    fn owner(&self) -> Owner {
        Owner {
            epoch: self.word(EPOCH),
            worker: self.word(WORKER),
        }
    }
}

enum Frame {
    Filler(u64),
    Record { at: usize, length: usize, size: u64 },
}

/// The frame at a position that the consumer owns; none where there is no sound one before `end`.
fn frame(region: &Region, position: u64, end: u64) -> Option<Frame> {
    let capacity = region.capacity();
    let at = offset(position, capacity);
    let left = capacity - at;
    let head: &[u8; FRAME] = bytes(region, at, FRAME)?.try_into().ok()?;
    let (length, sum) = head.split_at(4);
    let length = u32::from_le_bytes(length.try_into().ok()?);
    let sum = u32::from_le_bytes(sum.try_into().ok()?);
    if length == FILLER {
        return (sum == checksum(position, &[])).then_some(Frame::Filler(left as u64));
    }
    let length = length as usize;
    if length < FRAME || length > left || length as u64 > end - position {
        return None;
    }
    let record = bytes(region, at + FRAME, length - FRAME)?;
    (sum == checksum(position, record)).then(|| Frame::Record {
        at: at + FRAME,
        length: length - FRAME,
        size: length.next_multiple_of(FRAME) as u64,
    })
}

#[expect(unsafe_code, reason = "see `region`")]
fn bytes(region: &Region, at: usize, length: usize) -> Option<&[u8]> {
    // SAFETY: called by the consumer alone, for what lies between TAIL and the HEAD that it has acquired, which the producer does not
    // touch before TAIL passes it (`release`, which needs `&mut Consumer` and so the end of every slice); or of an orphan, which nobody
    // writes.
    unsafe { region.read(at, length) }
}

fn offset(position: u64, capacity: usize) -> usize {
    (position & (capacity as u64 - 1)) as usize
}

fn checksum(position: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&position.to_le_bytes()), bytes)
}

impl Count {
    const fn word(self, topic: usize) -> usize {
        COUNTS + self as usize * 16 + topic
    }

    const fn last_word(self) -> usize {
        LOST_SO_LAST + self as usize
    }
}

/// Bytes of a frame's head, and what frames are aligned to.
const FRAME: usize = 8;
const FILLER: u32 = u32::MAX;
/// "CARBRNG" and a version.
const MAGIC_WORD: u64 = u64::from_be_bytes(*b"CARBRNG\x01");

// Words. What the producer stores and what the consumer stores lie on different cache lines.
const MAGIC: usize = 0;
const EPOCH: usize = 1;
const WORKER: usize = 2;
const CLOSED: usize = 3;
const HEAD: usize = 16;
const NEXT: usize = 17;
const LOST_LAST: usize = 32;
const LOST_SO_LAST: usize = 48;
const COUNTS: usize = 64;
const TAIL: usize = 256;
const RELEASED: usize = 257;

#[cfg(test)]
mod tests;
