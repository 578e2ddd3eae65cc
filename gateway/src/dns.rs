//! Names to addresses, as Kong's client resolves them: in the order of types that kong.conf says, with the search list of resolv.conf, with
//! times to live, and with stale answers while a name server is away.
//!
//! | file | what it holds |
//! |---|---|
//! | [`settings`] | `dns_*` of kong.conf, resolv.conf, the hosts file |
//! | [`client`] | one question to the name servers, over UDP and TCP |
//! | [`resolver`] | names, types and the cache |

pub mod client;
pub mod resolver;
pub mod settings;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

pub use self::resolver::Resolver;
pub use self::settings::Settings;

/// What a name resolved to.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// At least one, all of one kind, in the server's order.
    pub records: Arc<[Record]>,
    pub kind: Kind,
    /// When it has to be asked again.
    pub expires: Instant,
    /// The server wants to be asked each time.
    pub is_momentary: bool,
}

/// One record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Record {
    Address(IpAddr),
    Service {
        priority: u16,
        weight: u16,
        /// Zero leaves it to who asks.
        port: u16,
        host: Arc<str>,
    },
}

/// A kind of record.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    A,
    Aaaa,
    Srv,
}

/// Why a name has no answer, in Kong's words.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DnsError {
    /// There is the name, but nothing of these types.
    #[error("dns client error: 101 empty record received")]
    Empty,
    #[error("dns server error: 3 name error")]
    Name,
    /// No server answered.
    #[error("failed to receive reply from the name servers: {0}")]
    Silence(String),
    #[error("dns server error: {code} {text}")]
    Server { code: u16, text: &'static str },
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Srv => "SRV",
        })
    }
}

/// An address as Kong writes what it resolved: IPv6 in brackets, every group without leading zeros.
pub fn text_of(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let groups = address.segments().map(|group| format!("{group:x}"));
            format!("[{}]", groups.join(":"))
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
