//! Follows the store: plans what changed, builds away from the workers, swaps.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use carbyne_engine::runtime::background::{self, Priority, give_way};
use futures_util::FutureExt;
use rustc_hash::FxHashSet;
use tokio::runtime::Handle;

use super::Snapshot;
use super::build::Builder;
use super::entities::{Entities, PLANNED};
use super::route::Compiled;
use crate::node::Node;
use crate::schema::library;
use crate::store::{Changed as ChangedRow, Changes, ChangesKind, Query, StoreError};
use crate::vault::Vaults;

/// Keeps a node's snapshot in step with its store.
pub struct Updater {
    node: Arc<Node>,
    work: Option<Work>,
    /// Snapshots that requests or workers may still hold. They are let go of here, not where requests are served.
    retired: Vec<Arc<Snapshot>>,
    /// Asks the workers to look for a new snapshot.
    tell: Box<dyn Fn()>,
    /// A router that is being compiled, of routes that are served already.
    compiling: Option<Compiling>,
}

type Compiling = Pin<Box<dyn Future<Output = io::Result<Compiled>>>>;

/// What building needs; it moves to another thread and back.
#[derive(Debug, Default)]
struct Work {
    entities: Entities,
    builder: Builder,
    /// Whether there was a first snapshot: also nothing has to be served.
    built: bool,
}

impl Updater {
    pub fn new(node: Arc<Node>, tell: impl Fn() + 'static) -> Self {
        let mut work = Work::default();
        work.entities.vaults = Vaults::new(node.settings.vault_prefix.as_deref());
        Self {
            node,
            work: Some(work),
            retired: Vec::new(),
            tell: Box::new(tell),
            compiling: None,
        }
    }

    /// Reads everything and serves it.
    pub async fn begin(&mut self) -> Result<u64, StoreError> {
        // Else what is read now would come once more as the first change. A store without anything has no changes to tell.
        let told = self.node.store.changes(0).now_or_never();
        let version = told.and_then(Result::ok).map_or(0, |told| told.version);
        self.update(Changes {
            version,
            kind: ChangesKind::Everything,
        })
        .await
    }

    /// Follows the store for ever.
    pub async fn run(mut self, mut version: u64) {
        let node = self.node.clone();
        loop {
            let changes = tokio::select! {
                changes = node.store.changes(version) => changes,
                compiled = compiled(&mut self.compiling) => {
                    self.compiling = None;
                    self.adopt(compiled, version);
                    continue;
                }
                () = tokio::time::sleep(TIDY_INTERVAL), if !self.is_tidy() => {
                    self.tidy();
                    self.compile();
                    continue;
                }
            };
            let updated = match changes {
                Ok(changes) => self.update(changes).await,
                Err(error) => Err(error),
            };
            match updated {
                Ok(seen) => version = seen,
                Err(error) => {
                    tracing::error!(%error, "the configuration cannot be read: what is served stays");
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
            }
        }
    }

    async fn update(&mut self, changes: Changes) -> Result<u64, StoreError> {
        let version = changes.version;
        let mut work = self.work.take().unwrap_or_default();
        let node = self.node.clone();
        let handle = Handle::current();
        let priority = match &changes.kind {
            ChangesKind::Everything if work.built => Priority::Low,
            // Before the first snapshot nobody is served.
            ChangesKind::Everything | ChangesKind::Rows(_) => Priority::Normal,
        };
        let done = background::run(priority, move || {
            let read = handle.block_on(work.read(&node, changes.kind));
            let built = read.map(|()| {
                let wanted = work.entities.changed.any() || !work.built;
                work.built = true;
                wanted.then(|| Arc::new(work.builder.build(&mut work.entities, &node, version)))
            });
            (work, built)
        });
        let Ok((work, built)) = done.await else {
            // A panic on the way was told on stderr; what is served stays, and everything is read anew.
            return Err(StoreError::Unavailable("planning broke off".to_owned()));
        };
        self.work = Some(work);
        if let Some(snapshot) = built? {
            let many = snapshot.routes.changes() >= MANY_CHANGES;
            self.publish(snapshot);
            if many {
                self.compile();
            }
        }
        Ok(version)
    }

    fn publish(&mut self, snapshot: Arc<Snapshot>) {
        self.retired.push(self.node.snapshot.swap(snapshot));
        (self.tell)();
        self.tidy();
    }

    /// Whether there is nothing to do until something changes.
    fn is_tidy(&self) -> bool {
        let waiting = self.work.as_ref().and_then(|work| work.builder.waiting());
        self.retired.is_empty() && (self.compiling.is_some() || waiting.is_none())
    }

    /// Compiles a router of what was laid over the last one. What changes meanwhile is served meanwhile.
    fn compile(&mut self) {
        let waiting = self.work.as_ref().and_then(|work| work.builder.waiting());
        if let Some(routes) = waiting
            && self.compiling.is_none()
        {
            let compiled = background::run(Priority::Low, move || routes.compile());
            self.compiling = Some(Box::pin(compiled));
        }
    }

    fn adopt(&mut self, compiled: io::Result<Compiled>, version: u64) {
        // A panic on the way was told on stderr; what is served stays.
        if let (Some(work), Ok(compiled)) = (&mut self.work, compiled) {
            let snapshot = work.builder.adopt(compiled, version);
            self.publish(Arc::new(snapshot));
        }
    }

    /// Lets go of snapshots that nobody holds any more.
    fn tidy(&mut self) {
        let (held, free): (Vec<_>, Vec<_>) = std::mem::take(&mut self.retired)
            .into_iter()
            .partition(|snapshot| Arc::strong_count(snapshot) > 1);
        self.retired = held;
        if !free.is_empty() {
            background::release(free);
        }
    }
}

/// What is being compiled, once it is.
async fn compiled(compiling: &mut Option<Compiling>) -> io::Result<Compiled> {
    match compiling {
        Some(compiling) => compiling.await,
        None => std::future::pending().await,
    }
}

impl Work {
    async fn read(&mut self, node: &Arc<Node>, kind: ChangesKind) -> Result<(), StoreError> {
        match kind {
            ChangesKind::Everything => {
                node.generations.advance_all();
                self.read_everything(node).await?;
                // Vaults were read before what refers to them.
                self.entities.rereads = false;
                Ok(())
            }
            ChangesKind::Rows(rows) => {
                for row in &rows {
                    node.generations.advance(&row.entity);
                }
                for row in rows {
                    self.read_row(node, row).await?;
                }
                if std::mem::take(&mut self.entities.rereads) {
                    self.read_everything(node).await?;
                }
                Ok(())
            }
        }
    }

    async fn read_row(&mut self, node: &Arc<Node>, row: ChangedRow) -> Result<(), StoreError> {
        if !PLANNED.contains(&row.entity.as_str()) {
            return Ok(());
        }
        let Some(schema) = library::entity(&row.entity) else {
            return Ok(());
        };
        // Read now, not as it was then: what came later comes again, and changes nothing then.
        match node.store.get(schema, &row.id).await? {
            Some(found) => self.entities.put(&row.entity, &found, node),
            None => self.entities.remove(&row.entity, &row.id),
        }
        Ok(())
    }

    async fn read_everything(&mut self, node: &Arc<Node>) -> Result<(), StoreError> {
        for name in PLANNED {
            let Some(schema) = library::entity(name) else {
                continue;
            };
            let mut gone: FxHashSet<_> = self.entities.ids(name).into_iter().collect();
            let mut query = Query {
                size: 1000,
                ..Query::default()
            };
            loop {
                let page = node.store.page(schema, &query).await?;
                for row in &page.rows {
                    give_way();
                    gone.remove(&row.id);
                    self.entities.put(name, row, node);
                }
                match page.offset {
                    Some(offset) => query.offset = Some(offset),
                    None => break,
                }
            }
            for id in gone {
                give_way();
                self.entities.remove(name, &id);
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Updater {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Updater")
            .field("retired", &self.retired.len())
            .finish_non_exhaustive()
    }
}

/// How often it is asked whether old snapshots are still held.
const TIDY_INTERVAL: Duration = Duration::from_millis(200);
/// With so many routes laid over a router the next one does not wait for a pause.
const MANY_CHANGES: usize = 128;
/// How long to wait for a store that does not answer.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
