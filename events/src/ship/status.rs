//! What a shipper can say of itself.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::emit::Histogram;
use crate::event::Topic;
use crate::ring::TOPICS;

/// How it goes with shipping.
#[derive(Clone, Debug, Default)]
pub struct ShipStatus {
    /// Acknowledged records, by the topic's place in [`Topic::ALL`].
    pub acknowledged: [u64; TOPICS],
    /// From a block's first event to the last acknowledgement of the block.
    pub delivery: Histogram,
    /// Sequences that damage has taken; each is declared by an `AuditGap`.
    pub gaps: u64,
    /// Places in spools that could not be read.
    pub damages: u64,
    /// Records that the spool held twice, after a failed sync, and that went once.
    pub repeats: u64,
    /// Records that can never be sent: they lie in `dead-letters/`.
    pub dead_letters: u64,
    /// Clients that were made because the one before had failed for good.
    pub restarts: u64,
    /// Requests that the client has sent again.
    pub retries: u64,
    /// Errors of the client, by librdkafka's name.
    pub errors: BTreeMap<String, u64>,
    pub queued: u64,
    pub brokers_up: u64,
    /// What somebody has to look after.
    pub problems: Vec<Problem>,
    pub spools: Vec<SpoolStatus>,
    /// All that is spooled is acknowledged, but for what others ship ([`Problem::Taken`]).
    pub is_idle: bool,
}

/// Something that keeps records from being shipped.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Problem {
    /// No broker answers.
    Unreachable(String),
    /// The brokers do not take who we say we are.
    Credentials(String),
    /// The topic is not there.
    MissingTopic(Topic),
    /// The topic may not be written.
    Forbidden(Topic),
    /// The topic's records are refused, for a reason that somebody has to look after.
    Refused { topic: Topic, error: String },
    /// Another shipper has this spool.
    Taken(String),
    /// A spool cannot be read or written.
    Spool { name: String, error: String },
    /// A spool holds events of a kind that this version does not know.
    UnknownKind { name: String, kind: u16 },
    /// Records were set aside.
    DeadLetters(u64),
}

/// One process's spool.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SpoolStatus {
    pub name: String,
    pub bytes: u64,
    /// Age of the oldest record that is not acknowledged.
    pub oldest: Option<Duration>,
}

/// Where a shipper says how it goes.
#[derive(Debug, Default)]
pub(super) struct Board {
    state: Mutex<(u64, Option<u64>, ShipStatus)>,
    changed: Condvar,
}

impl Board {
    pub(super) fn read(&self) -> ShipStatus {
        self.lock().2.clone()
    }

    pub(super) fn write(&self, status: ShipStatus) {
        let mut state = self.lock();
        state.0 += 1;
        state.1 = status.is_idle.then(|| state.1.unwrap_or(state.0));
        state.2 = status;
        self.changed.notify_all();
    }

    /// How often something was written.
    pub(super) fn round(&self) -> u64 {
        self.lock().0
    }

    /// Whether the round has come, and the shipper is idle.
    pub(super) fn idle_since(&self, round: u64) -> bool {
        let state = self.lock();
        state.0 >= round && state.1.is_some()
    }

    pub(super) fn wait(&self, limit: Duration) {
        let state = self.lock();
        let waited = self.changed.wait_timeout(state, limit);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (u64, Option<u64>, ShipStatus)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable(why) => write!(formatter, "no broker answers: {why}"),
            Self::Credentials(why) => {
                write!(formatter, "the brokers refuse our credentials: {why}")
            }
            Self::MissingTopic(topic) => {
                write!(
                    formatter,
                    "the topic {} is not there: `carbyne topics apply` makes it",
                    topic.name()
                )
            }
            Self::Forbidden(topic) => {
                write!(formatter, "the topic {} may not be written", topic.name())
            }
            Self::Refused { topic, error } => {
                write!(formatter, "the topic {} takes none: {error}", topic.name())
            }
            Self::Taken(name) => write!(formatter, "another shipper has the spool {name}"),
            Self::Spool { name, error } => write!(formatter, "the spool {name}: {error}"),
            Self::UnknownKind { name, kind } => write!(
                formatter,
                "the spool {name} holds events of kind {kind}, which this version does not know: ship it with the version that wrote it"
            ),
            Self::DeadLetters(count) => write!(
                formatter,
                "{count} records can never be sent and lie in dead-letters/: `carbyne events spool` shows them"
            ),
        }
    }
}
