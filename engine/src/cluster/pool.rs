//! Connections to hosts, kept by the worker that made them.
//!
//! HTTP/1 connections are taken out, used by one request and put back clean; HTTP/2 connections carry as
//! many streams as the host allows. A connection belongs to a host and a variant (TLS settings, server
//! name, ALPN, protocol): nothing is shared between variants.

use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use super::breaker::{Permit, Resource, RoutingPriority};
use super::host::Flag;
use super::settings::Protocol as Wanted;
use super::{Cluster, Host};
use crate::forward::{Error, Protocol, Target, TlsTarget};
use crate::http::{h1, h2};
use crate::net::Address;
use crate::net::connect::{ConnectOptions, Keepalive, OriginalSource, connect};
use crate::net::stream::Stream;
use crate::tls::Negotiated;

/// All upstream connections of one worker.
#[derive(Debug, Default)]
pub struct Pools {
    hosts: RefCell<FxHashMap<Key, HostPool>>,
}

/// A connection, or a place on one, for one request.
#[derive(Debug)]
pub struct Lease {
    /// The session to send the request on.
    pub session: Session,
    /// What is known about the connection.
    pub facts: Rc<ConnectionFacts>,
    /// Whether the connection had carried a request before: it may turn out to have been closed meanwhile.
    pub reused: bool,
}

/// The codec of a connection.
#[derive(Debug)]
pub enum Session {
    /// One request at a time.
    H1(h1::client::ClientConnection),
    /// Many at a time.
    H2(h2::client::ClientConnection),
}

/// What is known about one upstream connection. Its end is counted when the last holder drops it.
#[derive(Debug)]
pub struct ConnectionFacts {
    /// Our address.
    pub local: Option<Address>,
    /// What TLS agreed on.
    pub tls: Option<Arc<Negotiated>>,
    cluster: Arc<Cluster>,
    host: Arc<Host>,
    opened: Instant,
    requests: std::cell::Cell<u64>,
    /// Since when an HTTP/2 connection was seen without streams.
    idle: std::cell::Cell<Option<Instant>>,
    _permit: Permit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    host: u64,
    variant: u64,
}

#[derive(Debug)]
enum HostPool {
    H1(Vec<Idle>),
    H2(Multiplexed),
}

#[derive(Debug)]
struct Idle {
    connection: h1::client::ClientConnection,
    facts: Rc<ConnectionFacts>,
    since: Instant,
}

#[derive(Debug, Default)]
struct Multiplexed {
    connections: Vec<(h2::client::ClientConnection, Rc<ConnectionFacts>)>,
    /// Somebody is connecting; the others wait to be told.
    connecting: bool,
    changed: Rc<Notify>,
}

impl Pools {
    /// A connection for one request to `target`.
    pub async fn acquire(
        &self,
        target: &Target,
        priority: RoutingPriority,
    ) -> Result<Lease, Error> {
        match target.protocol {
            Protocol::Http1 => self.acquire_h1(target, priority).await,
            Protocol::Http2 => self.acquire_h2(target, priority).await,
        }
    }

    /// Gives back a connection whose request is over. One that is not clean is closed.
    pub fn release(&self, target: &Target, lease: Lease) {
        self.release_at(target, lease, Instant::now());
    }

    /// The same, idle `since` then.
    pub fn release_at(&self, target: &Target, lease: Lease, since: Instant) {
        let Session::H1(connection) = lease.session else {
            return;
        };
        let settings = target.cluster.settings();
        let facts = lease.facts;
        if !connection.is_clean() || facts.is_spent(&settings) {
            return;
        }
        let key = Key::of(target);
        let idle = Idle {
            connection,
            facts,
            since,
        };
        let most = settings.max_idle_connections.unwrap_or(usize::MAX);
        let spare = match self.hosts.borrow_mut().entry(key) {
            Entry::Occupied(mut entry) => match entry.get_mut() {
                HostPool::H1(connections) => {
                    connections.push(idle);
                    // The one that idled longest.
                    (connections.len() > most).then(|| connections.remove(0))
                }
                HostPool::H2(_) => None,
            },
            Entry::Vacant(entry) => {
                entry.insert(HostPool::H1(vec![idle]));
                None
            }
        };
        // Outside the borrow: closing a connection runs its holders' drops.
        drop(spare);
    }

    /// Closes connections that idled too long, that the host closed, or whose host is gone. Called once a
    /// second; returns how many are left.
    pub fn sweep(&self, now: Instant) -> usize {
        let mut left = 0;
        let mut closed = Vec::new();
        self.hosts.borrow_mut().retain(|_, pool| match pool {
            HostPool::H1(connections) => {
                let mut index = 0;
                while index < connections.len() {
                    if connections[index].is_over(now) {
                        closed.push(connections.swap_remove(index));
                    } else {
                        index += 1;
                    }
                }
                left += connections.len();
                !connections.is_empty()
            }
            HostPool::H2(pool) => {
                pool.connections
                    .retain(|(connection, facts)| !connection.is_closed() && !facts.is_over(now));
                left += pool.connections.len();
                pool.connecting || !pool.connections.is_empty()
            }
        });
        // Dropped here, outside the borrow: closing a connection runs its holders' drops.
        drop(closed);
        left
    }

    /// Closes idle connections to `host`, which is gone or unhealthy; busy ones finish.
    pub fn close_idle(&self, host: u64) {
        let mut gone = Vec::new();
        self.hosts.borrow_mut().retain(|key, pool| {
            if key.host != host {
                return true;
            }
            gone.push(std::mem::replace(pool, HostPool::H1(Vec::new())));
            false
        });
        drop(gone);
    }

    async fn acquire_h1(&self, target: &Target, priority: RoutingPriority) -> Result<Lease, Error> {
        let key = Key::of(target);
        loop {
            let idle = match self.hosts.borrow_mut().get_mut(&key) {
                // The last one put back is the warmest.
                Some(HostPool::H1(connections)) => connections.pop(),
                _ => None,
            };
            let Some(idle) = idle else {
                break;
            };
            if !idle.connection.is_stale() {
                idle.facts.requests.set(idle.facts.requests.get() + 1);
                return Ok(Lease {
                    session: Session::H1(idle.connection),
                    facts: idle.facts,
                    reused: true,
                });
            }
        }
        let (stream, facts) = open(target, priority).await?;
        Ok(Lease {
            session: Session::H1(h1::client::ClientConnection::new(stream)),
            facts,
            reused: false,
        })
    }

    async fn acquire_h2(&self, target: &Target, priority: RoutingPriority) -> Result<Lease, Error> {
        let key = Key::of(target);
        loop {
            let changed = match self.take_h2(key, target) {
                Taken::Connection(connection, facts) => {
                    facts.requests.set(facts.requests.get() + 1);
                    return Ok(Lease {
                        session: Session::H2(connection),
                        facts,
                        reused: true,
                    });
                }
                Taken::Wait(changed) => changed,
                Taken::Connect => break,
            };
            changed.notified().await;
        }
        // Whatever happens from here on, those that wait are told.
        let _told = Connecting { pools: self, key };
        let (stream, facts) = open(target, priority).await?;
        let settings = target.cluster.settings();
        let changed = self.changed(key);
        let connection = h2::client::ClientConnection::begin(
            stream,
            &http2_settings(&settings),
            Arc::new(h2::Budgets::default()),
            move || changed.notify_waiters(),
        );
        let mut hosts = self.hosts.borrow_mut();
        if let Some(HostPool::H2(pool)) = hosts.get_mut(&key) {
            pool.connections.push((connection.clone(), facts.clone()));
        }
        Ok(Lease {
            session: Session::H2(connection),
            facts,
            reused: false,
        })
    }

    fn take_h2(&self, key: Key, target: &Target) -> Taken {
        let mut hosts = self.hosts.borrow_mut();
        let pool = hosts
            .entry(key)
            .or_insert_with(|| HostPool::H2(Multiplexed::default()));
        let HostPool::H2(pool) = pool else {
            // A variant has one protocol; should a front ever reuse one, the newer wins.
            *pool = HostPool::H2(Multiplexed::default());
            return Taken::Connect;
        };
        let settings = target.cluster.settings();
        pool.connections
            .retain(|(connection, facts)| !connection.is_closed() && !facts.is_spent(&settings));
        // Streams in use are counted by holders of the facts: the pool itself is one of them.
        let free = pool
            .connections
            .iter()
            .find(|(connection, facts)| Rc::strong_count(facts) <= connection.max_streams());
        if let Some((connection, facts)) = free {
            return Taken::Connection(connection.clone(), facts.clone());
        }
        if pool.connecting {
            return Taken::Wait(pool.changed.clone());
        }
        pool.connecting = true;
        Taken::Connect
    }

    fn changed(&self, key: Key) -> Rc<Notify> {
        match self.hosts.borrow().get(&key) {
            Some(HostPool::H2(pool)) => pool.changed.clone(),
            _ => Rc::default(),
        }
    }
}

impl Key {
    fn of(target: &Target) -> Self {
        Self {
            host: target.host.id,
            variant: target.variant,
        }
    }
}

impl Idle {
    fn is_over(&self, now: Instant) -> bool {
        let settings = self.facts.cluster.settings();
        let idle = settings.idle_timeout.unwrap_or(FOR_EVER);
        now.duration_since(self.since) >= idle
            || self.facts.is_spent(&settings)
            || self.connection.is_stale()
    }
}

impl ConnectionFacts {
    /// Whether the pool has no use for an HTTP/2 connection any more. Streams that are open hold it on their own.
    fn is_over(self: &Rc<Self>, now: Instant) -> bool {
        let settings = self.cluster.settings();
        if self.is_spent(&settings) {
            return true;
        }
        if Rc::strong_count(self) > 1 {
            self.idle.set(None);
            return false;
        }
        let since = self.idle.get().unwrap_or(now);
        self.idle.set(Some(since));
        now.duration_since(since) >= settings.idle_timeout.unwrap_or(FOR_EVER)
    }

    /// Whether it carries no further request, so that there is no use in keeping it.
    fn is_spent(&self, settings: &super::Settings) -> bool {
        self.host.has(Flag::Gone)
            || settings
                .max_requests_per_connection
                .is_some_and(|most| self.requests.get() >= most)
            || settings
                .max_connection_duration
                .is_some_and(|most| self.opened.elapsed() >= most)
            || settings.close_connections_on_health_failure
                && self.host.has(Flag::FailedActiveCheck)
    }
}

impl Drop for ConnectionFacts {
    fn drop(&mut self) {
        self.cluster.stats().upstream_cx_active.subtract(1);
        self.cluster.stats().upstream_cx_destroy.add(1);
        self.cluster.times().connection(self.opened.elapsed());
        self.host.stats.cx_active.subtract(1);
    }
}

/// Opens a connection to the target and secures it.
pub async fn open(
    target: &Target,
    priority: RoutingPriority,
) -> Result<(Stream, Rc<ConnectionFacts>), Error> {
    let cluster = &target.cluster;
    let stats = cluster.stats();
    let Some(permit) = cluster.breakers().try_take(priority, Resource::Connections) else {
        stats.upstream_cx_overflow.add(1);
        return Err(Error::Overflow {
            resource: "connections",
        });
    };
    let settings = cluster.settings();
    let started = Instant::now();
    stats.upstream_cx_total.add(1);
    target.host.stats.cx_total.add(1);
    let dialled = dial(
        &target.host.address,
        target.tls.as_ref(),
        target.source,
        &settings,
    );
    let opened = tokio::time::timeout(settings.connect_timeout, dialled).await;
    let (stream, local, tls) = match opened {
        Ok(Ok(opened)) => opened,
        failed => {
            stats.upstream_cx_connect_fail.add(1);
            target.host.stats.cx_connect_fail.add(1);
            return Err(match failed {
                Ok(Err(error)) => error,
                _ => {
                    stats.upstream_cx_connect_timeout.add(1);
                    Error::ConnectTimeout
                }
            });
        }
    };
    cluster.times().connect(started.elapsed());
    match target.protocol {
        Protocol::Http1 => stats.upstream_cx_http1_total.add(1),
        Protocol::Http2 => stats.upstream_cx_http2_total.add(1),
    }
    stats.upstream_cx_active.add(1);
    target.host.stats.cx_active.add(1);
    let facts = ConnectionFacts {
        local,
        tls,
        cluster: cluster.clone(),
        host: target.host.clone(),
        opened: Instant::now(),
        requests: std::cell::Cell::new(1),
        idle: std::cell::Cell::default(),
        _permit: permit,
    };
    Ok((stream, Rc::new(facts)))
}

/// Connects and secures. The caller bounds the time and counts.
pub(crate) async fn dial(
    address: &Address,
    tls: Option<&TlsTarget>,
    original: Option<OriginalSource>,
    settings: &super::Settings,
) -> Result<(Stream, Option<Address>, Option<Arc<Negotiated>>), Error> {
    let options = ConnectOptions {
        source: settings.source_address,
        original,
        keepalive: settings.tcp_keepalive.map(|keepalive| Keepalive {
            time: keepalive.time,
            interval: keepalive.interval,
            probes: keepalive.probes,
        }),
    };
    let socket = connect(address, &options)
        .await
        .map_err(|error| Error::Connect {
            reason: reason(&error),
        })?;
    let local = socket
        .tcp()
        .and_then(|stream| stream.local_addr().ok())
        .map(Address::Tcp);
    let Some(tls) = tls else {
        return Ok((socket.into(), local, None));
    };
    let overrides = crate::tls::Overrides {
        sni: tls.server_name.as_deref(),
        alpn: tls.alpn.as_deref(),
        verify_name: tls.verify_name.as_deref(),
    };
    let stream = tls
        .client
        .connect(socket, overrides)
        .await
        .map_err(|error| Error::Tls {
            reason: error.reason().into(),
        })?;
    let negotiated = stream.negotiated().clone();
    Ok((stream.into(), local, Some(negotiated)))
}

/// The codec's settings from the cluster's.
pub(crate) fn http2_settings(settings: &super::Settings) -> h2::Settings {
    let (Wanted::Http2(wanted) | Wanted::AsDownstream(wanted)) = &settings.protocol else {
        return h2::Settings::default();
    };
    let default = h2::Settings::default();
    h2::Settings {
        stream_window: wanted
            .initial_stream_window
            .unwrap_or(default.stream_window),
        connection_window: wanted
            .initial_connection_window
            .unwrap_or(default.connection_window),
        keepalive_interval: wanted.keepalive.and_then(|keepalive| keepalive.interval),
        keepalive_timeout: wanted
            .keepalive
            .map_or(default.keepalive_timeout, |keepalive| keepalive.timeout),
        ..default
    }
}

/// Envoy's words for a failed connect, as `%UPSTREAM_TRANSPORT_FAILURE_REASON%` has them.
fn reason(error: &std::io::Error) -> std::borrow::Cow<'static, str> {
    match error.raw_os_error() {
        // The system's words, without the number that the standard library adds to them.
        Some(code) => {
            let words = error.to_string();
            let words = words
                .strip_suffix(&format!(" (os error {code})"))
                .unwrap_or(&words);
            format!("delayed connect error: {words}").into()
        }
        None => "delayed connect error".into(),
    }
}

enum Taken {
    Connection(h2::client::ClientConnection, Rc<ConnectionFacts>),
    Wait(Rc<Notify>),
    Connect,
}

/// Tells those that wait for a connection when the one who connects is done, or gave up.
struct Connecting<'a> {
    pools: &'a Pools,
    key: Key,
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        if let Some(HostPool::H2(pool)) = self.pools.hosts.borrow_mut().get_mut(&self.key) {
            pool.connecting = false;
            pool.changed.notify_waiters();
        }
    }
}

const FOR_EVER: Duration = Duration::from_secs(u64::MAX >> 1);
