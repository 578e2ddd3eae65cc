//! Routes, compiled.

use std::cmp::Reverse;
use std::sync::Arc;

use carbyne_engine::runtime::background::{drop_each, give_way};

use super::evaluate::Request;
use super::expression::Expression;
use super::found::Traced;
use super::index::{self, Gone, Index, Simplified};
use super::lookup::Protocol;
use super::reader::Reader;
use super::{Problem, Rejected, Rules, matchers};
use crate::plan::route::Route;

/// Routes in the order in which they are asked, and what finds them.
#[derive(Debug)]
pub(super) struct Table<T> {
    entries: Vec<Entry<T>>,
    pub(super) reader: Reader,
    /// One a protocol; those that are equal are one.
    indices: [Arc<Index>; Protocol::ALL.len()],
}

#[derive(Debug)]
pub(super) struct Entry<T> {
    order: Order,
    pub(super) payload: T,
    pub(super) traced: Traced,
}

/// Priority and id: the highest is asked first.
pub(super) type Order = (u64, [u8; 16]);

/// A route that is yet to be compiled.
struct Draft<T> {
    order: Order,
    payload: T,
    expression: Expression,
    stream: bool,
}

/// A whole table is let go of in the background, entry by entry.
impl<T> Drop for Table<T> {
    fn drop(&mut self) {
        drop_each(self.entries.drain(..));
    }
}

impl<T: Clone> Table<T> {
    /// Compiles routes. One that cannot be compiled is left out, and the others go on.
    pub(super) fn new<'r>(
        rules: Rules,
        routes: impl IntoIterator<Item = (&'r Route, T)>,
    ) -> (Self, Vec<Rejected>) {
        let (mut drafts, mut rejected) = (Vec::new(), Vec::new());
        for (route, payload) in routes {
            give_way();
            match matchers(rules, route) {
                Ok(matchers) => {
                    drafts.extend(matchers.into_iter().map(|matcher| Draft {
                        order: (matcher.priority, matcher.id),
                        payload: payload.clone(),
                        expression: matcher.expression,
                        stream: route.is_stream(),
                    }));
                }
                Err(problem) => rejected.push(left_out(route, problem)),
            }
        }
        drafts.sort_by_key(|draft| Reverse(draft.order));
        let mut reader = Reader::default();
        drafts.iter().for_each(|draft| {
            give_way();
            reader.add(&draft.expression);
        });
        let indices = indices(&drafts);
        let entries = drafts.into_iter().map(|draft| {
            give_way();
            Entry {
                order: draft.order,
                payload: draft.payload,
                traced: Traced::new(draft.expression),
            }
        });
        let table = Self {
            entries: entries.collect(),
            reader,
            indices,
        };
        (table, rejected)
    }

    /// The first route that matches and is not gone.
    pub(super) fn find(&self, request: &Request<'_>, gone: &Gone) -> Option<&Entry<T>> {
        let index = &self.indices[request.lookup.protocol as usize];
        Some(&self.entries[index.find(request, gone)?])
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The place of what has an order.
    pub(super) fn rank(&self, order: Order) -> Option<usize> {
        let place = self
            .entries
            .binary_search_by(|entry| order.cmp(&entry.order));
        place.ok()
    }
}

impl<T> Entry<T> {
    /// Whether it is asked before another.
    pub(super) fn is_before(&self, other: &Self) -> bool {
        self.order > other.order
    }
}

fn left_out(route: &Route, problem: Problem) -> Rejected {
    Rejected {
        id: route.id.clone(),
        name: route.label().into(),
        problem,
    }
}

/// Protocols whose routes ask the same share an index: most tables ask nothing about the protocol.
fn indices<T>(drafts: &[Draft<T>]) -> [Arc<Index>; Protocol::ALL.len()] {
    let mut known: Vec<(bool, Vec<(u32, Simplified)>, Arc<Index>)> = Vec::new();
    let indices = Protocol::ALL.map(|protocol| {
        give_way();
        let stream = protocol.is_stream();
        let mine = (0..)
            .zip(drafts)
            .filter(|(_, draft)| draft.stream == stream);
        let expressions: Vec<_> = mine
            .map(|(rank, draft)| {
                give_way();
                (rank, index::simplified(&draft.expression, protocol))
            })
            .collect();
        let equal = |(of_stream, other, _): &&(bool, Vec<_>, Arc<Index>)| {
            let mut pairs = other.iter().zip(&expressions);
            *of_stream == stream
                && other.len() == expressions.len()
                && pairs.all(|(before, now)| {
                    give_way();
                    before == now
                })
        };
        if let Some((_, _, index)) = known.iter().find(equal) {
            let index = index.clone();
            drop_each(expressions);
            return index;
        }
        let index = Arc::new(Index::new(stream, &expressions));
        known.push((stream, expressions, index.clone()));
        index
    });
    for (_, expressions, _) in known {
        drop_each(expressions);
    }
    indices
}
