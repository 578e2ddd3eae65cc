//! Tells HTTP from other plain protocols by the first bytes of a stream (Envoy's `http_inspector`). Nothing is kept between calls.

/// What the bytes at the start of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sniffed {
    /// Could still be HTTP.
    NeedMore,
    /// A request line of HTTP/1.0, or of another version than 1.1, or without one: Envoy calls them all `http/1.0`.
    Http10,
    /// A request line of HTTP/1.1.
    Http11,
    /// The preface of HTTP/2 with prior knowledge.
    H2c,
    /// Not HTTP.
    Unknown,
}

impl Sniffed {
    /// The name that filter chains match in `application_protocols`.
    pub fn application_protocol(self) -> Option<&'static str> {
        match self {
            Self::Http10 => Some("http/1.0"),
            Self::Http11 => Some("http/1.1"),
            Self::H2c => Some("h2c"),
            Self::NeedMore | Self::Unknown => None,
        }
    }
}

/// Looks at the first bytes of a stream.
pub fn sniff(bytes: &[u8]) -> Sniffed {
    let compared = bytes.len().min(PREFACE.len());
    // `P` and `PR` could still become POST or PROPFIND; more is wanted either way.
    if bytes.get(..compared) == PREFACE.get(..compared) {
        return if bytes.len() < PREFACE.len() {
            Sniffed::NeedMore
        } else {
            Sniffed::H2c
        };
    }
    let seen = bytes.get(..LARGEST_REQUEST_LINE).unwrap_or(bytes);
    // An empty line before the request is passed over (RFC 9112 section 2.2).
    let start = match seen {
        [b'\r', b'\n', rest @ ..] => rest,
        b"\r" => &[],
        other => other,
    };
    match request_line(start) {
        Line::Partial if seen.len() < bytes.len() => Sniffed::Unknown,
        Line::Partial => Sniffed::NeedMore,
        Line::Bad => Sniffed::Unknown,
        Line::Version11 => Sniffed::Http11,
        Line::OtherVersion => Sniffed::Http10,
    }
}

/// Entry for fuzzing: any bytes. Panics when a verdict changes as the stream grows.
pub fn fuzz_sniff(data: &[u8]) {
    let whole = sniff(data);
    for cut in 0..data.len().min(64) {
        let part = sniff(data.get(..cut).unwrap_or_default());
        assert!(
            part == Sniffed::NeedMore || part == whole,
            "changed from {part:?} to {whole:?} after {cut} bytes"
        );
    }
}

/// A request line that does not end within this many bytes is not one (Envoy's largest inspection).
pub const LARGEST_REQUEST_LINE: usize = 64 << 10;

enum Line {
    Partial,
    Bad,
    Version11,
    OtherVersion,
}

fn request_line(bytes: &[u8]) -> Line {
    let Some(space) = bytes
        .iter()
        .take(LONGEST_METHOD + 1)
        .position(|byte| *byte == b' ')
    else {
        // No method is this long, or none begins so.
        return if METHODS.iter().any(|method| method.starts_with(bytes)) {
            Line::Partial
        } else {
            Line::Bad
        };
    };
    let (method, rest) = bytes.split_at(space);
    if !METHODS.contains(&method) {
        return Line::Bad;
    }
    // More than one space is tolerated, as http_parser does.
    let rest = rest.trim_ascii_start_spaces();
    let end = memchr::memchr2(b'\r', b'\n', rest);
    let line = end.and_then(|end| rest.get(..end)).unwrap_or(rest);
    let (target, version) = match memchr::memchr(b' ', line) {
        None => (line, None),
        Some(space) => {
            let (target, version) = line.split_at(space);
            (target, Some(version.trim_ascii_start_spaces()))
        }
    };
    if !target_is_plausible(method, target)
        || !version.is_none_or(|version| version_is_plausible(version, end.is_some()))
    {
        return Line::Bad;
    }
    match (end, version) {
        (None, _) => Line::Partial,
        (Some(_), _) if target.is_empty() => Line::Bad,
        (Some(_), Some(b"HTTP/1.1")) => Line::Version11,
        (Some(_), _) => Line::OtherVersion,
    }
}

/// Origin-form and `*`, absolute-form, or for CONNECT an authority (RFC 9112 section 3.2); an empty target may still come.
fn target_is_plausible(method: &[u8], target: &[u8]) -> bool {
    let begins = target.first().is_none_or(|first| {
        if method == b"CONNECT" {
            first.is_ascii_alphanumeric() || *first == b'['
        } else {
            matches!(first, b'/' | b'*') || first.is_ascii_alphabetic()
        }
    });
    begins && !target.iter().any(|byte| byte.is_ascii_control())
}

/// `HTTP/` digit `.` digit, so far as it has come.
fn version_is_plausible(version: &[u8], complete: bool) -> bool {
    let fits = version.len() <= 8
        && version.iter().enumerate().all(|(index, byte)| match index {
            0..=4 => b"HTTP/".get(index) == Some(byte),
            6 => *byte == b'.',
            _ => byte.is_ascii_digit(),
        });
    fits && (!complete || version.is_empty() || version.len() == 8)
}

trait TrimSpaces {
    fn trim_ascii_start_spaces(&self) -> &[u8];
}

impl TrimSpaces for [u8] {
    fn trim_ascii_start_spaces(&self) -> &[u8] {
        let start = self
            .iter()
            .position(|byte| *byte != b' ')
            .unwrap_or(self.len());
        self.get(start..).unwrap_or_default()
    }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const LONGEST_METHOD: usize = 11;

/// The methods that http_parser knows, on which Envoy's inspector relies.
const METHODS: &[&[u8]] = &[
    b"GET",
    b"POST",
    b"PUT",
    b"HEAD",
    b"DELETE",
    b"OPTIONS",
    b"PATCH",
    b"CONNECT",
    b"TRACE",
    b"COPY",
    b"LOCK",
    b"MKCOL",
    b"MOVE",
    b"PROPFIND",
    b"PROPPATCH",
    b"SEARCH",
    b"UNLOCK",
    b"BIND",
    b"REBIND",
    b"UNBIND",
    b"ACL",
    b"REPORT",
    b"MKACTIVITY",
    b"CHECKOUT",
    b"MERGE",
    b"M-SEARCH",
    b"NOTIFY",
    b"SUBSCRIBE",
    b"UNSUBSCRIBE",
    b"PURGE",
    b"MKCALENDAR",
    b"LINK",
    b"UNLINK",
    b"SOURCE",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn first_bytes_and_what_they_are() {
        let long = [b"GET /".to_vec(), vec![b'a'; LARGEST_REQUEST_LINE]].concat();
        let cases: &[(&[u8], Sniffed)] = &[
            (b"", Sniffed::NeedMore),
            (b"G", Sniffed::NeedMore),
            (b"GET", Sniffed::NeedMore),
            (b"GET /", Sniffed::NeedMore),
            (b"GET / HTTP/1.", Sniffed::NeedMore),
            (b"GET / HTTP/1.1", Sniffed::NeedMore),
            (b"GET / HTTP/1.1\r", Sniffed::Http11),
            (b"GET / HTTP/1.1\nHost: a", Sniffed::Http11),
            (b"GET / HTTP/1.0\r\n", Sniffed::Http10),
            (b"GET / HTTP/0.9\r\n", Sniffed::Http10),
            (b"GET /\r\n", Sniffed::Http10),
            (b"\r\nGET / HTTP/1.1\r\n", Sniffed::Http11),
            (b"GET http://a/ HTTP/1.1\r\n", Sniffed::Http11),
            (b"CONNECT a:443 HTTP/1.1\r\n", Sniffed::Http11),
            (b"OPTIONS * HTTP/1.1\r\n", Sniffed::Http11),
            (b"M-SEARCH * HTTP/1.1\r\n", Sniffed::Http11),
            (b"UNSUBSCRIBE /a HTTP/1.1\r\n", Sniffed::Http11),
            (b"PROPFIND / HTTP/1.1\r\n", Sniffed::Http11),
            (b"PRI", Sniffed::NeedMore),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", Sniffed::NeedMore),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0", Sniffed::H2c),
            (b"PRI * HTTP/2.0\r\n\r\nXX", Sniffed::Unknown),
            (b"get / HTTP/1.1\r\n", Sniffed::Unknown),
            (b"GETS / HTTP/1.1\r\n", Sniffed::Unknown),
            (b"PING\r\n", Sniffed::Unknown),
            (b"GET  \r\n", Sniffed::Unknown),
            (b"GET / HTTQ", Sniffed::Unknown),
            (b"GET / HTTP/11\r\n", Sniffed::Unknown),
            (b"GET / HTTP/1.1 x\r\n", Sniffed::Unknown),
            (b"GET /\0 HTTP/1.1\r\n", Sniffed::Unknown),
            (b"\x16\x03\x01", Sniffed::Unknown),
            (&long, Sniffed::Unknown),
        ];
        for (bytes, expected) in cases {
            assert_eq!(
                sniff(bytes),
                *expected,
                "{:?}",
                String::from_utf8_lossy(&bytes[..bytes.len().min(40)])
            );
        }
    }

    #[test]
    fn method_lengths_agree() {
        assert_eq!(
            METHODS.iter().map(|method| method.len()).max(),
            Some(LONGEST_METHOD)
        );
    }

    proptest! {
        #[test]
        fn verdicts_are_final(data in proptest::collection::vec(any::<u8>(), 0..80)) {
            fuzz_sniff(&data);
        }

        #[test]
        fn verdicts_on_almost_http_are_final(data in "(\r\n)?(GET|PUT|PRI|PROPFIND|CONNECT) ? [/*a]?[a-z ]{0,3} ?(HTTP/[0-9].[0-9])?[\r\n x]{0,3}") {
            fuzz_sniff(data.as_bytes());
        }
    }
}
