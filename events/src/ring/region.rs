//! The memory of a ring: a shared mapping of a file, which outlives the process, or plain memory where no file could be had.
//!
//! It holds a page of words and a power of two of bytes. Words are atomic; bytes are copied in and out by the two ends of the ring, whose
//! protocol keeps them apart. This is all the `unsafe` that a ring needs.
#![expect(
    unsafe_code,
    reason = "a mapping shared with the next process is raw memory"
)]

use std::cell::UnsafeCell;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{FallocateFlags, fallocate};

/// Words before the bytes: one page.
pub(super) const WORDS: usize = 512;
const WORDS_BYTES: usize = WORDS * 8;

/// Shared memory of one ring.
#[derive(Debug)]
pub(super) struct Region {
    memory: Memory,
    capacity: usize,
}

#[derive(Debug)]
enum Memory {
    Mapped(MmapRaw),
    /// In units of a word, for their alignment.
    Own(Box<[UnsafeCell<u64>]>),
}

// SAFETY: the words are only touched as atomics. The bytes are touched through `write`, `read`, whose callers answer for it
// that no two threads touch the same ones at once.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// A new file of zeros. Its blocks are allocated: a hole that cannot be filled later would end the process by SIGBUS.
    pub(super) fn create(path: &Path, capacity: usize) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o640)
            .open(path)?;
        let mapped = fallocate(
            &file,
            FallocateFlags::empty(),
            0,
            (WORDS_BYTES + capacity) as u64,
        )
        .map_err(io::Error::from)
        .and_then(|()| Self::map(&file, capacity));
        if mapped.is_err() {
            // Nothing is in it yet.
            std::fs::remove_file(path).ok();
        }
        mapped
    }

    /// A file that an earlier process has left.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let length = usize::try_from(file.metadata()?.len()).unwrap_or(0);
        let capacity = length.saturating_sub(WORDS_BYTES);
        if !capacity.is_power_of_two() || capacity < 8 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} is no ring: {length} bytes", path.display()),
            ));
        }
        Self::map(&file, capacity)
    }

    /// What a file holds at this moment: for who may only read it.
    pub(super) fn copy(path: &Path) -> io::Result<Self> {
        let bytes = std::fs::read(path)?;
        let capacity = bytes.len().saturating_sub(WORDS_BYTES);
        if !capacity.is_power_of_two() || capacity < 8 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} is no ring: {} bytes", path.display(), bytes.len()),
            ));
        }
        let (words, _) = bytes.as_chunks();
        let words = words
            .iter()
            .map(|word| UnsafeCell::new(u64::from_ne_bytes(*word)));
        Ok(Self {
            memory: Memory::Own(words.collect()),
            capacity,
        })
    }

    /// Memory that ends with the process.
    pub(super) fn own(capacity: usize) -> Self {
        let words = (0..WORDS + capacity / 8).map(|_| UnsafeCell::new(0));
        Self {
            memory: Memory::Own(words.collect()),
            capacity,
        }
    }

    fn map(file: &File, capacity: usize) -> io::Result<Self> {
        let mapping = MmapOptions::new()
            .len(WORDS_BYTES + capacity)
            .map_raw(file)?;
        Ok(Self {
            memory: Memory::Mapped(mapping),
            capacity,
        })
    }

    /// How many bytes it has, besides the words.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether it outlives the process.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self.memory, Memory::Mapped(_))
    }

    fn pointer(&self) -> *mut u8 {
        match &self.memory {
            Memory::Mapped(mapping) => mapping.as_mut_ptr(),
            Memory::Own(words) => UnsafeCell::raw_get(words.as_ptr()).cast(),
        }
    }

    /// The word of this index.
    pub(super) fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < WORDS);
        // SAFETY: inside the page of words by the assertion, aligned because the memory begins with a page or a word, alive as
        // long as `self`, and never touched but as an atomic.
        unsafe { AtomicU64::from_ptr(self.pointer().cast::<u64>().add(index)) }
    }

    /// Copies `bytes` to the offset.
    ///
    /// # Safety
    ///
    /// Nobody may touch these bytes meanwhile: they lie in the part that the ring's producer owns, and the caller is it.
    pub(super) unsafe fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(offset <= self.capacity && bytes.len() <= self.capacity - offset);
        // SAFETY: in bounds by the assertion; the caller answers for the rest.
        unsafe {
            let to = self.pointer().add(WORDS_BYTES + offset);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
    }

    /// The bytes at the offset; none beyond the end.
    ///
    /// # Safety
    ///
    /// Nobody may write these bytes while the slice lives: they lie in the part that the ring's consumer owns, and the caller is it.
    pub(super) unsafe fn read(&self, offset: usize, length: usize) -> Option<&[u8]> {
        if offset > self.capacity || length > self.capacity - offset {
            return None;
        }
        // SAFETY: in bounds by the condition, and initialised: a file's bytes, or zeros. The caller answers for the rest.
        Some(unsafe {
            std::slice::from_raw_parts(self.pointer().add(WORDS_BYTES + offset), length)
        })
    }
}
