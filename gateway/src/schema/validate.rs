//! Whether values are what their fields say, in Kong's order and words.

use super::{Field, Kind, Record, Rule, Schema, View, is_reference, library, redact};
use crate::value::{Object, Value, as_integer, number_text};

/// How much of an entity is at hand.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// A whole entity.
    Insert,
    /// A part that only refers to an entity.
    Partial,
    /// An entity merged with what it replaces; three messages say so.
    Update,
}

/// What is wrong with a value: a message, or a tree of them.
pub(super) type Fault = Value;

impl Schema {
    /// Checks an entity that went through [`Schema::process`]. `original` is what the client sent,
    /// `previous` what the entity replaces.
    pub fn validate(
        &self,
        entity: &Object,
        mode: Mode,
        original: Option<&Object>,
        previous: Option<&Object>,
    ) -> Result<(), Object> {
        if let Some(key) = self.subschema_key() {
            let known = match entity.get(key) {
                None | Some(Value::Null) => Err("required field missing".to_owned()),
                Some(value) if self.subschema(entity).is_none() => {
                    let first = value
                        .as_str()
                        .or_else(|| value.as_array()?.first()?.as_str());
                    Err(self.subschema_error(first.unwrap_or_default()))
                }
                Some(_) => Ok(()),
            };
            if let Err(why) = known {
                let mut errors = Object::new();
                errors.insert(key.into(), why.into());
                return Err(errors);
            }
        }
        let over = self.subschema(entity);
        let view = View {
            record: &self.record,
            over,
        };
        let mut errors = record(view, entity, mode);
        let plain = View::plain(&self.record);
        super::checks::run(plain, &self.record.checks, entity, mode, &mut errors);
        if let Some(over) = over {
            super::checks::run(view, &over.checks, entity, mode, &mut errors);
        }
        self.check_transformations(entity, original, previous, &mut errors);
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }

    /// Checks that a value holds the entity's primary key.
    pub fn validate_primary_key(&self, key: Option<&Object>) -> Result<(), Object> {
        let mut errors = Object::new();
        for name in &self.meta.primary_key {
            let Some(field) = self.record.fields.get(name) else {
                continue;
            };
            let fault = match key.and_then(|key| key.get(name)) {
                None => Some("missing primary key".into()),
                Some(Value::Null) => Some("required field missing".into()),
                Some(value) => self::field(field, value, Mode::Insert).err(),
            };
            if let Some(fault) = fault {
                errors.insert(name.clone(), fault);
            }
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }

    /// Checks one field's value by itself.
    pub fn validate_value(&self, name: &str, value: &Value) -> Result<(), Value> {
        match self.record.fields.get(name) {
            Some(field) => self::field(field, value, Mode::Insert),
            None => Err("unknown field".into()),
        }
    }
}

/// Checks the fields of a record; the checks between them come after.
fn record(view: View<'_>, entity: &Object, mode: Mode) -> Object {
    let mut errors = Object::new();
    for (name, value) in entity {
        let fault = match view.field(name) {
            Some(definition) => field(definition, value, mode).err(),
            None => Some("unknown field".into()),
        };
        if let Some(fault) = fault {
            errors.insert(name.clone(), fault);
        }
    }
    for (name, field) in &view.record.fields {
        let missing = match entity.get(name) {
            Some(value) => value.is_null(),
            None => mode == Mode::Insert,
        };
        if field.required && missing {
            errors.insert(name.clone(), "required field missing".into());
        }
    }
    errors
}

/// Checks a nested record, for which defaults are filled in once more.
fn nested(definition: &Record, value: &Object, mode: Mode) -> Result<(), Fault> {
    let view = View::plain(definition);
    let value = super::process::process(view, value.clone(), super::Context::Insert)?;
    // A nested record is whole even where its entity is a part.
    let inner = if mode == Mode::Partial {
        Mode::Insert
    } else {
        mode
    };
    let mut errors = record(view, &value, Mode::Insert);
    super::checks::run(view, &definition.checks, &value, inner, &mut errors);
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors.into())
    }
}

/// Checks a value against a field's definition.
pub(super) fn field(field: &Field, value: &Value, mode: Mode) -> Result<(), Fault> {
    checked(field, value, mode, field.required)
}

fn checked(field: &Field, value: &Value, mode: Mode, required: bool) -> Result<(), Fault> {
    if value.is_null() {
        return null(field, required);
    }
    if field.is_barred() {
        return Err(worded(field, "value must be null"));
    }
    match (&field.kind, value) {
        (Kind::Abstract, _) => {
            return Err("error in schema definition: abstract field was not specialized".into());
        }
        (Kind::Any | Kind::Json, _)
        | (Kind::Boolean, Value::Boolean(_))
        | (Kind::Number, Value::Number(_)) => {}
        (Kind::Array(_) | Kind::Set(_), Value::Object(members)) if members.is_empty() => {}
        (Kind::Array(element) | Kind::Set(element), Value::Array(items)) => {
            elements(element, items, mode)?
        }
        (Kind::Array(_), _) => return Err("expected an array".into()),
        (Kind::Set(_), _) => return Err("expected a set".into()),
        (Kind::Map(..), Value::Array(items)) if items.is_empty() => {}
        (Kind::Map(keys, values), Value::Object(members)) => {
            for (name, value) in members {
                checked(keys, &name.as_str().into(), mode, true)?;
                checked(values, value, mode, true)?;
            }
        }
        (Kind::Map(..), _) => return Err("expected a map".into()),
        (Kind::Record(inner), Value::Object(members)) => nested(inner, members, mode)?,
        (Kind::Record(inner), Value::Array(items)) if items.is_empty() => {
            nested(inner, &Object::new(), mode)?
        }
        (Kind::Record(_), Value::Array(items)) => {
            return Err(items
                .iter()
                .map(|_| Value::from("unknown field"))
                .collect::<Vec<_>>()
                .into());
        }
        (Kind::Record(_), _) => return Err("expected a record".into()),
        (Kind::Foreign { reference, .. }, value) => foreign(reference, value)?,
        (Kind::Integer, Value::Number(number)) if as_integer(*number).is_some() => {}
        (Kind::Integer, _) => return Err("expected an integer".into()),
        (Kind::String, Value::String(text)) => {
            if field.referenceable && is_reference(text) {
                return Ok(());
            }
        }
        (Kind::String, _) => return Err("expected a string".into()),
        (Kind::Boolean, _) => return Err("expected a boolean".into()),
        (Kind::Number, _) => return Err("expected a number".into()),
    }
    for rule in &field.rules {
        if let Err(fault) = rule.check(value, matches!(field.kind, Kind::Map(..))) {
            let fault = if field.secret {
                redact::fault(fault, value)
            } else {
                fault
            };
            return Err(field.err.as_deref().map_or(fault, Value::from));
        }
    }
    Ok(())
}

fn null(field: &Field, required: bool) -> Result<(), Fault> {
    for rule in &field.rules {
        match rule {
            Rule::Ne(Value::Null) => return Err(worded(field, "value must not be null")),
            Rule::Eq(wanted) if !wanted.is_null() => {
                return Err(format!("value must be {}", shown(wanted)).into());
            }
            _ => {}
        }
    }
    if required {
        Err("required field missing".into())
    } else {
        Ok(())
    }
}

fn worded(field: &Field, message: &str) -> Fault {
    field.err.as_deref().unwrap_or(message).into()
}

/// Errors stand where their elements do; the last error ends the list.
fn elements(element: &Field, items: &[Value], mode: Mode) -> Result<(), Fault> {
    let mut errors = Vec::new();
    for (index, item) in items.iter().enumerate() {
        if let Err(fault) = checked(element, item, mode, true) {
            errors.resize(index, Value::Null);
            errors.push(fault);
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors.into())
    }
}

fn foreign(reference: &str, value: &Value) -> Result<(), Fault> {
    let Some(schema) = library::entity(reference) else {
        return Ok(());
    };
    let Err(errors) = schema.validate_primary_key(value.as_object()) else {
        return Ok(());
    };
    match value {
        Value::Object(part) => match schema.validate(part, Mode::Partial, None, None) {
            Ok(()) => Err(errors.into()),
            Err(deeper) => Err(deeper.into()),
        },
        _ => Err(errors.into()),
    }
}

impl Rule {
    fn check(&self, value: &Value, is_map: bool) -> Result<(), Fault> {
        let number = value.as_number().unwrap_or_default();
        let text = value.as_str().unwrap_or_default();
        let fault = match self {
            Self::Between(low, high) if number < *low || number > *high => {
                format!(
                    "value should be between {} and {}",
                    low.trunc(),
                    high.trunc()
                )
            }
            Self::Check(validator) => return validator.check(value),
            Self::Contains(wanted) if !members(value).contains(wanted) => {
                format!("expected to contain: {}", shown(wanted))
            }
            Self::Eq(wanted) if value != wanted => format!("value must be {}", shown(wanted)),
            Self::Gt(limit) if number <= *limit => {
                format!("value must be greater than {}", number_text(*limit))
            }
            Self::IsRegex if fancy_regex::Regex::new(text).is_err() => {
                format!("not a valid regex: {text}")
            }
            Self::LenEq(length) if length_of(value, is_map) != *length => {
                format!("length must be {length}")
            }
            Self::LenMax(length) if length_of(value, is_map) > *length => {
                format!("length must be at most {length}")
            }
            Self::LenMin(length) if length_of(value, is_map) < *length => {
                format!("length must be at least {length}")
            }
            Self::Match(pattern) if !pattern.is_match(text) => format!("invalid value: {text}"),
            Self::MatchAll(patterns) => {
                match patterns.iter().find(|(pattern, _)| !pattern.is_match(text)) {
                    Some((_, err)) => err.clone(),
                    None => return Ok(()),
                }
            }
            Self::MatchAny(patterns, err)
                if !patterns.iter().any(|pattern| pattern.is_match(text)) =>
            {
                err.clone()
                    .unwrap_or_else(|| format!("invalid value: {text}"))
            }
            Self::MatchNone(patterns) => {
                match patterns.iter().find(|(pattern, _)| pattern.is_match(text)) {
                    Some((_, err)) => err.clone(),
                    None => return Ok(()),
                }
            }
            Self::MutuallyExclusiveSubsets(subsets) => return exclusive(members(value), subsets),
            Self::Ne(other) if value == other => format!("value must not be {}", shown(value)),
            Self::NotOneOf(others) if others.contains(value) => {
                format!("must not be one of: {}", list(others))
            }
            Self::OneOf(options) if !options.contains(value) => {
                format!("expected one of: {}", list(options))
            }
            Self::StartsWith(prefix) if !text.starts_with(prefix.as_str()) => {
                format!("should start with: {prefix}")
            }
            Self::Timestamp if number <= 0.0 => "expected a valid timestamp".into(),
            Self::Uuid if !is_uuid(text) => "expected a valid UUID".into(),
            _ => return Ok(()),
        };
        Err(fault.into())
    }
}

/// Whether a text has the form of a UUID, in letters of either case.
pub fn is_uuid(text: &str) -> bool {
    let dash = |index: usize| matches!(index, 8 | 13 | 18 | 23);
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| {
            if dash(index) {
                byte == b'-'
            } else {
                byte.is_ascii_hexdigit()
            }
        })
}

fn members(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_default()
}

fn length_of(value: &Value, is_map: bool) -> f64 {
    let length = match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.len(),
        Value::Object(members) if is_map => members.len(),
        _ => 0,
    };
    f64::from(u32::try_from(length).unwrap_or(u32::MAX))
}

fn exclusive(values: &[Value], subsets: &[Vec<String>]) -> Result<(), Fault> {
    let mut touched: Vec<&Vec<String>> = Vec::new();
    for value in values.iter().filter_map(Value::as_str) {
        let subset = subsets
            .iter()
            .find(|subset| subset.iter().any(|member| member == value));
        if let Some(subset) = subset
            && !touched.contains(&subset)
        {
            touched.push(subset);
        }
    }
    if touched.len() <= 1 {
        return Ok(());
    }
    let sets: Vec<_> = touched
        .iter()
        .map(|subset| format!("({})", quoted(subset.iter())))
        .collect();
    Err(format!("these sets are mutually exclusive: {}", sets.join(", ")).into())
}

/// `'a', 'b'`.
pub(super) fn quoted<T: AsRef<str>>(words: impl Iterator<Item = T>) -> String {
    words
        .map(|word| format!("'{}'", word.as_ref()))
        .collect::<Vec<_>>()
        .join(", ")
}

fn list(values: &[Value]) -> String {
    values.iter().map(shown).collect::<Vec<_>>().join(", ")
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Boolean(value) => value.to_string(),
        Value::Number(number) => number_text(*number),
        Value::String(text) => text.clone(),
        table => table.to_json(),
    }
}
