//! The path, byte by byte, as Envoy's `normalize_path` does it.
//!
//! Envoy hands the path to the URL library of Chromium, in the state of the end of 2022: unreserved characters are
//! decoded, `"<>^`{|}` and bytes outside ASCII are encoded, `\` becomes `/`, dot segments go (`%2e` counts as a dot),
//! other escapes stay as they were written, `%00` is refused, and a `%` without two digits stays. Paths that this leaves
//! alone are recognised by one scan and not copied.

use super::{EscapedSlashes, Policy, Rejection};

/// What one look at a path found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    /// A space or control byte.
    pub(super) invalid: bool,
    /// A `#`, in path or query.
    pub(super) fragment: bool,
    /// A byte before the query that the policy may have to rewrite.
    pub(super) suspicious: bool,
}

/// Looks at a path with its query once.
pub(super) fn scan(path: &[u8], policy: &Policy) -> Scan {
    let query = memchr::memchr(b'?', path).unwrap_or(path.len());
    let (path, query) = path.split_at(query);
    let mut found = 0_u8;
    // What may be said after a slash only: a dot segment, another slash. Without branches, for this runs over every path.
    let mut keep = !AFTER_SLASH;
    for byte in path {
        let class = CLASSES[usize::from(*byte)];
        found |= class & keep;
        let slash = class & SLASH;
        keep = !AFTER_SLASH | slash | (slash >> 1);
    }
    let mut later = 0_u8;
    for byte in query {
        later |= CLASSES[usize::from(*byte)];
    }
    let mut relevant = 0;
    if policy.normalize_path {
        relevant |= ENCODE | BACKSLASH | PERCENT | DOT;
    }
    if policy.merge_slashes {
        relevant |= SLASH;
    }
    if policy.escaped_slashes != EscapedSlashes::Keep {
        relevant |= PERCENT;
    }
    Scan {
        invalid: (found | later) & INVALID != 0,
        fragment: (found | later) & FRAGMENT != 0,
        suspicious: found & relevant != 0,
    }
}

/// Rewrites a path with its query. The second value says whether an escaped slash was decoded.
pub(super) fn rewrite(path: &[u8], policy: &Policy) -> Result<(Vec<u8>, bool), Rejection> {
    let query = memchr::memchr(b'?', path).unwrap_or(path.len());
    let (path, query) = path.split_at(query);
    let mut current = path.to_vec();
    let mut unescaped = false;
    if policy.escaped_slashes != EscapedSlashes::Keep {
        let decoded = unescape_slashes(&current);
        if decoded.len() != current.len() {
            if policy.escaped_slashes == EscapedSlashes::Reject {
                return Err(Rejection::EscapedSlash);
            }
            unescaped = true;
            current = decoded;
        }
    }
    if policy.normalize_path {
        current = normalize(&current)?;
    }
    if policy.merge_slashes {
        // After normalisation, which may bring slashes together.
        current.dedup_by(|next, previous| *next == b'/' && *previous == b'/');
    }
    current.extend_from_slice(query);
    Ok((current, unescaped))
}

/// Decodes `%2F` and `%5C`.
pub(super) fn unescape_slashes(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, tail)) = rest.split_first() {
        rest = match rest {
            [b'%', b'2', b'f' | b'F', tail @ ..] => {
                out.push(b'/');
                tail
            }
            [b'%', b'5', b'c' | b'C', tail @ ..] => {
                out.push(b'\\');
                tail
            }
            _ => {
                out.push(*first);
                tail
            }
        };
    }
    out
}

fn normalize(path: &[u8]) -> Result<Vec<u8>, Rejection> {
    let mut out = Vec::with_capacity(path.len() + 8);
    // Where a `%` was written that starts no escape: what is decoded behind it must not complete one.
    let mut lone_percent = None;
    let mut rest = path;
    while let Some((byte, tail)) = rest.split_first() {
        if let Some(after) = dot(rest) {
            rest = resolve_dot(&mut out, after);
            continue;
        }
        rest = tail;
        match *byte {
            b'\\' => out.push(b'/'),
            b'%' => match escape(tail) {
                Some((0, _)) => return Err(Rejection::EncodedNul),
                Some((value, after)) => {
                    if is_unreserved(value) {
                        out.push(value);
                    } else {
                        out.push(b'%');
                        out.extend_from_slice(&tail[..2]);
                    }
                    rest = after;
                }
                None => {
                    lone_percent = Some(out.len());
                    out.push(b'%');
                    continue;
                }
            },
            byte if CLASSES[usize::from(byte)] & ENCODE != 0 => push_encoded(&mut out, byte),
            byte => out.push(byte),
        }
        // `%%32e` would turn into `%2e`, which the next reader decodes: the first sign becomes `%25`.
        if let Some(at) = lone_percent
            && out.len() == at + 3
        {
            if out[at + 1..].iter().all(u8::is_ascii_hexdigit) {
                out.splice(at..=at, *b"%25");
            }
            lone_percent = None;
        }
    }
    Ok(out)
}

/// Takes a dot: a dot segment when it follows a slash and goes to the segment's end, a character of a name otherwise.
/// Returns what is left of the path.
fn resolve_dot<'a>(out: &mut Vec<u8>, after: &'a [u8]) -> &'a [u8] {
    if out.last() != Some(&b'/') {
        out.push(b'.');
        return after;
    }
    if let Some(left) = segment_end(after) {
        return left;
    }
    if let Some(left) = dot(after).and_then(segment_end) {
        // The slash at the end stays, the segment before it goes; the first slash stays always.
        let parent = memchr::memrchr(b'/', &out[..out.len() - 1]).unwrap_or(0);
        out.truncate(parent + 1);
        return left;
    }
    out.push(b'.');
    after
}

/// What follows a dot, plain or encoded.
fn dot(text: &[u8]) -> Option<&[u8]> {
    match text {
        [b'.', after @ ..] | [b'%', b'2', b'e' | b'E', after @ ..] => Some(after),
        _ => None,
    }
}

/// What follows the end of a segment.
const fn segment_end(text: &[u8]) -> Option<&[u8]> {
    match text {
        [] => Some(text),
        [b'/' | b'\\', after @ ..] => Some(after),
        _ => None,
    }
}

/// The byte that two hexadecimal digits stand for, and what follows them.
fn escape(text: &[u8]) -> Option<(u8, &[u8])> {
    let [high, low, after @ ..] = text else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let value = digit(*high)? << 4 | digit(*low)?;
    Some((u8::try_from(value).ok()?, after))
}

fn push_encoded(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(&[
        b'%',
        DIGITS[usize::from(byte >> 4)],
        DIGITS[usize::from(byte & 15)],
    ]);
}

/// RFC 3986 §2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

const INVALID: u8 = 1;
const FRAGMENT: u8 = 1 << 1;
const ENCODE: u8 = 1 << 2;
const BACKSLASH: u8 = 1 << 3;
const PERCENT: u8 = 1 << 4;
const DOT: u8 = 1 << 5;
/// One bit above [`DOT`]: [`scan`] shifts it there.
const SLASH: u8 = DOT << 1;
const AFTER_SLASH: u8 = DOT | SLASH;

const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            0..=b' ' | 0x7f => INVALID,
            b'#' => FRAGMENT,
            b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x80.. => ENCODE,
            b'\\' => BACKSLASH,
            b'%' => PERCENT,
            b'.' => DOT,
            b'/' => SLASH,
            _ => 0,
        };
        byte += 1;
    }
    classes
};
