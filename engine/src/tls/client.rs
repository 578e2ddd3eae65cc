//! Opening TLS: a plan, the configurations built from it for the secrets of the moment, and the handshake.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ClientConnection};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::error::{PlanError, Side, TlsError};
use super::identity::{Identity, IdentitySlot};
use super::live::{Live, Stamps};
use super::parameters::{AlpnList, Compiled, TlsParameters};
use super::stream::{BUFFER_LIMIT, ClientStream, Negotiated};
use super::trust::Trust;
use super::verify::{HostRule, PeerRules, PeerVerifier, Role};

/// How a cluster wants to speak TLS to its endpoints.
#[derive(Clone, Debug)]
pub struct ClientTlsPlan {
    /// The certificate to show when asked; none for one-sided TLS.
    pub identity: Option<Arc<IdentitySlot>>,
    /// What the server's certificate must be.
    pub peer: PeerRules,
    /// Whether the server's certificate must also be good for the host name (the override's `verify_name`, else the name sent).
    pub verifies_host: bool,
    /// The server name to send where no override says another; none: no SNI.
    pub sni: Option<Box<str>>,
    /// Protocols to offer where no override says others.
    pub alpn: Arc<AlpnList>,
    /// Versions, suites, groups.
    pub parameters: TlsParameters,
    /// How many server names sessions are kept for, at most 8 a name; 0: never resume.
    pub resumed_names: usize,
}

/// What one connection wants otherwise than the plan.
#[derive(Clone, Copy, Debug, Default)]
pub struct Overrides<'a> {
    /// The server name to send; empty: none.
    pub sni: Option<&'a str>,
    /// The protocols to offer.
    pub alpn: Option<&'a AlpnList>,
    /// A name the certificate must be good for, whether or not the plan asks (`auto_san_validation`).
    pub verify_name: Option<&'a str>,
}

/// A client's TLS: plan, and what is built from it as secrets come and go.
pub struct ClientTls {
    plan: ClientTlsPlan,
    rules: Arc<PeerRules>,
    compiled: Compiled,
    live: Live<LiveClient>,
}

impl ClientTls {
    /// Refuses what cannot work whatever the secrets are.
    pub fn new(plan: ClientTlsPlan) -> Result<Self, PlanError> {
        plan.peer.validate(plan.verifies_host)?;
        let compiled = plan.parameters.compile()?;
        Ok(Self {
            rules: Arc::new(plan.peer.clone()),
            plan,
            compiled,
            live: Live::new(),
        })
    }

    /// The plan as given.
    pub fn plan(&self) -> &ClientTlsPlan {
        &self.plan
    }

    /// Whether every secret has come.
    pub fn is_ready(&self) -> bool {
        self.plan
            .peer
            .trust
            .as_ref()
            .is_none_or(|slot| slot.is_ready())
            && self
                .plan
                .identity
                .as_ref()
                .is_none_or(|slot| slot.is_ready())
    }

    /// Waits for every secret: the moment at which a warming cluster may take over.
    pub async fn ready(&self) {
        if let Some(slot) = &self.plan.peer.trust {
            slot.ready().await;
        }
        if let Some(slot) = &self.plan.identity {
            slot.ready().await;
        }
    }

    /// Shakes hands with a server. There is no limit in time here: the connect timeout of the cluster covers TCP and TLS together.
    pub async fn connect<S>(
        &self,
        stream: S,
        overrides: Overrides<'_>,
    ) -> Result<ClientStream<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let live = self.live.obtain(|| self.stamps(), || self.build())?;
        let Target {
            config,
            name,
            verifier,
            sni,
        } = self.target(&live, overrides)?;
        let alpn = overrides.alpn.unwrap_or(&self.plan.alpn).names().to_vec();
        let limit =
            |connection: &mut ClientConnection| connection.set_buffer_limit(Some(BUFFER_LIMIT));
        let connecting = TlsConnector::from(config)
            .with_alpn(alpn)
            .connect_with(name, stream, limit);
        let connected = connecting
            .await
            .map_err(|error| TlsError::from_io(Side::Upstream, error))?;
        let local = live
            .identity
            .as_ref()
            .map(|identity| Arc::clone(identity.facts()));
        match Negotiated::read(
            connected.get_ref().1,
            sni,
            local,
            Some((&verifier, Role::Server)),
        ) {
            Ok(negotiated) => Ok(ClientStream::new(connected, negotiated)),
            Err(source) => {
                // The session that brought it here must not be tried again.
                self.live.forget();
                Err(TlsError::Refused {
                    side: Side::Upstream,
                    source,
                })
            }
        }
    }

    fn stamps(&self) -> Stamps {
        let identity = self
            .plan
            .identity
            .as_ref()
            .map_or(0, |slot| slot.generation());
        [identity, self.plan.peer.generation()]
            .into_iter()
            .collect()
    }

    fn build(&self) -> Result<LiveClient, TlsError> {
        let trust = self.rules.current_trust()?;
        let identity = match &self.plan.identity {
            None => None,
            Some(slot) => Some(slot.load().ok_or_else(|| TlsError::NotReady {
                secret: slot.name().into(),
            })?),
        };
        let plain = self.variant(HostRule::Ignore, trust.clone(), identity.as_deref())?;
        Ok(LiveClient {
            trust,
            identity,
            plain,
            host: OnceLock::new(),
        })
    }

    fn host_variant<'a>(&self, live: &'a LiveClient) -> Result<&'a Variant, TlsError> {
        if let Some(variant) = live.host.get() {
            return Ok(variant);
        }
        let variant = self.variant(
            HostRule::AsSent,
            live.trust.clone(),
            live.identity.as_deref(),
        )?;
        Ok(live.host.get_or_init(|| variant))
    }

    fn variant(
        &self,
        host: HostRule,
        trust: Option<Arc<Trust>>,
        identity: Option<&Identity>,
    ) -> Result<Variant, TlsError> {
        let verifier = Arc::new(PeerVerifier::new(
            Arc::clone(&self.rules),
            trust,
            host,
            true,
        ));
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.compiled.provider))
            .with_protocol_versions(&self.compiled.versions)
            .map_err(|error| PlanError::Inconsistent {
                reason: error.to_string(),
            })?
            .dangerous()
            .with_custom_certificate_verifier(Arc::<PeerVerifier>::clone(&verifier));
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            // Shown whatever authorities the server names: Envoy does not look at its hints either.
            Some(held) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(
                Arc::clone(held.certified()),
            ))),
        };
        // BoringSSL goes on when the server selects what was not offered, and so must we; the caller decides by what was selected.
        config.check_selected_alpn = false;
        config.resumption = match self.plan.resumed_names {
            0 => Resumption::disabled(),
            names => Resumption::in_memory_sessions(names.saturating_mul(SESSIONS_PER_NAME)),
        };
        let mut nameless = config.clone();
        nameless.enable_sni = false;
        Ok(Variant {
            verifier,
            named: Arc::new(config),
            nameless: Arc::new(nameless),
        })
    }

    /// Which configuration and name suit what is to be sent and what is to be verified.
    fn target(&self, live: &LiveClient, overrides: Overrides<'_>) -> Result<Target, TlsError> {
        let sni = overrides
            .sni
            .or(self.plan.sni.as_deref())
            .filter(|name| !name.is_empty())
            .map(server_name)
            .transpose()?;
        let verified = match overrides.verify_name.filter(|name| !name.is_empty()) {
            Some(name) => Some(server_name(name)?),
            None if !self.plan.verifies_host => None,
            None => Some(
                sni.clone()
                    .ok_or_else(|| TlsError::ServerName { name: "".into() })?,
            ),
        };
        let sent = match &sni {
            Some(ServerName::DnsName(name)) => {
                Some(name.as_ref().to_ascii_lowercase().into_boxed_str())
            }
            _ => None,
        };
        let variant = if verified.is_some() {
            self.host_variant(live)?
        } else {
            &live.plain
        };
        let (config, name) = match (sni, verified) {
            // Sessions are kept by name; without one they all belong to this cluster.
            (None, None) => (
                &variant.nameless,
                ServerName::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST).into()),
            ),
            (None, Some(verified)) => (&variant.nameless, verified),
            (Some(sni), None) => (&variant.named, sni),
            (Some(sni), Some(verified)) if sni == verified => (&variant.named, sni),
            (Some(sni), Some(verified)) => {
                return Ok(self.unusual(variant, live.trust.clone(), sni, sent, verified));
            }
        };
        Ok(Target {
            config: Arc::clone(config),
            name,
            verifier: Arc::clone(&variant.verifier),
            sni: sent,
        })
    }

    /// One name sent, another verified: rustls knows only one, so this connection gets a verifier of its own and never resumes, since sessions
    /// would be found by the name that was sent and not by the one that was verified.
    fn unusual(
        &self,
        variant: &Variant,
        trust: Option<Arc<Trust>>,
        name: ServerName<'static>,
        sni: Option<Box<str>>,
        verified: ServerName<'static>,
    ) -> Target {
        let verifier = Arc::new(PeerVerifier::new(
            Arc::clone(&self.rules),
            trust,
            HostRule::Fixed(verified),
            true,
        ));
        let mut config = ClientConfig::clone(&variant.named);
        config
            .dangerous()
            .set_certificate_verifier(Arc::<PeerVerifier>::clone(&verifier));
        config.resumption = Resumption::disabled();
        Target {
            config: Arc::new(config),
            name,
            verifier,
            sni,
        }
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ClientTls")
            .field("plan", &self.plan)
            .field("ready", &self.is_ready())
            .finish_non_exhaustive()
    }
}

/// The configurations of one generation of secrets. ALPN needs none of its own: it is given with each connection.
struct LiveClient {
    trust: Option<Arc<Trust>>,
    identity: Option<Arc<Identity>>,
    plain: Variant,
    /// With the host name verified. Made when first wanted: in a mesh it never is.
    host: OnceLock<Variant>,
}

/// With and without SNI; both under one verifier, so that they judge alike.
struct Variant {
    verifier: Arc<PeerVerifier>,
    named: Arc<ClientConfig>,
    nameless: Arc<ClientConfig>,
}

struct Target {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    verifier: Arc<PeerVerifier>,
    sni: Option<Box<str>>,
}

/// A DNS name without its final dot (RFC 6066 section 3), or an IP address, which is verified but never sent.
fn server_name(text: &str) -> Result<ServerName<'static>, TlsError> {
    let bare = text.strip_suffix('.').unwrap_or(text);
    let bare = bare
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .unwrap_or(bare);
    ServerName::try_from(bare)
        .map(|name| name.to_owned())
        .map_err(|_| TlsError::ServerName { name: text.into() })
}

/// rustls keeps this many TLS 1.3 tickets for a name.
const SESSIONS_PER_NAME: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    /// What no rustls server would do, but others may: select a protocol that was not offered. BoringSSL goes on.
    #[test]
    fn a_selection_that_was_not_offered_is_let_pass() {
        let plan = ClientTlsPlan {
            identity: None,
            peer: PeerRules::default(),
            verifies_host: false,
            sni: None,
            alpn: Arc::default(),
            parameters: TlsParameters::default(),
            resumed_names: 0,
        };
        let client = ClientTls::new(plan).unwrap();
        let live = client.build().unwrap();
        for config in [&live.plain.named, &live.plain.nameless] {
            assert!(!config.check_selected_alpn);
        }
        assert!(live.plain.named.enable_sni && !live.plain.nameless.enable_sni);
    }
}
