//! Rows on disk, in one file that redb keeps sound: a commit is synced before it is answered, and
//! one that was cut off by a crash never was. Reads are answered from the image, so that they go
//! on whatever happens to the disk.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::feed::Feed;
use super::image::{Image, Step, Stored};
use super::{
    Announced, Answer, Change, Changes, Key, Page, Query, Row, Store, StoreError, TagPage, Untold,
};
use crate::schema::{Schema, library};

/// A store in a file of its own.
#[derive(Debug)]
pub struct Embedded {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    image: RwLock<Image>,
    /// Whether the last commit was made.
    sound: AtomicBool,
    /// Held during a commit. Empty after the disk failed: the next commit opens the file anew.
    writer: Mutex<Writer>,
    /// Versions whose notes have been told and are still in the file.
    told: Mutex<BTreeSet<u64>>,
    feed: Feed,
}

#[derive(Debug)]
struct Writer {
    database: Option<Database>,
    version: u64,
}

/// `entity NUL id` to revision, expiry and JSON.
const ROWS: TableDefinition<'_, &str, (u64, u64, &str)> = TableDefinition::new("rows");
/// What is still to be told of a version: the note, and the rows that it removed, each `entity NUL id` and a line feed.
const NOTES: TableDefinition<'_, u64, (&str, &str)> = TableDefinition::new("notes");
/// Numbers about the file: its format and its version.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const FORMAT: u64 = 1;

impl Embedded {
    /// Opens the store in a file, or begins one.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let database = Database::create(path).map_err(|error| failed(path, &error))?;
        let (image, version) = read(&database).map_err(|error| failed(path, error.as_ref()))?;
        let inner = Inner {
            path: path.into(),
            sound: AtomicBool::new(true),
            image: RwLock::new(image),
            writer: Mutex::new(Writer {
                database: Some(database),
                version,
            }),
            told: Mutex::default(),
            feed: Feed::new(version),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Has another thread do what waits for the disk.
    fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'_, T> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            let done = tokio::task::spawn_blocking(move || work(&inner));
            done.await
                .unwrap_or_else(|error| Err(StoreError::Unavailable(error.to_string())))
        })
    }

    fn image<T>(&self, read: impl FnOnce(&Image) -> T) -> T {
        read(
            &self
                .inner
                .image
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}

impl Inner {
    fn image_mut(&self) -> RwLockWriteGuard<'_, Image> {
        self.image.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn commit(&self, changes: Vec<Change>, note: Option<&str>) -> Result<u64, StoreError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.reopen(&mut writer)?;
        let version = writer.version + 1;
        // Nobody sees what is not on disk, and nobody waits for the disk: the image is not held meanwhile, and no other
        // commit changes it.
        let steps = self.image_mut().rehearse(changes, version)?;
        let told = self.told();
        self.write(&mut writer, |database| {
            write(database, &steps, version, note, &told)
        })?;
        self.told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|version| !told.contains(version));
        self.image_mut().redo(&steps);
        writer.version = version;
        self.feed
            .publish(version, steps.iter().map(Step::changed).collect());
        Ok(version)
    }

    fn told(&self) -> BTreeSet<u64> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.clone()
    }

    fn write(
        &self,
        writer: &mut MutexGuard<'_, Writer>,
        write: impl FnOnce(&Database) -> Result<(), Failure>,
    ) -> Result<(), StoreError> {
        let written = match &writer.database {
            Some(database) => write(database),
            None => Err("it is closed".into()),
        };
        written.map_err(|error| {
            // redb refuses everything after the disk failed it once.
            writer.database = None;
            self.sound.store(false, Ordering::Relaxed);
            failed(&self.path, error.as_ref())
        })
    }

    fn untold(&self) -> Result<Vec<Untold>, StoreError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.reopen(&mut writer)?;
        let told = self.told();
        let read = match &writer.database {
            Some(database) => notes(database),
            None => Err("it is closed".into()),
        };
        let mut notes = read.map_err(|error| failed(&self.path, error.as_ref()))?;
        notes.retain(|note| !told.contains(&note.version));
        Ok(notes)
    }

    fn forget(&self) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let told = self.told();
        if told.is_empty() {
            return Ok(());
        }
        self.reopen(&mut writer)?;
        let version = writer.version;
        self.write(&mut writer, |database| {
            write(database, &[], version, None, &told)
        })?;
        let mut left = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        left.retain(|version| !told.contains(version));
        Ok(())
    }

    /// Opens the file again after it failed. Whether the commit that failed is in it or not, the
    /// image is what the file says afterwards.
    fn reopen(&self, writer: &mut MutexGuard<'_, Writer>) -> Result<(), StoreError> {
        if writer.database.is_some() {
            return Ok(());
        }
        let database = Database::open(&self.path).map_err(|error| failed(&self.path, &error))?;
        let (image, version) =
            read(&database).map_err(|error| failed(&self.path, error.as_ref()))?;
        *self.image_mut() = image;
        writer.database = Some(database);
        self.sound.store(true, Ordering::Relaxed);
        if version > writer.version {
            writer.version = version;
            self.feed.publish_everything(version);
        }
        Ok(())
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn read(database: &Database) -> Result<(Image, u64), Failure> {
    let transaction = database.begin_write()?;
    let version = {
        let mut meta = transaction.open_table(META)?;
        let format = meta.get("format")?.map(|format| format.value());
        match format {
            None => drop(meta.insert("format", FORMAT)?),
            Some(FORMAT) => {}
            Some(other) => {
                return Err(format!("it has format {other}, which a later version writes").into());
            }
        }
        transaction.open_table(ROWS)?;
        transaction.open_table(NOTES)?;
        meta.get("version")?.map_or(0, |version| version.value())
    };
    transaction.commit()?;
    let mut image = Image::default();
    let transaction = database.begin_read()?;
    for row in transaction.open_table(ROWS)?.iter()? {
        let (key, value) = row?;
        let (entity, id) = key.value().split_once('\0').ok_or("a row has no entity")?;
        let schema =
            library::entity(entity).ok_or_else(|| format!("there is no entity {entity:?}"))?;
        let (revision, expires, json) = value.value();
        let expires = (expires > 0).then_some(expires);
        image.load(
            schema,
            id,
            Stored {
                json: json.into(),
                revision,
                expires,
            },
        )?;
    }
    Ok((image, version))
}

fn notes(database: &Database) -> Result<Vec<Untold>, Failure> {
    let mut found = Vec::new();
    for row in database.begin_read()?.open_table(NOTES)?.iter()? {
        let (version, value) = row?;
        let (note, removed) = value.value();
        let removed = removed.lines().filter_map(|row| row.split_once('\0'));
        found.push(Untold {
            version: version.value(),
            note: note.to_owned(),
            removed: removed
                .map(|(entity, id)| (entity.to_owned(), id.to_owned()))
                .collect(),
        });
    }
    Ok(found)
}

fn write(
    database: &Database,
    steps: &[Step],
    version: u64,
    note: Option<&str>,
    told: &BTreeSet<u64>,
) -> Result<(), Failure> {
    // Durability::Immediate is redb's default: a commit returns when the file is synced.
    let transaction = database.begin_write()?;
    {
        let mut rows = transaction.open_table(ROWS)?;
        for step in steps {
            let key = format!("{}\0{}", step.schema.name, step.id);
            match &step.after {
                Some(stored) => {
                    let expires = stored.expires.unwrap_or_default();
                    rows.insert(key.as_str(), (stored.revision, expires, &*stored.json))?;
                }
                None => drop(rows.remove(key.as_str())?),
            }
        }
        transaction.open_table(META)?.insert("version", version)?;
        if note.is_some() || !told.is_empty() {
            let mut notes = transaction.open_table(NOTES)?;
            for version in told {
                notes.remove(version)?;
            }
            if let Some(note) = note {
                let removed = steps.iter().filter(|step| step.after.is_none());
                let removed = removed.map(|step| format!("{}\0{}\n", step.schema.name, step.id));
                let removed: String = removed.collect();
                notes.insert(version, (note, removed.as_str()))?;
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

fn failed(path: &Path, error: &dyn std::error::Error) -> StoreError {
    StoreError::Unavailable(format!("{}: {error}", path.display()))
}

impl Store for Embedded {
    fn announced(&self) -> Announced {
        Announced::Postgres
    }

    fn get<'a>(&'a self, schema: &'static Schema, id: &'a str) -> Answer<'a, Option<Row>> {
        Box::pin(async move { self.image(|image| image.get(schema, id)) })
    }

    fn find<'a>(&'a self, schema: &'static Schema, key: &'a Key) -> Answer<'a, Option<Row>> {
        Box::pin(async move { self.image(|image| image.find(schema, key)) })
    }

    fn page<'a>(&'a self, schema: &'static Schema, query: &'a Query) -> Answer<'a, Page> {
        Box::pin(async move { self.image(|image| image.page(schema, query)) })
    }

    fn tags<'a>(
        &'a self,
        tag: Option<&'a str>,
        size: usize,
        offset: Option<&'a str>,
    ) -> Answer<'a, TagPage> {
        Box::pin(async move { self.image(|image| image.tags(tag, size, offset)) })
    }

    fn commit(&self, changes: Vec<Change>) -> Answer<'_, u64> {
        self.blocking(move |inner| inner.commit(changes, None))
    }

    fn commit_noted(&self, changes: Vec<Change>, note: String) -> Answer<'_, u64> {
        self.blocking(move |inner| inner.commit(changes, Some(&note)))
    }

    fn untold(&self) -> Answer<'_, Vec<Untold>> {
        self.blocking(Inner::untold)
    }

    fn told(&self, version: u64) {
        let told = self.inner.told.lock();
        told.unwrap_or_else(PoisonError::into_inner).insert(version);
    }

    fn forget(&self) -> Answer<'_, ()> {
        self.blocking(Inner::forget)
    }

    fn changes(&self, after: u64) -> Answer<'_, Changes> {
        Box::pin(async move { Ok(self.inner.feed.after(after).await) })
    }

    fn reachable(&self) -> Answer<'_, ()> {
        Box::pin(async {
            // Nobody who asks waits for the disk.
            if self.inner.sound.load(Ordering::Relaxed) {
                return Ok(());
            }
            let path = self.inner.path.display();
            Err(StoreError::Unavailable(format!(
                "{path}: the last write failed"
            )))
        })
    }
}
