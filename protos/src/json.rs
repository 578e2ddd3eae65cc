//! Proto3-JSON of the crate's messages, both ways, over the static schema.
//!
//! Output has the names of the .proto files (`preserve_proto_field_names`), as Envoy's admin pages print; input may have
//! either spelling. An `Any` is resolved at every depth; one of an unknown type prints as
//! `{"@type": …, "value": "<base64>"}` and is accepted in that form.
//!
//! * `print`: encoded message → value
//! * `parse`: value → encoded message, strict or tolerant of unknown names
//! * `scalar`: one value of a scalar type
//! * `redact`: takes secrets out of a printed value, as Envoy does
//! * `time`: the text forms of durations and timestamps

mod parse;
mod print;
mod redact;
mod scalar;
mod time;

use prost::{Message, Name};
use prost_types::{Any, Struct};
use serde_json::{Map, Value};

pub use parse::{JsonError, JsonErrors};
pub use redact::REDACTED;

use crate::schema;

/// Prints a message; zero and empty fields without presence are left out.
pub fn to_json<M: Message + Name>(message: &M) -> Value {
    print_message(message, false)
}

/// Prints a message with every field that has no presence, also the zero and empty ones: so Envoy prints `/server_info`.
pub fn to_json_with_defaults<M: Message + Name>(message: &M) -> Value {
    print_message(message, true)
}

/// Prints a message with the fields that hold secrets replaced by `[redacted]`.
pub fn to_json_redacted<M: Message + Name>(message: &M) -> Value {
    let mut value = to_json(message);
    if let Some(schema) = schema::message(&M::full_name()) {
        redact::message(schema, &mut value);
    }
    value
}

/// Prints what an `Any` holds: `{"@type": …, fields}`.
pub fn any_to_json(any: &Any) -> Value {
    print::any_parts(&any.type_url, &any.value)
}

/// Prints what an `Any` holds, with the fields that hold secrets replaced by `[redacted]`.
pub fn any_to_json_redacted(any: &Any) -> Value {
    let mut value = any_to_json(any);
    redact::any(&mut value);
    value
}

/// Parses a message; a name that the message does not have is an error.
pub fn from_json<M: Message + Name + Default>(value: &Value) -> Result<M, JsonErrors> {
    parse::parse(value, false).map(|parsed| parsed.0)
}

/// Parses a message and ignores names that it does not have, and `Any`s of unknown type; returns their paths.
///
/// This is Envoy's `--allow-unknown-static-fields`.
pub fn from_json_tolerant<M: Message + Name + Default>(
    value: &Value,
) -> Result<(M, Vec<String>), JsonErrors> {
    parse::parse(value, true)
}

/// Parses `{"@type": …, fields}`.
pub fn any_from_json(value: &Value) -> Result<Any, JsonErrors> {
    from_json(value)
}

/// Reads a message out of the value of a `TypedStruct`, strictly.
pub fn from_struct<M: Message + Name + Default>(fields: &Struct) -> Result<M, JsonErrors> {
    from_json(&struct_to_json(fields))
}

/// A `Struct` as the JSON object that it stands for.
pub fn struct_to_json(fields: &Struct) -> Value {
    Value::Object(
        fields
            .fields
            .iter()
            .map(|(name, value)| (name.clone(), value_to_json(value)))
            .collect(),
    )
}

/// A `google.protobuf.Value` as JSON; not-a-number and the infinities, which JSON lacks, become null.
pub fn value_to_json(value: &prost_types::Value) -> Value {
    use prost_types::value::Kind;
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::NumberValue(number)) => print::number(*number),
        Some(Kind::StringValue(text)) => Value::String(text.clone()),
        Some(Kind::BoolValue(flag)) => Value::Bool(*flag),
        Some(Kind::StructValue(fields)) => struct_to_json(fields),
        Some(Kind::ListValue(list)) => {
            Value::Array(list.values.iter().map(value_to_json).collect())
        }
    }
}

/// A JSON object as a `Struct`.
pub fn struct_from_json(object: &Map<String, Value>) -> Struct {
    Struct {
        fields: object
            .iter()
            .map(|(name, value)| (name.clone(), value_from_json(value)))
            .collect(),
    }
}

/// JSON as a `google.protobuf.Value`.
pub fn value_from_json(value: &Value) -> prost_types::Value {
    use prost_types::value::Kind;
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(flag) => Kind::BoolValue(*flag),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(values) => Kind::ListValue(prost_types::ListValue {
            values: values.iter().map(value_from_json).collect(),
        }),
        Value::Object(object) => Kind::StructValue(struct_from_json(object)),
    };
    prost_types::Value { kind: Some(kind) }
}

fn print_message<M: Message + Name>(message: &M, defaults: bool) -> Value {
    schema::message(&M::full_name()).map_or(Value::Null, |schema| {
        print::message(schema, &message.encode_to_vec(), defaults)
    })
}
