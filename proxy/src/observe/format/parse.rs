//! Text → literals and operators. `%%` is a percent sign; an operator is `%NAME%`, `%NAME(ARGUMENT)%`, either with `:LENGTH` before the last sign.

use super::operator::{Operator, Problem};
use super::{Field, FormatError, Part};

/// Compiles a text.
pub(super) fn parse(text: &str) -> Result<Vec<Part>, FormatError> {
    let mut parts = Vec::new();
    let mut literal = Vec::new();
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'%', &text.as_bytes()[at..]) {
        let position = at + found;
        literal.extend_from_slice(&text.as_bytes()[at..position]);
        let rest = &text[position + 1..];
        if rest.starts_with('%') {
            literal.push(b'%');
            at = position + 2;
            continue;
        }
        let error = |reason: String| FormatError { position, reason };
        let spelled = Spelled::read(rest).ok_or_else(|| error("expected an operator such as `%PROTOCOL%` or `%REQ(USER-AGENT):20%`, or `%%` for a percent sign".to_owned()))?;
        let operator = Operator::parse(spelled.name, spelled.argument, spelled.limit.is_some())
            .map_err(|problem| {
                error(match problem {
                    Problem::Unknown => {
                        format!("`{}` is not an operator that is served", spelled.name)
                    }
                    Problem::Argument(reason) => format!("`{}`: {reason}", spelled.name),
                })
            })?;
        if !literal.is_empty() {
            parts.push(Part::Literal(std::mem::take(&mut literal).into()));
        }
        parts.push(Part::Field(Field {
            operator,
            limit: spelled.limit,
        }));
        at = position + 1 + spelled.length;
    }
    literal.extend_from_slice(&text.as_bytes()[at..]);
    if !literal.is_empty() {
        parts.push(Part::Literal(literal.into()));
    }
    Ok(parts)
}

/// An operator as it is spelled.
struct Spelled<'a> {
    name: &'a str,
    argument: Option<&'a str>,
    limit: Option<usize>,
    /// Bytes of all of it, the closing sign among them.
    length: usize,
}

impl<'a> Spelled<'a> {
    /// Reads what follows the opening sign.
    fn read(text: &'a str) -> Option<Self> {
        let end = text.find(|letter: char| !matches!(letter, 'A'..='Z' | '0'..='9' | '_'))?;
        if end == 0 {
            return None;
        }
        let (name, rest) = text.split_at(end);
        let Some(inner) = rest.strip_prefix('(') else {
            let (limit, length) = ending(rest)?;
            return Some(Self {
                name,
                argument: None,
                limit,
                length: end + length,
            });
        };
        // The argument ends at the first parenthesis that an operator may end with: CEL has parentheses of its own.
        inner.match_indices(')').find_map(|(close, _)| {
            let (limit, length) = ending(&inner[close + 1..])?;
            Some(Self {
                name,
                argument: Some(&inner[..close]),
                limit,
                length: end + 1 + close + 1 + length,
            })
        })
    }
}

/// `%` or `:LENGTH%`: the limit, and the bytes it takes.
fn ending(text: &str) -> Option<(Option<usize>, usize)> {
    if text.starts_with('%') {
        return Some((None, 1));
    }
    let digits = text.strip_prefix(':')?;
    let end = digits.find('%')?;
    let limit = &digits[..end];
    if limit.is_empty() || !limit.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // A limit beyond every text is no limit.
    Some((Some(limit.parse().unwrap_or(usize::MAX)), end + 2))
}
