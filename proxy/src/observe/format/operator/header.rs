//! Header fields of the request and of the response.

use http::HeaderValue;

use super::put;
use crate::live::matcher::HeaderField;
use crate::observe::facts::Facts;

/// Which message a field is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Side {
    Request,
    Response,
    Trailers,
}

/// `REQ(X?Y)` and its like.
#[derive(Clone, Debug)]
pub(in super::super) struct FieldValue {
    pub(super) side: Side,
    pub(super) name: HeaderField,
    pub(super) alternative: Option<HeaderField>,
    pub(super) without_query: bool,
}

impl FieldValue {
    pub(super) fn parse(
        side: Side,
        argument: Option<&str>,
        without_query: bool,
    ) -> Result<Self, String> {
        let names = argument
            .filter(|names| !names.is_empty())
            .ok_or("expected the name of a header field in parentheses")?;
        let (name, alternative) = match names.split_once('?') {
            Some((name, alternative)) => (name, Some(alternative)),
            None => (names, None),
        };
        let read = |name: &str| {
            HeaderField::parse(name)
                .ok_or_else(|| format!("`{name}` is not the name of a header field"))
        };
        Ok(Self {
            side,
            name: read(name)?,
            alternative: alternative.map(read).transpose()?,
            without_query,
        })
    }

    pub(super) fn write(&self, facts: &Facts<'_>, out: &mut Vec<u8>) -> bool {
        self.one(&self.name, facts, out)
            || self
                .alternative
                .as_ref()
                .is_some_and(|name| self.one(name, facts, out))
    }

    fn one(&self, name: &HeaderField, facts: &Facts<'_>, out: &mut Vec<u8>) -> bool {
        let value = match self.side {
            Side::Request => facts.request.and_then(|request| name.first(request)),
            Side::Response => match name {
                HeaderField::Status => {
                    return facts
                        .response
                        .is_some_and(|response| put(out, response.status.as_str().as_bytes()));
                }
                HeaderField::Name(name) => facts
                    .response
                    .and_then(|response| response.headers.get(name))
                    .map(HeaderValue::as_bytes),
                _ => None,
            },
            Side::Trailers => match name {
                HeaderField::Name(name) => facts
                    .trailers
                    .and_then(|trailers| trailers.get(name))
                    .map(HeaderValue::as_bytes),
                _ => None,
            },
        };
        let Some(value) = value else { return false };
        let end = if self.without_query {
            memchr::memchr(b'?', value).unwrap_or(value.len())
        } else {
            value.len()
        };
        put(out, &value[..end])
    }
}
