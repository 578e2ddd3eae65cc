//! Takes secrets out of a printed message: fields that Envoy marks `udpa.annotations.sensitive` keep their shape and lose
//! their content, at every depth and inside `TypedStruct`s, as Envoy's `MessageUtil::redact` does.

use serde_json::Value;

use crate::any::type_name;
use crate::schema::{self, Field, Kind, Label, Message, Shape};

/// What stands in the place of a secret text.
pub const REDACTED: &str = "[redacted]";

/// The same in base64, for bytes fields.
const REDACTED_BYTES: &str = "W3JlZGFjdGVkXQ==";

/// Redacts a printed message.
pub(super) fn message(schema: &Message, value: &mut Value) {
    walk(schema, value, false);
}

/// Redacts a printed `Any`.
pub(super) fn any(value: &mut Value) {
    walk_any(value, false);
}

fn walk(schema: &Message, value: &mut Value, secret: bool) {
    match schema.shape {
        Shape::Any => walk_any(value, secret),
        Shape::Plain => fields(schema, value, secret),
        Shape::Struct | Shape::Value | Shape::ListValue if secret => blank(value),
        Shape::Wrapper if secret => {
            let bytes = schema
                .fields()
                .first()
                .is_some_and(|field| field.kind == Kind::Bytes);
            *value = replacement(bytes, value);
        }
        _ => {}
    }
}

fn walk_any(value: &mut Value, secret: bool) {
    let Some(url) = value.get("@type").and_then(Value::as_str) else {
        return;
    };
    let inner = type_name(url).to_owned();
    match schema::message(&inner) {
        Some(schema) if schema.shape == Shape::Plain => {
            fields(schema, value, secret);
            if inner.ends_with(".TypedStruct") && !secret {
                let described = value
                    .get("type_url")
                    .and_then(Value::as_str)
                    .and_then(|url| schema::message(type_name(url)));
                if let (Some(schema), Some(content)) = (described, value.get_mut("value")) {
                    fields(schema, content, false);
                }
            }
        }
        Some(schema) => {
            if let Some(content) = value.get_mut("value") {
                walk(schema, content, secret);
            }
        }
        None if secret => {
            if let Some(object) = value.as_object_mut() {
                object.remove("value");
            }
        }
        None => {}
    }
}

fn fields(schema: &Message, value: &mut Value, secret: bool) {
    let Some(object) = value.as_object_mut() else {
        return;
    };
    object.retain(|name, value| {
        let Some(field) = schema.field_named(name) else {
            return true;
        };
        let secret = secret || field.sensitive;
        match (field.label, value) {
            (Label::Map, Value::Object(entries)) => {
                let Some(value_field) = field.kind.message().and_then(|entry| entry.field(2))
                else {
                    return true;
                };
                entries.retain(|_, value| element(value_field, value, secret));
            }
            (Label::Repeated, Value::Array(values)) => {
                values.retain_mut(|value| element(field, value, secret))
            }
            (_, value) => return element(field, value, secret),
        }
        true
    });
}

/// Redacts one value; false when it has no form that hides it and must go.
fn element(field: &Field, value: &mut Value, secret: bool) -> bool {
    if let Some(schema) = field.kind.message() {
        walk(schema, value, secret);
        return true;
    }
    if !secret {
        return true;
    }
    match field.kind {
        Kind::String | Kind::Bytes => {
            *value = replacement(field.kind == Kind::Bytes, value);
            true
        }
        _ => false,
    }
}

fn replacement(bytes: bool, value: &Value) -> Value {
    match value {
        Value::String(_) if bytes => Value::from(REDACTED_BYTES),
        Value::String(_) => Value::from(REDACTED),
        _ => Value::Null,
    }
}

fn blank(value: &mut Value) {
    match value {
        Value::String(text) => REDACTED.clone_into(text),
        Value::Array(values) => values.iter_mut().for_each(blank),
        Value::Object(object) => object.values_mut().for_each(blank),
        other => *other = Value::Null,
    }
}
