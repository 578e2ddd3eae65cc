//! Which hosts and which paths a condition needs.

use regex_syntax::hir::{Hir, HirKind, Look};

use crate::router::expression::{Check, Expression, Test};
use crate::router::field::Field;

/// Keys, each with whether it answers the condition alone. Where the condition holds, one of them
/// is met.
pub(super) type Keys<K> = Vec<(K, bool)>;

/// A host, or hosts that begin or end alike.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum HostKey {
    Any,
    Exact(Box<str>),
    Prefix(Box<str>),
    Suffix(Box<str>),
}

/// Requests by their hosts.
pub(super) fn hosts(condition: &Expression) -> Option<Keys<HostKey>> {
    keys(condition, &|test| name(test, &Field::Host))
}

/// Connections by the names of their servers.
pub(super) fn servers(condition: &Expression) -> Option<Keys<HostKey>> {
    keys(condition, &|test| name(test, &Field::Sni))
}

fn name(test: &Test, field: &Field) -> Option<(HostKey, bool)> {
    if test.field != *field || test.lower {
        return None;
    }
    Some(match &test.check {
        Check::Equal(text) => (HostKey::Exact(text.clone()), true),
        Check::Prefix(text) => (HostKey::Prefix(text.clone()), true),
        Check::Suffix(text) => (HostKey::Suffix(text.clone()), true),
        _ => return None,
    })
}

/// Paths by what they begin with.
pub(super) fn paths(condition: &Expression) -> Option<Keys<Vec<u8>>> {
    keys(condition, &|test| {
        if test.field != Field::Path || test.lower {
            return None;
        }
        Some(match &test.check {
            Check::Prefix(text) => (text.as_bytes().into(), true),
            Check::Equal(text) => (text.as_bytes().into(), false),
            Check::Regex(regex) => (beginning(regex.text())?, false),
            _ => return None,
        })
    })
}

fn keys<K>(condition: &Expression, key: &impl Fn(&Test) -> Option<(K, bool)>) -> Option<Keys<K>> {
    match condition {
        Expression::Test(test) => key(test).map(|key| vec![key]),
        Expression::Any(parts) => {
            let mut all = Vec::with_capacity(parts.len());
            for part in parts {
                all.extend(keys(part, key)?);
            }
            Some(all)
        }
        // Any of the parts would do: the one with the fewest keys does it best. Others are left.
        Expression::All(parts) => {
            let found = parts.iter().filter_map(|part| keys(part, key));
            let mut fewest = found.min_by_key(Vec::len)?;
            fewest.iter_mut().for_each(|(_, answers)| *answers = false);
            Some(fewest)
        }
        Expression::Not(_) => None,
    }
}

/// The text with which everything begins that an anchored regular expression matches.
fn beginning(pattern: &str) -> Option<Vec<u8>> {
    let hir = regex_syntax::parse(pattern).ok()?;
    let HirKind::Concat(parts) = hir.kind() else {
        return None;
    };
    let (first, parts) = parts.split_first()?;
    if !matches!(first.kind(), HirKind::Look(Look::Start)) {
        return None;
    }
    let mut text = Vec::new();
    for part in parts {
        if !literal(part, &mut text) {
            break;
        }
    }
    (!text.is_empty()).then_some(text)
}

/// Adds what a part begins with; whether that is all of it.
fn literal(part: &Hir, text: &mut Vec<u8>) -> bool {
    match part.kind() {
        HirKind::Empty => true,
        HirKind::Literal(literal) => {
            text.extend_from_slice(&literal.0);
            true
        }
        HirKind::Capture(capture) => literal(&capture.sub, text),
        HirKind::Concat(parts) => parts.iter().all(|part| literal(part, text)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_of_regular_expressions() {
        for (pattern, text) in [
            ("^/api/v1/\\d+", Some("/api/v1/")),
            ("^/(?P<a>api)/(v[12])", Some("/api/v")),
            ("^/a.b", Some("/a")),
            ("^/a\\.b", Some("/a.b")),
            ("^/ab?", Some("/a")),
            ("^/a$", Some("/a")),
            ("^(?:/a|/b)", None),
            ("^(/a|/b)", None),
            ("/a", None),
            ("(?i)^/a", Some("/")),
            ("(?m)^/a", None),
            ("^/a|/b", None),
            ("^[a]/b", Some("a/b")),
            ("^.*", None),
            ("^", None),
        ] {
            let found = beginning(pattern).map(|text| String::from_utf8(text).unwrap());
            assert_eq!(found.as_deref(), text, "{pattern}");
        }
    }
}
