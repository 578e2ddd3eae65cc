//! Versions, cipher suites and groups by the names that OpenSSL and Envoy give them, and the crypto provider made of them.

use std::sync::{Arc, LazyLock};

use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, ProtocolVersion, SupportedCipherSuite, SupportedProtocolVersion};

use super::error::PlanError;

/// A protocol version as configurations name it. The old two exist to be recognised: as a minimum they mean TLS 1.2, as a maximum they are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// TLS 1.0 (RFC 8996 forbids it).
    Tls10,
    /// TLS 1.1 (RFC 8996 forbids it).
    Tls11,
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// `tls_params` of a context. The default is TLS 1.2 and 1.3 with every suite and without post-quantum groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsParameters {
    /// Lowest version.
    pub minimum: Version,
    /// Highest version.
    pub maximum: Version,
    /// TLS 1.2 suites by OpenSSL name, in order of preference; `[a|b]` groups are read as their members. Empty: all. TLS 1.3 suites are always on.
    pub cipher_suites: Vec<String>,
    /// Groups by OpenSSL name, in order of preference. Empty: X25519, P-256, P-384.
    pub groups: Vec<String>,
}

/// Protocol names for ALPN, most preferred first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AlpnList {
    names: Vec<Vec<u8>>,
}

impl Version {
    /// As Envoy and OpenSSL print it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tls10 => "TLSv1",
            Self::Tls11 => "TLSv1.1",
            Self::Tls12 => "TLSv1.2",
            Self::Tls13 => "TLSv1.3",
        }
    }

    pub(super) fn negotiated(version: Option<ProtocolVersion>) -> Self {
        // rustls speaks no others.
        if version == Some(ProtocolVersion::TLSv1_2) {
            Self::Tls12
        } else {
            Self::Tls13
        }
    }
}

impl Default for TlsParameters {
    fn default() -> Self {
        Self {
            minimum: Version::Tls12,
            maximum: Version::Tls13,
            cipher_suites: Vec::new(),
            groups: Vec::new(),
        }
    }
}

impl TlsParameters {
    /// Names in `cipher_suites` that are not served: unknown ones, and those without forward secrecy or authenticated encryption.
    pub fn ignored_cipher_suites(&self) -> Vec<&str> {
        self.suite_names()
            .filter(|name| suite(name).is_none())
            .collect()
    }

    fn suite_names(&self) -> impl Iterator<Item = &str> {
        self.cipher_suites
            .iter()
            .flat_map(|entry| entry.trim_matches(['[', ']']).split(['|', ':']))
            .filter(|name| !name.is_empty())
    }

    pub(super) fn compile(&self) -> Result<Compiled, PlanError> {
        let lowest = self.minimum.max(Version::Tls12);
        if self.maximum < lowest {
            return Err(PlanError::NoVersion {
                minimum: self.minimum.as_str(),
                maximum: self.maximum.as_str(),
            });
        }
        let mut versions: Vec<&'static SupportedProtocolVersion> = Vec::new();
        if self.maximum == Version::Tls13 {
            versions.push(&TLS13);
        }
        if lowest == Version::Tls12 {
            versions.push(&TLS12);
        }
        Ok(Compiled {
            provider: self.provider(lowest == Version::Tls12)?,
            versions,
        })
    }

    fn provider(&self, serves_tls12: bool) -> Result<Arc<CryptoProvider>, PlanError> {
        if self.cipher_suites.is_empty() && self.groups.is_empty() {
            return Ok(Arc::clone(&PROVIDER));
        }
        let mut provider = CryptoProvider::clone(&PROVIDER);
        if !self.cipher_suites.is_empty() && serves_tls12 {
            let mut chosen: Vec<SupportedCipherSuite> = Vec::new();
            for known in self.suite_names().filter_map(suite) {
                if known.tls13().is_none() && !chosen.contains(&known) {
                    chosen.push(known);
                }
            }
            if chosen.is_empty() {
                return Err(PlanError::NoCipherSuite {
                    listed: self.cipher_suites.clone(),
                });
            }
            provider.cipher_suites.retain(|held| held.tls13().is_some());
            provider.cipher_suites.extend(chosen);
        }
        if !self.groups.is_empty() {
            let names = self.groups.iter().flat_map(|entry| entry.split(':'));
            provider.kx_groups = names.filter_map(group).collect();
            if provider.kx_groups.is_empty() {
                return Err(PlanError::NoGroup {
                    listed: self.groups.clone(),
                });
            }
        }
        Ok(Arc::new(provider))
    }
}

/// What a rustls configuration is begun with.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) versions: Vec<&'static SupportedProtocolVersion>,
}

impl AlpnList {
    /// Checks the lengths (RFC 7301 section 3.1). An empty list means that the extension is not used.
    pub fn new<N: AsRef<[u8]>>(names: impl IntoIterator<Item = N>) -> Result<Arc<Self>, PlanError> {
        let names: Vec<Vec<u8>> = names
            .into_iter()
            .map(|name| name.as_ref().to_vec())
            .collect();
        if names.iter().any(|name| !(1..=255).contains(&name.len())) {
            return Err(PlanError::Alpn);
        }
        Ok(Arc::new(Self { names }))
    }

    /// The names in order.
    pub fn names(&self) -> &[Vec<u8>] {
        &self.names
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub(super) fn holds(&self, name: &[u8]) -> bool {
        self.names.iter().any(|held| held == name)
    }
}

/// The provider that every configuration starts from; there is no process default.
///
/// AES-128 comes first: it is the cheapest where AES is in hardware, and Envoy's own first choice. X25519MLKEM768 is left out unless
/// asked for, as it multiplies the cost of the key exchange.
pub(super) fn provider() -> &'static Arc<CryptoProvider> {
    &PROVIDER
}

/// OpenSSL's name of a negotiated suite (TLS 1.3 suites have only the one of the RFC).
pub(super) fn suite_name(suite: CipherSuite) -> &'static str {
    SUITES
        .iter()
        .find(|(_, known)| known.suite() == suite)
        .map_or("unknown", |(name, _)| name)
}

fn suite(name: &str) -> Option<SupportedCipherSuite> {
    SUITES
        .iter()
        .find(|(openssl, known)| {
            *openssl == name
                || known
                    .suite()
                    .as_str()
                    .is_some_and(|registered| registered == name)
        })
        .map(|(_, known)| *known)
}

fn group(name: &str) -> Option<&'static dyn SupportedKxGroup> {
    match name {
        "X25519" | "x25519" => Some(kx_group::X25519),
        "P-256" | "prime256v1" | "secp256r1" => Some(kx_group::SECP256R1),
        "P-384" | "secp384r1" => Some(kx_group::SECP384R1),
        "X25519MLKEM768" => Some(kx_group::X25519MLKEM768),
        _ => None,
    }
}

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    Arc::new(CryptoProvider {
        cipher_suites: SUITES.iter().map(|(_, suite)| *suite).collect(),
        kx_groups: vec![kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1],
        ..aws_lc_rs::default_provider()
    })
});

static SUITES: &[(&str, SupportedCipherSuite)] = &[
    (
        "TLS_AES_128_GCM_SHA256",
        cipher_suite::TLS13_AES_128_GCM_SHA256,
    ),
    (
        "TLS_AES_256_GCM_SHA384",
        cipher_suite::TLS13_AES_256_GCM_SHA384,
    ),
    (
        "TLS_CHACHA20_POLY1305_SHA256",
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ),
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-RSA-AES128-GCM-SHA256",
        cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "ECDHE-RSA-AES256-GCM-SHA384",
        cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "ECDHE-RSA-CHACHA20-POLY1305",
        cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];
