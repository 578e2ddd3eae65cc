//! The words of PromQL.

use std::fmt;

use super::{QueryError, error};

/// One word of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A name, a keyword.
    Word(&'a str),
    /// A number.
    Number(&'a str),
    /// `5m`, `1h30m`.
    Duration(&'a str),
    /// What stands in brackets.
    Range(&'a str),
    /// A text, without its quotes.
    Text(&'a str),
    /// An operator, a bracket, a comma.
    Symbol(&'a str),
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(text)
            | Self::Number(text)
            | Self::Duration(text)
            | Self::Symbol(text)
            | Self::Text(text) => write!(f, "`{text}`"),
            Self::Range(text) => write!(f, "`[{text}]`"),
        }
    }
}

/// Cuts a query into words with their places.
pub(super) fn tokens(text: &str) -> Result<Vec<(Token<'_>, usize)>, QueryError> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let length = match first {
            _ if first.is_whitespace() => {
                at += first.len_utf8();
                continue;
            }
            '#' => {
                at += rest.find('\n').unwrap_or(rest.len());
                continue;
            }
            '"' | '\'' | '`' => {
                let length =
                    quoted(rest, first).ok_or_else(|| error(at, "a quote is not closed"))?;
                found.push((Token::Text(&rest[1..length - 1]), at));
                length
            }
            '[' => {
                let length = rest
                    .find(']')
                    .ok_or_else(|| error(at, "a bracket is not closed"))?;
                let range = &rest[1..length];
                if !is_range(range) {
                    return Err(error(at, &format!("`{range}` is no range")));
                }
                found.push((Token::Range(range), at));
                length + 1
            }
            '0'..='9' | '.' => {
                let length = rest
                    .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '.')
                    .unwrap_or(rest.len());
                // 1e-3
                let exponent = rest[..length].ends_with(['e', 'E'])
                    && !rest.starts_with("0x")
                    && rest[length..].starts_with(['-', '+']);
                let length = if exponent {
                    let digits = rest[length + 1..]
                        .find(|letter: char| !letter.is_ascii_digit())
                        .unwrap_or(rest.len() - length - 1);
                    length + 1 + digits
                } else {
                    length
                };
                let word = &rest[..length];
                let token = if is_number(word) {
                    Token::Number(word)
                } else if is_duration(word) {
                    Token::Duration(word)
                } else {
                    return Err(error(at, &format!("`{word}` is no number")));
                };
                found.push((token, at));
                length
            }
            'a'..='z' | 'A'..='Z' | '_' | ':' => {
                let length = rest
                    .find(|letter: char| !letter.is_ascii_alphanumeric() && !"_:".contains(letter))
                    .unwrap_or(rest.len());
                found.push((Token::Word(&rest[..length]), at));
                length
            }
            _ => {
                let symbol = SYMBOLS
                    .iter()
                    .find(|symbol| rest.starts_with(**symbol))
                    .ok_or_else(|| error(at, &format!("`{first}` is not expected here")))?;
                found.push((Token::Symbol(symbol), at));
                symbol.len()
            }
        };
        at += length;
    }
    Ok(found)
}

/// Length of a text with its quotes.
fn quoted(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if letter == '\\' && quote != '`' {
            escaped = true;
        } else if letter == quote {
            return Some(at + 1);
        }
    }
    None
}

fn is_range(text: &str) -> bool {
    let is_part = |part: &str| is_duration(part) || GRAFANA.contains(&part);
    match text.split_once(':') {
        Some((range, step)) => is_part(range) && (step.is_empty() || is_part(step)),
        None => is_part(text),
    }
}

/// Numbers with units, the larger first.
fn is_duration(text: &str) -> bool {
    let mut rest = text;
    let mut units = UNITS.as_slice();
    while !rest.is_empty() {
        let digits = rest
            .find(|letter: char| !letter.is_ascii_digit())
            .unwrap_or(0);
        let unit = units
            .iter()
            .position(|unit| rest[digits..].starts_with(unit) && is_unit(&rest[digits..], unit));
        let (Some(unit), true) = (unit, digits > 0) else {
            return false;
        };
        rest = &rest[digits + units[unit].len()..];
        units = &units[unit + 1..];
    }
    !text.is_empty()
}

/// `m` is a unit, and so is `ms`.
fn is_unit(text: &str, unit: &str) -> bool {
    !text[unit.len()..].starts_with(|letter: char| letter.is_ascii_alphabetic())
}

fn is_number(text: &str) -> bool {
    match text.strip_prefix("0x") {
        Some(digits) => !digits.is_empty() && digits.chars().all(|digit| digit.is_ascii_hexdigit()),
        None => text.parse::<f64>().is_ok(),
    }
}

const UNITS: [&str; 7] = ["y", "w", "d", "h", "m", "s", "ms"];
/// What Grafana puts in place.
const GRAFANA: [&str; 3] = ["$__rate_interval", "$__interval", "$__range"];
const SYMBOLS: [&str; 22] = [
    "=~", "!~", "!=", "==", "<=", ">=", "=", "<", ">", "+", "-", "*", "/", "%", "^", "(", ")", "{",
    "}", ",", "@", "]",
];
