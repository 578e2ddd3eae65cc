//! References to secrets, `{vault://env/NAME}`, and the vaults that they name: variables of the process, as they are or under a
//! prefix of their own. A reference is resolved when what holds it is planned; the Admin API shows it as it was written.

use std::collections::BTreeMap;

use crate::schema::library;
use crate::value::{self, Object, Value};

/// A variable that a value, or a member of its JSON, is to be taken from.
#[derive(Debug, Eq, PartialEq)]
pub struct Reference<'a> {
    pub vault: &'a str,
    resource: &'a str,
    member: Option<&'a str>,
    prefix: Option<&'a str>,
}

/// A reference that stands for nothing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{path}: {reference}: {problem}")]
pub struct Dangling {
    /// Where in the entity it is.
    pub path: Box<str>,
    pub reference: Box<str>,
    pub problem: Box<str>,
}

impl Dangling {
    /// Several of them in a line.
    pub fn list(all: &[Self]) -> String {
        let all: Vec<_> = all.iter().map(ToString::to_string).collect();
        all.join("; ")
    }
}

impl<'a> Reference<'a> {
    /// Reads `{vault://env/my-secret/member?prefix=APP_#1}`; what is no reference is nothing.
    pub fn parse(text: &'a str) -> Option<Self> {
        let inner = text.strip_prefix("{vault://")?.strip_suffix('}')?;
        // The version behind `#` says nothing for variables, which have one.
        let inner = inner.split_once('#').map_or(inner, |(before, _)| before);
        let (path, query) = inner.split_once('?').unwrap_or((inner, ""));
        let mut parts = path.splitn(3, '/');
        let prefix = query
            .split('&')
            .find_map(|argument| argument.strip_prefix("prefix="));
        Some(Self {
            vault: parts.next()?,
            resource: parts.next().filter(|resource| !resource.is_empty())?,
            member: parts.next().filter(|member| !member.is_empty()),
            prefix,
        })
    }

    /// What it stands for in a vault of variables whose names begin with `prefix`, unless the reference says another one.
    pub fn resolve(
        &self,
        prefix: Option<&str>,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<String, String> {
        let prefix = self.prefix.or(prefix).unwrap_or_default();
        let name = format!("{prefix}{}", self.resource)
            .replace('-', "_")
            .to_ascii_uppercase();
        let value = variable(&name).ok_or_else(|| format!("the variable {name} is not set"))?;
        let Some(member) = self.member else {
            return Ok(value);
        };
        // Of what is wrong with a secret, nothing may tell what it is.
        match Value::from_json(value.as_bytes()) {
            Ok(Value::Object(members)) => match members.get(member) {
                Some(Value::String(text)) => Ok(text.clone()),
                Some(other) if !other.is_null() => Ok(other.to_json()),
                _ => Err(format!("the JSON of the variable {name} has no '{member}'")),
            },
            _ => Err(format!("the variable {name} is no JSON object")),
        }
    }
}

/// The vaults of a node: `env`, and those that were made of it under a prefix.
#[derive(Debug, Default)]
pub struct Vaults {
    /// `vault_env_prefix`.
    prefix: Option<Box<str>>,
    /// By id: what references call it, and what its variables begin with.
    stored: BTreeMap<Box<str>, Stored>,
}

#[derive(Debug, Eq, PartialEq)]
struct Stored {
    name: Box<str>,
    prefix: Option<Box<str>>,
}

impl Vaults {
    pub fn new(prefix: Option<&str>) -> Self {
        Self {
            prefix: prefix.map(Box::from),
            stored: BTreeMap::new(),
        }
    }

    /// Takes a row. Whether that changes what references stand for.
    pub fn put(&mut self, id: &str, row: &Object) -> bool {
        let text = |path| value::at(row, path).and_then(Value::as_str);
        let vault = Stored {
            name: text("prefix").unwrap_or_default().into(),
            prefix: text("config.prefix").map(Box::from),
        };
        if self.stored.get(id) == Some(&vault) {
            return false;
        }
        self.stored.insert(id.into(), vault);
        true
    }

    /// Takes a vault away. Whether it was there.
    pub fn remove(&mut self, id: &str) -> bool {
        self.stored.remove(id).is_some()
    }

    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.stored.keys().map(|id| &**id)
    }

    /// What a text stands for, where it is a reference.
    pub fn find(&self, text: &str) -> Option<Result<String, String>> {
        self.find_in(text, &|name| std::env::var(name).ok())
    }

    /// An entity with what its references stand for, where its fields may hold such; and what is wrong with those that stay.
    pub fn resolve(&self, entity: &str, row: &Object) -> (Object, Vec<Dangling>) {
        let Some(schema) = library::entity(entity) else {
            return (row.clone(), Vec::new());
        };
        let mut wrong = Vec::new();
        let resolved = schema.dereferenced(row, &mut |path, text| match self.find(text)? {
            Ok(found) => Some(found),
            Err(problem) => {
                wrong.push(Dangling {
                    path: path.into(),
                    reference: text.into(),
                    problem: problem.into(),
                });
                None
            }
        });
        (resolved, wrong)
    }

    fn find_in(
        &self,
        text: &str,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Option<Result<String, String>> {
        let reference = Reference::parse(text)?;
        if reference.vault == "env" {
            return Some(reference.resolve(self.prefix.as_deref(), variable));
        }
        let mut stored = self.stored.values();
        Some(match stored.find(|vault| *vault.name == *reference.vault) {
            Some(vault) => reference.resolve(vault.prefix.as_deref(), variable),
            None => Err(unknown(reference.vault)),
        })
    }
}

/// What is said of a vault that there is not.
pub fn unknown(vault: &str) -> String {
    format!("the vault '{vault}' is not served")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object;

    #[test]
    fn references_stand_for_variables_and_members_of_their_json() {
        let variables: BTreeMap<String, String> = [
            ("MY_SECRET", "a"),
            ("APP_MY_SECRET", "b"),
            ("JSON", r#"{"user": "c", "port": 5432, "none": null}"#),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .into();
        let mut vaults = Vaults::default();
        let mine = object! { "prefix": "mine", "config": object! { "prefix": "app-" } };
        assert!(vaults.put("1", &mine));
        assert!(!vaults.put("1", &mine), "the same again changes nothing");
        for (text, expected) in [
            ("{vault://mine/my-secret}", Some(Ok("b"))),
            ("{vault://mine/my-secret?prefix=}", Some(Ok("a"))),
            ("{vault://env/my-secret}", Some(Ok("a"))),
            ("{vault://env/my_secret}", Some(Ok("a"))),
            ("{vault://env/my-secret?prefix=app_}", Some(Ok("b"))),
            ("{vault://env/my-secret#2}", Some(Ok("a"))),
            ("{vault://env/json/user}", Some(Ok("c"))),
            ("{vault://env/json/port}", Some(Ok("5432"))),
            (
                "{vault://env/json/none}",
                Some(Err("the JSON of the variable JSON has no 'none'")),
            ),
            (
                "{vault://env/my-secret/user}",
                Some(Err("the variable MY_SECRET is no JSON object")),
            ),
            (
                "{vault://env/absent}",
                Some(Err("the variable ABSENT is not set")),
            ),
            (
                "{vault://hcv/a}",
                Some(Err("the vault 'hcv' is not served")),
            ),
            ("{vault://env}", None),
            ("plain", None),
        ] {
            let find = |name: &str| variables.get(name).cloned();
            let found = vaults.find_in(text, &find);
            let found = found
                .as_ref()
                .map(|found| found.as_ref().map(String::as_str).map_err(String::as_str));
            assert_eq!(found, expected, "{text}");
        }
    }
}
