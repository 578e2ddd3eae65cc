//! Envoy's format strings ("Access logging: format rules"): text or JSON with operators such as `%REQ(:METHOD)%`, compiled once into a list and
//! written into a buffer that is used again.
//!
//! | file | what it holds |
//! |---|---|
//! | [`parse`] | text → operators |
//! | [`operator`] | what an operator tells of the facts |
//! | [`json`] | `json_format`, and how texts stand in JSON |
//! | [`time`] | points in time as text |

mod json;
mod operator;
mod parse;
#[cfg(test)]
mod tests;
mod time;

pub use self::json::{JsonFormat, write_escaped};
pub use self::operator::MetadataSource;
pub use self::time::TimeFormat;

use self::operator::Operator;
use super::facts::Facts;

/// A compiled text.
#[derive(Clone, Debug)]
pub struct Format {
    parts: Box<[Part]>,
    /// What stands for a value that is not there.
    missing: &'static str,
}

/// Why a text is not a format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at position {position}: {reason}")]
pub struct FormatError {
    /// Byte of the text, from 0, where the operator begins.
    pub position: usize,
    /// What is wrong there.
    pub reason: String,
}

#[derive(Clone, Debug)]
enum Part {
    Literal(Box<[u8]>),
    Field(Field),
}

#[derive(Clone, Debug)]
struct Field {
    operator: Operator,
    /// Longest text in bytes.
    limit: Option<usize>,
}

impl Format {
    /// A format for a log: what is missing prints as `-`, or as nothing with `omit_empty`.
    pub fn parse(text: &str, omit_empty: bool) -> Result<Self, FormatError> {
        Ok(Self {
            parts: parse::parse(text)?.into(),
            missing: if omit_empty { "" } else { "-" },
        })
    }

    /// A format for the value of a header field: what is missing is empty.
    pub fn header(text: &str) -> Result<Self, FormatError> {
        Self::parse(text, true)
    }

    /// The value at a path of metadata; nothing where there is none.
    pub fn metadata(source: MetadataSource, namespace: &str, path: Box<[Box<str>]>) -> Self {
        let operator = Operator::Metadata {
            source,
            namespace: namespace.into(),
            path,
        };
        Self {
            parts: Box::new([Part::Field(Field {
                operator,
                limit: None,
            })]),
            missing: "",
        }
    }

    /// The text, where it has no operators.
    pub fn literal(&self) -> Option<&[u8]> {
        match &*self.parts {
            [] => Some(b""),
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// Appends the text.
    pub fn render(&self, facts: &Facts<'_>, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.extend_from_slice(text),
                Part::Field(field) => {
                    if !field.write(facts, out) {
                        out.extend_from_slice(self.missing.as_bytes());
                    }
                }
            }
        }
    }
}

impl Field {
    /// Appends the value as text; false where there is none, and nothing is appended then.
    fn write(&self, facts: &Facts<'_>, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        if !self.operator.write(facts, out) {
            out.truncate(start);
            return false;
        }
        if let Some(limit) = self.limit {
            out.truncate(start.saturating_add(limit));
        }
        true
    }
}
