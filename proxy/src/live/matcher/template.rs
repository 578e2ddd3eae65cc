//! URI templates (Envoy's `uri_template` path match and rewrite, istiod's `{*}` and `{**}` in AuthorizationPolicy).
//!
//! A template is a path of segments. `*` stands for one non-empty segment, `**` for any number of them and ends the template but for a literal
//! ending, `{name}` is a `*` with a name, `{name=a/*/b}` a name for a part.

use super::pattern::{Pattern, PatternError};

/// A compiled template.
#[derive(Clone, Debug)]
pub struct Template {
    pattern: Pattern,
    names: Box<[Box<str>]>,
}

/// A path made of what a template's names stood for, such as `/{region}/x/{rest}`.
#[derive(Clone, Debug)]
pub struct TemplateRewrite {
    template: Template,
    parts: Box<[Part]>,
}

#[derive(Clone, Debug)]
enum Part {
    Literal(Box<[u8]>),
    /// Number of a capture group.
    Group(usize),
}

/// Why a template was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `**` is followed by another operator or name.
    #[error("`**` is followed by another `*` or `{{name}}`")]
    AfterRest,
    /// A brace has no partner, or braces stand in braces.
    #[error("`{{` and `}}` do not pair")]
    Braces,
    /// A character that does not belong into a path.
    #[error("`{0}` does not belong into a path template")]
    Character(char),
    /// A name stands twice.
    #[error("`{0}` stands twice")]
    Duplicate(String),
    /// `***`, or `*` next to `*`.
    #[error("operators stand next to each other")]
    Operators,
    /// A name is not a letter followed by letters, digits and `_`, 16 at most.
    #[error("`{0}` is not a name (a letter, then letters, digits and `_`, 16 at most)")]
    Name(String),
    /// It does not compile.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// It does not begin with a slash.
    #[error("it does not begin with `/`")]
    Slash,
    /// There are more names than five.
    #[error("it has more than five names")]
    TooMany,
    /// A rewrite uses a name that the template does not have.
    #[error("`{0}` is not in the template that is matched")]
    Unknown(String),
}

impl Template {
    /// Compiles.
    pub fn new(template: &str) -> Result<Self, TemplateError> {
        if !template.starts_with('/') {
            return Err(TemplateError::Slash);
        }
        let mut compiler = Compiler::default();
        compiler.part(template, false)?;
        if compiler.names.len() > MOST_NAMES {
            return Err(TemplateError::TooMany);
        }
        Ok(Self {
            pattern: Pattern::whole(&compiler.pattern)?,
            names: compiler.names.into(),
        })
    }

    /// Whether a path (without query) has this form.
    pub fn matches(&self, path: &[u8]) -> bool {
        self.pattern.is_match(path)
    }
}

impl TemplateRewrite {
    /// Compiles a rewrite of paths that `template` matches.
    pub fn new(template: &str, rewrite: &str) -> Result<Self, TemplateError> {
        let template = Template::new(template)?;
        if !rewrite.starts_with('/') {
            return Err(TemplateError::Slash);
        }
        let mut parts = Vec::new();
        let mut rest = rewrite;
        while let Some((literal, after)) = rest.split_once('{') {
            let (name, tail) = after.split_once('}').ok_or(TemplateError::Braces)?;
            check(literal)?;
            let group = template
                .names
                .iter()
                .position(|held| **held == *name)
                .ok_or_else(|| TemplateError::Unknown(name.to_owned()))?;
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.as_bytes().into()));
            }
            parts.push(Part::Group(group + 1));
            rest = tail;
        }
        check(rest)?;
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.as_bytes().into()));
        }
        Ok(Self {
            template,
            parts: parts.into(),
        })
    }

    /// The new path for `path` (without query), if the template matches it.
    pub fn apply(&self, path: &[u8]) -> Option<Vec<u8>> {
        let captures = self.template.pattern.regex().captures(path)?;
        let mut rewritten = Vec::with_capacity(path.len());
        for part in &self.parts {
            match part {
                Part::Literal(literal) => rewritten.extend_from_slice(literal),
                Part::Group(group) => rewritten
                    .extend_from_slice(captures.get(*group).map_or(b"", |found| found.as_bytes())),
            }
        }
        Some(rewritten)
    }
}

#[derive(Default)]
struct Compiler {
    pattern: String,
    names: Vec<Box<str>>,
    /// `**` was seen: only literals may follow.
    rest: bool,
}

impl Compiler {
    /// Reads a template, or (`inside`) the right side of `{name=…}`.
    fn part(&mut self, mut text: &str, inside: bool) -> Result<(), TemplateError> {
        let mut after_operator = false;
        while let Some(next) = text.chars().next() {
            if next == '*' || next == '{' {
                if after_operator {
                    return Err(TemplateError::Operators);
                }
                if self.rest {
                    return Err(TemplateError::AfterRest);
                }
                after_operator = true;
            } else {
                after_operator = false;
            }
            if let Some(tail) = text.strip_prefix("**") {
                if tail.starts_with('*') {
                    return Err(TemplateError::Operators);
                }
                self.rest = true;
                self.pattern.push_str(REST);
                text = tail;
            } else if let Some(tail) = text.strip_prefix('*') {
                self.pattern.push_str(SEGMENT);
                text = tail;
            } else if let Some(tail) = text.strip_prefix('{') {
                let (inner, tail) = tail.split_once('}').ok_or(TemplateError::Braces)?;
                if inside || inner.contains('{') {
                    return Err(TemplateError::Braces);
                }
                let (name, form) = inner.split_once('=').unwrap_or((inner, "*"));
                self.name(name)?;
                self.pattern.push('(');
                self.part(form, true)?;
                self.pattern.push(')');
                text = tail;
            } else if next == '}' {
                return Err(TemplateError::Braces);
            } else {
                let mut buffer = [0; 4];
                let literal = &*next.encode_utf8(&mut buffer);
                check(literal)?;
                self.pattern.push_str(&regex::escape(literal));
                text = &text[next.len_utf8()..];
            }
        }
        Ok(())
    }

    fn name(&mut self, name: &str) -> Result<(), TemplateError> {
        let letter = name
            .bytes()
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic());
        if !letter
            || name.len() > LONGEST_NAME
            || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        {
            return Err(TemplateError::Name(name.to_owned()));
        }
        if self.names.iter().any(|held| **held == *name) {
            return Err(TemplateError::Duplicate(name.to_owned()));
        }
        self.names.push(name.into());
        Ok(())
    }
}

/// Whether every character belongs into a path (RFC 3986 section 3.3).
fn check(literal: &str) -> Result<(), TemplateError> {
    match literal
        .chars()
        .find(|next| !(next.is_ascii_alphanumeric() || "-._~%!$&'()+,;:@=/".contains(*next)))
    {
        Some(other) => Err(TemplateError::Character(other)),
        None => Ok(()),
    }
}

/// One segment: any character of a path but the slash.
const SEGMENT: &str = "[a-zA-Z0-9\\-._~%!$&'()+,;:@=]+";
/// The rest: the same and slashes.
const REST: &str = "[a-zA-Z0-9\\-._~%!$&'()+,;:@=/]*";
const MOST_NAMES: usize = 5;
const LONGEST_NAME: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let cases: &[(&str, &str, bool)] = &[
            ("/tenants/*/files/**", "/tenants/a/files/b/c", true),
            ("/tenants/*/files/**", "/tenants/a/files/", true),
            ("/tenants/*/files/**", "/tenants/a/files", false),
            ("/tenants/*/files/**", "/tenants/a/b/files/c", false),
            ("/tenants/*/files/**", "/tenants//files/c", false),
            ("/a/*", "/a/b", true),
            ("/a/*", "/a/b/c", false),
            ("/**.mpd", "/x/y.mpd", true),
            ("/**.mpd", "/x/ympd", false),
            ("/**", "/", true),
            ("/{a}/x/{rest=**}", "/1/x/2/3", true),
            ("/{a=v1/*}/x", "/v1/y/x", true),
            ("/{a=v1/*}/x", "/v2/y/x", false),
            ("/a.b", "/aXb", false),
        ];
        for (template, path, expected) in cases {
            let compiled =
                Template::new(template).unwrap_or_else(|error| panic!("{template}: {error}"));
            assert_eq!(
                compiled.matches(path.as_bytes()),
                *expected,
                "{template} on {path}"
            );
        }
    }

    #[test]
    fn bad_templates_are_refused() {
        let cases: &[(&str, TemplateError)] = &[
            ("a", TemplateError::Slash),
            ("/***", TemplateError::Operators),
            ("/**/*", TemplateError::AfterRest),
            ("/{a", TemplateError::Braces),
            ("/a}", TemplateError::Braces),
            ("/{a}/{a}", TemplateError::Duplicate("a".to_owned())),
            ("/{1a}", TemplateError::Name("1a".to_owned())),
            ("/{a}/{b}/{c}/{d}/{e}/{f}", TemplateError::TooMany),
            ("/a b", TemplateError::Character(' ')),
            ("/{a=**}/{b}", TemplateError::AfterRest),
        ];
        for (template, expected) in cases {
            assert_eq!(
                Template::new(template).err().as_ref(),
                Some(expected),
                "{template}"
            );
        }
    }

    #[test]
    fn rewrites() {
        let rewrite =
            TemplateRewrite::new("/{tenant}/files/{rest=**}", "/v2/{rest}/of/{tenant}").unwrap();
        assert_eq!(
            rewrite.apply(b"/acme/files/a/b").unwrap(),
            b"/v2/a/b/of/acme"
        );
        assert_eq!(rewrite.apply(b"/acme/other"), None);
        assert_eq!(
            TemplateRewrite::new("/{a}", "/{b}").err(),
            Some(TemplateError::Unknown("b".to_owned()))
        );
    }
}
