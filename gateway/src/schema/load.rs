//! Schemas from their files.

use std::sync::Arc;

use super::checks::Check;
use super::custom::Validator;
use super::pattern::Pattern;
use super::shorthand::Shorthand;
use super::transform::Transformation;
use super::{Field, Kind, Meta, OnDelete, Record, Rule, Schema, Subschemas};
use crate::value::{Object, Value};

/// A schema that is not written as schemas are.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {problem}")]
pub(super) struct LoadError {
    place: String,
    problem: String,
}

impl LoadError {
    pub(super) fn new(problem: impl Into<String>) -> Self {
        Self {
            place: String::new(),
            problem: problem.into(),
        }
    }

    /// Says where, from the inside out.
    pub(super) fn within(mut self, place: &str) -> Self {
        self.place = if self.place.is_empty() {
            place.into()
        } else {
            format!("{place}.{}", self.place)
        };
        self
    }
}

pub(super) type Result<T> = std::result::Result<T, LoadError>;

/// Reads definitions, with those that are shared at hand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loader<'a> {
    pub(super) types: &'a Object,
}

impl Loader<'_> {
    pub(super) fn schema(self, name: &str, raw: &Object) -> Result<Schema> {
        let text = |key: &str| raw.get(key).and_then(Value::as_str).map(ToOwned::to_owned);
        let list = |key: &str| texts(raw.get(key));
        let flag = |key: &str, default| raw.get(key).and_then(Value::as_bool).unwrap_or(default);
        let meta = Meta {
            primary_key: list("primary_key"),
            endpoint_key: text("endpoint_key"),
            cache_key: list("cache_key"),
            plugin: text("plugin"),
            admin_api_name: text("admin_api_name"),
            admin_api_nested_name: text("admin_api_nested_name"),
            generate_admin_api: flag("generate_admin_api", true),
            workspaceable: flag("workspaceable", false),
            ttl: flag("ttl", false),
            db_export: flag("db_export", true),
        };
        let subschemas = match text("subschema_key").as_deref() {
            None => Subschemas::None,
            Some("name") if name == "plugins" => Subschemas::Plugins,
            Some("name") => Subschemas::Vaults,
            Some(_) => {
                let mut records = Vec::new();
                for entry in items(raw.get("subschemas")) {
                    let entry = members(entry)?;
                    records.push((texts(entry.get("for")), self.record(entry, Some(raw))?));
                }
                Subschemas::Protocols(records)
            }
        };
        let transformations = items(raw.get("transformations"))
            .iter()
            .map(Transformation::load)
            .collect::<Result<_>>()?;
        Ok(Schema {
            name: name.into(),
            meta,
            record: self.record(raw, None)?,
            transformations,
            subschemas,
        })
    }

    /// A record; checks of a subschema may speak of fields of what it specialises.
    pub(super) fn record(self, raw: &Object, outer: Option<&Object>) -> Result<Record> {
        let mut record = Record::default();
        for entry in items(raw.get("fields")) {
            for (name, field) in members(entry)? {
                let field = self.field(field).map_err(|error| error.within(name))?;
                record.fields.insert(name.clone(), field);
            }
        }
        for entry in items(raw.get("shorthand_fields")) {
            for (name, field) in members(entry)? {
                let shorthand = Shorthand::load(self, field).map_err(|error| error.within(name))?;
                record.shorthands.insert(name.clone(), shorthand);
            }
        }
        for entry in items(raw.get("entity_checks")) {
            let check = Check::load(
                entry,
                |path| self.definition(raw, outer, path),
                |raw| self.built(raw),
            );
            record
                .checks
                .push(check.map_err(|error| error.within("entity_checks"))?);
            record.shown_checks.push(shown(entry));
        }
        Ok(record)
    }

    /// The definition of the field that a dotted path names, with all that its types say.
    fn definition(self, raw: &Object, outer: Option<&Object>, path: &str) -> Option<Object> {
        let (head, rest) = path
            .split_once('.')
            .map_or((path, None), |(head, rest)| (head, Some(rest)));
        let own = |raw: &Object| {
            let fields = items(raw.get("fields"));
            fields.iter().find_map(|entry| entry.get(head)).cloned()
        };
        let field = own(raw).or_else(|| outer.and_then(own))?;
        let field = self.resolve(&field).ok()?;
        match rest {
            None => Some(field),
            Some(rest) => self.definition(&field, None, rest),
        }
    }

    /// What a definition says, together with the shared ones that it names.
    fn resolve(self, raw: &Value) -> Result<Object> {
        let raw = members(raw)?;
        let Some(name) = raw.get("is") else {
            return Ok(raw.clone());
        };
        let shared = name.as_str().and_then(|name| self.types.get(name));
        let shared = shared.ok_or_else(|| LoadError::new(format!("there is no type {name:?}")))?;
        let mut all = self.resolve(shared)?;
        for (key, value) in raw.iter().filter(|(key, _)| *key != "is") {
            all.insert(key.clone(), value.clone());
        }
        Ok(all)
    }

    pub(super) fn field(self, raw: &Value) -> Result<Field> {
        self.built(self.resolve(raw)?)
    }

    fn built(self, raw: Object) -> Result<Field> {
        let flag = |key: &str| raw.get(key).and_then(Value::as_bool).unwrap_or_default();
        let number = |key: &str| raw.get(key).and_then(Value::as_number);
        let mut rules = Vec::new();
        for (key, value) in &raw {
            rules.extend(rule(key, value).map_err(|error| error.within(key))?);
        }
        let kind = self.kind(&raw)?;
        if matches!(kind, Kind::String) && !raw.contains_key("len_min") {
            // An empty string is no string unless the schema says so.
            rules.push((10, Rule::LenMin(1.0)));
        }
        rules.sort_by_key(|(order, _)| *order);
        let rules = rules.into_iter().map(|(_, rule)| rule).collect();
        Ok(Field {
            kind,
            required: flag("required"),
            auto: flag("auto"),
            default: raw.get("default").cloned(),
            unique: flag("unique"),
            unique_across_ws: flag("unique_across_ws"),
            referenceable: flag("referenceable"),
            secret: flag("secret") || flag("encrypted"),
            transient: flag("transient"),
            uuid: flag("uuid"),
            len_min: number("len_min"),
            rules,
            err: raw
                .get("err")
                .and_then(Value::as_str)
                .map(ToOwned::to_owned),
            attributes: raw
                .into_iter()
                .filter(|(key, _)| !INNER.contains(&key.as_str()))
                .collect(),
        })
    }

    fn kind(self, raw: &Object) -> Result<Kind> {
        let inner = |key: &str| match raw.get(key) {
            Some(raw) => self
                .field(raw)
                .map(Box::new)
                .map_err(|error| error.within(key)),
            None => Err(LoadError::new(format!("it has no {key}"))),
        };
        Ok(match raw.get("type").and_then(Value::as_str) {
            Some("any") => Kind::Any,
            Some("array") => Kind::Array(inner("elements")?),
            Some("boolean") => Kind::Boolean,
            Some("foreign") => Kind::Foreign {
                reference: raw
                    .get("reference")
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .into(),
                on_delete: match raw.get("on_delete").and_then(Value::as_str) {
                    Some("cascade") => OnDelete::Cascade,
                    _ => OnDelete::Restrict,
                },
            },
            Some("integer") => Kind::Integer,
            Some("json") => Kind::Json,
            Some("map") => Kind::Map(inner("keys")?, inner("values")?),
            Some("number") => Kind::Number,
            Some("record") if raw.contains_key("abstract") => Kind::Abstract,
            Some("record") => Kind::Record(Arc::new(self.record(raw, None)?)),
            Some("set") => Kind::Set(inner("elements")?),
            Some("string") => Kind::String,
            other => return Err(LoadError::new(format!("there is no type {other:?}"))),
        })
    }
}

/// What a field is made of, and what is ours alone: not shown as attributes.
const INNER: [&str; 10] = [
    "elements",
    "keys",
    "values",
    "fields",
    "entity_checks",
    "shorthand_fields",
    "check",
    "to",
    "fn",
    "secret",
];

/// Attributes that are no rules.
const PLAIN: [&str; 14] = [
    "type",
    "required",
    "unique",
    "unique_across_ws",
    "auto",
    "default",
    "referenceable",
    "encrypted",
    "secret",
    "on_delete",
    "abstract",
    "transient",
    "err",
    "reference",
];

/// The rule that an attribute is, with its place in Kong's order.
fn rule(key: &str, value: &Value) -> Result<Option<(usize, Rule)>> {
    let number = || {
        value
            .as_number()
            .ok_or_else(|| LoadError::new("it is no number"))
    };
    let list = || items(Some(value)).to_vec();
    let on = value.as_bool() == Some(true);
    Ok(Some(match key {
        "eq" => (0, Rule::Eq(value.clone())),
        "ne" => (1, Rule::Ne(value.clone())),
        "not_one_of" => (2, Rule::NotOneOf(list())),
        "one_of" => (3, Rule::OneOf(list())),
        "gt" => (4, Rule::Gt(number()?)),
        "timestamp" if on => (5, Rule::Timestamp),
        "uuid" if on => (6, Rule::Uuid),
        "is_regex" if on => (7, Rule::IsRegex),
        "between" => match items(Some(value)) {
            [Value::Number(low), Value::Number(high)] => (8, Rule::Between(*low, *high)),
            _ => return Err(LoadError::new("it is no pair of numbers")),
        },
        "len_eq" => (9, Rule::LenEq(number()?)),
        "len_min" => (10, Rule::LenMin(number()?)),
        "len_max" => (11, Rule::LenMax(number()?)),
        "starts_with" => (
            12,
            Rule::StartsWith(value.as_str().unwrap_or_default().into()),
        ),
        "match_none" => (14, Rule::MatchNone(patterns(value)?)),
        "match" => (15, Rule::Match(pattern(Some(value))?)),
        "match_all" => (16, Rule::MatchAll(patterns(value)?)),
        "match_any" => {
            let all = items(value.get("patterns"))
                .iter()
                .map(|value| pattern(Some(value)))
                .collect::<Result<_>>()?;
            (
                17,
                Rule::MatchAny(
                    all,
                    value
                        .get("err")
                        .and_then(Value::as_str)
                        .map(ToOwned::to_owned),
                ),
            )
        }
        "contains" => (18, Rule::Contains(value.clone())),
        "check" => {
            let name = value.as_str().unwrap_or_default();
            let check = Validator::named(name);
            (
                19,
                Rule::Check(
                    check.ok_or_else(|| LoadError::new(format!("there is no check {name:?}")))?,
                ),
            )
        }
        "mutually_exclusive_subsets" => (
            20,
            Rule::MutuallyExclusiveSubsets(list().iter().map(|set| texts(Some(set))).collect()),
        ),
        "deprecation" | "json_schema" => return Ok(None),
        key if PLAIN.contains(&key) || INNER.contains(&key) || !on && value.as_bool().is_some() => {
            return Ok(None);
        }
        key => return Err(LoadError::new(format!("there is no attribute {key:?}"))),
    }))
}

fn pattern(value: Option<&Value>) -> Result<Pattern> {
    let text = value
        .and_then(Value::as_str)
        .ok_or_else(|| LoadError::new("there is no pattern"))?;
    Pattern::new(text).map_err(|error| LoadError::new(error.to_string()))
}

fn patterns(value: &Value) -> Result<Vec<(Pattern, String)>> {
    let one = |entry: &Value| {
        let err = entry.get("err").and_then(Value::as_str).unwrap_or_default();
        Ok((pattern(entry.get("pattern"))?, err.to_owned()))
    };
    items(Some(value)).iter().map(one).collect()
}

/// An entity check as Kong shows it: without the names of our functions.
fn shown(entry: &Value) -> Value {
    match entry {
        Value::Object(members) => {
            let members = members
                .iter()
                .filter(|(key, _)| !["fn", "check"].contains(&key.as_str()));
            Value::Object(
                members
                    .map(|(key, value)| (key.clone(), shown(value)))
                    .collect(),
            )
        }
        other => other.clone(),
    }
}

pub(super) fn members(value: &Value) -> Result<&Object> {
    value
        .as_object()
        .ok_or_else(|| LoadError::new("it is no mapping"))
}

pub(super) fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).unwrap_or_default()
}

pub(super) fn texts(value: Option<&Value>) -> Vec<String> {
    items(value)
        .iter()
        .filter_map(Value::as_str)
        .map(ToOwned::to_owned)
        .collect()
}
