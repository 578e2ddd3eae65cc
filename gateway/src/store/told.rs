//! A store whose changes are told as events: config-changes has the last of every entity.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault};
use std::sync::Arc;

use carbyne_events::emit::{OnDisk, now};
use carbyne_events::event::config_change::{self, ConfigChange, ConfigRemoval};
use carbyne_events::source::Source;
use rustc_hash::FxHasher;

use super::{
    Announced, Answer, Change, Changes, ChangesKind, Key, Page, Query, Row, Store, StoreError,
    TagPage,
};
use crate::schema::{Schema, library};
use crate::value::{Object, Value};

/// A store, and where its changes are told.
pub struct Told {
    store: Arc<dyn Store>,
    events: Arc<Source>,
}

/// Who changes something: the administrative operation that a task carries out.
#[derive(Clone, Debug)]
pub struct Author {
    pub request_id: Box<str>,
    pub actor: Box<str>,
}

tokio::task_local! {
    /// The author of what the task commits.
    pub static AUTHOR: Author;
}

/// Every entity of a store, by what its events are named after.
#[derive(Debug, Default)]
pub struct Inventory(BTreeMap<String, Entry>);

#[derive(Debug)]
struct Entry {
    hash: u64,
    name: Option<String>,
    fields: Vec<String>,
}

impl Told {
    pub fn new(store: Arc<dyn Store>, events: Arc<Source>) -> Self {
        Self { store, events }
    }

    async fn change(&self, changes: Vec<Change>) -> Result<u64, StoreError> {
        let mut told = Vec::new();
        for change in &changes {
            match change {
                Change::Delete { .. } => {}
                Change::Insert {
                    schema, id, entity, ..
                } => told.push((entry(schema, id, entity), config_change::Change::Created)),
                Change::Replace {
                    schema, id, entity, ..
                } => told.push((entry(schema, id, entity), config_change::Change::Updated)),
            }
        }
        let version = self.store.commit(changes).await?;
        // What went with it as well. Somebody else's deletion may be among these: told twice it says the same.
        let gone = match self.store.changes(version.saturating_sub(1)).await?.kind {
            ChangesKind::Rows(rows) => rows,
            ChangesKind::Everything => Vec::new(),
        };
        let mut kept = None;
        for ((name, entry), change) in &told {
            let done = tell(&self.events, name, entry, *change, Some(version));
            kept = Some(done);
        }
        for row in gone.iter().filter(|row| row.deleted) {
            let done = remove(&self.events, &format!("{}/{}", row.entity, row.id));
            kept = Some(done);
        }
        settle(kept).await;
        Ok(version)
    }
}

/// Waits until the last event is on disk, and with it those before.
async fn settle(kept: Option<OnDisk>) {
    if let Some(kept) = kept
        && let Err(error) = kept.await
    {
        tracing::error!(%error, "the configuration was changed and the event of it is not on disk");
    }
}

fn tell(
    events: &Source,
    name: &str,
    entry: &Entry,
    change: config_change::Change,
    version: Option<u64>,
) -> OnDisk {
    let author = AUTHOR.try_with(Author::clone).ok();
    let fields: Vec<&str> = entry.fields.iter().map(String::as_str).collect();
    events.emit_durably(&ConfigChange {
        time: now(),
        node: events.node(),
        entity: name,
        name: entry.name.as_deref(),
        change,
        request_id: author.as_ref().map(|author| &*author.request_id),
        traceparent: None,
        actor: author.as_ref().map(|author| &*author.actor),
        version,
        fields: &fields,
    })
}

fn remove(events: &Source, name: &str) -> OnDisk {
    events.emit_durably(&ConfigRemoval {
        time: now(),
        entity: name,
    })
}

/// What may be said of an entity: its name and which fields it has. No value of a field: many hold secrets.
fn entry(schema: &Schema, id: &str, entity: &Object) -> (String, Entry) {
    let name = entity.get("name").or_else(|| entity.get("username"));
    let fields = entity.iter().filter(|(_, value)| !value.is_null());
    // When it was written is no change.
    let mut content = entity.clone();
    content.retain(|name, _| !["created_at", "updated_at"].contains(&name.as_str()));
    let json = Value::from(content).to_json();
    let entry = Entry {
        hash: BuildHasherDefault::<FxHasher>::default().hash_one(json),
        name: name.and_then(Value::as_str).map(ToOwned::to_owned),
        fields: fields.map(|(name, _)| name.clone()).collect(),
    };
    (format!("{}/{id}", schema.name), entry)
}

impl Inventory {
    /// What a store holds now.
    pub async fn of(store: &dyn Store) -> Result<Self, StoreError> {
        let mut all = BTreeMap::new();
        for schema in library::entities() {
            let mut query = Query {
                size: 1000,
                ..Query::default()
            };
            loop {
                let page = store.page(schema, &query).await?;
                let rows = page.rows.iter();
                all.extend(rows.map(|row| entry(schema, &row.id, &row.entity)));
                match page.offset {
                    Some(offset) => query.offset = Some(offset),
                    None => break,
                }
            }
        }
        Ok(Self(all))
    }

    /// Tells what is different from `before`, and ends when that is on disk.
    pub async fn tell(&self, before: &Self, events: &Source) {
        let mut kept = None;
        for (name, entry) in &self.0 {
            let known = before.0.get(name);
            if known.is_none_or(|known| known.hash != entry.hash) {
                let done = tell(events, name, entry, config_change::Change::Loaded, None);
                kept = Some(done);
            }
        }
        for name in before.0.keys().filter(|name| !self.0.contains_key(*name)) {
            kept = Some(remove(events, name));
        }
        settle(kept).await;
    }
}

impl Store for Told {
    fn announced(&self) -> Announced {
        self.store.announced()
    }

    fn get<'a>(&'a self, schema: &'static Schema, id: &'a str) -> Answer<'a, Option<Row>> {
        self.store.get(schema, id)
    }

    fn find<'a>(&'a self, schema: &'static Schema, key: &'a Key) -> Answer<'a, Option<Row>> {
        self.store.find(schema, key)
    }

    fn page<'a>(&'a self, schema: &'static Schema, query: &'a Query) -> Answer<'a, Page> {
        self.store.page(schema, query)
    }

    fn tags<'a>(
        &'a self,
        tag: Option<&'a str>,
        size: usize,
        offset: Option<&'a str>,
    ) -> Answer<'a, TagPage> {
        self.store.tags(tag, size, offset)
    }

    fn commit(&self, changes: Vec<Change>) -> Answer<'_, u64> {
        Box::pin(self.change(changes))
    }

    fn changes(&self, after: u64) -> Answer<'_, Changes> {
        self.store.changes(after)
    }

    fn reachable(&self) -> Answer<'_, ()> {
        self.store.reachable()
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Told")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}
