//! What an authority may be, and the host in it.
//!
//! Narrower than RFC 3986 `reg-name`: no percent-encoding and no sub-delimiters, which no DNS name holds and which two
//! readers would decode or split differently. An underscore may stand: container names have them.

/// Where the parts of a valid authority are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Authority {
    /// The host with its brackets and trailing dot ends here.
    pub(super) host_end: usize,
    pub(super) port: Option<u16>,
    pub(super) has_upper_case: bool,
    pub(super) trailing_dot: bool,
}

impl Authority {
    /// `None` where it is not `host [":" port]`.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let (host_end, has_upper_case) = if text.first() == Some(&b'[') {
            ipv6_end(text)?
        } else {
            name_end(text)?
        };
        let port = match text.get(host_end) {
            None => None,
            Some(b':') => Some(parse_port(&text[host_end + 1..])?),
            Some(_) => return None,
        };
        Some(Self {
            host_end,
            port,
            has_upper_case,
            trailing_dot: text[host_end - 1] == b'.',
        })
    }
}

/// Where a DNS name or IPv4 address ends, and whether it has upper-case letters. Labels are not empty; one trailing dot
/// may stand.
fn name_end(text: &[u8]) -> Option<(usize, bool)> {
    let end = memchr::memchr(b':', text).unwrap_or(text.len());
    let mut found = 0;
    // As if a dot stood before the name: it may not start with one.
    let mut after_dot = EMPTY_LABEL;
    for byte in &text[..end] {
        let class = CLASSES[usize::from(*byte)];
        let dot = class & DOT;
        found |= class | (dot << 1 & after_dot);
        after_dot = dot << 1;
    }
    let good = found & (BAD | EMPTY_LABEL) == 0 && end != 0 && end <= MAX_NAME;
    good.then_some((end, found & UPPER != 0))
}

/// Where an IPv6 literal ends. A zone (`%25eth0`) names an interface of the sender, not of ours.
fn ipv6_end(text: &[u8]) -> Option<(usize, bool)> {
    let close = text
        .iter()
        .take(MAX_LITERAL)
        .position(|byte| *byte == b']')?;
    let inner = std::str::from_utf8(&text[1..close]).ok()?;
    inner.parse::<std::net::Ipv6Addr>().ok()?;
    Some((
        close + 1,
        inner.bytes().any(|byte| byte.is_ascii_uppercase()),
    ))
}

fn parse_port(digits: &[u8]) -> Option<u16> {
    if digits.is_empty() || digits.len() > 5 {
        return None;
    }
    let mut port = 0_u32;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        port = port * 10 + u32::from(digit - b'0');
    }
    u16::try_from(port).ok().filter(|port| *port != 0)
}

/// 253 characters of a DNS name (RFC 1035 §2.3.4) and its trailing dot.
const MAX_NAME: usize = 254;
/// Brackets and the longest text of an IPv6 address (with an embedded IPv4 address).
const MAX_LITERAL: usize = 47;

const BAD: u8 = 1;
const UPPER: u8 = 1 << 1;
const DOT: u8 = 1 << 2;
/// One bit above [`DOT`]: [`name_end`] shifts it there where a dot follows another.
const EMPTY_LABEL: u8 = DOT << 1;

const CLASSES: [u8; 256] = {
    let mut classes = [BAD; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => 0,
            b'A'..=b'Z' => UPPER,
            b'.' => DOT,
            _ => BAD,
        };
        byte += 1;
    }
    classes
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities() {
        let good = [
            ("a", "a", None),
            ("example.com", "example.com", None),
            ("Example.COM:8080", "Example.COM", Some(8080)),
            ("example.com.", "example.com.", None),
            ("example.com.:443", "example.com.", Some(443)),
            ("my_service", "my_service", None),
            ("10.0.0.1:65535", "10.0.0.1", Some(65535)),
            ("[::1]", "[::1]", None),
            ("[2001:DB8::1]:80", "[2001:DB8::1]", Some(80)),
            ("[::ffff:10.0.0.1]:80", "[::ffff:10.0.0.1]", Some(80)),
            ("a:00080", "a", Some(80)),
            ("xn--bcher-kva.example", "xn--bcher-kva.example", None),
        ];
        for (text, host, port) in good {
            let found = Authority::parse(text.as_bytes()).expect(text);
            assert_eq!(
                (&text[..found.host_end], found.port),
                (host, port),
                "{text}"
            );
        }
        let long = "a".repeat(255);
        let bad = [
            "",
            ":",
            ":80",
            ".",
            ".a",
            "a..b",
            "a.:",
            "a..",
            "a:",
            "a:0",
            "a:00000",
            "a:65536",
            "a:99999",
            "a:100000",
            "a:+80",
            "a:-1",
            "a:8a",
            "a: 80",
            "a:80:80",
            "a,b",
            "a, b",
            "user@a",
            "user:secret@a",
            "a b",
            "a\tb",
            " a",
            "a ",
            "a/b",
            "a\\b",
            "a?b",
            "a#b",
            "a%61",
            "%61",
            "a\0",
            "a\r\nb",
            "a\u{e4}",
            "a'b",
            "a;b",
            "a=b",
            "a&b",
            "a*",
            "*",
            "::1",
            "[::1",
            "::1]",
            "[]",
            "[::1]a",
            "[::1]]",
            "[::1%25eth0]",
            "[::1%eth0]",
            "[a]",
            "[10.0.0.1]",
            "[v1.a]",
            "[::1]:",
            "[::1]:0",
            "[::1]80",
            "[[::1]]",
            "a[::1]",
            "http://a",
            "|a|",
            "a|b",
            &long,
        ];
        for text in bad {
            assert_eq!(Authority::parse(text.as_bytes()), None, "{text:?}");
        }
    }
}
