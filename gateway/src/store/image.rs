//! Rows in memory: compact JSON, by primary key, with an index for each thing they are asked by.
//! Constraints are kept here, so that every store that has an image has the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound::{Included, Unbounded};
use std::sync::Arc;

use carbyne_engine::runtime::background::give_way;

use super::offset;
use super::{Change, Changed, Key, Page, Query, Row, StoreError, TagPage, Tagged, now};
use crate::schema::{OnDelete, Schema, library};
use crate::value::{Object, Value};

mod table;

use table::{Facts, Reference, Table, cache_key, shown, unique_key};

/// All rows of a store.
#[derive(Debug, Default)]
pub(super) struct Image {
    tables: HashMap<&'static str, Table>,
    /// Rows that expire, by when.
    expiring: BTreeSet<(u64, &'static str, Arc<str>)>,
    /// The image whose place this one takes: what is the same in both is held once.
    before: Option<Arc<Self>>,
}

/// A row as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stored {
    pub(super) json: Arc<str>,
    pub(super) revision: u64,
    pub(super) expires: Option<u64>,
}

/// What a commit did to a row, with what was there before.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) schema: &'static Schema,
    pub(super) id: Arc<str>,
    pub(super) after: Option<Stored>,
    before: Option<Stored>,
    references: Vec<Reference>,
}

impl Step {
    pub(super) fn changed(&self) -> Changed {
        Changed {
            entity: self.schema.name.clone(),
            id: self.id.as_ref().into(),
            deleted: self.after.is_none(),
        }
    }
}

type Result<T> = std::result::Result<T, StoreError>;

impl Image {
    pub(super) fn get(&self, schema: &Schema, id: &str) -> Result<Option<Row>> {
        let table = self.tables.get(schema.name.as_str());
        table
            .and_then(|table| table.rows.get_key_value(id))
            .filter(|(_, stored)| stored.is_alive())
            .map(|(id, stored)| stored.row(id))
            .transpose()
    }

    pub(super) fn find(&self, schema: &Schema, key: &Key) -> Result<Option<Row>> {
        let key = match key {
            Key::Cache(values) => cache_key(schema, values),
            Key::Field(name, value) => unique_key(name, value),
        };
        let table = self.tables.get(schema.name.as_str());
        match key.and_then(|key| table?.unique.get(key.as_str())) {
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
        let mut take = |id: &Arc<str>, stored: &Stored| -> Result<bool> {
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
                for (id, stored) in table.rows.range::<str, _>((Included(&*from), Unbounded)) {
                    if !take(id, stored)? {
                        break;
                    }
                }
            }
            Some(ids) => {
                for id in ids.into_iter().skip_while(|id| ***id < *from) {
                    if let Some(stored) = table.rows.get(id)
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
                .filter(|(name, _)| tag.is_none_or(|tag| tag == &**name))
            {
                let tagged = Tagged {
                    tag: name.as_ref().into(),
                    entity: (*entity).to_owned(),
                    id: id.as_ref().into(),
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

    /// An empty image that takes the place of another.
    pub(super) fn in_place_of(before: Arc<Self>) -> Self {
        Self {
            before: Some(before),
            ..Self::default()
        }
    }

    /// Lets go of the image whose place this one took.
    pub(super) fn finish(mut self) -> Self {
        self.before = None;
        self
    }

    /// What [`commit`](Self::commit) would do, without doing it.
    pub(super) fn rehearse(
        &mut self,
        changes: impl IntoIterator<Item = Change>,
        revision: u64,
    ) -> Result<Vec<Step>> {
        let steps = self.commit(changes, revision)?;
        self.undo(&steps);
        Ok(steps)
    }

    /// Makes all changes or none. What expired goes first: its keys are free again.
    pub(super) fn commit(
        &mut self,
        changes: impl IntoIterator<Item = Change>,
        revision: u64,
    ) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        let done = self.expire(&mut steps).and_then(|()| {
            for change in changes {
                give_way();
                self.change(change, revision, &mut steps)?;
            }
            self.check_references(&steps)
        });
        match done {
            Ok(()) => Ok(steps),
            Err(error) => {
                self.undo(&steps);
                Err(error)
            }
        }
    }

    fn undo(&mut self, steps: &[Step]) {
        for step in steps.iter().rev() {
            self.restore(step, step.before.as_ref());
        }
    }

    /// Does what was rehearsed.
    pub(super) fn redo(&mut self, steps: &[Step]) {
        for step in steps {
            self.restore(step, step.after.as_ref());
        }
    }

    /// Makes a row what it was before or after a step. It was stored then, so it can be read.
    fn restore(&mut self, step: &Step, stored: Option<&Stored>) {
        let stored = stored.and_then(|stored| {
            let facts = Facts::of(step.schema, &stored.entity().ok()?);
            Some((stored.clone(), facts))
        });
        self.set(step.schema, &step.id, stored);
    }

    /// Puts a row that was stored before, without a question.
    pub(super) fn load(&mut self, schema: &'static Schema, id: &str, stored: Stored) -> Result<()> {
        let facts = Facts::of(schema, &stored.entity()?);
        self.set(schema, &id.into(), Some((stored, facts)));
        Ok(())
    }

    fn expire(&mut self, steps: &mut Vec<Step>) -> Result<()> {
        let due: Vec<_> = self
            .expiring
            .range(..=(now(), "\u{10ffff}", Arc::from("")))
            .cloned()
            .collect();
        for (_, entity, id) in due {
            if let Some(schema) = library::entity(entity) {
                self.delete(schema, &id, steps)?;
            }
        }
        Ok(())
    }

    fn change(&mut self, change: Change, revision: u64, steps: &mut Vec<Step>) -> Result<()> {
        match change {
            Change::Delete { schema, id } => self.delete(schema, &id, steps),
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
                let stored = Stored::new(schema, &entity, revision, expires);
                self.put(schema, &id, &entity, stored, steps)
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
                    .is_none_or(|(_, stored)| stored.revision != seen)
                {
                    return Err(StoreError::Conflict);
                }
                let stored = Stored::new(schema, &entity, revision, expires);
                self.put(schema, &id, &entity, stored, steps)
            }
        }
    }

    fn stored(&self, schema: &Schema, id: &str) -> Option<(&Arc<str>, &Stored)> {
        self.tables
            .get(schema.name.as_str())?
            .rows
            .get_key_value(id)
    }

    fn put(
        &mut self,
        schema: &'static Schema,
        id: &str,
        entity: &Object,
        mut stored: Stored,
        steps: &mut Vec<Step>,
    ) -> Result<()> {
        let facts = Facts::of(schema, entity);
        if let Some(table) = self.tables.get(schema.name.as_str()) {
            for key in &facts.keys {
                if table.unique.get(key).is_some_and(|other| **other != *id) {
                    let shown = shown(schema, entity, key);
                    return Err(StoreError::Unique(schema.redacted(&shown)));
                }
            }
        }
        let before = self.before.as_ref();
        let before = before.and_then(|before| before.stored(schema, id));
        if let Some((_, known)) = before
            && known.json == stored.json
        {
            stored.json = known.json.clone();
        }
        let id = match self.stored(schema, id).or(before) {
            Some((known, _)) => known.clone(),
            None => id.into(),
        };
        let references = facts.parents.clone();
        let before = self.set(schema, &id, Some((stored.clone(), facts)));
        steps.push(Step {
            schema,
            id,
            after: Some(stored),
            before,
            references,
        });
        Ok(())
    }

    /// Deletes a row and what belongs to it.
    fn delete(&mut self, schema: &'static Schema, id: &str, steps: &mut Vec<Step>) -> Result<()> {
        let Some((id, _)) = self.stored(schema, id) else {
            return Ok(());
        };
        let id = id.clone();
        for child in library::entities() {
            for (field, parent, on_delete) in child.foreign() {
                if parent != schema.name {
                    continue;
                }
                let children: Vec<Arc<str>> = match self.tables.get(child.name.as_str()) {
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
                    self.delete(child, &row, steps)?;
                }
            }
        }
        let before = self.set(schema, &id, None);
        steps.push(Step {
            schema,
            id,
            after: None,
            before,
            references: Vec::new(),
        });
        Ok(())
    }

    /// References are looked at when all is done, so that the order of changes does not matter.
    fn check_references(&self, steps: &[Step]) -> Result<()> {
        for step in steps {
            give_way();
            // What a later step of the same commit took away or wrote anew refers to nothing.
            let present = self.stored(step.schema, &step.id).map(|(_, stored)| stored);
            if present != step.after.as_ref() {
                continue;
            }
            for Reference { field, parent, id } in &step.references {
                let known = library::entity(parent).and_then(|schema| self.stored(schema, id));
                if !known.is_some_and(|(_, stored)| stored.is_alive()) {
                    return Err(StoreError::Dangling {
                        field: (*field).to_owned(),
                        id: id.as_ref().into(),
                        parent: (*parent).to_owned(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Puts or removes a row with its places in the indexes; what was there before comes back.
    fn set(
        &mut self,
        schema: &'static Schema,
        id: &Arc<str>,
        stored: Option<(Stored, Facts)>,
    ) -> Option<Stored> {
        let name = schema.name.as_str();
        let table = self.tables.entry(name).or_default();
        let before = table.rows.remove(id);
        if let Some(before) = &before {
            if let Ok(entity) = before.entity() {
                table.unindex(id, Facts::of(schema, &entity));
            }
            if let Some(when) = before.expires {
                self.expiring.remove(&(when, name, id.clone()));
            }
        }
        if let Some((stored, facts)) = stored {
            table.index(id, facts);
            if let Some(when) = stored.expires {
                self.expiring.insert((when, name, id.clone()));
            }
            table.rows.insert(id.clone(), stored);
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

    fn row(&self, id: &Arc<str>) -> Result<Row> {
        Ok(Row {
            id: id.clone(),
            revision: self.revision,
            expires: self.expires,
            entity: self.entity()?,
            json: self.json.clone(),
        })
    }
}
