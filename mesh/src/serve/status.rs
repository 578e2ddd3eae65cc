//! Who is connected and what each has accepted: what `istioctl proxy-status` shows of istiod.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use super::protocol::{Session, Variant, Watched};
use crate::generate::Kind;

/// State of one type on one connection, by istiod's rules (istio.md 2.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyncState {
    /// Nothing was sent yet.
    NotSent,
    /// The last response was accepted.
    Synced,
    /// The last response is not answered yet.
    Stale,
    /// The last answer was a refusal.
    Error(String),
}

impl SyncState {
    fn of(watched: &Watched) -> Self {
        if let Some(error) = &watched.error {
            Self::Error(error.clone())
        } else if watched.nonce_sent.is_empty() {
            Self::NotSent
        } else if watched.nonce_sent == watched.nonce_acked {
            Self::Synced
        } else {
            Self::Stale
        }
    }
}

/// One connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Node id.
    pub node: String,
    /// SotW or Delta.
    pub variant: Variant,
    /// Version of the configuration that the stream has last been brought up to, whether or not anything changed for it.
    pub version: String,
    /// By subscribed type: state, and the version last acknowledged.
    pub types: BTreeMap<Kind, (SyncState, String)>,
    /// Since when it has not accepted all that it was sent.
    pub out_of_step: Option<Instant>,
    /// By type: when a response was last acknowledged.
    pub acknowledged: BTreeMap<Kind, Instant>,
    /// By type: which response that was.
    nonces: BTreeMap<Kind, String>,
}

impl Connection {
    /// One that was sent nothing yet.
    #[must_use]
    pub fn new(node: &str, variant: Variant) -> Self {
        Self {
            node: node.to_owned(),
            variant,
            version: String::new(),
            types: BTreeMap::new(),
            out_of_step: None,
            acknowledged: BTreeMap::new(),
            nonces: BTreeMap::new(),
        }
    }
}

/// What was sent over all streams, those that ended among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Responses.
    pub pushes: u64,
    /// Responses that were refused.
    pub rejects: u64,
}

/// All connections; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Board {
    next: Arc<AtomicU64>,
    connections: Arc<Mutex<BTreeMap<u64, Connection>>>,
    counts: Arc<Mutex<BTreeMap<Kind, Counts>>>,
}

impl Board {
    /// Connections in order of arrival.
    #[must_use]
    pub fn connections(&self) -> Vec<Connection> {
        let connections = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        connections.values().cloned().collect()
    }

    /// What was sent so far, by type.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<Kind, Counts> {
        self.counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn enter(&self, node: &str, variant: Variant) -> Entry {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let connection = Connection::new(node, variant);
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, connection);
        Entry {
            board: self.clone(),
            id,
            told: Mutex::default(),
        }
    }
}

/// A connection's place on the board, given back when it ends.
#[derive(Debug)]
pub(super) struct Entry {
    board: Board,
    id: u64,
    /// What of this stream is in the board's counts.
    told: Mutex<BTreeMap<Kind, Counts>>,
}

impl Entry {
    pub(super) fn update(&self, session: &Session, version: &str) {
        self.count(session);
        let mut connections = self
            .board
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = connections.get_mut(&self.id) {
            version.clone_into(&mut connection.version);
            for (kind, watched) in session.watched() {
                let known = connection.nonces.entry(*kind).or_default();
                if *known != watched.nonce_acked {
                    known.clone_from(&watched.nonce_acked);
                    connection.acknowledged.insert(*kind, Instant::now());
                }
            }
            connection.types = session
                .watched()
                .iter()
                .map(|(kind, watched)| {
                    (
                        *kind,
                        (SyncState::of(watched), watched.version_acked.clone()),
                    )
                })
                .collect();
            let settled = connection
                .types
                .values()
                .all(|(sync, _)| matches!(sync, SyncState::Synced | SyncState::NotSent));
            connection.out_of_step = if settled {
                None
            } else {
                connection.out_of_step.or_else(|| Some(Instant::now()))
            };
        }
    }

    fn count(&self, session: &Session) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = self.board.counts.lock();
        let mut counts = counts.unwrap_or_else(PoisonError::into_inner);
        for (kind, watched) in session.watched() {
            let (told, sum) = (
                told.entry(*kind).or_default(),
                counts.entry(*kind).or_default(),
            );
            sum.pushes += watched.pushes.saturating_sub(told.pushes);
            sum.rejects += watched.rejects.saturating_sub(told.rejects);
            *told = Counts {
                pushes: watched.pushes,
                rejects: watched.rejects,
            };
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut connections = self
            .board
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        connections.remove(&self.id);
    }
}
