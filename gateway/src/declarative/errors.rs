//! Errors at their places in a document, and the flat list of them.

use super::identity::{Parent, identity};
use crate::object;
use crate::schema::{Schema, is_uuid, library};
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
    for (name, errors) in last_first(fields) {
        let items = content.get(name).and_then(Value::as_array);
        match (library::entity(name), items, errors) {
            (Some(schema), Some(items), Value::Array(errors)) => {
                for (item, error) in pairs(items, errors).rev() {
                    one(schema, item, error, None, &mut out);
                }
            }
            // Told by the entity's name, or by its id.
            (Some(schema), Some(items), Value::Object(errors)) => {
                for (called, error) in last_first(errors) {
                    match items.iter().find(|item| is_called(schema, item, called)) {
                        Some(item) => one(schema, item, error, None, &mut out),
                        None => {
                            let path = [name, called].map(|name| Step::Name(name.clone()));
                            place(&mut left, &path, error.clone());
                        }
                    }
                }
            }
            _ => drop(left.insert(name.clone(), errors.clone())),
        }
    }
    (out, left)
}

/// By name, the last first: Kong takes errors from the end of a list, and clients show the first that comes.
fn last_first(errors: &Object) -> Vec<(&String, &Value)> {
    let mut errors: Vec<_> = errors.iter().collect();
    errors.sort_by(|a, b| b.0.cmp(a.0));
    errors
}

/// Items with something wrong, and what it is.
fn pairs<'a>(
    items: &'a [Value],
    errors: &'a [Value],
) -> impl DoubleEndedIterator<Item = (&'a Value, &'a Value)> {
    items
        .iter()
        .zip(errors)
        .filter(|(_, error)| !error.is_null())
}

fn is_called(schema: &Schema, item: &Value, called: &str) -> bool {
    let Value::Object(item) = item else {
        return false;
    };
    let key = schema.meta.endpoint_key.as_deref();
    let is = |field: &str| item.get(field).and_then(Value::as_str) == Some(called);
    key.is_some_and(is) || is("id") || identity(schema, item, None).as_deref() == Some(called)
}

/// The entity in which another one is written.
#[derive(Clone, Copy)]
struct Owner<'a> {
    parent: Parent<'a>,
    /// Its id is the document's, not made from its names.
    given: bool,
}

fn one(
    schema: &'static Schema,
    item: &Value,
    error: &Value,
    owner: Option<Owner<'_>>,
    out: &mut Vec<Value>,
) {
    let mut item = item.as_object().cloned().unwrap_or_default();
    let mut errors = match error {
        Value::Object(errors) => errors.clone(),
        error => object! { "@entity": error.clone() },
    };
    // That something is declared twice is found when everything has its id.
    let identified = !matches!(error, Value::Object(_));
    let given = primary_key(&item);
    let is_given = given.is_some();
    let id = given.or_else(|| identity(schema, &item, owner.map(|owner| owner.parent)));
    if let Some(owner) = owner.filter(|owner| owner.given || identified)
        && !item.contains_key(owner.parent.field)
    {
        let parent = object! { "id": owner.parent.id };
        item.insert(owner.parent.field.into(), parent.into());
    }
    if let Some(id) = id.as_deref().filter(|_| identified && !is_given) {
        item.insert("id".into(), id.into());
    }
    // What another entity's place is taken by, where there should be its name, is an entity by itself.
    for (field, reference, _) in schema.foreign() {
        let Some(Value::Object(inner)) = item.get(field).cloned() else {
            continue;
        };
        match primary_key(&inner) {
            Some(id) => drop(item.insert(field.into(), object! { "id": id }.into())),
            None => drop(item.shift_remove(field)),
        }
        if let (Some(schema), Some(error)) =
            (library::entity(reference), errors.shift_remove(field))
        {
            one(schema, &inner.into(), &error, None, out);
        }
    }
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
            let owner = id.as_deref().map(|id| Owner {
                parent: Parent { field, id },
                given: is_given,
            });
            for (nested, error) in pairs(&children, &below) {
                one(child, nested, error, owner, out);
            }
        }
    }
    let mut list = Vec::new();
    categorise(&errors, "", &mut list);
    if list.is_empty() {
        return;
    }
    let entity = schema.name.as_str();
    let mut entry = object! { "entity_type": entity.strip_suffix('s').unwrap_or(entity) };
    let name = item
        .get("name")
        .and_then(Value::as_str)
        .filter(|name| !name.is_empty());
    if let Some(name) = name {
        entry.insert("entity_name".into(), name.into());
    }
    if let Some(id) = primary_key(&item) {
        entry.insert("entity_id".into(), id.into());
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

/// The id that an entity was given, if it is one.
fn primary_key(item: &Object) -> Option<String> {
    let id = item.get("id").and_then(Value::as_str);
    id.filter(|id| is_uuid(id)).map(ToOwned::to_owned)
}

/// Errors of fields have the path of the field; those of the entity have none.
fn categorise(errors: &Object, prefix: &str, out: &mut Vec<Value>) {
    for (name, error) in last_first(errors) {
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
            for (index, item) in items.iter().enumerate().rev() {
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
