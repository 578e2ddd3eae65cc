//! What can go wrong around TLS: whose fault it is, the short text for logs, and whether another try is safe.

use std::io;
use std::sync::Arc;

use rustls::{AlertDescription, CertificateError, PeerIncompatible, PeerMisbehaved};

/// Who has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The peer that connected to us.
    Client,
    /// The peer that we connected to.
    Upstream,
    /// Whoever wrote the configuration or delivers the secrets.
    Config,
    /// This program.
    Internal,
}

/// Which side of the proxy a handshake was on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// We were the server.
    Downstream,
    /// We were the client.
    Upstream,
}

/// A handshake that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A secret has not come yet.
    #[error("secret {secret:?} is not there yet")]
    NotReady {
        /// The slot's name.
        secret: Box<str>,
    },
    /// The handshake took longer than it may.
    #[error("the {} did not finish its handshake in time", peer(*.side))]
    Timeout {
        /// Where.
        side: Side,
    },
    /// The peer closed in the middle of the handshake.
    #[error("the {} closed during the handshake", peer(*.side))]
    Closed {
        /// Where.
        side: Side,
    },
    /// The transport failed.
    #[error("the {}'s transport failed during the handshake: {source}", peer(*.side))]
    Io {
        /// Where.
        side: Side,
        /// The error of the transport.
        source: io::Error,
    },
    /// The peers could not agree, or one of them broke the protocol.
    #[error("the handshake with the {} failed: {source}", peer(*.side))]
    Handshake {
        /// Where.
        side: Side,
        /// rustls' account of it.
        source: rustls::Error,
    },
    /// The peer's certificate does not satisfy our rules.
    #[error("the {}'s certificate was refused: {source}", peer(*.side))]
    Refused {
        /// Where.
        side: Side,
        /// Which rule.
        source: PeerRejection,
    },
    /// No usable name to send or to verify.
    #[error("{name:?} cannot be used as a server name")]
    ServerName {
        /// The name as given.
        name: Box<str>,
    },
    /// The secrets that arrived do not fit the plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// Why a certificate that may well be valid is not the one we want.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerRejection {
    /// A subject alternative name holds a NUL, the classic way to make two readers see two names (CVE-2025-66220).
    #[error("a subject alternative name holds a NUL")]
    NulInName,
    /// The certificate or its names do not decode.
    #[error("the certificate does not decode: {what}")]
    Malformed {
        /// The part that does not.
        what: &'static str,
    },
    /// None of the wanted names is in the certificate.
    #[error("no subject alternative name matches")]
    NameMismatch,
    /// Neither its hash nor that of its key is pinned.
    #[error("neither the certificate nor its key is pinned")]
    NotPinned,
    /// A resumed session belongs to a certificate whose time is over.
    #[error("the certificate of the resumed session is outside its validity")]
    ResumedOutsideValidity,
}

/// A secret that cannot be used. Never shows key material.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Not PEM, or cut short. The reader's own words are left out: they quote lines of the input.
    #[error("{what} is not well-formed PEM")]
    Pem {
        /// Which input.
        what: &'static str,
    },
    /// No section of the wanted kind.
    #[error("{what} holds no {wanted}")]
    Missing {
        /// Which input.
        what: &'static str,
        /// What was looked for.
        wanted: &'static str,
    },
    /// Encrypted keys need a password, and nobody is there to type it.
    #[error("the private key is encrypted with a password, which is not supported")]
    EncryptedKey,
    /// The key's kind or encoding is not one we can sign with.
    #[error("the private key is not a usable RSA, ECDSA (P-256, P-384, P-521) or Ed25519 key")]
    UnusableKey,
    /// Key and certificate are not a pair.
    #[error("the private key does not belong to the first certificate of the chain")]
    KeyMismatch,
    /// A certificate does not decode.
    #[error("certificate {index} of {what}: {source}")]
    Certificate {
        /// Which input.
        what: &'static str,
        /// Position, from 0.
        index: usize,
        /// Why.
        source: PeerRejection,
    },
    /// A root that cannot be used as a trust anchor.
    #[error("certificate {index} of the root bundle is not usable as a root: {source}")]
    Root {
        /// Position, from 0.
        index: usize,
        /// Why.
        source: webpki::Error,
    },
    /// A revocation list that does not decode.
    #[error("revocation list {index}: {source}")]
    Revocation {
        /// Position, from 0.
        index: usize,
        /// Why.
        source: webpki::Error,
    },
}

/// A plan that cannot work whatever the secrets are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No identity to serve with.
    #[error("a TLS server needs at least one certificate")]
    NoIdentity,
    /// Every listed suite is unknown or unsupported.
    #[error("none of the cipher suites is supported: {}", .listed.join(", "))]
    NoCipherSuite {
        /// The names as written.
        listed: Vec<String>,
    },
    /// Every listed group is unknown or unsupported.
    #[error("none of the key exchange groups is supported: {}", .listed.join(", "))]
    NoGroup {
        /// The names as written.
        listed: Vec<String>,
    },
    /// The highest version is below the lowest, or below TLS 1.2.
    #[error("no supported protocol version lies between {minimum} and {maximum}")]
    NoVersion {
        /// Lowest.
        minimum: &'static str,
        /// Highest.
        maximum: &'static str,
    },
    /// A client certificate is asked for, but nothing says which are good.
    #[error(
        "a client certificate is required, but neither roots nor pinned hashes say which to accept"
    )]
    RequiredWithoutTrust,
    /// Names are worth nothing without a root that vouches for them.
    #[error("names in a certificate cannot be matched without trusted roots")]
    NamesWithoutTrust,
    /// A protocol name is empty or longer than 255 bytes (RFC 7301 section 3.1).
    #[error("ALPN protocol names are 1 to 255 bytes long")]
    Alpn,
    /// A regular expression that does not compile or is too large.
    #[error("regular expression {pattern:?}: {reason}")]
    Regex {
        /// As written, cut to 200 characters.
        pattern: String,
        /// The compiler's words.
        reason: String,
    },
    /// A name pattern for server identities that means nothing.
    #[error("{pattern:?} is not a server name pattern")]
    NamePattern {
        /// As written.
        pattern: String,
    },
    /// rustls refused the combination.
    #[error("the TLS configuration is inconsistent: {reason}")]
    Inconsistent {
        /// rustls' words.
        reason: String,
    },
}

impl TlsError {
    /// Who has to act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NotReady { .. } | Self::ServerName { .. } | Self::Plan(_) => Fault::Config,
            Self::Handshake { source, .. } if is_internal(source) => Fault::Internal,
            Self::Timeout { side }
            | Self::Closed { side }
            | Self::Io { side, .. }
            | Self::Handshake { side, .. }
            | Self::Refused { side, .. } => match side {
                Side::Downstream => Fault::Client,
                Side::Upstream => Fault::Upstream,
            },
        }
    }

    /// Whether the request that wanted this connection may be sent elsewhere: no byte of it is sent before a handshake succeeds, as early data is
    /// never used. False for faults of the configuration, which a retry cannot heal.
    pub fn retry_is_safe(&self) -> bool {
        self.fault() != Fault::Config
    }

    /// A short, stable name in the vocabulary of BoringSSL, which dashboards and alerts on Envoy's transport failure reason look for.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotReady { .. } => "SECRET_NOT_SUPPLIED",
            Self::Timeout { .. } => "HANDSHAKE_TIMEOUT",
            Self::Closed { .. } => "CONNECTION_CLOSED_DURING_HANDSHAKE",
            Self::Io { .. } => "CONNECTION_FAILED_DURING_HANDSHAKE",
            Self::Refused { .. } => "CERTIFICATE_VERIFY_FAILED",
            Self::ServerName { .. } => "INVALID_SERVER_NAME",
            Self::Plan(_) => "INVALID_CONFIGURATION",
            Self::Handshake { source, .. } => handshake_reason(source),
        }
    }

    /// Sorts what tokio-rustls hands up.
    pub(super) fn from_io(side: Side, error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Self::Closed { side };
        }
        match error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>())
            .cloned()
        {
            Some(source) => Self::from_rustls(side, source),
            None => Self::Io {
                side,
                source: error,
            },
        }
    }

    pub(super) fn from_rustls(side: Side, source: rustls::Error) -> Self {
        if let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = &source
            && let Some(rejection) = other.0.downcast_ref::<PeerRejection>()
        {
            return Self::Refused {
                side,
                source: rejection.clone(),
            };
        }
        Self::Handshake { side, source }
    }
}

impl From<PeerRejection> for rustls::Error {
    fn from(rejection: PeerRejection) -> Self {
        Self::InvalidCertificate(CertificateError::Other(rustls::OtherError(Arc::new(
            rejection,
        ))))
    }
}

fn peer(side: Side) -> &'static str {
    match side {
        Side::Downstream => "client",
        Side::Upstream => "upstream",
    }
}

fn is_internal(error: &rustls::Error) -> bool {
    matches!(
        error,
        rustls::Error::General(_)
            | rustls::Error::FailedToGetRandomBytes
            | rustls::Error::FailedToGetCurrentTime
            | rustls::Error::EncryptError
    )
}

fn handshake_reason(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::NoCertificatesPresented => "PEER_DID_NOT_RETURN_A_CERTIFICATE",
        rustls::Error::InvalidCertificate(_) | rustls::Error::InvalidCertRevocationList(_) => {
            "CERTIFICATE_VERIFY_FAILED"
        }
        rustls::Error::NoApplicationProtocol => "NO_APPLICATION_PROTOCOL",
        rustls::Error::DecryptError => "DECRYPTION_FAILED_OR_BAD_RECORD_MAC",
        rustls::Error::PeerSentOversizedRecord => "ENCRYPTED_LENGTH_TOO_LONG",
        rustls::Error::InvalidMessage(_) => "WRONG_VERSION_NUMBER",
        rustls::Error::PeerIncompatible(incompatible) => match incompatible {
            PeerIncompatible::NoCipherSuitesInCommon => "NO_SHARED_CIPHER",
            PeerIncompatible::NoKxGroupsInCommon
            | PeerIncompatible::NamedGroupsExtensionRequired => "NO_SHARED_GROUP",
            PeerIncompatible::NoSignatureSchemesInCommon
            | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon => {
                "NO_COMMON_SIGNATURE_ALGORITHMS"
            }
            _ => "UNSUPPORTED_PROTOCOL",
        },
        rustls::Error::PeerMisbehaved(PeerMisbehaved::SelectedUnofferedApplicationProtocol) => {
            "INVALID_ALPN_PROTOCOL"
        }
        rustls::Error::PeerMisbehaved(_)
        | rustls::Error::InappropriateMessage { .. }
        | rustls::Error::InappropriateHandshakeMessage { .. } => "UNEXPECTED_MESSAGE",
        rustls::Error::AlertReceived(alert) => alert_reason(*alert),
        _ => "HANDSHAKE_FAILURE",
    }
}

/// BoringSSL's names of alerts that the peer sent.
fn alert_reason(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::UnexpectedMessage => "SSLV3_ALERT_UNEXPECTED_MESSAGE",
        AlertDescription::BadRecordMac => "SSLV3_ALERT_BAD_RECORD_MAC",
        AlertDescription::HandshakeFailure => "SSLV3_ALERT_HANDSHAKE_FAILURE",
        AlertDescription::BadCertificate => "SSLV3_ALERT_BAD_CERTIFICATE",
        AlertDescription::UnsupportedCertificate => "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
        AlertDescription::CertificateRevoked => "SSLV3_ALERT_CERTIFICATE_REVOKED",
        AlertDescription::CertificateExpired => "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        AlertDescription::CertificateUnknown => "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        AlertDescription::IllegalParameter => "SSLV3_ALERT_ILLEGAL_PARAMETER",
        AlertDescription::UnknownCA => "TLSV1_ALERT_UNKNOWN_CA",
        AlertDescription::AccessDenied => "TLSV1_ALERT_ACCESS_DENIED",
        AlertDescription::DecodeError => "TLSV1_ALERT_DECODE_ERROR",
        AlertDescription::DecryptError => "TLSV1_ALERT_DECRYPT_ERROR",
        AlertDescription::ProtocolVersion => "TLSV1_ALERT_PROTOCOL_VERSION",
        AlertDescription::InternalError => "TLSV1_ALERT_INTERNAL_ERROR",
        AlertDescription::UnrecognisedName => "TLSV1_UNRECOGNIZED_NAME",
        AlertDescription::CertificateRequired => "TLSV1_CERTIFICATE_REQUIRED",
        AlertDescription::NoApplicationProtocol => "TLSV1_ALERT_NO_APPLICATION_PROTOCOL",
        _ => "TLSV1_ALERT",
    }
}
