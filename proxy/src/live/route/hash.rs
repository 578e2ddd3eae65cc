//! The hash that consistent balancers use: Envoy's, so that both send the same client to the same host.

use std::net::IpAddr;
use std::time::Duration;

use carbyne_engine::http::Request;
use http::{HeaderName, HeaderValue};
use smallvec::SmallVec;
use xxhash_rust::xxh64::xxh64;

use crate::live::matcher::Substitution;
use crate::live::matcher::query::parameter;

/// One rule.
#[derive(Clone, Debug)]
pub struct HashRule {
    /// What is hashed.
    pub source: HashSource,
    /// If this rule or one before it found something, the rest does not matter.
    pub terminal: bool,
}

/// What is hashed.
#[derive(Clone, Debug)]
pub enum HashSource {
    /// A cookie's value.
    Cookie(CookieRule),
    /// A named value that a filter left; none of ours leaves one.
    FilterState(Box<str>),
    /// A request field.
    Header {
        /// Its name.
        name: HeaderName,
        /// What its values become first.
        rewrite: Option<Substitution>,
    },
    /// A query parameter's first value.
    Query(Box<str>),
    /// The client's address.
    SourceAddress,
}

/// A cookie that is hashed, and made where it is missing.
#[derive(Clone, Debug)]
pub struct CookieRule {
    /// Its name.
    pub name: Box<str>,
    /// How long a made cookie lives; zero for the session, `None` makes none.
    pub ttl: Option<Duration>,
    /// Its `Path`; empty for none.
    pub path: Box<str>,
    /// Further attributes, the value empty for none.
    pub attributes: Box<[(Box<str>, Box<str>)]>,
}

/// What is known of a request's connection.
#[derive(Clone, Copy, Debug)]
pub struct HashFacts<'a> {
    /// The request.
    pub request: &'a Request,
    /// The client's address.
    pub remote: Option<IpAddr>,
    /// Something different for each client connection, of which a made cookie's value is made: Envoy takes the two addresses.
    pub connection: &'a [u8],
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct HashOutcome {
    /// The hash.
    pub hash: Option<u64>,
    /// Cookies that were made, for the response.
    pub set_cookies: SmallVec<[HeaderValue; 1]>,
}

impl HashRule {
    /// The hash of a request by rules in their order.
    pub fn evaluate(rules: &[Self], facts: &HashFacts<'_>) -> HashOutcome {
        let mut outcome = HashOutcome::default();
        for rule in rules {
            if let Some(new) = rule.source.hash(facts, &mut outcome.set_cookies) {
                // Rotating keeps equal hashes of two rules from cancelling out.
                outcome.hash = Some(outcome.hash.map_or(new, |old| old.rotate_left(1) ^ new));
            }
            if rule.terminal && outcome.hash.is_some() {
                break;
            }
        }
        outcome
    }
}

impl HashSource {
    fn hash(
        &self,
        facts: &HashFacts<'_>,
        set_cookies: &mut SmallVec<[HeaderValue; 1]>,
    ) -> Option<u64> {
        match self {
            Self::Cookie(rule) => {
                if let Some(value) = cookie(facts.request, rule.name.as_bytes()) {
                    return Some(xxh64(value, 0));
                }
                rule.ttl?;
                let value = format!("{:016x}", xxh64(facts.connection, 0));
                set_cookies.extend(rule.set_cookie(&value));
                Some(xxh64(value.as_bytes(), 0))
            }
            Self::FilterState(_) => None,
            Self::Header { name, rewrite } => {
                let mut values: SmallVec<[std::borrow::Cow<'_, [u8]>; 4]> = facts
                    .request
                    .headers
                    .all(name)
                    .map(|value| match rewrite {
                        Some(rewrite) => rewrite.apply(value.as_bytes()),
                        None => value.as_bytes().into(),
                    })
                    .collect();
                // The order in which values came shall not matter.
                values.sort_unstable();
                values
                    .iter()
                    .fold(None, |seed, value| Some(xxh64(value, seed.unwrap_or(0))))
            }
            Self::Query(name) => facts
                .request
                .query()
                .and_then(|query| parameter(query, name.as_bytes()))
                .map(|value| xxh64(value, 0)),
            Self::SourceAddress => facts
                .remote
                .map(|address| xxh64(address.to_string().as_bytes(), 0)),
        }
    }
}

impl CookieRule {
    /// `set-cookie` with this value; `None` where the rule's texts do not belong into a field.
    fn set_cookie(&self, value: &str) -> Option<HeaderValue> {
        use std::fmt::Write as _;
        let mut text = format!("{}=\"{value}\"", self.name);
        // Writing to a String does not fail.
        let mut push = |part: std::fmt::Arguments<'_>| text.write_fmt(part).unwrap_or(());
        if let Some(ttl) = self.ttl.filter(|ttl| !ttl.is_zero()) {
            push(format_args!("; Max-Age={}", ttl.as_secs()));
        }
        if !self.path.is_empty() {
            push(format_args!("; Path={}", self.path));
        }
        for (name, value) in &self.attributes {
            if value.is_empty() {
                push(format_args!("; {name}"));
            } else {
                push(format_args!("; {name}={value}"));
            }
        }
        push(format_args!("; HttpOnly"));
        HeaderValue::from_str(&text).ok()
    }
}

/// The value of a cookie, without quotes around it.
pub fn cookie<'a>(request: &'a Request, name: &[u8]) -> Option<&'a [u8]> {
    request
        .headers
        .all(&http::header::COOKIE)
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b';'))
        .find_map(|pair| {
            let pair = pair.trim_ascii();
            let equals = memchr::memchr(b'=', pair)?;
            if &pair[..equals] != name {
                return None;
            }
            let value = &pair[equals + 1..];
            Some(
                value
                    .strip_prefix(b"\"")
                    .and_then(|value| value.strip_suffix(b"\""))
                    .unwrap_or(value),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[(&'static str, &'static str)]) -> Request {
        let mut request = Request::get("h", "/?u=7");
        for (name, value) in fields {
            request.headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        request
    }

    fn evaluate(rules: &[HashRule], request: &Request) -> HashOutcome {
        HashRule::evaluate(
            rules,
            &HashFacts {
                request,
                remote: Some(IpAddr::from([10, 0, 0, 1])),
                connection: b"10.0.0.1:1 10.0.0.2:80",
            },
        )
    }

    fn rule(source: HashSource) -> HashRule {
        HashRule {
            source,
            terminal: false,
        }
    }

    fn header(name: &'static str) -> HashRule {
        rule(HashSource::Header {
            name: HeaderName::from_static(name),
            rewrite: None,
        })
    }

    #[test]
    fn sources() {
        let request = request(&[("x-user", "ann"), ("cookie", "a=1; session=\"s1\"; b=2")]);
        let session = CookieRule {
            name: "session".into(),
            ttl: None,
            path: "".into(),
            attributes: Box::default(),
        };
        let cases: &[(HashRule, Option<u64>)] = &[
            (header("x-user"), Some(xxh64(b"ann", 0))),
            (header("x-other"), None),
            (rule(HashSource::Query("u".into())), Some(xxh64(b"7", 0))),
            (rule(HashSource::SourceAddress), Some(xxh64(b"10.0.0.1", 0))),
            (rule(HashSource::Cookie(session)), Some(xxh64(b"s1", 0))),
            (rule(HashSource::FilterState("k".into())), None),
        ];
        for (rule, expected) in cases {
            assert_eq!(
                evaluate(std::slice::from_ref(rule), &request).hash,
                *expected,
                "{rule:?}"
            );
        }
    }

    #[test]
    fn rules_combine_until_a_terminal_one_found_something() {
        let request = request(&[("a", "1"), ("b", "2")]);
        let (a, b) = (xxh64(b"1", 0), xxh64(b"2", 0));
        let both = evaluate(&[header("a"), header("b")], &request).hash;
        assert_eq!(both, Some(a.rotate_left(1) ^ b));
        let terminal = |rule: HashRule| HashRule {
            terminal: true,
            ..rule
        };
        assert_eq!(
            evaluate(&[terminal(header("a")), header("b")], &request).hash,
            Some(a)
        );
        assert_eq!(
            evaluate(&[terminal(header("x")), header("b")], &request).hash,
            Some(b)
        );
    }

    #[test]
    fn the_order_of_values_does_not_matter() {
        let one = evaluate(&[header("a")], &request(&[("a", "1"), ("a", "2")])).hash;
        let other = evaluate(&[header("a")], &request(&[("a", "2"), ("a", "1")])).hash;
        assert!(one.is_some() && one == other);
    }

    #[test]
    fn a_missing_cookie_is_made() {
        let rule = rule(HashSource::Cookie(CookieRule {
            name: "session".into(),
            ttl: Some(Duration::from_secs(3600)),
            path: "/".into(),
            attributes: [
                ("SameSite".into(), "Lax".into()),
                ("Secure".into(), "".into()),
            ]
            .into(),
        }));
        let outcome = evaluate(&[rule], &request(&[]));
        let made = outcome.set_cookies[0].to_str().unwrap();
        let value = made
            .strip_prefix("session=\"")
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        assert_eq!(outcome.hash, Some(xxh64(value.as_bytes(), 0)));
        assert_eq!(
            made,
            format!("session=\"{value}\"; Max-Age=3600; Path=/; SameSite=Lax; Secure; HttpOnly")
        );
    }
}
