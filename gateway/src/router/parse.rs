//! Expressions that users write: read and checked by Kong's own engine.

use std::sync::LazyLock;

use atc_router::ast::{BinaryOperator, LogicalExpression, Predicate, Type, Value};
use atc_router::schema::Schema;
use atc_router::semantics::Validate;
use atc_router::{ast, parser};
use regex::Regex;

use super::Problem;
use super::expression::{Check, Expression, Network, Relation, Test};
use super::field::{Field, Header, Segments};
use super::pattern::Pattern;

/// Deeper or longer ones could exhaust the stack, for the engine walks them recursively.
const MAX_DEPTH: usize = 64;
const MAX_OPERATORS: usize = 2048;

const TEXT: [&str; 8] = [
    "net.protocol",
    "tls.sni",
    "http.method",
    "http.host",
    "http.path",
    "http.path.segments.*",
    "http.headers.*",
    "http.queries.*",
];
const NUMBERS: [&str; 3] = ["net.src.port", "net.dst.port", "http.path.segments.len"];
const ADDRESSES: [&str; 2] = ["net.src.ip", "net.dst.ip"];

/// The fields of requests, or of connections alone.
pub fn schema(stream: bool) -> &'static Schema {
    static HTTP: LazyLock<Schema> = LazyLock::new(|| fields(false));
    static STREAM: LazyLock<Schema> = LazyLock::new(|| fields(true));
    if stream { &STREAM } else { &HTTP }
}

fn fields(stream: bool) -> Schema {
    let mut schema = Schema::default();
    let mut add = |names: &[&str], kind: fn() -> Type| {
        for name in names {
            if !(stream && name.starts_with("http.")) {
                schema.add_field(name, kind());
            }
        }
    };
    add(&TEXT, || Type::String);
    add(&NUMBERS, || Type::Int);
    add(&ADDRESSES, || Type::IpAddr);
    schema
}

/// Reads an expression.
pub(super) fn expression(text: &str, stream: bool) -> Result<Expression, Problem> {
    let text = renamed(text);
    measure(&text)?;
    let tree = parser::parse(&text).map_err(|error| Problem::Expression(error.to_string()))?;
    tree.validate(schema(stream)).map_err(Problem::Expression)?;
    converted(&tree)
}

/// `net.port`, as it was called up to 3.6.
fn renamed(text: &str) -> String {
    static OLD: LazyLock<Regex> = LazyLock::new(|| {
        #[expect(clippy::expect_used, reason = "a constant, which tests use")]
        Regex::new(r"net\.port(\s*[=><!])").expect("a regular expression")
    });
    OLD.replace_all(text, "net.dst.port$1").into_owned()
}

fn measure(text: &str) -> Result<(), Problem> {
    let (mut depth, mut deepest, mut operators) = (0_usize, 0, 0);
    // Brackets in texts count as well: they only make the limit stricter.
    for byte in text.bytes() {
        match byte {
            b'(' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b')' => depth = depth.saturating_sub(1),
            b'&' | b'|' => operators += 1,
            _ => {}
        }
    }
    if deepest > MAX_DEPTH || operators > 2 * MAX_OPERATORS {
        return Err(Problem::Size);
    }
    Ok(())
}

fn converted(tree: &ast::Expression) -> Result<Expression, Problem> {
    match tree {
        ast::Expression::Predicate(predicate) => test(predicate).map(Expression::Test),
        ast::Expression::Logical(logical) => match logical.as_ref() {
            LogicalExpression::Not(inner) => Ok(Expression::Not(Box::new(converted(inner)?))),
            LogicalExpression::And(..) => {
                let mut parts = Vec::new();
                chain(tree, true, &mut parts)?;
                Ok(Expression::All(parts))
            }
            LogicalExpression::Or(..) => {
                let mut parts = Vec::new();
                chain(tree, false, &mut parts)?;
                Ok(Expression::Any(parts))
            }
        },
    }
}

/// `a && b && c` leans to the left; here it is one list in the same order.
fn chain(tree: &ast::Expression, and: bool, parts: &mut Vec<Expression>) -> Result<(), Problem> {
    let mut rights = Vec::new();
    let mut left = tree;
    while let ast::Expression::Logical(logical) = left {
        match logical.as_ref() {
            LogicalExpression::And(inner, right) if and => {
                rights.push(right);
                left = inner;
            }
            LogicalExpression::Or(inner, right) if !and => {
                rights.push(right);
                left = inner;
            }
            _ => break,
        }
    }
    parts.push(converted(left)?);
    for right in rights.into_iter().rev() {
        parts.push(converted(right)?);
    }
    Ok(())
}

fn test(predicate: &Predicate) -> Result<Test, Problem> {
    let (lower, any) = predicate.lhs.get_transformations();
    let field = field(&predicate.lhs.var_name)?;
    let check = check(
        predicate,
        matches!(field, Field::Host | Field::Sni) && !lower,
    )?;
    Ok(Test {
        field,
        lower,
        any,
        check,
    })
}

fn field(name: &str) -> Result<Field, Problem> {
    let unknown = || Problem::Expression(format!("Unknown LHS field: {name}"));
    Ok(match name {
        "net.protocol" => Field::Protocol,
        "tls.sni" => Field::Sni,
        "http.method" => Field::Method,
        "http.host" => Field::Host,
        "http.path" => Field::Path,
        "http.path.segments.len" => Field::SegmentCount,
        "net.src.ip" => Field::SourceIp,
        "net.src.port" => Field::SourcePort,
        "net.dst.ip" => Field::DestinationIp,
        "net.dst.port" => Field::DestinationPort,
        _ => {
            if let Some(segments) = name.strip_prefix("http.path.segments.") {
                let segments = Segments::named(segments).ok_or(Problem::Segments)?;
                Field::Segments(segments)
            } else if let Some(query) = name.strip_prefix("http.queries.") {
                Field::Query(query.into())
            } else {
                let header = name.strip_prefix("http.headers.");
                let header = header.and_then(Header::named).ok_or_else(unknown)?;
                Field::Header(Box::new(header))
            }
        }
    })
}

/// `fold`: the field is lower-case already, whatever the client wrote.
fn check(predicate: &Predicate, fold: bool) -> Result<Check, Problem> {
    let mismatch = || Problem::Expression("operands of the wrong type".into());
    let text = || -> Result<Box<str>, Problem> {
        let Value::String(text) = &predicate.rhs else {
            return Err(mismatch());
        };
        Ok(match fold {
            true => text.to_ascii_lowercase().into(),
            false => text.as_str().into(),
        })
    };
    let number = |relation| -> Result<Check, Problem> {
        match predicate.rhs {
            Value::Int(number) => Ok(Check::Number(relation, number)),
            _ => Err(mismatch()),
        }
    };
    let network = || -> Result<Network, Problem> {
        let Value::IpCidr(block) = &predicate.rhs else {
            return Err(mismatch());
        };
        Network::new(block.first_address(), block.network_length()).ok_or_else(mismatch)
    };
    use BinaryOperator as Operator;
    Ok(match (&predicate.op, &predicate.rhs) {
        (Operator::Equals, Value::Int(_)) => number(Relation::Equal)?,
        (Operator::NotEquals, Value::Int(_)) => number(Relation::Unequal)?,
        (Operator::Equals, Value::IpAddr(address)) => Check::Address(*address),
        (Operator::NotEquals, Value::IpAddr(address)) => Check::OtherAddress(*address),
        (Operator::Equals, _) => Check::Equal(text()?),
        (Operator::NotEquals, _) => Check::Unequal(text()?),
        (Operator::Prefix, _) => Check::Prefix(text()?),
        (Operator::Postfix, _) => Check::Suffix(text()?),
        (Operator::Contains, _) => Check::Contains(text()?),
        (Operator::Greater, _) => number(Relation::Greater)?,
        (Operator::GreaterOrEqual, _) => number(Relation::GreaterOrEqual)?,
        (Operator::Less, _) => number(Relation::Less)?,
        (Operator::LessOrEqual, _) => number(Relation::LessOrEqual)?,
        (Operator::In, _) => Check::In(network()?),
        (Operator::NotIn, _) => Check::NotIn(network()?),
        (Operator::Regex, Value::Regex(regex)) => Check::Regex(Pattern::new(regex.as_str())?),
        (Operator::Regex, _) => return Err(mismatch()),
    })
}
