//! Entities of the store as plugins look them up: by a key, read once, kept by each worker until somebody writes one of
//! their kind. That there is none is kept as well, so that guessing keys costs the store nothing.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustc_hash::FxHashMap;

use crate::node::Node;
use crate::schema::{Schema, library};
use crate::store::{Key, Query, Row, StoreError, now};

/// A row in the form that a plugin uses.
pub trait Record: Sized + 'static {
    /// The kind of entity.
    const ENTITY: &'static str;

    /// Reads a row; one that makes no sense is as good as none.
    fn read(row: &Row) -> Option<Self>;
}

/// What a worker has read.
#[derive(Debug, Default)]
pub struct Records {
    tables: RefCell<FxHashMap<(TypeId, &'static str), Table>>,
}

/// How often entities of each kind were written since the start: what was read before is read again.
#[derive(Debug)]
pub struct Generations {
    by_entity: FxHashMap<&'static str, Arc<AtomicU64>>,
}

#[derive(Debug)]
struct Table {
    schema: &'static Schema,
    generation: Arc<AtomicU64>,
    /// By keys that clients choose, so that the hash must be one that they cannot foresee.
    entries: HashMap<Box<str>, Entry>,
    /// Bytes of all keys.
    size: usize,
}

#[derive(Debug)]
struct Entry {
    generation: u64,
    /// In seconds since 1970.
    expires: Option<u64>,
    found: Option<Rc<dyn Any>>,
}

/// Keys of one kind that a worker remembers at most; beyond, it begins anew.
const KEPT: usize = 64 * 1024;
/// Bytes of such keys: guesses may be as long as a header field.
const KEPT_BYTES: usize = 8 * 1024 * 1024;

impl Default for Generations {
    fn default() -> Self {
        let entities = library::entities();
        Self {
            by_entity: entities
                .map(|schema| (schema.name.as_str(), Arc::default()))
                .collect(),
        }
    }
}

impl Generations {
    /// An entity of this kind was written.
    pub fn advance(&self, entity: &str) {
        if let Some(generation) = self.by_entity.get(entity) {
            generation.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Everything may have been written.
    pub fn advance_all(&self) {
        for generation in self.by_entity.values() {
            generation.fetch_add(1, Ordering::AcqRel);
        }
    }
}

impl Records {
    /// The row with `field = value`; the field is `id` or a unique one.
    pub async fn find<T: Record>(
        &self,
        node: &Node,
        field: &'static str,
        value: &str,
    ) -> Result<Option<Rc<T>>, StoreError> {
        let (schema, generation) = match self.look::<T>(node, (TypeId::of::<T>(), field), value)? {
            Looked::Found(found) => return Ok(found.and_then(|found| found.downcast().ok())),
            Looked::Missing(schema, generation) => (schema, generation),
        };
        let row = if field == schema.key() {
            node.store.get(schema, value).await?
        } else {
            let key = Key::Field(field.to_owned(), value.into());
            node.store.find(schema, &key).await?
        };
        let found = row.as_ref().and_then(T::read).map(Rc::new);
        let entry = Entry {
            generation,
            expires: row.and_then(|row| row.expires),
            found: found.clone().map(|found| found as Rc<dyn Any>),
        };
        self.keep((TypeId::of::<T>(), field), value, entry);
        Ok(found)
    }

    /// The rows whose foreign `field` is the id `parent`.
    pub async fn children<T: Record>(
        &self,
        node: &Node,
        field: &'static str,
        parent: &str,
    ) -> Result<Rc<[T]>, StoreError> {
        // Not the type of single rows: both may be asked by the same field.
        let key = (TypeId::of::<Children<T>>(), field);
        let (schema, generation) = match self.look::<T>(node, key, parent)? {
            Looked::Found(found) => {
                let found = found.and_then(|found| found.downcast::<Children<T>>().ok());
                return Ok(found.map_or_else(|| Rc::from([]), |children| children.0.clone()));
            }
            Looked::Missing(schema, generation) => (schema, generation),
        };
        let mut query = Query {
            size: 1000,
            parent: Some((field.to_owned(), parent.to_owned())),
            ..Query::default()
        };
        let mut rows = Vec::new();
        let mut expires = None;
        loop {
            let page = node.store.page(schema, &query).await?;
            expires = page
                .rows
                .iter()
                .filter_map(|row| row.expires)
                .chain(expires)
                .min();
            rows.extend(page.rows.iter().filter_map(T::read));
            match page.offset {
                Some(offset) => query.offset = Some(offset),
                None => break,
            }
        }
        let rows: Rc<[T]> = rows.into();
        let entry = Entry {
            generation,
            expires,
            found: Some(Rc::new(Children(rows.clone()))),
        };
        self.keep(key, parent, entry);
        Ok(rows)
    }

    fn look<T: Record>(
        &self,
        node: &Node,
        key: (TypeId, &'static str),
        value: &str,
    ) -> Result<Looked, StoreError> {
        let mut tables = self.tables.borrow_mut();
        let table = match tables.entry(key) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let unknown = || StoreError::Unavailable(format!("no entity {}", T::ENTITY));
                let schema = library::entity(T::ENTITY).ok_or_else(unknown)?;
                let generation = node.generations.by_entity.get(T::ENTITY);
                entry.insert(Table {
                    schema,
                    generation: generation.ok_or_else(unknown)?.clone(),
                    entries: HashMap::new(),
                    size: 0,
                })
            }
        };
        // Read before the store is: a write in between makes the entry old at once.
        let generation = table.generation.load(Ordering::Acquire);
        Ok(match table.entries.get(value) {
            Some(entry) if entry.is_current(generation) => Looked::Found(entry.found.clone()),
            _ => Looked::Missing(table.schema, generation),
        })
    }

    fn keep(&self, key: (TypeId, &'static str), value: &str, entry: Entry) {
        let mut tables = self.tables.borrow_mut();
        // `look` made it.
        let Some(table) = tables.get_mut(&key) else {
            return;
        };
        table.keep(value, entry);
    }
}

impl Table {
    fn keep(&mut self, value: &str, entry: Entry) {
        if let Some(known) = self.entries.get_mut(value) {
            *known = entry;
            return;
        }
        if self.entries.len() >= KEPT || self.size + value.len() > KEPT_BYTES {
            self.entries.clear();
            self.size = 0;
        }
        self.size += value.len();
        self.entries.insert(value.into(), entry);
    }
}

enum Looked {
    Found(Option<Rc<dyn Any>>),
    Missing(&'static Schema, u64),
}

struct Children<T>(Rc<[T]>);

impl Entry {
    fn is_current(&self, generation: u64) -> bool {
        self.generation == generation && self.expires.is_none_or(|expires| expires > now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_take_bounded_memory() {
        let schema = library::entity("keyauth_credentials").unwrap();
        let mut table = Table {
            schema,
            generation: Arc::default(),
            entries: HashMap::new(),
            size: 0,
        };
        let nothing = || Entry {
            generation: 0,
            expires: None,
            found: None,
        };
        let bounded = |table: &Table| {
            let size: usize = table.entries.keys().map(|key| key.len()).sum();
            assert_eq!(size, table.size);
            assert!(size <= KEPT_BYTES && table.entries.len() <= KEPT);
        };
        for guess in 0..KEPT + 10 {
            table.keep(&guess.to_string(), nothing());
        }
        assert_eq!(table.entries.len(), 10);
        bounded(&table);
        for guess in 0..3000 {
            table.keep(&format!("{guess:08000}"), nothing());
            table.keep("the same again", nothing());
        }
        bounded(&table);
    }
}
