//! Accepting TLS: a plan, the configurations built from it for the secrets of the moment, and the handshake.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::{Acceptor, ClientHello, NoServerSessionStorage, ServerSessionMemoryCache};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ServerConfig, SignatureAlgorithm, SupportedCipherSuite};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::LazyConfigAcceptor;

use super::certificate::CertificateFacts;
use super::error::{PlanError, Side, TlsError};
use super::identity::{Identity, IdentitySlot};
use super::live::{Live, Stamps};
use super::parameters::{AlpnList, Compiled, TlsParameters};
use super::selection::{Pattern, Selection};
use super::stream::{BUFFER_LIMIT, Negotiated, ServerStream};
use super::ticket;
use super::verify::{HostRule, PeerRules, PeerVerifier, Role};

/// How a listener or gateway server wants to speak TLS.
#[derive(Clone, Debug)]
pub struct ServerTlsPlan {
    /// Certificates to show; the first that nothing forbids is the one for names that no other covers.
    pub identities: Vec<ServerIdentity>,
    /// Protocols in the server's order of preference. A client whose offer does not overlap is served without ALPN, as BoringSSL does.
    pub alpn: Arc<AlpnList>,
    /// Whether clients show a certificate.
    pub client_certificate: ClientCertificate,
    /// What that certificate must be.
    pub peer: PeerRules,
    /// Versions, suites, groups.
    pub parameters: TlsParameters,
    /// Whether clients may resume.
    pub resumption: Resumption,
}

/// One certificate of a server and the names it is for.
#[derive(Clone, Debug)]
pub struct ServerIdentity {
    /// Where the certificate arrives.
    pub slot: Arc<IdentitySlot>,
    /// Which server names select it.
    pub names: ServerNames,
}

/// Which server names select a certificate.
#[derive(Clone, Debug)]
pub enum ServerNames {
    /// Those in its own DNS names, as Envoy selects among several certificates.
    FromCertificate,
    /// These: `a.example.com`, `*.example.com` and `example.*` (the star is one label), or `*` for names that nothing else covers. As Kong's SNIs.
    Listed(Vec<String>),
}

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificate {
    /// Not asked for.
    None,
    /// Asked for; one that is shown must satisfy the rules.
    Optional,
    /// Asked for and needed.
    Required,
}

/// How sessions are resumed. Whatever the choice, no session outlives a change of the server's secrets: it would skip the new verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumption {
    /// Tickets that the client keeps.
    Tickets,
    /// Sessions in memory, at most this many.
    Stored(usize),
    /// Never.
    Off,
}

/// A server's TLS: plan, and what is built from it as secrets come and go.
pub struct ServerTls {
    plan: ServerTlsPlan,
    rules: Arc<PeerRules>,
    compiled: Compiled,
    live: Live<LiveServer>,
}

impl ServerTls {
    /// Refuses what cannot work whatever the secrets are.
    pub fn new(plan: ServerTlsPlan) -> Result<Self, PlanError> {
        if plan.identities.is_empty() {
            return Err(PlanError::NoIdentity);
        }
        plan.peer.validate(false)?;
        let asks = !plan.peer.is_empty() || plan.peer.accept_untrusted;
        if plan.client_certificate == ClientCertificate::Required && !asks {
            return Err(PlanError::RequiredWithoutTrust);
        }
        for identity in &plan.identities {
            if let ServerNames::Listed(patterns) = &identity.names {
                for pattern in patterns {
                    Pattern::parse(pattern)?;
                }
            }
        }
        let compiled = plan.parameters.compile()?;
        Ok(Self {
            rules: Arc::new(plan.peer.clone()),
            plan,
            compiled,
            live: Live::new(),
        })
    }

    /// The plan as given.
    pub fn plan(&self) -> &ServerTlsPlan {
        &self.plan
    }

    /// Whether the secrets have come: the roots, and at least one certificate.
    pub fn is_ready(&self) -> bool {
        self.plan
            .peer
            .trust
            .as_ref()
            .is_none_or(|slot| slot.is_ready())
            && self
                .plan
                .identities
                .iter()
                .any(|identity| identity.slot.is_ready())
    }

    /// Waits for every secret: the moment at which a warming listener may take over.
    pub async fn ready(&self) {
        if let Some(slot) = &self.plan.peer.trust {
            slot.ready().await;
        }
        for identity in &self.plan.identities {
            identity.slot.ready().await;
        }
    }

    /// Shakes hands with a client. `timeout` covers the whole of it (`transport_socket_connect_timeout`); none: the client may take for ever.
    pub async fn accept<S>(
        &self,
        stream: S,
        timeout: Option<Duration>,
    ) -> Result<ServerStream<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let live = self.live()?;
        match timeout {
            None => handshake(live, stream).await,
            Some(limit) => tokio::time::timeout(limit, handshake(live, stream))
                .await
                .unwrap_or(Err(TlsError::Timeout {
                    side: Side::Downstream,
                })),
        }
    }

    fn live(&self) -> Result<Arc<LiveServer>, TlsError> {
        self.live.obtain(|| self.stamps(), || self.build())
    }

    fn stamps(&self) -> Stamps {
        let identities = self
            .plan
            .identities
            .iter()
            .map(|identity| identity.slot.generation());
        identities.chain([self.plan.peer.generation()]).collect()
    }

    fn build(&self) -> Result<LiveServer, TlsError> {
        let verifier = match self.plan.client_certificate {
            ClientCertificate::None => None,
            wanted => {
                let trust = self.rules.current_trust()?;
                let required = wanted == ClientCertificate::Required;
                Some(Arc::new(PeerVerifier::new(
                    Arc::clone(&self.rules),
                    trust,
                    HostRule::Ignore,
                    required,
                )))
            }
        };
        let sessions = Sessions::new(self.plan.resumption)?;
        let mut live = LiveServer {
            alpn: Arc::clone(&self.plan.alpn),
            verifier,
            entries: Vec::new(),
            selection: Selection::default(),
        };
        for identity in &self.plan.identities {
            let Some(held) = identity.slot.load() else {
                continue;
            };
            let index = live.entries.len();
            live.selection.enrol(index, &identity.names, held.facts());
            let entry = self.entry(&live, &sessions, &held)?;
            live.entries.push(entry);
        }
        if live.entries.is_empty() {
            let secret = self
                .plan
                .identities
                .first()
                .map_or("", |identity| identity.slot.name());
            return Err(TlsError::NotReady {
                secret: secret.into(),
            });
        }
        live.selection.complete(live.entries.len());
        Ok(live)
    }

    fn entry(
        &self,
        live: &LiveServer,
        sessions: &Sessions,
        identity: &Identity,
    ) -> Result<Entry, TlsError> {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.compiled.provider))
            .with_protocol_versions(&self.compiled.versions)
            .map_err(|error| PlanError::Inconsistent {
                reason: error.to_string(),
            })?;
        let builder = match &live.verifier {
            None => builder.with_no_client_auth(),
            Some(verifier) => {
                let verifier = Arc::clone(verifier);
                builder.with_client_cert_verifier(verifier)
            }
        };
        let resolver = SingleCertAndKey::from(Arc::clone(identity.certified()));
        let mut without_alpn = builder.with_cert_resolver(Arc::new(resolver));
        without_alpn.ignore_client_order = true;
        sessions.apply(&mut without_alpn);
        let mut with_alpn = without_alpn.clone();
        with_alpn.alpn_protocols = self.plan.alpn.names().to_vec();
        Ok(Entry {
            with_alpn: Arc::new(with_alpn),
            without_alpn: Arc::new(without_alpn),
            facts: Arc::clone(identity.facts()),
            key: Arc::clone(identity.certified()),
        })
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ServerTls")
            .field("plan", &self.plan)
            .field("ready", &self.is_ready())
            .finish_non_exhaustive()
    }
}

/// The configurations of one generation of secrets.
struct LiveServer {
    alpn: Arc<AlpnList>,
    verifier: Option<Arc<PeerVerifier>>,
    entries: Vec<Entry>,
    selection: Selection,
}

/// Two configurations a certificate: rustls ends a handshake whose ALPN offer does not overlap, so those clients get one that does not speak ALPN.
struct Entry {
    with_alpn: Arc<ServerConfig>,
    without_alpn: Arc<ServerConfig>,
    facts: Arc<CertificateFacts>,
    key: Arc<CertifiedKey>,
}

impl LiveServer {
    /// Of the certificates for the name that was sent, the best that the client can verify.
    fn choose(&self, sni: Option<&str>, hello: &ClientHello<'_>) -> Option<&Entry> {
        let entry = |index: &usize| self.entries.get(*index);
        let mut best = None;
        let mut any = None;
        for entry in self.selection.candidates(sni).iter().filter_map(entry) {
            any = any.or(Some(entry));
            if !entry.fits(hello) {
                continue;
            }
            // ECDSA is cheaper for both sides; Envoy prefers it too.
            if entry.key.key.algorithm() == SignatureAlgorithm::ECDSA {
                return Some(entry);
            }
            best = best.or(Some(entry));
        }
        // None fits the client: rustls finds the words for that.
        best.or(any)
    }
}

impl Entry {
    /// Whether there is a signature that the client verifies, and a suite that has it: those of TLS 1.2 name the kind of key
    /// (RFC 5246, A.5), and a client may list fewer of them than of signatures. One that lists suites of both versions need
    /// not speak TLS 1.3, so its suites of TLS 1.2 count.
    fn fits(&self, hello: &ClientHello<'_>) -> bool {
        let key = &self.key.key;
        let suites = self.with_alpn.crypto_provider().cipher_suites.iter();
        let listed = |suite: &&SupportedCipherSuite| {
            suite.tls13().is_none() && hello.cipher_suites().contains(&suite.suite())
        };
        let mut listed = suites.filter(listed).peekable();
        key.choose_scheme(hello.signature_schemes()).is_some()
            && (listed.peek().is_none()
                || listed.any(|suite| suite.usable_for_signature_algorithm(key.algorithm())))
    }
}

async fn handshake<S>(live: Arc<LiveServer>, stream: S) -> Result<ServerStream<S>, TlsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let failed = |error| TlsError::from_io(Side::Downstream, error);
    let start = LazyConfigAcceptor::new(Acceptor::default(), stream)
        .await
        .map_err(failed)?;
    let hello = start.client_hello();
    // rustls has validated it as a DNS name.
    let sni: Option<Box<str>> = hello
        .server_name()
        .map(|name| name.to_ascii_lowercase().into());
    let Some(entry) = live.choose(sni.as_deref(), &hello) else {
        // Building refuses to make a server without entries.
        return Err(TlsError::Plan(PlanError::NoIdentity));
    };
    let config = if overlaps(&live.alpn, &hello) {
        &entry.with_alpn
    } else {
        &entry.without_alpn
    };
    let local = Arc::clone(&entry.facts);
    let accepting = start.into_stream_with(Arc::clone(config), |connection| {
        connection.set_buffer_limit(Some(BUFFER_LIMIT))
    });
    let accepted = accepting.await.map_err(failed)?;
    let verifier = live
        .verifier
        .as_deref()
        .map(|verifier| (verifier, Role::Client));
    let negotiated =
        Negotiated::read(accepted.get_ref().1, sni, Some(local), verifier).map_err(|source| {
            TlsError::Refused {
                side: Side::Downstream,
                source,
            }
        })?;
    Ok(ServerStream::new(accepted, negotiated))
}

fn overlaps(ours: &AlpnList, hello: &ClientHello<'_>) -> bool {
    hello
        .alpn()
        .is_some_and(|mut offered| offered.any(|name| ours.holds(name)))
}

/// Where the sessions of one generation are kept.
enum Sessions {
    Tickets(Arc<dyn rustls::server::ProducesTickets>),
    Stored(Arc<ServerSessionMemoryCache>),
    Off,
}

impl Sessions {
    fn new(resumption: Resumption) -> Result<Self, TlsError> {
        Ok(match resumption {
            Resumption::Tickets => {
                Self::Tickets(Arc::new(ticket::rotator().map_err(|source| {
                    TlsError::Handshake {
                        side: Side::Downstream,
                        source,
                    }
                })?))
            }
            Resumption::Stored(size) => Self::Stored(ServerSessionMemoryCache::new(size)),
            Resumption::Off => Self::Off,
        })
    }

    fn apply(&self, config: &mut ServerConfig) {
        match self {
            Self::Tickets(ticketer) => {
                config.ticketer = Arc::clone(ticketer);
                config.session_storage = Arc::new(NoServerSessionStorage {});
                config.send_tls13_tickets = TICKETS;
            }
            Self::Stored(storage) => {
                let storage = Arc::clone(storage);
                config.session_storage = storage;
                config.send_tls13_tickets = TICKETS;
            }
            Self::Off => {
                config.session_storage = Arc::new(NoServerSessionStorage {});
                config.send_tls13_tickets = 0;
            }
        }
    }
}

/// TLS 1.3 tickets a handshake. One: proxies keep one a host, each resumption brings the next, and every ticket costs a sealed chain.
const TICKETS: usize = 1;
