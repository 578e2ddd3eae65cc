//! Where a request has tokens.

use std::borrow::Cow;

use carbyne_engine::http::Headers;
use http::header;

/// A token that was found. Nothing is an argument without `=`, which is no text.
pub(super) type Candidate<'a> = Option<Cow<'a, str>>;

/// Adds what is not empty and not there yet.
pub(super) fn gather<'a>(
    candidates: impl Iterator<Item = Candidate<'a>>,
    found: &mut Vec<Candidate<'a>>,
) {
    for candidate in candidates {
        if candidate.as_deref() != Some("") && !found.contains(&candidate) {
            found.push(candidate);
        }
    }
}

/// The first cookie of that name, as nginx finds `$cookie_…`: names are equal whatever their case.
pub(super) fn cookie<'a>(headers: &'a Headers, name: &str) -> Option<Cow<'a, str>> {
    headers.all(&header::COOKIE).find_map(|value| {
        let mut rest = value.as_bytes();
        loop {
            rest = rest.trim_ascii_start();
            if let Some(value) = value_of(rest, name.as_bytes()) {
                return Some(String::from_utf8_lossy(value));
            }
            let end = rest.iter().position(|byte| matches!(byte, b';' | b','))?;
            rest = &rest[end + 1..];
        }
    })
}

fn value_of<'a>(text: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = text.split_at_checked(name.len())?;
    if !start.eq_ignore_ascii_case(name) {
        return None;
    }
    let value = rest.trim_ascii_start().strip_prefix(b"=")?;
    let end = memchr::memchr(b';', value).unwrap_or(value.len());
    Some(value[..end].trim_ascii_start())
}

/// What follows `Bearer`, wherever that stands.
pub(super) fn bearer(value: &[u8]) -> Option<Cow<'_, str>> {
    let mut rest = value;
    loop {
        let at = memchr::memmem::find(rest, b"earer")?;
        let begins = at
            .checked_sub(1)
            .is_some_and(|before| matches!(rest[before], b'b' | b'B'));
        rest = &rest[at + 5..];
        let token = rest.trim_ascii_start();
        if begins && token.len() < rest.len() && !token.is_empty() {
            return Some(String::from_utf8_lossy(token));
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn bearers_are_found() {
        for (value, token) in [
            ("Bearer a.b.c", Some("a.b.c")),
            ("bearer  a.b.c", Some("a.b.c")),
            ("Bearer\ta b", Some("a b")),
            ("BEARER a", None),
            ("Bearera", None),
            ("earer a", None),
            ("Bearer", None),
            ("Basic x, Bearer a", Some("a")),
            ("bearer-bearer a", Some("a")),
            ("", None),
        ] {
            assert_eq!(bearer(value.as_bytes()).as_deref(), token, "{value}");
        }
    }

    #[test]
    fn cookies_are_found() {
        for (fields, value) in [
            (&["jwt=a"][..], Some("a")),
            (&["x=1; JWT = a ; jwt=b"], Some("a ")),
            (&["jwts=1, jwt=a,b"], Some("a,b")),
            (&["x=1", "jwt=a"], Some("a")),
            (&["jwt"], None),
            (&["xjwt=a"], None),
            (&["jwt="], Some("")),
            (&[], None),
        ] {
            let mut headers = Headers::new();
            for field in fields {
                headers.append(header::COOKIE, HeaderValue::from_static(field));
            }
            assert_eq!(cookie(&headers, "jwt").as_deref(), value, "{fields:?}");
        }
    }

    #[test]
    fn the_same_token_counts_once() {
        let mut found = Vec::new();
        let text = |text| Some(Cow::Borrowed(text));
        gather(
            [text("a"), text(""), text("a"), None].into_iter(),
            &mut found,
        );
        gather([text("a"), None].into_iter(), &mut found);
        assert_eq!(found, [text("a"), None]);
    }
}
