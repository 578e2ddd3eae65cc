//! The path of a request on its way to the upstream: Kong's `kong/tools/uri.lua` and
//! `kong/router/utils.lua`.
//!
//! Kong's normal form is not the engine's (`carbyne_engine::http::canonical`): it is decoded as far
//! as decoding changes no meaning, for routes are written so.
//!
//! | | engine, `normalize_path` | here |
//! |---|---|---|
//! | `%41`, `%2d`, `%7E` (unreserved) | decoded | decoded |
//! | `%20`, `%22`, `%C3%A9`, `%00` (neither) | kept, `%00` refused | decoded; escaped again for the upstream |
//! | `%2f`, `%3b` (reserved) | kept as written | kept, in upper case |
//! | raw `"<>^{}` and bytes beyond ASCII | encoded | kept; escaped for the upstream |
//! | `\` | becomes `/` | kept; `%5C` for the upstream |
//! | `/%2e./` | a dot segment | a dot segment |
//! | `//` | kept, unless `merge_slashes` | one slash |
//!
//! What goes to the upstream was normalised first, so that no dot segment and no double slash that
//! a route or a plugin did not see is left in it.

use std::borrow::Cow;

/// A path without query as routes see it.
pub fn normalize(path: &[u8]) -> Cow<'_, [u8]> {
    if path.is_empty() || path == b"/" || !is_suspicious(path) {
        return path.into();
    }
    let decoded = decode(path);
    let mut out: Vec<u8> = Vec::with_capacity(decoded.len());
    // Where each segment with its slash starts.
    let mut segments: Vec<usize> = Vec::new();
    let mut rest = &*decoded;
    while !rest.is_empty() {
        match rest {
            b"/." => rest = b"/",
            b"/.." => {
                rest = b"/";
                out.truncate(segments.pop().unwrap_or_default());
            }
            b"." | b".." => rest = b"",
            [b'.', b'.', b'/', after @ ..] | [b'.', b'/', after @ ..] => rest = after,
            [b'/', b'.', b'/', ..] => rest = &rest[2..],
            [b'/', b'.', b'.', b'/', ..] => {
                rest = &rest[3..];
                out.truncate(segments.pop().unwrap_or_default());
            }
            [b'/', b'/', ..] => rest = &rest[1..],
            _ => {
                let end = memchr::memchr(b'/', &rest[1..]).map_or(rest.len(), |end| end + 1);
                segments.push(out.len());
                out.extend_from_slice(&rest[..end]);
                rest = &rest[end..];
            }
        }
    }
    out.into()
}

/// An escape, a dot segment or two slashes.
fn is_suspicious(path: &[u8]) -> bool {
    path.first() == Some(&b'.')
        || memchr::memchr(b'%', path).is_some()
        || path
            .windows(2)
            .any(|pair| matches!(pair, [b'/', b'/' | b'.']))
}

fn decode(path: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'%', path).is_none() {
        return path.into();
    }
    let mut out = Vec::with_capacity(path.len() + 2);
    // Where a `%` was written that starts no escape: what is decoded behind it must not complete
    // one. Kong lets it, so that an upstream reads a dot segment in `%%32e` that no route saw.
    let mut lone_percent = None;
    let mut rest = path;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'%' => match escaped(tail) {
                Some((value, after)) if is_reserved(value) => {
                    out.push(b'%');
                    out.extend(tail[..2].iter().map(u8::to_ascii_uppercase));
                    rest = after;
                }
                Some((value, after)) => {
                    out.push(value);
                    rest = after;
                }
                None => {
                    lone_percent = Some(out.len());
                    out.push(b'%');
                    continue;
                }
            },
            byte => out.push(*byte),
        }
        if let Some(at) = lone_percent
            && out.len() >= at + 3
        {
            if out[at + 1..at + 3].iter().all(u8::is_ascii_hexdigit) {
                out.splice(at..=at, *b"%25");
            }
            lone_percent = None;
        }
    }
    out.into()
}

/// The byte that two hexadecimal digits stand for, and what follows them.
pub(super) fn escaped(text: &[u8]) -> Option<(u8, &[u8])> {
    let [high, low, after @ ..] = text else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let value = digit(*high)? << 4 | digit(*low)?;
    Some((u8::try_from(value).ok()?, after))
}

/// What has a meaning in a URI: escaped or not, it stays as it is.
const fn is_reserved(byte: u8) -> bool {
    matches!(
        byte,
        b'!' | b'*'
            | b'\''
            | b'('
            | b')'
            | b';'
            | b':'
            | b'@'
            | b'&'
            | b'='
            | b'+'
            | b'$'
            | b','
            | b'/'
            | b'?'
            | b'%'
            | b'#'
            | b'['
            | b']'
    )
}

/// A path as it may stand in a request line.
pub fn escape(path: &[u8]) -> Cow<'_, [u8]> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let safe = |byte: u8| {
        is_reserved(byte)
            || byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_' | b'.' | b'~')
    };
    if path.iter().all(|byte| safe(*byte)) {
        return path.into();
    }
    let mut out = Vec::with_capacity(path.len() + 16);
    for byte in path {
        match safe(*byte) {
            true => out.push(*byte),
            false => out.extend_from_slice(&[
                b'%',
                DIGITS[usize::from(byte >> 4)],
                DIGITS[usize::from(byte & 15)],
            ]),
        }
    }
    out.into()
}

/// How many bytes of a request's path a route takes off: what was matched of it, if the route has
/// `strip_path`. Without a path to match it is the first slash.
pub fn stripped(strip_path: bool, matched: Option<usize>) -> Option<usize> {
    strip_path.then(|| matched.unwrap_or(1))
}

/// The upstream's path: the service's, and what is left of the request's, joined by one slash
/// (`path_handling = v0`; `v1` is of the router before 3.0 alone).
pub fn upstream<'a>(service: &'a [u8], path: &'a [u8], stripped: Option<usize>) -> Cow<'a, [u8]> {
    let base: &[u8] = if service.is_empty() { b"/" } else { service };
    let Some(stripped) = stripped else {
        return match base.strip_suffix(b"/") {
            Some(b"") if path.starts_with(b"/") => path.into(),
            Some(_) => [base, path.get(1..).unwrap_or_default()].concat().into(),
            None if path == b"/" => base.into(),
            None => [base, path].concat().into(),
        };
    };
    let rest = sanitized(path.get(stripped..).unwrap_or_default());
    match (base.strip_suffix(b"/"), rest) {
        (Some(b""), b"") => base.into(),
        (Some(_), b"") if path.ends_with(b"/") => base.into(),
        (Some(start), b"") => start.into(),
        (Some(b""), [b'/', ..]) => rest.into(),
        (Some(start), [b'/', ..]) => [start, rest].concat().into(),
        (Some(_), _) => [base, rest].concat().into(),
        (None, b"") if path.len() > 1 && path.ends_with(b"/") => [base, b"/"].concat().into(),
        (None, b"") => base.into(),
        (None, [b'/', ..]) => [base, rest].concat().into(),
        (None, _) => [base, b"/", rest].concat().into(),
    }
}

/// What a prefix leaves may begin in the middle of a segment, and look like a dot segment.
fn sanitized(rest: &[u8]) -> &[u8] {
    match rest {
        b"." | b".." => b"",
        [b'.', b'/', after @ ..] | [b'.', b'.', b'/', after @ ..] => after,
        rest => rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: Cow<'_, [u8]>) -> String {
        String::from_utf8(bytes.into_owned()).unwrap()
    }

    /// Kong's answers, but for the last two.
    #[test]
    fn paths_become_normal_and_are_escaped_again() {
        for (path, normal, escaped) in [
            ("", "", ""),
            ("/", "/", "/"),
            ("*", "*", "*"),
            ("/a/b.c", "/a/b.c", "/a/b.c"),
            ("/a/../../b", "/b", "/b"),
            ("/a/./b/.", "/a/b/", "/a/b/"),
            ("/a/b/..", "/a/", "/a/"),
            ("/..a/.b/...", "/..a/.b/...", "/..a/.b/..."),
            ("//a///b//", "/a/b/", "/a/b/"),
            ("/%2e%2E/a", "/a", "/a"),
            ("/a%2f..%2Fb", "/a%2F..%2Fb", "/a%2F..%2Fb"),
            ("/a/%2e%2e%2fb", "/a/..%2Fb", "/a/..%2Fb"),
            ("/%41%7e%20%c3%a9%00", "/A~ é\0", "/A~%20%C3%A9%00"),
            ("/a%25%32%65", "/a%252e", "/a%252e"),
            ("/%", "/%", "/%"),
            ("/a%2", "/a%2", "/a%2"),
            ("/%zz", "/%zz", "/%zz"),
            ("/a;b/..;/c", "/a;b/..;/c", "/a;b/..;/c"),
            ("/./", "/", "/"),
            ("/.", "/", "/"),
            ("/..", "/", "/"),
            ("/../..", "/", "/"),
            ("/a//../b", "/b", "/b"),
            ("/a\\..\\b", "/a\\..\\b", "/a%5C..%5Cb"),
            ("/%5C%2e%2e/", "/\\../", "/%5C../"),
            ("/a%3F%23b", "/a%3F%23b", "/a%3F%23b"),
            ("/.%2e/x", "/x", "/x"),
            ("/a/%%32e%%32e/b", "/a/%252e%252e/b", "/a/%252e%252e/b"),
            ("/%%%32%65", "/%%252e", "/%%252e"),
        ] {
            let found = normalize(path.as_bytes());
            assert_eq!(text(found.clone()), normal, "{path}");
            assert_eq!(text(escape(&found)), escaped, "{path}");
            assert_eq!(text(normalize(normal.as_bytes())), normal, "{path} twice");
        }
    }

    #[test]
    fn what_goes_up_is_normal_for_who_decodes_it() {
        let mut random = fastrand::Rng::with_seed(5);
        let pieces = [
            "/", "%", ".", "%2e", "2", "e", "5", "%2f", "%25", "a", "%32", "%65", "//", "\\",
        ];
        for _ in 0..50_000 {
            let mut path = String::from("/");
            for _ in 0..random.usize(..12) {
                path.push_str(random.choice(pieces).unwrap());
            }
            let once = normalize(path.as_bytes());
            assert_eq!(normalize(&once), once, "{path}");
            let up = escape(&once);
            assert_eq!(normalize(&up), once, "{path}");
            let segments = up.split(|byte| *byte == b'/');
            for segment in segments {
                let decoded = decode(segment);
                assert!(!matches!(&*decoded, b"." | b".."), "{path}");
            }
        }
    }

    /// Kong's answers: service, route, then request, upstream without and with `strip_path`.
    #[test]
    fn paths_of_service_and_request_become_one() {
        type Row = (&'static str, &'static str, &'static str);
        let tables: &[(&str, &str, &[Row])] = &[
            (
                "/",
                "",
                &[("/", "/", "/"), ("/r", "/r", "/r"), ("/r/", "/r/", "/r/")],
            ),
            (
                "/",
                "/",
                &[
                    ("/", "/", "/"),
                    ("/r", "/r", "/r"),
                    ("/r/", "/r/", "/r/"),
                    ("/r/x", "/r/x", "/r/x"),
                ],
            ),
            (
                "/",
                "/r",
                &[
                    ("/r", "/r", "/"),
                    ("/r/", "/r/", "/"),
                    ("/rx", "/rx", "/x"),
                    ("/r/x", "/r/x", "/x"),
                    ("/r./x", "/r./x", "/x"),
                    ("/r../x", "/r../x", "/x"),
                    ("/r..", "/r..", "/"),
                    ("/r.", "/r.", "/"),
                ],
            ),
            (
                "/",
                "/r/",
                &[
                    ("/r/", "/r/", "/"),
                    ("/r/x", "/r/x", "/x"),
                    ("/r/x/", "/r/x/", "/x/"),
                ],
            ),
            (
                "/s",
                "",
                &[
                    ("/", "/s", "/s"),
                    ("/r", "/s/r", "/s/r"),
                    ("/r/", "/s/r/", "/s/r/"),
                ],
            ),
            (
                "/s",
                "/",
                &[
                    ("/", "/s", "/s"),
                    ("/r", "/s/r", "/s/r"),
                    ("/r/", "/s/r/", "/s/r/"),
                    ("/r/x", "/s/r/x", "/s/r/x"),
                ],
            ),
            (
                "/s",
                "/r",
                &[
                    ("/r", "/s/r", "/s"),
                    ("/r/", "/s/r/", "/s/"),
                    ("/rx", "/s/rx", "/s/x"),
                    ("/r/x", "/s/r/x", "/s/x"),
                    ("/r./x", "/s/r./x", "/s/x"),
                    ("/r../x", "/s/r../x", "/s/x"),
                    ("/r..", "/s/r..", "/s"),
                ],
            ),
            (
                "/s",
                "/r/",
                &[
                    ("/r/", "/s/r/", "/s/"),
                    ("/r/x", "/s/r/x", "/s/x"),
                    ("/r/x/", "/s/r/x/", "/s/x/"),
                ],
            ),
            (
                "/s/",
                "",
                &[
                    ("/", "/s/", "/s/"),
                    ("/r", "/s/r", "/s/r"),
                    ("/r/", "/s/r/", "/s/r/"),
                ],
            ),
            (
                "/s/",
                "/",
                &[
                    ("/", "/s/", "/s/"),
                    ("/r", "/s/r", "/s/r"),
                    ("/r/", "/s/r/", "/s/r/"),
                    ("/r/x", "/s/r/x", "/s/r/x"),
                ],
            ),
            (
                "/s/",
                "/r",
                &[
                    ("/r", "/s/r", "/s"),
                    ("/r/", "/s/r/", "/s/"),
                    ("/rx", "/s/rx", "/s/x"),
                    ("/r/x", "/s/r/x", "/s/x"),
                    ("/r../x", "/s/r../x", "/s/x"),
                    ("/r.", "/s/r.", "/s"),
                ],
            ),
            (
                "/s/",
                "/r/",
                &[
                    ("/r/", "/s/r/", "/s/"),
                    ("/r/x", "/s/r/x", "/s/x"),
                    ("/r/x/", "/s/r/x/", "/s/x/"),
                ],
            ),
        ];
        for (service, route, rows) in tables {
            let matched = (!route.is_empty()).then_some(route.len());
            for (request, kept, without) in *rows {
                for (strip_path, expected) in [(false, kept), (true, without)] {
                    let stripped = stripped(strip_path, matched);
                    let found = upstream(service.as_bytes(), request.as_bytes(), stripped);
                    let case = format!("{service} {route} {request} {strip_path}");
                    assert_eq!(text(found), *expected, "{case}");
                }
            }
        }
        assert_eq!(text(upstream(b"", b"/a", None)), "/a");
    }
}
