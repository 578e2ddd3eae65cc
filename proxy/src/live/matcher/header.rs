//! A matcher over a header field (Envoy's `HeaderMatcher`).
//!
//! A field may come several times. Envoy used to join the values with commas before it compared them, which let `x-role: user`, `x-role: admin`
//! pass a rule that denies `admin` (CVE-2026-26308); it compares each value alone since (1.38 for RBAC, 1.39 for the rest). So does this:
//! a rule is met if one value meets it. Where a rule *allows*, one good value beside a bad one must not be enough: [`Quantifier::Every`].

use http::HeaderName;

use carbyne_engine::http::{Headers, Request};

use super::text::StringMatcher;

/// Which field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderField {
    /// `:authority`, also `host`.
    Authority,
    /// `:method`.
    Method,
    /// A field of that name.
    Name(HeaderName),
    /// `:path`, with the query.
    Path,
    /// `:protocol` of an extended CONNECT.
    Protocol,
    /// `:scheme`.
    Scheme,
    /// `:status` of a response.
    Status,
}

/// What is asked of its values.
#[derive(Clone, Debug)]
pub enum HeaderRule {
    /// The field is there, or (false) is not.
    Present(bool),
    /// It is a decimal integer in `start..end`.
    Range {
        /// First.
        start: i64,
        /// One after the last.
        end: i64,
    },
    /// It matches.
    Text(StringMatcher),
}

/// A compiled matcher.
#[derive(Clone, Debug)]
pub struct HeaderMatcher {
    /// Which field.
    pub field: HeaderField,
    /// What is asked.
    pub rule: HeaderRule,
    /// Take the opposite.
    pub invert: bool,
    /// A missing field counts as an empty one; otherwise a missing field meets no rule, inverted or not.
    pub missing_is_empty: bool,
}

/// How many of several values have to meet a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantifier {
    /// One.
    Any,
    /// All.
    Every,
}

impl HeaderField {
    /// The field of a name as configurations spell it; `None` if it is not the name of a field.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            ":authority" | "host" => Self::Authority,
            ":method" => Self::Method,
            ":path" => Self::Path,
            ":protocol" => Self::Protocol,
            ":scheme" => Self::Scheme,
            ":status" => Self::Status,
            lower => Self::Name(HeaderName::from_bytes(lower.as_bytes()).ok()?),
        })
    }

    /// Calls `each` with every value of the request until it returns true; whether there was a value, and whether one was true.
    fn visit(&self, request: &Request, mut each: impl FnMut(&[u8]) -> bool) -> (bool, bool) {
        let single = match self {
            Self::Authority => (!request.authority.is_empty()).then_some(&*request.authority),
            Self::Method => Some(request.method.as_str().as_bytes()),
            Self::Name(name) => return visit(&request.headers, name, each),
            Self::Path => (!request.path.is_empty()).then_some(&*request.path),
            Self::Protocol => request.protocol.as_deref(),
            Self::Scheme => Some(scheme(request)),
            Self::Status => None,
        };
        match single {
            Some(value) => (true, each(value)),
            None => (false, false),
        }
    }

    /// The first value of a request.
    pub fn first<'a>(&self, request: &'a Request) -> Option<&'a [u8]> {
        match self {
            Self::Authority => (!request.authority.is_empty()).then_some(&*request.authority),
            Self::Method => Some(request.method.as_str().as_bytes()),
            Self::Name(name) => request.headers.get(name).map(http::HeaderValue::as_bytes),
            Self::Path => (!request.path.is_empty()).then_some(&*request.path),
            Self::Protocol => request.protocol.as_deref(),
            Self::Scheme => Some(scheme(request)),
            Self::Status => None,
        }
    }
}

impl HeaderMatcher {
    /// The field is there.
    pub const fn present(field: HeaderField) -> Self {
        Self {
            field,
            rule: HeaderRule::Present(true),
            invert: false,
            missing_is_empty: false,
        }
    }

    /// The field has a value that matches.
    pub const fn text(field: HeaderField, matcher: StringMatcher) -> Self {
        Self {
            field,
            rule: HeaderRule::Text(matcher),
            invert: false,
            missing_is_empty: false,
        }
    }

    /// Whether the request meets it: one value is enough, or, of an inverted rule, one value that meets the
    /// rule is too many.
    pub fn matches(&self, request: &Request) -> bool {
        self.matches_quantified(request, self.quantifier())
    }

    /// Whether the request meets it. Inversion is part of what is asked of each value: a rule that denies whatever is not `admin` denies
    /// `admin` and `user` together.
    pub fn matches_quantified(&self, request: &Request, quantifier: Quantifier) -> bool {
        self.decide(quantifier, |each| self.field.visit(request, each))
    }

    /// Whether a response's or trailer's fields meet it; of the pseudo-headers only `:status` is known.
    pub fn matches_fields(&self, status: Option<http::StatusCode>, headers: &Headers) -> bool {
        self.decide(self.quantifier(), |each| match &self.field {
            HeaderField::Name(name) => visit(headers, name, each),
            HeaderField::Status => match &status {
                Some(status) => (true, each(status.as_str().as_bytes())),
                None => (false, false),
            },
            _ => (false, false),
        })
    }

    const fn quantifier(&self) -> Quantifier {
        if self.invert {
            Quantifier::Every
        } else {
            Quantifier::Any
        }
    }

    /// `visit` calls its argument with every value until it returns true.
    fn decide(
        &self,
        quantifier: Quantifier,
        visit: impl FnOnce(&mut dyn FnMut(&[u8]) -> bool) -> (bool, bool),
    ) -> bool {
        if let HeaderRule::Present(wanted) = self.rule {
            let (present, _) = visit(&mut |_| true);
            return (present == wanted) != self.invert;
        }
        let meets = |value: &[u8]| self.holds(value) != self.invert;
        let every = quantifier == Quantifier::Every;
        let (present, stopped) = visit(&mut |value| meets(value) != every);
        if present {
            stopped != every
        } else {
            self.missing_is_empty && meets(b"")
        }
    }

    fn holds(&self, value: &[u8]) -> bool {
        match &self.rule {
            HeaderRule::Present(wanted) => *wanted,
            HeaderRule::Range { start, end } => std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.parse::<i64>().ok())
                .is_some_and(|number| (*start..*end).contains(&number)),
            HeaderRule::Text(matcher) => matcher.matches(value),
        }
    }
}

fn visit(
    headers: &Headers,
    name: &HeaderName,
    mut each: impl FnMut(&[u8]) -> bool,
) -> (bool, bool) {
    let mut present = false;
    for (field, value) in headers {
        if field == name {
            present = true;
            if each(value.as_bytes()) {
                return (true, true);
            }
        }
    }
    (present, false)
}

fn scheme(request: &Request) -> &'static [u8] {
    if request.secure == Some(true) {
        b"https"
    } else {
        b"http"
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::super::text::TextRule;
    use super::*;

    fn request(fields: &[(&'static str, &'static str)]) -> Request {
        let mut request = Request::get("Host.example:80", "/p?q=1");
        for (name, value) in fields {
            request.headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        request
    }

    fn exact(text: &str) -> HeaderRule {
        HeaderRule::Text(StringMatcher::exact(text))
    }

    #[test]
    fn presence_inversion_and_absence() {
        const RANGE: HeaderRule = HeaderRule::Range { start: 0, end: 10 };
        // Rule, inverted, missing is empty, fields, expected: the examples of Envoy's reference are among them.
        type Fields = &'static [(&'static str, &'static str)];
        type Case = (HeaderRule, bool, bool, Fields, bool);
        let cases: &[Case] = &[
            (HeaderRule::Present(true), false, false, &[("x", "")], true),
            (HeaderRule::Present(true), false, false, &[], false),
            (HeaderRule::Present(true), true, false, &[], true),
            (HeaderRule::Present(false), false, false, &[], true),
            (
                HeaderRule::Present(false),
                false,
                false,
                &[("x", "1")],
                false,
            ),
            (HeaderRule::Present(false), true, false, &[("x", "1")], true),
            (RANGE, true, true, &[], true),
            (RANGE, true, false, &[], false),
            (RANGE, false, false, &[("x", "9")], true),
            (RANGE, false, false, &[("x", "10")], false),
            (RANGE, true, false, &[("x", "10")], true),
            (RANGE, false, false, &[("x", "1a")], false),
            (exact("a"), false, false, &[("x", "a")], true),
            (exact("a"), true, false, &[("x", "b")], true),
            (exact("a"), true, false, &[], false),
            (exact("a"), true, true, &[], true),
            (exact(""), false, true, &[], true),
        ];
        for (rule, invert, missing_is_empty, fields, expected) in cases {
            let matcher = HeaderMatcher {
                field: HeaderField::parse("X").unwrap(),
                rule: rule.clone(),
                invert: *invert,
                missing_is_empty: *missing_is_empty,
            };
            assert_eq!(
                matcher.matches(&request(fields)),
                *expected,
                "{rule:?} inverted {invert} on {fields:?}"
            );
        }
    }

    #[test]
    fn each_value_is_compared_alone() {
        let both = request(&[("x-role", "user"), ("x-role", "admin")]);
        let field = || HeaderField::parse("x-role").unwrap();
        let admin = HeaderMatcher::text(field(), StringMatcher::exact("admin"));
        assert!(admin.matches(&both), "a deny rule sees the second value");
        assert!(
            !admin.matches_quantified(&both, Quantifier::Every),
            "an allow rule is not met by one value of two"
        );
        let joined = HeaderMatcher::text(field(), StringMatcher::exact("user,admin"));
        assert!(!joined.matches(&both));
        let not_admin = HeaderMatcher {
            invert: true,
            ..admin
        };
        assert!(!not_admin.matches(&both), "one value is admin");
        assert!(
            not_admin.matches_quantified(&both, Quantifier::Any),
            "a deny rule sees the value that is not admin"
        );
        assert!(!not_admin.matches_quantified(&both, Quantifier::Every));
        let users = request(&[("x-role", "user"), ("x-role", "guest")]);
        assert!(not_admin.matches_quantified(&users, Quantifier::Every));
    }

    #[test]
    fn pseudo_headers() {
        let request = request(&[]);
        for (name, rule) in [
            (":authority", TextRule::Prefix("Host")),
            ("host", TextRule::Suffix(":80")),
            (":method", TextRule::Exact("GET")),
            (":path", TextRule::Exact("/p?q=1")),
            (":scheme", TextRule::Exact("http")),
        ] {
            let matcher = HeaderMatcher::text(
                HeaderField::parse(name).unwrap(),
                StringMatcher::new(rule, false).unwrap(),
            );
            assert!(matcher.matches(&request), "{name}");
        }
        assert!(!HeaderMatcher::present(HeaderField::Protocol).matches(&request));
        assert_eq!(HeaderField::parse("a b"), None);
    }
}
