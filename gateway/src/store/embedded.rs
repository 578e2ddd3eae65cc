//! Rows on disk, in one file that redb keeps sound: a commit is synced before it is answered, and
//! one that was cut off by a crash never was. Reads are answered from the image, so that they go
//! on whatever happens to the disk.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::feed::Feed;
use super::image::{Image, Step, Stored};
use super::{
    Announced, Answer, Change, Changes, Key, Page, Query, Row, Store, StoreError, TagPage,
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
    feed: Feed,
}

#[derive(Debug)]
struct Writer {
    database: Option<Database>,
    version: u64,
}

/// `entity NUL id` to revision, expiry and JSON.
const ROWS: TableDefinition<'_, &str, (u64, u64, &str)> = TableDefinition::new("rows");
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
            feed: Feed::new(version),
        };
        Ok(Self {
            inner: Arc::new(inner),
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

    fn commit(&self, changes: Vec<Change>) -> Result<u64, StoreError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.reopen(&mut writer)?;
        let version = writer.version + 1;
        // Nobody sees what is not on disk, and nobody waits for the disk: the image is not held meanwhile, and no other
        // commit changes it.
        let steps = self.image_mut().rehearse(changes, version)?;
        let written = match &writer.database {
            Some(database) => write(database, &steps, version),
            None => Err("it is closed".into()),
        };
        if let Err(error) = written {
            // redb refuses everything after the disk failed it once.
            writer.database = None;
            self.sound.store(false, Ordering::Relaxed);
            return Err(failed(&self.path, error.as_ref()));
        }
        self.image_mut().redo(&steps);
        writer.version = version;
        self.feed
            .publish(version, steps.iter().map(Step::changed).collect());
        Ok(version)
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

fn write(database: &Database, steps: &[Step], version: u64) -> Result<(), Failure> {
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
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            let commit = tokio::task::spawn_blocking(move || inner.commit(changes));
            commit
                .await
                .unwrap_or_else(|error| Err(StoreError::Unavailable(error.to_string())))
        })
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
