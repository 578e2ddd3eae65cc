//! The encrypted stream, and what the handshake agreed on.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::{CommonState, HandshakeKind};
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::certificate::{self, CertificateFacts};
use super::error::PeerRejection;
use super::parameters::{Version, suite_name};
use super::verify::{PeerVerifier, Role};

/// What a finished handshake established. Filters, logs and metrics read it; it never changes during the connection.
#[derive(Debug)]
pub struct Negotiated {
    /// The agreed protocol name; none where the extension was not used or nothing overlapped.
    pub alpn: Option<Box<[u8]>>,
    /// The server name that was sent, in lower case.
    pub sni: Option<Box<str>>,
    /// Protocol version.
    pub version: Version,
    /// Cipher suite by its OpenSSL name.
    pub cipher: &'static str,
    /// Whether an earlier session was resumed. The peer's certificate is then the one of that session.
    pub resumed: bool,
    /// The peer's leaf certificate. Whoever grants something for a name in it must ask `peer_verified` too.
    pub peer: Option<Arc<CertificateFacts>>,
    /// Whether the peer's certificate satisfied the rules: false where there were none, or where failure is tolerated and occurred.
    pub peer_verified: bool,
    /// Our own leaf certificate, where we showed one.
    pub local: Option<Arc<CertificateFacts>>,
}

/// An accepted connection.
#[derive(Debug)]
pub struct ServerStream<S> {
    inner: tokio_rustls::server::TlsStream<S>,
    negotiated: Arc<Negotiated>,
}

/// An opened connection.
#[derive(Debug)]
pub struct ClientStream<S> {
    inner: tokio_rustls::client::TlsStream<S>,
    negotiated: Arc<Negotiated>,
}

impl Negotiated {
    /// Whom the peer's certificate is for, where it was verified: its first URI, else its first DNS name.
    pub fn principal(&self) -> Option<&str> {
        let peer = self.peer.as_deref().filter(|_| self.peer_verified)?;
        let name = peer.uri_sans.first().or_else(|| peer.dns_sans.first());
        name.map(|name| &**name)
    }

    /// Collects the facts, and judges again what a resumed session lets pass unseen.
    pub(super) fn read(
        connection: &CommonState,
        sni: Option<Box<str>>,
        local: Option<Arc<CertificateFacts>>,
        verifier: Option<(&PeerVerifier, Role)>,
    ) -> Result<Self, PeerRejection> {
        let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        let chain: &[CertificateDer<'_>] = connection.peer_certificates().unwrap_or_default();
        let excused = verifier
            .is_none_or(|(verifier, _)| verifier.accepts_untrusted() || verifier.asks_nothing());
        let peer = match chain.first().map(CertificateFacts::shared) {
            None => None,
            Some(Ok(facts)) => Some(facts),
            // Nobody asked what is in it.
            Some(Err(_)) if excused => None,
            Some(Err(rejection)) => return Err(rejection),
        };
        let peer_verified = match (&peer, verifier) {
            (None, _) | (_, None) => false,
            (Some(_), Some((verifier, role))) if excused => verifier.admits(chain, role),
            (Some(facts), Some(_)) => {
                if resumed && !facts.is_valid_at(certificate::now()) {
                    return Err(PeerRejection::ResumedOutsideValidity);
                }
                true
            }
        };
        Ok(Self {
            alpn: connection.alpn_protocol().map(Into::into),
            sni,
            version: Version::negotiated(connection.protocol_version()),
            cipher: connection
                .negotiated_cipher_suite()
                .map_or("unknown", |suite| suite_name(suite.suite())),
            resumed,
            peer,
            peer_verified,
            local,
        })
    }
}

impl<S> ServerStream<S> {
    pub(super) fn new(inner: tokio_rustls::server::TlsStream<S>, negotiated: Negotiated) -> Self {
        Self {
            inner,
            negotiated: Arc::new(negotiated),
        }
    }

    /// What the handshake agreed on.
    pub fn negotiated(&self) -> &Arc<Negotiated> {
        &self.negotiated
    }

    /// The transport below.
    pub fn transport(&self) -> &S {
        self.inner.get_ref().0
    }
}

impl<S> ClientStream<S> {
    pub(super) fn new(inner: tokio_rustls::client::TlsStream<S>, negotiated: Negotiated) -> Self {
        Self {
            inner,
            negotiated: Arc::new(negotiated),
        }
    }

    /// What the handshake agreed on.
    pub fn negotiated(&self) -> &Arc<Negotiated> {
        &self.negotiated
    }

    /// The transport below.
    pub fn transport(&self) -> &S {
        self.inner.get_ref().0
    }
}

macro_rules! forward_io {
    ($stream:ident) => {
        impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for $stream<S> {
            fn poll_read(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                Pin::new(&mut self.inner).poll_read(context, buffer)
            }
        }

        impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for $stream<S> {
            fn poll_write(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.inner).poll_write(context, bytes)
            }

            fn poll_write_vectored(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
                slices: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.inner).poll_write_vectored(context, slices)
            }

            fn is_write_vectored(&self) -> bool {
                self.inner.is_write_vectored()
            }

            fn poll_flush(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<io::Result<()>> {
                Pin::new(&mut self.inner).poll_flush(context)
            }

            fn poll_shutdown(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<io::Result<()>> {
                Pin::new(&mut self.inner).poll_shutdown(context)
            }
        }
    };
}

forward_io!(ServerStream);
forward_io!(ClientStream);

/// Most plaintext and ciphertext that rustls may hold for a peer that does not read, in bytes: two records.
pub(super) const BUFFER_LIMIT: usize = 32 << 10;
