//! What an expression can ask about.

use std::fmt;

use http::HeaderName;

/// A field of a request or a connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Field {
    Protocol,
    Sni,
    Method,
    Host,
    Path,
    Segments(Segments),
    SegmentCount,
    Header(Box<Header>),
    Query(Box<str>),
    SourceIp,
    SourcePort,
    DestinationIp,
    DestinationPort,
}

/// One segment of the path, or several with the slashes between them; the first one is 0.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Segments {
    pub first: u32,
    /// Behind `first` where it is there.
    pub last: Option<u32>,
}

/// A header by the name that expressions have for it: lower-case, with `_` for `-`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Header {
    /// A field that is really called so goes before the other one.
    pub written: HeaderName,
    /// The same with dashes, where that is another name.
    pub dashed: Option<HeaderName>,
}

impl Header {
    /// `None` where no header can have the name.
    pub fn named(name: &str) -> Option<Self> {
        let written = HeaderName::from_bytes(name.as_bytes()).ok()?;
        let dashed = HeaderName::from_bytes(name.replace('_', "-").as_bytes()).ok()?;
        Some(Self {
            dashed: (dashed != written).then_some(dashed),
            written,
        })
    }
}

impl Segments {
    /// Reads `3` or `3_5`.
    pub fn named(text: &str) -> Option<Self> {
        let number = |digits: &str| {
            let sound = digits.bytes().all(|digit| digit.is_ascii_digit())
                && (digits == "0" || !digits.starts_with('0'));
            sound.then(|| digits.parse().ok()).flatten()
        };
        let Some((first, last)) = text.split_once('_') else {
            let first = number(text)?;
            return Some(Self { first, last: None });
        };
        let (first, last) = (number(first)?, number(last)?);
        (first < last).then_some(Self {
            first,
            last: Some(last),
        })
    }

    /// The part of a path; empty segments at its end do not count.
    pub fn of(self, path: &[u8]) -> Option<&[u8]> {
        let path = countable(path);
        if path.is_empty() {
            return None;
        }
        let wanted = self.first..=self.last.unwrap_or(self.first);
        let (mut start, mut end, mut left) = (0, 0, wanted.clone().count());
        for (index, segment) in (0..).zip(path.split(|byte| *byte == b'/')) {
            if index == self.first {
                start = end;
            }
            end += segment.len() + 1;
            if wanted.contains(&index) {
                left -= 1;
                if left == 0 {
                    return path.get(start..end - 1);
                }
            }
        }
        None
    }

    /// How many segments a path has.
    pub fn count(path: &[u8]) -> i64 {
        let path = countable(path);
        if path.is_empty() {
            return 0;
        }
        let count = path.split(|byte| *byte == b'/').count();
        // A path is far shorter than 2^63.
        i64::try_from(count).unwrap_or(i64::MAX)
    }
}

/// What is split: the path without its first slash and the slashes at its end.
fn countable(path: &[u8]) -> &[u8] {
    let mut path = path.strip_prefix(b"/").unwrap_or(path);
    while let Some(shorter) = path.strip_suffix(b"/") {
        path = shorter;
    }
    path
}

impl fmt::Display for Field {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Protocol => "net.protocol",
            Self::Sni => "tls.sni",
            Self::Method => "http.method",
            Self::Host => "http.host",
            Self::Path => "http.path",
            Self::Segments(Segments { first, last: None }) => {
                return write!(formatter, "http.path.segments.{first}");
            }
            Self::Segments(Segments {
                first,
                last: Some(last),
            }) => return write!(formatter, "http.path.segments.{first}_{last}"),
            Self::SegmentCount => "http.path.segments.len",
            Self::Header(header) => return write!(formatter, "http.headers.{}", header.written),
            Self::Query(name) => return write!(formatter, "http.queries.{name}"),
            Self::SourceIp => "net.src.ip",
            Self::SourcePort => "net.src.port",
            Self::DestinationIp => "net.dst.ip",
            Self::DestinationPort => "net.dst.port",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_of_paths() {
        let path = "/a/bc/d";
        for (name, path, found) in [
            ("0", path, Some("a")),
            ("1", path, Some("bc")),
            ("2", path, Some("d")),
            ("3", path, None),
            ("0_1", path, Some("a/bc")),
            ("1_2", path, Some("bc/d")),
            ("0_2", path, Some("a/bc/d")),
            ("1_3", path, None),
            ("3_4", path, None),
            ("0", "/", None),
            ("0", "/a/", Some("a")),
            ("1", "/a/", None),
            ("0_1", "/a/b/", Some("a/b")),
        ] {
            let segments = Segments::named(name).unwrap();
            let found = found.map(str::as_bytes);
            assert_eq!(segments.of(path.as_bytes()), found, "{name} of {path}");
        }
        for (path, count) in [("/", 0), ("/a", 1), ("/a/", 1), ("/a/b/c", 3)] {
            assert_eq!(Segments::count(path.as_bytes()), count, "{path}");
        }
        for name in [
            "", "01", "1_0", "1_1", "-1", "+1", "1_", "_1", "a", "1_2_3", "len",
        ] {
            assert_eq!(Segments::named(name), None, "{name}");
        }
    }
}
