//! The texts that expressions read. Kong's engine takes UTF-8 alone: a request that has anything else
//! where any route of the table looks has no route at all.

use super::evaluate::Request;
use super::expression::Expression;
use super::field::{Field, Header, Segments};
use super::lookup::Lookup;
use super::query;

/// Where a table's expressions look.
#[derive(Clone, Debug, Default)]
pub(super) struct Reader {
    path: usize,
    segments: Counts<Segments>,
    headers: Counts<Header>,
    queries: Counts<Box<str>>,
}

/// What tests look at, and how many of them do.
#[derive(Clone, Debug)]
struct Counts<K>(Vec<(K, usize)>);

impl Reader {
    pub(super) fn add(&mut self, expression: &Expression) {
        each(expression, &mut |field| match field {
            Field::Path => self.path += 1,
            Field::Segments(segments) => self.segments.add(segments, 1),
            Field::Header(header) => self.headers.add(&**header, 1),
            Field::Query(name) => self.queries.add(name, 1),
            _ => {}
        });
    }

    /// Forgets an expression that was added.
    pub(super) fn remove(&mut self, expression: &Expression) {
        each(expression, &mut |field| match field {
            Field::Path => self.path = self.path.saturating_sub(1),
            Field::Segments(segments) => self.segments.remove(segments),
            Field::Header(header) => self.headers.remove(&**header),
            Field::Query(name) => self.queries.remove(name),
            _ => {}
        });
    }

    /// Adds what another has.
    pub(super) fn extend(&mut self, other: &Self) {
        self.path += other.path;
        self.segments.extend(&other.segments);
        self.headers.extend(&other.headers);
        self.queries.extend(&other.queries);
    }

    /// The lookup as expressions read it; `None` where they cannot.
    pub(super) fn request<'a>(&self, lookup: &'a Lookup<'a>) -> Option<Request<'a>> {
        let Some(http) = &lookup.http else {
            return Some(Request {
                lookup,
                http: None,
                host: None,
                path: b"",
            });
        };
        let is_text = |text: &[u8]| std::str::from_utf8(text).is_ok();
        let path = self.path == 0 || is_text(http.path);
        let mut segments = self.segments.keys();
        let segments = segments.all(|segments| segments.of(http.path).is_none_or(is_text));
        let headers = self.headers.keys().all(|header| header.is_text(http));
        let queries = http.query.is_none_or(|query| {
            let mut queries = self.queries.keys();
            queries.all(|name| query::is_text(query, name))
        });
        (path && segments && headers && queries).then_some(())?;
        Some(Request {
            lookup,
            http: Some(http),
            host: (!http.host.is_empty()).then_some(http.host),
            path: http.path,
        })
    }
}

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Clone + PartialEq> Counts<K> {
    fn add(&mut self, key: &K, count: usize) {
        match self.0.iter_mut().find(|(known, _)| known == key) {
            Some((_, known)) => *known += count,
            None => self.0.push((key.clone(), count)),
        }
    }

    fn remove(&mut self, key: &K) {
        for (_, count) in self.0.iter_mut().filter(|(known, _)| known == key) {
            *count -= 1;
        }
        self.0.retain(|(_, count)| *count > 0);
    }

    fn extend(&mut self, other: &Self) {
        for (key, count) in &other.0 {
            self.add(key, *count);
        }
    }

    fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.iter().map(|(key, _)| key)
    }
}

/// Tells of the field of every test.
fn each(expression: &Expression, tell: &mut impl FnMut(&Field)) {
    match expression {
        Expression::All(parts) | Expression::Any(parts) => {
            parts.iter().for_each(|part| each(part, tell));
        }
        Expression::Not(inner) => each(inner, tell),
        Expression::Test(test) => tell(&test.field),
    }
}
