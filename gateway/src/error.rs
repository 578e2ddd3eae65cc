//! What a request on entities can fail with, in Kong's codes, names and words.

use std::fmt;

use crate::object;
use crate::value::pretty;
use crate::value::{Object, Value};

/// The version of Kong whose behaviour is served.
pub const KONG_VERSION: &str = "3.9.3";

/// An error with Kong's code, as the Admin API prints it.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    pub code: Code,
    pub message: String,
    /// What is wrong with which field, as a tree.
    pub fields: Option<Object>,
    /// In place of the code's own name.
    name: Option<Box<str>>,
}

/// Kong's error codes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Code {
    InvalidPrimaryKey = 1,
    SchemaViolation = 2,
    PrimaryKeyViolation = 3,
    ForeignKeyViolation = 4,
    UniqueViolation = 5,
    NotFound = 6,
    InvalidOffset = 7,
    DatabaseError = 8,
    InvalidSize = 9,
    InvalidUnique = 10,
    InvalidOptions = 11,
    OperationUnsupported = 12,
    ForeignKeysUnresolved = 13,
    DeclarativeConfig = 14,
    TransformationError = 15,
    ReferencedByOthers = 19,
}

impl Code {
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidPrimaryKey => "invalid primary key",
            Self::SchemaViolation => "schema violation",
            Self::PrimaryKeyViolation => "primary key violation",
            Self::ForeignKeyViolation => "foreign key violation",
            Self::UniqueViolation => "unique constraint violation",
            Self::NotFound => "not found",
            Self::InvalidOffset => "invalid offset",
            Self::DatabaseError => "database error",
            Self::InvalidSize => "invalid size",
            Self::InvalidUnique => "invalid unique",
            Self::InvalidOptions => "invalid options",
            Self::OperationUnsupported => "operation unsupported",
            Self::ForeignKeysUnresolved => "foreign keys unresolved",
            Self::DeclarativeConfig => "invalid declarative configuration",
            Self::TransformationError => "transformation error",
            Self::ReferencedByOthers => "referenced by others",
        }
    }

    /// The HTTP status with which the Admin API answers.
    pub fn status(self) -> u16 {
        match self {
            Self::UniqueViolation => 409,
            Self::NotFound => 404,
            Self::OperationUnsupported => 405,
            Self::DatabaseError | Self::TransformationError => 500,
            _ => 400,
        }
    }
}

impl Error {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            fields: None,
            name: None,
        }
    }

    fn with(code: Code, message: String, fields: Object) -> Self {
        Self {
            code,
            message,
            fields: Some(fields),
            name: None,
        }
    }

    /// The members of the body that the Admin API answers with.
    pub fn body(&self) -> Object {
        let mut body = object! {
            "code": u32::from(self.code as u8),
            "name": self.name.as_deref().unwrap_or_else(|| self.code.name()),
            "message": self.message.as_str(),
        };
        if let Some(fields) = &self.fields {
            // Kong keeps what is wrong with options under a name of its own.
            let name = if self.code == Code::InvalidOptions {
                "options"
            } else {
                "fields"
            };
            body.insert(name.into(), fields.clone().into());
        }
        body
    }

    pub fn invalid_primary_key(fields: Object) -> Self {
        let message = format!("invalid primary key: '{}'", table(&fields));
        Self::with(Code::InvalidPrimaryKey, message, fields)
    }

    /// The entity's fields are not what its schema says.
    pub fn schema_violation(fields: Object) -> Self {
        let message = summary(&fields, "schema violation", "schema violations");
        Self::with(Code::SchemaViolation, message, fields)
    }

    pub fn primary_key_violation(key: Object) -> Self {
        let message = format!("primary key violation on key '{}'", table(&key));
        Self::with(Code::PrimaryKeyViolation, message, key)
    }

    /// A foreign key that leads nowhere.
    pub fn dangling_reference(field: &str, key: Object, parent: &str) -> Self {
        let message = format!(
            "the foreign key '{}' does not reference an existing '{parent}' entity.",
            table(&key)
        );
        let mut fields = Object::new();
        fields.insert(field.into(), key.into());
        Self::with(Code::ForeignKeyViolation, message, fields)
    }

    /// An entity that another one refers to, and that may not go away before.
    pub fn still_referenced(parent: &str, child: &str) -> Self {
        let message = format!("an existing '{child}' entity references this '{parent}' entity");
        Self::with(
            Code::ForeignKeyViolation,
            message,
            object! { "@referenced_by": child },
        )
    }

    pub fn unique_violation(key: Object) -> Self {
        let message = format!(
            "UNIQUE violation detected on '{}'",
            pretty::line_with_nulls(&key.clone().into())
        );
        Self::with(Code::UniqueViolation, message, key)
    }

    pub fn not_found(key: Object) -> Self {
        let message = format!(
            "could not find the entity with primary key '{}'",
            table(&key)
        );
        Self::with(Code::NotFound, message, key)
    }

    pub fn not_found_by(field: &str, value: &str) -> Self {
        let mut key = Object::new();
        key.insert(field.into(), value.into());
        let message = format!("could not find the entity with '{}'", table(&key));
        Self::with(Code::NotFound, message, key)
    }

    pub fn invalid_offset(offset: &str, why: &str) -> Self {
        Self::new(
            Code::InvalidOffset,
            format!("'{offset}' is not a valid offset: {why}"),
        )
    }

    pub fn invalid_unique(field: &str, why: &Value) -> Self {
        let message = why
            .as_str()
            .map_or_else(|| pretty::line(why), ToOwned::to_owned);
        Self {
            name: Some(format!("invalid unique {field}").into()),
            ..Self::new(Code::InvalidUnique, message)
        }
    }

    pub fn invalid_option(option: &str, why: &str) -> Self {
        let mut options = Object::new();
        options.insert(option.into(), why.into());
        Self::with(
            Code::InvalidOptions,
            format!("invalid option ({option}: {why})"),
            options,
        )
    }

    /// Foreign keys given by something else than the primary key, that lead nowhere:
    /// `(field, unique field of the parent, its value, the parent)`.
    pub fn foreign_keys_unresolved(unresolved: &[(String, String, String, String)]) -> Self {
        let mut fields = Object::new();
        for (field, unique, value, parent) in unresolved {
            let mut key = Object::new();
            key.insert(unique.clone(), value.as_str().into());
            let why = format!(
                "the foreign key cannot be resolved with '{}' for an existing '{parent}' entity",
                table(&key)
            );
            crate::value::put(&mut fields, &format!("{field}.{unique}"), why.into());
        }
        let message = summary(&fields, "foreign key unresolved", "foreign keys unresolved");
        Self::with(Code::ForeignKeysUnresolved, message, fields)
    }

    pub fn declarative(fields: Object) -> Self {
        let message = format!("declarative config is invalid: {}", table(&fields));
        Self::with(Code::DeclarativeConfig, message, fields)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

fn table(fields: &Object) -> String {
    pretty::line(&fields.clone().into())
}

/// What is wrong, in one sentence: the whole entity's errors first, then the fields' by name, one
/// level deep; what lies deeper is printed as a table.
fn summary(fields: &Object, one: &str, many: &str) -> String {
    let mut parts = Vec::new();
    match fields.get("@entity") {
        Some(Value::Array(errors)) => parts.extend(errors.iter().map(text)),
        Some(error) => parts.push(text(error)),
        None => {}
    }
    let mut names: Vec<_> = fields
        .iter()
        .filter(|(name, _)| *name != "@entity")
        .collect();
    names.sort_by(|a, b| a.0.cmp(b.0));
    for (name, error) in names {
        match error {
            Value::Object(inner) => {
                let mut inner: Vec<_> = inner.iter().collect();
                inner.sort_by(|a, b| a.0.cmp(b.0));
                parts.extend(
                    inner
                        .into_iter()
                        .map(|(field, error)| format!("{name}.{field}: {}", text(error))),
                );
            }
            Value::Array(inner) => parts.extend(
                inner
                    .iter()
                    .enumerate()
                    .filter(|(_, error)| !error.is_null())
                    .map(|(index, error)| format!("{name}.{}: {}", index + 1, text(error))),
            ),
            error => parts.push(format!("{name}: {}", text(error))),
        }
    }
    match parts.as_slice() {
        [part] => format!("{one} ({part})"),
        parts => format!("{} {many} ({})", parts.len(), parts.join("; ")),
    }
}

fn text(error: &Value) -> String {
    match error {
        Value::String(text) => text.clone(),
        table => pretty::lines(table),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_assembled_as_kong_does() {
        let nested = object! {
            "config": object! {
                "foo": "unknown field",
                "key_names": vec![Value::from("bad"), Value::from("expected a string")],
            },
            "consumer": "value must be null",
        };
        assert_eq!(
            Error::schema_violation(nested).message,
            "3 schema violations (config.foo: unknown field; config.key_names: {\n  \"bad\",\n  \"expected a \
             string\"\n}; consumer: value must be null)"
        );
        let gaps = object! { "paths": vec![Value::Null, "wrong".into()] };
        assert_eq!(
            Error::schema_violation(gaps).message,
            "schema violation (paths.2: wrong)"
        );
    }

    #[test]
    fn keys_are_printed_as_tables() {
        let key = object! { "id": "5" };
        assert_eq!(
            Error::dangling_reference("service", key.clone(), "services").message,
            "the foreign key '{id=\"5\"}' does not reference an existing 'services' entity."
        );
        assert_eq!(
            Error::not_found(key).message,
            "could not find the entity with primary key '{id=\"5\"}'"
        );
    }
}
