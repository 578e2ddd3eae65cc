//! The chunked coding, both ways (RFC 9112 §7.1).
use std::ops::Range;

use super::HeadError;
use crate::http::Headers;

/// Ends a chunk's data.
pub const CHUNK_END: &[u8] = b"\r\n";
/// Ends a body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// What the decoder may spend on the parts of a chunked body that are not data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkLimits {
    /// Bytes of chunk extensions over the whole body.
    pub extension_bytes: usize,
    /// Bytes of the trailer section.
    pub trailer_bytes: usize,
    /// Fields of the trailer section.
    pub trailer_fields: usize,
}

impl Default for ChunkLimits {
    fn default() -> Self {
        Self { extension_bytes: 16 * 1024, trailer_bytes: 8 * 1024, trailer_fields: 100 }
    }
}

/// Why a chunked body was refused; the connection closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// The size is not 1 to 16 hexadecimal digits.
    #[error("chunk size is not 1 to 16 hexadecimal digits")]
    Size,
    /// The trailer section was refused.
    #[error("trailers: {0}")]
    Trailers(#[from] HeadError),
}

/// What the decoder found.
#[derive(Debug, PartialEq, Eq)]
pub enum ChunkEvent {
    /// Everything was consumed, more bytes are needed.
    NeedMore,
    /// A non-empty piece of the body: these bytes of the input.
    Data(Range<usize>),
    /// The body is complete; the list is empty where there were no trailers. Bytes after `consumed` belong to the next message.
    End(Headers),
}

/// Decoder of one chunked body.
#[derive(Debug)]
pub struct ChunkDecoder {
    limits: ChunkLimits,
}

impl ChunkDecoder {
    /// A decoder at the first size line.
    pub fn new(limits: &ChunkLimits) -> Self {
        Self { limits: limits.clone() }
    }

    /// Takes bytes that were not consumed before; returns how many are consumed now (drop them) and what they were.
    /// `Data` ranges end at the consumed count. Call until `NeedMore` or `End`.
    pub fn decode(&mut self, input: &[u8]) -> Result<(usize, ChunkEvent), ChunkError> {
        let _ = (input, &self.limits);
        todo!()
    }

    /// Whether `End` was returned.
    pub const fn is_done(&self) -> bool {
        false
    }
}

/// The size line of a chunk, made without allocation.
#[derive(Clone, Copy, Debug)]
pub struct ChunkHead {
    bytes: [u8; 18],
    start: u8,
}

impl ChunkHead {
    /// The line for a chunk of `length` bytes; a length of 0 would end the body, the caller skips empty pieces.
    pub fn new(length: usize) -> Self {
        let _ = length;
        todo!()
    }
}

impl AsRef<[u8]> for ChunkHead {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[usize::from(self.start)..]
    }
}

/// Ends a body with trailers: last chunk, the fields that may stand in a trailer section, empty line.
pub fn encode_end(trailers: &Headers, out: &mut Vec<u8>) {
    let _ = (trailers, out);
    todo!()
}
