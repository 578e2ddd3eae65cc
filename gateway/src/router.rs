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
//! | `table` | routes in their order, with an index a protocol |
//! | `found` | what was matched |
//! | `uri` | the path before the router and behind it |
//!
//! Kong asks every route in the order of priorities until one matches, and keeps 5,000 answers. Here
//! nothing is kept: [`index`] leads to the few routes that can match at all.

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
mod table;
#[cfg(test)]
mod tests;
pub mod uri;

pub use expression::Expression;
pub use found::{Captures, Found};
pub use lookup::{Http, Lookup, Protocol};
pub use parse::schema;

use index::Gone;
use reader::Reader;
use table::Table;

/// Which routes are served (`router_flavor`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Flavor {
    /// Routes of fields, matched as expressions.
    #[default]
    TraditionalCompatible,
    /// Routes of fields and routes of expressions.
    Expressions,
    /// As `TraditionalCompatible`, with what the router before 3.0 alone has: `path_handling = v1`.
    Traditional,
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

/// A table of routes with something of the caller's for each. It does not change: a new one takes its place. That one
/// need not be compiled whole: it may be the compiled table with what changed since laid over it.
#[derive(Debug)]
pub struct Router<T> {
    base: Arc<Table<T>>,
    /// Which routes of `base` are no more, or are others in `later`.
    gone: Gone,
    later: Option<Table<T>>,
    /// Where the expressions of those that are left look, unless that is where those of `base` do.
    reader: Option<Reader>,
}

impl<T: Clone> Default for Router<T> {
    fn default() -> Self {
        Self::build(Rules::default(), []).0
    }
}

impl<T: Clone> Router<T> {
    /// Compiles routes. One that cannot be compiled is left out, and the others go on.
    pub fn build<'r>(
        rules: Rules,
        routes: impl IntoIterator<Item = (&'r Route, T)>,
    ) -> (Self, Vec<Rejected>) {
        let (table, rejected) = Table::new(rules, routes);
        let router = Self {
            base: Arc::new(table),
            gone: Gone::default(),
            later: None,
            reader: None,
        };
        (router, rejected)
    }

    /// The table as [`build`](Self::build) made it, without some of its routes and with others: as cheap as these are few.
    /// What was laid over it before is left out. Every request is looked up twice, so this is not to stay.
    pub fn with<'r>(
        &self,
        rules: Rules,
        gone: impl IntoIterator<Item = &'r Route>,
        came: impl IntoIterator<Item = (&'r Route, T)>,
    ) -> (Self, Vec<Rejected>) {
        let mut reader = self.base.reader.clone();
        let mut ranks = Gone::default();
        // What cannot be compiled is not in the table either.
        let matchers = gone
            .into_iter()
            .filter_map(|route| matchers(rules, route).ok());
        for matcher in matchers.flatten() {
            if let Some(rank) = self.base.rank((matcher.priority, matcher.id)) {
                ranks.insert(rank);
                reader.remove(&matcher.expression);
            }
        }
        let (later, rejected) = Table::new(rules, came);
        reader.extend(&later.reader);
        let router = Self {
            base: self.base.clone(),
            gone: ranks,
            later: (later.len() > 0).then_some(later),
            reader: Some(reader),
        };
        (router, rejected)
    }

    /// The first route, in the order of priorities, that matches.
    pub fn find<'a>(&'a self, lookup: &'a Lookup<'a>) -> Option<Found<'a, T>> {
        let reader = self.reader.as_ref().unwrap_or(&self.base.reader);
        let request = reader.request(lookup)?;
        let mut found = self.base.find(&request, &self.gone);
        if let Some(later) = &self.later
            && let Some(other) = later.find(&request, &Gone::default())
            && found.is_none_or(|found| other.is_before(found))
        {
            found = Some(other);
        }
        let entry = found?;
        Some(Found::new(&entry.payload, &entry.traced, request))
    }

    /// How many routes there are to ask; a route counts once for each of its groups of paths.
    pub fn len(&self) -> usize {
        self.base.len() - self.gone.len() + self.later.as_ref().map_or(0, Table::len)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
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
