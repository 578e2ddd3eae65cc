//! Single JSON values → encoded numbers, texts and bytes, with the range checks of proto3-JSON.

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;

use crate::schema::{Kind, Shape};
use crate::wire;

/// One encoded value without its key.
pub(super) struct Element {
    pub(super) wire_type: u8,
    pub(super) content: Vec<u8>,
}

impl Element {
    pub(super) fn varint(value: u64) -> Self {
        let mut content = Vec::new();
        wire::put_varint(&mut content, value);
        Self {
            wire_type: 0,
            content,
        }
    }

    pub(super) fn is_zero(&self) -> bool {
        self.content.iter().all(|byte| *byte == 0)
            && (self.wire_type != 2 || self.content.is_empty())
    }

    pub(super) fn put(&self, number: u32, out: &mut Vec<u8>) {
        if self.wire_type == 2 {
            wire::put_bytes(out, number, &self.content);
        } else {
            wire::put_key(out, number, self.wire_type);
            out.extend_from_slice(&self.content);
        }
    }
}

pub(super) fn scalar(kind: Kind, value: &Value) -> Option<Element> {
    Some(match kind {
        Kind::Bool => Element::varint(u64::from(value.as_bool()?)),
        Kind::Int32 => Element::varint(i64::from(i32::try_from(integer(value)?).ok()?) as u64),
        Kind::Int64 => Element::varint(i64::try_from(integer(value)?).ok()? as u64),
        Kind::Uint32 => Element::varint(u64::from(u32::try_from(integer(value)?).ok()?)),
        Kind::Uint64 => Element::varint(u64::try_from(integer(value)?).ok()?),
        Kind::Sint32 => Element::varint(wire::zigzag(i64::from(
            i32::try_from(integer(value)?).ok()?,
        ))),
        Kind::Sint64 => Element::varint(wire::zigzag(i64::try_from(integer(value)?).ok()?)),
        Kind::Fixed32 => Element {
            wire_type: 5,
            content: u32::try_from(integer(value)?).ok()?.to_le_bytes().to_vec(),
        },
        Kind::Fixed64 => Element {
            wire_type: 1,
            content: u64::try_from(integer(value)?).ok()?.to_le_bytes().to_vec(),
        },
        Kind::Sfixed32 => Element {
            wire_type: 5,
            content: i32::try_from(integer(value)?).ok()?.to_le_bytes().to_vec(),
        },
        Kind::Sfixed64 => Element {
            wire_type: 1,
            content: i64::try_from(integer(value)?).ok()?.to_le_bytes().to_vec(),
        },
        Kind::Double => Element {
            wire_type: 1,
            content: floating(value)?.to_le_bytes().to_vec(),
        },
        Kind::Float => {
            let wide = floating(value)?;
            let narrow = wide as f32;
            if wide.is_finite() && narrow.is_infinite() {
                return None;
            }
            Element {
                wire_type: 5,
                content: narrow.to_le_bytes().to_vec(),
            }
        }
        Kind::String => Element {
            wire_type: 2,
            content: value.as_str()?.as_bytes().to_vec(),
        },
        Kind::Bytes => Element {
            wire_type: 2,
            content: base64_bytes(value.as_str()?)?,
        },
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
            .or_else(|| {
                number
                    .as_f64()
                    .filter(|number| number.fract() == 0.0 && number.abs() < 1e19)
                    .map(|number| number as i128)
            }),
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
    let alphabet = if text.contains(['-', '_']) {
        &URL_SAFE
    } else {
        &STANDARD
    };
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(alphabet, config).decode(text).ok()
}

pub(super) fn takes_null(kind: Kind) -> bool {
    kind.message()
        .is_some_and(|schema| schema.shape == Shape::Value)
        || kind
            .enumeration()
            .is_some_and(|declared| declared.name() == "google.protobuf.NullValue")
}

pub(super) fn expectation(kind: Kind) -> &'static str {
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
