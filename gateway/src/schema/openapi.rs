//! Schemas as OpenAPI 3.0 has them: what a body may be, as far as JSON Schema can say it.

use super::{Field, Kind, Record, Schema, library};
use crate::object;
use crate::value::{Object, Value};

/// The components of every kind of entity that the Admin API serves, and of every plugin and vault.
pub fn components() -> Object {
    let mut all = Object::new();
    for schema in library::entities() {
        all.insert(schema.name.clone(), schema.body().into());
    }
    for name in library::plugins() {
        if let Some(plugin) = library::plugin(name) {
            all.insert(component(name), named(name, &plugin.record));
        }
    }
    all
}

/// The name of a plugin's component.
fn component(plugin: &str) -> String {
    format!("plugin-{plugin}")
}

/// A plugin's entity: its name and its configuration.
fn named(name: &str, record: &Record) -> Value {
    let mut body = self::record(record);
    if let Some(Value::Object(properties)) = body.get_mut("properties") {
        let name = object! { "type": "string", "enum": vec![Value::from(name)] };
        properties.insert("name".into(), name.into());
    }
    body.insert("required".into(), vec![Value::from("name")].into());
    body.into()
}

impl Schema {
    fn body(&self) -> Object {
        if self.name == "plugins" {
            let reference = |name: &str| {
                let path = format!("#/components/schemas/{}", component(name));
                Value::from(object! { "$ref": path })
            };
            let all: Vec<_> = library::plugins().map(reference).collect();
            return object! { "anyOf": all };
        }
        record(&self.record)
    }
}

fn record(record: &Record) -> Object {
    let mut properties = Object::new();
    let mut required = Vec::new();
    for (name, field) in &record.fields {
        properties.insert(name.clone(), self::field(field).into());
        if field.required && field.default.is_none() && !field.auto {
            required.push(Value::from(name.as_str()));
        }
    }
    for (name, shorthand) in &record.shorthands {
        let field = field(&shorthand.field);
        properties.insert(name.clone(), field.into());
    }
    let mut out = object! {
        "type": "object", "properties": properties, "additionalProperties": false,
    };
    if !required.is_empty() {
        out.insert("required".into(), required.into());
    }
    out
}

fn field(field: &Field) -> Object {
    let mut out = match &field.kind {
        Kind::Abstract => object! { "type": "object" },
        Kind::Any | Kind::Json => Object::new(),
        Kind::Array(element) => object! { "type": "array", "items": self::field(element) },
        Kind::Boolean => object! { "type": "boolean" },
        Kind::Foreign { .. } => object! {
            "type": "object",
            "properties": object! { "id": object! { "type": "string", "format": "uuid" } },
        },
        Kind::Integer => object! { "type": "integer" },
        Kind::Map(_, values) => {
            object! { "type": "object", "additionalProperties": self::field(values) }
        }
        Kind::Number => object! { "type": "number" },
        Kind::Record(inner) => record(inner),
        Kind::Set(element) => {
            object! { "type": "array", "items": self::field(element), "uniqueItems": true }
        }
        Kind::String => object! { "type": "string" },
    };
    let attribute = |name: &str| field.attributes.get(name).cloned();
    if let Some(Value::Array(bounds)) = attribute("between")
        && let [low, high] = bounds.as_slice()
    {
        out.insert("minimum".into(), low.clone());
        out.insert("maximum".into(), high.clone());
    }
    for (rule, name) in [("len_min", "minLength"), ("len_max", "maxLength")] {
        if let Some(length) = attribute(rule)
            && matches!(field.kind, Kind::String)
        {
            out.insert(name.into(), length);
        }
    }
    if matches!(field.kind, Kind::String) && attribute("len_min").is_none() {
        out.insert("minLength".into(), 1.into());
    }
    if let Some(options @ Value::Array(_)) = attribute("one_of") {
        out.insert("enum".into(), options);
    }
    if field.uuid {
        out.insert("format".into(), "uuid".into());
    }
    if !field.required && !out.contains_key("enum") {
        out.insert("nullable".into(), true.into());
    }
    out
}
