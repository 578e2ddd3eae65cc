//! Reads a ClientHello from peeked bytes without consuming them: what filter chains choose by (Envoy's `tls_inspector`).
//!
//! Nothing is kept between calls, as every peek shows the whole prefix of the stream again.

use bytes::Bytes;
use smallvec::SmallVec;

/// What the bytes at the start of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// So far it could be a ClientHello.
    NeedMore {
        /// The stream must be this long, in bytes from its start, before another look is worthwhile.
        length: usize,
    },
    /// Not TLS, or not in a form that a TLS server would accept.
    NotTls,
    /// It announces more than [`LARGEST`] bytes: to be closed, as Envoy does.
    TooLarge,
    /// A whole ClientHello.
    Hello(ClientHello),
}

/// What a client says before anything is agreed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The server name in lower case; none if not sent, or if it holds bytes that no host name has.
    pub sni: Option<Box<str>>,
    /// The offered protocols in the client's order.
    pub alpn: SmallVec<[Bytes; 4]>,
    /// The offered versions as on the wire (0x0304 is TLS 1.3), without GREASE (RFC 8701).
    pub versions: SmallVec<[u16; 4]>,
}

/// Looks at the first bytes of a stream.
pub fn inspect(bytes: &[u8]) -> Verdict {
    let mut fragments: SmallVec<[&[u8]; 4]> = SmallVec::new();
    let mut gathered = 0;
    let mut rest = bytes;
    loop {
        let consumed = bytes.len() - rest.len();
        match record(rest) {
            Record::Foreign => return Verdict::NotTls,
            Record::Partial { wanted, fragment } => {
                // A first byte of the message that is not a ClientHello's settles it early.
                if fragments.is_empty()
                    && fragment.first().is_some_and(|kind| *kind != CLIENT_HELLO)
                {
                    return Verdict::NotTls;
                }
                return if consumed + wanted > LARGEST {
                    Verdict::TooLarge
                } else {
                    Verdict::NeedMore {
                        length: consumed + wanted,
                    }
                };
            }
            Record::Whole { fragment, after } => {
                gathered += fragment.len();
                fragments.push(fragment);
                rest = after;
            }
        }
        match message_length(&fragments) {
            Length::Foreign => return Verdict::NotTls,
            Length::Known(length) if length > LARGEST - HEADER => return Verdict::TooLarge,
            Length::Known(length) if gathered >= MESSAGE_HEADER + length => {
                let hello = match fragments.as_slice() {
                    [only] => only
                        .get(MESSAGE_HEADER..MESSAGE_HEADER + length)
                        .and_then(parse),
                    several => several
                        .concat()
                        .get(MESSAGE_HEADER..MESSAGE_HEADER + length)
                        .and_then(parse),
                };
                return hello.map_or(Verdict::NotTls, Verdict::Hello);
            }
            Length::Known(_) | Length::Unknown => {}
        }
    }
}

/// Entry for fuzzing: any bytes, any cut. Panics when a verdict changes as the stream grows, which must not happen.
pub fn fuzz_hello(data: &[u8]) {
    let whole = inspect(data);
    for cut in [
        data.len() / 2,
        data.len().saturating_sub(1),
        data.len().min(HEADER),
        data.len().min(HEADER + 1),
    ] {
        let part = inspect(data.get(..cut).unwrap_or_default());
        match part {
            Verdict::NeedMore { length } => assert!(length > cut, "asks for bytes that it has"),
            decided => assert_eq!(decided, whole, "changed its mind after {cut} bytes"),
        }
    }
}

/// Most bytes that are looked at, records and all.
pub const LARGEST: usize = 64 << 10;

enum Record<'a> {
    Foreign,
    /// `wanted`: length at which the next look is worthwhile.
    Partial {
        wanted: usize,
        fragment: &'a [u8],
    },
    Whole {
        fragment: &'a [u8],
        after: &'a [u8],
    },
}

/// One record (RFC 8446 section 5.1): type, version, length, fragment.
fn record(bytes: &[u8]) -> Record<'_> {
    let plausible =
        |index: usize, good: fn(u8) -> bool| bytes.get(index).is_none_or(|byte| good(*byte));
    if !plausible(0, |kind| kind == HANDSHAKE) || !plausible(1, |major| major == 3) {
        return Record::Foreign;
    }
    let Some((header, body)) = bytes.split_first_chunk::<HEADER>() else {
        return Record::Partial {
            wanted: HEADER,
            fragment: &[],
        };
    };
    let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
    if length == 0 || length > LARGEST_FRAGMENT {
        return Record::Foreign;
    }
    match body.split_at_checked(length) {
        Some((fragment, after)) => Record::Whole { fragment, after },
        None => Record::Partial {
            wanted: HEADER + length,
            fragment: body,
        },
    }
}

enum Length {
    Foreign,
    Unknown,
    Known(usize),
}

/// The header of the handshake message may itself be spread over records.
fn message_length(fragments: &[&[u8]]) -> Length {
    let mut header = fragments
        .iter()
        .flat_map(|fragment| fragment.iter().copied());
    match (header.next(), header.next(), header.next(), header.next()) {
        (Some(kind), ..) if kind != CLIENT_HELLO => Length::Foreign,
        (_, Some(high), Some(middle), Some(low)) => {
            Length::Known(usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low))
        }
        _ => Length::Unknown,
    }
}

/// The body of a ClientHello (RFC 8446 section 4.1.2). None where a TLS server would answer with a decode error.
fn parse(body: &[u8]) -> Option<ClientHello> {
    let mut reader = Reader(body);
    let legacy_version = reader.u16()?;
    reader.take(32)?;
    let session = reader.short_vector()?;
    let suites = reader.long_vector()?;
    let compression = reader.short_vector()?;
    if session.len() > 32
        || suites.is_empty()
        || !suites.len().is_multiple_of(2)
        || compression.is_empty()
    {
        return None;
    }
    let mut hello = ClientHello::default();
    if !reader.0.is_empty() {
        let mut extensions = Reader(reader.long_vector()?);
        let mut seen = [false; 3];
        while !extensions.0.is_empty() {
            let kind = extensions.u16()?;
            let content = Reader(extensions.long_vector()?);
            let (index, accepted) = match kind {
                SERVER_NAME => (0, hello.read_server_name(content)),
                ALPN => (1, hello.read_alpn(content)),
                SUPPORTED_VERSIONS => (2, hello.read_versions(content)),
                _ => continue,
            };
            accepted?;
            // No extension may come twice (RFC 8446 section 4.2).
            if std::mem::replace(&mut seen[index], true) {
                return None;
            }
        }
    }
    if !reader.0.is_empty() {
        return None;
    }
    if hello.versions.is_empty() {
        hello.versions.push(legacy_version);
    }
    Some(hello)
}

impl ClientHello {
    /// RFC 6066 section 3, as strict as BoringSSL: one name, of type host_name, without NUL.
    fn read_server_name(&mut self, mut content: Reader<'_>) -> Option<()> {
        let mut list = Reader(content.long_vector()?);
        let kind = list.u8()?;
        let name = list.long_vector()?;
        if kind != 0
            || name.is_empty()
            || name.len() > 255
            || name.contains(&0)
            || !list.0.is_empty()
            || !content.0.is_empty()
        {
            return None;
        }
        // Istio's names hold underscores (`outbound_.80_._.host`). Anything else would only serve to confuse logs.
        let plain = name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
        self.sni = std::str::from_utf8(name)
            .ok()
            .filter(|_| plain)
            .map(|name| name.to_ascii_lowercase().into());
        Some(())
    }

    /// RFC 7301 section 3.1.
    fn read_alpn(&mut self, mut content: Reader<'_>) -> Option<()> {
        let mut list = Reader(content.long_vector()?);
        if list.0.is_empty() || !content.0.is_empty() {
            return None;
        }
        while !list.0.is_empty() {
            let name = list.short_vector()?;
            if name.is_empty() {
                return None;
            }
            let known = KNOWN_PROTOCOLS.iter().find(|known| **known == name);
            self.alpn.push(known.map_or_else(
                || Bytes::copy_from_slice(name),
                |known| Bytes::from_static(known),
            ));
        }
        Some(())
    }

    /// RFC 8446 section 4.2.1.
    fn read_versions(&mut self, mut content: Reader<'_>) -> Option<()> {
        let mut list = Reader(content.short_vector()?);
        if list.0.is_empty() || !content.0.is_empty() {
            return None;
        }
        while !list.0.is_empty() {
            let version = list.u16()?;
            if version & 0x0f0f != 0x0a0a {
                self.versions.push(version);
            }
        }
        Some(())
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn u16(&mut self) -> Option<u16> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*bytes))
    }

    fn short_vector(&mut self) -> Option<&'a [u8]> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    fn long_vector(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }
}

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const HEADER: usize = 5;
const MESSAGE_HEADER: usize = 4;
const LARGEST_FRAGMENT: usize = 1 << 14;
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;

/// Names that need no copy.
const KNOWN_PROTOCOLS: &[&[u8]] = &[
    b"h2",
    b"http/1.1",
    b"istio",
    b"istio-peer-exchange",
    b"istio-http/1.0",
    b"istio-http/1.1",
    b"istio-h2",
    b"http/1.0",
];

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls_pki_types::ServerName;

    use super::*;
    use crate::tls::parameters;

    #[test]
    fn what_rustls_sends_is_read_at_every_cut() {
        let bytes = captured(
            "Outbound_.80_._.Reviews.default.svc.cluster.local",
            &["istio-http/1.1", "istio", "h2", "custom"],
        );
        let Verdict::Hello(hello) = inspect(&bytes) else {
            panic!("{:?}", inspect(&bytes))
        };
        assert_eq!(
            hello.sni.as_deref(),
            Some("outbound_.80_._.reviews.default.svc.cluster.local")
        );
        assert_eq!(
            hello.alpn.iter().map(|name| &name[..]).collect::<Vec<_>>(),
            [&b"istio-http/1.1"[..], b"istio", b"h2", b"custom"]
        );
        assert_eq!(hello.versions.as_slice(), [0x0304, 0x0303]);
        for cut in 0..bytes.len() {
            let Verdict::NeedMore { length } = inspect(&bytes[..cut]) else {
                panic!("cut at {cut}")
            };
            assert!(length > cut && length <= bytes.len());
        }
        let mut longer = bytes;
        longer.extend_from_slice(b"early data");
        assert_eq!(inspect(&longer), Verdict::Hello(hello));
    }

    #[test]
    fn records_may_split_the_message_anywhere() {
        let bytes = captured("a.example.com", &["h2"]);
        let whole = inspect(&bytes);
        let message = &bytes[HEADER..];
        for first in 1..message.len() {
            let (left, right) = message.split_at(first);
            let split = [framed(left), framed(right)].concat();
            assert_eq!(inspect(&split), whole, "split at {first}");
        }
        let crumbs: Vec<u8> = message.iter().flat_map(|byte| framed(&[*byte])).collect();
        assert_eq!(inspect(&crumbs), whole);
    }

    #[test]
    fn nothing_offered_and_nothing_named() {
        let verdict = inspect(&captured("10.0.0.1", &[]));
        assert!(
            matches!(verdict, Verdict::Hello(hello) if hello.sni.is_none() && hello.alpn.is_empty())
        );
    }

    #[test]
    fn what_is_not_tls() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"\x16\x02",
            b"\x15\x03\x01\x00\x02\x01\x00",
            b"\x16\x03\x01\x00\x00",
            b"\x16\x03\x01\x00\x05\x02",
            b"\x16\x03\x01\xff\xff",
        ] {
            assert_eq!(inspect(bytes), Verdict::NotTls, "{bytes:02x?}");
        }
        assert_eq!(inspect(&framed(&[1, 0xff, 0xff, 0xff])), Verdict::TooLarge);
        assert_eq!(inspect(b""), Verdict::NeedMore { length: HEADER });
    }

    #[test]
    fn odd_extensions() {
        let named = |name: &[u8]| {
            let mut entry = vec![0];
            entry.extend(long(name));
            extension(SERVER_NAME, &long(&entry))
        };
        let protocols = |list: &[u8]| extension(ALPN, &long(list));
        let cases: &[(&str, Vec<u8>, Option<ClientHello>)] = &[
            ("none", vec![], Some(hello(None, &[]))),
            ("plain", named(b"A.b"), Some(hello(Some("a.b"), &[]))),
            ("odd bytes", named(b"a b\n"), Some(hello(None, &[]))),
            ("NUL", named(b"a\0b"), None),
            ("empty", named(b""), None),
            ("too long", named(&[b'a'; 256]), None),
            ("twice", [named(b"a"), named(b"b")].concat(), None),
            ("empty protocol list", protocols(b""), None),
            ("empty protocol", protocols(b"\0"), None),
            (
                "protocols",
                protocols(b"\x02h2\x01x"),
                Some(hello(None, &[b"h2", b"x"])),
            ),
            ("overrun", protocols(b"\x05h2"), None),
            ("grease", extension(0x0a0a, b""), Some(hello(None, &[]))),
        ];
        for (what, extensions, expected) in cases {
            let got = inspect(&built(extensions));
            assert_eq!(
                got,
                expected.clone().map_or(Verdict::NotTls, Verdict::Hello),
                "{what}"
            );
        }
    }

    proptest! {
        #[test]
        fn never_panics_nor_changes_its_mind(data in proptest::collection::vec(any::<u8>(), 0..600)) {
            fuzz_hello(&data);
        }

        #[test]
        fn a_damaged_hello_never_panics(index in 0_usize..400, byte in any::<u8>(), cut in 0_usize..400) {
            let mut bytes = captured("a.example.com", &["h2", "http/1.1"]);
            if let Some(place) = bytes.get_mut(index) { *place = byte; }
            bytes.truncate(bytes.len().saturating_sub(cut));
            fuzz_hello(&bytes);
        }
    }

    fn captured(name: &str, alpn: &[&str]) -> Vec<u8> {
        let mut config =
            rustls::ClientConfig::builder_with_provider(Arc::clone(parameters::provider()))
                .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
                .unwrap()
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        connection.write_tls(&mut bytes).unwrap();
        bytes
    }

    fn hello(sni: Option<&str>, alpn: &[&'static [u8]]) -> ClientHello {
        let alpn = alpn.iter().map(|name| Bytes::from_static(name)).collect();
        ClientHello {
            sni: sni.map(Into::into),
            alpn,
            versions: SmallVec::from_slice(&[0x0303]),
        }
    }

    fn built(extensions: &[u8]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
        if !extensions.is_empty() {
            body.extend(long(extensions));
        }
        let mut message = vec![CLIENT_HELLO, 0];
        message.extend(long(&body));
        framed(&message)
    }

    fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &long(content)].concat()
    }

    fn long(content: &[u8]) -> Vec<u8> {
        [
            &u16::try_from(content.len()).unwrap().to_be_bytes()[..],
            content,
        ]
        .concat()
    }

    fn framed(fragment: &[u8]) -> Vec<u8> {
        [&[HANDSHAKE, 3, 1][..], &long(fragment)].concat()
    }
}
