//! Where a socket listens or connects to.

use std::fmt;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

/// A TCP address or the path of a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// IP address and port.
    Tcp(SocketAddr),
    /// Path of a Unix stream socket.
    Unix(Arc<Path>),
}

impl Address {
    /// A Unix socket's address.
    pub fn unix(path: impl AsRef<Path>) -> Self {
        Self::Unix(Arc::from(path.as_ref()))
    }

    /// The IP address and port, for TCP.
    pub const fn socket(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

/// An IP address as text: what its `Display` writes, at a tenth of the cost. Logs and `x-forwarded-for` have one for every request.
#[derive(Clone, Copy, Debug)]
pub struct IpText {
    bytes: [u8; LONGEST],
    length: u8,
}

impl IpText {
    /// The text of `address`.
    pub fn of(address: IpAddr) -> Self {
        let mut bytes = [0; LONGEST];
        let length = match address {
            IpAddr::V4(address) => {
                let mut length = 0;
                for (index, octet) in address.octets().into_iter().enumerate() {
                    if index > 0 {
                        bytes[length] = b'.';
                        length += 1;
                    }
                    for (least, power) in [(100, 100), (10, 10), (0, 1)] {
                        if octet >= least {
                            bytes[length] = b'0' + octet / power % 10;
                            length += 1;
                        }
                    }
                }
                length
            }
            IpAddr::V6(address) => {
                let mut rest = &mut bytes[..];
                // The longest one fits.
                drop(write!(rest, "{address}"));
                LONGEST - rest.len()
            }
        };
        Self {
            bytes,
            length: u8::try_from(length).unwrap_or(0),
        }
    }

    /// Its bytes, all of them ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// Eight groups and an IPv4 tail.
const LONGEST: usize = 45;

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

/// `ip:port`, or the path: the form of Envoy's `%UPSTREAM_HOST%`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_what_display_writes() {
        let cases = [
            "0.0.0.0",
            "10.20.30.4",
            "127.0.0.1",
            "255.199.100.99",
            "9.10.99.101",
            "::",
            "::1",
            "fe80::1:2",
            "::ffff:10.0.0.255",
            "1111:2222:3333:4444:5555:6666:7777:8888",
        ];
        for case in cases {
            let address: IpAddr = case.parse().unwrap();
            assert_eq!(IpText::of(address).as_bytes(), case.as_bytes());
            assert_eq!(address.to_string(), case);
        }
    }
}
