//! A field that a filter adds to a message.

use carbyne_engine::http::Headers;
use carbyne_protos::envoy::config::core::v3::HeaderValueOption;
use carbyne_protos::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use http::{HeaderName, HeaderValue};

use super::planned::Doubts;
use super::reading;
use crate::plan::scope::Scope;

/// A field with its value, and what happens where it is there already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addition {
    /// Its name.
    pub name: HeaderName,
    /// Its value.
    pub value: HeaderValue,
    /// What happens where it is there already.
    pub action: HeaderAppendAction,
}

impl Addition {
    /// Reads one of a configuration. `default` is what happens to a field that is there already where the message does not say.
    pub(super) fn read(
        message: &HeaderValueOption,
        default: HeaderAppendAction,
        scope: &Scope<'_>,
        doubts: &Doubts,
    ) -> Option<Self> {
        let Some(header) = &message.header else {
            scope.field("header").missing();
            return None;
        };
        let (name, value) = reading::header_value(header, &scope.field("header"), doubts)?;
        let Some(action) = action(message, default) else {
            doubts.add(&scope.field("append_action"), "an action that is not known");
            return None;
        };
        Some(Self {
            name,
            value,
            action,
        })
    }

    /// Takes one of a service's answer, whose value stands as it is; `None` if it is no field.
    pub(super) fn take(message: &HeaderValueOption, default: HeaderAppendAction) -> Option<Self> {
        let header = message.header.as_ref()?;
        let value = if header.raw_value.is_empty() {
            header.value.as_bytes()
        } else {
            &header.raw_value
        };
        Some(Self {
            name: HeaderName::from_bytes(header.key.as_bytes()).ok()?,
            value: HeaderValue::from_bytes(value).ok()?,
            action: action(message, default)?,
        })
    }

    /// Adds it.
    pub fn apply(&self, headers: &mut Headers) {
        let (name, value) = (self.name.clone(), self.value.clone());
        match self.action {
            HeaderAppendAction::AppendIfExistsOrAdd => headers.append(name, value),
            HeaderAppendAction::AddIfAbsent => {
                if !headers.contains(&name) {
                    headers.append(name, value);
                }
            }
            HeaderAppendAction::OverwriteIfExistsOrAdd => headers.insert(name, value),
            HeaderAppendAction::OverwriteIfExists => {
                if headers.contains(&name) {
                    headers.insert(name, value);
                }
            }
        }
    }
}

fn action(message: &HeaderValueOption, default: HeaderAppendAction) -> Option<HeaderAppendAction> {
    match HeaderAppendAction::try_from(message.append_action).ok()? {
        // The first action is the number 0, so it cannot be told from none; `append` is its older spelling.
        HeaderAppendAction::AppendIfExistsOrAdd => Some(match message.append {
            Some(true) => HeaderAppendAction::AppendIfExistsOrAdd,
            Some(false) => HeaderAppendAction::OverwriteIfExistsOrAdd,
            None => default,
        }),
        said => Some(said),
    }
}

#[cfg(test)]
mod tests {
    use HeaderAppendAction::{
        AddIfAbsent, AppendIfExistsOrAdd, OverwriteIfExists, OverwriteIfExistsOrAdd,
    };
    use carbyne_protos::envoy::config::core::v3::HeaderValue as WireValue;

    use super::*;

    fn option(append: Option<bool>, action: HeaderAppendAction) -> HeaderValueOption {
        HeaderValueOption {
            header: Some(WireValue {
                key: "X".to_owned(),
                value: "100%".to_owned(),
                raw_value: Vec::new(),
            }),
            append,
            append_action: action.into(),
            keep_empty_value: false,
        }
    }

    #[test]
    fn actions_and_their_older_spelling() {
        let cases: &[(
            Option<bool>,
            HeaderAppendAction,
            HeaderAppendAction,
            &[&str],
            &[&str],
        )] = &[
            (
                None,
                AppendIfExistsOrAdd,
                AppendIfExistsOrAdd,
                &["1"],
                &["1", "100%"],
            ),
            (
                None,
                AppendIfExistsOrAdd,
                OverwriteIfExistsOrAdd,
                &["1", "2"],
                &["100%"],
            ),
            (
                Some(true),
                AppendIfExistsOrAdd,
                OverwriteIfExistsOrAdd,
                &["1"],
                &["1", "100%"],
            ),
            (
                Some(false),
                AppendIfExistsOrAdd,
                AppendIfExistsOrAdd,
                &["1"],
                &["100%"],
            ),
            (None, AddIfAbsent, AppendIfExistsOrAdd, &["1"], &["1"]),
            (None, AddIfAbsent, AppendIfExistsOrAdd, &[], &["100%"]),
            (None, OverwriteIfExists, AppendIfExistsOrAdd, &[], &[]),
            (
                None,
                OverwriteIfExists,
                AppendIfExistsOrAdd,
                &["1"],
                &["100%"],
            ),
        ];
        for (append, action, default, before, after) in cases {
            let name = HeaderName::from_static("x");
            let mut headers: Headers = before
                .iter()
                .map(|value| (name.clone(), HeaderValue::from_static(value)))
                .collect();
            Addition::take(&option(*append, *action), *default)
                .unwrap()
                .apply(&mut headers);
            let found: Vec<_> = headers
                .iter()
                .map(|(_, value)| value.to_str().unwrap())
                .collect();
            assert_eq!(
                found, *after,
                "{append:?} {action:?} {default:?} on {before:?}"
            );
        }
        assert!(Addition::take(&option(None, AddIfAbsent), AddIfAbsent).is_some());
        let mut unknown = option(None, AddIfAbsent);
        unknown.append_action = 9;
        assert_eq!(Addition::take(&unknown, AddIfAbsent), None);
    }
}
