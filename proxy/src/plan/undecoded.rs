//! Finds what of a message was not decoded or is not served.
//!
//! prost drops what it does not know, and a known field may have no code behind it. Neither may go unnoticed where it guards something, so this
//! walks the bytes along the schema and names every such place: unknown field numbers and enum values, unknown types inside `Any`s, `TypedStruct`s
//! that do not fit the type they name, and fields without a verdict `served` or `ignored` in `compatibility.tsv`.

use std::fmt::Write as _;

use carbyne_protos::any::{Content, Unwrapped, type_name};
use carbyne_protos::json;
use carbyne_protos::prost_types::Any;
use carbyne_protos::schema::{self, Kind, Label, Message, Shape};
use prost::Message as _;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::compatibility::{Verdict, verdict};
use super::error::{Fault, Finding, What};

/// Everything of an encoded message that was not decoded or is not served. Bytes that are no such message at all are the error.
pub fn survey(full_name: &str, bytes: &[u8]) -> Result<Vec<Finding>, Fault> {
    let mut walk = Walk::new(|message, field| {
        matches!(
            verdict(message, field),
            Verdict::Served | Verdict::Ignored(_)
        )
    });
    match schema::message(full_name) {
        Some(schema) => walk
            .message(schema, bytes, DEPTH)
            .map_err(|Malformed| Fault::Malformed(full_name.to_owned()))?,
        None => walk.report(What::Type(full_name.to_owned())),
    }
    Ok(walk.found)
}

/// Walks a message and asks about every field that is set: `approve` gets the message's full name and the field's name.
#[derive(Debug)]
pub struct Walk<F> {
    found: Vec<Finding>,
    path: String,
    approve: F,
}

/// Bytes that are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl<F: FnMut(&'static str, &'static str) -> bool> Walk<F> {
    /// A walk that asks `approve`.
    pub const fn new(approve: F) -> Self {
        Self {
            found: Vec::new(),
            path: String::new(),
            approve,
        }
    }

    /// What was found.
    pub fn into_findings(self) -> Vec<Finding> {
        self.found
    }

    /// Walks a message.
    pub fn message(
        &mut self,
        schema: &'static Message,
        bytes: &[u8],
        depth: usize,
    ) -> Result<(), Malformed> {
        let depth = depth.checked_sub(1).ok_or(Malformed)?;
        if schema.shape == Shape::Any {
            let any = Any::decode(bytes).map_err(|_| Malformed)?;
            return self.any(&any, depth);
        }
        // Whatever JSON can say is a value, not a field.
        if matches!(
            schema.name(),
            "google.protobuf.Struct" | "google.protobuf.Value" | "google.protobuf.ListValue"
        ) {
            return Ok(());
        }
        let mut counts: Vec<(u32, usize)> = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (number, wire) = decode_key(&mut rest).map_err(|_| Malformed)?;
            let field = schema.field(number);
            let value = take(number, wire, &mut rest)?;
            let Some(field) = field else {
                self.report(What::Field(number, schema.name()));
                continue;
            };
            let length = self.path.len();
            if length > 0 {
                self.path.push('.');
            }
            self.path.push_str(field.name());
            match field.label {
                Label::Repeated => {
                    let index = match counts.iter_mut().find(|(held, _)| *held == number) {
                        Some((_, count)) => {
                            *count += 1;
                            *count - 1
                        }
                        None => {
                            counts.push((number, 1));
                            0
                        }
                    };
                    // Writing to a String cannot fail.
                    write!(self.path, "[{index}]").unwrap_or_default();
                }
                Label::Map => {
                    let key = map_key(value.bytes()?);
                    write!(self.path, "[\"{key}\"]").unwrap_or_default();
                }
                Label::Implicit | Label::Explicit => {}
            }
            if !(self.approve)(schema.name(), field.name()) {
                self.report(What::NotServed(schema.name()));
            }
            self.value(field.kind, field.label, &value, depth)?;
            self.path.truncate(length);
        }
        Ok(())
    }

    fn value(
        &mut self,
        kind: Kind,
        label: Label,
        value: &Value<'_>,
        depth: usize,
    ) -> Result<(), Malformed> {
        if label == Label::Map {
            // The value of an entry is its second field.
            let entry = kind.message().ok_or(Malformed)?;
            let mut rest = value.bytes()?;
            while !rest.is_empty() {
                let (number, wire) = decode_key(&mut rest).map_err(|_| Malformed)?;
                let inner = take(number, wire, &mut rest)?;
                match entry.field(number) {
                    Some(field) if number == 2 => {
                        self.value(field.kind, Label::Implicit, &inner, depth)?;
                    }
                    Some(_) => {}
                    None => self.report(What::Field(number, entry.name())),
                }
            }
            return Ok(());
        }
        match (kind, value) {
            (Kind::Message(_), Value::Bytes(bytes)) => {
                self.message(kind.message().ok_or(Malformed)?, bytes, depth)
            }
            (Kind::Enum(_), Value::Varint(number)) => {
                self.enumerated(kind, *number as i32);
                Ok(())
            }
            (Kind::Enum(_), Value::Bytes(packed)) => {
                let mut packed = *packed;
                while !packed.is_empty() {
                    let number = decode_varint(&mut packed).map_err(|_| Malformed)?;
                    self.enumerated(kind, number as i32);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn enumerated(&mut self, kind: Kind, number: i32) {
        if let Some(declared) = kind.enumeration()
            && declared.value_name(number).is_none()
        {
            self.report(What::EnumValue(number, declared.name()));
        }
    }

    /// Walks what an `Any` holds; a `TypedStruct` is walked as the message that it describes.
    fn any(&mut self, any: &Any, depth: usize) -> Result<(), Malformed> {
        if any.type_url.is_empty() && any.value.is_empty() {
            return Ok(());
        }
        let Ok(unwrapped) = Unwrapped::of(any) else {
            self.report(What::Malformed(any.type_url.clone()));
            return Ok(());
        };
        let Some(schema) = schema::message(&unwrapped.type_name) else {
            self.report(What::Type(unwrapped.type_name));
            return Ok(());
        };
        match &unwrapped.content {
            Content::Encoded(bytes) => {
                if self.message(schema, bytes, depth).is_err() {
                    self.report(What::Malformed(schema.name().to_owned()));
                }
                Ok(())
            }
            Content::Struct(fields) => {
                let mut described = json::struct_to_json(fields);
                if let Some(object) = described.as_object_mut() {
                    object.insert("@type".to_owned(), serde_json::Value::from(schema.name()));
                }
                match json::any_from_json(&described) {
                    Ok(inner) => self.any(&inner, depth.checked_sub(1).ok_or(Malformed)?),
                    Err(error) => {
                        self.report(What::Malformed(error.to_string()));
                        Ok(())
                    }
                }
            }
        }
    }

    fn report(&mut self, what: What) {
        self.found.push(Finding {
            path: self.path.clone(),
            what,
        });
    }
}

/// Whether a type URL names a message of this program.
pub fn is_known(type_url: &str) -> bool {
    schema::message(type_name(type_url)).is_some()
}

/// One value as it stands on the wire.
enum Value<'a> {
    Bytes(&'a [u8]),
    Number,
    Varint(u64),
}

impl<'a> Value<'a> {
    fn bytes(&self) -> Result<&'a [u8], Malformed> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Number | Self::Varint(_) => Err(Malformed),
        }
    }
}

fn take<'a>(number: u32, wire: WireType, rest: &mut &'a [u8]) -> Result<Value<'a>, Malformed> {
    match wire {
        WireType::LengthDelimited => {
            let length = decode_varint(rest).map_err(|_| Malformed)?;
            let length = usize::try_from(length).map_err(|_| Malformed)?;
            let (bytes, tail) = rest.split_at_checked(length).ok_or(Malformed)?;
            *rest = tail;
            Ok(Value::Bytes(bytes))
        }
        WireType::Varint => decode_varint(rest)
            .map(Value::Varint)
            .map_err(|_| Malformed),
        _ => {
            skip_field(wire, number, rest, DecodeContext::default()).map_err(|_| Malformed)?;
            Ok(Value::Number)
        }
    }
}

/// The key of a map entry, as text.
fn map_key(mut entry: &[u8]) -> String {
    while !entry.is_empty() {
        let Ok((number, wire)) = decode_key(&mut entry) else {
            break;
        };
        match take(number, wire, &mut entry) {
            Ok(Value::Bytes(bytes)) if number == 1 => {
                return String::from_utf8_lossy(bytes).into_owned();
            }
            Ok(Value::Varint(key)) if number == 1 => return key.to_string(),
            Ok(_) => {}
            Err(Malformed) => break,
        }
    }
    String::new()
}

/// How deep messages may stand in one another: prost's own limit.
pub const DEPTH: usize = 100;
