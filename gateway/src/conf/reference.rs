//! `{vault://env/NAME}` in place of a value, as `vaults` of Kong's own configuration: resolved
//! once, when the node starts.

use std::collections::BTreeMap;

use super::{Conf, ConfError};
use crate::vault::{self, Reference};

/// What a text stands for, where it is a reference. Without braces it is short for one.
pub fn dereference(
    text: &str,
    variables: &BTreeMap<String, String>,
) -> Option<Result<String, String>> {
    Reference::parse(text).map(|reference| resolved(&reference, variables, None))
}

fn resolved(
    reference: &Reference<'_>,
    variables: &BTreeMap<String, String>,
    prefix: Option<&str>,
) -> Result<String, String> {
    if reference.vault != "env" {
        return Err(vault::unknown(reference.vault));
    }
    reference.resolve(prefix, &|name| variables.get(name).cloned())
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
                        let found = resolved(&reference, variables, prefix.as_deref());
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
