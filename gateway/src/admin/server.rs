//! Connections to the Admin API and the Status API: plain or TLS, HTTP/1 or HTTP/2.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use carbyne_engine::tls::{
    AlpnList, ClientCertificate, IdentitySlot, PeerRules, Resumption, ServerIdentity, ServerNames,
    ServerTls, ServerTlsPlan, TlsParameters, TrustSlot,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

use super::Admin;
use super::audit::Caller;
use crate::conf::{Conf, ConfError, Interface, Listen, VerifyClient};

/// Which of the two is served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Served {
    Admin,
    Status,
}

/// An address that is bound, and how it is spoken to.
#[derive(Debug)]
pub struct Listener {
    served: Served,
    socket: TcpListener,
    tls: Option<Arc<ServerTls>>,
}

/// Why an address is not served.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(transparent)]
    Conf(#[from] ConfError),
    #[error("{key} {address}: {error}")]
    Socket {
        key: &'static str,
        address: SocketAddr,
        error: std::io::Error,
    },
    #[error("{key}: {error}")]
    Tls {
        key: &'static str,
        error: carbyne_engine::tls::PlanError,
    },
}

/// How long a client may take to a complete head, and to a handshake.
const PATIENCE: Duration = Duration::from_secs(60);

impl Served {
    fn key(self) -> &'static str {
        match self {
            Self::Admin => "admin_listen",
            Self::Status => "status_listen",
        }
    }

    fn interface(self) -> Interface {
        match self {
            Self::Admin => Interface::Admin,
            Self::Status => Interface::Status,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Status => "status",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Admin => "Admin",
            Self::Status => "Status",
        }
    }

    fn listen(self, conf: &Conf) -> Result<Vec<Listen>, ConfError> {
        match self {
            Self::Admin => conf.admin_listen(),
            Self::Status => conf.status_listen(),
        }
    }

    /// Binds every address, and says which are open to everyone.
    pub async fn bind(self, conf: &Conf) -> Result<Vec<Listener>, BindError> {
        let mut listeners = Vec::new();
        let listen = self.listen(conf)?;
        let tls = if listen.iter().any(|listen| listen.tls) {
            Some(self.tls(conf, &listen)?)
        } else {
            None
        };
        for listen in listen {
            let failed = |error| BindError::Socket {
                key: self.key(),
                address: listen.address,
                error,
            };
            let socket = TcpListener::bind(listen.address).await.map_err(failed)?;
            let address = socket.local_addr().map_err(failed)?;
            tracing::info!(%address, tls = listen.tls, "the {} API listens", self.title());
            listeners.push(Listener {
                served: self,
                socket,
                tls: tls.clone().filter(|_| listen.tls),
            });
        }
        if self == Self::Admin {
            for warning in warnings(conf) {
                tracing::warn!("{warning}");
            }
        }
        Ok(listeners)
    }

    fn tls(self, conf: &Conf, listen: &[Listen]) -> Result<Arc<ServerTls>, BindError> {
        let identity = |identity| ServerIdentity {
            slot: IdentitySlot::filled(self.name(), identity),
            names: ServerNames::FromCertificate,
        };
        let client_certificate = match conf.verify_client(self.name()) {
            VerifyClient::Off => ClientCertificate::None,
            VerifyClient::Optional => ClientCertificate::Optional,
            VerifyClient::Required => ClientCertificate::Required,
        };
        let trust = match client_certificate {
            ClientCertificate::None => None,
            _ => conf.client_roots(self.interface())?,
        };
        let is_http2 = listen.iter().any(|listen| listen.tls && listen.http2);
        let alpn: &[&[u8]] = if is_http2 {
            &[b"h2", b"http/1.1"]
        } else {
            &[b"http/1.1"]
        };
        let refused = |error| BindError::Tls {
            key: self.key(),
            error,
        };
        let alpn = alpn.iter().map(|name| name.to_vec());
        let plan = ServerTlsPlan {
            identities: conf
                .identities(self.interface())?
                .into_iter()
                .map(identity)
                .collect(),
            alpn: AlpnList::new(alpn).map_err(refused)?,
            client_certificate,
            peer: PeerRules {
                trust: trust.map(|trust| TrustSlot::filled(self.name(), trust)),
                ..PeerRules::default()
            },
            parameters: TlsParameters::default(),
            resumption: Resumption::Tickets,
        };
        Ok(Arc::new(ServerTls::new(plan).map_err(refused)?))
    }
}

/// Addresses of the Admin API at which nobody is asked who they are.
pub(super) fn warnings(conf: &Conf) -> Vec<String> {
    let asks = conf.verify_client("admin") == VerifyClient::Required;
    let open = conf.admin_listen().unwrap_or_default().into_iter();
    open.filter(|listen| listen.is_open() && !(listen.tls && asks))
        .map(|listen| {
            format!(
                "everyone who reaches admin_listen {} can change the whole configuration: it asks nobody who they are \
                 (nginx_admin_ssl_verify_client = on does, on addresses with ssl)",
                listen.address
            )
        })
        .collect()
}

impl Admin {
    /// Serves the Admin API without TLS until the future is dropped.
    pub async fn serve(self: Arc<Self>, socket: TcpListener) -> std::io::Result<()> {
        let listener = Listener {
            served: Served::Admin,
            socket,
            tls: None,
        };
        self.serve_on(listener).await
    }

    /// Serves connections until the future is dropped.
    pub async fn serve_on(self: Arc<Self>, listener: Listener) -> std::io::Result<()> {
        loop {
            let (stream, peer) = match listener.socket.accept().await {
                Ok(accepted) => accepted,
                Err(error) if is_passing(&error) => {
                    tracing::warn!(%error, "a connection to the Admin API was not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let (admin, tls, served) = (Arc::clone(&self), listener.tls.clone(), listener.served);
            tokio::spawn(async move {
                admin.counters.accepted.fetch_add(1, Ordering::Relaxed);
                admin.counters.active.fetch_add(1, Ordering::Relaxed);
                Arc::clone(&admin)
                    .connection(stream, peer, tls.as_deref(), served)
                    .await;
                admin.counters.active.fetch_sub(1, Ordering::Relaxed);
            });
        }
    }

    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        tls: Option<&ServerTls>,
        served: Served,
    ) {
        // Answers are written whole.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection to the Admin API broke");
            return;
        }
        let mut caller = Caller {
            address: Some(peer.ip()),
            principal: None,
        };
        match tls {
            None => self.speak(stream, served, caller).await,
            Some(tls) => match tls.accept(stream, Some(PATIENCE)).await {
                Ok(stream) => {
                    let principal = stream.negotiated().principal();
                    caller.principal = principal.map(Box::from);
                    self.speak(stream, served, caller).await;
                }
                Err(error) => tracing::debug!(%error, "a handshake at the Admin API failed"),
            },
        }
    }

    async fn speak<S>(self: Arc<Self>, stream: S, served: Served, caller: Caller)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let caller = Arc::new(caller);
        let service = hyper::service::service_fn(move |request| {
            let (admin, caller) = (Arc::clone(&self), Arc::clone(&caller));
            async move { admin.handle(request, served, &caller).await }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            // Scripts that read heads look for the names as nginx writes them.
            .title_case_headers(true)
            .header_read_timeout(PATIENCE);
        builder.http2().timer(TokioTimer::new());
        let done = builder
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if let Err(error) = done {
            tracing::debug!(error, "a connection to the Admin API broke");
        }
    }
}

/// What connections fail with while the listener is sound.
fn is_passing(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    // Out of file descriptors (EMFILE, ENFILE) passes as well.
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted | WouldBlock
    ) || matches!(error.raw_os_error(), Some(23 | 24))
}
