//! What of a request consistent hashing hashes.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use carbyne_engine::http::Headers;
use http::header;

use super::consistent_hashing;
use crate::plan::upstream::{HashOn, Upstream};
use crate::schema::uuid;

/// What a request may be hashed by.
#[derive(Clone, Copy)]
pub struct Keys<'a> {
    /// The id of the consumer that authenticated, else of the credential.
    pub consumer: Option<&'a str>,
    pub headers: &'a Headers,
    /// The client's address.
    pub ip: IpAddr,
    /// The path, canonical; percent-encoded or not.
    pub path: &'a str,
    /// Without the question mark.
    pub query: Option<&'a str>,
    /// What the route's named groups captured.
    pub captures: &'a [(&'a str, &'a str)],
}

/// Where a request belongs: computed once, and the same for all of its tries.
#[derive(Clone, Debug, Default)]
pub struct Affinity {
    pub(super) point: u32,
    /// A cookie that the response shall set, so that the client comes back to the same target.
    pub cookie: Option<Cookie>,
}

/// A cookie that hashing made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cookie {
    pub name: Box<str>,
    /// The value of `Set-Cookie`. It takes the place of another cookie of this name, if the target set one.
    pub field: String,
}

/// What to hash.
#[derive(Clone, Debug)]
pub(super) struct Hashing {
    on: HashOn,
    fallback: HashOn,
    cookie_path: Box<str>,
}

impl Hashing {
    pub(super) fn of(upstream: &Upstream) -> Self {
        Self {
            on: upstream.hash_on.clone(),
            fallback: upstream.hash_fallback.clone(),
            cookie_path: upstream.hash_cookie_path.clone(),
        }
    }

    /// Where the request belongs on a ring with so many points. What has nothing to be hashed belongs where the empty text does.
    pub(super) fn affinity(&self, keys: &Keys<'_>, points: u32) -> Affinity {
        let point = |value: &[u8]| consistent_hashing::point(value, points);
        for on in [&self.on, &self.fallback] {
            if let Some(value) = value(on, keys) {
                return Affinity {
                    point: point(value.as_bytes()),
                    cookie: None,
                };
            }
            if let HashOn::Cookie(name) = on {
                let value = uuid();
                let field = format!(
                    "{name}={value}; Path={}; Same-Site=Lax; HttpOnly",
                    self.cookie_path
                );
                return Affinity {
                    point: point(value.as_bytes()),
                    cookie: Some(Cookie {
                        name: name.clone(),
                        field,
                    }),
                };
            }
        }
        Affinity {
            point: point(b""),
            cookie: None,
        }
    }
}

fn value<'a>(on: &HashOn, keys: &Keys<'a>) -> Option<Cow<'a, str>> {
    match on {
        HashOn::Nothing => None,
        HashOn::Consumer => keys.consumer.map(Cow::Borrowed),
        HashOn::Cookie(name) => cookie(keys.headers, name).map(Cow::Borrowed),
        HashOn::Header(name) => {
            let fields = keys.headers.iter().filter(|(known, _)| known == name);
            let mut values = fields.filter_map(|(_, value)| value.to_str().ok());
            let first = values.next()?;
            // nginx joins the values of a repeated field.
            Some(values.fold(Cow::Borrowed(first), |all, next| all + ", " + next))
        }
        HashOn::Ip => Some(Cow::Owned(keys.ip.to_string())),
        HashOn::Path => Some(decoded(keys.path, false)),
        HashOn::QueryArgument(name) => argument(keys.query?, name),
        HashOn::UriCapture(name) => keys
            .captures
            .iter()
            .find(|(known, _)| *known == &**name)
            .map(|(_, value)| Cow::Borrowed(*value)),
    }
}

/// A cookie's value. Names are compared as nginx does, without regard to case.
fn cookie<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    let fields = headers
        .all(&header::COOKIE)
        .filter_map(|field| field.to_str().ok());
    fields.flat_map(|field| field.split(';')).find_map(|pair| {
        let (known, value) = pair.trim_start().split_once('=')?;
        known.eq_ignore_ascii_case(name).then_some(value)
    })
}

/// The values of an argument, sorted and joined. One without a value is `true`.
fn argument<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let value = |pair: &'a str| {
        let (known, value) = match pair.split_once('=') {
            Some((known, value)) => (known, decoded(value, true)),
            None => (pair, Cow::Borrowed("true")),
        };
        (!known.is_empty() && decoded(known, true) == name).then_some(value)
    };
    let mut values = query.split('&').take(MOST_ARGUMENTS).filter_map(value);
    let first = values.next()?;
    let Some(second) = values.next() else {
        return Some(first);
    };
    let mut all = vec![first, second];
    all.extend(values);
    all.sort();
    Some(Cow::Owned(all.join(",")))
}

/// Without percent-encoding, and in a query with spaces for plus signs. What is no UTF-8 then hashes as what replaces it.
fn decoded(text: &str, is_query: bool) -> Cow<'_, str> {
    let is_plain = |byte| byte != b'%' && !(is_query && byte == b'+');
    if text.bytes().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    loop {
        rest = match rest {
            [b'%', high, low, after @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                let digit = |digit: u8| match digit {
                    b'0'..=b'9' => digit - b'0',
                    _ => (digit | 0x20) - b'a' + 10,
                };
                bytes.push(digit(*high) << 4 | digit(*low));
                after
            }
            [b'+', after @ ..] if is_query => {
                bytes.push(b' ');
                after
            }
            [byte, after @ ..] => {
                bytes.push(*byte);
                after
            }
            [] => break,
        };
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

impl fmt::Debug for Keys<'_> {
    /// Neither consumers nor fields: they may be secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Keys")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Of how many arguments Kong takes notice (`lua_max_uri_args`).
const MOST_ARGUMENTS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    use http::{HeaderName, HeaderValue};

    fn headers(fields: &[(&'static str, &'static str)]) -> Headers {
        let mut headers = Headers::with_capacity(fields.len());
        for (name, value) in fields {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        headers
    }

    #[test]
    fn values_are_found_where_kong_finds_them() {
        let headers = headers(&[
            ("x-one", "a"),
            ("x-two", "b"),
            ("x-two", "c"),
            ("cookie", "first=1; Session=abc; second=2"),
            ("cookie", "late=3; empty="),
        ]);
        let keys = Keys {
            consumer: Some("consumer-id"),
            headers: &headers,
            ip: "10.1.2.3".parse().unwrap(),
            path: "/a%20b/c",
            query: Some("q=2&x&q=1&sp%61ce=a+b%21&q=%zz"),
            captures: &[("id", "42")],
        };
        let header = |name| HashOn::Header(HeaderName::from_static(name));
        let argument = |name: &str| HashOn::QueryArgument(name.into());
        let cookie = |name: &str| HashOn::Cookie(name.into());
        let capture = |name: &str| HashOn::UriCapture(name.into());
        let cases = [
            (HashOn::Nothing, None),
            (HashOn::Consumer, Some("consumer-id")),
            (HashOn::Ip, Some("10.1.2.3")),
            (HashOn::Path, Some("/a b/c")),
            (header("x-one"), Some("a")),
            (header("x-two"), Some("b, c")),
            (header("x-three"), None),
            (cookie("session"), Some("abc")),
            (cookie("late"), Some("3")),
            (cookie("empty"), Some("")),
            (cookie("other"), None),
            (argument("q"), Some("%zz,1,2")),
            (argument("x"), Some("true")),
            (argument("space"), Some("a b!")),
            (argument("y"), None),
            (capture("id"), Some("42")),
            (capture("name"), None),
        ];
        for (on, expected) in cases {
            assert_eq!(value(&on, &keys).as_deref(), expected, "{on:?}");
        }
        let nobody = Keys {
            consumer: None,
            query: None,
            ..keys
        };
        assert_eq!(value(&HashOn::Consumer, &nobody), None);
        assert_eq!(value(&argument("q"), &nobody), None);
    }

    #[test]
    fn the_fallback_decides_where_there_is_nothing_else() {
        let headers = headers(&[("x-one", "a")]);
        let keys = Keys {
            consumer: None,
            headers: &headers,
            ip: "10.1.2.3".parse().unwrap(),
            path: "/",
            query: None,
            captures: &[],
        };
        let header = |name| HashOn::Header(HeaderName::from_static(name));
        let point = |value: &str| consistent_hashing::point(value.as_bytes(), 10_000);
        let cases = [
            (header("x-one"), HashOn::Ip, point("a")),
            (HashOn::Consumer, HashOn::Ip, point("10.1.2.3")),
            (HashOn::Consumer, header("x-two"), point("")),
            (HashOn::Nothing, HashOn::Nothing, point("")),
        ];
        for (on, fallback, expected) in cases {
            let hashing = Hashing {
                on,
                fallback,
                cookie_path: "/".into(),
            };
            let affinity = hashing.affinity(&keys, 10_000);
            assert_eq!(
                (affinity.point, affinity.cookie),
                (expected, None),
                "{hashing:?}"
            );
        }
    }

    #[test]
    fn a_client_without_the_cookie_gets_one_that_leads_back() {
        let hashing = Hashing {
            on: HashOn::Consumer,
            fallback: HashOn::Cookie("sticky".into()),
            cookie_path: "/shop".into(),
        };
        let empty = headers(&[]);
        let keys = Keys {
            consumer: None,
            headers: &empty,
            ip: "::1".parse().unwrap(),
            path: "/",
            query: None,
            captures: &[],
        };
        let first = hashing.affinity(&keys, 10_000);
        let cookie = first.cookie.unwrap();
        let (pair, attributes) = cookie.field.split_once("; ").unwrap();
        assert_eq!(attributes, "Path=/shop; Same-Site=Lax; HttpOnly");
        assert_eq!(
            (&*cookie.name, pair.len()),
            ("sticky", "sticky=".len() + 36)
        );
        let mut returned = Headers::with_capacity(1);
        returned.append(header::COOKIE, HeaderValue::from_str(pair).unwrap());
        let keys = Keys {
            headers: &returned,
            ..keys
        };
        let second = hashing.affinity(&keys, 10_000);
        assert_eq!((second.point, second.cookie), (first.point, None));
    }
}
