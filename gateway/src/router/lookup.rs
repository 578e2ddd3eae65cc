//! What the router is asked.

use std::net::{IpAddr, SocketAddr};

use carbyne_engine::http::Headers;
use http::Method;

/// A request or a connection that looks for its route. Nothing is copied.
#[derive(Clone, Copy, Debug)]
pub struct Lookup<'a> {
    pub protocol: Protocol,
    /// The name in the ClientHello: lower-case.
    pub sni: Option<&'a str>,
    /// After PROXY protocol and trusted headers.
    pub source: SocketAddr,
    /// The address that the client meant.
    pub destination: SocketAddr,
    /// Of requests only.
    pub http: Option<Http<'a>>,
}

/// The request.
#[derive(Clone, Copy, Debug)]
pub struct Http<'a> {
    pub method: &'a Method,
    /// The canonical host: lower-case, without port.
    pub host: &'a [u8],
    /// The port in the request's authority; the connection's otherwise.
    pub port: Option<u16>,
    /// As [`super::uri::normalize`] makes it, without query.
    pub path: &'a [u8],
    pub query: Option<&'a [u8]>,
    pub headers: &'a Headers,
    /// `host`, which `headers` does not hold.
    pub authority: &'a [u8],
}

/// What is spoken on the connection. Kong calls a stream `tls` where its client named a server,
/// and `tcp` otherwise.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Protocol {
    Http,
    Https,
    Tcp,
    Tls,
    Udp,
}

impl Protocol {
    pub const ALL: [Self; 5] = [Self::Http, Self::Https, Self::Tcp, Self::Tls, Self::Udp];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Udp => "udp",
        }
    }

    pub const fn is_stream(self) -> bool {
        matches!(self, Self::Tcp | Self::Tls | Self::Udp)
    }
}

impl Lookup<'_> {
    /// The address that sources are compared with.
    pub(super) fn source_ip(&self) -> IpAddr {
        self.source.ip().to_canonical()
    }

    pub(super) fn destination_ip(&self) -> IpAddr {
        self.destination.ip().to_canonical()
    }

    pub(super) fn destination_port(&self) -> u16 {
        self.http
            .and_then(|http| http.port)
            .unwrap_or_else(|| self.destination.port())
    }
}
