//! The part of CEL that access log filters and metric dimensions use: literals, lists, `&& || ! == != < <= > >= in + ?:`, members, indices,
//! `has`, `size`, `string`, `int`, `duration`, `startsWith`, `endsWith`, `contains`, `matches`, over Envoy's attributes
//! (docs: "Attributes"). Compiled once; everything else is refused at plan time.
//!
//! | file | what it holds |
//! |---|---|
//! | [`parse`] | text → tree |
//! | [`attribute`] | `request.path` and its like |
//! | [`value`] | values, and how they compare |

mod attribute;
mod parse;
#[cfg(test)]
mod tests;
mod value;

use std::borrow::Cow;
use std::time::Duration;

use self::attribute::Attribute;
use self::value::Value;
use super::facts::Facts;
use super::peer::LocalNode;
use crate::live::matcher::Pattern;

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct Expression {
    root: Node,
}

/// Why a text is no expression that is served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at position {position} of the expression: {reason}")]
pub struct CelError {
    /// Byte of the text, from 0.
    pub position: usize,
    /// What is wrong there.
    pub reason: String,
}

#[derive(Clone, Debug)]
enum Node {
    Literal(Literal),
    Attribute(Attribute),
    List(Box<[Self]>),
    /// A member by name.
    Member(Box<Self>, Box<str>),
    /// A member by a computed key.
    Index(Box<Self>, Box<Self>),
    Has(Box<Self>),
    Not(Box<Self>),
    Negative(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Compare(Comparison, Box<Self>, Box<Self>),
    In(Box<Self>, Box<Self>),
    Add(Box<Self>, Box<Self>),
    Choose(Box<Self>, Box<Self>, Box<Self>),
    Text(TextFunction, Box<Self>, Box<Self>),
    Matches(Box<Self>, Pattern),
    Convert(Conversion, Box<Self>),
}

#[derive(Clone, Debug)]
enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Box<str>),
    Duration(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug)]
enum TextFunction {
    StartsWith,
    EndsWith,
    Contains,
}

#[derive(Clone, Copy, Debug)]
enum Conversion {
    Size,
    Text,
    Int,
    Double,
    LowerCase,
}

impl Expression {
    /// Compiles; the `node` attribute is never there.
    pub fn parse(text: &str) -> Result<Self, CelError> {
        Self::parse_for(text, None)
    }

    /// Compiles for a node.
    pub fn parse_for(text: &str, node: Option<&LocalNode>) -> Result<Self, CelError> {
        Ok(Self {
            root: parse::parse(text, node)?,
        })
    }

    /// Whether it is true; an error, such as a fact that is not there, is not.
    pub fn is_true(&self, facts: &Facts<'_>) -> bool {
        matches!(self.root.value(facts), Some(Value::Bool(true)))
    }

    /// Appends its value as text; false where it is an error, nothing or no simple value.
    pub fn write(&self, facts: &Facts<'_>, out: &mut Vec<u8>) -> bool {
        self.root.value(facts).is_some_and(|value| value.write(out))
    }
}

impl Node {
    /// The value; `None` is an error.
    fn value<'a>(&'a self, facts: &Facts<'a>) -> Option<Value<'a>> {
        Some(match self {
            Self::Literal(literal) => literal.value(),
            Self::Attribute(attribute) => attribute.value(facts)?,
            Self::List(nodes) => Value::List(
                nodes
                    .iter()
                    .map(|node| node.value(facts))
                    .collect::<Option<_>>()?,
            ),
            Self::Member(object, name) => object.value(facts)?.member(name)?,
            Self::Index(object, key) => object.value(facts)?.index(&key.value(facts)?)?,
            Self::Has(node) => Value::Bool(
                node.value(facts)
                    .is_some_and(|value| !matches!(value, Value::Null)),
            ),
            Self::Not(node) => Value::Bool(!node.boolean(facts)?),
            Self::Negative(node) => match node.value(facts)? {
                Value::Int(number) => Value::Int(number.checked_neg()?),
                Value::Double(number) => Value::Double(-number),
                _ => return None,
            },
            // One side decides even where the other is an error (CEL specification, "Logical operators").
            Self::And(left, right) => match (left.boolean(facts), right.boolean(facts)) {
                (Some(false), _) | (_, Some(false)) => Value::Bool(false),
                (Some(true), Some(true)) => Value::Bool(true),
                _ => return None,
            },
            Self::Or(left, right) => match (left.boolean(facts), right.boolean(facts)) {
                (Some(true), _) | (_, Some(true)) => Value::Bool(true),
                (Some(false), Some(false)) => Value::Bool(false),
                _ => return None,
            },
            Self::Compare(comparison, left, right) => {
                Value::Bool(comparison.holds(&left.value(facts)?, &right.value(facts)?)?)
            }
            Self::In(element, list) => {
                Value::Bool(list.value(facts)?.holds(&element.value(facts)?)?)
            }
            Self::Add(left, right) => match (left.value(facts)?, right.value(facts)?) {
                (Value::Int(left), Value::Int(right)) => Value::Int(left.checked_add(right)?),
                (Value::Double(left), Value::Double(right)) => Value::Double(left + right),
                (left, right) => {
                    Value::Text(Cow::Owned(format!("{}{}", left.text()?, right.text()?)))
                }
            },
            Self::Choose(condition, yes, no) => {
                if condition.boolean(facts)? { yes } else { no }.value(facts)?
            }
            Self::Text(function, text, part) => {
                let (text, part) = (text.value(facts)?, part.value(facts)?);
                let (text, part) = (text.text()?, part.text()?);
                Value::Bool(match function {
                    TextFunction::StartsWith => text.starts_with(part),
                    TextFunction::EndsWith => text.ends_with(part),
                    TextFunction::Contains => text.contains(part),
                })
            }
            Self::Matches(text, pattern) => {
                Value::Bool(pattern.is_match(text.value(facts)?.text()?.as_bytes()))
            }
            Self::Convert(conversion, node) => conversion.of(node.value(facts)?)?,
        })
    }

    fn boolean(&self, facts: &Facts<'_>) -> Option<bool> {
        self.value(facts)?.boolean()
    }
}

impl Literal {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Double(value) => Value::Double(*value),
            Self::Text(text) => Value::Text(Cow::Borrowed(text)),
            Self::Duration(value) => Value::Duration(*value),
        }
    }
}

impl Comparison {
    fn holds(self, left: &Value<'_>, right: &Value<'_>) -> Option<bool> {
        if matches!(self, Self::Equal | Self::NotEqual) {
            return Some(left.equals(right) == (self == Self::Equal));
        }
        let order = left.order(right)?;
        Some(match self {
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            _ => order.is_ge(),
        })
    }
}

impl Conversion {
    fn of<'a>(self, value: Value<'a>) -> Option<Value<'a>> {
        Some(match self {
            Self::Size => Value::Int(i64::try_from(value.size()?).ok()?),
            Self::LowerCase => Value::Text(Cow::Owned(value.text()?.to_ascii_lowercase())),
            Self::Text => {
                let mut text = Vec::new();
                value.write(&mut text).then_some(())?;
                Value::Text(Cow::Owned(String::from_utf8(text).ok()?))
            }
            Self::Int => match value {
                Value::Double(number) => Value::Int(number as i64),
                Value::Int(number) => Value::Int(number),
                value => Value::Int(value.text()?.parse().ok()?),
            },
            Self::Double => match value {
                Value::Double(number) => Value::Double(number),
                Value::Int(number) => Value::Double(number as f64),
                value => Value::Double(value.text()?.parse().ok()?),
            },
        })
    }
}
