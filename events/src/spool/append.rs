//! Blocks into segments.

use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::block;
use super::cursor::Cursor;
use super::directory::Directory;
use super::segment::{self, Head};

/// Makes segments' files. Tests make files that fail.
pub(crate) trait Storage: Debug + Send {
    fn create(&mut self, path: &Path) -> io::Result<Box<dyn Medium>>;
}

/// A file that is written at its end.
pub(crate) trait Medium: Debug + Send + Write {
    fn sync(&mut self) -> io::Result<()>;
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

/// The file system.
#[derive(Debug)]
pub(crate) struct Disk;

impl Storage for Disk {
    fn create(&mut self, path: &Path) -> io::Result<Box<dyn Medium>> {
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o640)
            .open(path)?;
        // The name must survive a power cut as the blocks do.
        if let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(Box::new(file))
    }
}

impl Medium for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

/// Writes blocks, one segment after the other.
#[derive(Debug)]
pub(crate) struct Appender {
    storage: Box<dyn Storage>,
    segments: PathBuf,
    name: String,
    limit: u64,
    next: u64,
    open: Option<Open>,
    /// The blocks that no sync has covered yet, one behind the other, and their lengths. When a sync fails the kernel may have dropped
    /// their pages and will not say so again: they are written anew, into another segment.
    pending: Vec<u8>,
    lengths: Vec<usize>,
}

#[derive(Debug)]
struct Open {
    file: Box<dyn Medium>,
    written: u64,
}

impl Appender {
    /// Begins behind all segments that are or were there. `name` goes into their heads; a segment is not grown beyond `limit`.
    pub(crate) fn new(
        storage: Box<dyn Storage>,
        directory: &Directory,
        name: &str,
        limit: u64,
    ) -> io::Result<Self> {
        let there = directory
            .segment_sizes()?
            .last()
            .map_or(0, |(ordinal, _)| *ordinal);
        let acknowledged = Cursor::new(directory.path()).load().segment;
        Ok(Self {
            storage,
            segments: directory.segments(),
            name: name.to_owned(),
            limit,
            next: there.max(acknowledged) + 1,
            open: None,
            pending: Vec::new(),
            lengths: Vec::new(),
        })
    }

    /// Whose blocks these are.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Writes one finished block whole; where that fails, nothing of it counts.
    pub(crate) fn append(&mut self, block: &mut [u8]) -> io::Result<()> {
        self.write(block)?;
        self.pending.extend_from_slice(block);
        self.lengths.push(block.len());
        Ok(())
    }

    /// Bytes that a power cut would cost.
    pub(crate) fn unsynced(&self) -> usize {
        self.pending.len()
    }

    /// Puts on disk what was written; an error leaves it owed, and the next call writes it anew.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if self.open.is_none() {
            let mut pending = std::mem::take(&mut self.pending);
            let written = self.write_all(&mut pending);
            self.pending = pending;
            written?;
        }
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        if let Err(error) = open.file.sync() {
            self.open = None;
            return Err(error);
        }
        self.pending.clear();
        self.lengths.clear();
        // A burst of large blocks leaves no memory behind.
        self.pending.shrink_to(PENDING_KEPT);
        Ok(())
    }

    /// Ends the segment, so that it can be deleted once it is acknowledged; the next block begins another.
    pub(crate) fn seal(&mut self) -> io::Result<()> {
        self.sync()?;
        self.open = None;
        Ok(())
    }

    fn write_all(&mut self, mut blocks: &mut [u8]) -> io::Result<()> {
        let lengths = std::mem::take(&mut self.lengths);
        let written = lengths.iter().try_for_each(|length| {
            let (block, rest) = std::mem::take(&mut blocks).split_at_mut(*length);
            blocks = rest;
            self.write(block)
        });
        self.lengths = lengths;
        written
    }

    fn write(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        if self
            .open
            .as_ref()
            .is_some_and(|open| open.written + bytes.len() as u64 > self.limit)
        {
            self.seal()?;
        }
        if self.open.is_none() {
            self.open = Some(self.begin()?);
        }
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        block::bind(bytes, open.written);
        if let Err(error) = open.file.write_all(bytes) {
            // Half a block is taken back, or else the segment ends with it.
            if open.file.truncate(open.written).is_err() {
                self.open = None;
            }
            return Err(error);
        }
        open.written += bytes.len() as u64;
        Ok(())
    }

    fn begin(&mut self) -> io::Result<Open> {
        let head = Head {
            ordinal: self.next,
            created: crate::emit::now(),
            name: self.name.clone(),
        };
        let path = segment::path(&self.segments, self.next);
        // Where the head cannot be written, an empty file is left, which readers pass over.
        let mut file = self.storage.create(&path)?;
        self.next += 1;
        file.write_all(&head.write())?;
        Ok(Open {
            file,
            written: segment::HEAD as u64,
        })
    }
}

/// Memory that is kept for blocks that wait for a sync.
const PENDING_KEPT: usize = 2 << 20;
