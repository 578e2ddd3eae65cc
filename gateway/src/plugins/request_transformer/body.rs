//! Bodies that hold members by name, and queries.

use bytes::Bytes;

use crate::multipart;
use crate::plugin::query::{Argument, Query};
use crate::value::{Object, Value};

#[derive(Debug)]
pub(super) enum Form {
    Json(Object),
    Arguments(Query),
    Parts(multipart::Form),
}

impl Form {
    /// Whether bodies of this type are changed.
    pub(super) fn is_known(content_type: &str) -> bool {
        let content_type = content_type.to_ascii_lowercase();
        ["application/json", "multipart/form-data", URL_ENCODED]
            .iter()
            .any(|known| content_type.contains(known))
    }

    pub(super) fn is_url_encoded(content_type: &str) -> bool {
        let content_type = content_type.to_ascii_lowercase();
        // Kong looks for the others first.
        content_type.contains(URL_ENCODED)
            && !content_type.contains("application/json")
            && !content_type.contains("multipart/form-data")
    }

    /// Reads a body; nothing where it is none of what its type says.
    pub(super) fn read(content_type: &str, body: &[u8]) -> Option<Self> {
        let lower = content_type.to_ascii_lowercase();
        if lower.contains("application/json") {
            if body.is_empty() {
                return Some(Self::Json(Object::new()));
            }
            return match Value::from_json(body) {
                Ok(Value::Object(members)) => Some(Self::Json(members)),
                Ok(_) | Err(_) => None,
            };
        }
        if lower.contains("multipart/form-data") {
            return multipart::Form::read(content_type, body).map(Self::Parts);
        }
        Some(Self::Arguments(Query::parse(body)))
    }

    /// Whether there is a member of that name, and it is not `false`.
    pub(super) fn has(&self, name: &str) -> bool {
        match self {
            Self::Json(members) => members
                .get(name)
                .is_some_and(|value| value.as_bool() != Some(false)),
            Self::Arguments(query) => query.contains(name),
            Self::Parts(parts) => parts.contains(name),
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        match self {
            Self::Json(members) => drop(members.shift_remove(name)),
            Self::Arguments(query) => drop(query.remove(name)),
            Self::Parts(parts) => parts.remove(name),
        }
    }

    pub(super) fn rename(&mut self, old: &str, new: &str) -> bool {
        if old == new || !self.has(old) {
            return false;
        }
        match self {
            Self::Json(members) => {
                if let Some(value) = members.shift_remove(old) {
                    members.insert(new.to_owned(), value);
                }
            }
            Self::Arguments(query) => {
                query.remove(new);
                for argument in &mut query.arguments {
                    if argument.name == old {
                        new.clone_into(&mut argument.name);
                    }
                }
            }
            Self::Parts(parts) => {
                let value = parts.get(old).map(<[u8]>::to_vec);
                parts.set(new, value.unwrap_or_default());
                parts.remove(old);
            }
        }
        true
    }

    /// In place of what has that name.
    pub(super) fn set(&mut self, name: &str, value: String) {
        match self {
            Self::Json(members) => drop(members.insert(name.to_owned(), value.into())),
            Self::Arguments(query) => query.set(name, value),
            Self::Parts(parts) => {
                parts.remove(name);
                parts.set(name, value.into_bytes());
            }
        }
    }

    /// Behind what has that name; parts are not appended to.
    pub(super) fn append(&mut self, name: &str, value: String) -> bool {
        match self {
            Self::Json(members) => {
                let appended = match members.get(name).cloned() {
                    Some(Value::String(before)) => vec![before.into(), value.into()].into(),
                    Some(Value::Array(mut all)) => {
                        all.push(value.into());
                        all.into()
                    }
                    // What Lua makes of an object that something is put behind.
                    Some(Value::Object(mut object)) => {
                        object.insert("1".into(), value.into());
                        object.into()
                    }
                    _ => Value::from(vec![value.into()]),
                };
                members.insert(name.to_owned(), appended);
            }
            Self::Arguments(query) => {
                // Arguments of one name are written together.
                let place = query.arguments.iter().rposition(|known| known.name == name);
                let argument = Argument {
                    name: name.to_owned(),
                    value: Some(value),
                };
                // An argument without a value is `true` in Lua, and is replaced by the list.
                match place {
                    Some(place) if query.arguments[place].value.is_none() => {
                        query.arguments[place] = argument;
                    }
                    Some(place) => query.arguments.insert(place + 1, argument),
                    None => query.arguments.push(argument),
                }
            }
            Self::Parts(_) => return false,
        }
        true
    }

    pub(super) fn to_bytes(&self) -> Bytes {
        match self {
            Self::Json(members) => Value::from(members.clone()).to_json().into(),
            Self::Arguments(query) => query.to_text().into(),
            Self::Parts(parts) => parts.to_bytes(),
        }
    }
}

const URL_ENCODED: &str = "application/x-www-form-urlencoded";
