//! Which host a request goes to: Kong's upstreams, targets and health checks on the engine's clusters and hosts.
//!
//! | file | what it holds |
//! |---|---|
//! | [`balancer`] | one upstream, or one host of services: its ring, its health, its names |
//! | [`members`] | targets, what their names resolved to, and the addresses made of that |
//! | [`address`] | the addresses of targets, with what is learnt about them |
//! | [`ring`] | addresses compiled for picking |
//! | [`round_robin`], [`consistent_hashing`], [`latency`] | Kong's algorithms; the least connections are counted where picks are made |
//! | [`hash`] | what of a request is hashed |
//! | [`health`], [`check`] | what makes an address healthy or not; the checks that the node makes itself |
//! | [`drive`] | names resolved again when their time is over; checks made when they are due |
//! | [`status`] | what the Admin API tells about health |

mod address;
mod balancer;
mod check;
mod consistent_hashing;
mod drive;
mod hash;
mod health;
mod latency;
mod members;
mod ring;
mod round_robin;
mod status;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use carbyne_engine::cluster::{Cluster, Host};
use carbyne_engine::tls::{IdentitySlot, TrustSlot};
use tokio::sync::{Notify, mpsc};

pub use self::balancer::Balancer;
pub use self::hash::{Affinity, Cookie, Keys};
pub use self::status::{AddressStatus, Status, TargetStatus};
use crate::dns::Resolver;
use crate::plan::upstream::{Target, Upstream};

/// All balancers of a node. The configuration's side makes and changes them; workers hold each by `Arc`.
pub struct Balancers {
    resolver: Arc<Resolver>,
    known: Mutex<Known>,
    /// Balancers whose names and checks nobody drives yet.
    begun: mpsc::UnboundedSender<Weak<Balancer>>,
    waiting: Mutex<Option<mpsc::UnboundedReceiver<Weak<Balancer>>>>,
    updated: Notify,
}

/// No write takes longer to be live, unless the node has more to do than it can.
const LONGEST_UPDATE: Duration = Duration::from_millis(500);

#[derive(Default)]
struct Known {
    by_id: HashMap<Box<str>, Arc<Balancer>>,
    by_name: HashMap<Arc<str>, Arc<Balancer>>,
    /// Hosts of services that are no upstreams, held by those services.
    direct: HashMap<(Box<str>, u16), Weak<Balancer>>,
}

/// An upstream with everything that belongs to it.
#[derive(Clone, Debug)]
pub struct Planned {
    pub upstream: Arc<Upstream>,
    pub targets: Vec<Arc<Target>>,
    pub secrets: Secrets,
}

/// What checks over TLS show and whom they trust.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    /// The upstream's certificate, else the node's own for services.
    pub identity: Option<Arc<IdentitySlot>>,
    /// The authorities that a target's certificate must come from.
    pub trust: Option<Arc<TrustSlot>>,
}

/// Where a try goes.
#[derive(Clone, Debug)]
pub struct Picked {
    pub host: Arc<Host>,
    /// The balancer's cluster, with the engine's defaults for HTTP/1. Services that want other timeouts or protocols go to the host through a
    /// cluster of their own: pools are by host and variant.
    pub cluster: Arc<Cluster>,
    /// What the host is called, without a port: for `Host` where the client's is not kept, and for TLS. The upstream's `host_header`, else the
    /// name of the target or, where wanted, of the SRV record; else the address.
    pub name: Arc<str>,
    pub port: u16,
}

/// Why there is nobody to go to.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PickError {
    /// No target is there and available, or too few are.
    #[error("failure to get a peer from the ring-balancer")]
    NoPeers,
    /// A service's host that is no upstream has no address.
    #[error("name resolution failed")]
    Unresolved,
}

/// How a try ended, for passive health checks and the latency algorithm.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The host answered. `took`: from the try's beginning, connecting included.
    Status {
        status: u16,
        took: Duration,
    },
    /// No connection, or it broke before an answer.
    TcpFailure,
    Timeout,
}

/// Why a switch of health has no effect.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SwitchError {
    #[error("no healthchecker found for {0}")]
    ChecksAreOff(Arc<str>),
    #[error("Upstream {0} has no balancer")]
    Unknown(Box<str>),
}

impl Balancers {
    #[must_use]
    pub fn new(resolver: Arc<Resolver>) -> Arc<Self> {
        let (begun, waiting) = mpsc::unbounded_channel();
        Arc::new(Self {
            resolver,
            known: Mutex::default(),
            begun,
            waiting: Mutex::new(Some(waiting)),
            updated: Notify::new(),
        })
    }

    /// Makes these the upstreams. Those that were there keep their hosts, their health and their connections; what did not change is not
    /// touched. Services find an upstream by [`of`](Self::of) from now on, so they are looked up anew after this.
    pub fn update(&self, planned: Vec<Planned>) {
        let mut known = self.lock();
        let mut before = std::mem::take(&mut known.by_id);
        known.by_name.clear();
        for planned in planned {
            let id = planned.upstream.id.clone();
            let balancer = match before.remove(&id) {
                Some(balancer) => {
                    balancer.update(planned);
                    balancer
                }
                None => self.begin(Balancer::of_upstream(planned)),
            };
            known.by_name.insert(balancer.name(), balancer.clone());
            known.by_id.insert(id, balancer);
        }
        drop(known);
        self.updated.notify_waiters();
        // Outside the lock: their ends close connections.
        drop(before);
    }

    /// Waits until an update brought about what is asked, or for as long as updates may take: writes of the Admin API are
    /// answered before they are live.
    pub async fn until(&self, is: impl Fn(&Self) -> bool) {
        let settled = async {
            loop {
                let updated = self.updated.notified();
                tokio::pin!(updated);
                // From here on no update is missed.
                updated.as_mut().enable();
                if is(self) {
                    return;
                }
                updated.await;
            }
        };
        drop(tokio::time::timeout(LONGEST_UPDATE, settled).await);
    }

    /// The balancer of the upstream of this name.
    pub fn upstream(&self, name: &str) -> Option<Arc<Balancer>> {
        self.lock().by_name.get(name).cloned()
    }

    /// The balancer of a service's host: the upstream of this name, else the host itself.
    pub fn of(&self, host: &str, port: u16) -> Arc<Balancer> {
        let mut known = self.lock();
        if let Some(upstream) = known.by_name.get(host) {
            return upstream.clone();
        }
        let key = (host.into(), port);
        if let Some(direct) = known.direct.get(&key).and_then(Weak::upgrade) {
            return direct;
        }
        let direct = self.begin(Balancer::direct(host, port));
        if known.direct.len() >= known.direct.capacity() {
            known
                .direct
                .retain(|_, balancer| balancer.strong_count() > 0);
        }
        known.direct.insert(key, Arc::downgrade(&direct));
        direct
    }

    /// The balancer of an upstream, by its id.
    pub fn by_id(&self, id: &str) -> Option<Arc<Balancer>> {
        self.lock().by_id.get(id).cloned()
    }

    /// The balancers of all upstreams, by name.
    pub fn upstreams(&self) -> Vec<Arc<Balancer>> {
        let mut all: Vec<_> = self.lock().by_id.values().cloned().collect();
        all.sort_by_key(|balancer| balancer.name());
        all
    }

    /// Resolves names and makes checks, until dropped. For the control runtime, once.
    pub async fn run(&self) {
        let waiting = self
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(waiting) = waiting {
            drive::run(waiting, &self.resolver).await;
        }
    }

    fn begin(&self, balancer: Balancer) -> Arc<Balancer> {
        let balancer = Arc::new(balancer);
        // Fails only when the process is ending.
        drop(self.begun.send(Arc::downgrade(&balancer)));
        balancer
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Balancers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.lock();
        formatter
            .debug_struct("Balancers")
            .field("upstreams", &known.by_id.len())
            .field("direct", &known.direct.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
