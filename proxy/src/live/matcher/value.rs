//! Matchers over JSON values: dynamic metadata of filters (Envoy's `MetadataMatcher` and `ValueMatcher`).

use serde_json::Value;

use super::text::StringMatcher;
use crate::context::Metadata;

/// What is asked of a value.
#[derive(Clone, Debug)]
pub enum ValueMatcher {
    /// It is this truth value.
    Bool(bool),
    /// It is a list with an element that matches.
    ListAny(Box<Self>),
    /// It is null.
    Null,
    /// It is this number.
    Number(f64),
    /// One of these matches.
    Or(Box<[Self]>),
    /// There is one, or (false) there is none.
    Present(bool),
    /// It is a number in `start..end`.
    Range {
        /// First.
        start: f64,
        /// The end, which does not belong to it.
        end: f64,
    },
    /// It is a text that matches.
    Text(StringMatcher),
}

/// What is asked of a value below a filter's name.
#[derive(Clone, Debug)]
pub struct MetadataMatcher {
    /// The filter's name.
    pub filter: Box<str>,
    /// Keys from object to object.
    pub path: Box<[Box<str>]>,
    /// What is asked.
    pub value: ValueMatcher,
    /// Take the opposite.
    pub invert: bool,
}

impl ValueMatcher {
    /// Whether the value, or its absence, matches.
    pub fn matches(&self, value: Option<&Value>) -> bool {
        match self {
            Self::Bool(wanted) => value.and_then(Value::as_bool) == Some(*wanted),
            Self::ListAny(element) => value
                .and_then(Value::as_array)
                .is_some_and(|list| list.iter().any(|value| element.matches(Some(value)))),
            Self::Null => value.is_some_and(Value::is_null),
            Self::Number(wanted) => value.and_then(Value::as_f64) == Some(*wanted),
            Self::Or(matchers) => matchers.iter().any(|matcher| matcher.matches(value)),
            Self::Present(wanted) => value.is_some() == *wanted,
            Self::Range { start, end } => value
                .and_then(Value::as_f64)
                .is_some_and(|number| (*start..*end).contains(&number)),
            Self::Text(matcher) => value
                .and_then(Value::as_str)
                .is_some_and(|text| matcher.matches(text.as_bytes())),
        }
    }
}

impl MetadataMatcher {
    /// Whether the metadata has such a value.
    pub fn matches(&self, metadata: &Metadata) -> bool {
        self.value
            .matches(metadata.value(&self.filter, self.path.iter().map(|key| &**key)))
            != self.invert
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values() {
        let text = |text: &str| ValueMatcher::Text(StringMatcher::exact(text));
        let cases: &[(ValueMatcher, Option<Value>, bool)] = &[
            (text("a"), Some(json!("a")), true),
            (text("a"), Some(json!(["a"])), false),
            (text("a"), None, false),
            (
                ValueMatcher::ListAny(Box::new(text("a"))),
                Some(json!(["b", "a"])),
                true,
            ),
            (
                ValueMatcher::ListAny(Box::new(text("a"))),
                Some(json!("a")),
                false,
            ),
            (
                ValueMatcher::Or([text("a"), ValueMatcher::ListAny(Box::new(text("a")))].into()),
                Some(json!("a")),
                true,
            ),
            (ValueMatcher::Bool(true), Some(json!(true)), true),
            (ValueMatcher::Bool(true), Some(json!("true")), false),
            (ValueMatcher::Null, Some(json!(null)), true),
            (ValueMatcher::Null, None, false),
            (ValueMatcher::Number(2.0), Some(json!(2)), true),
            (ValueMatcher::Present(true), Some(json!({})), true),
            (ValueMatcher::Present(false), None, true),
            (
                ValueMatcher::Range {
                    start: 1.0,
                    end: 2.0,
                },
                Some(json!(1.5)),
                true,
            ),
            (
                ValueMatcher::Range {
                    start: 1.0,
                    end: 2.0,
                },
                Some(json!(2)),
                false,
            ),
        ];
        for (matcher, value, expected) in cases {
            assert_eq!(
                matcher.matches(value.as_ref()),
                *expected,
                "{matcher:?} on {value:?}"
            );
        }
    }

    #[test]
    fn metadata_by_path() {
        let mut metadata = Metadata::default();
        let Value::Object(object) = json!({"payload": {"realm": {"role": "admin"}}}) else {
            panic!()
        };
        metadata.merge("jwt", object);
        let mut matcher = MetadataMatcher {
            filter: "jwt".into(),
            path: ["payload", "realm", "role"].map(Box::from).into(),
            value: ValueMatcher::Text(StringMatcher::exact("admin")),
            invert: false,
        };
        assert!(matcher.matches(&metadata));
        assert!(!matcher.matches(&Metadata::default()));
        matcher.invert = true;
        assert!(matcher.matches(&Metadata::default()));
    }
}
