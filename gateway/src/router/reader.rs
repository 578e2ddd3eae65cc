//! The texts that expressions read. Kong's engine takes UTF-8 alone: a request that has anything else
//! where any route of the table looks has no route at all.

use super::evaluate::Request;
use super::expression::Expression;
use super::field::{Field, Header, Segments};
use super::lookup::Lookup;
use super::query;

/// Where a table's expressions look.
#[derive(Debug, Default)]
pub(super) struct Reader {
    path: bool,
    segments: Vec<Segments>,
    headers: Vec<Header>,
    queries: Vec<Box<str>>,
}

impl Reader {
    pub(super) fn add(&mut self, expression: &Expression) {
        match expression {
            Expression::All(parts) | Expression::Any(parts) => {
                parts.iter().for_each(|part| self.add(part));
            }
            Expression::Not(inner) => self.add(inner),
            Expression::Test(test) => match &test.field {
                Field::Path => self.path = true,
                Field::Segments(segments) if !self.segments.contains(segments) => {
                    self.segments.push(*segments);
                }
                Field::Header(header) if !self.headers.contains(header) => {
                    self.headers.push(Header::clone(header));
                }
                Field::Query(name) if !self.queries.contains(name) => {
                    self.queries.push(name.clone());
                }
                _ => {}
            },
        }
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
        let path = !self.path || is_text(http.path);
        let mut segments = self.segments.iter();
        let segments = segments.all(|segments| segments.of(http.path).is_none_or(is_text));
        let headers = self.headers.iter().all(|header| header.is_text(http));
        let queries = http.query.is_none_or(|query| {
            let mut queries = self.queries.iter();
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
