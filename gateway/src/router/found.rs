//! What was matched.

use std::borrow::Cow;

use regex::Regex;

use super::evaluate::{Request, Witness};
use super::expression::{Check, Expression, Test};
use super::field::Field;

/// The route that a request takes.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a, T> {
    pub payload: &'a T,
    traced: &'a Traced,
    request: Request<'a>,
}

/// What is to be known of an expression that holds.
#[derive(Clone, Debug)]
pub(super) struct Traced {
    path: Path,
    captures: bool,
    /// Where it has to be asked again: seldom, so that it takes no room where it has not.
    expression: Option<Box<Expression>>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Path {
    /// No test of the path: none can match.
    None,
    /// Whichever prefix it was, it was so long.
    Prefix(usize),
    /// Only evaluation in order can say.
    Evaluated,
}

/// What regular expressions captured.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Captures {
    values: Vec<(Box<str>, String)>,
}

impl<'a, T> Found<'a, T> {
    pub(super) const fn new(payload: &'a T, traced: &'a Traced, request: Request<'a>) -> Self {
        Self {
            payload,
            traced,
            request,
        }
    }

    /// The prefix of the path, or what the regular expression matched, wherever in the path;
    /// nothing where the route asked for no path. A route with `strip_path` takes as many bytes
    /// off the path as this has.
    pub fn path(&self) -> Option<Cow<'a, str>> {
        match self.traced.path {
            Path::None => None,
            Path::Prefix(length) => {
                // It equals a prefix, which is text.
                let prefix = self.request.path.get(..length)?;
                std::str::from_utf8(prefix).ok().map(Cow::Borrowed)
            }
            Path::Evaluated => self.trace().path.map(Cow::Owned),
        }
    }

    /// What regular expressions captured, on whatever field; nothing where they only matched.
    pub fn captures(&self) -> Option<Captures> {
        if !self.traced.captures {
            return None;
        }
        let values = self.trace().captures;
        (values.len() > 1).then_some(Captures { values })
    }

    fn trace(&self) -> Trace {
        let mut trace = Trace::default();
        if let Some(expression) = &self.traced.expression {
            expression.holds(&self.request, &mut trace);
        }
        trace
    }
}

impl Traced {
    pub(super) fn new(expression: Expression) -> Self {
        let mut tests = Vec::new();
        collect(&expression, &mut tests);
        let is_path = |test: &&&Test| test.field == Field::Path;
        let paths = tests.iter().filter(is_path).count();
        let conditions = match &expression {
            Expression::All(conditions) => conditions,
            other => std::slice::from_ref(other),
        };
        let path = match paths {
            0 => Path::None,
            _ => conditions
                .iter()
                .find_map(|condition| prefixes(condition, paths))
                .map_or(Path::Evaluated, Path::Prefix),
        };
        let mut tests = tests.into_iter();
        let captures = tests.any(|test| matches!(test.check, Check::Regex(_)));
        let asked_again = captures || path == Path::Evaluated;
        Self {
            path,
            captures,
            expression: asked_again.then(|| Box::new(expression)),
        }
    }
}

/// The length of the prefixes of which a condition consists, if they are the only tests of the path
/// that there are.
fn prefixes(condition: &Expression, paths: usize) -> Option<usize> {
    let tests = match condition {
        Expression::Any(tests) => tests,
        other => std::slice::from_ref(other),
    };
    let length = |test: &Expression| match test {
        Expression::Test(Test {
            field: Field::Path,
            lower: false,
            check: Check::Prefix(prefix),
            ..
        }) => Some(prefix.len()),
        _ => None,
    };
    let first = length(tests.first()?)?;
    let same = tests.len() == paths && tests.iter().all(|test| length(test) == Some(first));
    same.then_some(first)
}

fn collect<'e>(expression: &'e Expression, tests: &mut Vec<&'e Test>) {
    match expression {
        Expression::All(parts) | Expression::Any(parts) => {
            parts.iter().for_each(|part| collect(part, tests));
        }
        Expression::Not(inner) => collect(inner, tests),
        Expression::Test(test) => tests.push(test),
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
