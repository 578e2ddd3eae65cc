//! Names that stand for other fields.

use super::load::{Loader, Result as Load, items, texts};
use super::process::{Context, follow};
use super::validate::{self, Mode};
use super::{Field, Record};
use crate::object;
use crate::schema::uri::Url;
use crate::value::{Object, Value, number_text};

/// A field that is no field of its own.
#[derive(Debug)]
pub(super) struct Shorthand {
    pub(super) field: Field,
    action: Action,
    /// The field's value wins over the shorthand's; otherwise the other way round.
    deprecated: bool,
    /// Where its value is read from, when it is shown.
    shows: Option<Vec<String>>,
}

#[derive(Debug)]
enum Action {
    /// The value goes to a field.
    Move(Vec<String>),
    Make(fn(&Value) -> Object),
}

impl Shorthand {
    pub(super) fn load(loader: Loader<'_>, raw: &Value) -> Load<Self> {
        let replaced = items(
            raw.get("deprecation")
                .and_then(|deprecation| deprecation.get("replaced_with")),
        );
        let shows = replaced.first().map(|place| texts(place.get("path")));
        let action = match raw.get("fn").and_then(Value::as_str) {
            Some("ignore") => Action::Make(|_| Object::new()),
            Some("service_url") => Action::Make(service_url),
            Some("session_idletime") => Action::Make(|value| {
                object! { "idling_timeout": if value.is_null() { 0.0.into() } else { value.clone() } }
            }),
            Some("session_samesite") => Action::Make(|value| {
                object! { "cookie_same_site": if value.as_str() == Some("off") { "Lax".into() } else { value.clone() } }
            }),
            Some("upstream_algorithm") => Action::Make(upstream_algorithm),
            Some("upstream_hash_on") => Action::Make(upstream_hash_on),
            Some(other) => {
                return Err(super::load::LoadError::new(format!(
                    "there is no shorthand {other:?}"
                )));
            }
            None => Action::Move(
                raw.get("to")
                    .map(|to| texts(Some(to)))
                    .or_else(|| shows.clone())
                    .unwrap_or_default(),
            ),
        };
        Ok(Self {
            field: loader.field(raw)?,
            action,
            deprecated: raw.get("deprecation").is_some(),
            shows,
        })
    }

    fn values(&self, value: &Value) -> Object {
        match &self.action {
            Action::Make(make) => make(value),
            Action::Move(path) => {
                let mut values = Object::new();
                crate::value::put(&mut values, &path.join("."), value.clone());
                values
            }
        }
    }
}

/// Spells out the shorthands that an entity uses.
pub(super) fn expand(record: &Record, data: &mut Object, context: Context) -> Result<(), Object> {
    if matches!(context, Context::Select { .. }) {
        return Ok(());
    }
    let mut errors = Object::new();
    for (name, shorthand) in &record.shorthands {
        let Some(value) = data.get(name).cloned() else {
            continue;
        };
        let checked = validate::field(&shorthand.field, &value, Mode::Insert);
        if let Err(fault) = checked.and_then(|()| agrees(name, shorthand, &value, data)) {
            errors.insert(name.clone(), fault);
            continue;
        }
        data.shift_remove(name);
        for (name, value) in shorthand.values(&value) {
            lay(data, name, value, shorthand.deprecated);
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    }
}

/// An old and a new name for the same thing may both be given if they say the same.
fn agrees(name: &str, shorthand: &Shorthand, value: &Value, data: &Object) -> Result<(), Value> {
    let Some(path) = &shorthand.shows else {
        return Ok(());
    };
    let other =
        follow(data, path).filter(|other| !other.is_null() && other.as_bool() != Some(false));
    match other {
        Some(other) if !value.is_null() && other != value => Err(format!(
            "both deprecated and new field are used but their values mismatch: {name} = {} vs {} = {}",
            shown(value),
            path.join("."),
            shown(other),
        )
        .into()),
        _ => Ok(()),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number_text(*number),
        other => other.to_json(),
    }
}

fn lay(data: &mut Object, name: String, value: Value, deprecated: bool) {
    match value {
        Value::Object(values) => {
            let mut own = match data.get(&name) {
                Some(Value::Object(own)) => own.clone(),
                _ => Object::new(),
            };
            for (name, value) in values {
                let kept = deprecated && own.get(&name).is_some_and(|own| !own.is_null());
                if !kept {
                    own.insert(name, value);
                }
            }
            data.insert(name, own.into());
        }
        value => {
            if !deprecated || data.get(&name).is_none_or(Value::is_null) {
                data.insert(name, value);
            }
        }
    }
}

/// Shows the deprecated names beside the new ones.
pub(super) fn show(record: &Record, data: &mut Object, context: Context) {
    if context != (Context::Select { shorthands: true }) {
        return;
    }
    for (name, shorthand) in &record.shorthands {
        if let Some(path) = &shorthand.shows {
            let value = follow(data, path).cloned();
            data.insert(name.clone(), value.unwrap_or_default());
        }
    }
}

/// A service's `url`.
fn service_url(value: &Value) -> Object {
    let text = match value {
        Value::String(text) => text.clone(),
        _ => return Object::new(),
    };
    let Some(url) = Url::parse(&text) else {
        return Object::new();
    };
    let number = url.port.and_then(|port| port.trim().parse::<f64>().ok());
    let protocol = url.scheme.unwrap_or(match number {
        Some(443.0) => "https",
        _ => "http",
    });
    let port = match (number, url.port) {
        (Some(number), _) => number.into(),
        (None, Some(text)) => text.into(),
        (None, None) => Value::from(if protocol == "https" { 443.0 } else { 80.0 }),
    };
    object! {
        "protocol": protocol,
        "host": url.host.map_or(Value::Null, Value::from),
        "port": port,
        "path": url.path.map_or(Value::Null, Value::from),
    }
}

/// Two algorithms do not hash.
fn upstream_algorithm(value: &Value) -> Object {
    let mut values = object! { "algorithm": value.clone() };
    if matches!(value.as_str(), Some("least-connections" | "latency")) {
        values.insert("hash_on".into(), Value::Null);
    }
    values
}

/// Hashing on something means consistent hashing.
fn upstream_hash_on(value: &Value) -> Object {
    match value {
        Value::Null => object! { "hash_on": "none" },
        Value::String(text) if text == "none" => {
            object! { "hash_on": "none", "algorithm": "round-robin" }
        }
        value => object! { "hash_on": value.clone(), "algorithm": "consistent-hashing" },
    }
}
