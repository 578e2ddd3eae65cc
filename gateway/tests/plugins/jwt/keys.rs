//! Keys made for the test, and tokens signed with them.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512,
    RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

/// Everything that signs.
pub(super) struct Keys {
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    p521: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
}

impl Keys {
    pub(super) fn make() -> Self {
        let curve = |signing| EcdsaKeyPair::generate(signing).expect("a key");
        Self {
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"),
            p256: curve(&ECDSA_P256_SHA256_FIXED_SIGNING),
            p384: curve(&ECDSA_P384_SHA384_FIXED_SIGNING),
            p521: curve(&ECDSA_P521_SHA512_FIXED_SIGNING),
            ed25519: Ed25519KeyPair::generate().expect("a key"),
        }
    }

    /// The public key of an algorithm, in PEM.
    pub(super) fn public(&self, algorithm: &str) -> String {
        let der: Result<PublicKeyX509Der<'_>, _> = match algorithm {
            "ES256" => self.p256.public_key().as_der(),
            "ES384" => self.p384.public_key().as_der(),
            "ES512" => self.p521.public_key().as_der(),
            "EdDSA" => self.ed25519.public_key().as_der(),
            _ => self.rsa.public_key().as_der(),
        };
        let der = der.expect("a public key");
        let base64 = STANDARD.encode(der.as_ref());
        let lines: Vec<_> = base64
            .as_bytes()
            .chunks(64)
            .map(String::from_utf8_lossy)
            .collect();
        format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            lines.join("\n")
        )
    }

    /// A token of these claims, its key named after the algorithm.
    pub(super) fn token(&self, algorithm: &str, claims: &str) -> String {
        let signed = unsigned(&format!(r#"{{"typ":"JWT","alg":"{algorithm}"}}"#), claims);
        let message = signed.as_bytes();
        let random = SystemRandom::new();
        let rsa = |padding: &'static dyn RsaEncoding| {
            let mut signature = vec![0; self.rsa.public_modulus_len()];
            self.rsa
                .sign(padding, &random, message, &mut signature)
                .expect("a signature");
            signature
        };
        let ecdsa = |pair: &EcdsaKeyPair| {
            let signature = pair.sign(&random, message).expect("a signature");
            signature.as_ref().to_vec()
        };
        let signature = match algorithm {
            "RS256" => rsa(&RSA_PKCS1_SHA256),
            "RS384" => rsa(&RSA_PKCS1_SHA384),
            "RS512" => rsa(&RSA_PKCS1_SHA512),
            "PS256" => rsa(&RSA_PSS_SHA256),
            "PS384" => rsa(&RSA_PSS_SHA384),
            "PS512" => rsa(&RSA_PSS_SHA512),
            "ES256" => ecdsa(&self.p256),
            "ES384" => ecdsa(&self.p384),
            "ES512" => ecdsa(&self.p521),
            "EdDSA" => self.ed25519.sign(message).as_ref().to_vec(),
            other => panic!("no key signs with {other}"),
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// A token signed with a secret.
pub(super) fn secret_token(algorithm: &str, secret: &[u8], claims: &str) -> String {
    let header = format!(r#"{{"typ":"JWT","alg":"{algorithm}"}}"#);
    secret_token_with(&header, algorithm, secret, claims)
}

/// The same with a header of the test's own.
pub(super) fn secret_token_with(
    header: &str,
    algorithm: &str,
    secret: &[u8],
    claims: &str,
) -> String {
    let hash = match algorithm {
        "HS256" => hmac::HMAC_SHA256,
        "HS384" => hmac::HMAC_SHA384,
        "HS512" => hmac::HMAC_SHA512,
        other => panic!("no secret signs with {other}"),
    };
    let signed = unsigned(header, claims);
    let signature = hmac::sign(&hmac::Key::new(hash, secret), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// What a signature is about.
pub(super) fn unsigned(header: &str, claims: &str) -> String {
    format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    )
}

/// Seconds since 1970, so much later.
pub(super) fn later(seconds: i64) -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    i64::try_from(now.as_secs()).expect("before the year 292 billion") + seconds
}
