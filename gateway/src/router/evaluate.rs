//! Whether a request passes an expression, step by step as Kong's engine goes: in order, stopping
//! where the outcome is known. A field that is missing passes nothing, not even `!=`.

use std::borrow::Cow;
use std::net::IpAddr;

use http::{HeaderName, HeaderValue};
use regex::Regex;

use super::expression::{Check, Expression, Test};
use super::field::{Field, Header, Segments};
use super::lookup::{Http, Lookup};
use super::query;

/// A lookup whose texts are known to be UTF-8 as far as expressions read them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    pub(super) lookup: &'a Lookup<'a>,
    /// The parts of a request; a connection has none.
    pub(super) http: Option<&'a Http<'a>>,
    /// An HTTP/1.0 request may come without.
    pub(super) host: Option<&'a [u8]>,
    pub(super) path: &'a [u8],
}

/// What is told of a test that passed.
pub(super) trait Witness {
    /// Whether captures are wanted, which cost more than a match.
    const CAPTURES: bool;

    /// What a test of the path matched: the last one counts.
    fn path(&mut self, _matched: &str) {}

    /// What a regular expression captured, on whatever field.
    fn captures(&mut self, _regex: &Regex, _captures: &regex::Captures<'_>) {}
}

/// Nobody wants to know.
impl Witness for () {
    const CAPTURES: bool = false;
}

impl Expression {
    pub(super) fn holds<W: Witness>(&self, request: &Request<'_>, witness: &mut W) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(request, witness)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(request, witness)),
            Self::Not(inner) => !inner.holds(request, witness),
            Self::Test(test) => test.holds(request, witness),
        }
    }
}

impl Test {
    pub(super) fn holds<W: Witness>(&self, request: &Request<'_>, witness: &mut W) -> bool {
        let lookup = request.lookup;
        match &self.field {
            Field::Protocol => self.text(lookup.protocol.name(), witness),
            Field::Sni => lookup.sni.is_some_and(|sni| self.text(sni, witness)),
            Field::SourceIp => self.address(lookup.source_ip()),
            Field::SourcePort => self.number(lookup.source.port().into()),
            Field::DestinationIp => self.address(lookup.destination_ip()),
            Field::DestinationPort => self.number(lookup.destination_port().into()),
            field => request
                .http
                .is_some_and(|http| self.request(field, http, request, witness)),
        }
    }

    fn request<W: Witness>(
        &self,
        field: &Field,
        http: &Http<'_>,
        request: &Request<'_>,
        witness: &mut W,
    ) -> bool {
        match field {
            Field::Method => self.text(http.method.as_str(), witness),
            Field::Host => request.host.is_some_and(|host| self.bytes(host, witness)),
            Field::Path => self.bytes(request.path, witness),
            Field::Segments(segments) => segments
                .of(request.path)
                .is_some_and(|segment| self.bytes(segment, witness)),
            Field::SegmentCount => self.number(Segments::count(request.path)),
            Field::Header(header) => self.all_or_any(header.values(http), witness),
            Field::Query(name) => {
                let values = http
                    .query
                    .into_iter()
                    .flat_map(|query| query::values(query, name));
                self.all_or_any(values, witness)
            }
            _ => false,
        }
    }

    /// Several values: all have to pass, and there has to be one, unless any may.
    fn all_or_any<'v, W: Witness>(
        &self,
        values: impl Iterator<Item = Cow<'v, str>>,
        witness: &mut W,
    ) -> bool {
        let mut some = false;
        for value in values {
            some = true;
            if self.text(&value, witness) == self.any {
                return self.any;
            }
        }
        some && !self.any
    }

    /// What is no text was turned away before, unless nobody looked.
    fn bytes<W: Witness>(&self, value: &[u8], witness: &mut W) -> bool {
        std::str::from_utf8(value).is_ok_and(|value| self.text(value, witness))
    }

    pub(super) fn text<W: Witness>(&self, value: &str, witness: &mut W) -> bool {
        let is_lower = |byte: u8| !byte.is_ascii_uppercase() && byte.is_ascii();
        if !self.lower || value.bytes().all(is_lower) {
            return self.compare(value, witness);
        }
        // Most values are short ASCII: they are lowered without an allocation.
        let mut room = [0_u8; 256];
        match room.get_mut(..value.len()) {
            Some(room) if value.is_ascii() => {
                room.copy_from_slice(value.as_bytes());
                room.make_ascii_lowercase();
                std::str::from_utf8(room).is_ok_and(|lower| self.compare(lower, witness))
            }
            _ => self.compare(&value.to_lowercase(), witness),
        }
    }

    fn compare<W: Witness>(&self, value: &str, witness: &mut W) -> bool {
        let (passes, matched): (bool, &str) = match &self.check {
            Check::Equal(text) => (value == &**text, text),
            Check::Prefix(text) => (value.starts_with(&**text), text),
            Check::Suffix(text) => (value.ends_with(&**text), text),
            Check::Unequal(text) => return value != &**text,
            Check::Contains(text) => return value.contains(&**text),
            Check::Regex(pattern) => {
                let regex = pattern.regex();
                return regex.is_some_and(|regex| self.regex(regex, value, witness));
            }
            _ => return false,
        };
        if passes && self.field == Field::Path {
            witness.path(matched);
        }
        passes
    }

    fn regex<W: Witness>(&self, regex: &Regex, value: &str, witness: &mut W) -> bool {
        if !W::CAPTURES {
            return regex.is_match(value);
        }
        let Some(captures) = regex.captures(value) else {
            return false;
        };
        if self.field == Field::Path
            && let Some(whole) = captures.get(0)
        {
            witness.path(whole.as_str());
        }
        witness.captures(regex, &captures);
        true
    }

    fn number(&self, value: i64) -> bool {
        match &self.check {
            Check::Number(relation, number) => relation.holds(value, *number),
            _ => false,
        }
    }

    fn address(&self, value: IpAddr) -> bool {
        match &self.check {
            Check::Address(address) => value == *address,
            Check::OtherAddress(address) => value != *address,
            Check::In(network) => network.contains(value),
            Check::NotIn(network) => !network.contains(value),
            _ => false,
        }
    }
}

impl Header {
    /// The field that really has the name, else the one with dashes.
    fn name(&self, http: &Http<'_>) -> &HeaderName {
        match &self.dashed {
            Some(dashed) if !http.headers.contains(&self.written) => dashed,
            _ => &self.written,
        }
    }

    fn values<'a>(&'a self, http: &'a Http<'a>) -> impl Iterator<Item = Cow<'a, str>> {
        let host = (self.written == http::header::HOST && !http.authority.is_empty())
            .then(|| std::str::from_utf8(http.authority).ok())
            .flatten();
        let values = http.headers.all(self.name(http));
        host.into_iter()
            .chain(values.filter_map(text_of))
            .map(Cow::Borrowed)
    }

    /// Whether expressions can read every value.
    pub(super) fn is_text(&self, http: &Http<'_>) -> bool {
        let mut values = http.headers.all(self.name(http));
        values.all(|value| text_of(value).is_some())
    }
}

fn text_of(value: &HeaderValue) -> Option<&str> {
    std::str::from_utf8(value.as_bytes()).ok()
}
