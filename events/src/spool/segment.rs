//! A segment's file: its name, and its head, which says whose records it holds.
//!
//! ```text
//! magic u64 · CRC32C of the rest of the head u32 · length of the name u32 · ordinal u64 · created u64 (µs since 1970) · name · zeros to 512
//! ```

use std::io;
use std::path::{Path, PathBuf};

/// What a segment's head says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Head {
    pub(super) ordinal: u64,
    pub(super) created: u64,
    /// The process: `NODE/ROLE-N`.
    pub(super) name: String,
}

impl Head {
    pub(super) fn read(bytes: &[u8; HEAD]) -> Option<Self> {
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(word)
        };
        let sum = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        if word(0) != MAGIC || sum != crc32c::crc32c(&bytes[12..]) {
            return None;
        }
        let length = u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]) as usize;
        let name = bytes.get(32..)?.get(..length)?;
        Some(Self {
            ordinal: word(16),
            created: word(24),
            name: std::str::from_utf8(name).ok()?.to_owned(),
        })
    }

    pub(super) fn write(&self) -> [u8; HEAD] {
        let mut bytes = [0; HEAD];
        let name = self.name.as_bytes();
        let name = &name[..name.len().min(NAME_LIMIT)];
        bytes[..8].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[12..16].copy_from_slice(&(name.len() as u32).to_le_bytes());
        bytes[16..24].copy_from_slice(&self.ordinal.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.created.to_le_bytes());
        bytes[32..32 + name.len()].copy_from_slice(name);
        let sum = crc32c::crc32c(&bytes[12..]);
        bytes[8..12].copy_from_slice(&sum.to_le_bytes());
        bytes
    }
}

/// Where the segment of this ordinal lies.
pub(super) fn path(segments: &Path, ordinal: u64) -> PathBuf {
    segments.join(format!("{ordinal:020}.segment"))
}

/// Ordinals and sizes of all segments, in order; none where the folder is not there.
pub(super) fn list(segments: &Path) -> io::Result<Vec<(u64, u64)>> {
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(segments) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let ordinal = name
            .to_str()
            .and_then(|name| name.strip_suffix(".segment"))
            .and_then(|ordinal| ordinal.parse().ok());
        if let Some(ordinal) = ordinal
            // Deleted meanwhile.
            && let Ok(metadata) = entry.metadata()
        {
            found.push((ordinal, metadata.len()));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Bytes of a segment's head.
pub(super) const HEAD: usize = 512;
/// Longest name of a process.
pub(super) const NAME_LIMIT: usize = HEAD - 32;
const MAGIC: u64 = u64::from_be_bytes(*b"CARBSEG\x01");
