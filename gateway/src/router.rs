//! The router: which route a request or a connection takes, in Kong's order and by Kong's rules.
//!
//! | file | what it holds |
//! |---|---|
//! | `lookup` | what the router is asked |
//! | `field`, `pattern`, `expression` | what a route asks of a request, as a tree; printed, it is Kong's own text |
//! | `generate`, `parse` | the tree of a route's fields; of an expression that a user wrote |
//! | `priority` | the order of routes |
//! | `reader`, `evaluate` | a tree and a request: the interpreter |
//! | `index` | trees compiled to hash, tries and sorted lists |
//! | `found` | what was matched |
//! | `uri` | the path before the router and behind it |
//!
//! Kong asks every route in the order of priorities until one matches, and keeps 5,000 answers. Here
//! nothing is kept: [`index`] leads to the few routes that can match at all.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::plan::route::Route;

mod evaluate;
mod expression;
mod field;
mod found;
mod generate;
mod index;
mod lookup;
mod parse;
mod pattern;
mod priority;
mod query;
mod reader;
#[cfg(test)]
mod tests;
pub mod uri;

pub use expression::Expression;
pub use found::{Captures, Found};
pub use lookup::{Http, Lookup, Protocol};
pub use parse::schema;

use found::Traced;
use index::{Index, Simplified};
use reader::Reader;

/// Which routes are served (`router_flavor`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Flavor {
    /// Routes of fields, matched as expressions.
    #[default]
    TraditionalCompatible,
    /// Routes of fields and routes of expressions.
    Expressions,
}

/// How the order of routes of fields is found (`route_match_calculation`); see `priority`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Calculation {
    /// As Kong 3.0 to 3.9 do.
    #[default]
    Original,
    /// As Kong documents it; and a route of TLS alone takes no plain requests for its `snis`.
    Strict,
}

/// What the router's configuration says.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rules {
    pub flavor: Flavor,
    pub calculation: Calculation,
}

/// Why a route cannot be matched.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Problem {
    #[error("{0} is no address or network that the router can compare with")]
    Address(Box<str>),
    #[error("there is nothing to match")]
    Empty,
    #[error("{0}")]
    Expression(String),
    #[error("{0} is no header")]
    Header(String),
    #[error("{0}")]
    Regex(#[from] regex::Error),
    #[error("illformed http.path.segments.* field")]
    Segments,
    #[error("the expression is nested too deeply, or has too many operators")]
    Size,
}

/// A route that was left out.
#[derive(Clone, Debug, thiserror::Error)]
#[error("route {name} is left out of the router: {problem}")]
pub struct Rejected {
    pub id: Box<str>,
    pub name: Box<str>,
    pub problem: Problem,
}

/// A route, or a part of one, as Kong hands it to its engine.
#[derive(Clone, Debug)]
pub struct Matcher {
    pub priority: u64,
    pub id: [u8; 16],
    pub expression: Expression,
}

/// A table of routes with something of the caller's for each. It does not change: a new one takes
/// its place.
#[derive(Debug)]
pub struct Router<T> {
    /// In the order in which they are asked.
    entries: Vec<Entry<T>>,
    reader: Reader,
    /// One a protocol; those that are equal are one.
    indices: [Arc<Index>; Protocol::ALL.len()],
}

#[derive(Debug)]
struct Entry<T> {
    payload: T,
    traced: Traced,
}

/// A route that is yet to be compiled.
struct Draft<T> {
    /// Priority and id.
    order: (u64, [u8; 16]),
    payload: T,
    expression: Expression,
    stream: bool,
}

impl<T: Clone> Router<T> {
    /// Compiles routes. One that cannot be compiled is left out, and the others go on.
    pub fn build<'r>(
        rules: Rules,
        routes: impl IntoIterator<Item = (&'r Route, T)>,
    ) -> (Self, Vec<Rejected>) {
        let (mut drafts, mut rejected) = (Vec::new(), Vec::new());
        for (route, payload) in routes {
            match matchers(rules, route) {
                Ok(matchers) => {
                    drafts.extend(matchers.into_iter().map(|matcher| Draft {
                        order: (matcher.priority, matcher.id),
                        payload: payload.clone(),
                        expression: matcher.expression,
                        stream: route.is_stream(),
                    }));
                }
                Err(problem) => rejected.push(Rejected {
                    id: route.id.clone(),
                    name: route.label().into(),
                    problem,
                }),
            }
        }
        drafts.sort_by_key(|draft| Reverse(draft.order));
        let mut reader = Reader::default();
        drafts
            .iter()
            .for_each(|draft| reader.add(&draft.expression));
        let indices = indices(&drafts);
        let entries = drafts.into_iter().map(|draft| Entry {
            payload: draft.payload,
            traced: Traced::new(draft.expression),
        });
        let router = Self {
            entries: entries.collect(),
            reader,
            indices,
        };
        (router, rejected)
    }

    /// The first route, in the order of priorities, that matches.
    pub fn find<'a>(&'a self, lookup: &'a Lookup<'a>) -> Option<Found<'a, T>> {
        let request = self.reader.request(lookup)?;
        let rank = self.indices[lookup.protocol as usize].find(&request)?;
        let entry = &self.entries[rank];
        Some(Found::new(&entry.payload, &entry.traced, request))
    }

    /// How many routes there are to ask; a route counts once for each of its groups of paths.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Protocols whose routes ask the same share an index: most tables ask nothing about the protocol.
fn indices<T>(drafts: &[Draft<T>]) -> [Arc<Index>; Protocol::ALL.len()] {
    let mut known: Vec<(bool, Vec<(u32, Simplified)>, Arc<Index>)> = Vec::new();
    Protocol::ALL.map(|protocol| {
        let stream = protocol.is_stream();
        let mine = (0..)
            .zip(drafts)
            .filter(|(_, draft)| draft.stream == stream);
        let expressions: Vec<_> = mine
            .map(|(rank, draft)| (rank, index::simplified(&draft.expression, protocol)))
            .collect();
        let equal = |(of_stream, other, _): &&(bool, Vec<_>, Arc<Index>)| {
            *of_stream == stream && *other == expressions
        };
        if let Some((_, _, index)) = known.iter().find(equal) {
            return index.clone();
        }
        let index = Arc::new(Index::new(stream, &expressions));
        known.push((stream, expressions, index.clone()));
        index
    })
}

/// Why a route cannot be matched; the Admin API asks before it stores one. Here every regular
/// expression is compiled, which a table does only when it needs one.
pub fn check(rules: Rules, route: &Route) -> Result<(), Problem> {
    for matcher in matchers(rules, route)? {
        matcher.expression.compile()?;
    }
    Ok(())
}

/// What a route becomes.
pub fn matchers(rules: Rules, route: &Route) -> Result<Vec<Matcher>, Problem> {
    priority::groups(route)
        .into_iter()
        .map(|group| {
            let expression =
                generate::expression(rules.flavor, rules.calculation, route, &group.paths)?;
            Ok(Matcher {
                priority: priority::priority(rules.calculation, route, &group.paths),
                id: group.id,
                expression,
            })
        })
        .collect()
}
