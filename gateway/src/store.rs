//! Where entities live.
//!
//! [`Store`] is the one trait: [`Declarative`] holds what a file says and refuses writes,
//! [`Embedded`] keeps rows on disk. Both keep the rows in memory as compact JSON with their
//! indexes, in an [`image`], and share that JSON with whoever asks for a row. The trait is written for PostgreSQL with several nodes as well: it is
//! asynchronous, a commit is all or nothing and names the revisions that it has seen, pages go on
//! from an opaque token, and what others commit arrives through [`Store::changes`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::error::Error;
use crate::schema::Schema;
use crate::value::{Object, Value};

mod declarative;
mod embedded;
mod feed;
mod image;
mod offset;
pub mod told;

pub use declarative::Declarative;
pub use embedded::Embedded;

/// What a store answers, some time.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A place for entities.
pub trait Store: fmt::Debug + Send + Sync {
    /// What clients are told that the database is.
    fn announced(&self) -> Announced;

    /// The row with a primary key.
    fn get<'a>(&'a self, schema: &'static Schema, id: &'a str) -> Answer<'a, Option<Row>>;

    /// The row with a unique field's value, or with the values of its cache key.
    fn find<'a>(&'a self, schema: &'static Schema, key: &'a Key) -> Answer<'a, Option<Row>>;

    /// Rows by ascending primary key.
    fn page<'a>(&'a self, schema: &'static Schema, query: &'a Query) -> Answer<'a, Page>;

    /// Which entities have tags, or one tag.
    fn tags<'a>(
        &'a self,
        tag: Option<&'a str>,
        size: usize,
        offset: Option<&'a str>,
    ) -> Answer<'a, TagPage>;

    /// Makes all changes, or none. They are on disk, and seen by every read, when this returns.
    fn commit(&self, changes: Vec<Change>) -> Answer<'_, u64>;

    /// As [`commit`](Self::commit), and keeps with it, in the same commit, what is still to be told of it: whatever ends the process in
    /// between, [`untold`](Self::untold) has it. A store that nobody can write to keeps nothing.
    fn commit_noted(&self, changes: Vec<Change>, note: String) -> Answer<'_, u64> {
        drop(note);
        self.commit(changes)
    }

    /// What was committed with a note and is not known to have been told, the oldest first.
    fn untold(&self) -> Answer<'_, Vec<Untold>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// The note of a version has been told. It is forgotten with the next commit, so that no write to the disk is made for it, or by
    /// [`forget`](Self::forget); until then the next process may tell it once more.
    fn told(&self, version: u64) {
        let _ = version;
    }

    /// Forgets now what has been told.
    fn forget(&self) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    /// What was committed after a version, as soon as there is something.
    fn changes(&self, after: u64) -> Answer<'_, Changes>;

    /// Whether the store can be reached.
    fn reachable(&self) -> Answer<'_, ()>;
}

/// What `GET /` says the database is: clients gate writes and features on this word.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Announced {
    Off,
    Postgres,
}

impl Announced {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Postgres => "postgres",
        }
    }
}

/// An entity as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub id: Arc<str>,
    /// Differs whenever the row was written anew.
    pub revision: u64,
    /// In seconds since 1970: the row is gone from then on.
    pub expires: Option<u64>,
    pub entity: Object,
    /// The entity as it is kept: compact, without nulls that mean nothing.
    pub json: Arc<str>,
}

/// A key that at most one row has.
#[derive(Clone, Debug, PartialEq)]
pub enum Key {
    /// The values of the fields of the schema's cache key.
    Cache(Object),
    Field(String, Value),
}

/// Which rows to list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Query {
    pub size: usize,
    pub offset: Option<String>,
    pub tags: Option<Tags>,
    /// Only rows whose foreign field has this id.
    pub parent: Option<(String, String)>,
}

/// Which tags rows must have.
#[derive(Clone, Debug, PartialEq)]
pub enum Tags {
    All(Vec<String>),
    Any(Vec<String>),
}

/// Rows, and the token of those that follow.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    pub rows: Vec<Row>,
    pub offset: Option<String>,
}

/// Tags, and the token of those that follow.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TagPage {
    pub tags: Vec<Tagged>,
    pub offset: Option<String>,
}

/// An entity that has a tag.
#[derive(Clone, Debug, PartialEq)]
pub struct Tagged {
    pub tag: String,
    pub entity: String,
    pub id: String,
}

/// A change to be committed.
#[derive(Clone, Debug)]
pub enum Change {
    /// Together with the rows that belong to it; refused while others refer to it.
    Delete { schema: &'static Schema, id: String },
    Insert {
        schema: &'static Schema,
        id: String,
        entity: Object,
        expires: Option<u64>,
    },
    /// In place of the revision that was seen.
    Replace {
        schema: &'static Schema,
        id: String,
        entity: Object,
        expires: Option<u64>,
        seen: u64,
    },
}

/// What was committed between two versions.
#[derive(Clone, Debug, PartialEq)]
pub struct Changes {
    pub version: u64,
    pub kind: ChangesKind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ChangesKind {
    /// Too much, or too long ago: everything has to be read again.
    Everything,
    Rows(Vec<Changed>),
}

/// A row that changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    pub entity: String,
    pub id: String,
    pub deleted: bool,
}

/// A commit that is to be told.
#[derive(Clone, Debug, PartialEq)]
pub struct Untold {
    pub version: u64,
    pub note: String,
    /// The rows that it removed, those that belonged to others with them: kinds and ids.
    pub removed: Vec<(String, String)>,
}

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StoreError {
    /// The row was changed since it was read: read and try again.
    #[error("the row was changed meanwhile")]
    Conflict,
    /// A foreign key that leads nowhere.
    #[error("{field} refers to no {parent}")]
    Dangling {
        field: String,
        id: String,
        parent: String,
    },
    #[error("{0}")]
    Offset(Box<Error>),
    #[error("there is an entity with this primary key")]
    PrimaryKey { field: String, id: String },
    /// The store holds what a file says.
    #[error("the configuration is read from a file")]
    ReadOnly,
    #[error("{child} refer to the entity")]
    Referenced { parent: String, child: String },
    /// The disk or the network failed; nothing was changed.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    #[error("another entity has this key")]
    Unique(Object),
}

/// Seconds since 1970.
pub fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}
