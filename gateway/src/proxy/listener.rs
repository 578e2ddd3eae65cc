//! Addresses that clients connect to.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use carbyne_engine::forward::Downstream;
use carbyne_engine::forward::serve::{Codec, Serve, ServeSettings};
use carbyne_engine::http::canonical::{Policy, Underscores};
use carbyne_engine::http::h1::Limits;
use carbyne_engine::net::Address;
use carbyne_engine::net::proxy_protocol::{self, Parsed};
use carbyne_engine::net::stream::{Socket, Stream};
use carbyne_engine::observe::metrics::{Counter, Gauge};
use carbyne_engine::runtime::{Accept, Accepted, Drain, Worker};

use super::access_log::AccessLog;
use super::events;
use super::handler::Gateway;
use crate::conf::{Conf, Listen};
use crate::live::local::Local;
use crate::node::Node;

/// One address of `proxy_listen`.
#[derive(Debug)]
pub struct Entrance {
    pub node: Arc<Node>,
    pub listen: Listen,
    pub log: Option<AccessLog>,
    pub settings: Arc<ServeSettings>,
    pub drain: Arc<Drain>,
}

/// Connections and requests of clients, all addresses together.
#[derive(Debug, Default)]
pub struct Connections {
    pub accepted: Counter,
    pub active: Gauge,
    /// Requests that began, and that ended.
    pub requests: Counter,
    pub ended: Counter,
}

struct Active<'a>(&'a Connections);

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.active.decrement();
    }
}

impl Accept for Entrance {
    fn serve(
        self: Arc<Self>,
        worker: Rc<Worker>,
        accepted: Accepted,
    ) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async move {
            let connections = &self.node.connections;
            connections.accepted.increment();
            connections.active.increment();
            let _active = Active(connections);
            let Accepted {
                mut socket,
                remote: direct_remote,
                local,
                arrival,
            } = accepted;
            drop(arrival);
            let began = Instant::now();
            let mut downstream = Downstream {
                id: NEXT.fetch_add(1, Ordering::Relaxed),
                remote: direct_remote.clone(),
                direct_remote,
                local,
                server_name: None,
                tls: None,
                accepted: began,
            };
            if self.listen.proxy_protocol {
                let introduced =
                    tokio::time::timeout(HANDSHAKE_LIMIT, introduce(&mut socket, &mut downstream));
                if introduced.await != Ok(true) {
                    return;
                }
            }
            if let Some(stream) = self.secure(socket, &mut downstream).await {
                self.requests(worker, stream, downstream).await;
            }
        })
    }
}

impl Entrance {
    /// The connection in the clear, or what the handshake made of it.
    async fn secure(&self, socket: Socket, downstream: &mut Downstream) -> Option<Stream> {
        if !self.listen.tls {
            return Some(socket.into());
        }
        // Certificates are those of the moment at which the connection came.
        let snapshot = self.node.snapshot.load_full();
        let tls = snapshot.tls.as_ref()?;
        let tls = if self.listen.http2 {
            &tls.http2
        } else {
            &tls.http1
        };
        match tls.accept(socket, Some(HANDSHAKE_LIMIT)).await {
            Ok(stream) => {
                let negotiated = stream.negotiated();
                downstream.server_name = negotiated.sni.as_deref().map(Arc::from);
                downstream.tls = Some(negotiated.clone());
                Some(stream.into())
            }
            Err(error) => {
                tracing::debug!(%error, "a handshake failed");
                if let Some(teller) = &Local::of(&self.node).teller {
                    events::handshake_failed(teller, downstream, &error);
                }
                None
            }
        }
    }

    async fn requests(&self, worker: Rc<Worker>, stream: Stream, downstream: Downstream) {
        let serve = Serve {
            worker,
            handler: Rc::new(Gateway {
                local: Local::of(&self.node),
                log: self.log.clone(),
            }),
            settings: self.settings.clone(),
            downstream: Rc::new(downstream),
            drain: self.drain.signal(),
        };
        serve.run(stream).await;
    }
}

/// Takes the header of the PROXY protocol off: it must be there.
async fn introduce(socket: &mut Socket, downstream: &mut Downstream) -> bool {
    let mut read = BytesMut::new();
    let Some(Parsed::Header(header)) = proxy_protocol::read(socket, &mut read).await else {
        return false;
    };
    drop(read.split_to(header.length));
    if let Some(addresses) = header.addresses {
        // Where the client connected to stays what it is here, as in nginx: whoever is not trusted may say anything.
        downstream.remote = Address::Tcp(addresses.source);
    }
    socket.rewind(read.freeze());
    true
}

/// How the requests of an address are read: as nginx reads them with Kong's configuration, where that is safe.
pub fn serve_settings(listen: &Listen, conf: &Conf) -> ServeSettings {
    let mut limits = Limits {
        non_ascii_target: true,
        ..Limits::default()
    };
    let size = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
    if let Some((count, line)) = conf.large_client_header_buffers() {
        limits.request_line_bytes = size(line);
        limits.head_bytes = size(count.saturating_mul(line));
    }
    // What never ends in nginx has no word: zero is the shortest there is.
    let time = |time: Duration| time.max(SHORTEST);
    let default = ServeSettings::default();
    let mut settings = ServeSettings {
        // Without TLS as well: clients with prior knowledge are served beside those of HTTP/1.
        codec: if listen.http2 {
            Codec::Auto
        } else {
            Codec::Http1
        },
        limits,
        policy: Policy {
            // Kong sets nginx's `underscores_in_headers on`; no service may read another length out of one.
            underscores: if conf.underscores_in_headers() {
                Underscores::AllowUnlessFraming
            } else {
                Underscores::DropUnlessFraming
            },
            ..Policy::default()
        },
        max_requests: conf.keepalive_requests(),
        idle_timeout: Some(conf.keepalive_timeout().map_or(IDLE, time)),
        head_timeout: conf
            .client_header_timeout()
            .map(time)
            .or(default.head_timeout),
        ..default
    };
    settings.http2.connect_protocol = false;
    settings
}

/// nginx: `client_header_timeout`.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(60);
/// nginx: `keepalive_timeout`.
const IDLE: Duration = Duration::from_secs(75);
const SHORTEST: Duration = Duration::from_millis(100);

static NEXT: AtomicU64 = AtomicU64::new(1);
