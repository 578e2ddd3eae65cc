//! kong.yml: a whole configuration in one document.
//!
//! [`Document::read`] reads YAML or JSON; [`Document::flatten`] gives every entity its id, takes
//! children out of their parents, resolves references by name and checks everything, so that all
//! errors are reported at once; [`export`] writes a configuration down.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use carbyne_events::source::Source;

use crate::error::Error;
use crate::object;
use crate::store::told::Inventory;
use crate::store::{Change, Declarative, StoreError};
use crate::value::{Object, Value};

mod errors;
mod export;
mod flatten;
mod identity;
mod migrate;
mod place;
#[cfg(test)]
mod tests;

pub use errors::flattened;
pub use export::export;
pub use flatten::Flat;
pub use place::Place;

/// Kong's constant id of the workspace that every configuration has.
pub const DEFAULT_WORKSPACE: &str = "0dc6f45b-8f8d-40d2-a504-473544ee190b";

/// The hash of no configuration.
pub const EMPTY_HASH: &str = "00000000000000000000000000000000";

/// A declarative configuration as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    pub content: Object,
    /// Of the text, where there is one.
    pub hash: Option<String>,
}

impl Document {
    /// Reads JSON or YAML. A file's name says which of them it is.
    pub fn read(text: &str, file: Option<&str>) -> Result<Self, Error> {
        let (json, yaml) =
            match file.map(|file| file.rsplit_once('.').map_or("", |(_, extension)| extension)) {
                None => (true, true),
                Some("json") => (true, false),
                Some("yml" | "yaml") => (false, true),
                Some(_) => {
                    let file = file.unwrap_or_default();
                    return Err(unreadable(format!(
                        "unknown file type: {file}. (Accepted types: json, yaml)"
                    )));
                }
            };
        let parsed =
            json.then(|| Value::from_json(text.as_bytes()).map_err(|error| error.to_string()));
        let parsed = match parsed {
            Some(Ok(value @ Value::Object(_))) => Ok(value),
            other if !yaml => other.unwrap_or(Ok(Value::Null)),
            _ => from_yaml(text),
        };
        let why = match parsed {
            Ok(Value::Object(content)) => {
                return Ok(Self {
                    content,
                    hash: Some(hash(text.as_bytes())),
                });
            }
            Ok(_) => "expected an object".to_owned(),
            Err(error) => error,
        };
        Err(unreadable(format!(
            "failed parsing declarative configuration: {why}"
        )))
    }
}

/// The lines around an error are not shown: there may be keys and passwords in them.
fn from_yaml(text: &str) -> Result<Value, String> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())
}

fn unreadable(why: String) -> Error {
    Error::declarative(object! { "error": why })
}

/// MD5, which Kong shows as `configuration_hash`: it tells configurations apart, nothing more.
pub fn hash(bytes: &[u8]) -> String {
    format!("{:x}", md5::compute(bytes))
}

/// A store without a database, and which configuration is in it.
#[derive(Clone, Debug)]
pub struct Loaded {
    store: Arc<Declarative>,
    hash: Arc<Mutex<Option<String>>>,
    since: SystemTime,
    /// Where what a load changed is told.
    events: Option<Arc<Source>>,
}

impl Default for Loaded {
    fn default() -> Self {
        Self::telling(None)
    }
}

impl Loaded {
    /// One whose changes are told where events go anywhere.
    pub fn telling(events: Option<Arc<Source>>) -> Self {
        Self {
            store: Arc::default(),
            hash: Arc::default(),
            since: SystemTime::now(),
            events,
        }
    }

    /// When the node began. Whatever files do not date is so old, also where a later file brings it: what a file leaves
    /// as it was stays the same row to the byte, and the order of targets, which goes by their age, does not depend on
    /// which files a node has seen before.
    pub const fn since(&self) -> SystemTime {
        self.since
    }

    pub fn store(&self) -> Arc<Declarative> {
        Arc::clone(&self.store)
    }

    /// The hash of the configuration that is loaded.
    pub fn hash(&self) -> String {
        let hash = self.hash.lock().unwrap_or_else(PoisonError::into_inner);
        hash.as_deref().unwrap_or(EMPTY_HASH).to_owned()
    }

    /// Puts a configuration in place of the current one, or leaves that as it is.
    pub async fn load(&self, flat: Flat) -> Result<(), Error> {
        let hash = flat.hash().to_owned();
        let rows = flat.into_rows();
        let rows = rows.map(|(schema, id, entity, expires)| Change::Insert {
            schema,
            id,
            entity,
            expires,
        });
        let before = match &self.events {
            Some(_) => Inventory::of(&*self.store).await.map_err(broken)?,
            None => Inventory::default(),
        };
        self.store.load(rows).await.map_err(broken)?;
        if let Some(events) = &self.events {
            let now = Inventory::of(&*self.store).await.map_err(broken)?;
            now.tell(&before, events).await;
        }
        *self.hash.lock().unwrap_or_else(PoisonError::into_inner) = Some(hash);
        Ok(())
    }
}

/// What only shows when all entities are there: keys of several fields that two of them share.
fn broken(error: StoreError) -> Error {
    let why = match error {
        StoreError::Unique(key) => Error::unique_violation(key).message,
        error => error.to_string(),
    };
    Error::declarative(object! { "error": why })
}
