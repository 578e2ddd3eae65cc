//! A matcher over a query parameter (Envoy's `QueryParameterMatcher`).

use super::text::StringMatcher;

/// What is asked of a parameter.
#[derive(Clone, Debug)]
pub enum QueryRule {
    /// It is there, or (false) is not.
    Present(bool),
    /// Its first value, as sent, matches.
    Text(StringMatcher),
}

/// A compiled matcher.
#[derive(Clone, Debug)]
pub struct QueryMatcher {
    /// The parameter's name, compared as sent.
    pub name: Box<[u8]>,
    /// What is asked.
    pub rule: QueryRule,
}

impl QueryMatcher {
    /// Whether a query (without `?`) meets it.
    pub fn matches(&self, query: Option<&[u8]>) -> bool {
        let value = query.and_then(|query| parameter(query, &self.name));
        match &self.rule {
            QueryRule::Present(wanted) => value.is_some() == *wanted,
            QueryRule::Text(matcher) => value.is_some_and(|value| matcher.matches(value)),
        }
    }
}

/// The first value of a parameter, not decoded; empty where it has no `=`.
pub fn parameter<'a>(query: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    query.split(|&byte| byte == b'&').find_map(|pair| {
        let (key, value) = match memchr::memchr(b'=', pair) {
            Some(equals) => (&pair[..equals], &pair[equals + 1..]),
            None => (pair, &b""[..]),
        };
        (key == name).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::super::text::TextRule;
    use super::*;

    #[test]
    fn first_value_as_sent() {
        let cases: &[(&str, Option<&str>)] = &[
            ("canary=1", Some("1")),
            ("a=2&canary=1&canary=3", Some("1")),
            ("canary", Some("")),
            ("canary=", Some("")),
            ("canary=a=b", Some("a=b")),
            ("xcanary=1", None),
            ("", None),
            ("canary=%31", Some("%31")),
        ];
        for (query, expected) in cases {
            assert_eq!(
                parameter(query.as_bytes(), b"canary"),
                expected.map(str::as_bytes),
                "{query}"
            );
        }
        let regex = StringMatcher::new(TextRule::Regex("^(1|yes)$"), false).unwrap();
        let matcher = QueryMatcher {
            name: (*b"canary").into(),
            rule: QueryRule::Text(regex),
        };
        assert!(matcher.matches(Some(b"x=1&canary=yes")));
        assert!(!matcher.matches(Some(b"canary=no")));
        assert!(!matcher.matches(None));
        let absent = QueryMatcher {
            name: (*b"canary").into(),
            rule: QueryRule::Present(false),
        };
        assert!(absent.matches(None));
        assert!(!absent.matches(Some(b"canary")));
    }
}
