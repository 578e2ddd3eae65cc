//! Regular expressions, compiled when they are first needed.
//!
//! A compiled one takes tens of kilobytes, and most of a large table are seldom asked. What was
//! compiled stays so in the tables that follow: those that are in use are known by their texts.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError, Weak};

use regex::Regex;

/// A regular expression; equal to every other one of the same text.
#[derive(Clone)]
pub struct Pattern(Arc<Inner>);

struct Inner {
    text: Box<str>,
    /// Nothing where it is too large to compile; it matches nothing then.
    regex: OnceLock<Option<Regex>>,
}

/// Asked only while a table is built.
static KNOWN: LazyLock<Mutex<HashMap<Box<str>, Weak<Inner>>>> = LazyLock::new(Mutex::default);

impl Pattern {
    /// Fails where the text is no regular expression, but not where it is too large a one:
    /// [`Pattern::compile`] says that.
    pub fn new(text: &str) -> Result<Self, regex::Error> {
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(inner) = known.get(text).and_then(Weak::upgrade) {
            return Ok(Self(inner));
        }
        // The words of the crate that will compile it.
        if regex_syntax::parse(text).is_err() {
            Regex::new(text)?;
        }
        let inner = Arc::new(Inner {
            text: text.into(),
            regex: OnceLock::new(),
        });
        // Those of which nobody thinks any more go when they have become the most of it.
        if known.len() == known.capacity() {
            known.retain(|_, inner| inner.strong_count() > 0);
        }
        known.insert(text.into(), Arc::downgrade(&inner));
        Ok(Self(inner))
    }

    /// Whether it can be compiled.
    pub fn compile(&self) -> Result<(), regex::Error> {
        Regex::new(&self.0.text).map(drop)
    }

    pub fn text(&self) -> &str {
        &self.0.text
    }

    pub(super) fn regex(&self) -> Option<&Regex> {
        let regex = self.0.regex.get_or_init(|| Regex::new(&self.0.text).ok());
        regex.as_ref()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.text.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_one_text_are_one() {
        let (a, b) = (Pattern::new("^/a+").unwrap(), Pattern::new("^/a+").unwrap());
        assert!(Arc::ptr_eq(&a.0, &b.0));
        assert!(a.0.regex.get().is_none());
        assert!(b.regex().unwrap().is_match("/aa"));
        assert!(a.0.regex.get().is_some());
    }

    #[test]
    fn bad_patterns_are_told_of() {
        assert!(Pattern::new("(a").is_err());
        assert!(Pattern::new("(?=a)").is_err());
        let large = Pattern::new("(?:\\w{1000}){1000}").unwrap();
        assert!(large.compile().is_err());
        assert!(large.regex().is_none());
    }
}
