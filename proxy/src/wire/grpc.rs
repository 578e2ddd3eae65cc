//! gRPC over HTTP/2 (PROTOCOL-HTTP2.md of grpc/grpc): message framing and status, without I/O.

use bytes::{BufMut, Bytes, BytesMut};

/// Cuts a body into messages. Each is a flag, a 32-bit length and that many bytes; body chunks may end anywhere.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    limit: usize,
}

/// Why a body is not a sequence of messages; the stream must be ended.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FramingError {
    /// A message is longer than the limit.
    #[error("message of {length} bytes exceeds the limit of {limit}")]
    TooLong {
        /// Announced length in bytes.
        length: usize,
        /// The decoder's limit in bytes.
        limit: usize,
    },
    /// We never announce an encoding, so none may be used.
    #[error("message is compressed, which was not negotiated")]
    Compressed,
    /// The body ended within a message.
    #[error("body ended within a message")]
    Cut,
}

/// How a call ended: `grpc-status` and `grpc-message`.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{} ({code}){}{message}", self.name(), if message.is_empty() { "" } else { ": " })]
pub struct Status {
    /// Code of grpc/grpc's statuscodes.md; 0 is success.
    pub code: u32,
    /// For people.
    pub message: String,
}

impl Decoder {
    /// A decoder that refuses messages of more than `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            limit,
        }
    }

    /// Adds bytes of the body.
    pub fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next whole message.
    pub fn next_message(&mut self) -> Result<Option<Bytes>, FramingError> {
        let Some(&[flag, a, b, c, d]) = self.buffer.first_chunk() else {
            return Ok(None);
        };
        if flag != 0 {
            return Err(FramingError::Compressed);
        }
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if length > self.limit {
            return Err(FramingError::TooLong {
                length,
                limit: self.limit,
            });
        }
        if self.buffer.len() - PREFIX < length {
            return Ok(None);
        }
        let mut message = self.buffer.split_to(PREFIX + length);
        if self.buffer.is_empty() {
            // A stream is idle most of its life: the room of the largest response goes back.
            self.buffer = BytesMut::new();
        }
        Ok(Some(message.split_off(PREFIX).freeze()))
    }

    /// The body ended; it may do so between messages only.
    pub fn finish(&self) -> Result<(), FramingError> {
        if self.buffer.is_empty() {
            Ok(())
        } else {
            Err(FramingError::Cut)
        }
    }
}

impl Status {
    /// A status with a text of our own.
    pub fn new(code: u32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// Reads the status from trailers, or from the headers of an answer without body. Without `grpc-status`
    /// the HTTP status decides (http-grpc-status-mapping.md).
    pub fn from_fields<'a>(http_status: u16, field: impl Fn(&str) -> Option<&'a [u8]>) -> Self {
        let code = field("grpc-status").map(|code| {
            str::from_utf8(code)
                .ok()
                .and_then(|code| code.trim().parse().ok())
                .unwrap_or(UNKNOWN)
        });
        match code {
            Some(code) => Self::new(
                code,
                percent_decoded(field("grpc-message").unwrap_or_default()),
            ),
            None if http_status == 200 => Self::new(UNKNOWN, "stream ended without grpc-status"),
            None => {
                let code = match http_status {
                    400 => INTERNAL,
                    401 => UNAUTHENTICATED,
                    403 => PERMISSION_DENIED,
                    404 => UNIMPLEMENTED,
                    429 | 502..=504 => UNAVAILABLE,
                    _ => UNKNOWN,
                };
                Self::new(code, format!("HTTP status {http_status}"))
            }
        }
    }

    /// The code's name, such as `UNAVAILABLE`.
    pub fn name(&self) -> &'static str {
        usize::try_from(self.code)
            .ok()
            .and_then(|code| NAMES.get(code))
            .copied()
            .unwrap_or("UNKNOWN")
    }
}

/// Frames a message.
pub fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(PREFIX + message.len());
    frame.put_u8(0);
    // No message of ours comes near 4 GiB; a cut length would be noticed by the peer.
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(message);
    frame.freeze()
}

/// `grpc-message` is percent-encoded UTF-8; what is not stays as it is.
fn percent_decoded(text: &[u8]) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| str::from_utf8(hex).ok());
        match hex
            .filter(|_| first == b'%')
            .and_then(|hex| u8::from_str_radix(hex, 16).ok())
        {
            Some(byte) => {
                decoded.push(byte);
                rest = &after[2..];
            }
            None => {
                decoded.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Flag and length.
const PREFIX: usize = 5;

const UNKNOWN: u32 = 2;
const PERMISSION_DENIED: u32 = 7;
const UNIMPLEMENTED: u32 = 12;
const INTERNAL: u32 = 13;
const UNAVAILABLE: u32 = 14;
const UNAUTHENTICATED: u32 = 16;

const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn refuses_what_is_not_a_message() {
        let mut decoder = Decoder::new(4);
        decoder.push(&[1, 0, 0, 0, 0]);
        assert_eq!(decoder.next_message(), Err(FramingError::Compressed));
        let mut decoder = Decoder::new(4);
        decoder.push(&[0, 0, 0, 0, 5]);
        assert_eq!(
            decoder.next_message(),
            Err(FramingError::TooLong {
                length: 5,
                limit: 4
            })
        );
        let mut decoder = Decoder::new(4);
        decoder.push(&[0, 0, 0, 0, 4, 1]);
        assert_eq!(decoder.next_message(), Ok(None));
        assert_eq!(decoder.finish(), Err(FramingError::Cut));
    }

    #[test]
    fn status_is_read_from_trailers_or_http() {
        type Case = (
            u16,
            &'static [(&'static str, &'static str)],
            u32,
            &'static str,
        );
        let cases: [Case; 7] = [
            (200, &[("grpc-status", "0")], 0, "OK (0)"),
            (
                200,
                &[("grpc-status", "14"), ("grpc-message", "no%20way%")],
                14,
                "UNAVAILABLE (14): no way%",
            ),
            (200, &[("grpc-status", "x")], 2, "UNKNOWN (2)"),
            (200, &[("grpc-status", "99")], 99, "UNKNOWN (99)"),
            (200, &[], 2, "UNKNOWN (2): stream ended without grpc-status"),
            (503, &[], 14, "UNAVAILABLE (14): HTTP status 503"),
            (404, &[], 12, "UNIMPLEMENTED (12): HTTP status 404"),
        ];
        for (http, fields, code, text) in cases {
            let status = Status::from_fields(http, |name| {
                fields
                    .iter()
                    .find(|field| field.0 == name)
                    .map(|field| field.1.as_bytes())
            });
            assert_eq!(status.code, code, "{text}");
            assert_eq!(status.to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn messages_survive_any_chunking(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
            cuts in prop::collection::vec(1_usize..9, 1..20),
        ) {
            let body: Vec<u8> = messages.iter().flat_map(|message| framed(message).to_vec()).collect();
            let mut decoder = Decoder::new(40);
            let mut decoded = Vec::new();
            let mut rest = &body[..];
            for cut in cuts.iter().cycle() {
                let (chunk, after) = rest.split_at((*cut).min(rest.len()));
                decoder.push(chunk);
                while let Some(message) = decoder.next_message().unwrap() {
                    decoded.push(message.to_vec());
                }
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(decoder.finish(), Ok(()));
            prop_assert_eq!(decoded, messages);
        }
    }
}
