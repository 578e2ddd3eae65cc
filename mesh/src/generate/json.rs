//! Small helpers for building proto3-JSON.

use serde_json::{Value, json};

/// Takes out nulls: an unset field is not written.
pub(super) fn prune(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, child| !child.is_null());
            map.values_mut().for_each(prune);
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

/// Message of a type inside `Any`.
pub(super) fn any(message: &str, mut value: Value) -> Value {
    if let Value::Object(map) = &mut value {
        map.insert(
            "@type".to_owned(),
            Value::String(format!("type.googleapis.com/{message}")),
        );
    }
    value
}

/// `{name, typedConfig}`, the shape of filters, sockets and extensions.
pub(super) fn extension(name: &str, message: &str, value: Value) -> Value {
    json!({"name": name, "typedConfig": any(message, value)})
}

/// A `TypedStruct` in an `Any`: a message that istiod does not know by type.
pub(super) fn typed_struct(name: &str, message: &str, value: Value) -> Value {
    extension(
        name,
        "udpa.type.v1.TypedStruct",
        json!({"typeUrl": format!("type.googleapis.com/{message}"), "value": value}),
    )
}

/// An array, or nothing when it is empty.
pub(super) fn list(items: Vec<Value>) -> Value {
    if items.is_empty() {
        Value::Null
    } else {
        Value::Array(items)
    }
}

/// A string, or nothing when it is empty.
pub(super) fn text(value: &str) -> Value {
    if value.is_empty() {
        Value::Null
    } else {
        Value::String(value.to_owned())
    }
}

/// `true`, or nothing.
pub(super) fn flag(value: bool) -> Value {
    if value {
        Value::Bool(true)
    } else {
        Value::Null
    }
}

/// A duration, or nothing.
pub(super) fn duration(value: Option<crate::model::Duration>) -> Value {
    value.map_or(Value::Null, |value| Value::String(value.to_string()))
}

/// `{socketAddress}` or `{pipe}`.
pub(super) fn address(host: &str, port: u32) -> Value {
    match host.strip_prefix("unix://") {
        Some(path) => json!({"pipe": {"path": path}}),
        None => json!({"socketAddress": {"address": host, "portValue": port}}),
    }
}

/// The configuration source "the stream that this came on".
pub(super) fn ads() -> Value {
    json!({"ads": {}, "initialFetchTimeout": "0s", "resourceApiVersion": "V3"})
}
