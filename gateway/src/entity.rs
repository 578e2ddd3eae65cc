//! Entities as the Admin API handles them: schema and store together, and Kong's rules that are in
//! neither.

use std::sync::Arc;

use crate::error::{Code, Error};
use crate::object;
use crate::schema::{Context, Mode, Schema, is_uuid, library};
use crate::store::{Change, Key, Query, Row, Store, StoreError, Tags, now};
use crate::value::{Object, Value, as_integer};

mod failure;
mod special;

use failure::{Failed, Verb, absent, busy, read_only, unavailable};

/// All entities of a store.
#[derive(Clone, Debug)]
pub struct Entities {
    store: Arc<dyn Store>,
}

/// Which entity is meant.
#[derive(Clone, Debug, PartialEq)]
pub enum Selector {
    By(String, Value),
    Id(String),
}

impl Selector {
    /// What a segment of a path names: an id, or the endpoint key's value.
    pub fn from_path(schema: &'static Schema, text: &str) -> Self {
        match &schema.meta.endpoint_key {
            Some(field) if !is_uuid(text) => {
                Self::By(field.clone(), schema.infer_value(field, text.into()))
            }
            _ => Self::Id(text.into()),
        }
    }
}

/// A page of entities.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    pub data: Vec<Value>,
    pub offset: Option<String>,
}

/// Which page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Paging {
    pub size: Option<f64>,
    pub offset: Option<String>,
    pub tags: Option<Tags>,
    pub parent: Option<(String, String)>,
}

/// How often a write is tried when others change the same row.
const TRIES: usize = 16;

type Result<T> = std::result::Result<T, Error>;

impl Entities {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The entity that is meant, as clients see it.
    pub async fn select(
        &self,
        schema: &'static Schema,
        selector: &Selector,
    ) -> Result<Option<Object>> {
        let Some(row) = self.row(schema, selector).await? else {
            return Ok(None);
        };
        let mut entity = self.shown(schema, &row)?;
        self.add_pseudo_fields(schema, &row.id, &mut entity).await?;
        Ok(Some(entity))
    }

    pub async fn page(&self, schema: &'static Schema, paging: Paging) -> Result<Listing> {
        let size = size(paging.size)?;
        let query = Query {
            size,
            offset: paging.offset,
            tags: paging.tags,
            parent: paging.parent,
        };
        let page = self.store.page(schema, &query).await.map_err(unavailable)?;
        let mut data = Vec::with_capacity(page.rows.len());
        for row in &page.rows {
            let mut entity = self.shown(schema, row)?;
            self.add_pseudo_fields(schema, &row.id, &mut entity).await?;
            data.push(entity.into());
        }
        Ok(Listing {
            data,
            offset: page.offset,
        })
    }

    /// Every entity of a kind.
    pub async fn all(&self, schema: &'static Schema) -> Result<Vec<Value>> {
        let mut paging = Paging {
            size: Some(1000.0),
            ..Paging::default()
        };
        let mut all = Vec::new();
        loop {
            let page = self.page(schema, paging.clone()).await?;
            all.extend(page.data);
            match page.offset {
                Some(offset) => paging.offset = Some(offset),
                None => return Ok(all),
            }
        }
    }

    pub async fn insert(&self, schema: &'static Schema, mut sent: Object) -> Result<Object> {
        let ttl = ttl(schema, &mut sent)?;
        self.prepare(schema, &mut sent, None).await?;
        let entity = processed(schema, &sent, Context::Insert)?;
        let entity = self.resolve(schema, entity).await?;
        valid(schema, &entity, Mode::Insert, &sent, None)?;
        let names = self.server_names(schema, &sent, None).await?;
        let entity = transformed(schema, entity, &sent)?;
        let id = identity(schema, &entity);
        let insert = Change::Insert {
            schema,
            id: id.clone(),
            entity,
            expires: expiry(ttl),
        };
        let mut changes = vec![insert];
        self.change_server_names(&id, names, &mut changes).await?;
        self.commit(changes, schema, Verb::Create, None).await?;
        self.written(schema, id).await
    }

    pub async fn update(
        &self,
        schema: &'static Schema,
        selector: &Selector,
        mut sent: Object,
    ) -> Result<Object> {
        let ttl = ttl(schema, &mut sent)?;
        self.prepare(schema, &mut sent, Some(selector)).await?;
        for _ in 0..TRIES {
            let change = processed(schema, &sent, Context::Update)?;
            let row = self
                .row(schema, selector)
                .await?
                .ok_or_else(|| absent(schema, selector))?;
            let before = schema.process(row.entity.clone(), Context::Select { shorthands: false });
            let before = before.map_err(Error::schema_violation)?;
            let entity = self.resolve(schema, schema.merge(&change, &before)).await?;
            valid(schema, &entity, Mode::Update, &sent, Some(&before))?;
            let names = self.server_names(schema, &sent, Some(&row.id)).await?;
            let mut entity = transformed(schema, entity, &sent)?;
            entity.insert(schema.key().into(), row.id.as_ref().into());
            let expires = if ttl.is_some() {
                expiry(ttl)
            } else {
                row.expires
            };
            let replace = Change::Replace {
                schema,
                id: row.id.as_ref().into(),
                entity,
                expires,
                seen: row.revision,
            };
            let mut changes = vec![replace];
            self.change_server_names(&row.id, names, &mut changes)
                .await?;
            match self
                .commit(changes, schema, Verb::Update, Some(selector))
                .await
            {
                Err(Failed::Conflict) => {}
                Err(Failed::Error(error)) => return Err(error),
                Ok(()) => return self.written(schema, row.id.as_ref().into()).await,
            }
        }
        Err(busy())
    }

    pub async fn upsert(
        &self,
        schema: &'static Schema,
        selector: &Selector,
        mut sent: Object,
    ) -> Result<Object> {
        let ttl = ttl(schema, &mut sent)?;
        self.prepare(schema, &mut sent, Some(selector)).await?;
        match selector {
            Selector::Id(id) => sent.insert(schema.key().into(), id.as_str().into()),
            Selector::By(field, value) => sent.insert(field.clone(), value.clone()),
        };
        for _ in 0..TRIES {
            let row = self.row(schema, selector).await?;
            let entity = processed(schema, &sent, Context::Upsert)?;
            let entity = self.resolve(schema, entity).await?;
            valid(schema, &entity, Mode::Insert, &sent, None)?;
            let id = row
                .as_ref()
                .map_or_else(|| identity(schema, &entity), |row| row.id.as_ref().into());
            let names = self.server_names(schema, &sent, Some(&id)).await?;
            let mut entity = transformed(schema, entity, &sent)?;
            entity.insert(schema.key().into(), id.as_str().into());
            let expires = expiry(ttl);
            let change = match row {
                Some(row) => Change::Replace {
                    schema,
                    id: id.clone(),
                    entity,
                    expires,
                    seen: row.revision,
                },
                None => Change::Insert {
                    schema,
                    id: id.clone(),
                    entity,
                    expires,
                },
            };
            let mut changes = vec![change];
            self.change_server_names(&id, names, &mut changes).await?;
            match self
                .commit(changes, schema, Verb::Upsert, Some(selector))
                .await
            {
                Err(Failed::Conflict) => {}
                Err(Failed::Error(error)) => return Err(error),
                Ok(()) => return self.written(schema, id).await,
            }
        }
        Err(busy())
    }

    /// Deletes an entity; one that is not there is deleted already.
    pub async fn delete(&self, schema: &'static Schema, selector: &Selector) -> Result<()> {
        let Some(row) = self.row(schema, selector).await? else {
            return Ok(());
        };
        let mut changes = self.before_delete(schema, &row.id).await?;
        changes.push(Change::Delete {
            schema,
            id: row.id.as_ref().into(),
        });
        Ok(self
            .commit(changes, schema, Verb::Remove, Some(selector))
            .await?)
    }

    /// What validates as a new entity would. Nothing is looked up and nothing is written.
    pub fn validate(schema: &Schema, sent: Object) -> Result<()> {
        let entity = schema
            .process(sent, Context::Insert)
            .map_err(Error::schema_violation)?;
        schema
            .validate(&entity, Mode::Insert, None, None)
            .map_err(Error::schema_violation)
    }

    async fn row(&self, schema: &'static Schema, selector: &Selector) -> Result<Option<Row>> {
        match selector {
            Selector::Id(id) => {
                let mut key = Object::new();
                key.insert(schema.key().into(), id.as_str().into());
                schema
                    .validate_primary_key(Some(&key))
                    .map_err(Error::invalid_primary_key)?;
                // UUIDs are kept in lower case, as PostgreSQL does.
                let id = if is_uuid(id) {
                    id.to_ascii_lowercase()
                } else {
                    id.clone()
                };
                self.store.get(schema, &id).await.map_err(unavailable)
            }
            Selector::By(field, value) => {
                schema
                    .validate_value(field, value)
                    .map_err(|why| Error::invalid_unique(field, &why))?;
                if let Some(field) = schema.record.fields.get(field)
                    && !field.unique
                {
                    return Ok(None);
                }
                let key = Key::Field(field.clone(), value.clone());
                self.store.find(schema, &key).await.map_err(unavailable)
            }
        }
    }

    /// A row as clients see it.
    fn shown(&self, schema: &'static Schema, row: &Row) -> Result<Object> {
        let context = Context::Select { shorthands: true };
        let mut entity = schema
            .process(row.entity.clone(), context)
            .map_err(Error::schema_violation)?;
        if schema.meta.ttl {
            // Of the second that is running, nothing is left: whole seconds, as Kong's `FLOOR`.
            let left = row.expires.map(|expires| expires.saturating_sub(now() + 1));
            let left = left.and_then(|left| u32::try_from(left).ok());
            entity.insert("ttl".into(), left.map_or(Value::Null, Value::from));
        }
        Ok(entity)
    }

    async fn written(&self, schema: &'static Schema, id: String) -> Result<Object> {
        let selector = Selector::Id(id);
        self.select(schema, &selector)
            .await?
            .ok_or_else(|| absent(schema, &selector))
    }

    /// Foreign keys given by another unique field become primary keys.
    async fn resolve(&self, schema: &'static Schema, mut entity: Object) -> Result<Object> {
        let mut unresolved = Vec::new();
        for (name, parent, _) in schema.foreign() {
            let Some(parent) = library::entity(parent) else {
                continue;
            };
            let Some(Value::Object(given)) = entity.get(name) else {
                continue;
            };
            if parent.validate_primary_key(Some(given)).is_ok() {
                continue;
            }
            let mut failed = Vec::new();
            let mut found = None;
            for (unique, _) in parent.unique() {
                let Some(value) = given.get(unique).filter(|value| !value.is_null()) else {
                    continue;
                };
                if parent.validate_value(unique, value).is_err() {
                    continue;
                }
                let key = Key::Field(unique.into(), value.clone());
                if let Some(row) = self.store.find(parent, &key).await.map_err(unavailable)? {
                    found = Some(row.id.as_ref().to_owned());
                    break;
                }
                let value = value
                    .as_str()
                    .map_or_else(|| value.to_json(), ToOwned::to_owned);
                failed.push((
                    name.to_owned(),
                    unique.to_owned(),
                    parent.shown(unique, &value).to_owned(),
                    parent.name.clone(),
                ));
            }
            match found {
                Some(id) => drop(entity.insert(name.to_owned(), object! { "id": id }.into())),
                None => unresolved.extend(failed),
            }
        }
        if unresolved.is_empty() {
            Ok(entity)
        } else {
            Err(Error::foreign_keys_unresolved(&unresolved))
        }
    }

    async fn commit(
        &self,
        changes: Vec<Change>,
        schema: &'static Schema,
        verb: Verb,
        selector: Option<&Selector>,
    ) -> std::result::Result<(), Failed> {
        let Err(error) = self.store.commit(changes).await else {
            return Ok(());
        };
        Err(Failed::Error(match error {
            StoreError::Conflict => return Err(Failed::Conflict),
            StoreError::ReadOnly => read_only(schema, verb, selector),
            StoreError::PrimaryKey { field, id } => {
                let mut key = Object::new();
                key.insert(field, id.into());
                Error::primary_key_violation(key)
            }
            StoreError::Unique(key) => Error::unique_violation(key),
            StoreError::Dangling { field, id, parent } => {
                Error::dangling_reference(&field, object! { "id": id }, &parent)
            }
            StoreError::Referenced { parent, child } => Error::still_referenced(&parent, &child),
            error => unavailable(error),
        }))
    }
}

fn processed(schema: &Schema, sent: &Object, context: Context) -> Result<Object> {
    schema
        .process(sent.clone(), context)
        .map_err(Error::schema_violation)
}

fn valid(
    schema: &Schema,
    entity: &Object,
    mode: Mode,
    sent: &Object,
    before: Option<&Object>,
) -> Result<()> {
    schema
        .validate(entity, mode, Some(sent), before)
        .map_err(Error::schema_violation)
}

/// The entity as it is stored.
fn transformed(schema: &Schema, entity: Object, sent: &Object) -> Result<Object> {
    let mut entity = schema
        .transform(entity, sent)
        .map_err(|why| Error::new(Code::TransformationError, why))?;
    entity.retain(|name, _| {
        schema
            .record
            .fields
            .get(name)
            .is_none_or(|field| !field.transient)
    });
    if let Some(Value::String(id)) = entity.get_mut("id") {
        id.make_ascii_lowercase();
    }
    Ok(entity)
}

fn identity(schema: &Schema, entity: &Object) -> String {
    let id = entity
        .get(schema.key())
        .and_then(Value::as_str)
        .unwrap_or_default();
    if is_uuid(id) {
        id.to_ascii_lowercase()
    } else {
        id.into()
    }
}

fn size(size: Option<f64>) -> Result<usize> {
    let Some(size) = size else { return Ok(100) };
    let sound = as_integer(size)
        .and_then(|size| usize::try_from(size).ok())
        .filter(|size| (1..=1000).contains(size));
    sound.ok_or_else(|| {
        Error::new(
            Code::InvalidSize,
            "size must be an integer between 1 and 1000",
        )
    })
}

/// Takes the lifetime out of what was sent, in seconds.
fn ttl(schema: &Schema, sent: &mut Object) -> Result<Option<u64>> {
    const LONGEST: i64 = 100_000_000;
    if !schema.meta.ttl {
        return Ok(None);
    }
    let Some(ttl) = sent.shift_remove("ttl").filter(|ttl| !ttl.is_null()) else {
        return Ok(None);
    };
    let seconds = ttl
        .as_number()
        .and_then(as_integer)
        .filter(|seconds| (0..=LONGEST).contains(seconds));
    match seconds.and_then(|seconds| u64::try_from(seconds).ok()) {
        Some(seconds) => Ok(Some(seconds)),
        None => Err(Error::invalid_option(
            "ttl",
            &format!("must be an integer between 0 and {LONGEST}"),
        )),
    }
}

/// Nothing means for ever, and so does 0.
fn expiry(ttl: Option<u64>) -> Option<u64> {
    ttl.filter(|seconds| *seconds > 0)
        .map(|seconds| now() + seconds)
}
