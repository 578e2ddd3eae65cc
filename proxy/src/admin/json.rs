//! JSON as Envoy lays it out: one space a level, a line break at the end.

use carbyne_protos::schema::{self, Kind, Label, Message, Shape};
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Map, Value};

pub(super) fn text(value: &Value) -> String {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(b" "));
    // Values have text keys, and a Vec takes everything.
    if value.serialize(&mut serializer).is_err() {
        bytes.clear();
    }
    bytes.push(b'\n');
    String::from_utf8(bytes).unwrap_or_default()
}

/// Adds the fields that are at their defaults and therefore left out: some of Envoy's pages print them
/// (`always_print_primitive_fields`).
pub(super) fn add_defaults(full_name: &str, value: &mut Value) {
    if let (Some(message), Value::Object(object)) = (schema::message(full_name), value) {
        fill(message, object);
    }
}

fn fill(message: &Message, object: &mut Map<String, Value>) {
    for field in message.fields() {
        let inner = field
            .kind
            .message()
            .filter(|inner| inner.shape == Shape::Plain);
        match (object.get_mut(field.name()), inner) {
            (Some(Value::Object(value)), Some(inner)) if field.label != Label::Map => {
                fill(inner, value)
            }
            (Some(Value::Array(values)), Some(inner)) => {
                values
                    .iter_mut()
                    .filter_map(Value::as_object_mut)
                    .for_each(|value| fill(inner, value));
            }
            (Some(_), _) => {}
            (None, _) => {
                if let Some(default) = default(field.label, field.kind) {
                    object.insert(field.name().to_owned(), default);
                }
            }
        }
    }
}

fn default(label: Label, kind: Kind) -> Option<Value> {
    Some(match (label, kind) {
        (Label::Explicit, _) => return None,
        (Label::Repeated, _) => Value::Array(Vec::new()),
        (Label::Map, _) => Value::Object(Map::new()),
        (Label::Implicit, Kind::String | Kind::Bytes) => Value::String(String::new()),
        (Label::Implicit, Kind::Bool) => Value::Bool(false),
        (
            Label::Implicit,
            Kind::Int64 | Kind::Uint64 | Kind::Sint64 | Kind::Fixed64 | Kind::Sfixed64,
        ) => Value::String("0".to_owned()),
        (Label::Implicit, Kind::Enum(_)) => {
            Value::String(kind.enumeration()?.value_name(0)?.to_owned())
        }
        (Label::Implicit, _) => Value::from(0),
    })
}
