//! A matcher over the path without its query.

use super::pattern::{Pattern, PatternError};
use super::template::Template;

/// What is asked of a path.
#[derive(Clone, Debug)]
pub enum PathRule {
    /// A `CONNECT` request, whatever its path.
    Connect,
    /// Equals.
    Exact(Box<[u8]>),
    /// Begins with.
    Prefix(Box<[u8]>),
    /// The whole path matches.
    Regex(Pattern),
    /// Equals, or goes on with `/`.
    Segments(Box<[u8]>),
    /// Has the form of a URI template.
    Template(Template),
}

/// A compiled matcher.
#[derive(Clone, Debug)]
pub struct PathMatcher {
    rule: PathRule,
    ignore_case: bool,
}

impl PathMatcher {
    /// A rule with its case sensitivity, which only texts have.
    pub fn new(rule: PathRule, ignore_case: bool) -> Self {
        let fold = |text: Box<[u8]>| -> Box<[u8]> {
            if ignore_case {
                text.to_ascii_lowercase().into()
            } else {
                text
            }
        };
        let rule = match rule {
            PathRule::Exact(text) => PathRule::Exact(fold(text)),
            PathRule::Prefix(text) => PathRule::Prefix(fold(text)),
            PathRule::Segments(text) => PathRule::Segments(fold(text)),
            other => other,
        };
        Self { rule, ignore_case }
    }

    /// Begins with.
    pub fn prefix(text: &str) -> Self {
        Self::new(PathRule::Prefix(text.as_bytes().into()), false)
    }

    /// The whole path matches; RE2's syntax.
    pub fn regex(pattern: &str) -> Result<Self, PatternError> {
        Ok(Self::new(PathRule::Regex(Pattern::whole(pattern)?), false))
    }

    /// The rule.
    pub const fn rule(&self) -> &PathRule {
        &self.rule
    }

    /// Whether case matters not.
    pub const fn ignores_case(&self) -> bool {
        self.ignore_case
    }

    /// Whether a path (without query) matches. [`PathRule::Connect`] never does: it is about the method.
    pub fn matches(&self, path: &[u8]) -> bool {
        match &self.rule {
            PathRule::Connect => false,
            PathRule::Exact(wanted) => self.equal(path, wanted),
            PathRule::Prefix(wanted) => path
                .get(..wanted.len())
                .is_some_and(|head| self.equal(head, wanted)),
            PathRule::Regex(pattern) => pattern.is_match(path),
            PathRule::Segments(wanted) => {
                path.get(..wanted.len())
                    .is_some_and(|head| self.equal(head, wanted))
                    && path.get(wanted.len()).is_none_or(|&next| next == b'/')
            }
            PathRule::Template(template) => template.matches(path),
        }
    }

    /// How much of a matching path the rule speaks of: what a prefix rewrite replaces. Prefixes stand for themselves, everything else for the
    /// whole path.
    pub fn matched_length(&self, path: &[u8]) -> usize {
        match &self.rule {
            PathRule::Prefix(wanted) | PathRule::Segments(wanted) => wanted.len().min(path.len()),
            _ => path.len(),
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
    use super::*;

    #[test]
    fn rules() {
        let exact = |text: &str| PathRule::Exact(text.as_bytes().into());
        let prefix = |text: &str| PathRule::Prefix(text.as_bytes().into());
        let segments = |text: &str| PathRule::Segments(text.as_bytes().into());
        let cases: &[(PathRule, bool, &str, bool)] = &[
            (exact("/a"), false, "/a", true),
            (exact("/a"), false, "/a/", false),
            (exact("/A"), true, "/a", true),
            (prefix("/a"), false, "/abc", true),
            (prefix("/"), false, "", false),
            (prefix(""), false, "", true),
            (prefix("/A"), true, "/abc", true),
            (segments("/a"), false, "/a", true),
            (segments("/a"), false, "/a/b", true),
            (segments("/a"), false, "/ab", false),
            (segments("/A"), true, "/a/b", true),
            (PathRule::Connect, false, "/", false),
        ];
        for (rule, ignore_case, path, expected) in cases {
            assert_eq!(
                PathMatcher::new(rule.clone(), *ignore_case).matches(path.as_bytes()),
                *expected,
                "{rule:?} on {path}"
            );
        }
        let regex = PathMatcher::regex("/a/.*").unwrap();
        assert!(regex.matches(b"/a/b") && !regex.matches(b"/x/a/b"));
        assert_eq!(regex.matched_length(b"/a/b"), 4);
        assert_eq!(PathMatcher::prefix("/a").matched_length(b"/a/b"), 2);
    }
}
