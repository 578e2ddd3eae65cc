//! Reading and changing the query of a request. Names are compared decoded: `%61ccess_token` is `access_token` (WHATWG URL, "application/x-www-form-urlencoded parsing").

use std::borrow::Cow;

use bytes::Bytes;
use carbyne_engine::http::Request;

/// The first value of a parameter, decoded.
pub(super) fn first<'a>(request: &'a Request, key: &str) -> Option<Cow<'a, [u8]>> {
    request
        .query()?
        .split(|byte| *byte == b'&')
        .find_map(|pair| {
            let (name, value) = split(pair);
            (*decoded(name) == *key.as_bytes()).then(|| decoded(value))
        })
}

/// Adds a parameter at the end.
pub(super) fn append(request: &mut Request, key: &str, value: &str) {
    let mark = match request.query() {
        None => "?",
        Some(b"") => "",
        Some(_) => "&",
    };
    let mut path = request.path.to_vec();
    path.extend_from_slice(format!("{mark}{}={}", encoded(key), encoded(value)).as_bytes());
    request.path = Bytes::from(path);
}

/// Takes every parameter of that name out.
pub(super) fn remove(request: &mut Request, key: &str) {
    let Some(query) = request.query() else { return };
    let pairs = query.split(|byte| *byte == b'&');
    let kept: Vec<&[u8]> = pairs
        .filter(|pair| *decoded(split(pair).0) != *key.as_bytes())
        .collect();
    let mut path = request.path_only().to_vec();
    if !kept.is_empty() {
        path.push(b'?');
        path.extend_from_slice(&kept.join(&b'&'));
    }
    request.path = Bytes::from(path);
}

fn split(pair: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'=', pair) {
        Some(at) => (&pair[..at], &pair[at + 1..]),
        None => (pair, b""),
    }
}

/// `%XX` and `+` decoded; what is no escape stays.
fn decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'%', b'+', text).is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let escaped = match (byte, tail) {
            (b'%', [high, low, after @ ..]) => digit(*high)
                .zip(digit(*low))
                .map(|(high, low)| (high << 4 | low, after)),
            _ => None,
        };
        match escaped {
            Some((value, after)) => {
                out.push(value);
                rest = after;
            }
            None => out.push(if byte == b'+' { b' ' } else { byte }),
        }
    }
    Cow::Owned(out)
}

fn digit(letter: u8) -> Option<u8> {
    char::from(letter)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// A text as it stands in a query: letters, digits and `-._~` stay (RFC 3986 section 2.3).
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_decoded() {
        let cases: &[(&str, Option<&str>, &str)] = &[
            ("/a?t=1&b=2", Some("1"), "/a?b=2"),
            ("/a?b=2&%74=x%2By", Some("x+y"), "/a?b=2"),
            ("/a?t=1&t=2", Some("1"), "/a"),
            ("/a?t", Some(""), "/a"),
            ("/a?tt=1", None, "/a?tt=1"),
            ("/a?t=%zz+", Some("%zz "), "/a"),
            ("/a", None, "/a"),
        ];
        for (path, value, without) in cases {
            let mut request = Request::get("h", path.as_bytes().to_vec());
            assert_eq!(
                first(&request, "t").as_deref(),
                value.map(str::as_bytes),
                "{path}"
            );
            remove(&mut request, "t");
            assert_eq!(request.path, without.as_bytes(), "{path}");
        }
    }

    #[test]
    fn additions_are_escaped() {
        for (path, expected) in [
            ("/a", "/a?k%26=v%20"),
            ("/a?", "/a?k%26=v%20"),
            ("/a?b", "/a?b&k%26=v%20"),
        ] {
            let mut request = Request::get("h", path.as_bytes().to_vec());
            append(&mut request, "k&", "v ");
            assert_eq!(request.path, expected.as_bytes(), "{path}");
        }
    }
}
