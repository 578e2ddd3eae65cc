//! Finds the end of a head while its bytes arrive.

use std::ops::Range;

use bytes::Bytes;
use http::Method;
use smallvec::SmallVec;

use super::HeadError;
use super::head::{RequestHead, ResponseHead, read_request, read_response};
use super::words::find_line_feed;

/// What a head may cost and hold before it is refused, and what of a message passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a whole head with its empty line; more → 431. Envoy: `max_request_headers_kb`.
    pub head_bytes: usize,
    /// Header fields; more → 431. Envoy: `max_headers_count`.
    pub fields: usize,
    /// Bytes of the request line without CRLF; more → 414.
    pub request_line_bytes: usize,
    /// Whether bytes above 0x7F may stand in a request target; nginx lets them, Envoy does not.
    pub non_ascii_target: bool,
    /// Whether only methods of HTTP's registry (and a few of HTTP's neighbours) are taken; Envoy's parser knows no others.
    pub registered_methods: bool,
    /// Whether HTTP/1.0 is refused as a version that is not supported.
    pub refuse_http_10: bool,
    /// Whether `Expect: 100-continue` stays in the head for the next hop to answer, instead of being answered here.
    pub forward_expect: bool,
    /// Whether trailers pass, read and written; else they are dropped.
    pub trailers: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 60 * 1024,
            fields: 100,
            request_line_bytes: 8 * 1024,
            non_ascii_target: false,
            registered_methods: false,
            refuse_http_10: false,
            forward_expect: false,
            trailers: true,
        }
    }
}

/// Incremental search for the empty line that ends a head; a fresh one for each head.
#[derive(Clone, Debug, Default)]
pub struct HeadScan {
    /// Bytes that hold no further LF.
    searched: usize,
    /// Where the line begins that is not complete yet.
    line_start: usize,
    /// Where the first line starts: behind empty ones, if there are any (RFC 9112 §2.2).
    start: usize,
    /// Where the complete lines so far end, before their CRLF.
    ends: SmallVec<[u32; USUAL_LINES]>,
}

impl HeadScan {
    /// Looks at the bytes that arrived since the last call. `buffer` starts at the first byte of the head and only
    /// ever grows. Returns the length of the head including its empty line, or `None` while it is not complete.
    /// A bare LF, a head over its limits, or a first byte that starts no head is refused as soon as it is seen.
    pub fn find_end(&mut self, buffer: &[u8], limits: &Limits) -> Result<Option<usize>, HeadError> {
        // A TLS record or another protocol on a plaintext port has no LF to wait for.
        if let Some(first) = buffer.first()
            && !(first.is_ascii_graphic() || *first == b'\r')
            && *first != b'\n'
        {
            return Err(HeadError::RequestLine);
        }
        while let Some(found) = find_line_feed(&buffer[self.searched..]) {
            let line_feed = self.searched + found;
            self.searched = line_feed + 1;
            if line_feed == 0 || buffer[line_feed - 1] != b'\r' {
                return Err(HeadError::BareLineFeed);
            }
            let length = line_feed - 1 - self.line_start;
            let first = self.ends.is_empty();
            if length == 0 {
                if !first {
                    return self.complete(limits);
                }
                self.start = self.searched;
            } else {
                if first && length > limits.request_line_bytes {
                    return Err(HeadError::RequestLineTooLong);
                }
                if self.ends.len() > limits.fields {
                    return Err(HeadError::TooManyFields);
                }
                let end = u32::try_from(line_feed - 1).map_err(|_| HeadError::HeadTooLarge)?;
                self.ends.push(end);
            }
            self.line_start = self.searched;
        }
        self.searched = buffer.len();
        // One byte of slack for a CR whose LF has not arrived.
        let open_line = buffer.len() - self.line_start;
        if self.ends.is_empty() && open_line > limits.request_line_bytes.saturating_add(1) {
            return Err(HeadError::RequestLineTooLong);
        }
        if buffer.len() > limits.head_bytes {
            return Err(HeadError::HeadTooLarge);
        }
        Ok(None)
    }

    /// Parses the request head whose end was found; `head` is cut there. Values are slices of it.
    pub fn request(&self, head: Bytes, limits: &Limits) -> Result<RequestHead, HeadError> {
        self.check(&head)?;
        read_request(&head, self.lines(), limits)
    }

    /// Parses the response head whose end was found, to a request with `method`. Values are slices of `head`.
    pub fn response(&self, head: Bytes, method: &Method) -> Result<ResponseHead, HeadError> {
        self.check(&head)?;
        read_response(&head, self.lines(), method)
    }

    /// The lines of a head, or of a trailer section, that is there as a whole; only `fields` limits it.
    pub(super) fn of_whole(bytes: &[u8], fields: usize) -> Result<Self, HeadError> {
        let limits = Limits {
            head_bytes: usize::MAX,
            fields,
            request_line_bytes: usize::MAX,
            non_ascii_target: true,
            ..Limits::default()
        };
        let mut scan = Self::default();
        scan.find_end(bytes, &limits)?;
        scan.check(bytes)?;
        Ok(scan)
    }

    pub(super) fn lines(&self) -> Lines<'_> {
        Lines {
            start: self.start,
            ends: &self.ends,
        }
    }

    /// Whether these are as many bytes as the complete head has.
    fn check(&self, head: &[u8]) -> Result<(), HeadError> {
        let complete = self.line_start != self.start
            && self.searched == self.line_start + 2
            && self.searched == head.len();
        if complete {
            Ok(())
        } else {
            Err(HeadError::Incomplete)
        }
    }

    fn complete(&self, limits: &Limits) -> Result<Option<usize>, HeadError> {
        if self.searched > limits.head_bytes {
            return Err(HeadError::HeadTooLarge);
        }
        Ok(Some(self.searched))
    }
}

/// The lines of a complete head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lines<'a> {
    /// Where the first line starts.
    pub(super) start: usize,
    /// Where each line ends, before its CRLF.
    pub(super) ends: &'a [u32],
}

impl Lines<'_> {
    /// Where the first line is, and the lines behind it.
    pub(super) fn split_first(self) -> Result<(Range<usize>, Self), HeadError> {
        let (end, ends) = self.ends.split_first().ok_or(HeadError::Incomplete)?;
        let end = *end as usize;
        Ok((
            self.start..end,
            Self {
                start: end + 2,
                ends,
            },
        ))
    }
}

/// Lines of a usual head; further ones go to the heap.
const USUAL_LINES: usize = 24;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Found = Result<Option<usize>, HeadError>;

    fn whole(bytes: &[u8]) -> Found {
        HeadScan::default().find_end(bytes, &Limits::default())
    }

    #[test]
    fn finds_ends_and_refuses_what_cannot_end() {
        let cases: &[(&str, &[u8], Found)] = &[
            ("nothing yet", b"", Ok(None)),
            ("half a line", b"GET / HT", Ok(None)),
            ("no empty line", b"GET / HTTP/1.1\r\nhost: a\r\n", Ok(None)),
            ("cr of the empty line", b"GET / HTTP/1.1\r\n\r", Ok(None)),
            ("complete", b"GET / HTTP/1.1\r\n\r\n", Ok(Some(18))),
            (
                "followed by a body",
                b"GET / HTTP/1.1\r\n\r\nbody",
                Ok(Some(18)),
            ),
            (
                "one leading empty line",
                b"\r\nGET / HTTP/1.1\r\n\r\n",
                Ok(Some(20)),
            ),
            (
                "two leading empty lines",
                b"\r\n\r\nGET / HTTP/1.1\r\n\r\n",
                Ok(Some(22)),
            ),
            (
                "bare lf ends the request line",
                b"GET / HTTP/1.1\nhost: a",
                Err(HeadError::BareLineFeed),
            ),
            (
                "bare lf ends a field",
                b"GET / HTTP/1.1\r\nhost: a\nb: c",
                Err(HeadError::BareLineFeed),
            ),
            (
                "bare lf as empty line",
                b"GET / HTTP/1.1\r\nhost: a\r\n\n",
                Err(HeadError::BareLineFeed),
            ),
            (
                "leading lf",
                b"\nGET / HTTP/1.1\r\n\r\n",
                Err(HeadError::BareLineFeed),
            ),
            (
                "tls record",
                &[0x16, 3, 1, 2, 0],
                Err(HeadError::RequestLine),
            ),
            (
                "leading space",
                b" GET / HTTP/1.1\r\n\r\n",
                Err(HeadError::RequestLine),
            ),
        ];
        for (name, bytes, expected) in cases {
            assert_eq!(whole(bytes), *expected, "{name}");
        }
    }

    #[test]
    fn limits_hold_before_the_head_is_complete() {
        let limits = Limits {
            head_bytes: 100,
            fields: 2,
            request_line_bytes: 20,
            ..Limits::default()
        };
        let cases: &[(&str, String, Found)] = &[
            (
                "request line at its limit",
                format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(6)),
                Ok(Some(24)),
            ),
            (
                "request line over it",
                format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(7)),
                Err(HeadError::RequestLineTooLong),
            ),
            (
                "endless request line",
                "a".repeat(22),
                Err(HeadError::RequestLineTooLong),
            ),
            (
                "two fields",
                "GET / HTTP/1.1\r\na: b\r\nc: d\r\n\r\n".to_owned(),
                Ok(Some(30)),
            ),
            (
                "three fields",
                "GET / HTTP/1.1\r\na: b\r\nc: d\r\ne:".to_owned() + "f\r\n",
                Err(HeadError::TooManyFields),
            ),
            (
                "endless field",
                format!("GET / HTTP/1.1\r\na: {}", "b".repeat(90)),
                Err(HeadError::HeadTooLarge),
            ),
            (
                "complete but large",
                format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "b".repeat(90)),
                Err(HeadError::HeadTooLarge),
            ),
        ];
        for (name, text, expected) in cases {
            assert_eq!(
                HeadScan::default().find_end(text.as_bytes(), &limits),
                *expected,
                "{name}"
            );
        }
    }

    #[test]
    fn a_pipelined_head_is_cut_where_the_scan_says() {
        let limits = Limits::default();
        let mut buffer =
            Bytes::from_static(b"\r\nGET /a HTTP/1.1\r\nhost: b\r\n\r\nGET /c HTTP/1.1\r\n");
        let mut scan = HeadScan::default();
        let end = scan
            .find_end(&buffer, &limits)
            .expect("good")
            .expect("complete");
        let too_much = scan.request(buffer.clone(), &limits).map(|_| ());
        assert_eq!(too_much, Err(HeadError::Incomplete));
        let head = scan.request(buffer.split_to(end), &limits).expect("good");
        assert_eq!(
            (head.request.authority, head.request.path),
            ("b".into(), "/a".into())
        );
        let mut next = HeadScan::default();
        assert_eq!(next.find_end(&buffer, &limits), Ok(None));
        assert_eq!(
            next.request(buffer, &limits).map(|_| ()),
            Err(HeadError::Incomplete)
        );
    }

    proptest! {
        #[test]
        fn arrival_in_pieces_changes_nothing(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'a'), any::<u8>()], 0..80),
        ) {
            let limits = Limits { head_bytes: 60, fields: 3, request_line_bytes: 30, ..Limits::default() };
            let expected = HeadScan::default().find_end(&bytes, &limits);
            let mut scan = HeadScan::default();
            let mut last = Ok(None);
            for end in 0..=bytes.len() {
                last = scan.find_end(&bytes[..end], &limits);
                if last != Ok(None) {
                    break;
                }
            }
            // Which limit speaks first may depend on how much is seen at once; whether it is refused may not.
            prop_assert_eq!(last.is_ok(), expected.is_ok());
            if last.is_ok() {
                prop_assert_eq!(last, expected);
            }
        }
    }
}
