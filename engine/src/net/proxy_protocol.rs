//! PROXY protocol, versions 1 and 2 (haproxy's `proxy-protocol.txt`), sans-io: what a load balancer writes before the client's first byte.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// They may become a header.
    NeedMore,
    /// No header begins so.
    Absent,
    /// A header begins so, and it is broken, or of a family that a TCP connection cannot have.
    Malformed(Version),
    /// A whole header.
    Header(Header),
}

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which version.
    pub version: Version,
    /// Bytes of it, extensions included.
    pub length: usize,
    /// Client and the address it dialled; `None` where the load balancer speaks for itself (`LOCAL`, `UNKNOWN`): the connection's own hold.
    pub addresses: Option<Addresses>,
}

/// The addresses in a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// What it dialled.
    pub destination: SocketAddr,
}

/// Version of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// What a connection begins with, once it is known; `None` where it ended before. Everything that was read is in `read`.
pub async fn read<S: AsyncRead + Unpin>(stream: &mut S, read: &mut BytesMut) -> Option<Parsed> {
    loop {
        match parse(read) {
            Parsed::NeedMore => {}
            known => return Some(known),
        }
        read.reserve(256);
        match stream.read_buf(read).await {
            Ok(1..) => {}
            _ => return None,
        }
    }
}

/// Looks at what has come so far.
#[must_use]
pub fn parse(bytes: &[u8]) -> Parsed {
    let begins = |signature: &[u8]| {
        let known = bytes.len().min(signature.len());
        bytes[..known] == signature[..known]
    };
    if begins(V2_SIGNATURE) {
        parse_v2(bytes)
    } else if begins(V1_SIGNATURE) {
        parse_v1(bytes)
    } else {
        Parsed::Absent
    }
}

fn parse_v1(bytes: &[u8]) -> Parsed {
    let Some(end) = memchr::memmem::find(&bytes[..bytes.len().min(V1_MOST)], b"\r\n") else {
        return if bytes.len() < V1_MOST {
            Parsed::NeedMore
        } else {
            Parsed::Malformed(Version::V1)
        };
    };
    match std::str::from_utf8(&bytes[..end]).ok().and_then(line) {
        Some(addresses) => Parsed::Header(Header {
            version: Version::V1,
            length: end + 2,
            addresses,
        }),
        None => Parsed::Malformed(Version::V1),
    }
}

/// The addresses of a line without its end; `None` outside says that it is broken.
fn line(line: &str) -> Option<Option<Addresses>> {
    let mut words = line.split(' ').skip(1);
    let family = words.next()?;
    if family == "UNKNOWN" {
        // Whatever follows is to be ignored.
        return Some(None);
    }
    let [source, destination, source_port, destination_port] =
        [words.next()?, words.next()?, words.next()?, words.next()?];
    let address = |ip: &str, port: &str| -> Option<SocketAddr> {
        let ip: IpAddr = match family {
            "TCP4" => ip.parse::<Ipv4Addr>().ok()?.into(),
            "TCP6" => ip.parse::<Ipv6Addr>().ok()?.into(),
            _ => return None,
        };
        // `parse` would take a sign.
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        Some(SocketAddr::new(ip, port.parse().ok().filter(|_| digits)?))
    };
    if words.next().is_some() {
        return None;
    }
    let addresses = Addresses {
        source: address(source, source_port)?,
        destination: address(destination, destination_port)?,
    };
    addresses.are_unicast().then_some(Some(addresses))
}

fn parse_v2(bytes: &[u8]) -> Parsed {
    let Some((head, rest)) = bytes.split_first_chunk::<V2_HEAD>() else {
        return Parsed::NeedMore;
    };
    let [.., version_and_command, family_and_transport, high, low] = *head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let malformed = Parsed::Malformed(Version::V2);
    let header = |addresses| {
        if rest.len() < length {
            return Parsed::NeedMore;
        }
        Parsed::Header(Header {
            version: Version::V2,
            length: V2_HEAD + length,
            addresses,
        })
    };
    if version_and_command >> 4 != 2 {
        return malformed;
    }
    match version_and_command & 0xf {
        LOCAL => return header(None),
        PROXY => {}
        _ => return malformed,
    }
    // Stream and datagram: some senders confuse them, and Envoy takes both.
    if !matches!(family_and_transport & 0xf, 1 | 2) {
        return malformed;
    }
    let needed = match family_and_transport >> 4 {
        1 => 12,
        2 => 36,
        _ => return malformed,
    };
    if length < needed {
        return malformed;
    }
    let Some(body) = rest.get(..needed) else {
        return Parsed::NeedMore;
    };
    let addresses = if needed == 12 { v4(body) } else { v6(body) };
    match addresses.filter(Addresses::are_unicast) {
        Some(addresses) => header(Some(addresses)),
        None => malformed,
    }
}

fn v4(body: &[u8]) -> Option<Addresses> {
    let (source, rest) = body.split_first_chunk::<4>()?;
    let (destination, rest) = rest.split_first_chunk::<4>()?;
    ports(
        Ipv4Addr::from(*source).into(),
        Ipv4Addr::from(*destination).into(),
        rest,
    )
}

fn v6(body: &[u8]) -> Option<Addresses> {
    let (source, rest) = body.split_first_chunk::<16>()?;
    let (destination, rest) = rest.split_first_chunk::<16>()?;
    ports(
        Ipv6Addr::from(*source).into(),
        Ipv6Addr::from(*destination).into(),
        rest,
    )
}

fn ports(source: IpAddr, destination: IpAddr, ports: &[u8]) -> Option<Addresses> {
    let &[a, b, c, d] = ports else { return None };
    Some(Addresses {
        source: SocketAddr::new(source, u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(destination, u16::from_be_bytes([c, d])),
    })
}

impl Addresses {
    /// Whether a TCP connection can have them.
    fn are_unicast(&self) -> bool {
        let unicast = |ip: IpAddr| {
            let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
            !ip.is_unspecified() && !ip.is_multicast() && !broadcast
        };
        unicast(self.source.ip()) && unicast(self.destination.ip())
    }
}

const V1_SIGNATURE: &[u8] = b"PROXY ";
/// The longest line, its end included, and one more, as Envoy has it.
const V1_MOST: usize = 108;
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_HEAD: usize = 16;
const LOCAL: u8 = 0;
const PROXY: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: Version, length: usize, addresses: Option<(&str, &str)>) -> Parsed {
        Parsed::Header(Header {
            version,
            length,
            addresses: addresses.map(|(source, destination)| Addresses {
                source: source.parse().unwrap(),
                destination: destination.parse().unwrap(),
            }),
        })
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = V2_SIGNATURE.to_vec();
        bytes.extend([0x20 | command, family]);
        bytes.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn lines() {
        use Parsed::{Absent, Malformed, NeedMore};
        let bad = Malformed(Version::V1);
        let long = format!("PROXY UNKNOWN {}", "x".repeat(100));
        let cases: &[(&str, Parsed)] = &[
            ("", NeedMore),
            ("PRO", NeedMore),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r", NeedMore),
            ("GET / HTTP/1.1\r\n", Absent),
            ("PROXYING", Absent),
            (
                "PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\nGET",
                header(Version::V1, 33, Some(("1.2.3.4:9", "5.6.7.8:10"))),
            ),
            (
                "PROXY TCP6 1::2 3::4 65535 1\r\n",
                header(Version::V1, 30, Some(("[1::2]:65535", "[3::4]:1"))),
            ),
            ("PROXY UNKNOWN\r\n", header(Version::V1, 15, None)),
            ("PROXY UNKNOWN any thing\r\n", header(Version::V1, 25, None)),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 9\r\n", bad),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 9 10 11\r\n", bad),
            ("PROXY TCP4  1.2.3.4 5.6.7.8 9 10\r\n", bad),
            ("PROXY TCP4 1::2 3::4 9 10\r\n", bad),
            ("PROXY TCP6 1.2.3.4 5.6.7.8 9 10\r\n", bad),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 +9 10\r\n", bad),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 65536 10\r\n", bad),
            ("PROXY TCP4 0.0.0.0 5.6.7.8 9 10\r\n", bad),
            ("PROXY TCP4 1.2.3.4 224.0.0.1 9 10\r\n", bad),
            ("PROXY TCP4 1.2.3.4 255.255.255.255 9 10\r\n", bad),
            ("PROXY UDP4 1.2.3.4 5.6.7.8 9 10\r\n", bad),
            ("PROXY \r\n", bad),
            (&long, bad),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text.as_bytes()), *expected, "{text:?}");
        }
    }

    #[test]
    fn binary_headers() {
        let four = [1, 2, 3, 4, 5, 6, 7, 8, 0, 80, 1, 187];
        let mut six = [0; 36];
        six[..16].copy_from_slice(&"1::2".parse::<Ipv6Addr>().unwrap().octets());
        six[16..32].copy_from_slice(&"3::4".parse::<Ipv6Addr>().unwrap().octets());
        six[32..].copy_from_slice(&[0, 80, 1, 187]);
        let mut extended = four.to_vec();
        extended.extend([0x04, 0, 1, 7]);
        let bad = Parsed::Malformed(Version::V2);
        let addresses = Some(("1.2.3.4:80", "5.6.7.8:443"));
        let cases = [
            (v2(PROXY, 0x11, &four), header(Version::V2, 28, addresses)),
            (v2(PROXY, 0x12, &four), header(Version::V2, 28, addresses)),
            (
                v2(PROXY, 0x11, &extended),
                header(Version::V2, 32, addresses),
            ),
            (
                v2(PROXY, 0x21, &six),
                header(Version::V2, 52, Some(("[1::2]:80", "[3::4]:443"))),
            ),
            (v2(LOCAL, 0, &[]), header(Version::V2, 16, None)),
            (v2(LOCAL, 0x31, &[1, 2, 3]), header(Version::V2, 19, None)),
            (v2(PROXY, 0x11, &four[..11]), bad),
            (v2(PROXY, 0x21, &four), bad),
            (v2(PROXY, 0x31, &[0; 216]), bad),
            (v2(PROXY, 0x10, &four), bad),
            (v2(2, 0x11, &four), bad),
            (v2(PROXY, 0x11, &[0; 12]), bad),
        ];
        for (bytes, expected) in cases {
            assert_eq!(parse(&bytes), expected, "{bytes:?}");
            // A part of it is never taken for something else.
            for end in 0..bytes.len() {
                let part = parse(&bytes[..end]);
                assert!(part == Parsed::NeedMore || part == bad && expected == bad);
            }
        }
        let mut wrong = v2(PROXY, 0x11, &four);
        wrong[12] = 0x11;
        assert_eq!(parse(&wrong), bad);
    }
}
