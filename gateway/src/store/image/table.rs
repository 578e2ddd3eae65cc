//! The rows of one kind of entity, and what they are found by.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use carbyne_engine::runtime::background::{drop_each, give_way};

use super::super::Tags;
use super::Stored;
use crate::schema::{Kind, Schema};
use crate::value::{Object, Value};

/// The rows of one kind of entity. Everything that leads to a row shares its id.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) rows: BTreeMap<Arc<str>, Stored>,
    /// Unique keys, as text, to primary keys.
    pub(super) unique: HashMap<Box<str>, Arc<str>>,
    /// `(foreign field, parent's id, id)`.
    children: BTreeSet<(&'static str, Box<str>, Arc<str>)>,
    /// `(tag, id)`.
    pub(super) tags: BTreeSet<(Box<str>, Arc<str>)>,
}

/// What a row is found by.
#[derive(Debug)]
pub(super) struct Facts {
    /// Unique keys, as text.
    pub(super) keys: Vec<Box<str>>,
    pub(super) parents: Vec<Reference>,
    tags: Vec<Box<str>>,
}

/// Another row that a row refers to.
#[derive(Clone, Debug)]
pub(super) struct Reference {
    pub(super) field: &'static str,
    /// The kind of entity.
    pub(super) parent: &'static str,
    pub(super) id: Box<str>,
}

/// A whole configuration is let go of in the background, row by row.
impl Drop for Table {
    fn drop(&mut self) {
        while self.rows.pop_first().is_some() {
            give_way();
        }
        drop_each(self.unique.drain());
        while self.children.pop_first().is_some() {
            give_way();
        }
    }
}

impl Table {
    pub(super) fn children_of<'a>(
        &'a self,
        field: &'a str,
        parent: &str,
    ) -> BTreeSet<&'a Arc<str>> {
        let children: &'a BTreeSet<(&'a str, Box<str>, Arc<str>)> = &self.children;
        let range = children.range((field, parent.into(), Arc::from(""))..);
        range
            .take_while(|(name, id, _)| *name == field && **id == *parent)
            .map(|(_, _, id)| id)
            .collect()
    }

    fn with_tag(&self, tag: &str) -> BTreeSet<&Arc<str>> {
        let range = self.tags.range((tag.into(), Arc::from(""))..);
        range
            .take_while(|(name, _)| **name == *tag)
            .map(|(_, id)| id)
            .collect()
    }

    pub(super) fn tagged(&self, tags: &Tags) -> BTreeSet<&Arc<str>> {
        match tags {
            Tags::Any(tags) => tags.iter().flat_map(|tag| self.with_tag(tag)).collect(),
            Tags::All(tags) => {
                let sets = tags.iter().map(|tag| self.with_tag(tag));
                sets.reduce(|all, more| all.intersection(&more).copied().collect())
                    .unwrap_or_default()
            }
        }
    }

    pub(super) fn index(&mut self, id: &Arc<str>, facts: Facts) {
        let keys = facts.keys.into_iter();
        self.unique.extend(keys.map(|key| (key, id.clone())));
        let parents = facts.parents.into_iter();
        self.children
            .extend(parents.map(|parent| (parent.field, parent.id, id.clone())));
        let tags = facts.tags.into_iter();
        self.tags.extend(tags.map(|tag| (tag, id.clone())));
    }

    pub(super) fn unindex(&mut self, id: &Arc<str>, facts: Facts) {
        for key in facts.keys {
            if self.unique.get(&key).is_some_and(|owner| owner == id) {
                self.unique.remove(&key);
            }
        }
        for parent in facts.parents {
            self.children.remove(&(parent.field, parent.id, id.clone()));
        }
        for tag in facts.tags {
            self.tags.remove(&(tag, id.clone()));
        }
    }
}

impl Facts {
    pub(super) fn of(schema: &'static Schema, entity: &Object) -> Self {
        let tags = entity.get("tags").and_then(Value::as_array);
        let tags = tags.unwrap_or_default().iter().filter_map(Value::as_str);
        let parents = schema.foreign().filter_map(|(field, parent, _)| {
            let id = entity.get(field)?.get("id")?.as_str()?.into();
            Some(Reference { field, parent, id })
        });
        let keys = unique(schema).filter_map(|names| key_of(schema, entity, &names));
        Self {
            keys: keys.map(Into::into).collect(),
            parents: parents.collect(),
            tags: tags.map(Into::into).collect(),
        }
    }
}

/// Which fields are unique: by themselves, or together.
fn unique(schema: &'static Schema) -> impl Iterator<Item = Vec<&'static str>> {
    let together = schema.meta.cache_key.iter().map(String::as_str);
    let together = (schema.meta.cache_key.len() > 1).then(|| together.collect());
    let alone = schema.unique().map(|(name, field)| {
        debug_assert!(
            !matches!(field.kind, Kind::Record(_)),
            "records are never unique"
        );
        vec![name]
    });
    alone.chain(together)
}

/// The unique key that these fields of an entity make, as text.
fn key_of(schema: &Schema, entity: &Object, names: &[&str]) -> Option<String> {
    match names {
        [name] => unique_key(name, entity.get(*name)?),
        _ => cache_key(schema, entity),
    }
}

/// The fields of an entity that make a unique key.
pub(super) fn shown(schema: &'static Schema, entity: &Object, key: &str) -> Object {
    let names = unique(schema).find(|names| key_of(schema, entity, names).as_deref() == Some(key));
    let value = |name: &str| {
        (
            name.to_owned(),
            entity.get(name).cloned().unwrap_or_default(),
        )
    };
    names.unwrap_or_default().into_iter().map(value).collect()
}

/// Null is never unique.
pub(super) fn unique_key(name: &str, value: &Value) -> Option<String> {
    (!value.is_null()).then(|| format!("{name}={}", scalar(Some(value))))
}

/// Fields that are unique together; null is a value there.
pub(super) fn cache_key(schema: &Schema, entity: &Object) -> Option<String> {
    match schema.meta.cache_key.as_slice() {
        [] => None,
        [name] => unique_key(name, entity.get(name)?),
        names => Some(
            names
                .iter()
                .map(|name| format!("{name}={}\u{1}", scalar(entity.get(name))))
                .collect(),
        ),
    }
}

fn scalar(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => match value.get("id").and_then(Value::as_str) {
            Some(id) => id.to_owned(),
            None => value.to_json(),
        },
    }
}
