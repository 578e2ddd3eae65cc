//! What a client asks.

use bytes::Bytes;
use http::{HeaderMap, Method, header};

use super::answer::Answer;
use super::form;
use crate::multipart;
use crate::schema::Schema;
use crate::value::{Object, Value};

/// A request whose endpoint is known.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) method: Method,
    /// What stands in the path in place of `{…}`, in order.
    pub(super) parameters: Vec<String>,
    query: Vec<(String, String)>,
    pub(super) body: Body,
}

/// A body that was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Body {
    members: Object,
    /// The members are texts, to be turned into what fields want.
    pub(super) is_form: bool,
    pub(super) raw: Bytes,
}

impl Asked {
    pub(super) fn new(
        method: &Method,
        parameters: Vec<String>,
        query: Option<&str>,
        body: Body,
    ) -> Result<Self, Answer> {
        let query: Vec<_> = query
            .map(|query| form::pairs(query).collect())
            .unwrap_or_default();
        few(query.len())?;
        Ok(Self {
            method: method.clone(),
            parameters,
            query,
            body,
        })
    }

    /// A parameter of the path.
    pub(super) fn parameter(&self, index: usize) -> &str {
        self.parameters.get(index).map_or("", String::as_str)
    }

    /// The first argument of a name in the query.
    pub(super) fn argument(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as an entity.
    pub(super) fn entity(&self, schema: &Schema) -> Object {
        let mut entity = self.body.members.clone();
        if self.body.is_form {
            schema.infer(&mut entity);
        }
        entity
    }

    /// A member of the body, or an argument of the query.
    pub(super) fn member_or_argument(&self, name: &str) -> Option<Value> {
        let member = self.body.members.get(name).cloned();
        member.or_else(|| self.argument(name).map(Value::from))
    }

    pub(super) fn members(&self) -> &Object {
        &self.body.members
    }
}

impl Body {
    /// Reads a body by its type; other methods than these have none.
    pub(super) fn read(
        method: &Method,
        headers: &HeaderMap,
        raw: Bytes,
        yaml: bool,
    ) -> Result<Self, Answer> {
        if ![Method::POST, Method::PUT, Method::PATCH].contains(method) {
            return Ok(Self::default());
        }
        let kind = headers
            .get(header::CONTENT_TYPE)
            .map(|kind| kind.to_str().unwrap_or_default());
        let Some(kind) = kind else {
            return if raw.is_empty() {
                Ok(Self::default())
            } else {
                Err(Answer::empty(415))
            };
        };
        let lower = kind.to_ascii_lowercase();
        if lower.starts_with("application/json") {
            return match Value::from_json(&raw) {
                Ok(Value::Object(members)) => Ok(Self {
                    members,
                    is_form: false,
                    raw,
                }),
                // An empty list is an empty table, as everything else is none.
                Ok(Value::Array(items)) if items.is_empty() => Ok(Self {
                    raw,
                    ..Self::default()
                }),
                _ => Err(Answer::message(400, "Cannot parse JSON body")),
            };
        }
        if lower.starts_with("application/x-www-form-urlencoded") {
            let text = String::from_utf8_lossy(&raw);
            let fields: Vec<_> = form::pairs(&text)
                .map(|(name, value)| (name, value.into()))
                .collect();
            return Self::form(fields, raw);
        }
        if lower.starts_with("multipart/form-data") {
            let fields = multipart::parse(kind, &raw).unwrap_or_default();
            return Self::form(fields, raw);
        }
        if yaml && (lower.starts_with("text/yaml") || lower.starts_with("application/yaml")) {
            return Ok(Self {
                raw,
                ..Self::default()
            });
        }
        Err(Answer::empty(415))
    }

    fn form(fields: Vec<(String, Value)>, raw: Bytes) -> Result<Self, Answer> {
        few(fields.len())?;
        Ok(Self {
            members: form::decode(fields),
            is_form: true,
            raw,
        })
    }
}

/// Neither a query nor a form may name more.
fn few(arguments: usize) -> Result<(), Answer> {
    const MOST: usize = 1000;
    match arguments {
        0..=MOST => Ok(()),
        _ => Err(Answer::message(400, "Too many arguments")),
    }
}
