//! The facts of one certificate, decoded once and shared by every connection that shows it.

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::error::PeerRejection;
use super::name;

/// What rules, logs and headers ask about a certificate.
#[derive(Debug)]
pub struct CertificateFacts {
    /// URI names in their order (`spiffe://…`).
    pub uri_sans: Box<[Box<str>]>,
    /// DNS names in their order.
    pub dns_sans: Box<[Box<str>]>,
    /// Mail addresses in their order.
    pub email_sans: Box<[Box<str>]>,
    /// IP addresses in their order.
    pub ip_sans: Box<[IpAddr]>,
    /// Subject as RFC 2253 text, empty for SPIFFE certificates.
    pub subject: Box<str>,
    /// Issuer as RFC 2253 text.
    pub issuer: Box<str>,
    /// Serial number, lower-case hexadecimal in whole bytes.
    pub serial: Box<str>,
    /// Start of validity, seconds since 1970.
    pub not_before: i64,
    /// End of validity, seconds since 1970.
    pub not_after: i64,
    /// SHA-256 of the DER, lower-case hexadecimal (XFCC's `Hash`).
    pub fingerprint: Box<str>,
    /// SHA-256 of the DER.
    pub digest: [u8; 32],
    /// SHA-256 of the SubjectPublicKeyInfo, what `verify_certificate_spki` pins.
    pub key_digest: [u8; 32],
    der: CertificateDer<'static>,
    pem: OnceLock<Box<str>>,
}

impl CertificateFacts {
    /// Decodes. Refuses names with a NUL and names that do not decode, so that no later reader can see another name than we do.
    pub fn parse(der: &CertificateDer<'_>) -> Result<Self, PeerRejection> {
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|_| PeerRejection::Malformed {
                what: "certificate",
            })?;
        if !rest.is_empty() {
            return Err(PeerRejection::Malformed {
                what: "bytes after the certificate",
            });
        }
        let names = Names::read(&certificate)?;
        let digest = sha256(der);
        Ok(Self {
            uri_sans: names.uris.into(),
            dns_sans: names.dns.into(),
            email_sans: names.emails.into(),
            ip_sans: names.addresses.into(),
            subject: name::rfc2253(certificate.subject()).into(),
            issuer: name::rfc2253(certificate.issuer()).into(),
            serial: serial(certificate.raw_serial()),
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
            fingerprint: hexadecimal(&digest),
            digest,
            key_digest: sha256(certificate.public_key().raw),
            der: der.clone().into_owned(),
            pem: OnceLock::new(),
        })
    }

    /// As [`Self::parse`], but remembers the last certificates that this thread saw: a mesh peer opens many connections with one certificate.
    pub fn shared(der: &CertificateDer<'_>) -> Result<Arc<Self>, PeerRejection> {
        if der.len() > LARGEST_REMEMBERED {
            return Self::parse(der).map(Arc::new);
        }
        // The tail is the signature: as good as random, and it costs nothing to look at. Whoever forges a collision evicts one entry.
        let index = der.last().map_or(0, |byte| usize::from(*byte) % REMEMBERED);
        RECENT.with_borrow_mut(|recent| {
            if let Some(Some(held)) = recent.get(index)
                && held.der == *der
            {
                return Ok(Arc::clone(held));
            }
            let facts = Arc::new(Self::parse(der)?);
            if recent.is_empty() {
                recent.resize(REMEMBERED, None);
            }
            if let Some(place) = recent.get_mut(index) {
                *place = Some(Arc::clone(&facts));
            }
            Ok(facts)
        })
    }

    /// The certificate itself.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// The certificate as PEM, URL-encoded as XFCC's `Cert` wants it: only newline, space, `+`, `/` and `=` are escaped, as Envoy does.
    /// Made when first asked for.
    pub fn pem_url_encoded(&self) -> &str {
        self.pem.get_or_init(|| pem_url_encoded(&self.der))
    }

    /// Whether `seconds` (since 1970) lies within the validity.
    pub fn is_valid_at(&self, seconds: i64) -> bool {
        (self.not_before..=self.not_after).contains(&seconds)
    }

    /// The first URI name: in a mesh the peer's SPIFFE identity.
    pub fn first_uri(&self) -> Option<&str> {
        self.uri_sans.first().map(AsRef::as_ref)
    }
}

#[derive(Default)]
struct Names {
    uris: Vec<Box<str>>,
    dns: Vec<Box<str>>,
    emails: Vec<Box<str>>,
    addresses: Vec<IpAddr>,
}

impl Names {
    fn read(certificate: &X509Certificate<'_>) -> Result<Self, PeerRejection> {
        let malformed = PeerRejection::Malformed {
            what: "subject alternative name",
        };
        let mut names = Self::default();
        // An error here is a repeated extension (RFC 5280 section 4.2 forbids it).
        let Some(extension) = certificate
            .subject_alternative_name()
            .map_err(|_| malformed.clone())?
        else {
            // Not there, or there and not decodable: the two must not be confused.
            let undecoded = certificate
                .extensions()
                .iter()
                .any(|extension| extension.oid.to_id_string() == "2.5.29.17");
            return if undecoded { Err(malformed) } else { Ok(names) };
        };
        for general in &extension.value.general_names {
            match general {
                GeneralName::URI(text) => names.uris.push(plain(text)?),
                GeneralName::DNSName(text) => names.dns.push(plain(text)?),
                GeneralName::RFC822Name(text) => names.emails.push(plain(text)?),
                GeneralName::IPAddress(bytes) => names
                    .addresses
                    .push(address(bytes).ok_or_else(|| malformed.clone())?),
                GeneralName::Invalid(..) => return Err(malformed),
                // Never matched, whatever they hold: an otherName is not text of the wanted type (CVE-2025-66220).
                GeneralName::OtherName(..)
                | GeneralName::X400Address(_)
                | GeneralName::DirectoryName(_)
                | GeneralName::EDIPartyName(_)
                | GeneralName::RegisteredID(_) => {}
            }
        }
        Ok(names)
    }
}

/// Seconds since 1970, now.
pub(super) fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        })
}

fn plain(text: &str) -> Result<Box<str>, PeerRejection> {
    if text.as_bytes().contains(&0) {
        return Err(PeerRejection::NulInName);
    }
    // IA5String (RFC 5280 section 4.2.1.6); the parser is content with UTF-8.
    if !text.is_ascii() {
        return Err(PeerRejection::Malformed {
            what: "subject alternative name",
        });
    }
    Ok(text.into())
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(octets));
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

fn serial(raw: &[u8]) -> Box<str> {
    let start = raw.iter().position(|byte| *byte != 0).unwrap_or(raw.len());
    let digits = raw.get(start..).unwrap_or_default();
    if digits.is_empty() {
        "0".into()
    } else {
        hexadecimal(digits)
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

fn hexadecimal(bytes: &[u8]) -> Box<str> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text.into_boxed_str()
}

fn pem_url_encoded(der: &[u8]) -> Box<str> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(der.len() * 2 + 100);
    text.push_str("-----BEGIN%20CERTIFICATE-----%0A");
    // 48 bytes make one line of 64 characters (RFC 7468 section 2).
    for line in der.chunks(48) {
        for group in line.chunks(3) {
            let bits = group
                .iter()
                .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
                << (8 * (3 - group.len()));
            for index in 0..4 {
                if index > group.len() {
                    text.push_str("%3D");
                    continue;
                }
                match ALPHABET[(bits >> (18 - 6 * index) & 63) as usize] {
                    b'+' => text.push_str("%2B"),
                    b'/' => text.push_str("%2F"),
                    letter => text.push(char::from(letter)),
                }
            }
        }
        text.push_str("%0A");
    }
    text.push_str("-----END%20CERTIFICATE-----%0A");
    text.into_boxed_str()
}

/// How many certificates a thread remembers, about 2 KiB each.
const REMEMBERED: usize = 64;
const LARGEST_REMEMBERED: usize = 8 << 10;

thread_local! {
    static RECENT: RefCell<Vec<Option<Arc<CertificateFacts>>>> = const { RefCell::new(Vec::new()) };
}
