//! Entities and messages without the secrets in them. Kong prints those: in what a key is not
//! unique for, and in the entities of `flattened_errors`. Whoever reads logs is not to have them.

use super::{Field, Kind, Schema, View};
use crate::value::{Object, Value};

/// What stands in place of a secret.
pub(super) const REDACTED: &str = "******";

impl Schema {
    /// Whether a field holds a secret.
    pub fn is_secret(&self, field: &str) -> bool {
        let field = self.record.fields.get(field);
        field.is_some_and(|field| field.secret)
    }

    /// A field's value, as errors may print it.
    pub fn shown<'a>(&self, field: &str, value: &'a str) -> &'a str {
        if self.is_secret(field) {
            REDACTED
        } else {
            value
        }
    }

    /// An entity, or a part of one, as errors may print it.
    pub fn redacted(&self, entity: &Object) -> Object {
        let view = View {
            record: &self.record,
            over: self.subschema(entity),
        };
        members(view, entity)
    }
}

fn members(view: View<'_>, entity: &Object) -> Object {
    let one = |(name, value): (&String, &Value)| {
        let shorthand = || Some(&view.record.shorthands.get(name)?.field);
        let value = match (view.field(name).or_else(shorthand), value) {
            (Some(field), value) => redacted(field, value),
            // A secret under a wrong name is one as well.
            (None, Value::String(_) | Value::Array(_) | Value::Object(_)) => REDACTED.into(),
            (None, value) => value.clone(),
        };
        (name.clone(), value)
    };
    entity.iter().map(one).collect()
}

fn redacted(field: &Field, value: &Value) -> Value {
    if value.is_null() {
        return Value::Null;
    }
    if field.secret {
        return REDACTED.into();
    }
    match (&field.kind, value) {
        (Kind::Record(inner), Value::Object(inside)) => members(View::plain(inner), inside).into(),
        (Kind::Array(element) | Kind::Set(element), Value::Array(items)) => items
            .iter()
            .map(|item| redacted(element, item))
            .collect::<Vec<_>>()
            .into(),
        (Kind::Map(_, values), Value::Object(inside)) => inside
            .iter()
            .map(|(name, value)| (name.clone(), redacted(values, value)))
            .collect::<Object>()
            .into(),
        (_, value) => value.clone(),
    }
}

/// What is wrong with a secret, without the secret.
pub(super) fn fault(fault: Value, secret: &Value) -> Value {
    match (fault, secret) {
        (Value::String(words), Value::String(secret)) if !secret.is_empty() => {
            words.replace(secret.as_str(), REDACTED).into()
        }
        (fault, _) => fault,
    }
}
