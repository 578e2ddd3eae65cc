//! Schemas as `GET /schemas` shows them.

use super::process::PROCESS_SECRET;
use super::{Field, Kind, Record, Schema};
use crate::value::{Object, Value};

impl Schema {
    /// The body of `GET /schemas/{entity}`.
    pub fn print(&self) -> Object {
        record(&self.record)
    }
}

impl Record {
    /// The body of `GET /schemas/plugins/{plugin}`.
    pub fn print(&self) -> Object {
        record(self)
    }

    /// The body of `GET /plugins/schema/{plugin}`: the fields of the plugin's configuration.
    pub fn print_config(&self) -> Object {
        match self.fields.get("config").map(|field| &field.kind) {
            Some(Kind::Record(config)) => record(config),
            _ => Object::new(),
        }
    }
}

fn record(record: &Record) -> Object {
    let mut out = Object::new();
    out.insert("entity_checks".into(), record.shown_checks.clone().into());
    out.insert("fields".into(), fields(record));
    out
}

fn fields(record: &Record) -> Value {
    let one = |(name, shown): (&String, &Field)| {
        let mut entry = Object::new();
        entry.insert(name.clone(), field(shown).into());
        Value::Object(entry)
    };
    record.fields.iter().map(one).collect::<Vec<_>>().into()
}

fn field(shown: &Field) -> Object {
    let mut out = shown.attributes.clone();
    match out.get_mut("default") {
        Some(Value::String(default)) if default == "{random}" => {
            default.clone_from(&PROCESS_SECRET)
        }
        _ => {}
    }
    match &shown.kind {
        Kind::Array(element) | Kind::Set(element) => {
            out.insert("elements".into(), field(element).into());
        }
        Kind::Map(keys, values) => {
            out.insert("keys".into(), field(keys).into());
            out.insert("values".into(), field(values).into());
        }
        Kind::Record(inner) => {
            out.insert("fields".into(), fields(inner));
            if !inner.shown_checks.is_empty() {
                out.insert("entity_checks".into(), inner.shown_checks.clone().into());
            }
            if !inner.shorthands.is_empty() {
                let one = |(name, shorthand): (&String, &super::Shorthand)| {
                    let mut entry = Object::new();
                    entry.insert(name.clone(), field(&shorthand.field).into());
                    Value::Object(entry)
                };
                out.insert(
                    "shorthand_fields".into(),
                    inner.shorthands.iter().map(one).collect::<Vec<_>>().into(),
                );
            }
        }
        _ => {}
    }
    out
}
