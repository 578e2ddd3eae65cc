//! Regular expressions as RE2 understands them.
//!
//! Patterns come from whoever may write a policy, so their length and the size of what they compile to are bounded (ISTIO-SECURITY-2026-006).
//! The `regex` crate is linear as RE2 is, but reads a few spellings differently; a class that means more or less than its author thought would
//! be a hole in an access rule, so these are translated first.

use std::borrow::Cow;

use regex::bytes::{Regex, RegexBuilder};

/// A compiled pattern.
#[derive(Clone, Debug)]
pub struct Pattern {
    regex: Regex,
}

/// Why a pattern was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is not a regular expression.
    #[error("`{pattern}` is not a regular expression: {reason}")]
    Syntax {
        /// Its beginning.
        pattern: String,
        /// What the compiler says.
        reason: String,
    },
    /// It is longer than [`LARGEST_PATTERN`].
    #[error("a regular expression of {length} bytes, {LARGEST_PATTERN} at most")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// A substitution names a group that the pattern does not have.
    #[error("the substitution names group {group}, the pattern has {groups}")]
    NoGroup {
        /// The group.
        group: usize,
        /// How many there are.
        groups: usize,
    },
    /// A substitution ends in a backslash, or escapes something else than a digit or a backslash.
    #[error("a backslash in a substitution is followed by a digit or a backslash")]
    Escape,
}

/// A search-and-replace: every match is replaced.
#[derive(Clone, Debug)]
pub struct Substitution {
    pattern: Pattern,
    parts: Box<[Part]>,
}

#[derive(Clone, Debug)]
enum Part {
    Literal(Box<[u8]>),
    Group(usize),
}

impl Pattern {
    /// A pattern that has to match a whole text.
    pub fn whole(pattern: &str) -> Result<Self, PatternError> {
        let translated = translate(pattern);
        compile(pattern, &format!(r"\A(?:{translated})\z"))
    }

    /// A pattern that may match any part of a text.
    pub fn anywhere(pattern: &str) -> Result<Self, PatternError> {
        compile(pattern, &translate(pattern))
    }

    /// Whether it matches.
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.regex.is_match(text)
    }

    /// The compiled expression, for whoever needs its groups.
    pub const fn regex(&self) -> &Regex {
        &self.regex
    }
}

impl Substitution {
    /// Compiles; in `substitution`, `\1` … `\9` are groups, `\0` is the whole match and `\\` a backslash (RE2).
    pub fn new(pattern: &str, substitution: &str) -> Result<Self, PatternError> {
        let pattern = Pattern::anywhere(pattern)?;
        let groups = pattern.regex.captures_len() - 1;
        let mut parts = Vec::new();
        let mut literal = Vec::new();
        let mut bytes = substitution.bytes();
        while let Some(byte) = bytes.next() {
            if byte != b'\\' {
                literal.push(byte);
                continue;
            }
            match bytes.next() {
                Some(b'\\') => literal.push(b'\\'),
                Some(digit @ b'0'..=b'9') => {
                    let group = usize::from(digit - b'0');
                    if group > groups {
                        return Err(PatternError::NoGroup { group, groups });
                    }
                    if !literal.is_empty() {
                        parts.push(Part::Literal(std::mem::take(&mut literal).into()));
                    }
                    parts.push(Part::Group(group));
                }
                _ => return Err(PatternError::Escape),
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal.into()));
        }
        Ok(Self {
            pattern,
            parts: parts.into(),
        })
    }

    /// `text` with every match replaced.
    pub fn apply<'a>(&self, text: &'a [u8]) -> Cow<'a, [u8]> {
        self.pattern
            .regex
            .replace_all(text, |captures: &regex::bytes::Captures<'_>| {
                let mut replaced = Vec::new();
                for part in &self.parts {
                    match part {
                        Part::Literal(literal) => replaced.extend_from_slice(literal),
                        Part::Group(group) => {
                            if let Some(found) = captures.get(*group) {
                                replaced.extend_from_slice(found.as_bytes());
                            }
                        }
                    }
                }
                replaced
            })
    }
}

/// Compiles `translated`, and speaks of `pattern` in errors.
///
/// RE2's `\d`, `\w`, `\s` and `\b` are ASCII, which is also the small and fast mode of the `regex` crate; only patterns with Unicode classes
/// need the other.
fn compile(pattern: &str, translated: &str) -> Result<Pattern, PatternError> {
    if pattern.len() > LARGEST_PATTERN {
        return Err(PatternError::TooLong {
            length: pattern.len(),
        });
    }
    let build = |unicode: bool| {
        RegexBuilder::new(translated)
            .unicode(unicode)
            .size_limit(LARGEST_PROGRAM)
            .dfa_size_limit(LARGEST_PROGRAM)
            .build()
    };
    match build(false).or_else(|_| build(true)) {
        Ok(regex) => Ok(Pattern { regex }),
        Err(error) => Err(PatternError::Syntax {
            pattern: pattern.chars().take(200).collect(),
            reason: error.to_string(),
        }),
    }
}

/// RE2's spelling in that of the `regex` crate: `\Q…\E`, literal `{`, `\<`, and no set operations or nested classes in `[…]`.
fn translate(pattern: &str) -> Cow<'_, str> {
    if !pattern.contains(['{', '[', '\\']) {
        return Cow::Borrowed(pattern);
    }
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    let mut class = false;
    while let Some(next) = rest.chars().next() {
        let after = &rest[next.len_utf8()..];
        match next {
            '\\' if after.starts_with('Q') => {
                let quoted = &after[1..];
                let (literal, tail) = quoted.split_once(r"\E").unwrap_or((quoted, ""));
                out.push_str(&regex::escape(literal));
                rest = tail;
                continue;
            }
            '\\' => {
                let mut escaped = after.chars();
                match escaped.next() {
                    // A word boundary in the `regex` crate, the character in RE2.
                    Some(angle @ ('<' | '>')) => out.push(angle),
                    // `\p{…}` and `\x{…}` keep their braces.
                    Some(kind @ ('p' | 'P' | 'x')) if after[1..].starts_with('{') => {
                        let end = after.find('}').map_or(after.len(), |end| end + 1);
                        out.push('\\');
                        out.push(kind);
                        out.push_str(&after[1..end]);
                        rest = &after[end..];
                        continue;
                    }
                    Some(other) => {
                        out.push('\\');
                        out.push(other);
                    }
                    None => out.push('\\'),
                }
                rest = escaped.as_str();
                continue;
            }
            '[' if class => {
                if after.starts_with(':')
                    && let Some(end) = after.find(":]")
                {
                    out.push('[');
                    out.push_str(&after[..end + 2]);
                    rest = &after[end + 2..];
                    continue;
                }
                out.push_str(r"\[");
            }
            '[' => {
                class = true;
                out.push('[');
                rest = after;
                if let Some(tail) = rest.strip_prefix('^') {
                    out.push('^');
                    rest = tail;
                }
                // A `]` in the first place is the character.
                if let Some(tail) = rest.strip_prefix(']') {
                    out.push_str(r"\]");
                    rest = tail;
                }
                continue;
            }
            ']' if class => {
                class = false;
                out.push(']');
            }
            // `&&`, `--` and `~~` are set operations in the `regex` crate.
            '&' | '~' if class => {
                out.push('\\');
                out.push(next);
            }
            '-' if class && after.starts_with('-') => out.push_str(r"\-"),
            '{' if !class && !is_repetition(after) => out.push_str(r"\{"),
            _ => out.push(next),
        }
        rest = after;
    }
    Cow::Owned(out)
}

/// Whether what follows a `{` makes it a repetition: `2}`, `2,}`, `2,3}`.
fn is_repetition(after: &str) -> bool {
    let Some((inside, _)) = after.split_once('}') else {
        return false;
    };
    let (low, high) = inside.split_once(',').unwrap_or((inside, ""));
    !low.is_empty() && low.bytes().chain(high.bytes()).all(|b| b.is_ascii_digit())
}

/// Longest pattern in bytes.
pub const LARGEST_PATTERN: usize = 16 << 10;

/// Largest compiled program, and largest lazy automaton, in bytes.
const LARGEST_PROGRAM: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_re2() {
        let cases: &[(&str, &str, bool)] = &[
            ("a", "a", true),
            ("a", "ab", false),
            ("a|b", "b", true),
            ("a|b", "ab", false),
            (".*", "", true),
            (".+", "", false),
            (r"\d+", "12", true),
            // Arabic digits: not in RE2's ASCII classes.
            (r"\d+", "\u{0661}", false),
            (r"\w", "\u{e9}", false),
            ("\u{e9}", "\u{e9}", true),
            ("[\u{e9}]", "\u{e9}", true),
            (r"\pL", "\u{e9}", true),
            (r"\p{L}+", "\u{e9}\u{e9}", true),
            (r"\Qa.b\E.", "a.bc", true),
            (r"\Qa.b\E.", "aXbc", false),
            (r"\Qa.b", "a.b", true),
            ("[a&&b]", "&", true),
            ("[a&&b]", "a", true),
            ("[a~~b]", "~", true),
            ("[[a]", "[", true),
            ("[]a]", "]", true),
            ("[^]a]", "b", true),
            ("[^]a]", "]", false),
            ("[[:alpha:]]+", "ab", true),
            ("[[:alpha:]]+", ":", false),
            ("{id}", "{id}", true),
            ("a{2}", "aa", true),
            ("a{2,}", "aaa", true),
            ("a{,2}", "a{,2}", true),
            (r"\<a\>", "<a>", true),
            ("(?i)ab", "AB", true),
            (r"^/entities/(v1|v2)/.*", "/entities/v1/x", true),
            (r"^/entities/(v1|v2)/.*", "/entities/v3/x", false),
        ];
        for (pattern, text, expected) in cases {
            let compiled =
                Pattern::whole(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            assert_eq!(
                compiled.is_match(text.as_bytes()),
                *expected,
                "{pattern} on {text}"
            );
        }
    }

    #[test]
    fn bytes_that_are_no_text_match_a_dot() {
        assert!(Pattern::whole(".*").unwrap().is_match(b"\xff\xfe"));
    }

    #[test]
    fn bad_patterns_are_refused() {
        assert!(matches!(
            Pattern::whole("(a"),
            Err(PatternError::Syntax { .. })
        ));
        assert!(matches!(
            Pattern::whole(r"a(?=b)"),
            Err(PatternError::Syntax { .. })
        ));
        assert!(matches!(
            Pattern::whole("a{1000}{1000}"),
            Err(PatternError::Syntax { .. })
        ));
        let long = "a".repeat(LARGEST_PATTERN + 1);
        assert!(matches!(
            Pattern::whole(&long),
            Err(PatternError::TooLong { .. })
        ));
    }

    #[test]
    fn substitutions_replace_every_match() {
        let cases: &[(&str, &str, &str, &str)] = &[
            (
                "^/entities/(v1|v2)/(.*)",
                r"/openapi/\1/\2",
                "/entities/v2/a",
                "/openapi/v2/a",
            ),
            ("a", "b", "aXa", "bXb"),
            ("(x)?y", r"[\1]", "y", "[]"),
            ("a", r"\\", "a", r"\"),
            ("a", "$1", "a", "$1"),
            ("a+", r"\0\0", "aa", "aaaa"),
        ];
        for (pattern, substitution, text, expected) in cases {
            let compiled = Substitution::new(pattern, substitution).unwrap();
            assert_eq!(&*compiled.apply(text.as_bytes()), expected.as_bytes());
        }
        assert!(matches!(
            Substitution::new("a", r"\1"),
            Err(PatternError::NoGroup {
                group: 1,
                groups: 0
            })
        ));
        assert!(matches!(
            Substitution::new("a", r"\"),
            Err(PatternError::Escape)
        ));
    }
}
