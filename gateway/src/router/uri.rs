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
    let mut out = Vec::with_capacity(path.len());
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
                None => out.push(b'%'),
            },
            byte => out.push(*byte),
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

/// The upstream's path: the service's, and what is left of the request's, joined by one slash
/// (`path_handling = v0`, the only one of the flavours that are served). `strip` says how many
/// bytes of the path the route takes off.
pub fn upstream<'a>(service: &'a [u8], path: &'a [u8], strip: Option<usize>) -> Cow<'a, [u8]> {
    let base: &[u8] = if service.is_empty() { b"/" } else { service };
    let Some(stripped) = strip else {
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
