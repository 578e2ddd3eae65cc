//! How many connections may be open, downstream and upstream together.
//!
//! A proxy that runs out of file descriptors cannot reach its upstreams any more, nor write its logs. So it stops
//! short of that: beyond the limit connections are closed as they are accepted, while what is open goes on. Atomic
//! because the limit is the process's; counted once for each connection, never for a request.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts as one open connection for as long as it lives.
#[derive(Debug)]
pub struct OpenConnection(());

impl OpenConnection {
    /// One more.
    #[expect(
        clippy::new_without_default,
        reason = "a default that counts would surprise"
    )]
    pub fn new() -> Self {
        OPEN.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Something that may become a connection before anybody counts it: a socket that listens, or a connection that was
/// accepted and not yet looked at. Whoever ends the process waits for these first.
#[derive(Debug)]
pub struct Arrival(());

impl Arrival {
    pub(super) fn new() -> Self {
        ARRIVALS.fetch_add(1, Ordering::AcqRel);
        Self(())
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        ARRIVALS.fetch_sub(1, Ordering::AcqRel);
    }
}

/// How many there are. Asked before connections are counted: what arrived is counted before it ends here.
pub fn arrivals() -> usize {
    ARRIVALS.load(Ordering::Acquire)
}

/// From now on connections are accepted while fewer than `limit` are open.
pub fn limit_connections(limit: usize) {
    LIMIT.store(limit, Ordering::Relaxed);
}

/// The limit, if one was set.
pub fn connection_limit() -> Option<usize> {
    let limit = LIMIT.load(Ordering::Relaxed);
    (limit != usize::MAX).then_some(limit)
}

/// Connections that are open, to clients and to hosts.
pub fn open_connections() -> usize {
    OPEN.load(Ordering::Relaxed)
}

/// Whether no further connection may be accepted.
pub fn is_exhausted() -> bool {
    open_connections() >= LIMIT.load(Ordering::Relaxed)
}

static OPEN: AtomicUsize = AtomicUsize::new(0);
static ARRIVALS: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);
