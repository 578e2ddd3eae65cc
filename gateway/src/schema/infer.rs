//! Texts of forms and query strings as the values that their fields want.

use super::{Field, Kind, Record, Schema, View};
use crate::value::{Object, Value};

impl Schema {
    /// Turns the texts of a form into what the fields want. What cannot be turned stays as it is,
    /// for validation to refuse.
    pub fn infer(&self, form: &mut Object) {
        let over = self.subschema(form);
        infer(
            View {
                record: &self.record,
                over,
            },
            form,
        );
        if self.meta.ttl
            && let Some(ttl) = form.get_mut("ttl")
        {
            *ttl = number(std::mem::take(ttl));
        }
    }

    /// Turns one text into what a field wants.
    pub fn infer_value(&self, name: &str, value: Value) -> Value {
        match self.record.fields.get(name) {
            Some(field) => infer_value(field, value),
            None => value,
        }
    }
}

fn infer(view: View<'_>, form: &mut Object) {
    for (name, value) in form.iter_mut() {
        let shorthand = || {
            view.record
                .shorthands
                .get(name)
                .map(|shorthand| &shorthand.field)
        };
        if let Some(field) = view.field(name).or_else(shorthand) {
            *value = infer_value(field, std::mem::take(value));
        }
    }
}

fn infer_value(field: &Field, value: Value) -> Value {
    if value.as_str() == Some("") {
        return Value::Null;
    }
    match (&field.kind, value) {
        (_, Value::Null) => Value::Null,
        (Kind::Integer | Kind::Number, value) => number(value),
        (Kind::Boolean, Value::String(text)) => match text.as_str() {
            "true" => true.into(),
            "false" => false.into(),
            _ => text.into(),
        },
        (Kind::Array(element) | Kind::Set(element), value) => {
            let items = match value {
                Value::Array(items) => items,
                Value::Object(members) if !members.is_empty() => return Value::Object(members),
                Value::Object(_) => Vec::new(),
                one => vec![one],
            };
            items
                .into_iter()
                .map(|item| infer_value(element, item))
                .collect::<Vec<_>>()
                .into()
        }
        (Kind::Map(_, values), Value::Object(mut members)) => {
            for value in members.values_mut() {
                *value = infer_value(values, std::mem::take(value));
            }
            members.into()
        }
        (Kind::Record(record), Value::Object(members)) => inferred(record, members),
        (Kind::Foreign { reference, .. }, Value::Object(mut members)) => {
            if let Some(schema) = super::library::entity(reference) {
                schema.infer(&mut members);
            }
            members.into()
        }
        (_, value) => value,
    }
}

fn inferred(record: &Record, mut members: Object) -> Value {
    infer(View::plain(record), &mut members);
    members.into()
}

/// A number where the text is one as Lua reads them.
fn number(value: Value) -> Value {
    let Value::String(text) = value else {
        return value;
    };
    let digits = text.trim();
    let hex = digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"));
    let parsed = match hex {
        Some(hex) => u32::from_str_radix(hex, 16).ok().map(f64::from),
        // Rust reads `inf` and `nan` as well, which are no numbers in JSON.
        None => digits
            .parse::<f64>()
            .ok()
            .filter(|number| number.is_finite()),
    };
    parsed.map_or(Value::String(text), Value::Number)
}
