//! What is known about a request or connection when it is judged.

use std::net::{IpAddr, SocketAddr};

use carbyne_engine::forward::{Downstream, Exchange};
use carbyne_engine::http::Request;
use carbyne_engine::tls::CertificateFacts;

use crate::context::{Context, Metadata};

/// Facts of a request, or of a TCP connection where `request` is missing.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The connection.
    pub downstream: &'a Downstream,
    /// The request.
    pub request: Option<&'a Request>,
    /// What other filters found out.
    pub metadata: &'a Metadata,
    /// The client's address as trusted forwarding fields tell it.
    pub remote: Option<IpAddr>,
}

impl<'a> Facts<'a> {
    /// Facts of a request.
    pub fn request(exchange: &'a Exchange<Context>) -> Self {
        Self {
            downstream: &exchange.downstream,
            request: Some(&exchange.request),
            metadata: &exchange.context.metadata,
            remote: exchange.context.client,
        }
    }

    /// Facts of a TCP connection.
    pub const fn connection(downstream: &'a Downstream, metadata: &'a Metadata) -> Self {
        Self {
            downstream,
            request: None,
            metadata,
            remote: None,
        }
    }

    /// Where the client meant to go: the original destination where traffic is intercepted.
    pub(super) fn destination(&self) -> Option<SocketAddr> {
        self.downstream.local.socket()
    }

    /// The client's address, as trusted forwarding fields or the connection tell it.
    pub(super) fn remote(&self) -> Option<IpAddr> {
        self.remote.or_else(|| self.source())
    }

    /// The connection's other end, as PROXY protocol may have told it.
    pub(super) fn source(&self) -> Option<IpAddr> {
        self.downstream.remote.socket().map(|address| address.ip())
    }

    /// The connection's other end as the kernel sees it.
    pub(super) fn direct_source(&self) -> Option<IpAddr> {
        self.downstream
            .direct_remote
            .socket()
            .map(|address| address.ip())
    }

    /// The server name that the client asked for; empty without.
    pub(super) fn server_name(&self) -> &'a str {
        self.downstream.server_name.as_deref().unwrap_or_default()
    }

    /// The client's certificate, and whether it satisfied the rules of its listener. `None` without TLS.
    pub(super) fn peer(&self) -> Option<(Option<&'a CertificateFacts>, bool)> {
        let tls = self.downstream.tls.as_deref()?;
        Some((tls.peer.as_deref(), tls.peer_verified))
    }
}
