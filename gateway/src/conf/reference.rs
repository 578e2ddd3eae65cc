//! `{vault://env/NAME}` in place of a value, as `vaults` of Kong's own configuration: resolved
//! once, when the node starts.

use std::collections::BTreeMap;

use super::{Conf, ConfError};
use crate::value::Value;

/// A variable that a value, or a member of its JSON, is to be taken from.
#[derive(Debug, Eq, PartialEq)]
struct Reference<'a> {
    vault: &'a str,
    resource: &'a str,
    member: Option<&'a str>,
    prefix: Option<&'a str>,
}

impl<'a> Reference<'a> {
    /// Reads `{vault://env/my-secret/member?prefix=APP_#1}`; what is no reference is nothing.
    fn parse(text: &'a str) -> Option<Self> {
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

    fn resolve(
        &self,
        variables: &BTreeMap<String, String>,
        default_prefix: Option<&str>,
    ) -> Result<String, String> {
        if self.vault != "env" {
            return Err(format!("the vault '{}' is not served", self.vault));
        }
        let prefix = self.prefix.or(default_prefix).unwrap_or_default();
        let name = format!("{prefix}{}", self.resource)
            .replace('-', "_")
            .to_ascii_uppercase();
        let value = variables
            .get(&name)
            .ok_or_else(|| format!("the variable {name} is not set"))?;
        let Some(member) = self.member else {
            return Ok(value.clone());
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

/// What a text stands for, where it is a reference. Without braces it is short for one.
pub fn dereference(
    text: &str,
    variables: &BTreeMap<String, String>,
) -> Option<Result<String, String>> {
    Reference::parse(text).map(|reference| reference.resolve(variables, None))
}

impl Conf {
    /// Puts in what references stand for. Lists may have one in each of their places.
    pub(super) fn resolve(
        &mut self,
        variables: &BTreeMap<String, String>,
    ) -> Result<(), ConfError> {
        let prefix = self.get("vault_env_prefix").map(ToOwned::to_owned);
        let referring = self.values.iter_mut().filter_map(|(key, value)| {
            let text = value.as_mut()?;
            text.contains("{vault://").then_some((key, text))
        });
        for (key, value) in referring {
            let mut parts = Vec::new();
            for part in value.split(',').map(str::trim) {
                match Reference::parse(part) {
                    None => parts.push(part.to_owned()),
                    Some(reference) => {
                        let found = reference.resolve(variables, prefix.as_deref());
                        parts.push(found.map_err(|problem| ConfError::Dangling {
                            key: key.clone(),
                            reference: part.into(),
                            problem,
                        })?);
                    }
                }
            }
            *value = parts.join(",");
            self.references.insert(key.clone());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_stand_for_variables_and_members_of_their_json() {
        let variables: BTreeMap<String, String> = [
            ("MY_SECRET", "a"),
            ("APP_MY_SECRET", "b"),
            ("JSON", r#"{"user": "c", "port": 5432, "none": null}"#),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .into();
        for (text, expected) in [
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
            let found = dereference(text, &variables);
            let found = found
                .as_ref()
                .map(|found| found.as_ref().map(String::as_str).map_err(String::as_str));
            assert_eq!(found, expected, "{text}");
        }
    }
}
