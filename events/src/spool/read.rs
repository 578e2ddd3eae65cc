//! Segments into blocks, past whatever is damaged.
//!
//! What cannot be read is never an end: the reader looks for the next sound head, goes on there, and says how many bytes it passed over.
//! Only at the very end of the last segment it waits, because that is where the writer writes. Where the head of a segment is damaged,
//! which says whose blocks these are, that is damage too; the ledger knows it by their epochs.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::block::{self, ALIGN, Block, Header};
use super::cursor::{Cursor, Position};
use super::directory::Directory;
use super::ledger::Ledger;
use super::segment::{self, Head};

/// Reads the blocks of one directory in order.
#[derive(Debug)]
pub struct Reader {
    directory: Directory,
    segments: PathBuf,
    position: Position,
    open: Option<Open>,
    stored: Vec<u8>,
}

#[derive(Debug)]
struct Open {
    ordinal: u64,
    file: File,
    name: String,
    /// Where the head is damaged: it tells of each epoch whose it was.
    ledger: Option<Ledger>,
    /// That damage has not been told yet.
    untold: bool,
}

/// What comes next in a spool.
#[derive(Debug)]
pub enum Step {
    Block(Block),
    Damage(Damage),
    /// Nothing more, for now.
    End,
}

/// Bytes that were passed over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Damage {
    pub at: Position,
    pub bytes: u64,
    /// What a block with a damaged body held, for its head is sound.
    pub header: Option<Header>,
}

impl Damage {
    /// It is the head of a segment, which said whose blocks are in it.
    pub fn is_head(&self) -> bool {
        self.at.offset == 0
    }
}

impl Reader {
    /// Begins at a position that an earlier reader has told, or at the start.
    pub fn new(directory: &Directory, position: Position) -> Self {
        Self {
            directory: directory.clone(),
            segments: directory.segments(),
            position,
            open: None,
            stored: Vec::new(),
        }
    }

    /// Where the next block is looked for.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The process whose block was read last: `NODE/ROLE-N`; empty before the first block.
    pub fn name(&self) -> &str {
        self.open.as_ref().map_or("", |open| &open.name)
    }

    /// The next block, or what hides it.
    pub fn step(&mut self) -> io::Result<Step> {
        loop {
            if self.open.is_none() && !self.enter()? {
                return Ok(Step::End);
            }
            let Some(open) = &mut self.open else {
                return Ok(Step::End);
            };
            if std::mem::take(&mut open.untold) {
                return Ok(Step::Damage(Damage {
                    at: Position {
                        segment: open.ordinal,
                        offset: 0,
                    },
                    bytes: segment::HEAD as u64,
                    header: None,
                }));
            }
            let Some(open) = &self.open else {
                return Ok(Step::End);
            };
            // Asked before the length is: once there is a later segment, this one does not grow any more.
            let later = self.later(open.ordinal)?;
            let length = open.file.metadata()?.len();
            let header = header(&open.file, self.position.offset, length)?;
            if let Some(header) = header
                && self.position.offset + header.size() <= length
            {
                let at = self.position;
                self.stored.resize(header.stored as usize, 0);
                let body = at.offset + block::HEAD as u64;
                open.file.read_exact_at(&mut self.stored, body)?;
                let block = header.open(&self.stored);
                if block.is_none() && later.is_none() && at.offset + header.size() == length {
                    return Ok(Step::End);
                }
                self.attribute(header.epoch);
                self.position.offset += header.size();
                return Ok(match block {
                    Some(block) => Step::Block(block),
                    None => Step::Damage(Damage {
                        at,
                        bytes: header.size(),
                        header: Some(header),
                    }),
                });
            }
            // Not a whole block. The next sound one, if there is one, tells that what lies before it is damaged.
            if let Some(next) = self.search(length)? {
                return Ok(self.skip(next));
            }
            let Some(later) = later else {
                return Ok(Step::End);
            };
            let left = length.saturating_sub(self.position.offset);
            let damage = (left > 0).then(|| self.skip(length));
            self.open = None;
            self.position = Position {
                segment: later,
                offset: 0,
            };
            if let Some(damage) = damage {
                return Ok(damage);
            }
        }
    }

    /// Bytes at the end of the last segment that are no whole block: a torn tail, if their writer is gone.
    pub fn rest(&self) -> io::Result<u64> {
        let Some(open) = &self.open else {
            return Ok(0);
        };
        let length = open.file.metadata()?.len();
        Ok(length.saturating_sub(self.position.offset))
    }

    /// Opens the segment of the position, or the first one behind it.
    fn enter(&mut self) -> io::Result<bool> {
        loop {
            let segments = segment::list(&self.segments)?;
            let wanted = self.position.segment;
            let found = segments.iter().find(|(ordinal, _)| *ordinal >= wanted);
            let Some((ordinal, length)) = found.copied() else {
                return Ok(false);
            };
            let last = segments.last().is_some_and(|(last, _)| *last == ordinal);
            if length < segment::HEAD as u64 && last {
                // Being made.
                return Ok(false);
            }
            let file = match File::open(segment::path(&self.segments, ordinal)) {
                Ok(file) => file,
                // Acknowledged and deleted meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let mut bytes = [0; segment::HEAD];
            let head = match file.read_exact_at(&mut bytes, 0) {
                Ok(()) => Head::read(&bytes),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
                Err(error) => return Err(error),
            };
            if self.position.segment != ordinal {
                self.position = Position {
                    segment: ordinal,
                    offset: 0,
                };
            }
            self.position.offset = self.position.offset.max(segment::HEAD as u64);
            self.open = Some(Open {
                ordinal,
                file,
                // One that is shorter than its head holds nothing.
                untold: head.is_none() && length >= segment::HEAD as u64,
                ledger: head.is_none().then(|| Ledger::load(self.directory.path())),
                name: head.map(|head| head.name).unwrap_or_default(),
            });
            return Ok(true);
        }
    }

    /// Finds out whose block this is, where the segment does not say it.
    fn attribute(&mut self, epoch: u64) {
        if let Some(open) = &mut self.open
            && let Some(ledger) = &open.ledger
        {
            let name = ledger.name(epoch);
            open.name = name.map_or_else(|| self.directory.nameless(), str::to_owned);
        }
    }

    fn later(&self, ordinal: u64) -> io::Result<Option<u64>> {
        let next = ordinal + 1;
        if segment::path(&self.segments, next).try_exists()? {
            return Ok(Some(next));
        }
        let segments = segment::list(&self.segments)?;
        let later = segments.into_iter().map(|(later, _)| later);
        Ok(later.filter(|later| *later > ordinal).min())
    }

    fn skip(&mut self, to: u64) -> Step {
        let at = self.position;
        self.position.offset = to;
        Step::Damage(Damage {
            at,
            bytes: to - at.offset,
            header: None,
        })
    }

    /// The offset of the first sound head behind the position.
    fn search(&self, length: u64) -> io::Result<Option<u64>> {
        let Some(open) = &self.open else {
            return Ok(None);
        };
        let mut window = Vec::new();
        let mut from = self.position.offset.next_multiple_of(ALIGN) + ALIGN;
        while from + block::HEAD as u64 <= length {
            let size = usize::try_from(length - from).unwrap_or(WINDOW).min(WINDOW);
            window.resize(size, 0);
            open.file.read_exact_at(&mut window, from)?;
            for at in (0..size).step_by(ALIGN as usize) {
                let bytes = &window[at..];
                let Some(bytes) = bytes.first_chunk() else {
                    break;
                };
                if Header::read(bytes, from + at as u64).is_some() {
                    return Ok(Some(from + at as u64));
                }
            }
            // Heads that begin in the window's last bytes are seen by the next one.
            from += (size - block::HEAD) as u64 / ALIGN * ALIGN + ALIGN;
        }
        Ok(None)
    }
}

/// When the oldest event was emitted that is not acknowledged, in microseconds since 1970; none where all are.
pub fn oldest(directory: &Directory) -> Option<u64> {
    let mut reader = Reader::new(directory, Cursor::new(directory.path()).load());
    loop {
        return match reader.step() {
            Ok(Step::Block(block)) => Some(block.header.first_time),
            Ok(Step::Damage(damage)) if damage.is_head() => continue,
            Ok(Step::Damage(Damage { header, .. })) => header.map(|header| header.first_time),
            Ok(Step::End) | Err(_) => None,
        };
    }
}

/// The head at the offset; none where there is none, or not all of it.
fn header(file: &File, offset: u64, length: u64) -> io::Result<Option<Header>> {
    if offset + block::HEAD as u64 > length {
        return Ok(None);
    }
    let mut bytes = [0; block::HEAD];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(Header::read(&bytes, offset))
}

/// Bytes that are searched at once.
const WINDOW: usize = 1 << 20;

#[cfg(test)]
mod tests;
