//! The chunked coding, both ways (RFC 9112 §7.1). Sizes and extensions end here: whoever writes the body on writes its own.

use std::ops::Range;

use bytes::Bytes;
use memchr::memchr;

use super::HeadError;
use super::fields::{may_trail, read_trailers};
use crate::http::Headers;

/// Ends a chunk's data.
pub const CHUNK_END: &[u8] = b"\r\n";
/// Ends a body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// What the decoder may spend on the parts of a chunked body that are not data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
        Self {
            extension_bytes: 16 * 1024,
            trailer_bytes: 8 * 1024,
            trailer_fields: 100,
        }
    }
}

/// Why a chunked body was refused; the connection closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// The size is not 1 to 16 hexadecimal digits, or above 2^63 − 1.
    #[error("chunk size is not 1 to 16 hexadecimal digits")]
    Size,
    /// A control byte in an extension, a lone LF among them.
    #[error("control byte in a chunk extension")]
    Extension,
    /// More extension bytes than the limit.
    #[error("too many chunk extension bytes")]
    ExtensionTooLong,
    /// A size line or a chunk's data does not end in CRLF.
    #[error("chunk part does not end in CRLF")]
    LineEnd,
    /// The trailer section is larger than its limit.
    #[error("trailer section too large")]
    TrailersTooLarge,
    /// The trailer section is malformed.
    #[error("trailers: {0}")]
    Trailers(#[from] HeadError),
}

impl ChunkError {
    /// A stable name for logs; Envoy has one for all of them.
    pub const fn detail(self) -> &'static str {
        "http1.codec_error"
    }
}

/// What the decoder found.
#[derive(Debug, PartialEq, Eq)]
pub enum ChunkEvent {
    /// Everything was consumed, more bytes are needed.
    NeedMore,
    /// A non-empty piece of the body: these bytes of the input.
    Data(Range<usize>),
    /// The body is complete; the list is empty where there were no trailers. Bytes after the consumed ones belong to the
    /// next message.
    End(Headers),
}

/// Decoder of one chunked body.
#[derive(Debug)]
pub struct ChunkDecoder {
    limits: ChunkLimits,
    state: State,
    /// Value of the size line while it is read, then bytes of data that are still to come.
    remaining: u64,
    digits: u8,
    extension_bytes: usize,
    trailers: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    Extension,
    SizeLineFeed,
    Data,
    DataReturn,
    DataLineFeed,
    Trailers,
    Done,
}

impl ChunkDecoder {
    /// A decoder at the first size line.
    pub const fn new(limits: &ChunkLimits) -> Self {
        Self {
            limits: *limits,
            state: State::Size,
            remaining: 0,
            digits: 0,
            extension_bytes: 0,
            trailers: Vec::new(),
        }
    }

    /// Takes the bytes that were not consumed before; returns how many are consumed now and what they were. `Data`
    /// ranges end at the consumed count. Call again until `NeedMore` or `End`; after `End` or an error, no more.
    pub fn decode(&mut self, input: &[u8]) -> Result<(usize, ChunkEvent), ChunkError> {
        let mut position = 0;
        while position < input.len() {
            let byte = input[position];
            match self.state {
                State::Size => {
                    position += 1;
                    self.size_byte(byte)?;
                }
                State::Extension => {
                    position += 1;
                    self.extension_byte(byte)?;
                }
                State::SizeLineFeed => {
                    position += 1;
                    self.size_line_end(byte)?;
                }
                State::Data => {
                    let available = input.len() - position;
                    let length = usize::try_from(self.remaining)
                        .map_or(available, |remaining| remaining.min(available));
                    self.remaining -= length as u64;
                    if self.remaining == 0 {
                        self.state = State::DataReturn;
                    }
                    let end = position + length;
                    return Ok((end, ChunkEvent::Data(position..end)));
                }
                State::DataReturn => {
                    position += 1;
                    self.expect(byte, b'\r', State::DataLineFeed)?;
                }
                State::DataLineFeed => {
                    position += 1;
                    self.expect(byte, b'\n', State::Size)?;
                }
                State::Trailers => {
                    let (consumed, trailers) = self.trailer_bytes(&input[position..])?;
                    position += consumed;
                    if let Some(trailers) = trailers {
                        return Ok((position, ChunkEvent::End(trailers)));
                    }
                }
                State::Done => return Ok((position, ChunkEvent::End(Headers::new()))),
            }
        }
        Ok((position, ChunkEvent::NeedMore))
    }

    /// Whether `End` was returned.
    pub const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    fn expect(&mut self, byte: u8, expected: u8, next: State) -> Result<(), ChunkError> {
        if byte != expected {
            return Err(ChunkError::LineEnd);
        }
        self.state = next;
        Ok(())
    }

    fn size_byte(&mut self, byte: u8) -> Result<(), ChunkError> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' | b';' if self.digits > 0 => {
                // Counters and `Content-Length` are signed elsewhere.
                if self.remaining > i64::MAX as u64 {
                    return Err(ChunkError::Size);
                }
                self.digits = 0;
                self.state = if byte == b'\r' {
                    State::SizeLineFeed
                } else {
                    State::Extension
                };
                return Ok(());
            }
            b'\n' if self.digits > 0 => return Err(ChunkError::LineEnd),
            _ => return Err(ChunkError::Size),
        };
        self.digits += 1;
        if self.digits > MAX_DIGITS {
            return Err(ChunkError::Size);
        }
        self.remaining = self.remaining << 4 | u64::from(digit);
        Ok(())
    }

    fn extension_byte(&mut self, byte: u8) -> Result<(), ChunkError> {
        match byte {
            b'\r' => self.state = State::SizeLineFeed,
            b'\t' | b' '..=b'~' | 0x80.. => {
                self.extension_bytes += 1;
                if self.extension_bytes > self.limits.extension_bytes {
                    return Err(ChunkError::ExtensionTooLong);
                }
            }
            b'\n' => return Err(ChunkError::LineEnd),
            _ => return Err(ChunkError::Extension),
        }
        Ok(())
    }

    fn size_line_end(&mut self, byte: u8) -> Result<(), ChunkError> {
        let next = if self.remaining == 0 {
            State::Trailers
        } else {
            State::Data
        };
        self.expect(byte, b'\n', next)
    }

    /// Collects lines until the empty one. Returns the bytes taken and, at the end, the fields.
    fn trailer_bytes(&mut self, input: &[u8]) -> Result<(usize, Option<Headers>), ChunkError> {
        let taken = memchr(b'\n', input).map_or(input.len(), |line_feed| line_feed + 1);
        // The empty line of a section without fields costs nothing.
        let allowed = self.limits.trailer_bytes.saturating_add(CHUNK_END.len());
        if self.trailers.len() + taken > allowed {
            return Err(ChunkError::TrailersTooLarge);
        }
        self.trailers.extend_from_slice(&input[..taken]);
        if !self.trailers.ends_with(b"\n") {
            return Ok((taken, None));
        }
        if !self.trailers.ends_with(b"\r\n") {
            return Err(HeadError::BareLineFeed.into());
        }
        if self.trailers.len() > 2 && !self.trailers.ends_with(b"\r\n\r\n") {
            return Ok((taken, None));
        }
        self.state = State::Done;
        let section = Bytes::from(std::mem::take(&mut self.trailers));
        let trailers = if section.len() == 2 {
            Headers::new()
        } else {
            read_trailers(&section, self.limits.trailer_fields)?
        };
        Ok((taken, Some(trailers)))
    }
}

/// The size line of a chunk, made without allocation.
#[derive(Clone, Copy, Debug)]
pub struct ChunkHead {
    bytes: [u8; LINE_BYTES],
    start: u8,
}

impl ChunkHead {
    /// The line for a chunk of `length` bytes. A length of 0 would end the body: callers skip empty pieces.
    pub const fn new(length: usize) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut bytes = [0; LINE_BYTES];
        bytes[LINE_BYTES - 2] = b'\r';
        bytes[LINE_BYTES - 1] = b'\n';
        let mut start = LINE_BYTES - 2;
        let mut rest = length;
        loop {
            start -= 1;
            bytes[start] = DIGITS[rest & 15];
            rest >>= 4;
            if rest == 0 {
                break;
            }
        }
        Self {
            bytes,
            start: start as u8,
        }
    }
}

impl AsRef<[u8]> for ChunkHead {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[usize::from(self.start)..]
    }
}

/// Ends a body with trailers: last chunk, the fields that may stand in a trailer section, empty line.
pub fn encode_end(trailers: &Headers, out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers {
        if may_trail(name) {
            out.extend_from_slice(name.as_str().as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
    out.extend_from_slice(b"\r\n");
}

const MAX_DIGITS: u8 = 16;
/// Sixteen digits and CRLF.
const LINE_BYTES: usize = 18;

/// Decodes arbitrary bytes whole and byte by byte: both must come to the same end with the same data.
#[doc(hidden)]
pub fn fuzz_chunked(bytes: &[u8]) {
    let limits = ChunkLimits {
        extension_bytes: 16,
        trailer_bytes: 64,
        trailer_fields: 3,
    };
    assert_eq!(
        collect(bytes, bytes.len().max(1), &limits),
        collect(bytes, 1, &limits)
    );
}

/// What a body decodes to: its data, then its end (`None` while more is needed) and the bytes consumed.
type Collected = (Vec<u8>, Result<Option<Headers>, ChunkError>, usize);

fn collect(bytes: &[u8], step: usize, limits: &ChunkLimits) -> Collected {
    let mut decoder = ChunkDecoder::new(limits);
    let mut data = Vec::new();
    let mut start = 0;
    for end in (0..bytes.len())
        .step_by(step)
        .map(|end| bytes.len().min(end + step))
    {
        loop {
            match decoder.decode(&bytes[start..end]) {
                Ok((consumed, ChunkEvent::Data(range))) => {
                    data.extend_from_slice(&bytes[start..end][range]);
                    start += consumed;
                }
                Ok((consumed, ChunkEvent::End(trailers))) => {
                    return (data, Ok(Some(trailers)), start + consumed);
                }
                Ok((consumed, ChunkEvent::NeedMore)) => {
                    start += consumed;
                    break;
                }
                // How far it came depends on the cut, the reason does not.
                Err(error) => return (data, Err(error), 0),
            }
        }
    }
    (data, Ok(None), start)
}

#[cfg(test)]
mod tests;
