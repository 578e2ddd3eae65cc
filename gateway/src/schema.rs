//! Schemas: what an entity or a plugin's configuration may look like.
//!
//! `schemas/*.yaml` are the one source; [`library`] has them all, built when first asked for.
//! An entity that arrives goes through [`Schema::process`] (shorthands, defaults, generated
//! fields), then [`Schema::validate`], then [`Schema::transform`].

use std::sync::Arc;

use indexmap::IndexMap;

use crate::value::{Object, Value};

mod address;
mod checks;
mod crypto;
mod custom;
mod dereference;
mod flavor;
mod infer;
pub mod library;
mod load;
pub mod openapi;
mod pattern;
mod print;
mod process;
mod redact;
mod reference;
mod shorthand;
#[cfg(test)]
mod tests;
mod transform;
mod uri;
mod validate;

pub use address::{Address, Host};
pub use crypto::public_key;
pub use process::{Context, milliseconds, random_string, uuid, uuid_of, uuid_text};
pub use reference::is_reference;
pub use transform::password_hash;
pub use uri::normalize as normalize_path;
pub use validate::{Mode, is_uuid};

use checks::Check;
use custom::Validator;
use pattern::Pattern;
use shorthand::Shorthand;
use transform::Transformation;

/// A kind of entity.
#[derive(Debug)]
pub struct Schema {
    pub name: String,
    pub meta: Meta,
    pub record: Record,
    transformations: Vec<Transformation>,
    subschemas: Subschemas,
}

/// What is said of an entity besides its fields.
#[derive(Debug, Default)]
pub struct Meta {
    pub primary_key: Vec<String>,
    /// The field that may stand for the primary key in a path.
    pub endpoint_key: Option<String>,
    /// Fields that are unique together.
    pub cache_key: Vec<String>,
    /// The plugin that brings the entity.
    pub plugin: Option<String>,
    admin_api_name: Option<String>,
    admin_api_nested_name: Option<String>,
    pub generate_admin_api: bool,
    pub workspaceable: bool,
    pub ttl: bool,
    pub db_export: bool,
}

/// Fields, and the rules between them.
#[derive(Debug, Default)]
pub struct Record {
    pub fields: IndexMap<String, Field>,
    shorthands: IndexMap<String, Shorthand>,
    checks: Vec<Check>,
    /// The checks as `GET /schemas` shows them.
    shown_checks: Vec<Value>,
}

/// A field.
#[derive(Debug)]
pub struct Field {
    pub kind: Kind,
    pub required: bool,
    /// Filled in by the gateway: identifiers, times, secrets.
    pub auto: bool,
    pub default: Option<Value>,
    pub unique: bool,
    pub unique_across_ws: bool,
    /// May hold `{vault://…}` in place of its value.
    pub referenceable: bool,
    /// A secret: never in a log, nor in what is said of it.
    pub secret: bool,
    /// Not stored with the entity.
    pub transient: bool,
    uuid: bool,
    len_min: Option<f64>,
    /// In the order in which they are applied.
    rules: Vec<Rule>,
    /// In place of a rule's own message.
    err: Option<String>,
    /// What the field's definition says apart from what it is made of, for `GET /schemas`.
    attributes: Object,
}

/// What a field is made of.
#[derive(Debug)]
pub enum Kind {
    /// Specialised by the plugin or vault that the entity names.
    Abstract,
    Any,
    Array(Box<Field>),
    Boolean,
    Foreign {
        reference: String,
        on_delete: OnDelete,
    },
    Integer,
    Json,
    Map(Box<Field>, Box<Field>),
    Number,
    Record(Arc<Record>),
    Set(Box<Field>),
    String,
}

/// What becomes of an entity when what it refers to is deleted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnDelete {
    Cascade,
    Restrict,
}

/// A rule for one field's value.
#[derive(Debug)]
enum Rule {
    Between(f64, f64),
    Check(Validator),
    Contains(Value),
    Eq(Value),
    Gt(f64),
    IsRegex,
    LenEq(f64),
    LenMax(f64),
    LenMin(f64),
    Match(Pattern),
    MatchAll(Vec<(Pattern, String)>),
    MatchAny(Vec<Pattern>, Option<String>),
    MatchNone(Vec<(Pattern, String)>),
    MutuallyExclusiveSubsets(Vec<Vec<String>>),
    Ne(Value),
    NotOneOf(Vec<Value>),
    OneOf(Vec<Value>),
    StartsWith(String),
    Timestamp,
    Uuid,
}

/// Definitions that depend on the entity.
#[derive(Debug, Default)]
enum Subschemas {
    #[default]
    None,
    /// The first protocol of the route decides.
    Protocols(Vec<(Vec<String>, Record)>),
    /// The plugin's name decides.
    Plugins,
    /// The vault's name decides.
    Vaults,
}

impl Schema {
    /// Whether clients may send a field of this name: the entity's own, or a shorthand for some of them.
    pub fn takes(&self, name: &str) -> bool {
        self.record.fields.contains_key(name) || self.record.shorthands.contains_key(name)
    }

    /// The name of the collection in the Admin API.
    pub fn api_name(&self) -> &str {
        self.meta.admin_api_name.as_deref().unwrap_or(&self.name)
    }

    /// The name of the collection under a parent in the Admin API.
    pub fn nested_name(&self) -> &str {
        self.meta
            .admin_api_nested_name
            .as_deref()
            .unwrap_or_else(|| self.api_name())
    }

    /// The specialised definitions for an entity, where the schema has such.
    pub fn subschema(&self, entity: &Object) -> Option<&Record> {
        let key = entity.get(self.subschema_key()?)?;
        match &self.subschemas {
            Subschemas::None => None,
            Subschemas::Plugins => library::plugin(key.as_str()?).map(|plugin| &plugin.record),
            Subschemas::Vaults => library::vault(key.as_str()?),
            Subschemas::Protocols(records) => {
                let find = |name: &str| {
                    records
                        .iter()
                        .find(|(names, _)| names.iter().any(|known| known == name))
                };
                let names = key.as_array()?.iter().filter_map(Value::as_str);
                names.filter_map(find).map(|(_, record)| record).next()
            }
        }
    }

    fn subschema_key(&self) -> Option<&'static str> {
        match self.subschemas {
            Subschemas::None => None,
            Subschemas::Plugins | Subschemas::Vaults => Some("name"),
            Subschemas::Protocols(_) => Some("protocols"),
        }
    }

    /// What is said of an entity whose subschema is not known.
    fn subschema_error(&self, key: &str) -> String {
        match self.subschemas {
            Subschemas::Plugins => {
                format!(
                    "plugin '{key}' not enabled; add it to the 'plugins' configuration property"
                )
            }
            Subschemas::Vaults => format!("vault '{key}' is not installed"),
            Subschemas::None | Subschemas::Protocols(_) => format!("unknown type: {key}"),
        }
    }

    /// The fields that refer to other entities.
    pub fn foreign(&self) -> impl Iterator<Item = (&str, &str, OnDelete)> {
        self.record
            .fields
            .iter()
            .filter_map(|(name, field)| match &field.kind {
                Kind::Foreign {
                    reference,
                    on_delete,
                } => Some((name.as_str(), reference.as_str(), *on_delete)),
                _ => None,
            })
    }

    /// The fields whose values no two entities share.
    pub fn unique(&self) -> impl Iterator<Item = (&str, &Field)> {
        self.record
            .fields
            .iter()
            .filter(|(_, field)| field.unique)
            .map(|(name, field)| (name.as_str(), field))
    }

    /// The entity's own key: one field in all but one case.
    pub fn key(&self) -> &str {
        self.meta.primary_key.first().map_or("id", String::as_str)
    }
}

impl Field {
    /// Whether the field must be null.
    pub fn is_barred(&self) -> bool {
        self.rules
            .iter()
            .any(|rule| matches!(rule, Rule::Eq(Value::Null)))
    }
}

/// A record with the definitions of a subschema laid over its own.
#[derive(Clone, Copy, Debug)]
struct View<'a> {
    record: &'a Record,
    over: Option<&'a Record>,
}

impl<'a> View<'a> {
    fn plain(record: &'a Record) -> Self {
        Self { record, over: None }
    }

    fn field(&self, name: &str) -> Option<&'a Field> {
        let own = self.record.fields.get(name)?;
        Some(
            self.over
                .and_then(|over| over.fields.get(name))
                .unwrap_or(own),
        )
    }

    fn fields(&self) -> impl Iterator<Item = (&'a String, &'a Field)> {
        let over = self.over;
        self.record.fields.iter().map(move |(name, own)| {
            (
                name,
                over.and_then(|over| over.fields.get(name)).unwrap_or(own),
            )
        })
    }

    /// The field that a dotted path names.
    fn at(&self, path: &str) -> Option<&'a Field> {
        match path.split_once('.') {
            None => self.field(path),
            Some((head, rest)) => match &self.field(head)?.kind {
                Kind::Record(record) => View::plain(record).at(rest),
                _ => None,
            },
        }
    }
}
