//! Keys of every kind, made for each run, and tokens signed with them.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaEncoding, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// A key and the algorithm that it signs by.
pub(super) struct Signer {
    pub(super) algorithm: &'static str,
    pub(super) jwk: Value,
    key: Secret,
}

#[expect(clippy::large_enum_variant, reason = "a handful of keys in a test")]
enum Secret {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Hmac(hmac::Key),
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
}

impl Signer {
    pub(super) fn new(algorithm: &'static str) -> Self {
        let random = SystemRandom::new();
        let (jwk, key) = match algorithm {
            "HS256" | "HS384" | "HS512" => {
                let hash = match algorithm {
                    "HS256" => hmac::HMAC_SHA256,
                    "HS384" => hmac::HMAC_SHA384,
                    _ => hmac::HMAC_SHA512,
                };
                let mut secret = [0; 64];
                aws_lc_rs::rand::fill(&mut secret).unwrap();
                (
                    json!({"kty": "oct", "k": encode(&secret)}),
                    Secret::Hmac(hmac::Key::new(hash, &secret)),
                )
            }
            "ES256" | "ES384" | "ES512" => {
                let (signing, curve) = match algorithm {
                    "ES256" => (&signature::ECDSA_P256_SHA256_FIXED_SIGNING, "P-256"),
                    "ES384" => (&signature::ECDSA_P384_SHA384_FIXED_SIGNING, "P-384"),
                    _ => (&signature::ECDSA_P521_SHA512_FIXED_SIGNING, "P-521"),
                };
                let document = EcdsaKeyPair::generate_pkcs8(signing, &random).unwrap();
                let pair = EcdsaKeyPair::from_pkcs8(signing, document.as_ref()).unwrap();
                let point = pair.public_key().as_ref()[1..].to_vec();
                let (x, y) = point.split_at(point.len() / 2);
                (
                    json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y)}),
                    Secret::Ec(pair),
                )
            }
            "EdDSA" => {
                let document = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
                let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
                (
                    json!({"kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key().as_ref())}),
                    Secret::Ed(pair),
                )
            }
            _ => {
                let encoding: &'static dyn RsaEncoding = match algorithm {
                    "RS256" => &signature::RSA_PKCS1_SHA256,
                    "RS384" => &signature::RSA_PKCS1_SHA384,
                    "RS512" => &signature::RSA_PKCS1_SHA512,
                    "PS256" => &signature::RSA_PSS_SHA256,
                    "PS384" => &signature::RSA_PSS_SHA384,
                    _ => &signature::RSA_PSS_SHA512,
                };
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
                let public: RsaPublicKeyComponents<Vec<u8>> = pair.public_key().into();
                (
                    json!({"kty": "RSA", "n": encode(&public.n), "e": encode(&public.e)}),
                    Secret::Rsa(pair, encoding),
                )
            }
        };
        Self {
            algorithm,
            jwk,
            key,
        }
    }

    /// The key as a set has it, with these further members.
    pub(super) fn jwk(&self, more: &[(&str, &str)]) -> Value {
        let mut jwk = self.jwk.clone();
        for (name, value) in more {
            jwk[*name] = json!(value);
        }
        jwk
    }

    /// A token of this payload.
    pub(super) fn token(&self, payload: &Value) -> String {
        self.token_with(&json!({"alg": self.algorithm, "typ": "JWT"}), payload)
    }

    /// A token of this header and payload, signed whatever the header says.
    pub(super) fn token_with(&self, header: &Value, payload: &Value) -> String {
        let signed = format!(
            "{}.{}",
            encode(header.to_string().as_bytes()),
            encode(payload.to_string().as_bytes())
        );
        let signature = self.sign(signed.as_bytes());
        format!("{signed}.{}", encode(&signature))
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.key {
            Secret::Ec(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Secret::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Secret::Hmac(key) => hmac::sign(key, message).as_ref().to_vec(),
            Secret::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &random, message, &mut signature)
                    .unwrap();
                signature
            }
        }
    }
}

pub(super) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A set of these keys.
pub(super) fn set(keys: &[Value]) -> String {
    json!({"keys": keys}).to_string()
}
