//! Hosts with and without ports, as Kong reads them.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A host, and the port if one was given.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Address {
    pub host: Host,
    pub port: Option<u16>,
}

/// What a host is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Host {
    Name(String),
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

/// Why a text is no address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum AddressError {
    Invalid,
    /// The host may be one; the port is none.
    Port,
}

impl AddressError {
    /// The error in Kong's words.
    pub(super) fn text(&self, address: &str) -> String {
        match self {
            Self::Port => "invalid port number".into(),
            Self::Invalid => match kind(address) {
                Guess::V4 => format!("invalid ipv4 address: {address}"),
                Guess::V6 => format!("invalid ipv6 address: {address}"),
                Guess::Name => format!("invalid hostname: {address}"),
            },
        }
    }
}

enum Guess {
    Name,
    V4,
    V6,
}

/// More than one colon: IPv6. Digits and dots: IPv4. Everything else: a name.
fn kind(text: &str) -> Guess {
    if text.matches(':').count() > 1 {
        Guess::V6
    } else if !text.is_empty()
        && text
            .bytes()
            .filter(|byte| *byte != b':')
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        Guess::V4
    } else {
        Guess::Name
    }
}

impl Address {
    /// Reads `name`, `name:port`, `1.2.3.4`, `1.2.3.4:port`, `::1`, `[::1]` or `[::1]:port`.
    pub(super) fn parse(text: &str) -> Result<Self, AddressError> {
        match kind(text) {
            Guess::V4 => v4(text),
            Guess::V6 => v6(text),
            Guess::Name => name(text),
        }
    }

    /// The address as targets are stored: with a port, IPv6 in full and in brackets.
    pub fn target(text: &str) -> Option<String> {
        /// The port of a target that names none.
        const DEFAULT_PORT: u16 = 8000;
        let address = Self::parse(text).ok()?;
        let port = address.port.unwrap_or(DEFAULT_PORT);
        Some(match address.host {
            Host::Name(name) => format!("{name}:{port}"),
            Host::V4(ip) => format!("{ip}:{port}"),
            Host::V6(ip) => {
                let groups: Vec<_> = ip
                    .segments()
                    .iter()
                    .map(|group| format!("{group:04x}"))
                    .collect();
                format!("[{}]:{port}", groups.join(":"))
            }
        })
    }
}

fn port(text: &str) -> Result<u16, AddressError> {
    text.parse().map_err(|_| AddressError::Port)
}

fn v4(text: &str) -> Result<Address, AddressError> {
    let (host, after) = match text.split_once(':') {
        Some((host, after)) => (host, Some(after)),
        None => (text, None),
    };
    let mut octets = [0; 4];
    let mut parts = host.split('.');
    for octet in &mut octets {
        let part = parts
            .next()
            .filter(|part| (1..=3).contains(&part.len()))
            .ok_or(AddressError::Invalid)?;
        *octet = part.parse().map_err(|_| AddressError::Invalid)?;
    }
    if parts.next().is_some() || after == Some("") {
        return Err(AddressError::Invalid);
    }
    Ok(Address {
        host: Host::V4(octets.into()),
        port: after.map(port).transpose()?,
    })
}

fn v6(text: &str) -> Result<Address, AddressError> {
    let (host, after) = match text.strip_prefix('[') {
        None => (text, None),
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or(AddressError::Invalid)?;
            let after = match after {
                "" => None,
                after => Some(after.strip_prefix(':').ok_or(AddressError::Invalid)?),
            };
            (host, after)
        }
    };
    let ip = host.parse().map_err(|_| AddressError::Invalid)?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match after {
        Some(after) if !digits(after) => Err(AddressError::Invalid),
        after => Ok(Address {
            host: Host::V6(ip),
            port: after.map(port).transpose()?,
        }),
    }
}

fn name(text: &str) -> Result<Address, AddressError> {
    let (host, after) = match text.rsplit_once(':') {
        Some((host, after))
            if !after.is_empty() && after.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            (host, Some(port(after)?))
        }
        _ => (text, None),
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if host.is_empty() || !host.bytes().all(allowed) {
        return Err(AddressError::Invalid);
    }
    // A fully qualified name ends in a dot; no other label is empty, and none ends in a dash.
    let labels: Vec<_> = host.split('.').collect();
    let last = labels.len() - 1;
    let sound = |(index, label): (usize, &&str)| {
        !label.ends_with('-') && (!label.is_empty() || index == last)
    };
    if !labels.iter().enumerate().all(sound) {
        return Err(AddressError::Invalid);
    }
    Ok(Address {
        host: Host::Name(host.into()),
        port: after,
    })
}

/// An IP address, or a range such as `10.0.0.0/8`.
pub(super) fn is_ip_or_cidr(text: &str) -> bool {
    match text.split_once('/') {
        None => is_ip(text),
        Some((ip, bits)) => {
            let bits = bits.parse::<u8>().ok();
            let limit = if ip.parse::<Ipv4Addr>().is_ok() {
                Some(32)
            } else {
                ip.parse::<Ipv6Addr>().ok().map(|_| 128)
            };
            bits.zip(limit).is_some_and(|(bits, limit)| bits <= limit)
        }
    }
}

pub(super) fn is_ip(text: &str) -> bool {
    text.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_normalised() {
        for (given, stored) in [
            ("example.com", Some("example.com:8000")),
            ("example.com:1", Some("example.com:1")),
            ("001.2.3.4", Some("1.2.3.4:8000")),
            ("1.2.3.4:99", Some("1.2.3.4:99")),
            (
                "::1",
                Some("[0000:0000:0000:0000:0000:0000:0000:0001]:8000"),
            ),
            (
                "[::1]:80",
                Some("[0000:0000:0000:0000:0000:0000:0000:0001]:80"),
            ),
            ("1.2.3", None),
            ("1.2.3.4:99999", None),
            ("-.com-", None),
            ("a..b", None),
            ("a b", None),
            ("[::1]x", None),
        ] {
            assert_eq!(Address::target(given).as_deref(), stored, "{given}");
        }
    }

    #[test]
    fn ranges_have_bits_that_fit() {
        for text in ["1.2.3.4", "10.0.0.0/8", "::1", "fe80::/10"] {
            assert!(is_ip_or_cidr(text), "{text}");
        }
        for text in ["1.2.3.4/33", "::/129", "a/8", "1.2.3.4/", "1.2.3.4/x"] {
            assert!(!is_ip_or_cidr(text), "{text}");
        }
    }
}
