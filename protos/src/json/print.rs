//! Encoded message → JSON. Nothing here fails: what cannot be read prints as its bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value};

use super::time;
use crate::any::type_name;
use crate::schema::{self, Field, Kind, Label, Message, Shape};
use crate::wire::{self, DEPTH, Fields, Malformed, Raw};

/// Prints a message that this program encoded itself; a malformed one prints as the base64 text of its bytes.
///
/// With `defaults`, fields without presence print even when they are zero or empty.
pub(super) fn message(schema: &Message, bytes: &[u8], defaults: bool) -> Value {
    print(
        schema,
        bytes,
        Style {
            depth: DEPTH,
            defaults,
        },
    )
    .unwrap_or_else(|Malformed| Value::String(STANDARD.encode(bytes)))
}

/// Prints the two fields of an `Any`.
pub(super) fn any_parts(type_url: &str, bytes: &[u8]) -> Value {
    any(
        type_url,
        bytes,
        Style {
            depth: DEPTH,
            defaults: false,
        },
    )
}

/// A double as JSON: whole numbers without a fraction, as protobuf's own printers write them.
pub(super) fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < EXACT {
        return Value::Number(Number::from(value as i64));
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

#[derive(Clone, Copy)]
struct Style {
    depth: usize,
    defaults: bool,
}

fn print(schema: &Message, bytes: &[u8], style: Style) -> Result<Value, Malformed> {
    let style = Style {
        depth: style.depth.checked_sub(1).ok_or(Malformed)?,
        ..style
    };
    match schema.shape {
        Shape::Plain | Shape::MapEntry => object(schema, bytes, style).map(Value::Object),
        Shape::Any => {
            let (mut url, mut value) = ("", [].as_slice());
            let mut fields = Fields::new(bytes);
            while let Some((number, raw)) = fields.next_field()? {
                match (number, raw) {
                    (1, Raw::Bytes(text)) => {
                        url = std::str::from_utf8(text).map_err(|_| Malformed)?
                    }
                    (2, Raw::Bytes(bytes)) => value = bytes,
                    _ => {}
                }
            }
            Ok(any(url, value, style))
        }
        Shape::Struct | Shape::Value | Shape::ListValue => well_known(schema, bytes),
        Shape::Duration => {
            let (seconds, nanos) = seconds_and_nanos(bytes)?;
            Ok(Value::String(time::duration_text(seconds, nanos)))
        }
        Shape::Timestamp => {
            let (seconds, nanos) = seconds_and_nanos(bytes)?;
            Ok(Value::String(time::timestamp_text(seconds, nanos)))
        }
        Shape::FieldMask => {
            let mut paths = Vec::new();
            let mut fields = Fields::new(bytes);
            while let Some((_, raw)) = fields.next_field()? {
                if let Raw::Bytes(path) = raw {
                    paths.push(camel_case(&String::from_utf8_lossy(path)));
                }
            }
            Ok(Value::String(paths.join(",")))
        }
        Shape::Wrapper => {
            let field = schema.fields().first().ok_or(Malformed)?;
            let mut value = zero(field.kind);
            let mut fields = Fields::new(bytes);
            while let Some((_, raw)) = fields.next_field()? {
                value = scalar(field.kind, raw, style)?;
            }
            Ok(value)
        }
    }
}

fn any(type_url: &str, bytes: &[u8], style: Style) -> Value {
    let mut object = Map::new();
    if type_url.is_empty() && bytes.is_empty() {
        return Value::Object(object);
    }
    object.insert("@type".to_owned(), Value::String(type_url.to_owned()));
    let printed = schema::message(type_name(type_url))
        .and_then(|schema| Some((schema.shape, print(schema, bytes, style).ok()?)));
    match printed {
        Some((Shape::Plain, Value::Object(fields))) => object.extend(fields),
        Some((_, value)) => {
            object.insert("value".to_owned(), value);
        }
        None => {
            object.insert("value".to_owned(), Value::String(STANDARD.encode(bytes)));
        }
    }
    Value::Object(object)
}

fn object(schema: &Message, bytes: &[u8], style: Style) -> Result<Map<String, Value>, Malformed> {
    let mut found: Vec<(usize, Raw<'_>)> = Vec::new();
    let mut fields = Fields::new(bytes);
    while let Some((number, raw)) = fields.next_field()? {
        if let Ok(at) = schema
            .fields()
            .binary_search_by_key(&number, |field| field.number)
        {
            // Of a oneof the last member stands (protobuf.dev, "Encoding", "Last One Wins").
            let one_of = schema.fields()[at].one_of;
            if one_of != 0 {
                found.retain(|(other, _)| *other == at || schema.fields()[*other].one_of != one_of);
            }
            found.push((at, raw));
        }
    }
    found.sort_by_key(|(at, _)| *at);
    let mut object = Map::new();
    for group in found.chunk_by(|left, right| left.0 == right.0) {
        let Some((at, last)) = group.last() else {
            continue;
        };
        let field = &schema.fields()[*at];
        let value = match field.label {
            Label::Map => map(field, group, style)?,
            Label::Repeated => repeated(field, group, style)?,
            Label::Implicit | Label::Explicit => match field.kind.message() {
                // A message that comes in parts is the concatenation of its parts.
                Some(inner) if group.len() > 1 => print(inner, &joined(group), style)?,
                _ => scalar(field.kind, *last, style)?,
            },
        };
        let empty = match field.label {
            Label::Explicit => false,
            Label::Implicit => value == zero(field.kind),
            Label::Repeated => value.as_array().is_some_and(Vec::is_empty),
            Label::Map => value.as_object().is_some_and(Map::is_empty),
        };
        if style.defaults || !empty {
            object.insert(field.name().to_owned(), value);
        }
    }
    if style.defaults {
        for field in schema.fields().iter().filter(|field| field.one_of == 0) {
            let value = match field.label {
                Label::Implicit => zero(field.kind),
                Label::Repeated => Value::Array(Vec::new()),
                Label::Map => Value::Object(Map::new()),
                Label::Explicit => continue,
            };
            object.entry(field.name()).or_insert(value);
        }
    }
    Ok(object)
}

fn joined(group: &[(usize, Raw<'_>)]) -> Vec<u8> {
    group
        .iter()
        .filter_map(|(_, raw)| {
            if let Raw::Bytes(bytes) = raw {
                Some(*bytes)
            } else {
                None
            }
        })
        .flatten()
        .copied()
        .collect()
}

fn repeated(field: &Field, group: &[(usize, Raw<'_>)], style: Style) -> Result<Value, Malformed> {
    let mut values = Vec::with_capacity(group.len());
    for (_, raw) in group {
        match (packable(field.kind), *raw) {
            (Some(width), Raw::Bytes(mut packed)) => {
                while !packed.is_empty() {
                    let raw = match width {
                        Width::Varint => Raw::Varint(wire::varint(&mut packed)?),
                        Width::Fixed32 => Raw::Fixed32(wire::fixed32(&mut packed)?),
                        Width::Fixed64 => Raw::Fixed64(wire::fixed64(&mut packed)?),
                    };
                    values.push(scalar(field.kind, raw, style)?);
                }
            }
            (_, raw) => values.push(scalar(field.kind, raw, style)?),
        }
    }
    Ok(Value::Array(values))
}

fn map(field: &Field, group: &[(usize, Raw<'_>)], style: Style) -> Result<Value, Malformed> {
    let [key_field, value_field] = field.kind.message().ok_or(Malformed)?.fields() else {
        return Err(Malformed);
    };
    let mut object = Map::new();
    for (_, raw) in group {
        let Raw::Bytes(entry) = raw else {
            return Err(Malformed);
        };
        let (mut key, mut value) = (zero(key_field.kind), None);
        let mut fields = Fields::new(entry);
        while let Some((number, raw)) = fields.next_field()? {
            match number {
                1 => key = scalar(key_field.kind, raw, style)?,
                2 => value = Some(scalar(value_field.kind, raw, style)?),
                _ => {}
            }
        }
        let value = match (value, value_field.kind.message()) {
            (Some(value), _) => value,
            (None, Some(inner)) => print(inner, &[], style)?,
            (None, None) => zero(value_field.kind),
        };
        let key = match key {
            Value::String(key) => key,
            other => other.to_string(),
        };
        object.insert(key, value);
    }
    Ok(Value::Object(object))
}

fn scalar(kind: Kind, raw: Raw<'_>, style: Style) -> Result<Value, Malformed> {
    Ok(match (kind, raw) {
        (Kind::Double, Raw::Fixed64(bits)) => floating(f64::from_bits(bits)),
        (Kind::Float, Raw::Fixed32(bits)) => {
            // The shortest text of the 32-bit number, not of its widening: 0.1, not 0.10000000149.
            let narrow = f32::from_bits(bits);
            floating(
                narrow
                    .to_string()
                    .parse()
                    .unwrap_or_else(|_| f64::from(narrow)),
            )
        }
        (Kind::Int32, Raw::Varint(value)) => Value::from(value as i32),
        (Kind::Int64, Raw::Varint(value)) => Value::String((value as i64).to_string()),
        (Kind::Uint32, Raw::Varint(value)) => Value::from(value as u32),
        (Kind::Uint64, Raw::Varint(value)) | (Kind::Fixed64, Raw::Fixed64(value)) => {
            Value::String(value.to_string())
        }
        (Kind::Sint32, Raw::Varint(value)) => Value::from(wire::unzigzag(value) as i32),
        (Kind::Sint64, Raw::Varint(value)) => Value::String(wire::unzigzag(value).to_string()),
        (Kind::Fixed32, Raw::Fixed32(value)) => Value::from(value),
        (Kind::Sfixed32, Raw::Fixed32(value)) => Value::from(value as i32),
        (Kind::Sfixed64, Raw::Fixed64(value)) => Value::String((value as i64).to_string()),
        (Kind::Bool, Raw::Varint(value)) => Value::Bool(value != 0),
        (Kind::String, Raw::Bytes(text)) => {
            Value::String(String::from_utf8_lossy(text).into_owned())
        }
        (Kind::Bytes, Raw::Bytes(bytes)) => Value::String(STANDARD.encode(bytes)),
        (Kind::Enum(_), Raw::Varint(value)) => enumerated(kind, value as i32),
        (Kind::Message(_), Raw::Bytes(bytes)) => {
            print(kind.message().ok_or(Malformed)?, bytes, style)?
        }
        _ => return Err(Malformed),
    })
}

fn enumerated(kind: Kind, number: i32) -> Value {
    match kind.enumeration() {
        Some(declared) if declared.name() == "google.protobuf.NullValue" => Value::Null,
        Some(declared) => declared
            .value_name(number)
            .map_or_else(|| Value::from(number), Value::from),
        None => Value::from(number),
    }
}

fn floating(value: f64) -> Value {
    if value.is_nan() {
        Value::from("NaN")
    } else if value.is_infinite() {
        Value::from(if value > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        number(value)
    }
}

/// What a field without presence holds when it is absent.
fn zero(kind: Kind) -> Value {
    match kind {
        Kind::Int64 | Kind::Uint64 | Kind::Sint64 | Kind::Fixed64 | Kind::Sfixed64 => {
            Value::from("0")
        }
        Kind::Bool => Value::Bool(false),
        Kind::String | Kind::Bytes => Value::from(""),
        Kind::Enum(_) => enumerated(kind, 0),
        Kind::Message(_) => Value::Null,
        _ => Value::from(0),
    }
}

#[derive(Clone, Copy)]
enum Width {
    Varint,
    Fixed32,
    Fixed64,
}

fn packable(kind: Kind) -> Option<Width> {
    match kind {
        Kind::String | Kind::Bytes | Kind::Message(_) => None,
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => Some(Width::Fixed64),
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => Some(Width::Fixed32),
        _ => Some(Width::Varint),
    }
}

fn seconds_and_nanos(bytes: &[u8]) -> Result<(i64, i32), Malformed> {
    let (mut seconds, mut nanos) = (0, 0);
    let mut fields = Fields::new(bytes);
    while let Some(field) = fields.next_field()? {
        match field {
            (1, Raw::Varint(value)) => seconds = value as i64,
            (2, Raw::Varint(value)) => nanos = value as i32,
            _ => {}
        }
    }
    Ok((seconds, nanos))
}

fn well_known(schema: &Message, bytes: &[u8]) -> Result<Value, Malformed> {
    use prost::Message as _;
    Ok(match schema.shape {
        Shape::Struct => {
            super::struct_to_json(&prost_types::Struct::decode(bytes).map_err(|_| Malformed)?)
        }
        Shape::ListValue => {
            let list = prost_types::ListValue::decode(bytes).map_err(|_| Malformed)?;
            Value::Array(list.values.iter().map(super::value_to_json).collect())
        }
        _ => super::value_to_json(&prost_types::Value::decode(bytes).map_err(|_| Malformed)?),
    })
}

fn camel_case(path: &str) -> String {
    let mut upper = false;
    path.chars()
        .filter_map(|letter| {
            if letter == '_' {
                upper = true;
                return None;
            }
            Some(if std::mem::take(&mut upper) {
                letter.to_ascii_uppercase()
            } else {
                letter
            })
        })
        .collect()
}

/// Below it every whole double is exact: 2⁵³.
const EXACT: f64 = 9_007_199_254_740_992.0;
