//! The addresses of targets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use carbyne_engine::cluster::Host;

use super::health::Health;
use super::latency::Latency;

/// One address of a target, as Kong counts them: what a name resolved to, or one host of an SRV record, which may have several addresses of
/// its own.
#[derive(Debug)]
pub(super) struct Address {
    pub(super) key: Key,
    /// The port of the target, which an SRV record may override.
    pub(super) target_port: u16,
    pub(super) weight: u32,
    /// What the host is to be called: the name for `Host` and for TLS.
    pub(super) name: Arc<str>,
    pub(super) hosts: Box<[Arc<Host>]>,
    pub(super) learnt: Arc<Learnt>,
    turn: AtomicUsize,
}

/// What makes an address the same from one update to the next.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Key {
    /// The target's name.
    pub(super) hostname: Arc<str>,
    /// An IP address, or the name in an SRV record.
    pub(super) ip: Arc<str>,
    pub(super) port: u16,
}

/// What is learnt about an address over time.
#[derive(Debug, Default)]
pub(super) struct Learnt {
    pub(super) health: Health,
    pub(super) latency: Latency,
}

impl Address {
    pub(super) fn new(
        key: Key,
        target_port: u16,
        weight: u32,
        name: Arc<str>,
        hosts: Vec<Arc<Host>>,
        learnt: Arc<Learnt>,
    ) -> Self {
        Self {
            key,
            target_port,
            weight,
            name,
            hosts: hosts.into(),
            learnt,
            turn: AtomicUsize::new(0),
        }
    }

    /// Requests under way.
    pub(super) fn active_requests(&self) -> u64 {
        self.hosts
            .iter()
            .map(|host| u64::from(host.active_requests()))
            .sum()
    }

    /// Whether an earlier try went to it, and there is no other host of it.
    pub(super) fn is_tried(&self, tried: &[u64]) -> bool {
        !tried.is_empty() && self.hosts.iter().all(|host| tried.contains(&host.id))
    }

    /// The next of its hosts, those not tried first. Nothing only where it has none.
    pub(super) fn host(&self, tried: &[u64]) -> Option<&Arc<Host>> {
        if let [only] = &*self.hosts {
            return Some(only);
        }
        let count = self.hosts.len();
        if count == 0 {
            return None;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % count;
        let all = || self.hosts.iter().cycle().skip(turn).take(count);
        all()
            .find(|host| !tried.contains(&host.id))
            .or_else(|| all().next())
    }
}

impl Key {
    /// The identity of one of its hosts.
    pub(super) fn identity(&self, socket: SocketAddr) -> Arc<str> {
        format!("{}|{}|{socket}", self.hostname, self.ip).into()
    }
}
