//! An expression for one protocol.

use crate::router::expression::Expression;
use crate::router::field::Field;
use crate::router::lookup::Protocol;

/// What is left of an expression.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::router) enum Simplified {
    Always,
    Never,
    If(Expression),
}

/// Settles what is asked about the protocol; lists in lists of the same kind become one.
pub(in crate::router) fn simplified(expression: &Expression, protocol: Protocol) -> Simplified {
    match expression {
        Expression::Test(test) if test.field == Field::Protocol => {
            match test.text(protocol.name(), &mut ()) {
                true => Simplified::Always,
                false => Simplified::Never,
            }
        }
        Expression::Test(_) => Simplified::If(expression.clone()),
        Expression::Not(inner) => match simplified(inner, protocol) {
            Simplified::Always => Simplified::Never,
            Simplified::Never => Simplified::Always,
            Simplified::If(inner) => Simplified::If(Expression::Not(Box::new(inner))),
        },
        Expression::All(parts) => {
            let mut left = Vec::new();
            for part in parts {
                match simplified(part, protocol) {
                    Simplified::Always => {}
                    Simplified::Never => return Simplified::Never,
                    Simplified::If(Expression::All(parts)) => left.extend(parts),
                    Simplified::If(part) => left.push(part),
                }
            }
            match left.len() {
                0 => Simplified::Always,
                1 => Simplified::If(left.remove(0)),
                _ => Simplified::If(Expression::All(left)),
            }
        }
        Expression::Any(parts) => {
            let mut left = Vec::new();
            for part in parts {
                match simplified(part, protocol) {
                    Simplified::Always => return Simplified::Always,
                    Simplified::Never => {}
                    Simplified::If(Expression::Any(parts)) => left.extend(parts),
                    Simplified::If(part) => left.push(part),
                }
            }
            match left.len() {
                0 => Simplified::Never,
                1 => Simplified::If(left.remove(0)),
                _ => Simplified::If(Expression::Any(left)),
            }
        }
    }
}
