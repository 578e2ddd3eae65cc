//! Errors at their places in a document, and the flat list of them.

use crate::object;
use crate::schema::{is_uuid, library};
use crate::value::{Object, Value};

/// A step on the way to a place in a document.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Step {
    Index(usize),
    Name(String),
}

/// Puts an error where it belongs. Lists keep their positions: the places before are null.
pub(super) fn place(errors: &mut Object, path: &[Step], fault: Value) {
    let mut root = Value::Object(std::mem::take(errors));
    put(&mut root, path, fault);
    if let Value::Object(root) = root {
        *errors = root;
    }
}

fn put(slot: &mut Value, path: &[Step], fault: Value) {
    let Some((step, rest)) = path.split_first() else {
        return match (slot, fault) {
            (Value::Object(own), Value::Object(more)) => own.extend(more),
            (slot, fault) => *slot = fault,
        };
    };
    match step {
        Step::Name(name) => {
            if !matches!(slot, Value::Object(_)) {
                *slot = Object::new().into();
            }
            if let Value::Object(members) = slot {
                put(members.entry(name.clone()).or_default(), rest, fault);
            }
        }
        Step::Index(index) => {
            if !matches!(slot, Value::Array(_)) {
                *slot = Vec::new().into();
            }
            if let Value::Array(items) = slot {
                if items.len() <= *index {
                    items.resize(index + 1, Value::Null);
                }
                put(&mut items[*index], rest, fault);
            }
        }
    }
}

/// `flattened_errors`: one entry an entity, with its errors by the path of the field, and what
/// could not be assigned to an entity.
pub fn flattened(fields: &Object, content: &Object) -> (Vec<Value>, Object) {
    let mut out = Vec::new();
    let mut left = Object::new();
    for (name, errors) in fields {
        match (content.get(name), errors) {
            (Some(Value::Array(items)), Value::Array(errors))
                if library::entity(name).is_some() =>
            {
                for (item, error) in items
                    .iter()
                    .zip(errors)
                    .filter(|(_, error)| !error.is_null())
                {
                    one(name, item, error, None, &mut out);
                }
            }
            _ => drop(left.insert(name.clone(), errors.clone())),
        }
    }
    (out, left)
}

fn one(
    entity: &str,
    item: &Value,
    error: &Value,
    owner: Option<(&str, &Value)>,
    out: &mut Vec<Value>,
) {
    let Some(schema) = library::entity(entity) else {
        return;
    };
    let mut item = item.as_object().cloned().unwrap_or_default();
    if let Some((field, id)) = owner
        && !item.contains_key(field)
    {
        item.insert(field.into(), object! { "id": id.clone() }.into());
    }
    let mut errors = match error {
        Value::Object(errors) => errors.clone(),
        error => object! { "@entity": error.clone() },
    };
    let id = item
        .get("id")
        .filter(|id| id.as_str().is_some_and(is_uuid))
        .cloned();
    for child in library::by_dependency() {
        let Some((field, _, _)) = child
            .foreign()
            .find(|(_, parent, _)| *parent == schema.name)
        else {
            continue;
        };
        let Some(Value::Array(children)) = item.get(&child.name).cloned() else {
            continue;
        };
        item.shift_remove(&child.name);
        if let Some(Value::Array(below)) = errors.shift_remove(&child.name) {
            let owner = id.as_ref().map(|id| (field, id));
            for (nested, error) in children
                .iter()
                .zip(&below)
                .filter(|(_, error)| !error.is_null())
            {
                one(&child.name, nested, error, owner, out);
            }
        }
    }
    let mut list = Vec::new();
    categorise(&errors, "", &mut list);
    if list.is_empty() {
        return;
    }
    let mut entry = object! { "entity_type": entity.strip_suffix('s').unwrap_or(entity) };
    let name = item
        .get("name")
        .and_then(Value::as_str)
        .filter(|name| !name.is_empty());
    if let Some(name) = name {
        entry.insert("entity_name".into(), name.into());
    }
    if let Some(id) = id {
        entry.insert("entity_id".into(), id);
    }
    if let Some(tags @ Value::Array(list)) = item.get("tags")
        && list.iter().all(|tag| tag.as_str().is_some())
    {
        entry.insert("entity_tags".into(), tags.clone());
    }
    entry.insert("entity".into(), schema.redacted(&item).into());
    entry.insert("errors".into(), list.into());
    out.push(entry.into());
}

/// Errors of fields have the path of the field; those of the entity have none.
fn categorise(errors: &Object, prefix: &str, out: &mut Vec<Value>) {
    let mut names: Vec<_> = errors.iter().collect();
    names.sort_by(|a, b| a.0.cmp(b.0));
    for (name, error) in names {
        if name == "@entity" {
            for message in messages(error) {
                out.push(object! { "type": "entity", "message": message }.into());
            }
            continue;
        }
        let field = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        nested(&field, error, out);
    }
}

fn nested(field: &str, error: &Value, out: &mut Vec<Value>) {
    match error {
        Value::String(message) => {
            out.push(
                object! { "type": "field", "field": field, "message": message.as_str() }.into(),
            );
        }
        Value::Object(inner) => categorise(inner, field, out),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                nested(&format!("{field}.{}", index + 1), item, out);
            }
        }
        _ => {}
    }
}

fn messages(error: &Value) -> Vec<Value> {
    match error {
        Value::Array(list) => list.clone(),
        one => vec![one.clone()],
    }
}
