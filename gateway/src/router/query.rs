//! The arguments of a query, as OpenResty reads them.

use std::borrow::Cow;

/// At most so many are looked at (`lua_max_uri_args`).
const MAX_ARGUMENTS: usize = 100;

/// The values of an argument, in order; one without `=` is empty.
pub(super) fn values<'a>(query: &'a [u8], name: &'a str) -> impl Iterator<Item = Cow<'a, str>> {
    arguments(query)
        .filter(move |(key, _)| decoded(key) == name.as_bytes())
        .filter_map(|(_, value)| match decoded(value) {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
        })
}

/// Whether every value of an argument is text.
pub(super) fn is_text(query: &[u8], name: &str) -> bool {
    arguments(query)
        .filter(|(key, _)| decoded(key) == name.as_bytes())
        .all(|(_, value)| std::str::from_utf8(&decoded(value)).is_ok())
}

fn arguments(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    query
        .split(|byte| *byte == b'&')
        .map(|part| match part.iter().position(|byte| *byte == b'=') {
            Some(at) => (&part[..at], &part[at + 1..]),
            None => (part, &[][..]),
        })
        .filter(|(key, _)| !key.is_empty())
        .take(MAX_ARGUMENTS)
}

fn decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return text.into();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'+' => out.push(b' '),
            b'%' => match super::uri::escaped(tail) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_found() {
        for (query, found) in [
            ("a=1", &["1"][..]),
            ("a", &[""]),
            ("a=", &[""]),
            ("b=1&a=2&a=3", &["2", "3"]),
            ("%61=%20+%2b", &["  +"]),
            ("a=%zz%4", &["%zz%4"]),
            ("=a&A=1&aa=1", &[]),
            ("", &[]),
        ] {
            let values: Vec<_> = values(query.as_bytes(), "a").collect();
            assert_eq!(values, found, "{query}");
        }
        assert!(!is_text(b"a=%ff", "a"));
        assert!(is_text(b"b=%ff&a=1", "a"));
    }
}
