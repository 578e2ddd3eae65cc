//! Rows in memory: compact JSON, by primary key, with an index for each thing they are asked by.
//! Constraints are kept here, so that every store that has an image has the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::offset;
use super::{Change, Changed, Key, Page, Query, Row, StoreError, TagPage, Tagged, now};
use crate::schema::{OnDelete, Schema, library};
use crate::value::{Object, Value};

mod table;

use table::{Table, cache_key, keys, unique_key};

/// All rows of a store.
#[derive(Debug, Default)]
pub(super) struct Image {
    tables: HashMap<&'static str, Table>,
    /// Rows that expire, by when.
    expiring: BTreeSet<(u64, &'static str, String)>,
}

/// A row as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stored {
    pub(super) json: Box<str>,
    pub(super) revision: u64,
    pub(super) expires: Option<u64>,
}

/// What a commit did to a row, with what was there before.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) schema: &'static Schema,
    pub(super) id: String,
    pub(super) after: Option<Stored>,
    before: Option<Stored>,
}

impl Step {
    pub(super) fn changed(&self) -> Changed {
        Changed {
            entity: self.schema.name.clone(),
            id: self.id.clone(),
            deleted: self.after.is_none(),
        }
    }
}

type Result<T> = std::result::Result<T, StoreError>;

impl Image {
    pub(super) fn get(&self, schema: &Schema, id: &str) -> Result<Option<Row>> {
        let stored = self
            .tables
            .get(schema.name.as_str())
            .and_then(|table| table.rows.get(id));
        stored
            .filter(|stored| stored.is_alive())
            .map(|stored| stored.row(id))
            .transpose()
    }

    pub(super) fn find(&self, schema: &Schema, key: &Key) -> Result<Option<Row>> {
        let key = match key {
            Key::Cache(values) => cache_key(schema, values),
            Key::Field(name, value) => unique_key(name, value),
        };
        let table = self.tables.get(schema.name.as_str());
        match key.and_then(|key| table?.unique.get(&key)) {
            Some(id) => self.get(schema, id),
            None => Ok(None),
        }
    }

    pub(super) fn page(&self, schema: &Schema, query: &Query) -> Result<Page> {
        let from = offset::decode(query.offset.as_deref())?.unwrap_or_default();
        let Some(table) = self.tables.get(schema.name.as_str()) else {
            return Ok(Page::default());
        };
        let selected = match (&query.tags, &query.parent) {
            (None, None) => None,
            (tags, parent) => {
                let mut ids = parent
                    .as_ref()
                    .map(|(field, id)| table.children_of(field, id));
                if let Some(tags) = tags {
                    let tagged = table.tagged(tags);
                    ids = Some(ids.map_or_else(
                        || tagged.clone(),
                        |ids| ids.intersection(&tagged).copied().collect(),
                    ));
                }
                ids
            }
        };
        let mut page = Page::default();
        let mut take = |id: &String, stored: &Stored| -> Result<bool> {
            if !stored.is_alive() {
                return Ok(true);
            }
            if page.rows.len() == query.size {
                page.offset = Some(offset::encode(id));
                return Ok(false);
            }
            page.rows.push(stored.row(id)?);
            Ok(true)
        };
        match selected {
            None => {
                for (id, stored) in table.rows.range(from..) {
                    if !take(id, stored)? {
                        break;
                    }
                }
            }
            Some(ids) => {
                for id in ids.range::<&String, _>(&from..) {
                    if let Some(stored) = table.rows.get(*id)
                        && !take(id, stored)?
                    {
                        break;
                    }
                }
            }
        }
        Ok(page)
    }

    pub(super) fn tags(
        &self,
        tag: Option<&str>,
        size: usize,
        offset: Option<&str>,
    ) -> Result<TagPage> {
        let from = offset::decode(offset)?.unwrap_or_default();
        let mut all = BTreeMap::new();
        for (entity, table) in &self.tables {
            for (name, id) in table
                .tags
                .iter()
                .filter(|(name, _)| tag.is_none_or(|tag| tag == name))
            {
                let tagged = Tagged {
                    tag: name.clone(),
                    entity: (*entity).to_owned(),
                    id: id.clone(),
                };
                if table.rows.get(id).is_some_and(Stored::is_alive) {
                    all.insert(format!("{id}/{entity}/{name}"), tagged);
                }
            }
        }
        let mut page = TagPage::default();
        for (key, tagged) in all.range(from..) {
            if page.tags.len() == size {
                page.offset = Some(offset::encode(key));
                break;
            }
            page.tags.push(tagged.clone());
        }
        Ok(page)
    }

    /// Makes all changes or none. What expired goes first: its keys are free again.
    pub(super) fn commit(&mut self, changes: Vec<Change>, revision: u64) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        let done = self.expire(&mut steps).and_then(|()| {
            for change in changes {
                self.change(change, revision, &mut steps)?;
            }
            self.check_references(&steps)
        });
        match done {
            Ok(()) => Ok(steps),
            Err(error) => {
                self.undo(steps);
                Err(error)
            }
        }
    }

    /// Takes back what a commit did.
    pub(super) fn undo(&mut self, steps: Vec<Step>) {
        for step in steps.into_iter().rev() {
            self.set(step.schema, &step.id, step.before);
        }
    }

    /// Puts a row that was stored before, without a question.
    pub(super) fn load(&mut self, schema: &'static Schema, id: &str, stored: Stored) {
        self.set(schema, id, Some(stored));
    }

    fn expire(&mut self, steps: &mut Vec<Step>) -> Result<()> {
        let due: Vec<_> = self
            .expiring
            .range(..=(now(), "\u{10ffff}", String::new()))
            .cloned()
            .collect();
        for (_, entity, id) in due {
            if let Some(schema) = library::entity(entity) {
                self.delete(schema, id, steps)?;
            }
        }
        Ok(())
    }

    fn change(&mut self, change: Change, revision: u64, steps: &mut Vec<Step>) -> Result<()> {
        match change {
            Change::Delete { schema, id } => self.delete(schema, id, steps),
            Change::Insert {
                schema,
                id,
                entity,
                expires,
            } => {
                if self.stored(schema, &id).is_some() {
                    return Err(StoreError::PrimaryKey {
                        field: schema.key().into(),
                        id,
                    });
                }
                self.put(
                    schema,
                    id,
                    &entity,
                    Stored::new(schema, &entity, revision, expires),
                    steps,
                )
            }
            Change::Replace {
                schema,
                id,
                entity,
                expires,
                seen,
            } => {
                if self
                    .stored(schema, &id)
                    .is_none_or(|stored| stored.revision != seen)
                {
                    return Err(StoreError::Conflict);
                }
                self.put(
                    schema,
                    id,
                    &entity,
                    Stored::new(schema, &entity, revision, expires),
                    steps,
                )
            }
        }
    }

    fn stored(&self, schema: &Schema, id: &str) -> Option<&Stored> {
        self.tables.get(schema.name.as_str())?.rows.get(id)
    }

    fn put(
        &mut self,
        schema: &'static Schema,
        id: String,
        entity: &Object,
        stored: Stored,
        steps: &mut Vec<Step>,
    ) -> Result<()> {
        if let Some(table) = self.tables.get(schema.name.as_str()) {
            for (key, shown) in keys(schema, entity) {
                if table.unique.get(&key).is_some_and(|other| *other != id) {
                    return Err(StoreError::Unique(schema.redacted(&shown)));
                }
            }
        }
        self.step(schema, id, Some(stored), steps);
        Ok(())
    }

    /// Deletes a row and what belongs to it.
    fn delete(&mut self, schema: &'static Schema, id: String, steps: &mut Vec<Step>) -> Result<()> {
        if self.stored(schema, &id).is_none() {
            return Ok(());
        }
        for child in library::entities() {
            for (field, parent, on_delete) in child.foreign() {
                if parent != schema.name {
                    continue;
                }
                let children: Vec<String> = match self.tables.get(child.name.as_str()) {
                    Some(table) => table.children_of(field, &id).into_iter().cloned().collect(),
                    None => Vec::new(),
                };
                for row in children {
                    if on_delete == OnDelete::Restrict {
                        return Err(StoreError::Referenced {
                            parent: schema.name.clone(),
                            child: child.name.clone(),
                        });
                    }
                    self.delete(child, row, steps)?;
                }
            }
        }
        self.step(schema, id, None, steps);
        Ok(())
    }

    /// References are looked at when all is done, so that the order of changes does not matter.
    fn check_references(&self, steps: &[Step]) -> Result<()> {
        for step in steps {
            let Some(stored) = self.stored(step.schema, &step.id) else {
                continue;
            };
            let entity = stored.entity()?;
            for (field, parent, _) in step.schema.foreign() {
                let Some(id) = entity
                    .get(field)
                    .and_then(|value| value.get("id"))
                    .and_then(Value::as_str)
                else {
                    continue;
                };
                let known = library::entity(parent).and_then(|schema| self.stored(schema, id));
                if !known.is_some_and(Stored::is_alive) {
                    return Err(StoreError::Dangling {
                        field: field.into(),
                        id: id.into(),
                        parent: parent.into(),
                    });
                }
            }
        }
        Ok(())
    }

    fn step(
        &mut self,
        schema: &'static Schema,
        id: String,
        after: Option<Stored>,
        steps: &mut Vec<Step>,
    ) {
        let before = self.set(schema, &id, after.clone());
        steps.push(Step {
            schema,
            id,
            after,
            before,
        });
    }

    /// Puts or removes a row with its places in the indexes; what was there before comes back.
    fn set(&mut self, schema: &'static Schema, id: &str, stored: Option<Stored>) -> Option<Stored> {
        let name = schema.name.as_str();
        let table = self.tables.entry(name).or_default();
        let before = table.rows.remove(id);
        if let Some(before) = &before {
            table.unindex(schema, id, before);
            if let Some(when) = before.expires {
                self.expiring.remove(&(when, name, id.to_owned()));
            }
        }
        if let Some(stored) = stored {
            table.index(schema, id, &stored);
            if let Some(when) = stored.expires {
                self.expiring.insert((when, name, id.to_owned()));
            }
            table.rows.insert(id.to_owned(), stored);
        }
        before
    }
}

impl Stored {
    pub(super) fn new(
        schema: &Schema,
        entity: &Object,
        revision: u64,
        expires: Option<u64>,
    ) -> Self {
        // A null is left out unless the field would get a default when it is read.
        let defaults = |name: &String| {
            let default = schema
                .record
                .fields
                .get(name)
                .and_then(|field| field.default.as_ref());
            default.is_some_and(|default| !default.is_null())
        };
        let kept = entity
            .iter()
            .filter(|(name, value)| !value.is_null() || defaults(name));
        let kept: Object = kept
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        Self {
            json: Value::from(kept).to_json().into(),
            revision,
            expires,
        }
    }

    fn is_alive(&self) -> bool {
        self.expires.is_none_or(|expires| expires > now())
    }

    fn entity(&self) -> Result<Object> {
        match Value::from_json(self.json.as_bytes()) {
            Ok(Value::Object(entity)) => Ok(entity),
            _ => Err(StoreError::Unavailable(
                "a stored row is no JSON object".into(),
            )),
        }
    }

    fn row(&self, id: &str) -> Result<Row> {
        Ok(Row {
            id: id.into(),
            revision: self.revision,
            expires: self.expires,
            entity: self.entity()?,
        })
    }
}
