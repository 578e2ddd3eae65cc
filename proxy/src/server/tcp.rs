//! One TCP stream through: cluster, host, connection, bytes both ways, one record at its end.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use carbyne_engine::cluster::settings::{Discovery, Transport};
use carbyne_engine::cluster::outlier::LocalFailure;
use carbyne_engine::cluster::pool::{self, ConnectionFacts};
use carbyne_engine::cluster::{Host, PickContext};
use carbyne_engine::forward::tcp::{End, Progress, relay};
use carbyne_engine::forward::{
    Downstream, Error, Event, Events, Priority, Protocol, Target, TlsTarget,
};
use carbyne_engine::net::Stream;
use carbyne_engine::runtime::Worker;
use rustc_hash::FxHasher;
use xxhash_rust::xxh64::xxh64;

use super::connection::{remote_socket, reset};
use super::listener::TcpProxy;
use crate::live::clusters::LiveCluster;

/// What network filters found out about a stream.
#[derive(Debug, Default)]
pub struct StreamFacts {}

/// Everything known about a stream, for logs and metrics.
#[derive(Debug)]
pub struct StreamRecord<'a> {
    /// The client's connection.
    pub downstream: &'a Downstream,
    /// The cluster, if it exists.
    pub cluster: Option<&'a Arc<LiveCluster>>,
    /// The name of the cluster that was chosen.
    pub cluster_name: Option<&'a Arc<str>>,
    /// The host.
    pub host: Option<&'a Arc<Host>>,
    /// The connection to it.
    pub upstream: Option<&'a ConnectionFacts>,
    /// Workloads at both ends.
    pub facts: &'a StreamFacts,
    /// Bytes from the client.
    pub received: u64,
    /// Bytes to the client.
    pub sent: u64,
    /// How long it lasted.
    pub duration: Duration,
    /// What went wrong.
    pub events: Events,
    /// Why the connection to the host failed.
    pub failure: Option<&'a str>,
    /// Why it ended early (`%CONNECTION_TERMINATION_DETAILS%`).
    pub details: Option<&'a str>,
}

/// Carries one stream.
pub async fn proxy(
    worker: &Rc<Worker>,
    mut client: Stream,
    downstream: &Downstream,
    proxy: &TcpProxy,
    facts: StreamFacts,
) {
    let slot = proxy.plan.pick(fastrand::u64(..));
    let live = slot.and_then(|slot| (*slot.load()).clone());
    let mut events = Events::default();
    let mut failure: Option<Cow<'static, str>> = None;
    let progress = Progress::default();
    let mut connected = None;
    match &live {
        None => events.insert(Event::NoCluster),
        Some(live) => match connect(worker, live, downstream, proxy).await {
            Err(error) => failure = note(&mut events, &error),
            Ok(connection) => connected = Some(connection),
        },
    }
    let mut details = None;
    if let Some((host, stream, upstream)) = &mut connected {
        proxy.log.opened(&record(
            downstream, live.as_ref(), slot.map(|slot| slot.name()), Some(host), Some(upstream), &facts,
        ));
        match relay(&mut client, stream, proxy.limits, &progress).await {
            End::Closed => {}
            End::Idle => events.insert(Event::StreamIdle),
            End::MaxDuration => {
                events.insert(Event::DurationExceeded);
                details = Some("max_downstream_connection_duration");
            }
            End::Client(_) => reset(stream.socket()),
            End::Host(_) => reset(client.socket()),
        }
    } else {
        reset(client.socket());
    }
    let (host, upstream) = match &connected {
        Some((host, _, upstream)) => (Some(host), Some(&**upstream)),
        None => (None, None),
    };
    proxy.log.ended(&StreamRecord {
        received: progress.received.get(),
        sent: progress.sent.get(),
        duration: downstream.accepted.elapsed(),
        events,
        failure: failure.as_deref(),
        details,
        ..record(downstream, live.as_ref(), slot.map(|slot| slot.name()), host, upstream, &facts)
    });
}

async fn connect(
    worker: &Rc<Worker>,
    live: &LiveCluster,
    downstream: &Downstream,
    proxy: &TcpProxy,
) -> Result<(Arc<Host>, Stream, Rc<ConnectionFacts>), Error> {
    let cluster = &live.cluster;
    let mut tried: Vec<u64> = Vec::new();
    loop {
        let host = host(worker, live, downstream, proxy, &tried).ok_or(Error::NoHealthyHost)?;
        let target = target(live, host.clone());
        match pool::open(&target, Priority::Default).await {
            Ok((stream, facts)) => {
                cluster.on_connected(&host, true);
                return Ok((host, stream, facts));
            }
            Err(error) => {
                if !matches!(error, Error::Overflow { .. }) {
                    cluster.on_local_failure(&host, LocalFailure::Connect);
                }
                tried.push(host.id);
                if tried.len() >= proxy.plan.connect_attempts.max(1) as usize {
                    return Err(error);
                }
            }
        }
    }
}

fn host(
    worker: &Rc<Worker>,
    live: &LiveCluster,
    downstream: &Downstream,
    proxy: &TcpProxy,
    tried: &[u64],
) -> Option<Arc<Host>> {
    let cluster = &live.cluster;
    if let Discovery::OriginalDestination { .. } = cluster.settings().discovery {
        return Some(worker.pickers.original(cluster, downstream.local.socket()?));
    }
    let hash = proxy
        .plan
        .hash_source_address
        .then(|| remote_socket(downstream))
        .flatten()
        .map(|address| xxh64(address.ip().to_string().as_bytes(), 0));
    let context = PickContext {
        hash,
        tried,
        reselections: 3,
        tried_priorities: &[],
        now: Instant::now(),
    };
    worker.pickers.pick(cluster, &context)
}

fn target(live: &LiveCluster, host: Arc<Host>) -> Target {
    let settings = live.cluster.settings();
    let transport = settings.transports.get(usize::from(host.transport));
    let tls = match transport.map(|transport| &**transport) {
        Some(Transport::Tls(client)) => Some(TlsTarget {
            client: client.clone(),
            server_name: None,
            alpn: None,
            verify_name: None,
        }),
        _ => None,
    };
    let mut hasher = FxHasher::default();
    tls.as_ref().map(|tls| Arc::as_ptr(&tls.client)).hash(&mut hasher);
    Target {
        cluster: live.cluster.clone(),
        host,
        tls,
        protocol: Protocol::Http1,
        timeout: None,
        variant: hasher.finish(),
    }
}

fn note(events: &mut Events, error: &Error) -> Option<Cow<'static, str>> {
    match error {
        Error::NoHealthyHost => events.insert(Event::NoHealthyHost),
        Error::Overflow { .. } => events.insert(Event::Overflow),
        Error::Connect { reason } | Error::Tls { reason } => {
            events.insert(Event::ConnectFailed);
            return Some(reason.clone());
        }
        _ => events.insert(Event::ConnectFailed),
    }
    None
}

fn record<'a>(
    downstream: &'a Downstream,
    cluster: Option<&'a Arc<LiveCluster>>,
    cluster_name: Option<&'a Arc<str>>,
    host: Option<&'a Arc<Host>>,
    upstream: Option<&'a ConnectionFacts>,
    facts: &'a StreamFacts,
) -> StreamRecord<'a> {
    StreamRecord {
        downstream,
        cluster,
        cluster_name,
        host,
        upstream,
        facts,
        received: 0,
        sent: 0,
        duration: Duration::ZERO,
        events: Events::default(),
        failure: None,
        details: None,
    }
}
