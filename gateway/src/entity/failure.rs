//! What a store refuses, in Kong's words.

use super::Selector;
use crate::error::{Code, Error};
use crate::schema::Schema;
use crate::store::StoreError;
use crate::value::Object;

/// What is being done, for the words of a refusal.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verb {
    Create,
    Remove,
    Update,
    Upsert,
}

/// A commit that did not happen.
#[derive(Debug)]
pub(super) enum Failed {
    Conflict,
    Error(Error),
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Conflict => busy(),
            Failed::Error(error) => error,
        }
    }
}

pub(super) fn busy() -> Error {
    Error::new(
        Code::DatabaseError,
        "the entity is changed by others all the time",
    )
}

pub(super) fn unavailable(error: StoreError) -> Error {
    match error {
        StoreError::Offset(error) => *error,
        error => Error::new(Code::DatabaseError, error.to_string()),
    }
}

pub(super) fn read_only(schema: &Schema, verb: Verb, selector: Option<&Selector>) -> Error {
    let verb = match verb {
        Verb::Create => "create",
        Verb::Remove => "remove",
        Verb::Update => "update",
        Verb::Upsert => "create or update",
    };
    let by = match selector {
        Some(Selector::By(field, _)) => format!(" by '{field}'"),
        _ => String::new(),
    };
    let message = format!(
        "cannot {verb} '{}' entities{by} when not using a database",
        schema.name
    );
    Error::new(Code::OperationUnsupported, message)
}

pub(super) fn absent(schema: &Schema, selector: &Selector) -> Error {
    match selector {
        Selector::By(field, value) => {
            let value = value.as_str().unwrap_or_default();
            Error::not_found_by(field, schema.shown(field, value))
        }
        Selector::Id(id) => {
            let mut key = Object::new();
            key.insert(schema.key().into(), id.as_str().into());
            Error::not_found(key)
        }
    }
}
