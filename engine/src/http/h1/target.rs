//! The four forms of a request target (RFC 9112 §3.2) and how they agree with Host.

use bytes::Bytes;
use http::{Method, Version};
use memchr::{memchr, memchr2};

use super::{HeadError, Limits};

/// Where a request goes, from its target and its Host.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) secure: Option<bool>,
    pub(super) authority: Bytes,
    pub(super) path: Bytes,
}

impl Target {
    /// `target` is what stood between the two spaces, `host` the value of the one Host field.
    pub(super) fn resolve(
        target: Bytes,
        host: Option<Bytes>,
        method: &Method,
        version: Version,
        limits: &Limits,
    ) -> Result<Self, HeadError> {
        if !holds_target_bytes(&target, limits.non_ascii_target) {
            return Err(HeadError::Target);
        }
        let found = Self::split(target, method)?;
        let Some(host) = host else {
            // A Host is owed even where the target names the authority (RFC 9112 §3.2): without an authority
            // `canonical` refuses HTTP/1.1.
            let authority = match version {
                Version::HTTP_11 => Bytes::new(),
                _ => found.authority,
            };
            return Ok(Self { authority, ..found });
        };
        if found.secure.is_none() && *method != Method::CONNECT {
            return Ok(Self {
                authority: host,
                ..found
            });
        }
        // The target wins by RFC 9112 §3.2.2; whoever reads Host behind us would see another one, so both must agree.
        let default_port: &[u8] = match found.secure {
            Some(false) => b"80",
            Some(true) => b"443",
            None => b"",
        };
        let (left, right) = (
            without_port(&found.authority, default_port),
            without_port(&host, default_port),
        );
        if left.eq_ignore_ascii_case(right) {
            Ok(found)
        } else {
            Err(HeadError::HostMismatch)
        }
    }

    fn split(target: Bytes, method: &Method) -> Result<Self, HeadError> {
        if *method == Method::CONNECT {
            // authority-form: a host and a port, nothing else.
            let colon = memchr::memrchr(b':', &target).ok_or(HeadError::Target)?;
            if colon == 0
                || colon + 1 == target.len()
                || !target[colon + 1..].iter().all(u8::is_ascii_digit)
                || memchr2(b'/', b'?', &target).is_some()
            {
                return Err(HeadError::Target);
            }
            return Ok(Self {
                secure: None,
                authority: target,
                path: Bytes::new(),
            });
        }
        if target.first() == Some(&b'/') || (*method == Method::OPTIONS && target == "*") {
            return Ok(Self {
                secure: None,
                authority: Bytes::new(),
                path: target,
            });
        }
        Self::absolute(&target)
    }

    fn absolute(target: &Bytes) -> Result<Self, HeadError> {
        let (secure, start) = if starts_with_ignoring_case(target, b"http://") {
            (false, 7)
        } else if starts_with_ignoring_case(target, b"https://") {
            (true, 8)
        } else {
            return Err(match memchr(b':', target) {
                Some(colon)
                    if colon > 0
                        && target[..colon].iter().all(u8::is_ascii_alphabetic)
                        && target[colon..].starts_with(b"://") =>
                {
                    HeadError::Scheme
                }
                _ => HeadError::Target,
            });
        };
        let end = target[start..]
            .iter()
            .position(|byte| matches!(byte, b'/' | b'?' | b'#' | b'\\'))
            .map_or(target.len(), |length| start + length);
        if end == start {
            return Err(HeadError::Target);
        }
        let rest = &target[end..];
        let path = match rest.first() {
            Some(b'/') => target.slice(end..),
            None => Bytes::from_static(b"/"),
            // RFC 9110 §4.2.3: an empty path is the same as "/".
            Some(b'?') => {
                let mut path = Vec::with_capacity(rest.len() + 1);
                path.push(b'/');
                path.extend_from_slice(rest);
                Bytes::from(path)
            }
            Some(_) => return Err(HeadError::Target),
        };
        Ok(Self {
            secure: Some(secure),
            authority: target.slice(start..end),
            path,
        })
    }
}

fn holds_target_bytes(target: &[u8], non_ascii: bool) -> bool {
    let last = if non_ascii { 0xff } else { 0x7e };
    !target.is_empty()
        && target.iter().fold(true, |good, byte| {
            good & (*byte > b' ') & (*byte != 0x7f) & (*byte <= last)
        })
}

fn starts_with_ignoring_case(text: &[u8], prefix: &[u8]) -> bool {
    text.len() >= prefix.len() && text[..prefix.len()].eq_ignore_ascii_case(prefix)
}

fn without_port<'a>(authority: &'a [u8], port: &[u8]) -> &'a [u8] {
    if port.is_empty() {
        return authority;
    }
    // The colons of an IPv6 literal stand before its bracket.
    let host_end = memchr(b']', authority).unwrap_or(0);
    match memchr::memrchr(b':', authority) {
        Some(colon) if colon >= host_end && authority[colon + 1..] == *port => &authority[..colon],
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(
        method: &Method,
        target: &'static str,
        host: Option<&'static str>,
        version: Version,
    ) -> Result<(Option<bool>, String, String), HeadError> {
        let host = host.map(|text| Bytes::from_static(text.as_bytes()));
        let target = Bytes::from_static(target.as_bytes());
        let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).expect("text");
        Target::resolve(target, host, method, version, &Limits::default())
            .map(|found| (found.secure, text(found.authority), text(found.path)))
    }

    #[test]
    fn forms_and_their_host() {
        let get = Method::GET;
        let options = Method::OPTIONS;
        let connect = Method::CONNECT;
        let ok = |secure, authority: &str, path: &str| {
            Ok((secure, authority.to_owned(), path.to_owned()))
        };
        let bad = Err(HeadError::Target);
        let mismatch = Err(HeadError::HostMismatch);
        let cases = [
            ("origin", &get, "/a?b", Some("h:1"), ok(None, "h:1", "/a?b")),
            (
                "origin, no leading slash",
                &get,
                "a",
                Some("h"),
                bad.clone(),
            ),
            ("origin, empty", &get, "", Some("h"), bad.clone()),
            ("origin, space", &get, "/a b", Some("h"), bad.clone()),
            ("origin, tab", &get, "/a\tb", Some("h"), bad.clone()),
            ("origin, del", &get, "/a\x7f", Some("h"), bad.clone()),
            ("origin, not ascii", &get, "/ä", Some("h"), bad.clone()),
            ("origin, no host", &get, "/", None, ok(None, "", "/")),
            ("asterisk", &options, "*", Some("h"), ok(None, "h", "*")),
            ("asterisk is for OPTIONS", &get, "*", Some("h"), bad.clone()),
            (
                "absolute",
                &get,
                "http://h/a",
                Some("h"),
                ok(Some(false), "h", "/a"),
            ),
            (
                "absolute, upper case",
                &get,
                "HTTPS://H/a",
                Some("h"),
                ok(Some(true), "H", "/a"),
            ),
            (
                "absolute, default port",
                &get,
                "http://h:80/",
                Some("h"),
                ok(Some(false), "h:80", "/"),
            ),
            (
                "absolute, default port in host",
                &get,
                "https://[::1]/",
                Some("[::1]:443"),
                ok(Some(true), "[::1]", "/"),
            ),
            (
                "absolute, empty path",
                &get,
                "http://h",
                Some("h"),
                ok(Some(false), "h", "/"),
            ),
            (
                "absolute, query only",
                &get,
                "http://h?q",
                Some("h"),
                ok(Some(false), "h", "/?q"),
            ),
            (
                "absolute, other host",
                &get,
                "http://h/",
                Some("other"),
                mismatch.clone(),
            ),
            (
                "absolute, other port",
                &get,
                "http://h:81/",
                Some("h"),
                mismatch.clone(),
            ),
            (
                "absolute, no authority",
                &get,
                "http:///a",
                Some(""),
                bad.clone(),
            ),
            (
                "absolute, fragment for a path",
                &get,
                "http://h#a",
                Some("h"),
                bad.clone(),
            ),
            (
                "absolute, backslash for a path",
                &get,
                "http://h\\a",
                Some("h"),
                bad.clone(),
            ),
            (
                "absolute, other scheme",
                &get,
                "ftp://h/",
                Some("h"),
                Err(HeadError::Scheme),
            ),
            (
                "absolute, no host",
                &get,
                "http://h/",
                None,
                ok(Some(false), "", "/"),
            ),
            (
                "connect",
                &connect,
                "h:443",
                Some("h:443"),
                ok(None, "h:443", ""),
            ),
            (
                "connect, ipv6",
                &connect,
                "[::1]:443",
                Some("[::1]:443"),
                ok(None, "[::1]:443", ""),
            ),
            ("connect, no port", &connect, "h", Some("h"), bad.clone()),
            (
                "connect, empty port",
                &connect,
                "h:",
                Some("h:"),
                bad.clone(),
            ),
            ("connect, a path", &connect, "h/a:1", Some("h"), bad.clone()),
            ("connect, origin-form", &connect, "/", Some("h"), bad),
            (
                "connect, other host",
                &connect,
                "h:443",
                Some("i:443"),
                mismatch,
            ),
        ];
        for (name, method, target, host, expected) in cases {
            assert_eq!(
                resolve(method, target, host, Version::HTTP_11),
                expected,
                "{name}"
            );
        }
        assert_eq!(
            resolve(&get, "/", None, Version::HTTP_10),
            ok(None, "", "/")
        );
        assert_eq!(
            resolve(&get, "http://h/", None, Version::HTTP_10),
            ok(Some(false), "h", "/")
        );
    }
}
