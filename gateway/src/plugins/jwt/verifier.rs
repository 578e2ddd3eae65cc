//! Whether a key signed a token. For which algorithm a key is, is decided when it is read and never by a token: that a
//! public key is taken for an HMAC secret cannot happen.

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::ParsedPublicKey;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::algorithm::{Algorithm, Kind};
use super::token::Token;
use crate::schema::public_key;

/// A key, ready to be used.
pub(super) enum Verifier {
    /// The secret as it is written, and as base64 says it is. Nothing where that has no bytes: anybody knows such a key.
    Secret {
        plain: Option<Box<hmac::Key>>,
        decoded: Option<Box<hmac::Key>>,
    },
    Public(ParsedPublicKey),
    /// There is none, or none that the algorithm can use.
    Unusable,
}

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    Key,
    Signature,
}

impl Verifier {
    pub(super) fn new(algorithm: &Algorithm, secret: Option<&str>, pem: Option<&str>) -> Self {
        let public = match algorithm.kind {
            Kind::Secret(hash) => {
                let key = |secret: Vec<u8>| {
                    (!secret.is_empty()).then(|| Box::new(hmac::Key::new(hash, &secret)))
                };
                let secret = secret.unwrap_or_default();
                return Self::Secret {
                    plain: key(secret.as_bytes().to_vec()),
                    decoded: decode(secret).and_then(key),
                };
            }
            Kind::Public(public) => public,
        };
        let key = pem.and_then(public_key);
        // Of RSA those below 2048 bits are left out: RFC 7518 section 3.3 asks for that, and shorter ones are forged.
        let parsed = key.and_then(|key| ParsedPublicKey::new(public, key).ok());
        parsed.map_or(Self::Unusable, Self::Public)
    }

    /// Whether this key signed the token. Secrets are compared in constant time.
    pub(super) fn verify(&self, token: &Token<'_>, secret_is_base64: bool) -> Result<(), Fault> {
        let message = token.signed.as_bytes();
        let verified = match self {
            Self::Secret { plain, decoded } => {
                let key = if secret_is_base64 { decoded } else { plain };
                let key = key.as_ref().ok_or(Fault::Key)?;
                hmac::verify(key, message, &token.signature)
            }
            Self::Public(key) => key.verify_sig(message, &token.signature),
            Self::Unusable => return Err(Fault::Key),
        };
        verified.map_err(|_| Fault::Signature)
    }
}

/// Secrets never reach a log.
impl fmt::Debug for Verifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Secret { .. } => "secret",
            Self::Public(_) => "public key",
            Self::Unusable => "no key",
        })
    }
}

/// Reads base64, of either alphabet: Kong up to 3.8 took both, later ones only that of URLs.
fn decode(secret: &str) -> Option<Vec<u8>> {
    let url_safe = secret.replace('+', "-").replace('/', "_");
    BASE64URL.decode(url_safe).ok()
}

const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);
