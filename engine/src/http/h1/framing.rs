//! How long a message is (RFC 9112 §6), from the fields that say so.

use http::{Method, StatusCode, Version};

use super::HeadError;

/// How the body of a message is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No body at all.
    None,
    /// Exactly that many bytes; may be 0.
    Length(u64),
    /// The chunked coding.
    Chunked,
    /// Responses only: everything until the peer closes.
    UntilClose,
}

impl Framing {
    /// Whether no byte of a body follows the head.
    pub const fn is_empty(self) -> bool {
        matches!(self, Self::None | Self::Length(0))
    }
}

/// What the framing fields of a head said.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Announced {
    /// Content-Length.
    pub(super) length: Option<u64>,
    /// Transfer-Encoding; `Some` is always exactly `chunked`.
    pub(super) chunked: bool,
}

impl Announced {
    /// Takes the one Content-Length: two are refused even where they agree, as Envoy does (RFC 9112 §6.3 leaves the choice).
    pub(super) fn content_length(&mut self, value: &[u8]) -> Result<(), HeadError> {
        let length = parse_length(value).ok_or(HeadError::ContentLength)?;
        match self.length.replace(length) {
            None => Ok(()),
            Some(_) => Err(HeadError::ContentLength),
        }
    }

    /// Takes a Transfer-Encoding: exactly `chunked`, in one field.
    pub(super) fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), HeadError> {
        if self.chunked {
            return Err(HeadError::TransferEncoding);
        }
        if value.eq_ignore_ascii_case(b"chunked") {
            self.chunked = true;
            return Ok(());
        }
        Err(if lists_known_codings(value) {
            HeadError::TransferEncodingNotSupported
        } else {
            HeadError::TransferEncoding
        })
    }

    /// How the body of a request is delimited (RFC 9112 §6.3).
    pub(super) fn of_request(
        self,
        method: &Method,
        version: Version,
    ) -> Result<Framing, HeadError> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(HeadError::LengthAndEncoding),
            (true, None) if version != Version::HTTP_11 || *method == Method::CONNECT => {
                Err(HeadError::TransferEncodingNotAllowed)
            }
            (true, None) => Ok(Framing::Chunked),
            (false, Some(1..)) if *method == Method::CONNECT => {
                Err(HeadError::ContentLengthNotAllowed)
            }
            (false, Some(length)) => Ok(Framing::Length(length)),
            (false, None) => Ok(Framing::None),
        }
    }

    /// How the body of a response is delimited, and whether that leaves no doubt: a connection with doubtful
    /// framing carries no further exchange.
    pub(super) fn of_response(
        self,
        method: &Method,
        status: StatusCode,
        version: Version,
    ) -> (Framing, bool) {
        if status.is_informational() || status == StatusCode::NO_CONTENT {
            // Neither field may stand here (RFC 9112 §6.1, RFC 9110 §8.6): the peer may send a body nevertheless.
            return (
                Framing::None,
                !self.chunked && self.length.unwrap_or(0) == 0,
            );
        }
        if *method == Method::HEAD || status == StatusCode::NOT_MODIFIED {
            return (Framing::None, !(self.chunked && self.length.is_some()));
        }
        if *method == Method::CONNECT && status.is_success() {
            return (Framing::None, true);
        }
        match (self.chunked, self.length) {
            (true, length) => (
                Framing::Chunked,
                length.is_none() && version == Version::HTTP_11,
            ),
            (false, Some(length)) => (Framing::Length(length), true),
            (false, None) => (Framing::UntilClose, false),
        }
    }
}

/// Digits only, at most 2^63 − 1, so that sums and signed counters cannot overflow.
pub(super) fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 {
        return None;
    }
    let mut length = 0_u64;
    for byte in value {
        if !byte.is_ascii_digit() {
            return None;
        }
        // Nineteen digits stay below 10^19 < 2^64.
        length = length * 10 + u64::from(byte - b'0');
    }
    (length <= i64::MAX as u64).then_some(length)
}

/// Whether this is a list of transfer codings that exist (RFC 9112 §7), at most the last of them `chunked`.
fn lists_known_codings(value: &[u8]) -> bool {
    const KNOWN: [&str; 5] = ["gzip", "x-gzip", "deflate", "compress", "x-compress"];
    let Ok(text) = std::str::from_utf8(value) else {
        return false;
    };
    let list = match text.rsplit_once(',') {
        Some((list, last)) if last.trim().eq_ignore_ascii_case("chunked") => list,
        _ => text,
    };
    list.split(',').all(|coding| {
        KNOWN
            .iter()
            .any(|known| coding.trim().eq_ignore_ascii_case(known))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_lengths() {
        let cases: &[(&str, &[u8], Option<u64>)] = &[
            ("zero", b"0", Some(0)),
            ("plain", b"42", Some(42)),
            ("leading zeros are digits", b"007", Some(7)),
            ("largest", b"9223372036854775807", Some(i64::MAX as u64)),
            ("2^63", b"9223372036854775808", None),
            ("2^64 wraps elsewhere", b"18446744073709551617", None),
            ("twenty digits", b"00000000000000000001", None),
            ("empty", b"", None),
            ("plus", b"+1", None),
            ("minus", b"-1", None),
            ("hexadecimal", b"0x10", None),
            ("list", b"5, 5", None),
            ("inner space", b"1 2", None),
            ("underscore", b"1_0", None),
            ("decimal", b"1.0", None),
            ("exponent", b"1e3", None),
            ("full-width digit", "\u{ff11}".as_bytes(), None),
        ];
        for (name, value, expected) in cases {
            assert_eq!(parse_length(value), *expected, "{name}");
        }
    }

    #[test]
    fn transfer_encodings() {
        let refused = Err(HeadError::TransferEncoding);
        let unserved = Err(HeadError::TransferEncodingNotSupported);
        let cases: &[(&[u8], Result<(), HeadError>)] = &[
            (b"chunked", Ok(())),
            (b"Chunked", Ok(())),
            (b",chunked", refused),
            (b"chunked,", refused),
            (b"chunked, identity", refused),
            (b"identity, chunked", refused),
            (b"identity", refused),
            (b"chunked, chunked", refused),
            (b"chunked;q=1", refused),
            (b"\"chunked\"", refused),
            (b"chunke", refused),
            (b"xchunked", refused),
            (b"", refused),
            (b"gzip", unserved),
            (b"gzip, chunked", unserved),
            (b"gzip, chunked, gzip", refused),
            (b"chunked, gzip", refused),
        ];
        for (value, expected) in cases {
            let mut announced = Announced::default();
            assert_eq!(announced.transfer_encoding(value), *expected, "{value:?}");
        }
        let mut announced = Announced::default();
        assert_eq!(announced.transfer_encoding(b"chunked"), Ok(()));
        assert_eq!(
            announced.transfer_encoding(b"chunked"),
            refused,
            "two fields"
        );
    }

    #[test]
    fn response_framing_follows_rfc_9112_6_3() {
        let length = |length| Announced {
            length: Some(length),
            chunked: false,
        };
        let chunked = Announced {
            length: None,
            chunked: true,
        };
        let both = Announced {
            length: Some(3),
            chunked: true,
        };
        let neither = Announced::default();
        let cases = [
            (
                "length",
                Method::GET,
                200,
                length(3),
                Framing::Length(3),
                true,
            ),
            ("chunked", Method::GET, 200, chunked, Framing::Chunked, true),
            (
                "both: length is dropped, no reuse",
                Method::GET,
                200,
                both,
                Framing::Chunked,
                false,
            ),
            (
                "until close",
                Method::GET,
                200,
                neither,
                Framing::UntilClose,
                false,
            ),
            (
                "head keeps its length to itself",
                Method::HEAD,
                200,
                length(3),
                Framing::None,
                true,
            ),
            (
                "head, chunked",
                Method::HEAD,
                200,
                chunked,
                Framing::None,
                true,
            ),
            ("head, both", Method::HEAD, 200, both, Framing::None, false),
            ("304", Method::GET, 304, length(3), Framing::None, true),
            ("204", Method::GET, 204, neither, Framing::None, true),
            (
                "204 with zero length",
                Method::GET,
                204,
                length(0),
                Framing::None,
                true,
            ),
            (
                "204 with a length",
                Method::GET,
                204,
                length(3),
                Framing::None,
                false,
            ),
            (
                "204 chunked",
                Method::GET,
                204,
                chunked,
                Framing::None,
                false,
            ),
            ("100", Method::POST, 100, neither, Framing::None, true),
            (
                "103 with a length",
                Method::GET,
                103,
                length(1),
                Framing::None,
                false,
            ),
            (
                "connect accepted",
                Method::CONNECT,
                200,
                length(9),
                Framing::None,
                true,
            ),
            (
                "connect refused",
                Method::CONNECT,
                403,
                length(9),
                Framing::Length(9),
                true,
            ),
        ];
        for (name, method, status, announced, framing, sure) in cases {
            let status = StatusCode::from_u16(status).expect("a status");
            let found = announced.of_response(&method, status, Version::HTTP_11);
            assert_eq!(found, (framing, sure), "{name}");
        }
        let old = chunked.of_response(&Method::GET, StatusCode::OK, Version::HTTP_10);
        assert_eq!(
            old,
            (Framing::Chunked, false),
            "chunked in HTTP/1.0 is faulty"
        );
    }
}
