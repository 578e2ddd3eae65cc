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

use crate::plan::route::PathHandling;

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

/// The upstream's path: the service's, and what is left of the request's.
pub fn upstream<'a>(
    service: &'a [u8],
    path: &'a [u8],
    stripped: Option<usize>,
    handling: PathHandling,
) -> Cow<'a, [u8]> {
    let base: &[u8] = if service.is_empty() { b"/" } else { service };
    match handling {
        PathHandling::V0 => joined(base, path, stripped),
        PathHandling::V1 => appended(base, path, stripped),
    }
}

/// One behind the other, without a slash between them that neither has (`path_handling = v1`).
fn appended<'a>(base: &'a [u8], path: &'a [u8], stripped: Option<usize>) -> Cow<'a, [u8]> {
    let rest = match stripped {
        Some(stripped) => sanitized(path.get(stripped..).unwrap_or_default()),
        None => path.get(1..).unwrap_or_default(),
    };
    match (base.strip_suffix(b"/"), rest) {
        (Some(start), [b'/', ..]) => [start, rest].concat().into(),
        _ => [base, rest].concat().into(),
    }
}

/// Joined by one slash (`path_handling = v0`).
fn joined<'a>(base: &'a [u8], path: &'a [u8], stripped: Option<usize>) -> Cow<'a, [u8]> {
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

/// What a prefix leaves may begin in the middle of a segment, and look like a dot segment: that is taken off, also where
/// only a service reads one ([`is_ambiguous`]).
fn sanitized(rest: &[u8]) -> &[u8] {
    let ([b'.', b'.', behind @ ..] | [b'.', behind @ ..]) = rest else {
        return rest;
    };
    match behind {
        [] | [b';', ..] => behind,
        [b'/' | b'\\', after @ ..] | [b'%', b'2', b'F', after @ ..] => after,
        _ => rest,
    }
}

/// Whether a service may read another path than routes and plugins do: behind `%2F`, `\` or `;` it may see a dot segment
/// (`/public%2F..%2Fsecret`, `/public\..\secret`, `/public/..;/secret`), and `%00` may end the path for it. No client
/// means such a path; an encoded slash by itself (`/%2F/queue`) is fine.
pub fn is_ambiguous(path: &[u8]) -> bool {
    if memchr::memchr3(b'%', b'\\', b';', path).is_none() {
        return false;
    }
    let path = normalize(path);
    if memchr::memchr(0, &path).is_some() {
        return true;
    }
    // How the segment goes on as a service reads it, as far as that could be dots.
    let mut dots = Some(0);
    let mut rest = &*path;
    while let Some((byte, tail)) = rest.split_first() {
        let (byte, after) = match byte {
            b'%' => escaped(tail).unwrap_or((b'%', tail)),
            byte => (*byte, tail),
        };
        rest = after;
        match byte {
            b'/' | b'\\' | b';' if matches!(dots, Some(1 | 2)) => return true,
            b'/' | b'\\' => dots = Some(0),
            b'.' => dots = dots.map(|dots| dots + 1),
            _ => dots = None,
        }
    }
    matches!(dots, Some(1 | 2))
}

#[cfg(test)]
mod tests;
