//! JSON → encoded message. All errors of a document are found in one pass, each with its path.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use prost::{Message, Name};
use serde_json::{Map, Value};

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
        if self.path.is_empty() { formatter.write_str(&self.reason) } else { write!(formatter, "{}: {}", self.path, self.reason) }
    }
}

/// Parses a document; with `tolerant`, unknown names are returned instead of refused.
pub(super) fn parse<M: Message + Name + Default>(value: &Value, tolerant: bool) -> Result<(M, Vec<String>), JsonErrors> {
    let mut parser = Parser { tolerant, errors: Vec::new(), ignored: Vec::new(), path: Vec::new() };
    let mut encoded = Vec::new();
    match schema::message(&M::full_name()) {
        Some(schema) => parser.message(schema, value, &mut encoded),
        None => parser.error(format!("{} is not a message of this program", M::full_name())),
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
                Value::Object(object) => out.extend(super::struct_from_json(object).encode_to_vec()),
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
                Some((seconds, nanos)) => out.extend(prost_types::Duration { seconds, nanos }.encode_to_vec()),
                None => self.mismatch("a duration such as \"1.5s\"", value),
            },
            Shape::Timestamp => match value.as_str().and_then(time::parse_timestamp) {
                Some((seconds, nanos)) => out.extend(prost_types::Timestamp { seconds, nanos }.encode_to_vec()),
                None => self.mismatch("an RFC 3339 time", value),
            },
            Shape::FieldMask => match value.as_str() {
                Some(text) => {
                    let paths = text.split(',').filter(|path| !path.is_empty()).map(snake_case).collect();
                    out.extend(prost_types::FieldMask { paths }.encode_to_vec());
                }
                None => self.mismatch("a list of paths in one string", value),
            },
            Shape::Wrapper => {
                if let Some(field) = schema.fields.first() {
                    self.single(field, value, out);
                }
            }
        }
    }

    /// The members of a message; `typed` leaves `@type` to the `Any` around it.
    fn object(&mut self, schema: &schema::Message, object: &'json Map<String, Value>, typed: bool, out: &mut Vec<u8>) {
        let mut found: Vec<(&'static Field, &'json str, &'json Value)> = Vec::with_capacity(object.len());
        for (name, value) in object {
            if typed && name == "@type" {
                continue;
            }
            match schema.field_named(name) {
                Some(field) => found.push((field, name, value)),
                None => self.unknown(name, format_args!("{} has no such field", schema.name)),
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
                    let bit = 1_u128.checked_shl(u32::from(field.one_of)).unwrap_or_default();
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
                if packs { packed.extend(element.content) } else { wire::put_bytes(out, field.number, &element.content) }
            }
            self.path.pop();
        }
        if !packed.is_empty() {
            wire::put_bytes(out, field.number, &packed);
        }
    }

    fn map(&mut self, field: &Field, entries: &'json Map<String, Value>, out: &mut Vec<u8>) {
        let Some([key_field, value_field]) = field.kind.message().map(|entry| entry.fields) else { return };
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
            return Some(Element { wire_type: 2, content });
        }
        if let (Some(declared), Value::String(name)) = (kind.enumeration(), value) {
            if declared.number(name).is_none() && self.tolerant {
                self.ignored.push(self.path_text());
                return None;
            }
            if declared.number(name).is_none() {
                self.error(format!("{} has no value {name:?}", declared.name));
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
        let Value::Object(object) = value else { return self.mismatch("an object with \"@type\"", value) };
        if object.is_empty() {
            return;
        }
        let Some(Value::String(url)) = object.get("@type") else { return self.error("\"@type\" is missing") };
        let mut content = Vec::new();
        match schema::message(type_name(url)) {
            Some(schema) if schema.shape == Shape::Plain => self.object(schema, object, true, &mut content),
            Some(schema) => match object.get("value") {
                Some(inner) => {
                    self.path.push(Segment::Name("value"));
                    self.message(schema, inner, &mut content);
                    self.path.pop();
                }
                None => self.error("\"value\" is missing"),
            },
            // The form in which an `Any` of unknown type is printed carries its bytes.
            None => match (object.len(), object.get("value").map(|inner| scalar(Kind::Bytes, inner))) {
                (1, _) => {}
                (2, Some(Some(bytes))) => content = bytes.content,
                _ => self.unknown("@type", format_args!("{url:?} is not a message of this program")),
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
        let mut text = found.to_string();
        if text.len() > 60 {
            text = format!("{}…", text.chars().take(60).collect::<String>());
        }
        self.error(format!("expected {expected}, found {text}"));
    }

    fn error(&mut self, reason: impl Into<String>) {
        let path = self.path_text();
        self.errors.push(JsonError { path, reason: reason.into() });
    }

    fn path_text(&self) -> String {
        use fmt::Write as _;
        let mut text = String::new();
        for segment in &self.path {
            // Writing to a String cannot fail.
            let _: fmt::Result = match segment {
                Segment::Name(name) if text.is_empty() => write!(text, "{name}"),
                Segment::Name(name) => write!(text, ".{name}"),
                Segment::Key(key) => write!(text, "[{key:?}]"),
                Segment::Index(at) => write!(text, "[{at}]"),
            };
        }
        text
    }
}

/// One encoded value without its key.
struct Element {
    wire_type: u8,
    content: Vec<u8>,
}

impl Element {
    fn varint(value: u64) -> Self {
        let mut content = Vec::new();
        wire::put_varint(&mut content, value);
        Self { wire_type: 0, content }
    }

    fn is_zero(&self) -> bool {
        self.content.iter().all(|byte| *byte == 0) && (self.wire_type != 2 || self.content.is_empty())
    }

    fn put(&self, number: u32, out: &mut Vec<u8>) {
        if self.wire_type == 2 {
            wire::put_bytes(out, number, &self.content);
        } else {
            wire::put_key(out, number, self.wire_type);
            out.extend_from_slice(&self.content);
        }
    }
}

fn scalar(kind: Kind, value: &Value) -> Option<Element> {
    Some(match kind {
        Kind::Bool => Element::varint(u64::from(value.as_bool()?)),
        Kind::Int32 => Element::varint(i64::from(i32::try_from(integer(value)?).ok()?) as u64),
        Kind::Int64 => Element::varint(i64::try_from(integer(value)?).ok()? as u64),
        Kind::Uint32 => Element::varint(u64::from(u32::try_from(integer(value)?).ok()?)),
        Kind::Uint64 => Element::varint(u64::try_from(integer(value)?).ok()?),
        Kind::Sint32 => Element::varint(wire::zigzag(i64::from(i32::try_from(integer(value)?).ok()?))),
        Kind::Sint64 => Element::varint(wire::zigzag(i64::try_from(integer(value)?).ok()?)),
        Kind::Fixed32 => Element { wire_type: 5, content: u32::try_from(integer(value)?).ok()?.to_le_bytes().to_vec() },
        Kind::Fixed64 => Element { wire_type: 1, content: u64::try_from(integer(value)?).ok()?.to_le_bytes().to_vec() },
        Kind::Sfixed32 => Element { wire_type: 5, content: i32::try_from(integer(value)?).ok()?.to_le_bytes().to_vec() },
        Kind::Sfixed64 => Element { wire_type: 1, content: i64::try_from(integer(value)?).ok()?.to_le_bytes().to_vec() },
        Kind::Double => Element { wire_type: 1, content: floating(value)?.to_le_bytes().to_vec() },
        Kind::Float => {
            let wide = floating(value)?;
            let narrow = wide as f32;
            if wide.is_finite() && narrow.is_infinite() {
                return None;
            }
            Element { wire_type: 5, content: narrow.to_le_bytes().to_vec() }
        }
        Kind::String => Element { wire_type: 2, content: value.as_str()?.as_bytes().to_vec() },
        Kind::Bytes => Element { wire_type: 2, content: base64_bytes(value.as_str()?)? },
        Kind::Enum(_) => {
            let number = match value {
                Value::Null => 0,
                Value::String(name) => kind.enumeration()?.number(name)?,
                other => i32::try_from(integer(other)?).ok()?,
            };
            Element::varint(i64::from(number) as u64)
        }
        Kind::Message(_) => return None,
    })
}

/// A whole number: JSON number (also `1.0` and `1e3`) or decimal text.
fn integer(value: &Value) -> Option<i128> {
    match value {
        Value::Number(number) => (number.as_i64().map(i128::from))
            .or_else(|| number.as_u64().map(i128::from))
            .or_else(|| number.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 1e19).map(|number| number as i128)),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn floating(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            text => text.parse().ok().filter(|number: &f64| number.is_finite()),
        },
        _ => None,
    }
}

/// Either alphabet, with or without padding, as proto3-JSON says.
fn base64_bytes(text: &str) -> Option<Vec<u8>> {
    let alphabet = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(alphabet, config).decode(text).ok()
}

fn takes_null(kind: Kind) -> bool {
    kind.message().is_some_and(|schema| schema.shape == Shape::Value)
        || kind.enumeration().is_some_and(|declared| declared.name == "google.protobuf.NullValue")
}

fn expectation(kind: Kind) -> &'static str {
    match kind {
        Kind::Double | Kind::Float => "a number",
        Kind::Bool => "true or false",
        Kind::String => "a string",
        Kind::Bytes => "base64 text",
        Kind::Enum(_) => "the name or number of an enum value",
        Kind::Message(_) => "an object",
        Kind::Uint32 | Kind::Fixed32 => "a whole number of 0 … 2³² - 1",
        Kind::Uint64 | Kind::Fixed64 => "a whole number of 0 … 2⁶⁴ - 1",
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => "a whole number of 32 bits",
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => "a whole number of 64 bits",
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
