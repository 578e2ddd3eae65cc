//! JSON → encoded message. All errors of a document are found in one pass, each with its path.

use std::fmt;

use prost::{Message, Name};
use serde_json::{Map, Value};

use super::scalar::{Element, expectation, scalar, takes_null};
use super::time;
use crate::any::type_name;
use crate::schema::{self, Field, Kind, Label, Shape};
use crate::wire::{self, DEPTH};

/// One place of a JSON document that does not fit its message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct JsonError {
    /// Where, such as `static_resources.listeners[0].name`; empty for the document itself.
    pub path: String,
    /// What is wrong there.
    pub reason: String,
}

/// Every place of a JSON document that does not fit its message; at least one.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct JsonErrors(pub Vec<JsonError>);

impl fmt::Display for JsonError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            formatter.write_str(&self.reason)
        } else {
            write!(formatter, "{}: {}", self.path, self.reason)
        }
    }
}

/// Parses a document; with `tolerant`, unknown names are returned instead of refused.
pub(super) fn parse<M: Message + Name + Default>(
    value: &Value,
    tolerant: bool,
) -> Result<(M, Vec<String>), JsonErrors> {
    let mut parser = Parser {
        tolerant,
        errors: Vec::new(),
        ignored: Vec::new(),
        path: Vec::new(),
    };
    let mut encoded = Vec::new();
    match schema::message(&M::full_name()) {
        Some(schema) => parser.message(schema, value, &mut encoded),
        None => parser.error(format!(
            "{} is not a message of this program",
            M::full_name()
        )),
    }
    if parser.errors.is_empty() {
        match M::decode(encoded.as_slice()) {
            Ok(message) => return Ok((message, parser.ignored)),
            Err(error) => parser.error(error.to_string()),
        }
    }
    Err(JsonErrors(parser.errors))
}

struct Parser<'json> {
    tolerant: bool,
    errors: Vec<JsonError>,
    ignored: Vec<String>,
    path: Vec<Segment<'json>>,
}

#[derive(Clone, Copy)]
enum Segment<'json> {
    Name(&'json str),
    Key(&'json str),
    Index(usize),
}

impl<'json> Parser<'json> {
    fn message(&mut self, schema: &schema::Message, value: &'json Value, out: &mut Vec<u8>) {
        if self.path.len() > 2 * DEPTH {
            return self.error("nested too deep");
        }
        match schema.shape {
            Shape::Plain | Shape::MapEntry => match value {
                Value::Object(object) => self.object(schema, object, false, out),
                other => self.mismatch("an object", other),
            },
            Shape::Any => self.any(value, out),
            Shape::Value => out.extend(super::value_from_json(value).encode_to_vec()),
            Shape::Struct => match value {
                Value::Object(object) => {
                    out.extend(super::struct_from_json(object).encode_to_vec())
                }
                other => self.mismatch("an object", other),
            },
            Shape::ListValue => match value {
                Value::Array(values) => {
                    let values = values.iter().map(super::value_from_json).collect();
                    out.extend(prost_types::ListValue { values }.encode_to_vec());
                }
                other => self.mismatch("an array", other),
            },
            Shape::Duration => match value.as_str().and_then(time::parse_duration) {
                Some((seconds, nanos)) => {
                    out.extend(prost_types::Duration { seconds, nanos }.encode_to_vec())
                }
                None => self.mismatch("a duration such as \"1.5s\"", value),
            },
            Shape::Timestamp => match value.as_str().and_then(time::parse_timestamp) {
                Some((seconds, nanos)) => {
                    out.extend(prost_types::Timestamp { seconds, nanos }.encode_to_vec())
                }
                None => self.mismatch("an RFC 3339 time", value),
            },
            Shape::FieldMask => match value.as_str() {
                Some(text) => {
                    let paths = text
                        .split(',')
                        .filter(|path| !path.is_empty())
                        .map(snake_case)
                        .collect();
                    out.extend(prost_types::FieldMask { paths }.encode_to_vec());
                }
                None => self.mismatch("a list of paths in one string", value),
            },
            Shape::Wrapper => {
                if let Some(field) = schema.fields().first() {
                    self.single(field, value, out);
                }
            }
        }
    }

    /// The members of a message; `typed` leaves `@type` to the `Any` around it.
    fn object(
        &mut self,
        schema: &schema::Message,
        object: &'json Map<String, Value>,
        typed: bool,
        out: &mut Vec<u8>,
    ) {
        let mut found: Vec<(&'static Field, &'json str, &'json Value)> =
            Vec::with_capacity(object.len());
        for (name, value) in object {
            if typed && name == "@type" {
                continue;
            }
            match schema.field_named(name) {
                Some(field) => found.push((field, name, value)),
                None => self.unknown(name, format_args!("{} has no such field", schema.name())),
            }
        }
        found.sort_by_key(|(field, _, _)| field.number);
        let mut one_ofs = 0_u128;
        let mut before = 0;
        for (field, name, value) in found {
            self.path.push(Segment::Name(name));
            if field.number == before {
                self.error("given in both spellings");
            }
            before = field.number;
            let null = value.is_null() && !takes_null(field.kind);
            if !null {
                if field.one_of != 0 {
                    let bit = 1_u128
                        .checked_shl(u32::from(field.one_of))
                        .unwrap_or_default();
                    if one_ofs & bit != 0 {
                        self.error("another member of the same oneof is given too");
                    }
                    one_ofs |= bit;
                }
                match (field.label, value) {
                    (Label::Implicit | Label::Explicit, value) => self.single(field, value, out),
                    (Label::Repeated, Value::Array(values)) => self.list(field, values, out),
                    (Label::Repeated, other) => self.mismatch("an array", other),
                    (Label::Map, Value::Object(entries)) => self.map(field, entries, out),
                    (Label::Map, other) => self.mismatch("an object", other),
                }
            }
            self.path.pop();
        }
    }

    fn list(&mut self, field: &Field, values: &'json [Value], out: &mut Vec<u8>) {
        let packs = !matches!(field.kind, Kind::String | Kind::Bytes | Kind::Message(_));
        let mut packed = Vec::new();
        for (at, value) in values.iter().enumerate() {
            self.path.push(Segment::Index(at));
            if value.is_null() && !takes_null(field.kind) {
                self.error("null in a list");
            } else if let Some(element) = self.element(field.kind, value) {
                if packs {
                    packed.extend(element.content)
                } else {
                    wire::put_bytes(out, field.number, &element.content)
                }
            }
            self.path.pop();
        }
        if !packed.is_empty() {
            wire::put_bytes(out, field.number, &packed);
        }
    }

    fn map(&mut self, field: &Field, entries: &'json Map<String, Value>, out: &mut Vec<u8>) {
        let Some([key_field, value_field]) = field.kind.message().map(|entry| entry.fields())
        else {
            return;
        };
        for (name, value) in entries {
            self.path.push(Segment::Key(name));
            let key = match key_field.kind {
                Kind::Bool => match name.as_str() {
                    "true" => Some(Element::varint(1)),
                    "false" => Some(Element::varint(0)),
                    _ => None,
                },
                kind => scalar(kind, &Value::String(name.clone())),
            };
            match key {
                None => self.error(format!("is no key of type {:?}", key_field.kind)),
                Some(key) => {
                    let mut entry = Vec::new();
                    key.put(key_field.number, &mut entry);
                    if let Some(value) = self.element(value_field.kind, value) {
                        value.put(value_field.number, &mut entry);
                        wire::put_bytes(out, field.number, &entry);
                    }
                }
            }
            self.path.pop();
        }
    }

    fn single(&mut self, field: &Field, value: &'json Value, out: &mut Vec<u8>) {
        if let Some(element) = self.element(field.kind, value)
            && (field.label == Label::Explicit || !element.is_zero())
        {
            element.put(field.number, out);
        }
    }

    fn element(&mut self, kind: Kind, value: &'json Value) -> Option<Element> {
        if let Some(schema) = kind.message() {
            let mut content = Vec::new();
            self.message(schema, value, &mut content);
            return Some(Element {
                wire_type: 2,
                content,
            });
        }
        if let (Some(declared), Value::String(name)) = (kind.enumeration(), value) {
            if declared.number(name).is_none() && self.tolerant {
                self.ignored.push(self.path_text());
                return None;
            }
            if declared.number(name).is_none() {
                self.error(format!("{} has no value {name:?}", declared.name()));
                return None;
            }
        }
        let element = scalar(kind, value);
        if element.is_none() {
            self.mismatch(expectation(kind), value);
        }
        element
    }

    fn any(&mut self, value: &'json Value, out: &mut Vec<u8>) {
        let Value::Object(object) = value else {
            return self.mismatch("an object with \"@type\"", value);
        };
        if object.is_empty() {
            return;
        }
        let Some(Value::String(url)) = object.get("@type") else {
            return self.error("\"@type\" is missing");
        };
        let mut content = Vec::new();
        match schema::message(type_name(url)) {
            Some(schema) if schema.shape == Shape::Plain => {
                self.object(schema, object, true, &mut content)
            }
            Some(schema) => match object.get("value") {
                Some(inner) => {
                    self.path.push(Segment::Name("value"));
                    self.message(schema, inner, &mut content);
                    self.path.pop();
                }
                None => self.error("\"value\" is missing"),
            },
            // The form in which an `Any` of unknown type is printed carries its bytes.
            None => match (
                object.len(),
                object.get("value").map(|inner| scalar(Kind::Bytes, inner)),
            ) {
                (1, _) => {}
                (2, Some(Some(bytes))) => content = bytes.content,
                _ => self.unknown(
                    "@type",
                    format_args!("{url:?} is not a message of this program"),
                ),
            },
        }
        wire::put_bytes(out, 1, url.as_bytes());
        if !content.is_empty() {
            wire::put_bytes(out, 2, &content);
        }
    }

    fn unknown(&mut self, name: &'json str, reason: fmt::Arguments<'_>) {
        self.path.push(Segment::Name(name));
        if self.tolerant {
            self.ignored.push(self.path_text());
        } else {
            self.error(reason.to_string());
        }
        self.path.pop();
    }

    fn mismatch(&mut self, expected: &str, found: &Value) {
        // Texts are not repeated where they may be keys or tokens.
        let text = match found {
            Value::String(_) if expected == expectation(Kind::Bytes) => "a string".to_owned(),
            Value::String(text) if text.len() > 60 => "a long string".to_owned(),
            Value::Array(_) => "an array".to_owned(),
            Value::Object(_) => "an object".to_owned(),
            other => other.to_string(),
        };
        self.error(format!("expected {expected}, found {text}"));
    }

    fn error(&mut self, reason: impl Into<String>) {
        let path = self.path_text();
        self.errors.push(JsonError {
            path,
            reason: reason.into(),
        });
    }

    fn path_text(&self) -> String {
        let mut text = String::new();
        for segment in &self.path {
            match segment {
                Segment::Name(name) if text.is_empty() => text.push_str(name),
                Segment::Name(name) => text.extend([".", *name]),
                Segment::Key(key) => text.push_str(&format!("[{key:?}]")),
                Segment::Index(at) => text.push_str(&format!("[{at}]")),
            }
        }
        text
    }
}

fn snake_case(path: &str) -> String {
    let mut text = String::with_capacity(path.len() + 4);
    for letter in path.trim().chars() {
        if letter.is_ascii_uppercase() {
            text.push('_');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}
