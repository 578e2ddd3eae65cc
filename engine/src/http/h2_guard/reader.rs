//! Frame headers out of a byte stream that is cut anywhere (RFC 9113 §4.1).

/// The header of one frame, with the payload of a RST_STREAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    /// The error code of a well-formed RST_STREAM, 0 otherwise.
    pub(super) code: u32,
}

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;
/// RFC 9218 §7.1.
pub(super) const PRIORITY_UPDATE: u8 = 16;

pub(super) const END_STREAM: u8 = 1;
/// Of SETTINGS.
pub(super) const ACK: u8 = 1;
pub(super) const PADDED: u8 = 8;
pub(super) const END_HEADERS: u8 = 4;

/// Finds frame headers in one direction of a connection.
#[derive(Clone, Debug)]
pub(super) struct FrameReader {
    /// Bytes to pass over: what is left of the preface or of a payload.
    skip: u32,
    /// The header being collected, and the payload of a RST_STREAM behind it.
    partial: [u8; HEADER_BYTES + CODE_BYTES],
    collected: u8,
}

impl FrameReader {
    /// A direction that starts with the client's preface (RFC 9113 §3.4), whose bytes `h2` checks.
    pub(super) const fn after_preface() -> Self {
        Self::skipping(PREFACE_BYTES)
    }

    /// A direction that starts with a frame.
    pub(super) const fn at_frame() -> Self {
        Self::skipping(0)
    }

    const fn skipping(skip: u32) -> Self {
        Self {
            skip,
            partial: [0; HEADER_BYTES + CODE_BYTES],
            collected: 0,
        }
    }

    /// Passes over bytes until a frame header is complete. Returns it with the bytes behind it, or `None` at the end.
    pub(super) fn next<'a>(&mut self, mut bytes: &'a [u8]) -> Option<(Head, &'a [u8])> {
        loop {
            if self.skip > 0 {
                let passed = bytes.len().min(self.skip as usize);
                // At most `skip`, which is a u32.
                self.skip -= passed as u32;
                bytes = &bytes[passed..];
            }
            if bytes.is_empty() {
                return None;
            }
            let wanted = self.wanted();
            let collected = usize::from(self.collected);
            let taken = bytes.len().min(wanted - collected);
            self.partial[collected..collected + taken].copy_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            // Never above the thirteen bytes of the buffer.
            self.collected += taken as u8;
            if usize::from(self.collected) == wanted && self.wanted() == wanted {
                return Some((self.complete(), bytes));
            }
        }
    }

    fn wanted(&self) -> usize {
        let is_reset = usize::from(self.collected) >= HEADER_BYTES
            && self.partial[3] == RST_STREAM
            && self.length() == CODE_BYTES as u32;
        if is_reset {
            HEADER_BYTES + CODE_BYTES
        } else {
            HEADER_BYTES
        }
    }

    const fn length(&self) -> u32 {
        let [a, b, c, ..] = self.partial;
        u32::from_be_bytes([0, a, b, c])
    }

    fn complete(&mut self) -> Head {
        let [_, _, _, kind, flags, a, b, c, d, code @ ..] = self.partial;
        let has_code = usize::from(self.collected) > HEADER_BYTES;
        let length = self.length();
        self.collected = 0;
        self.skip = if has_code { 0 } else { length };
        Head {
            length,
            kind,
            flags,
            // The first bit is reserved.
            stream: u32::from_be_bytes([a & 0x7f, b, c, d]),
            code: if has_code {
                u32::from_be_bytes(code)
            } else {
                0
            },
        }
    }
}

const PREFACE_BYTES: u32 = 24;
pub(super) const HEADER_BYTES: usize = 9;
const CODE_BYTES: usize = 4;
