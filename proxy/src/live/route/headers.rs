//! Fields that routes add and remove.

use std::ops::Deref;
use std::sync::Arc;

use carbyne_engine::http::Headers;
use http::{HeaderName, HeaderValue};
use smallvec::SmallVec;

use crate::observe::format::Format;

/// Operations of one level: a weighted cluster, a route, a virtual host or a table. Removals come first (Envoy's `HeaderParser`).
#[derive(Clone, Debug, Default)]
pub struct HeaderOperations {
    /// Fields that go.
    pub remove: Box<[HeaderName]>,
    /// Fields that come.
    pub add: Box<[HeaderAddition]>,
}

/// One field that is added.
#[derive(Clone, Debug)]
pub struct HeaderAddition {
    /// Its name.
    pub name: HeaderName,
    /// Its value.
    pub text: HeaderText,
    /// What happens where it is there already.
    pub action: AppendAction,
    /// Whether an empty value is added; otherwise it is left out.
    pub keep_empty: bool,
}

/// The value of an added field.
#[derive(Clone, Debug)]
pub enum HeaderText {
    /// Known at plan time.
    Literal(HeaderValue),
    /// Text with operators such as `%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%`, worded for each request.
    Format(Arc<HeaderFormat>),
}

/// A text with operators.
#[derive(Clone, Debug)]
pub struct HeaderFormat {
    /// As it came.
    pub raw: Box<str>,
    /// Compiled.
    pub format: Format,
}

/// What happens where a field is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AppendAction {
    /// Another one is added.
    #[default]
    Append,
    /// Nothing.
    AddIfAbsent,
    /// It is replaced; where it is not there, it is added.
    Overwrite,
    /// It is replaced; where it is not there, nothing is added.
    OverwriteIfExists,
}

/// The text as it came.
impl Deref for HeaderFormat {
    type Target = str;

    fn deref(&self) -> &str {
        &self.raw
    }
}

impl HeaderOperations {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.add.is_empty()
    }

    /// The values to be added, each `None` where it is left out.
    pub fn values(
        &self,
        mut resolve: impl FnMut(&HeaderText, &mut Vec<u8>),
    ) -> SmallVec<[Option<HeaderValue>; 4]> {
        let mut buffer = Vec::new();
        self.add
            .iter()
            .map(|addition| {
                let value = match &addition.text {
                    HeaderText::Literal(value) => Some(value.clone()),
                    format @ HeaderText::Format(_) => {
                        buffer.clear();
                        resolve(format, &mut buffer);
                        HeaderValue::from_bytes(&buffer).ok()
                    }
                };
                value.filter(|value| addition.keep_empty || !value.is_empty())
            })
            .collect()
    }

    /// Removes and adds.
    pub fn apply(&self, headers: &mut Headers, values: SmallVec<[Option<HeaderValue>; 4]>) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (addition, value) in self.add.iter().zip(values) {
            let Some(value) = value else { continue };
            let name = addition.name.clone();
            match addition.action {
                AppendAction::Append => headers.append(name, value),
                AppendAction::AddIfAbsent => {
                    if !headers.contains(&name) {
                        headers.append(name, value);
                    }
                }
                AppendAction::Overwrite => headers.insert(name, value),
                AppendAction::OverwriteIfExists => {
                    if headers.contains(&name) {
                        headers.insert(name, value);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action() {
        use AppendAction::{AddIfAbsent, Append, Overwrite, OverwriteIfExists};
        let cases: &[(AppendAction, &str, bool, &str)] = &[
            (Append, "2", true, "1,2"),
            (Append, "2", false, "2"),
            (AddIfAbsent, "2", true, "1"),
            (AddIfAbsent, "2", false, "2"),
            (Overwrite, "2", true, "2"),
            (Overwrite, "2", false, "2"),
            (OverwriteIfExists, "2", true, "2"),
            (OverwriteIfExists, "2", false, ""),
            (Append, "", false, ""),
        ];
        for (action, value, present, expected) in cases {
            let operations = HeaderOperations {
                remove: Box::default(),
                add: [HeaderAddition {
                    name: HeaderName::from_static("x"),
                    text: HeaderText::Literal(HeaderValue::from_static(value)),
                    action: *action,
                    keep_empty: false,
                }]
                .into(),
            };
            let mut headers = Headers::new();
            if *present {
                headers.append(HeaderName::from_static("x"), HeaderValue::from_static("1"));
            }
            let values = operations.values(|_, _| panic!("nothing to word"));
            operations.apply(&mut headers, values);
            let all: Vec<_> = headers
                .iter()
                .map(|(_, value)| value.to_str().unwrap())
                .collect();
            assert_eq!(all.join(","), *expected, "{action:?}");
        }
    }

    #[test]
    fn removal_comes_first_and_formats_are_worded() {
        let operations = HeaderOperations {
            remove: [HeaderName::from_static("x")].into(),
            add: [HeaderAddition {
                name: HeaderName::from_static("x"),
                text: HeaderText::Format(Arc::new(HeaderFormat {
                    raw: "%PROTOCOL%".into(),
                    format: Format::header("%PROTOCOL%").unwrap(),
                })),
                action: AppendAction::AddIfAbsent,
                keep_empty: false,
            }]
            .into(),
        };
        let mut headers = Headers::new();
        headers.append(
            HeaderName::from_static("x"),
            HeaderValue::from_static("old"),
        );
        let values = operations.values(|_, buffer| buffer.extend_from_slice(b"new"));
        operations.apply(&mut headers, values);
        assert_eq!(headers.text(&HeaderName::from_static("x")), Some("new"));
        assert_eq!(headers.len(), 1);
    }
}
