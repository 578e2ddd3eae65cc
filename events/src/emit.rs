//! The way in.
//!
//! A process opens one [`Outlet`]; every worker has an [`Emitter`] of its own. To emit is a copy into the worker's ring: no system call, no
//! lock, no wait. One thread, the writer, moves what lies in the rings into the spool and has the disk keep it as the class of each
//! event asks.
//!
//! When there is no room:
//!
//! | events | the spool is at its limit | the disk takes nothing | the ring is full |
//! |---|---|---|---|
//! | audit-admin-operations (class `Block`) | refused: [`Refused`], so that the caller answers 503 | refused | refused |
//! | audit-api-calls, system-health | the newest is dropped | wait in the ring | the newest is dropped, from seven eighths on |
//! | security-events and all others | go on, into a reserve | wait in the ring | the newest is dropped |
//!
//! What is dropped uses up its sequence, and an `AuditGap` of the same producer says which sequences these were, how many, of which topics
//! and why. An emission never waits; only [`Emitter::emit_durably`] does, for the disk.

mod coalesce;
mod outlet;
mod status;
mod writer;

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::SystemTime;

use tokio::sync::watch;

use crate::event::{Class, Event, Topic};
use crate::ring::{Count, Draft, NoRoom, Producer, Share};

pub use coalesce::{Burst, Coalescer};
pub use outlet::{Options, Outlet, OutletError, recover};
pub use status::{BOUNDS, Histogram, Status, TopicStatus};
#[cfg(feature = "kafka")]
pub(crate) use writer::{dropped, topics_since};

use outlet::Shared;

/// A worker's own way to emit.
pub struct Emitter {
    producer: RefCell<Producer>,
    shared: Arc<Shared>,
    kept: watch::Receiver<Kept>,
    name: String,
    epoch: u64,
}

/// The event was dropped; that one is missing is known and will be said. Class `Block`: nothing was emitted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no room for the event: {0}")]
pub struct Full(pub NoRoom);

/// An event is not on disk, so what it tells of must not be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// Nothing was emitted.
    #[error(transparent)]
    Full(#[from] Full),
    /// It lies in the ring and reaches the disk when that works again.
    #[error("the event is not on disk: the disk takes nothing")]
    Unkept,
}

/// Ends when an event is on disk; it holds nothing of the event.
pub type OnDisk = Pin<Box<dyn Future<Output = Result<(), Refused>> + Send>>;

/// What a ring's readers on other threads wait for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kept {
    /// Up to this sequence all is on disk.
    pub(crate) sequence: u64,
    /// The disk takes nothing, or the writer is gone.
    pub(crate) failing: bool,
}

impl Emitter {
    fn new(
        producer: Producer,
        shared: Arc<Shared>,
        kept: watch::Receiver<Kept>,
        name: String,
        epoch: u64,
    ) -> Self {
        Self {
            producer: RefCell::new(producer),
            shared,
            kept,
            name,
            epoch,
        }
    }

    /// Emits. What [`Full`] says has been counted already.
    pub fn emit<E: Event>(&self, event: &E) -> Result<(), Full> {
        self.push(event, false).map(drop)
    }

    /// Emits, and ends when the event is on disk. The event is encoded before this returns.
    pub fn emit_durably<E: Event>(&self, event: &E) -> OnDisk {
        let pushed = self.push(event, true);
        if pushed.is_ok() {
            self.shared.wake();
        }
        let mut kept = self.kept.clone();
        Box::pin(async move {
            let sequence = pushed?;
            match kept
                .wait_for(|kept| kept.sequence >= sequence || kept.failing)
                .await
            {
                Ok(kept) if kept.sequence >= sequence => Ok(()),
                Ok(_) | Err(_) => Err(Refused::Unkept),
            }
        })
    }

    /// Counts an event that was folded into one that waits.
    pub fn coalesced(&self, topic: Topic) {
        self.producer
            .borrow()
            .count(topic as usize, Count::Coalesced);
    }

    /// Who emits: `NODE/ROLE-N/WORKER`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process's start; it grows from one to the next.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The last sequence that was used; 0 before the first.
    pub fn last(&self) -> u64 {
        self.producer.borrow().last()
    }

    fn push<E: Event>(&self, event: &E, awaited: bool) -> Result<u64, Full> {
        let topic = E::KIND.topic();
        let index = topic as usize;
        let mut producer = self.producer.borrow_mut();
        let pressure = self.shared.pressure.load(Relaxed);
        if topic.class() == Class::Block && pressure != 0 {
            producer.count(index, Count::Refused);
            return Err(Full(NoRoom::Full));
        }
        if floods(topic) && pressure & outlet::LIMIT != 0 {
            producer.lose(index, Count::LostQuota);
            return Err(Full(NoRoom::Full));
        }
        let draft = Draft {
            kind: E::KIND.number(),
            topic: index,
            time: event.time(),
            awaited,
            key: event.key(),
            trace: event.traceparent().map(str::as_bytes),
        };
        let share = if floods(topic) {
            Share::Most
        } else {
            Share::All
        };
        let pushed = producer.push(draft, share, |frame| {
            frame.reserve(event.bound());
            event.encode(frame);
        });
        pushed.map_err(|reason| {
            match (topic.class(), reason) {
                (Class::Block, _) => producer.count(index, Count::Refused),
                (_, NoRoom::Full) => producer.lose(index, Count::LostFull),
                (_, NoRoom::TooLarge) => producer.lose(index, Count::LostTooLarge),
            }
            Full(reason)
        })
    }
}

impl fmt::Debug for Emitter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Emitter")
            .field("name", &self.name)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

/// Whether events of the topic come as often as requests do, so that they give way first.
fn floods(topic: Topic) -> bool {
    matches!(topic, Topic::AuditApiCalls | Topic::SystemHealth)
}

/// Microseconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
