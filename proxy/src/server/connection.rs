//! One accepted connection: original destination, inspection, chain, TLS, network filters, and then
//! requests or a stream.

use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::{Bytes, BytesMut};
use carbyne_engine::forward::Downstream;
use carbyne_engine::forward::serve::Serve;
use carbyne_engine::net::Address;
use carbyne_engine::net::listen::original_destination;
use carbyne_engine::net::proxy_protocol::{self, Parsed};
use carbyne_engine::net::stream::{Socket, Stream};
use carbyne_engine::runtime::{Accept, Accepted, DrainSignal, Worker};
use carbyne_engine::tls::{hello, sniff};
use tokio::io::AsyncReadExt;

use super::http::handler::HttpHandler;
use super::listener::{
    Inspector, ListenerStats, LiveChain, LiveListener, ProxyProtocol, Terminal, Unbound,
};
use super::tcp;
use crate::filter::network::Verdict;
use crate::live::chain::ConnectionFacts;

/// A bound address: connections go to whatever listener lives there when they arrive.
#[derive(Debug)]
pub struct Entrance {
    /// The listener.
    pub live: Arc<ArcSwapOption<LiveListener>>,
    /// Where intercepted connections are handed to.
    pub unbound: Arc<Unbound>,
}

/// Between whom the connection is, as far as is known.
#[derive(Debug)]
struct Origin {
    /// What the client dialled.
    local: Address,
    /// The client.
    remote: Address,
}

/// Counts as active until it is dropped, however the connection ends.
struct Active<'a>(&'a ListenerStats);

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.active.decrement();
    }
}

/// What inspection found out.
#[derive(Debug, Default)]
struct Inspected {
    server_name: Option<Arc<str>>,
    tls: bool,
    application_protocols: Vec<Bytes>,
}

impl Accept for Entrance {
    fn serve(
        self: Arc<Self>,
        worker: Rc<Worker>,
        accepted: Accepted,
    ) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async move {
            // A socket takes connections only once there is a listener, which is never taken away.
            if let Some(listener) = self.live.load_full() {
                let admitted = listener.overload.admit(
                    listener.ignores_connection_limit,
                    listener.bypasses_overload,
                );
                if let Some(_admitted) = admitted {
                    self.pass(worker, accepted, listener).await;
                } else {
                    listener.stats.overflows.increment();
                }
            }
        })
    }

    fn paused(&self) -> Option<Pin<Box<dyn Future<Output = ()>>>> {
        let listener = self.live.load_full()?;
        let mut paused = listener.overload.paused();
        if listener.bypasses_overload || !*paused.borrow() {
            return None;
        }
        Some(Box::pin(async move {
            // Its sender lives as long as the process.
            drop(paused.wait_for(|paused| !paused).await);
        }))
    }

    fn overflowed(&self) {
        if let Some(listener) = &*self.live.load() {
            listener.stats.overflows.increment();
        }
    }
}

impl Entrance {
    async fn pass(&self, worker: Rc<Worker>, accepted: Accepted, listener: Arc<LiveListener>) {
        let mut local = accepted.local.clone();
        let mut listener = listener;
        if (listener.original_destination || listener.hands_off)
            && let Some(original) = accepted.socket.tcp().and_then(original_destination)
        {
            if listener.hands_off
                && Address::Tcp(original) != accepted.local
                && let Some(other) = self.unbound.find(original)
            {
                listener = other;
            }
            local = Address::Tcp(original);
        }
        let stats = listener.stats.clone();
        stats.connections.increment();
        stats.active.increment();
        let _active = Active(&stats);
        connection(worker, accepted, local, listener).await;
    }
}

async fn connection(
    worker: Rc<Worker>,
    accepted: Accepted,
    local: Address,
    listener: Arc<LiveListener>,
) {
    let started = Instant::now();
    let Accepted {
        mut socket,
        remote: direct_remote,
        arrival,
        ..
    } = accepted;
    // Its listener counts it by now.
    drop(arrival);
    let mut origin = Origin {
        local,
        remote: direct_remote.clone(),
    };
    let inspection = inspect(&mut socket, &listener, &mut origin);
    let limit = listener.inspection_timeout.unwrap_or(Duration::MAX);
    let mut drain = listener.drain.signal();
    let inspected = tokio::select! {
        biased;
        inspected = inspection => inspected,
        () = tokio::time::sleep(limit) => {
            listener.stats.inspection_timeouts.increment();
            listener.continue_on_timeout.then(Inspected::default)
        }
        () = first_bytes_are_due(&mut drain) => None,
    };
    let Some(inspected) = inspected else { return };
    let Origin { local, remote } = origin;
    let facts = ConnectionFacts {
        local: &local,
        remote: &remote,
        direct_remote: &direct_remote,
        server_name: inspected.server_name.as_deref().unwrap_or(""),
        transport_protocol: if inspected.tls { "tls" } else { "raw_buffer" },
        application_protocols: &inspected.application_protocols,
    };
    let mut downstream = Downstream {
        id: NEXT.fetch_add(1, Ordering::Relaxed),
        direct_remote: direct_remote.clone(),
        server_name: inspected.server_name.clone(),
        tls: None,
        accepted: started,
        local: local.clone(),
        remote: remote.clone(),
    };
    let Some(chain) = listener
        .table
        .find(&facts)
        .and_then(|index| listener.chains.get(index))
    else {
        listener.stats.no_chain.increment();
        let plaintext = !inspected.tls && listener.chains.iter().any(|chain| chain.tls.is_some());
        listener.log.no_chain(&Rc::new(downstream), plaintext);
        // Envoy only looks at what its inspectors read, and closes: of unread bytes the kernel makes a reset.
        if socket.has_prefix() {
            reset(&socket);
        }
        return;
    };
    let chain = chain.clone();
    if let Terminal::Refuse(reason) = &chain.terminal {
        // Before anything of it runs: no handshake and no filter makes it better.
        listener.log.refused(&Rc::new(downstream), reason);
        reset(&socket);
        return;
    }
    let stream = match &chain.tls {
        None => Stream::from(socket),
        Some(tls) => match tls.accept(socket, chain.handshake_timeout).await {
            Ok(stream) => {
                listener.stats.handshaken(stream.negotiated());
                downstream.tls = Some(stream.negotiated().clone());
                if downstream.server_name.is_none() {
                    downstream.server_name = stream.negotiated().sni.as_deref().map(Arc::from);
                }
                stream.into()
            }
            Err(error) => {
                listener.stats.refused(&error);
                listener
                    .log
                    .handshake_failed(&Rc::new(downstream), error.reason());
                return;
            }
        },
    };
    filtered(worker, stream, Rc::new(downstream), &listener, &chain).await;
}

async fn filtered(
    worker: Rc<Worker>,
    mut stream: Stream,
    downstream: Rc<Downstream>,
    listener: &Arc<LiveListener>,
    chain: &LiveChain,
) {
    let mut facts = tcp::StreamFacts::default();
    for filter in &chain.filters {
        if let Verdict::Close(details) = filter.connect(&mut stream, &downstream, &mut facts).await
        {
            listener.log.refused(&downstream, &details);
            if let Terminal::Tcp(proxy) = &chain.terminal {
                tcp::refuse(stream, &downstream, proxy, &details).await;
            }
            return;
        }
    }
    match &chain.terminal {
        Terminal::Http(manager, settings) => {
            let _connected = manager.telemetry.connected(&downstream);
            let serve = Serve {
                worker,
                handler: Rc::new(HttpHandler {
                    manager: manager.clone(),
                }),
                settings: settings.clone(),
                downstream,
                drain: chain.drain.signal(),
            };
            serve.run(stream).await;
        }
        Terminal::Tcp(proxy) => tcp::proxy(&worker, stream, &downstream, proxy, facts).await,
        // Looked at when the chain was chosen.
        Terminal::Refuse(_) => reset(stream.socket()),
    }
}

/// Reads ahead as far as needed to tell TLS and HTTP apart; `None` where the client closed.
async fn inspect(
    socket: &mut Socket,
    listener: &LiveListener,
    origin: &mut Origin,
) -> Option<Inspected> {
    let mut read = BytesMut::new();
    if let Some(rule) = &listener.proxy_protocol
        && rule.applies(&origin.local)
        && !introduce(socket, rule, origin, &mut read).await
    {
        listener.stats.inspection_errors.increment();
        // What it sent is as good as unread: the kernel says so with a reset.
        reset(socket);
        return None;
    }
    let port = origin.local.socket().map(|address| address.port());
    let wants = |wanted: Inspector| {
        listener.inspectors.iter().any(|(inspector, disabled)| {
            let disabled = disabled.as_ref().zip(port);
            *inspector == wanted && !disabled.is_some_and(|(disabled, port)| disabled.holds(port))
        })
    };
    let (mut tls, mut http) = (wants(Inspector::Tls), wants(Inspector::Http));
    let mut inspected = Inspected::default();
    while tls || http {
        if !read.is_empty() {
            if tls {
                match hello::inspect(&read) {
                    hello::Verdict::NeedMore { .. } => {}
                    hello::Verdict::Hello(hello) => {
                        inspected.tls = true;
                        inspected.server_name = hello.sni.as_deref().map(Arc::from);
                        inspected.application_protocols = hello
                            .alpn
                            .iter()
                            .map(|name| Bytes::copy_from_slice(name))
                            .collect();
                        // Whoever speaks TLS speaks HTTP inside of it, if at all.
                        (tls, http) = (false, false);
                    }
                    hello::Verdict::NotTls | hello::Verdict::TooLarge => tls = false,
                }
            }
            if !tls && http && !inspected.tls {
                let sniffed = sniff::sniff(&read);
                if let Some(protocol) = sniffed.application_protocol() {
                    inspected.application_protocols = vec![Bytes::from_static(protocol.as_bytes())];
                }
                http = sniffed == sniff::Sniffed::NeedMore;
            }
            if !tls && !http {
                break;
            }
        }
        read.reserve(1024);
        match socket.read_buf(&mut read).await {
            Ok(1..) => {}
            _ => return None,
        }
    }
    socket.rewind(read.freeze());
    Some(inspected)
}

/// Takes the header of the PROXY protocol off; false where there must be one and is none, or it is broken. What was read behind it stays in
/// `read`.
async fn introduce(
    socket: &mut Socket,
    rule: &ProxyProtocol,
    origin: &mut Origin,
    read: &mut BytesMut,
) -> bool {
    match proxy_protocol::read(socket, read).await {
        // The first never: it is asked for more.
        Some(Parsed::NeedMore | Parsed::Malformed(_)) | None => false,
        Some(Parsed::Absent) => rule.optional,
        Some(Parsed::Header(header)) => {
            if !rule.versions[header.version as usize] {
                // A version that is not taken is no header: its bytes are the client's, where that may be.
                return rule.optional;
            }
            let _header = read.split_to(header.length);
            if let Some(addresses) = header.addresses {
                origin.local = Address::Tcp(addresses.destination);
                origin.remote = Address::Tcp(addresses.source);
            }
            true
        }
    }
}

impl ProxyProtocol {
    fn applies(&self, local: &Address) -> bool {
        let port = local.socket().map(|address| address.port());
        let disabled = self.disabled.as_ref().zip(port);
        !disabled.is_some_and(|(disabled, port)| disabled.holds(port))
    }
}

/// Waits until a connection that has sent nothing is to close: a while after its listener is gone, for what is on its
/// way through the kernel.
async fn first_bytes_are_due(drain: &mut DrainSignal) {
    drain.finished().await;
    tokio::time::sleep(FIRST_BYTES).await;
}

/// Closes with a reset instead of an orderly end.
pub(super) fn reset(socket: &Socket) {
    if let Some(stream) = socket.tcp() {
        // Fails only on a socket that is already dead.
        drop(stream.set_zero_linger());
    }
}

/// The remote IP address of a connection, if it has one.
pub(super) fn remote_socket(downstream: &Downstream) -> Option<SocketAddr> {
    downstream.remote.socket()
}

/// How long a connection may stay silent whose listener is gone.
const FIRST_BYTES: Duration = Duration::from_secs(1);

static NEXT: AtomicU64 = AtomicU64::new(1);
