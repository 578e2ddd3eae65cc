//! A store whose changes are told as events: config-changes has the last of every entity.
//!
//! What is to be told of a commit is kept in the store by the same commit, and forgotten once the events are in the spool. A process that
//! ends in between leaves it to the next, and so does a disk that takes no events. So every commit is told at least once; who reads drops
//! what has the same entity and version.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use carbyne_events::emit::{OnDisk, now};
use carbyne_events::event::config_change::{self, ConfigChange, ConfigRemoval};
use carbyne_events::source::Source;
use rustc_hash::FxHasher;
use serde::{Deserialize, Serialize};

use super::{
    Announced, Answer, Change, Changes, ChangesKind, Key, Page, Query, Row, Store, StoreError,
    TagPage, Untold,
};
use crate::schema::{Schema, library};
use crate::value::{Object, Value};

/// A store, and where its changes are told.
pub struct Told {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    events: Arc<Source>,
    /// Something was committed, or may have been, and could not be told.
    owed: AtomicBool,
}

/// What is to be told of a commit, as the store keeps it.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Note {
    time: u64,
    request_id: Option<Box<str>>,
    actor: Option<Box<str>>,
    entities: Vec<Noted>,
}

/// An entity that is there now. No value of a field: many hold secrets.
#[derive(Debug, Deserialize, Serialize)]
struct Noted {
    /// `kind/id`.
    entity: String,
    name: Option<String>,
    created: bool,
    /// Those that have a value.
    fields: Vec<String>,
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
        Self {
            inner: Arc::new(Inner {
                store,
                events,
                owed: AtomicBool::new(false),
            }),
        }
    }

    /// Tells what processes before this one have committed and not told; says of how many commits that was.
    pub async fn catch_up(&self) -> Result<usize, StoreError> {
        self.inner.catch_up().await
    }
}

impl Inner {
    async fn change(&self, changes: Vec<Change>, note: Note) -> Result<u64, StoreError> {
        let committed = self.store.commit_noted(changes, note.to_json()).await;
        if let Err(StoreError::Unavailable(_)) = committed {
            // It may be on the disk that failed all the same.
            self.owed.store(true, Ordering::Relaxed);
        }
        let version = committed?;
        match self.removed(version).await {
            Some(removed) if !self.owed.load(Ordering::Relaxed) => {
                self.tell(&note, version, removed).await;
            }
            // This one is among what the store still has to be told of.
            _ => {
                self.owed.store(false, Ordering::Relaxed);
                if let Err(error) = self.catch_up().await {
                    tracing::error!(%error, "what was changed cannot be told now");
                    self.owed.store(true, Ordering::Relaxed);
                }
            }
        }
        Ok(version)
    }

    /// The rows that a version has removed. Somebody else's may be among them: told twice it says the same.
    async fn removed(&self, version: u64) -> Option<Vec<(String, String)>> {
        let changes = self.store.changes(version.saturating_sub(1)).await.ok()?;
        let ChangesKind::Rows(rows) = changes.kind else {
            return None;
        };
        let gone = rows.into_iter().filter(|row| row.deleted);
        Some(gone.map(|row| (row.entity, row.id)).collect())
    }

    async fn catch_up(&self) -> Result<usize, StoreError> {
        let untold = self.store.untold().await?;
        let count = untold.len();
        for Untold {
            version,
            note,
            removed,
        } in untold
        {
            // Of a version that writes them otherwise nothing can be told but what went.
            let note = serde_json::from_str(&note).unwrap_or_else(|error| {
                tracing::error!(%error, version, "what is to be told of a change cannot be read");
                Note::default()
            });
            self.tell(&note, version, removed).await;
        }
        Ok(count)
    }

    /// Tells one commit; the store forgets it once that is on disk.
    async fn tell(&self, note: &Note, version: u64, removed: Vec<(String, String)>) {
        let mut kept: Vec<OnDisk> = Vec::new();
        for noted in &note.entities {
            let fields: Vec<&str> = noted.fields.iter().map(String::as_str).collect();
            kept.push(self.events.emit_durably(&ConfigChange {
                time: note.time,
                node: self.events.node(),
                entity: &noted.entity,
                name: noted.name.as_deref(),
                change: if noted.created {
                    config_change::Change::Created
                } else {
                    config_change::Change::Updated
                },
                request_id: note.request_id.as_deref(),
                traceparent: None,
                actor: note.actor.as_deref(),
                version: Some(version),
                fields: &fields,
            }));
        }
        for (entity, id) in removed {
            kept.push(remove(&self.events, &format!("{entity}/{id}")));
        }
        if settle(kept).await {
            self.store.told(version);
        } else {
            self.owed.store(true, Ordering::Relaxed);
        }
    }
}

impl Note {
    /// Of what the task is about to commit.
    pub fn of(changes: &[Change]) -> Self {
        let author = AUTHOR.try_with(Author::clone).ok();
        let (request_id, actor) = author
            .map(|author| (author.request_id, author.actor))
            .unzip();
        let there = changes.iter().filter_map(|change| match change {
            Change::Delete { .. } => None,
            Change::Insert {
                schema, id, entity, ..
            } => Some((entry(schema, id, entity), true)),
            Change::Replace {
                schema, id, entity, ..
            } => Some((entry(schema, id, entity), false)),
        });
        let entities = there.map(|((entity, entry), created)| Noted {
            entity,
            name: entry.name,
            created,
            fields: entry.fields,
        });
        Self {
            time: now(),
            request_id,
            actor,
            entities: entities.collect(),
        }
    }

    /// As a store keeps it.
    pub fn to_json(&self) -> String {
        // Texts and numbers alone, which always can be written.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Waits until the events are on disk; false where one is not.
async fn settle(kept: Vec<OnDisk>) -> bool {
    for kept in kept {
        if let Err(error) = kept.await {
            tracing::error!(%error, "the configuration was changed and the event of it is not on disk");
            return false;
        }
    }
    true
}

fn load(events: &Source, name: &str, entry: &Entry) -> OnDisk {
    let fields: Vec<&str> = entry.fields.iter().map(String::as_str).collect();
    let author = AUTHOR.try_with(Author::clone).ok();
    events.emit_durably(&ConfigChange {
        time: now(),
        node: events.node(),
        entity: name,
        name: entry.name.as_deref(),
        change: config_change::Change::Loaded,
        request_id: author.as_ref().map(|author| &*author.request_id),
        traceparent: None,
        actor: author.as_ref().map(|author| &*author.actor),
        version: None,
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
                kept = Some(load(events, name, entry));
            }
        }
        for name in before.0.keys().filter(|name| !self.0.contains_key(*name)) {
            kept = Some(remove(events, name));
        }
        // The last one is on disk when all before it are.
        settle(kept.into_iter().collect()).await;
    }
}

impl Store for Told {
    fn announced(&self) -> Announced {
        self.inner.store.announced()
    }

    fn get<'a>(&'a self, schema: &'static Schema, id: &'a str) -> Answer<'a, Option<Row>> {
        self.inner.store.get(schema, id)
    }

    fn find<'a>(&'a self, schema: &'static Schema, key: &'a Key) -> Answer<'a, Option<Row>> {
        self.inner.store.find(schema, key)
    }

    fn page<'a>(&'a self, schema: &'static Schema, query: &'a Query) -> Answer<'a, Page> {
        self.inner.store.page(schema, query)
    }

    fn tags<'a>(
        &'a self,
        tag: Option<&'a str>,
        size: usize,
        offset: Option<&'a str>,
    ) -> Answer<'a, TagPage> {
        self.inner.store.tags(tag, size, offset)
    }

    fn commit(&self, changes: Vec<Change>) -> Answer<'_, u64> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            let note = Note::of(&changes);
            // A task of its own: who asked may leave, and what was committed is told all the same.
            let done = tokio::spawn(async move { inner.change(changes, note).await });
            done.await
                .unwrap_or_else(|error| Err(StoreError::Unavailable(error.to_string())))
        })
    }

    fn forget(&self) -> Answer<'_, ()> {
        self.inner.store.forget()
    }

    fn changes(&self, after: u64) -> Answer<'_, Changes> {
        self.inner.store.changes(after)
    }

    fn reachable(&self) -> Answer<'_, ()> {
        self.inner.store.reachable()
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Told")
            .field("store", &self.inner.store)
            .finish_non_exhaustive()
    }
}
