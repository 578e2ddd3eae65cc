//! Where shipping stands: up to the cursor everything is acknowledged.
//!
//! It is stored now and then and not synced: an old cursor costs duplicates, which carry the ids that they had.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A place between two blocks of a spool.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Position {
    /// Ordinal of the segment.
    pub segment: u64,
    /// Bytes from its start; 0 is before its head.
    pub offset: u64,
}

/// The file that keeps a [`Position`].
#[derive(Clone, Debug)]
pub struct Cursor {
    path: PathBuf,
}

impl Cursor {
    pub fn new(directory: &Path) -> Self {
        Self {
            path: directory.join("cursor"),
        }
    }

    /// The start where nothing, or nothing sound, is stored.
    pub fn load(&self) -> Position {
        let Ok(bytes) = fs::read(&self.path) else {
            return Position::default();
        };
        let Ok(bytes) = <[u8; SIZE]>::try_from(bytes) else {
            return Position::default();
        };
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(word)
        };
        if word(16) != u64::from(crc32c::crc32c(&bytes[..16])) {
            return Position::default();
        }
        Position {
            segment: word(0),
            offset: word(8),
        }
    }

    pub fn store(&self, position: Position) -> io::Result<()> {
        let mut bytes = [0; SIZE];
        bytes[..8].copy_from_slice(&position.segment.to_le_bytes());
        bytes[8..16].copy_from_slice(&position.offset.to_le_bytes());
        let sum = u64::from(crc32c::crc32c(&bytes[..16]));
        bytes[16..].copy_from_slice(&sum.to_le_bytes());
        replace(&self.path, &bytes)
    }
}

/// Puts a file in the place of another at once.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    fs::write(&fresh, bytes)?;
    fs::rename(&fresh, path)
}

const SIZE: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_cursor_is_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let cursor = Cursor::new(folder.path());
        assert_eq!(cursor.load(), Position::default());
        let position = Position {
            segment: 7,
            offset: 4096,
        };
        cursor.store(position).unwrap();
        assert_eq!(cursor.load(), position);
        let path = folder.path().join("cursor");
        let sound = fs::read(&path).unwrap();
        for bit in 0..sound.len() * 8 {
            let mut bytes = sound.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, bytes).unwrap();
            assert_eq!(cursor.load(), Position::default(), "bit {bit}");
        }
    }
}
