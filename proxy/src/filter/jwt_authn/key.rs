//! Public keys of issuers (RFC 7517), and whether one of them signed a token.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{self, ParsedPublicKey, RsaPublicKeyComponents, VerificationAlgorithm};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::status::Failure;
use super::token::Token;

/// How a token is signed (RFC 7518 section 3.1, RFC 8037). There is no `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    EdDsa,
    Es256,
    Es384,
    Es512,
    Hs256,
    Hs384,
    Hs512,
    Ps256,
    Ps384,
    Ps512,
    Rs256,
    Rs384,
    Rs512,
}

/// The keys of an issuer.
#[derive(Debug)]
pub(super) struct KeySet {
    keys: Box<[Key]>,
}

/// One key. Which algorithms it serves is decided when it is read and never by a token: that an RSA key is taken for an HMAC secret cannot happen.
#[derive(Debug)]
struct Key {
    id: Option<Box<str>>,
    /// The one algorithm that the set says it is for.
    only: Option<Algorithm>,
    verifiers: Box<[(Algorithm, Verifier)]>,
}

enum Verifier {
    Public(ParsedPublicKey),
    Secret(Box<hmac::Key>),
}

/// The bytes are no key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeySetError {
    #[error("Jwks is an invalid JSON")]
    Json,
    #[error("Jwks does not have [keys] field")]
    NoKeys,
}

impl Algorithm {
    pub(super) fn parse(name: &str) -> Option<Self> {
        ALL.iter()
            .find_map(|(known, algorithm)| (*known == name).then_some(*algorithm))
    }

    fn verification(self) -> Option<&'static dyn VerificationAlgorithm> {
        Some(match self {
            Self::EdDsa => &signature::ED25519,
            Self::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
            Self::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
            Self::Es512 => &signature::ECDSA_P521_SHA512_FIXED,
            _ => return None,
        })
    }
}

impl KeySet {
    /// Reads a set. Keys that cannot be used are left out, as in Envoy: sets hold keys for other purposes too.
    pub(super) fn parse(text: &[u8]) -> Result<Self, KeySetError> {
        let set: Value = serde_json::from_slice(text).map_err(|_| KeySetError::Json)?;
        let keys = set
            .get("keys")
            .and_then(Value::as_array)
            .ok_or(KeySetError::NoKeys)?;
        Ok(Self {
            keys: keys
                .iter()
                .filter_map(Value::as_object)
                .filter_map(Key::parse)
                .collect(),
        })
    }

    /// Whether one of the keys signed the token.
    pub(super) fn verify(&self, token: &Token<'_>) -> Result<(), Failure> {
        if self.keys.is_empty() {
            return Err(Failure::NoKeys);
        }
        let mut failure = Failure::NoMatchingKey;
        for key in &self.keys {
            let other_id =
                matches!((&token.key_id, &key.id), (Some(wanted), Some(id)) if **wanted != **id);
            if other_id || key.only.is_some_and(|only| only != token.algorithm) {
                continue;
            }
            failure = Failure::Verification;
            let verifier = key.verifiers.iter().find_map(|(algorithm, verifier)| {
                (*algorithm == token.algorithm).then_some(verifier)
            });
            if verifier
                .is_some_and(|verifier| verifier.verify(token.signed.as_bytes(), &token.signature))
            {
                return Ok(());
            }
        }
        Err(failure)
    }
}

impl Key {
    fn parse(key: &Map<String, Value>) -> Option<Self> {
        // What encrypts does not sign (RFC 7517 section 4.2). And who publishes a private key lets everybody sign: istiod up to 1.29.0 sends such
        // a set where it could not fetch the real one (CVE-2026-31837).
        if key.get("use").is_some_and(|purpose| purpose != "sig")
            || (key.get("kty")? != "oct" && key.contains_key("d"))
        {
            return None;
        }
        let only = match key.get("alg") {
            None => None,
            Some(name) => Some(Algorithm::parse(name.as_str()?)?),
        };
        let kind = key.get("kty")?.as_str()?;
        let algorithms = match (kind, key.get("crv").and_then(Value::as_str)) {
            ("EC", Some("P-256")) => &[Algorithm::Es256][..],
            ("EC", Some("P-384")) => &[Algorithm::Es384],
            ("EC", Some("P-521")) => &[Algorithm::Es512],
            ("OKP", Some("Ed25519")) => &[Algorithm::EdDsa],
            ("RSA", _) => &[
                Algorithm::Rs256,
                Algorithm::Rs384,
                Algorithm::Rs512,
                Algorithm::Ps256,
                Algorithm::Ps384,
                Algorithm::Ps512,
            ],
            ("oct", _) => &[Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512],
            _ => return None,
        };
        let mut verifiers = Vec::new();
        for &algorithm in algorithms
            .iter()
            .filter(|algorithm| only.is_none_or(|only| only == **algorithm))
        {
            verifiers.push((algorithm, Verifier::parse(kind, algorithm, key)?));
        }
        if verifiers.is_empty() {
            return None;
        }
        Some(Self {
            id: key
                .get("kid")
                .and_then(Value::as_str)
                .filter(|id| !id.is_empty())
                .map(Box::from),
            only,
            verifiers: verifiers.into(),
        })
    }
}

impl Verifier {
    fn parse(kind: &str, algorithm: Algorithm, key: &Map<String, Value>) -> Option<Self> {
        match kind {
            "RSA" => {
                let (n, e) = (number(key, "n")?, number(key, "e")?);
                // istiod up to 1.20 words its failure to fetch as a modulus. Shorter keys than RFC 7518 section 3.3 asks for are forgeable.
                if n.starts_with(NO_KEYS_OF_ISTIOD) || n.len() * 8 < SHORTEST_RSA {
                    return None;
                }
                let parameters = match algorithm {
                    Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
                    Algorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
                    Algorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
                    Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
                    Algorithm::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
                    Algorithm::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
                    _ => return None,
                };
                RsaPublicKeyComponents { n, e }
                    .to_parsed_public_key(parameters)
                    .ok()
                    .map(Self::Public)
            }
            "EC" => {
                let (x, y) = (bytes(key, "x")?, bytes(key, "y")?);
                let width = match algorithm {
                    Algorithm::Es256 => 32,
                    Algorithm::Es384 => 48,
                    _ => 66,
                };
                // An uncompressed point (SEC 1 section 2.3.3); coordinates have the curve's full width (RFC 7518 section 6.2.1.2), some leave zeros out.
                let mut point = vec![4];
                for coordinate in [x, y] {
                    point.extend(std::iter::repeat_n(
                        0,
                        usize::checked_sub(width, coordinate.len())?,
                    ));
                    point.extend_from_slice(&coordinate);
                }
                ParsedPublicKey::new(algorithm.verification()?, point)
                    .ok()
                    .map(Self::Public)
            }
            "OKP" => ParsedPublicKey::new(algorithm.verification()?, bytes(key, "x")?)
                .ok()
                .map(Self::Public),
            "oct" => {
                let secret = bytes(key, "k").filter(|secret| !secret.is_empty())?;
                let hash = match algorithm {
                    Algorithm::Hs256 => hmac::HMAC_SHA256,
                    Algorithm::Hs384 => hmac::HMAC_SHA384,
                    _ => hmac::HMAC_SHA512,
                };
                Some(Self::Secret(Box::new(hmac::Key::new(hash, &secret))))
            }
            _ => None,
        }
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Public(key) => key.verify_sig(message, signature).is_ok(),
            Self::Secret(key) => hmac::verify(key, message, signature).is_ok(),
        }
    }
}

/// Secrets never reach a log.
impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Public(_) => "public key",
            Self::Secret(_) => "secret",
        })
    }
}

fn bytes(key: &Map<String, Value>, name: &str) -> Option<Vec<u8>> {
    let text = key.get(name)?.as_str()?.trim_end_matches('=');
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// A number without leading zeros.
fn number(key: &Map<String, Value>, name: &str) -> Option<Vec<u8>> {
    let mut bytes = bytes(key, name)?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.drain(..zeros);
    Some(bytes)
}

const ALL: [(&str, Algorithm); 13] = [
    ("EdDSA", Algorithm::EdDsa),
    ("ES256", Algorithm::Es256),
    ("ES384", Algorithm::Es384),
    ("ES512", Algorithm::Es512),
    ("HS256", Algorithm::Hs256),
    ("HS384", Algorithm::Hs384),
    ("HS512", Algorithm::Hs512),
    ("PS256", Algorithm::Ps256),
    ("PS384", Algorithm::Ps384),
    ("PS512", Algorithm::Ps512),
    ("RS256", Algorithm::Rs256),
    ("RS384", Algorithm::Rs384),
    ("RS512", Algorithm::Rs512),
];
const NO_KEYS_OF_ISTIOD: &[u8] = b"Error-IstiodFailedToFetchJwksUri-";
const SHORTEST_RSA: usize = 2048;
