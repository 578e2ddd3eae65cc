//! Entities with what their references to secrets stand for, in the fields that may hold such.

use super::reference::is_reference;
use super::{Field, Kind, Schema, View};
use crate::value::{Object, Value};

/// What a reference at a path stands for; nothing leaves it.
type Resolve<'a> = dyn FnMut(&str, &str) -> Option<String> + 'a;

impl Schema {
    /// An entity with what its references stand for.
    pub fn dereferenced(&self, entity: &Object, resolve: &mut Resolve<'_>) -> Object {
        let view = View {
            record: &self.record,
            over: self.subschema(entity),
        };
        members(view, entity, "", resolve)
    }
}

fn members(view: View<'_>, entity: &Object, path: &str, resolve: &mut Resolve<'_>) -> Object {
    let one = |(name, value): (&String, &Value)| {
        let value = match view.field(name) {
            Some(field) => dereferenced(field, value, &below(path, name), resolve),
            None => value.clone(),
        };
        (name.clone(), value)
    };
    entity.iter().map(one).collect()
}

fn dereferenced(field: &Field, value: &Value, path: &str, resolve: &mut Resolve<'_>) -> Value {
    match (&field.kind, value) {
        (Kind::String, Value::String(text)) if field.referenceable && is_reference(text) => {
            resolve(path, text).map_or_else(|| value.clone(), Value::from)
        }
        (Kind::Record(inner), Value::Object(inside)) => {
            members(View::plain(inner), inside, path, resolve).into()
        }
        (Kind::Array(element) | Kind::Set(element), Value::Array(items)) => (1..)
            .zip(items)
            .map(|(number, item)| {
                dereferenced(element, item, &below(path, &number.to_string()), resolve)
            })
            .collect::<Vec<_>>()
            .into(),
        (Kind::Map(_, values), Value::Object(inside)) => inside
            .iter()
            .map(|(name, value)| {
                let value = dereferenced(values, value, &below(path, name), resolve);
                (name.clone(), value)
            })
            .collect::<Object>()
            .into(),
        (_, value) => value.clone(),
    }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}
