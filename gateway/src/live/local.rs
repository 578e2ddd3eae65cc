//! What a worker keeps: the snapshot that it serves with, and what it read from the store.

use std::cell::RefCell;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use carbyne_events::teller::Teller;

use super::Snapshot;
use crate::node::Node;
use crate::plugin::records::Records;

/// A worker's own.
#[derive(Debug)]
pub struct Local {
    pub node: Arc<Node>,
    pub records: Records,
    /// What it emits events with, where the node emits any.
    pub teller: Option<Rc<Teller>>,
    current: RefCell<Rc<Pinned>>,
}

/// A snapshot as the requests of one worker hold it: by a count that no other worker touches.
#[derive(Debug)]
pub struct Pinned(Arc<Snapshot>);

impl Deref for Pinned {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.0
    }
}

thread_local! {
    /// The worker's own, once it has served for a node.
    static LOCAL: RefCell<Vec<Rc<Local>>> = const { RefCell::new(Vec::new()) };
}

impl Local {
    /// The calling worker's own for a node.
    pub fn of(node: &Arc<Node>) -> Rc<Self> {
        LOCAL.with(|locals| {
            let mut locals = locals.borrow_mut();
            let known = locals.iter().find(|local| Arc::ptr_eq(&local.node, node));
            if let Some(known) = known {
                return known.clone();
            }
            let local = Rc::new(Self {
                node: node.clone(),
                records: Records::default(),
                teller: node.events.as_ref().map(|events| Rc::new(events.teller())),
                current: RefCell::new(Rc::new(Pinned(node.snapshot.load_full()))),
            });
            locals.push(local.clone());
            local
        })
    }

    /// Tells what was held back to be told with more of its kind: the worker ends.
    pub fn finish(node: &Arc<Node>) {
        if let Some(teller) = &Self::of(node).teller {
            teller.finish();
        }
    }

    /// The snapshot of now.
    pub fn snapshot(&self) -> Rc<Pinned> {
        let now = self.node.snapshot.load();
        let mut current = self.current.borrow_mut();
        if !Arc::ptr_eq(&now, &current.0) {
            *current = Rc::new(Pinned(Arc::clone(&now)));
        }
        current.clone()
    }

    /// Lets go of a snapshot that is no longer served with, also where no request came since.
    pub fn refresh(&self) {
        drop(self.snapshot());
    }
}
