//! What was matched.

use std::borrow::Cow;

use regex::Regex;

use super::evaluate::{Request, Witness};
use super::expression::Expression;

/// The route that a request takes.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a, T> {
    pub payload: &'a T,
    expression: &'a Expression,
    request: Request<'a>,
}

/// What regular expressions captured.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Captures {
    values: Vec<(Box<str>, String)>,
}

impl<'a, T> Found<'a, T> {
    pub(super) const fn new(
        payload: &'a T,
        expression: &'a Expression,
        request: Request<'a>,
    ) -> Self {
        Self {
            payload,
            expression,
            request,
        }
    }

    /// The prefix of the path, or what the regular expression matched, wherever in the path;
    /// nothing where the route asked for no path. A route with `strip_path` takes as many bytes
    /// off the path as this has.
    pub fn path(&self) -> Option<Cow<'a, str>> {
        let mut trace = Trace::default();
        self.expression.holds(&self.request, &mut trace);
        trace.path.map(Cow::Owned)
    }

    /// What regular expressions captured, on whatever field; nothing where they only matched.
    pub fn captures(&self) -> Option<Captures> {
        let mut trace = Trace::default();
        self.expression.holds(&self.request, &mut trace);
        let captured = trace.captures.len() > 1;
        captured.then_some(Captures {
            values: trace.captures,
        })
    }
}

impl Captures {
    /// The value of a group by its name or, in digits, by its number; 0 is the whole match.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.values.iter();
        values
            .find(|(known, _)| **known == *name)
            .map(|(_, value)| value.as_str())
    }

    /// Every group that took part, by number and, where it has one, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values
            .iter()
            .map(|(name, value)| (&**name, value.as_str()))
    }
}

#[derive(Debug, Default)]
struct Trace {
    path: Option<String>,
    captures: Vec<(Box<str>, String)>,
}

impl Trace {
    fn put(&mut self, name: Cow<'_, str>, value: &str) {
        match self.captures.iter_mut().find(|(known, _)| **known == *name) {
            Some((_, known)) => *known = value.into(),
            None => self.captures.push((name.into(), value.into())),
        }
    }
}

impl Witness for Trace {
    const CAPTURES: bool = true;

    fn path(&mut self, matched: &str) {
        self.path = Some(matched.into());
    }

    fn captures(&mut self, regex: &Regex, captures: &regex::Captures<'_>) {
        for (index, value) in captures.iter().enumerate() {
            if let Some(value) = value {
                self.put(index.to_string().into(), value.as_str());
            }
        }
        for name in regex.capture_names().flatten() {
            if let Some(value) = captures.name(name) {
                self.put(name.into(), value.as_str());
            }
        }
    }
}
