//! Origins: those that are configured, and the one that asks.

use fancy_regex::Regex;
use http::HeaderValue;

use crate::plugin::Refusal;

/// The origins that are allowed.
#[derive(Debug)]
pub(super) enum Origins {
    All,
    /// One, told to whoever asks.
    One(HeaderValue),
    Several {
        /// Everybody who says where it comes from.
        all: bool,
        patterns: Vec<Pattern>,
    },
}

#[derive(Debug)]
pub(super) enum Pattern {
    /// The whole origin, without a default port.
    Whole(Box<str>),
    Regex {
        regex: Regex,
        /// For the host alone: an expression without a colon knows no scheme and no port.
        of_host: bool,
    },
}

/// An origin as it is compared.
#[derive(Debug, Eq, PartialEq)]
struct Origin {
    /// Scheme, host, and the port where it is not the scheme's own; what is no URL as it is.
    whole: String,
    host: String,
}

impl Origins {
    pub(super) fn compile(texts: Vec<Box<str>>) -> Result<Self, Refusal> {
        match &texts[..] {
            [] => return Ok(Self::All),
            [only] if **only == *"*" => return Ok(Self::All),
            [only] if only.bytes().all(is_plain) => {
                let value = HeaderValue::from_str(only);
                return Ok(Self::One(
                    value.map_err(|error| Refusal::new("origins", error))?,
                ));
            }
            _ => {}
        }
        let all = texts.iter().any(|text| **text == *"*");
        let others = texts.into_iter().filter(|text| **text != *"*");
        Ok(Self::Several {
            all,
            patterns: others.map(Pattern::compile).collect::<Result<_, _>>()?,
        })
    }

    /// The origin that an answer allows, where it allows one.
    pub(super) fn allowed(&self, asking: Option<&HeaderValue>) -> Option<HeaderValue> {
        let (all, patterns) = match self {
            Self::All => return Some(HeaderValue::from_static("*")),
            Self::One(origin) => return Some(origin.clone()),
            Self::Several { all, patterns } => (*all, patterns),
        };
        let asking = asking?;
        if all {
            return Some(HeaderValue::from_static("*"));
        }
        let origin = Origin::read(std::str::from_utf8(asking.as_bytes()).ok()?);
        let found = patterns.iter().any(|pattern| pattern.matches(&origin));
        found
            .then(|| HeaderValue::from_bytes(origin.whole.as_bytes()).ok())
            .flatten()
    }

    /// Whether other origins may be answered in another way.
    pub(super) const fn varies(&self) -> bool {
        !matches!(self, Self::All)
    }
}

impl Pattern {
    fn compile(text: Box<str>) -> Result<Self, Refusal> {
        if text.bytes().all(is_plain) {
            return Ok(Self::Whole(Origin::read(&text).whole.into()));
        }
        // The whole of it must match, each branch of an alternative too: Kong puts its anchors on the outer branches only, so
        // that `https://a\.com|https://b\.com` lets `https://a.com.evil.org` in.
        let regex = Regex::new(&format!(r"\A(?:{text})\z"));
        Ok(Self::Regex {
            of_host: !text.contains(':'),
            regex: regex.map_err(|error| Refusal::new("origins", error))?,
        })
    }

    fn matches(&self, origin: &Origin) -> bool {
        match self {
            Self::Whole(whole) => **whole == *origin.whole,
            Self::Regex { regex, of_host } => {
                let subject = if *of_host {
                    &origin.host
                } else {
                    &origin.whole
                };
                // One that gives up matches nothing.
                regex.is_match(subject).unwrap_or(false)
            }
        }
    }
}

impl Origin {
    /// Reads `scheme://host:port`, with anything behind it left off.
    fn read(text: &str) -> Self {
        let as_it_is = || Self {
            whole: text.to_owned(),
            host: text.to_owned(),
        };
        let scheme = text.split_once(':').filter(|(scheme, _)| is_scheme(scheme));
        let (scheme, rest) = scheme.map_or((None, text), |(scheme, rest)| (Some(scheme), rest));
        let Some(authority) = rest.strip_prefix("//") else {
            return as_it_is();
        };
        let authority = authority.split('/').next().unwrap_or_default();
        let authority = authority
            .split_once('@')
            .map_or(authority, |(_, authority)| authority);
        let port = authority
            .rsplit_once(':')
            .filter(|(_, port)| !port.contains(']'));
        let (host, port) = port.map_or((authority, None), |(host, port)| (host, Some(port)));
        if host.is_empty() {
            return as_it_is();
        }
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        let port = port.filter(|port| {
            !matches!(
                (scheme, *port),
                (Some("http"), "80") | (Some("https"), "443")
            )
        });
        let scheme = scheme.map(|scheme| format!("{scheme}://"));
        let port = port.map(|port| format!(":{port}"));
        Self {
            whole: [scheme.as_deref(), Some(host), port.as_deref()]
                .into_iter()
                .flatten()
                .collect(),
            host: host.to_owned(),
        }
    }
}

fn is_scheme(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

/// What looks like an origin and not like an expression.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b':' | b'/' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read() {
        for (text, whole, host) in [
            ("http://foo.test", "http://foo.test", "foo.test"),
            ("http://foo.test:80", "http://foo.test", "foo.test"),
            ("https://foo.test:80", "https://foo.test:80", "foo.test"),
            ("https://foo.test:443/", "https://foo.test", "foo.test"),
            ("https://u@foo.test", "https://foo.test", "foo.test"),
            ("http://[::1]:8000", "http://::1:8000", "::1"),
            ("//foo.test", "foo.test", "foo.test"),
            ("foo.test", "foo.test", "foo.test"),
            ("null", "null", "null"),
            ("", "", ""),
        ] {
            let read = Origin::read(text);
            assert_eq!((&*read.whole, &*read.host), (whole, host), "{text}");
        }
    }

    /// The cases of Kong's own suite, and those that its anchors get wrong.
    #[test]
    fn origins_are_allowed() {
        type Cases<'a> = &'a [(&'a str, Option<&'a str>)];
        let table: &[(&[&str], Cases<'_>)] = &[
            (
                &[r"foo\.test"],
                &[
                    ("http://foo.test", Some("http://foo.test")),
                    ("http://foo.test:80", Some("http://foo.test")),
                    ("https://foo.test:8000", Some("https://foo.test:8000")),
                    ("http://foo.test.evil.test", None),
                    ("http://something.foo.test", None),
                    ("http://evilfoo.test", None),
                    ("http://foobtest", None),
                ],
            ),
            (
                &[r"(.*[./])?foo\.test:8000"],
                &[
                    ("http://foo.test:8000", Some("http://foo.test:8000")),
                    ("http://foo.test", None),
                    ("http://foo.test:90", None),
                ],
            ),
            (
                &[r"^http://(.*[.])?foo\.test(:(80|90))?$"],
                &[
                    ("http://foo.test:80", Some("http://foo.test")),
                    ("http://a.foo.test:90", Some("http://a.foo.test:90")),
                    ("https://foo.test", None),
                ],
            ),
            (
                &["foo.test", "bar.test"],
                &[("http://foo.test", None), ("bar.test", Some("bar.test"))],
            ),
            (
                &["http://foo.test", "https://bar.test:1234"],
                &[
                    ("http://foo.test:80", Some("http://foo.test")),
                    ("http://foo.test:8000", None),
                    ("https://bar.test:1234", Some("https://bar.test:1234")),
                ],
            ),
            (
                &["bar.test", r"https://(.*\.)?foo\.test:8000"],
                &[
                    ("https://foo.test:8000", Some("https://foo.test:8000")),
                    ("http://foo.test:8000", None),
                ],
            ),
            (
                &[r"https://a\.test|https://b\.test"],
                &[
                    ("https://a.test", Some("https://a.test")),
                    ("https://b.test", Some("https://b.test")),
                    ("https://a.test.evil.test", None),
                ],
            ),
            (&["foo.test", "*"], &[("http://any.test", Some("*"))]),
            (&["foo.test"], &[("http://any.test", Some("foo.test"))]),
            (&["*"], &[("http://any.test", Some("*"))]),
            (&[], &[("http://any.test", Some("*"))]),
        ];
        for (texts, cases) in table {
            let texts: Vec<_> = texts.iter().map(|text| Box::from(*text)).collect();
            let origins = Origins::compile(texts).unwrap();
            for (asking, wanted) in *cases {
                let allowed = origins.allowed(Some(&HeaderValue::from_static(asking)));
                let allowed = allowed.as_ref().map(|value| value.to_str().unwrap());
                assert_eq!(allowed, *wanted, "{origins:?}: {asking}");
            }
        }
    }
}
