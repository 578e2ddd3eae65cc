//! What an entity gets on its way in and out: shorthands spelled out, generated fields, defaults.

use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::{Field, Kind, Record, Schema, View};
use crate::value::{self, Object, Value};

/// What happens to the entity.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Context {
    Insert,
    /// It comes out of a file, whose entities are all as old as this, in milliseconds since 1970.
    Load {
        at: u64,
    },
    /// It is read; `shorthands` says whether deprecated names are shown as well.
    Select {
        shorthands: bool,
    },
    Update,
    Upsert,
}

impl Context {
    fn is_select(self) -> bool {
        matches!(self, Self::Select { .. })
    }

    fn creates(self) -> bool {
        matches!(self, Self::Insert | Self::Load { .. } | Self::Upsert)
    }
}

impl Schema {
    /// Spells out shorthands, generates and defaults what is missing. Fails when a shorthand is
    /// wrong by itself or contradicts what it stands for.
    pub fn process(&self, data: Object, context: Context) -> Result<Object, Object> {
        let ttl = data
            .get("ttl")
            .filter(|ttl| self.meta.ttl && !ttl.is_null())
            .cloned();
        let view = View {
            record: &self.record,
            over: self.subschema(&data),
        };
        let mut data = process(view, data, context)?;
        if let Some(ttl) = ttl
            && context.is_select()
        {
            data.insert("ttl".into(), ttl);
        }
        Ok(data)
    }

    /// A change laid over an entity: records are merged, everything else is replaced.
    pub fn merge(&self, change: &Object, entity: &Object) -> Object {
        merge(
            View {
                record: &self.record,
                over: self.subschema(entity),
            },
            change,
            entity,
        )
    }
}

pub(super) fn process(view: View<'_>, data: Object, context: Context) -> Result<Object, Object> {
    let mut data = data;
    super::shorthand::expand(view.record, &mut data, context)?;
    let mut out = Object::with_capacity(view.record.fields.len());
    for (name, field) in view.fields() {
        let given = data.shift_remove(name);
        let generated = if context.is_select() {
            None
        } else {
            generate(name, field, given.as_ref(), context)
        };
        let value = adjust(field, generated.or(given), context)?;
        let Some(value) = value else { continue };
        let value = match value {
            // An empty text that the schema does not allow is none.
            Value::String(text) if context.is_select() && text.is_empty() && is_text(field) => {
                Value::Null
            }
            value => value,
        };
        out.insert(name.clone(), value);
    }
    if context.is_select() {
        super::shorthand::show(view.record, &mut out, context);
    } else {
        // What no field knows stays, to be refused by name.
        out.extend(data);
    }
    Ok(out)
}

fn is_text(field: &Field) -> bool {
    matches!(field.kind, Kind::String) && field.len_min.is_none_or(|least| least > 0.0)
}

/// The value of a field that the gateway fills in itself.
fn generate(name: &str, field: &Field, given: Option<&Value>, context: Context) -> Option<Value> {
    if !field.auto {
        return None;
    }
    let missing = given.is_none();
    if field.uuid || matches!(field.kind, Kind::String) {
        let generate = if field.uuid { uuid } else { random_string };
        return (context.creates() && missing).then(|| generate().into());
    }
    let null = given.is_none_or(Value::is_null);
    let stamped = match name {
        "created_at" => context.creates() && null,
        "updated_at" => true,
        _ => false,
    };
    stamped.then(|| {
        let at = match context {
            Context::Load { at } => at,
            _ => milliseconds(SystemTime::now()),
        };
        seconds(at, matches!(field.kind, Kind::Number)).into()
    })
}

/// Milliseconds since 1970.
pub fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A time in seconds: whole ones, or with milliseconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds are exact for longer than there are years"
)]
fn seconds(at: u64, fraction: bool) -> f64 {
    if fraction {
        at as f64 / 1000.0
    } else {
        (at / 1000) as f64
    }
}

fn adjust(field: &Field, value: Option<Value>, context: Context) -> Result<Option<Value>, Object> {
    if context.is_select() && field.required && value.as_ref().is_some_and(Value::is_null) {
        return missing(field);
    }
    let value = match (&field.kind, value) {
        (Kind::Abstract, value) => return Ok(value),
        (Kind::Record(record), value) => match value {
            Some(Value::Null) => Some(Value::Null),
            None if context == Context::Update || !field.required => None,
            value => match value.map_or_else(|| missing(field), |value| Ok(Some(value)))? {
                Some(Value::Object(members)) => {
                    Some(process(View::plain(record), members, context)?.into())
                }
                Some(Value::Array(items)) if items.is_empty() => {
                    Some(process(View::plain(record), Object::new(), context)?.into())
                }
                value => value,
            },
        },
        (Kind::Array(element), Some(Value::Array(items))) => {
            Some(each(element, items, context)?.into())
        }
        (Kind::Set(element), Some(Value::Array(items))) => {
            Some(each(element, distinct(items), context)?.into())
        }
        (Kind::Array(_) | Kind::Set(_), Some(Value::Object(members))) if members.is_empty() => {
            Some(Vec::new().into())
        }
        (Kind::Map(..), Some(Value::Array(items))) if items.is_empty() => {
            Some(Object::new().into())
        }
        (Kind::Map(_, values), Some(Value::Object(members))) => {
            let mut out = Object::with_capacity(members.len());
            for (name, value) in members {
                out.insert(
                    name,
                    adjust(values, Some(value), context)?.unwrap_or_default(),
                );
            }
            Some(out.into())
        }
        (_, value) => value,
    };
    match value {
        None if context != Context::Update => missing(field),
        value => Ok(value),
    }
}

fn each(element: &Field, items: Vec<Value>, context: Context) -> Result<Vec<Value>, Object> {
    items
        .into_iter()
        .map(|item| Ok(adjust(element, Some(item), context)?.unwrap_or_default()))
        .collect()
}

/// A set keeps the first of equal scalars; tables are never equal in Lua.
fn distinct(items: Vec<Value>) -> Vec<Value> {
    let mut out: Vec<Value> = Vec::with_capacity(items.len());
    for item in items {
        let scalar = !matches!(item, Value::Array(_) | Value::Object(_));
        if !(scalar && out.contains(&item)) {
            out.push(item);
        }
    }
    out
}

/// What stands for a field that was not given.
fn missing(field: &Field) -> Result<Option<Value>, Object> {
    if let Some(default) = &field.default {
        return Ok(Some(match default {
            Value::String(text) if text == "{random}" => PROCESS_SECRET.as_str().into(),
            default => default.clone(),
        }));
    }
    if !field.required {
        return Ok(Some(Value::Null));
    }
    match &field.kind {
        Kind::Record(record) => Ok(Some(
            process(View::plain(record), Object::new(), Context::Insert)?.into(),
        )),
        _ => Ok(None),
    }
}

/// Kong draws the default secret of sessions once, when it starts.
pub(super) static PROCESS_SECRET: LazyLock<String> = LazyLock::new(random_string);

fn merge(view: View<'_>, change: &Object, entity: &Object) -> Object {
    let mut out = entity.clone();
    for (name, value) in change {
        let inner = view.field(name).and_then(|field| match &field.kind {
            Kind::Record(record) => Some(record.as_ref()),
            _ => None,
        });
        let value = match (inner, value) {
            (Some(record), Value::Object(change)) => merge_record(record, change, entity.get(name)),
            (_, value) => value.clone(),
        };
        out.insert(name.clone(), value);
    }
    out
}

fn merge_record(record: &Record, change: &Object, entity: Option<&Value>) -> Value {
    let empty = Object::new();
    let entity = entity.and_then(Value::as_object).unwrap_or(&empty);
    merge(View::plain(record), change, entity).into()
}

/// A random UUID.
pub fn uuid() -> String {
    let mut bytes = random::<16>();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    uuid_text(bytes)
}

/// The UUID of a name in a namespace: version 5.
pub fn uuid_of(namespace: [u8; 16], name: &str) -> [u8; 16] {
    let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(&namespace);
    hash.update(name.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finish().as_ref()[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x50;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}

/// A UUID as it is written.
pub fn uuid_text(bytes: [u8; 16]) -> String {
    let hex = super::crypto::hex(&bytes);
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

/// Thirty-two random letters and digits, as keys and secrets are made of.
pub fn random_string() -> String {
    let text = STANDARD_NO_PAD.encode(random::<24>());
    let spare = random::<32>();
    let letter = |base: u8, random: u8| char::from(base + random % 26);
    text.chars()
        .zip(spare)
        .map(|(character, spare)| match character {
            '/' => letter(b'A', spare),
            '+' => letter(b'a', spare),
            other => other,
        })
        .collect()
}

#[expect(
    clippy::expect_used,
    reason = "the system's source of randomness fails only where nothing works"
)]
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("random bytes");
    bytes
}

/// The member of an object that a path of names leads to.
pub(super) fn follow<'a>(object: &'a Object, path: &[String]) -> Option<&'a Value> {
    value::at(object, &path.join("."))
}
