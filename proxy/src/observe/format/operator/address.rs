//! Addresses of both connections.

use carbyne_engine::net::Address;
use carbyne_engine::net::address::IpText;

use super::{Operator, number, put};
use crate::observe::facts::Facts;

/// Whose address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Whose {
    DownstreamLocal,
    DownstreamRemote,
    DownstreamDirectRemote,
    UpstreamLocal,
    UpstreamRemote,
}

/// How much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Portion {
    Whole,
    WithoutPort,
    Port,
}

impl Whose {
    fn with<T>(self, facts: &Facts<'_>, then: impl FnOnce(&Address) -> T) -> Option<T> {
        match self {
            Self::DownstreamLocal => Some(then(&facts.downstream?.local)),
            Self::DownstreamRemote => Some(then(&facts.remote()?)),
            Self::DownstreamDirectRemote => Some(then(&facts.downstream?.direct_remote)),
            Self::UpstreamLocal => Some(then(facts.upstream?.local.as_ref()?)),
            Self::UpstreamRemote => {
                let upstream = facts.upstream?;
                let address = &upstream.host.as_ref()?.address;
                // A host that was not reached is no peer; a Unix socket has no local address.
                let reached = upstream.local.is_some() || matches!(address, Address::Unix(_));
                reached.then(|| then(address))
            }
        }
    }

    pub(super) fn write(self, portion: Portion, facts: &Facts<'_>, out: &mut Vec<u8>) -> bool {
        self.with(facts, |address| write_address(address, portion, out))
            .unwrap_or(false)
    }
}

/// `DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT` and its like.
pub(super) fn address(name: &str) -> Option<Operator> {
    let (stem, portion) = if let Some(stem) = name.strip_suffix("_ADDRESS_WITHOUT_PORT") {
        (stem, Portion::WithoutPort)
    } else if let Some(stem) = name.strip_suffix("_ADDRESS") {
        (stem, Portion::Whole)
    } else {
        (name.strip_suffix("_PORT")?, Portion::Port)
    };
    let whose = match stem {
        // Interception by redirect leaves no other local address than the original one.
        "DOWNSTREAM_LOCAL" | "DOWNSTREAM_DIRECT_LOCAL" => Whose::DownstreamLocal,
        "DOWNSTREAM_REMOTE" => Whose::DownstreamRemote,
        "DOWNSTREAM_DIRECT_REMOTE" => Whose::DownstreamDirectRemote,
        "UPSTREAM_LOCAL" => Whose::UpstreamLocal,
        "UPSTREAM_REMOTE" => Whose::UpstreamRemote,
        _ => return None,
    };
    Some(Operator::Address(whose, portion))
}

/// Appends an address or a part of it; a Unix socket has no port, and its path is the rest.
fn write_address(address: &Address, portion: Portion, out: &mut Vec<u8>) -> bool {
    use std::io::Write;
    let socket = match address {
        Address::Tcp(socket) => socket,
        Address::Unix(_) if portion == Portion::Port => return false,
        // Writing to memory does not fail.
        Address::Unix(_) => return write!(out, "{address}").is_ok(),
    };
    let ip = IpText::of(socket.ip());
    match portion {
        Portion::Port => number(out, socket.port()),
        Portion::WithoutPort => put(out, ip.as_bytes()),
        Portion::Whole if socket.is_ipv6() => write!(out, "{socket}").is_ok(),
        Portion::Whole => {
            out.extend_from_slice(ip.as_bytes());
            out.push(b':');
            number(out, socket.port())
        }
    }
}
