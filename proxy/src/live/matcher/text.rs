//! A matcher over one text (Envoy's `StringMatcher`).

use super::pattern::{Pattern, PatternError};

/// How a text is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextRule<'a> {
    /// Contains.
    Contains(&'a str),
    /// Equals.
    Exact(&'a str),
    /// Begins with.
    Prefix(&'a str),
    /// The whole text matches; RE2's syntax.
    Regex(&'a str),
    /// Ends with.
    Suffix(&'a str),
}

/// A compiled matcher; texts are raw bytes.
#[derive(Clone, Debug)]
pub struct StringMatcher {
    compiled: Compiled,
    ignore_case: bool,
}

#[derive(Clone, Debug)]
enum Compiled {
    Contains(Box<[u8]>),
    Exact(Box<[u8]>),
    Prefix(Box<[u8]>),
    Regex(Pattern),
    Suffix(Box<[u8]>),
}

impl StringMatcher {
    /// Compiles. `ignore_case` is about ASCII and has no effect on regular expressions, as in Envoy.
    pub fn new(rule: TextRule<'_>, ignore_case: bool) -> Result<Self, PatternError> {
        let bytes = |text: &str| -> Box<[u8]> {
            if ignore_case {
                text.to_ascii_lowercase().into_bytes().into()
            } else {
                text.as_bytes().into()
            }
        };
        let compiled = match rule {
            TextRule::Contains(text) => Compiled::Contains(bytes(text)),
            TextRule::Exact(text) => Compiled::Exact(bytes(text)),
            TextRule::Prefix(text) => Compiled::Prefix(bytes(text)),
            TextRule::Regex(pattern) => Compiled::Regex(Pattern::whole(pattern)?),
            TextRule::Suffix(text) => Compiled::Suffix(bytes(text)),
        };
        Ok(Self {
            compiled,
            ignore_case,
        })
    }

    /// Equality, which needs no compilation.
    pub fn exact(text: &str) -> Self {
        Self {
            compiled: Compiled::Exact(text.as_bytes().into()),
            ignore_case: false,
        }
    }

    /// Whether the text matches.
    pub fn matches(&self, text: &[u8]) -> bool {
        match &self.compiled {
            Compiled::Contains(wanted) if self.ignore_case => {
                wanted.is_empty()
                    || text
                        .windows(wanted.len())
                        .any(|part| part.eq_ignore_ascii_case(wanted))
            }
            Compiled::Contains(wanted) => memchr::memmem::find(text, wanted).is_some(),
            Compiled::Exact(wanted) => self.equal(text, wanted),
            Compiled::Prefix(wanted) => text
                .get(..wanted.len())
                .is_some_and(|head| self.equal(head, wanted)),
            Compiled::Regex(pattern) => pattern.is_match(text),
            Compiled::Suffix(wanted) => text
                .len()
                .checked_sub(wanted.len())
                .is_some_and(|start| self.equal(&text[start..], wanted)),
        }
    }

    fn equal(&self, text: &[u8], wanted: &[u8]) -> bool {
        if self.ignore_case {
            text.eq_ignore_ascii_case(wanted)
        } else {
            text == wanted
        }
    }
}

#[cfg(test)]
mod tests {
    use super::TextRule::{Contains, Exact, Prefix, Regex, Suffix};
    use super::*;

    #[test]
    fn rules() {
        let cases: &[(TextRule<'_>, bool, &str, bool)] = &[
            (Exact("a"), false, "a", true),
            (Exact("a"), false, "A", false),
            (Exact("a"), true, "A", true),
            (Exact(""), false, "", true),
            (Prefix("Ab"), true, "aBc", true),
            (Prefix("abc"), false, "ab", false),
            (Prefix("ab"), false, "abc", true),
            (Suffix("bc"), false, "abc", true),
            (Suffix("BC"), true, "abc", true),
            (Suffix("abcd"), false, "bcd", false),
            (Contains("b"), false, "abc", true),
            (Contains("B"), true, "abc", true),
            (Contains("B"), false, "abc", false),
            (Contains(""), true, "", true),
            (Contains("abc"), true, "ab", false),
            (Regex("a.c"), false, "abc", true),
            (Regex("b"), false, "abc", false),
            (Regex("ABC"), true, "abc", false),
        ];
        for (rule, ignore_case, text, expected) in cases {
            let matcher = StringMatcher::new(*rule, *ignore_case).unwrap();
            assert_eq!(
                matcher.matches(text.as_bytes()),
                *expected,
                "{rule:?} on {text}"
            );
        }
    }
}
