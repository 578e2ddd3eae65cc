//! What a route asks of a request, as a tree; printed, it is the text that Kong gives its engine.

use std::fmt;
use std::net::IpAddr;

use super::field::Field;
use super::pattern::Pattern;

/// A condition on a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    Test(Test),
}

/// A condition on one field.
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    pub field: Field,
    /// On the lower-case form of the field.
    pub lower: bool,
    /// One of the field's values is enough; otherwise all have to pass.
    pub any: bool,
    pub check: Check,
}

/// What a value is compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum Check {
    Equal(Box<str>),
    Unequal(Box<str>),
    Prefix(Box<str>),
    Suffix(Box<str>),
    Contains(Box<str>),
    Regex(Pattern),
    Number(Relation, i64),
    Address(IpAddr),
    OtherAddress(IpAddr),
    In(Network),
    NotIn(Network),
}

/// How a number is compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Relation {
    Equal,
    Unequal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// A block of addresses; the bits behind the prefix are zero.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Network {
    address: IpAddr,
    length: u8,
}

impl Test {
    /// A condition on all values of a field as they are.
    pub const fn new(field: Field, check: Check) -> Self {
        Self {
            field,
            lower: false,
            any: false,
            check,
        }
    }
}

impl From<Test> for Expression {
    fn from(test: Test) -> Self {
        Self::Test(test)
    }
}

impl Network {
    /// `None` where the prefix is too long, or bits behind it are set.
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        let network = Self {
            address: masked(address, length)?,
            length,
        };
        (network.address == address).then_some(network)
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        masked(address, self.length) == Some(self.address)
    }
}

/// The address with the bits behind the prefix unset; no IPv4 address is in an IPv6 block.
fn masked(address: IpAddr, length: u8) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => {
            let hidden = 32_u32.checked_sub(length.into())?;
            let mask = u32::MAX.checked_shl(hidden).unwrap_or_default();
            Some(IpAddr::V4((address.to_bits() & mask).into()))
        }
        IpAddr::V6(address) => {
            let hidden = 128_u32.checked_sub(length.into())?;
            let mask = u128::MAX.checked_shl(hidden).unwrap_or_default();
            Some(IpAddr::V6((address.to_bits() & mask).into()))
        }
    }
}

impl Relation {
    pub fn holds(self, left: i64, right: i64) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Unequal => left != right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
        }
    }

    const fn sign(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::Unequal => "!=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
        }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(parts) => joined(formatter, parts, " && "),
            other => other.nested(formatter),
        }
    }
}

impl Expression {
    /// Whether its regular expressions can be compiled.
    pub(super) fn compile(&self) -> Result<(), regex::Error> {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().try_for_each(Self::compile),
            Self::Not(inner) => inner.compile(),
            Self::Test(Test {
                check: Check::Regex(pattern),
                ..
            }) => pattern.compile(),
            Self::Test(_) => Ok(()),
        }
    }

    fn nested(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(parts) => {
                formatter.write_str("(")?;
                joined(formatter, parts, " && ")?;
                formatter.write_str(")")
            }
            Self::Any(parts) => {
                formatter.write_str("(")?;
                joined(formatter, parts, " || ")?;
                formatter.write_str(")")
            }
            Self::Not(inner) => write!(formatter, "!({inner})"),
            Self::Test(test) => write!(formatter, "{test}"),
        }
    }
}

fn joined(formatter: &mut fmt::Formatter<'_>, parts: &[Expression], between: &str) -> fmt::Result {
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            formatter.write_str(between)?;
        }
        part.nested(formatter)?;
    }
    Ok(())
}

impl fmt::Display for Test {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.any, self.lower) {
            (true, true) => write!(formatter, "any(lower({}))", self.field)?,
            (true, false) => write!(formatter, "any({})", self.field)?,
            (false, true) => write!(formatter, "lower({})", self.field)?,
            (false, false) => write!(formatter, "{}", self.field)?,
        }
        write!(formatter, " {}", self.check)
    }
}

impl fmt::Display for Check {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equal(text) => write!(formatter, "== {}", Literal(text)),
            Self::Unequal(text) => write!(formatter, "!= {}", Literal(text)),
            Self::Prefix(text) => write!(formatter, "^= {}", Literal(text)),
            Self::Suffix(text) => write!(formatter, "=^ {}", Literal(text)),
            Self::Contains(text) => write!(formatter, "contains {}", Literal(text)),
            Self::Regex(regex) => write!(formatter, "~ {}", Literal(regex.text())),
            Self::Number(relation, number) => write!(formatter, "{} {number}", relation.sign()),
            Self::Address(address) => write!(formatter, "== {}", Address(*address)),
            Self::OtherAddress(address) => write!(formatter, "!= {}", Address(*address)),
            Self::In(network) => write!(formatter, "in {network}"),
            Self::NotIn(network) => write!(formatter, "not in {network}"),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", Address(self.address), self.length)
    }
}

/// A text as Kong writes it: raw, unless it holds what ends a raw text.
struct Literal<'a>(&'a str);

impl fmt::Display for Literal<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains("\"#") {
            let escaped = self.0.replace('\\', "\\\\").replace('"', "\\\"");
            write!(formatter, "\"{escaped}\"")
        } else {
            write!(formatter, "r#\"{}\"#", self.0)
        }
    }
}

/// An address in the one form that the engine's grammar has: no dots in IPv6.
struct Address(IpAddr);

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => {
                let [.., high, low] = address.segments();
                write!(formatter, "::ffff:{high:x}:{low:x}")
            }
            address => address.fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_own() {
        for (network, length, address, held) in [
            ("10.0.0.0", 8, "10.255.0.1", true),
            ("10.0.0.0", 8, "11.0.0.0", false),
            ("0.0.0.0", 0, "255.0.0.1", true),
            ("0.0.0.0", 0, "::1", false),
            ("1.2.3.4", 32, "1.2.3.4", true),
            ("2001:db8::", 32, "2001:db8:ffff::1", true),
            ("2001:db8::", 32, "2001:db9::", false),
            ("::", 0, "::1", true),
            ("::", 0, "1.1.1.1", false),
        ] {
            let network = Network::new(network.parse().unwrap(), length).unwrap();
            assert_eq!(
                network.contains(address.parse().unwrap()),
                held,
                "{network} {address}"
            );
        }
        assert_eq!(Network::new("10.0.0.1".parse().unwrap(), 8), None);
        assert_eq!(Network::new("10.0.0.0".parse().unwrap(), 33), None);
        assert_eq!(Network::new("::".parse().unwrap(), 129), None);
    }

    #[test]
    fn texts_are_raw_unless_they_cannot_be() {
        for (text, literal) in [
            ("a\\d", r##"r#"a\d"#"##),
            ("a\"b", r##"r#"a"b"#"##),
            (r##"a"#\"##, r##""a\"#\\""##),
        ] {
            assert_eq!(Literal(text).to_string(), literal);
        }
    }
}
