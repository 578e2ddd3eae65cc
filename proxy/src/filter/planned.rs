//! What a filter's message turned out to be.

use std::cell::RefCell;
use std::sync::Arc;

use super::refuse::Refuse;
use crate::plan::scope::Scope;

/// A message that was read.
#[derive(Clone, Debug)]
pub enum Planned<F> {
    /// All of it is served, but for what the plan noted.
    Serves(F),
    /// It is or may be a guard, and not all of it was understood: its traffic is refused.
    Refuses(Refuse),
}

/// What was met of a guard that is not served; the first of it is remembered.
#[derive(Debug, Default)]
pub(super) struct Doubts(RefCell<Option<Arc<str>>>);

impl<F> Planned<F> {
    /// Reads a message of filter `name`: nothing where something was rejected, a refusal where something was not understood (design.md, "Safe by
    /// default"), else what `read` made of it.
    pub(super) fn read(
        name: &str,
        scope: &Scope<'_>,
        read: impl FnOnce(&Doubts) -> Option<F>,
    ) -> Option<Self> {
        // Asked first: an arm that was not decoded would look like one that is missing.
        if let Some(reason) = scope.doubt() {
            return Some(Self::Refuses(Refuse::because(name, reason)));
        }
        let doubts = Doubts::default();
        let filter = read(&doubts);
        match doubts.0.into_inner() {
            Some(reason) => Some(Self::Refuses(Refuse::because(name, reason))),
            None => filter.map(Self::Serves),
        }
    }

    /// The filter in another form.
    pub fn map<G>(self, into: impl FnOnce(F) -> G) -> Planned<G> {
        match self {
            Self::Serves(filter) => Planned::Serves(into(filter)),
            Self::Refuses(refuse) => Planned::Refuses(refuse),
        }
    }
}

impl Doubts {
    /// Something here is not served, and it guards.
    pub(super) fn add(&self, scope: &Scope<'_>, words: impl Into<String>) {
        let reason = scope.refuse(words);
        self.0.borrow_mut().get_or_insert(reason);
    }
}
