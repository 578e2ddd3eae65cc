//! Who we are: a certificate chain and its private key.

use std::fmt;
use std::sync::Arc;

use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{PemObject, SectionKind};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};

use super::certificate::CertificateFacts;
use super::error::SecretError;
use super::parameters;
use super::slot::{Secret, SecretSlot};

/// A certificate chain with its key, ready to sign. `Debug` shows the public part only.
pub struct Identity {
    key: Arc<CertifiedKey>,
    facts: Arc<CertificateFacts>,
    source: Box<str>,
}

/// Where an identity arrives and rotates.
pub type IdentitySlot = SecretSlot<Identity>;

impl Identity {
    /// Reads a chain (leaf first) and a PKCS#1, PKCS#8 or SEC1 key, both PEM.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, SecretError> {
        let certificates = certificates(CHAIN, chain)?;
        let Some(leaf) = certificates.first() else {
            return Err(SecretError::Missing {
                what: CHAIN,
                wanted: "certificate",
            });
        };
        let facts = CertificateFacts::parse(leaf).map_err(|source| SecretError::Certificate {
            what: CHAIN,
            index: 0,
            source,
        })?;
        let key = CertifiedKey::from_der(certificates, private_key(key)?, parameters::provider())
            .map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => SecretError::KeyMismatch,
            _ => SecretError::UnusableKey,
        })?;
        Ok(Self {
            key: Arc::new(key),
            facts: Arc::new(facts),
            source: INLINE.into(),
        })
    }

    /// An identity whose certificate `from_pem` would refuse: what a hostile peer shows.
    #[cfg(test)]
    pub(super) fn hostile(chain: &[u8], key: &[u8], facts: &Arc<CertificateFacts>) -> Self {
        let chain = certificates(CHAIN, chain).unwrap();
        let key = CertifiedKey::from_der(chain, private_key(key).unwrap(), parameters::provider())
            .unwrap();
        Self {
            key: Arc::new(key),
            facts: Arc::clone(facts),
            source: INLINE.into(),
        }
    }

    /// The same, read from this file.
    #[must_use]
    pub fn from_file(mut self, path: &str) -> Self {
        self.source = path.into();
        self
    }

    /// The file that it was read from, or `<inline>`.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What is in the leaf.
    pub fn facts(&self) -> &Arc<CertificateFacts> {
        &self.facts
    }

    /// The chain, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.key.cert
    }

    pub(super) fn certified(&self) -> &Arc<CertifiedKey> {
        &self.key
    }
}

impl Secret for Identity {
    /// The chain tells: a certificate names its key, and the key was checked against it.
    fn same(&self, other: &Self) -> bool {
        self.key.cert == other.key.cert
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Identity")
            .field("uri_sans", &self.facts.uri_sans)
            .field("dns_sans", &self.facts.dns_sans)
            .field("subject", &self.facts.subject)
            .field("serial", &self.facts.serial)
            .field("private_key", &"[redacted]")
            .finish_non_exhaustive()
    }
}

/// Every certificate of a PEM text, other sections passed over.
pub(super) fn certificates(
    what: &'static str,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, SecretError> {
    let mut found = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
        if let (SectionKind::Certificate, der) = section.map_err(|_| SecretError::Pem { what })? {
            found.push(CertificateDer::from(der));
        }
    }
    Ok(found)
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, SecretError> {
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
        let (kind, der) = section.map_err(|_| {
            // RFC 1421 headers inside the section, which only encrypted PKCS#1 and SEC1 keys have, end up here as bad base64.
            if memchr::memmem::find(pem, b"ENCRYPTED").is_some() {
                SecretError::EncryptedKey
            } else {
                SecretError::Pem { what: KEY }
            }
        })?;
        match kind {
            SectionKind::RsaPrivateKey => return Ok(PrivatePkcs1KeyDer::from(der).into()),
            SectionKind::EcPrivateKey => return Ok(PrivateSec1KeyDer::from(der).into()),
            SectionKind::PrivateKey => return Ok(PrivatePkcs8KeyDer::from(der).into()),
            _ => {}
        }
    }
    if memchr::memmem::find(pem, b"-----BEGIN ENCRYPTED PRIVATE KEY").is_some() {
        return Err(SecretError::EncryptedKey);
    }
    Err(SecretError::Missing {
        what: KEY,
        wanted: "private key (PKCS#1, PKCS#8 or SEC1)",
    })
}

/// How certificates are shown that came in no file.
pub(super) const INLINE: &str = "<inline>";
const CHAIN: &str = "the certificate chain";
const KEY: &str = "the private key";
