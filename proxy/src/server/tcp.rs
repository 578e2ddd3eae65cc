//! One TCP stream through: cluster, host, connection, bytes both ways, one record at its end.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::hash::{Hash, Hasher};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use carbyne_engine::cluster::outlier::LocalFailure;
use carbyne_engine::cluster::pool::{self, ConnectionFacts};
use carbyne_engine::cluster::settings::{Discovery, Transport};
use carbyne_engine::cluster::{Host, PickContext};
use carbyne_engine::forward::tcp::{End, Head, Heads, Progress, Taken, relay};
use carbyne_engine::forward::{
    Downstream, Error, Event, Events, Priority, Protocol, Target, TlsTarget,
};
use carbyne_engine::net::Stream;
use carbyne_engine::runtime::Worker;
use rustc_hash::FxHasher;
use xxhash_rust::xxh64::xxh64;

use super::connection::{remote_socket, reset};
use super::listener::TcpProxy;
use super::telemetry::StreamTelling;
use crate::filter::metadata_exchange::tcp::{Decoded, TcpExchange};
use crate::live::clusters::LiveCluster;
use crate::observe::facts::StreamRecord;
use crate::observe::flags::Flags;
use crate::observe::peer::Peer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What network filters found out about a stream.
#[derive(Debug, Default)]
pub struct StreamFacts {
    /// The client's metadata come in a frame before its first byte.
    pub exchange: Option<TcpExchange>,
}

/// Takes a peer's metadata off the head of a stream.
struct PeerFrame {
    exchange: TcpExchange,
    found: Found,
}

/// What a peer said about itself, once that is known.
type Found = Rc<OnceCell<Option<Arc<Peer>>>>;

impl Head for PeerFrame {
    fn take(&mut self, arrived: &[u8], end: bool) -> Taken {
        let (peer, taken) = match self.exchange.decode(arrived, end) {
            Decoded::More => return Taken::More,
            Decoded::Frame { length, peer } => (peer, Taken::Off(length)),
            Decoded::NoFrame => (None, Taken::Off(0)),
            Decoded::TooLarge => (None, Taken::Refuse),
        };
        // Nothing is taken twice.
        self.found.set(peer).unwrap_or_default();
        taken
    }
}

/// Carries one stream.
pub async fn proxy(
    worker: &Rc<Worker>,
    mut client: Stream,
    downstream: &Rc<Downstream>,
    proxy: &TcpProxy,
    facts: StreamFacts,
) {
    let mut record = StreamRecord::new(downstream.clone());
    let mut telling = proxy.log.stream();
    let mut events = Events::default();
    let slot = proxy.plan.pick(fastrand::u64(..));
    let live = slot.and_then(|slot| (*slot.load()).clone());
    record.filter_chain.clone_from(&proxy.filter_chain);
    match &live {
        None => events.insert(Event::NoCluster),
        Some(live) => {
            record.cluster = slot.map(|slot| slot.name().clone());
            record.cluster_plan = Some(live.plan.clone());
            record.upstream.cluster = Some(live.cluster.clone());
            match connect(worker, live, downstream, proxy, &mut record).await {
                Err(error) => record.upstream.failure = note(&mut events, &error),
                Ok((mut stream, upstream)) => {
                    record.upstream.local.clone_from(&upstream.local);
                    record.upstream.tls.clone_from(&upstream.tls);
                    let tls = upstream.tls.as_deref();
                    let exchange = live
                        .plan
                        .metadata_exchange
                        .as_ref()
                        .map(|message| TcpExchange::plan(message, &proxy.node))
                        .filter(|exchange| exchange.applies(tls));
                    let exchanges = (facts.exchange, exchange);
                    carry(
                        &mut client,
                        &mut stream,
                        proxy,
                        exchanges,
                        &mut telling,
                        &mut record,
                        &mut events,
                    )
                    .await;
                }
            }
        }
    }
    // Without a host the client's connection is closed in order, as Envoy closes it; what it sent and nobody
    // read makes the kernel say so with a reset.
    record.flags = Flags::of(events);
    telling.ended(record);
}

/// Closes a connection that a filter refused, before any host was asked, and says so in the log of its
/// streams. What the client has said so far is read, so that the end reaches it in order and not as a reset.
pub async fn refuse(
    mut client: Stream,
    downstream: &Rc<Downstream>,
    proxy: &TcpProxy,
    details: &str,
) {
    let mut record = StreamRecord::new(downstream.clone());
    record.filter_chain.clone_from(&proxy.filter_chain);
    let slot = proxy.plan.pick(fastrand::u64(..));
    record.cluster = slot.map(|slot| slot.name().clone());
    record.cluster_plan =
        slot.and_then(|slot| (*slot.load()).as_ref().map(|live| live.plan.clone()));
    record.termination = details.to_owned().into();
    proxy.log.stream().ended(record);
    let farewell = async {
        client.shutdown().await?;
        let mut nothing = [0; 512];
        while client.read(&mut nothing).await? > 0 {}
        Ok::<(), std::io::Error>(())
    };
    // Nobody waits long for a client that does not take a no for an answer.
    drop(tokio::time::timeout(FAREWELL, farewell).await);
}

async fn carry(
    client: &mut Stream,
    host: &mut Stream,
    proxy: &TcpProxy,
    (from_client, from_host): (Option<TcpExchange>, Option<TcpExchange>),
    telling: &mut StreamTelling<'_>,
    record: &mut StreamRecord,
    events: &mut Events,
) {
    let progress = Progress::default();
    if let Some(exchange) = &from_host {
        // Fails only where the host is gone, which reading finds out.
        drop(host.write_all(&exchange.frame()).await);
    }
    let frame = |exchange| PeerFrame {
        exchange,
        found: Found::default(),
    };
    let mut from_client = from_client.map(frame);
    let mut from_host = from_host.map(frame);
    let peers =
        [&from_client, &from_host].map(|frame| frame.as_ref().map(|frame| frame.found.clone()));
    let heads = Heads {
        client: from_client.as_mut().map(|frame| frame as &mut dyn Head),
        host: from_host.as_mut().map(|frame| frame as &mut dyn Head),
    };
    let relay = relay(client, host, proxy.limits, &progress, heads);
    let end = match telling.interval() {
        None => relay.await,
        Some(interval) => {
            let mut relay = pin!(relay);
            let mut next = pin!(tokio::time::sleep(interval));
            loop {
                tokio::select! {
                    biased;
                    end = &mut relay => break end,
                    () = &mut next => {}
                }
                let known =
                    |peer: &Option<Found>| peer.as_ref().is_none_or(|peer| peer.get().is_some());
                if peers.iter().all(known) {
                    note_progress(record, &progress, &peers);
                    telling.report(record);
                }
                next.as_mut().reset(tokio::time::Instant::now() + interval);
            }
        }
    };
    note_progress(record, &progress, &peers);
    match end {
        // Envoy has no flag for a stream that idled: `SI` is for requests.
        End::Closed | End::Idle => {}
        End::MaxDuration => events.insert(Event::DurationExceeded),
        End::Client(_) => reset(host.socket()),
        End::Host(error) => {
            if error.kind() == std::io::ErrorKind::ConnectionReset {
                events.insert(Event::UpstreamReset);
            }
            reset(client.socket());
        }
    }
}

fn note_progress(record: &mut StreamRecord, progress: &Progress, peers: &[Option<Found>; 2]) {
    let peer = |peer: &Option<Found>| peer.as_ref()?.get()?.clone();
    record.downstream_peer = peer(&peers[0]);
    record.upstream_peer = peer(&peers[1]);
    record.counts.received = progress.received.get();
    record.counts.sent = progress.sent.get();
    record.counts.wire_received = record.counts.received;
    record.counts.wire_sent = record.counts.sent;
    record.counts.upstream_received = record.counts.sent;
    record.counts.upstream_sent = record.counts.received;
}

async fn connect(
    worker: &Rc<Worker>,
    live: &LiveCluster,
    downstream: &Downstream,
    proxy: &TcpProxy,
    record: &mut StreamRecord,
) -> Result<(Stream, Rc<ConnectionFacts>), Error> {
    let cluster = &live.cluster;
    let mut tried: Vec<u64> = Vec::new();
    loop {
        let host = host(worker, live, downstream, proxy, &tried).ok_or(Error::NoHealthyHost)?;
        record.attempts += 1;
        record.upstream.host = Some(host.clone());
        let target = target(live, host.clone());
        match pool::open(&target, Priority::Default).await {
            Ok((stream, facts)) => {
                cluster.on_connected(&host, true);
                return Ok((stream, facts));
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
    tls.as_ref()
        .map(|tls| Arc::as_ptr(&tls.client))
        .hash(&mut hasher);
    Target {
        cluster: live.cluster.clone(),
        host,
        tls,
        protocol: Protocol::Http1,
        timeout: None,
        variant: hasher.finish(),
    }
}

/// How long a refused client may take to close.
const FAREWELL: std::time::Duration = std::time::Duration::from_millis(500);

fn note(events: &mut Events, error: &Error) -> Option<Cow<'static, str>> {
    match error {
        Error::NoHealthyHost => events.insert(Event::NoHealthyHost),
        Error::Overflow { .. } => events.insert(Event::Overflow),
        _ => {
            events.insert(Event::ConnectFailed);
            // The last of the allowed tries, be it the first.
            events.insert(Event::RetryLimit);
        }
    }
    match error {
        Error::Connect { reason } | Error::Tls { reason } => Some(reason.clone()),
        _ => None,
    }
}
