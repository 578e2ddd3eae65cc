//! From a document to entities.

use std::collections::{BTreeSet, HashMap};
use std::time::SystemTime;

use carbyne_engine::runtime::background::{drop_each, give_way};

use super::errors::{Step, place};
use super::identity::{Parent, identity};
use super::{DEFAULT_WORKSPACE, Document, hash, migrate};
use crate::error::Error;
use crate::object;
use crate::schema::{Address, Context, Mode, Schema, library, milliseconds, uuid};
use crate::store::now;
use crate::value::{Object, Value};

/// The entities of a document, each by itself.
#[derive(Debug, Default)]
pub struct Flat {
    entities: Vec<Entity>,
    /// Of the document's text, where there was one; else of what is in it.
    hash: String,
}

#[derive(Debug)]
struct Entity {
    schema: &'static Schema,
    id: String,
    entity: Object,
    expires: Option<u64>,
}

/// An entity on its way out of a document.
#[derive(Debug)]
struct Item {
    schema: &'static Schema,
    path: Vec<Step>,
    id: String,
    sent: Object,
}

impl Item {
    /// What errors call it by: its endpoint key, unless that is a secret, or its id.
    fn name(&self) -> &str {
        let key = self.schema.meta.endpoint_key.as_ref();
        key.filter(|key| !self.schema.is_secret(key))
            .and_then(|key| self.sent.get(key)?.as_str())
            .unwrap_or(&self.id)
    }
}

/// Members that any object of a document may have, and that say nothing.
const REMARKS: [&str; 2] = ["_comment", "_ignore"];

impl Document {
    /// Checks everything and takes it apart. The error has all that is wrong, at its place. What the document does not
    /// date is as old as `at`.
    pub fn flatten(self, at: SystemTime) -> Result<Flat, Error> {
        let context = Context::Load {
            at: milliseconds(at),
        };
        let mut content = self.content;
        migrate::migrate(&mut content);
        let mut errors = Object::new();
        let transform = head(&content, &mut errors);
        let mut items = Vec::new();
        for schema in library::by_dependency() {
            if let Some(list) = content.swap_remove(&schema.name) {
                let path = [Step::Name(schema.name.clone())];
                hoist(schema, list, &path, None, &mut items, &mut errors);
            }
        }
        drop(content);
        let known = Known::new(&items);
        for item in &mut items {
            give_way();
            resolve(item, &known);
        }
        // A reference that leads nowhere is reported once everything else is sound.
        let mut dangling = Object::new();
        references(&items, &known, &mut dangling);
        drop_each(known.0);
        let mut flat = Flat {
            entities: Vec::with_capacity(items.len() + 1),
            hash: String::new(),
        };
        for item in items {
            give_way();
            let path = item.path.clone();
            match entity(item, transform, context) {
                Ok(entity) => flat.entities.push(entity),
                Err(fault) => place(&mut errors, &path, fault.into()),
            }
        }
        if errors.is_empty() {
            errors = dangling;
        }
        if !errors.is_empty() {
            return Err(Error::declarative(errors));
        }
        flat.add_default_workspace(context);
        let text = || hash(Value::from(flat.print()).to_json().as_bytes());
        flat.hash = self.hash.unwrap_or_else(text);
        Ok(flat)
    }
}

impl Flat {
    /// What is to be stored.
    pub fn into_rows(self) -> impl Iterator<Item = (&'static Schema, String, Object, Option<u64>)> {
        let entities = self.entities.into_iter();
        entities.map(|row| (row.schema, row.id, row.entity, row.expires))
    }

    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The entities by kind and id: the body of `POST /config`. Of workspaces it says nothing.
    pub fn print(&self) -> Object {
        let mut out = Object::new();
        let told = |entity: &&Entity| entity.schema.name != "workspaces";
        for entity in self.entities.iter().filter(told) {
            give_way();
            let table = out
                .entry(entity.schema.name.clone())
                .or_insert_with(|| Object::new().into());
            if let Value::Object(table) = table {
                table.insert(entity.id.clone(), entity.entity.clone().into());
            }
        }
        out
    }

    fn add_default_workspace(&mut self, context: Context) {
        let is_default = |entity: &Entity| {
            entity.schema.name == "workspaces"
                && entity.entity.get("name") == Some(&"default".into())
        };
        let Some(schema) = library::entity("workspaces") else {
            return;
        };
        if self.entities.iter().any(is_default) {
            return;
        }
        let sent = object! { "name": "default", "id": DEFAULT_WORKSPACE };
        if let Ok(entity) = schema.process(sent, context) {
            self.entities.push(Entity {
                schema,
                id: DEFAULT_WORKSPACE.into(),
                entity,
                expires: None,
            });
        }
    }
}

/// Checks what stands beside the entities; whether writes are transformed comes back.
fn head(content: &Object, errors: &mut Object) -> bool {
    match content.get("_format_version") {
        None | Some(Value::Null) => {
            drop(errors.insert("_format_version".into(), "required field missing".into()))
        }
        Some(Value::String(version)) if ["1.1", "2.1", "3.0"].contains(&version.as_str()) => {}
        Some(Value::String(_)) => {
            errors.insert(
                "_format_version".into(),
                "expected one of: 1.1, 2.1, 3.0".into(),
            );
        }
        Some(_) => drop(errors.insert("_format_version".into(), "expected a string".into())),
    }
    for name in content.keys() {
        let known = ["_format_version", "_transform"].contains(&name.as_str())
            || REMARKS.contains(&name.as_str());
        if !known && (name == "tags" || library::entity(name).is_none()) {
            errors.insert(name.clone(), "unknown field".into());
        }
    }
    match content.get("_transform") {
        None | Some(Value::Null) => true,
        Some(Value::Boolean(transform)) => *transform,
        Some(_) => {
            errors.insert("_transform".into(), "expected a boolean".into());
            true
        }
    }
}

/// Takes entities and, out of them, their children.
fn hoist(
    schema: &'static Schema,
    list: Value,
    path: &[Step],
    parent: Option<Parent<'_>>,
    items: &mut Vec<Item>,
    errors: &mut Object,
) {
    let list = match list {
        Value::Array(list) => list,
        Value::Null => return,
        Value::Object(members) if members.is_empty() => return,
        _ => return place(errors, path, "expected an array".into()),
    };
    for (index, item) in list.into_iter().enumerate() {
        give_way();
        let path = [path, &[Step::Index(index)]].concat();
        let Value::Object(mut sent) = item else {
            place(errors, &path, "expected a record".into());
            continue;
        };
        let key = schema.key().to_owned();
        let given = sent
            .get(&key)
            .and_then(Value::as_str)
            .map(ToOwned::to_owned);
        let id = given
            .or_else(|| identity(schema, &sent, parent))
            .unwrap_or_else(uuid);
        if key == "id" && !sent.contains_key("id") {
            sent.insert(key, id.as_str().into());
        }
        if let Some(parent) = parent {
            sent.insert(parent.field.into(), object! { "id": parent.id }.into());
        }
        for remark in REMARKS {
            sent.shift_remove(remark);
        }
        for child in library::by_dependency() {
            let Some((field, _, _)) = child
                .foreign()
                .find(|(_, parent, _)| *parent == schema.name)
            else {
                continue;
            };
            // A certificate's names are a field of it in the Admin API, and children here.
            let own = schema
                .record
                .fields
                .get(&child.name)
                .is_some_and(|field| !field.transient);
            if own {
                continue;
            }
            if let Some(list) = sent.shift_remove(&child.name) {
                let path = [path.as_slice(), &[Step::Name(child.name.clone())]].concat();
                hoist(
                    child,
                    list,
                    &path,
                    Some(Parent { field, id: &id }),
                    items,
                    errors,
                );
            }
        }
        items.push(Item {
            schema,
            path,
            id,
            sent,
        });
    }
}

/// The ids of all entities, also by their names.
#[derive(Debug)]
struct Known(HashMap<(&'static str, String), String>);

impl Known {
    fn new(items: &[Item]) -> Self {
        let mut known = HashMap::with_capacity(2 * items.len());
        for item in items {
            give_way();
            let name = item
                .schema
                .meta
                .endpoint_key
                .as_ref()
                .and_then(|key| item.sent.get(key)?.as_str());
            for reference in [Some(item.id.as_str()), name].into_iter().flatten() {
                known.insert(
                    (item.schema.name.as_str(), reference.to_owned()),
                    item.id.clone(),
                );
            }
        }
        Self(known)
    }

    fn find(&self, entity: &'static str, reference: &str) -> Option<&String> {
        self.0.get(&(entity, reference.to_owned()))
    }
}

/// Foreign fields hold a name, an id, or an object with one of them: they become ids.
fn resolve(item: &mut Item, known: &Known) {
    for (field, parent, _) in item.schema.foreign() {
        let Some(value) = item.sent.get(field) else {
            continue;
        };
        let name = library::entity(parent).and_then(|schema| schema.meta.endpoint_key.as_deref());
        let Some(reference) = reference(value, name) else {
            continue;
        };
        let Some(parent) = library::entity(parent) else {
            continue;
        };
        if let Some(id) = known.find(&parent.name, reference) {
            let resolved = object! { "id": id.as_str() };
            item.sent.insert(field.to_owned(), resolved.into());
        }
    }
}

fn reference<'a>(value: &'a Value, name: Option<&str>) -> Option<&'a str> {
    match value {
        Value::String(text) => Some(text),
        Value::Object(members) => members.get("id").or_else(|| members.get(name?))?.as_str(),
        _ => None,
    }
}

fn entity(item: Item, transform: bool, context: Context) -> Result<Entity, Object> {
    let Item {
        schema,
        id,
        mut sent,
        ..
    } = item;
    let ttl = if schema.meta.ttl {
        sent.shift_remove("ttl").and_then(|ttl| ttl.as_number())
    } else {
        None
    };
    let mut entity = schema.process(sent.clone(), context)?;
    // Not wrong here: `references` has seen it.
    let dangling: Vec<_> = schema
        .foreign()
        .filter(|(field, _, _)| matches!(entity.get(*field), Some(Value::String(_))))
        .collect();
    for (field, _, _) in dangling {
        entity.insert(field.to_owned(), object! { "id": DEFAULT_WORKSPACE }.into());
    }
    schema.validate(&entity, Mode::Insert, Some(&sent), None)?;
    if schema.name == "targets"
        && let Some(Value::String(target)) = entity.get_mut("target")
        && let Some(normal) = Address::target(target)
    {
        *target = normal;
    }
    if transform {
        entity = schema
            .transform(entity, &sent)
            .map_err(|why| object! { "@entity": vec![Value::from(why)] })?;
    }
    entity.retain(|name, _| {
        schema
            .record
            .fields
            .get(name)
            .is_none_or(|field| !field.transient)
    });
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a lifetime, whose range is no matter"
    )]
    let expires = ttl
        .filter(|seconds| *seconds > 0.0)
        .map(|seconds| now() + seconds as u64);
    Ok(Entity {
        schema,
        id,
        entity,
        expires,
    })
}

/// Checks that references lead somewhere and that nothing is declared twice.
fn references(items: &[Item], known: &Known, errors: &mut Object) {
    let mut seen: BTreeSet<(&str, &str, &str)> = BTreeSet::new();
    // Found when all else is sound, and told by the name of the entity instead of its place.
    let mut shared = Object::new();
    for item in items {
        give_way();
        let schema = item.schema;
        let named = schema.meta.endpoint_key.as_deref();
        let keys = schema.unique().filter(|(_, field)| !field.auto);
        let unique = keys.filter_map(|(name, _)| Some((name, item.sent.get(name)?.as_str()?)));
        for (key, value) in unique.chain([("primary key", item.id.as_str())]) {
            if seen.insert((&schema.name, key, value)) {
                continue;
            }
            let why = format!(
                "uniqueness violation: '{}' entity with {key} set to '{}' already declared",
                schema.name,
                schema.shown(key, value)
            );
            if Some(key) == named || key == "primary key" {
                place(errors, &item.path, why.into());
                break;
            }
            let path = [&schema.name, item.name()].map(|name| Step::Name(name.to_owned()));
            place(&mut shared, &path, why.into());
        }
        for (field, parent, _) in schema.foreign() {
            let Some(value) = item.sent.get(field).filter(|value| !value.is_null()) else {
                continue;
            };
            let name =
                library::entity(parent).and_then(|schema| schema.meta.endpoint_key.as_deref());
            let Some(parent) = library::entity(parent) else {
                continue;
            };
            if reference(value, name)
                .is_some_and(|reference| known.find(&parent.name, reference).is_some())
            {
                continue;
            }
            let shown = value
                .as_str()
                .map_or_else(|| value.to_json(), ToOwned::to_owned);
            let why = format!(
                "invalid reference '{field}: {shown}' (no such entry in '{}')",
                parent.name
            );
            let at = item.name().to_owned();
            let table = errors
                .entry(schema.name.clone())
                .or_insert_with(|| Object::new().into());
            if let Value::Object(table) = table {
                match table.entry(at).or_insert_with(|| Vec::new().into()) {
                    Value::Array(list) => list.push(why.into()),
                    other => *other = vec![other.clone(), why.into()].into(),
                }
            }
        }
    }
    if errors.is_empty() {
        *errors = shared;
    }
}
