//! Who the client is: the address of the connection, or the one that a trusted proxy tells.

use std::net::{IpAddr, Ipv4Addr};

use carbyne_engine::forward::Downstream;
use carbyne_engine::http::Headers;

use super::settings::{RealIp, Settings};

/// What is known of a request's client before anything else.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The connection's own.
    pub direct: IpAddr,
    /// The client's, by what trusted proxies tell.
    pub client: IpAddr,
    pub client_port: u16,
    /// Whether the peer may say where requests come from.
    pub trusted: bool,
    pub secure: bool,
    /// The port that the client connected to, as `port_maps` has it.
    pub port: u16,
}

impl Default for Arrival {
    fn default() -> Self {
        let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self {
            direct: nowhere,
            client: nowhere,
            client_port: 0,
            trusted: false,
            secure: false,
            port: 0,
        }
    }
}

impl Arrival {
    /// Settles it for one request.
    pub fn of(downstream: &Downstream, headers: &Headers, settings: &Settings) -> Self {
        let unspecified = (IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        let end = |address: &carbyne_engine::net::Address| {
            address.socket().map_or(unspecified, |socket| {
                (socket.ip().to_canonical(), socket.port())
            })
        };
        let (peer, peer_port) = end(&downstream.direct_remote);
        let (told, told_port) = end(&downstream.remote);
        let (_, port) = end(&downstream.local);
        let trusted = settings.trusts(peer);
        let mut arrival = Self {
            direct: peer,
            client: peer,
            client_port: peer_port,
            trusted,
            secure: downstream.tls.is_some(),
            port: settings.mapped_port(port),
        };
        if !trusted {
            return arrival;
        }
        match &settings.real_ip {
            RealIp::ProxyProtocol => (arrival.client, arrival.client_port) = (told, told_port),
            RealIp::Header(name) => {
                let value = headers
                    .all(name)
                    .last()
                    .and_then(|value| value.to_str().ok());
                if let Some(client) = value.and_then(|value| settings.told_by(value)) {
                    arrival.client = client;
                    arrival.client_port = 0;
                }
            }
        }
        arrival
    }

    pub const fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }
}
