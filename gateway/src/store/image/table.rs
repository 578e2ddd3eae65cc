//! The rows of one kind of entity, and what they are found by.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::Tags;
use super::Stored;
use crate::schema::{Kind, Schema};
use crate::value::{Object, Value};

/// The rows of one kind of entity.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) rows: BTreeMap<String, Stored>,
    /// Unique keys, as text, to primary keys.
    pub(super) unique: HashMap<String, String>,
    /// `(foreign field, parent's id, id)`.
    children: BTreeSet<(String, String, String)>,
    /// `(tag, id)`.
    pub(super) tags: BTreeSet<(String, String)>,
}

impl Table {
    pub(super) fn children_of(&self, field: &str, parent: &str) -> BTreeSet<&String> {
        let from = (field.to_owned(), parent.to_owned(), String::new());
        let range = self.children.range(from..);
        range
            .take_while(|(name, id, _)| name == field && id == parent)
            .map(|(_, _, id)| id)
            .collect()
    }

    fn with_tag(&self, tag: &str) -> BTreeSet<&String> {
        let range = self.tags.range((tag.to_owned(), String::new())..);
        range
            .take_while(|(name, _)| name == tag)
            .map(|(_, id)| id)
            .collect()
    }

    pub(super) fn tagged(&self, tags: &Tags) -> BTreeSet<&String> {
        match tags {
            Tags::Any(tags) => tags.iter().flat_map(|tag| self.with_tag(tag)).collect(),
            Tags::All(tags) => {
                let sets = tags.iter().map(|tag| self.with_tag(tag));
                sets.reduce(|all, more| all.intersection(&more).copied().collect())
                    .unwrap_or_default()
            }
        }
    }

    pub(super) fn index(&mut self, schema: &Schema, id: &str, stored: &Stored) {
        let Ok(entity) = stored.entity() else { return };
        for (key, _) in keys(schema, &entity) {
            self.unique.insert(key, id.to_owned());
        }
        for (field, _, _) in schema.foreign() {
            if let Some(parent) = entity
                .get(field)
                .and_then(|value| value.get("id"))
                .and_then(Value::as_str)
            {
                self.children
                    .insert((field.to_owned(), parent.to_owned(), id.to_owned()));
            }
        }
        for tag in tags_of(&entity) {
            self.tags.insert((tag.to_owned(), id.to_owned()));
        }
    }

    pub(super) fn unindex(&mut self, schema: &Schema, id: &str, stored: &Stored) {
        let Ok(entity) = stored.entity() else { return };
        for (key, _) in keys(schema, &entity) {
            if self.unique.get(&key).is_some_and(|owner| owner == id) {
                self.unique.remove(&key);
            }
        }
        for (field, _, _) in schema.foreign() {
            if let Some(parent) = entity
                .get(field)
                .and_then(|value| value.get("id"))
                .and_then(Value::as_str)
            {
                self.children
                    .remove(&(field.to_owned(), parent.to_owned(), id.to_owned()));
            }
        }
        for tag in tags_of(&entity) {
            self.tags.remove(&(tag.to_owned(), id.to_owned()));
        }
    }
}

fn tags_of(entity: &Object) -> impl Iterator<Item = &str> {
    entity
        .get("tags")
        .and_then(Value::as_array)
        .unwrap_or_default()
        .iter()
        .filter_map(Value::as_str)
}

/// The unique keys of an entity, as texts to look them up by and as objects to show.
pub(super) fn keys(schema: &Schema, entity: &Object) -> Vec<(String, Object)> {
    let mut keys = Vec::new();
    for (name, field) in schema.unique() {
        if let Some(value) = entity.get(name)
            && let Some(key) = unique_key(name, value)
        {
            let mut shown = Object::new();
            shown.insert(name.into(), value.clone());
            keys.push((key, shown));
        }
        debug_assert!(
            !matches!(field.kind, Kind::Record(_)),
            "records are never unique"
        );
    }
    if schema.meta.cache_key.len() > 1
        && let Some(key) = cache_key(schema, entity)
    {
        let value = |name: &String| (name.clone(), entity.get(name).cloned().unwrap_or_default());
        keys.push((key, schema.meta.cache_key.iter().map(value).collect()));
    }
    keys
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
