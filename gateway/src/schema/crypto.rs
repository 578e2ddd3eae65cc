//! Certificates and keys, as far as schemas ask about them.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING,
    EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};
use x509_parser::asn1_rs::{Any, Integer, Oid, Sequence, ToDer};
use x509_parser::oid_registry::OID_PKCS1_RSAENCRYPTION;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo, X509Certificate};
use x509_parser::public_key::RSAPublicKey;

use crate::value::Value;

/// What is asked of a certificate.
#[derive(Debug)]
pub(super) struct Certificate {
    pub(super) algorithm: String,
    pub(super) digest: String,
    pub(super) is_authority: bool,
    pub(super) is_expired: bool,
    /// The public key, without its algorithm.
    pub(super) public: Vec<u8>,
}

/// What is asked of a key.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) is_private: bool,
    /// The public key, without its algorithm.
    pub(super) public: Vec<u8>,
}

/// Reads the first certificate of a PEM text.
pub(super) fn certificate(pem: &str) -> Result<Certificate, String> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| format!("invalid certificate: x509.new: {error}"))?;
    let (_, cert) = X509Certificate::from_der(&der)
        .map_err(|error| format!("invalid certificate: x509.new: {error}"))?;
    let authority = cert
        .basic_constraints()
        .ok()
        .flatten()
        .is_some_and(|constraints| constraints.value.ca);
    Ok(Certificate {
        algorithm: cert.public_key().algorithm.algorithm.to_id_string(),
        digest: hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der).as_ref()),
        is_authority: authority,
        is_expired: cert.validity().not_after < x509_parser::time::ASN1Time::now(),
        public: cert.public_key().subject_public_key.data.to_vec(),
    })
}

/// Reads a private or a public key in PEM.
pub(super) fn key(pem: &str) -> Result<Key, String> {
    if let Ok(spki) = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()) {
        let (_, spki) =
            SubjectPublicKeyInfo::from_der(&spki).map_err(|error| format!("pkey.new: {error}"))?;
        return Ok(Key {
            is_private: false,
            public: spki.subject_public_key.data.to_vec(),
        });
    }
    // PKCS #1, which tools of decK write.
    if pem.contains("-----BEGIN RSA PUBLIC KEY-----") {
        let read = parse_x509_pem(pem.as_bytes()).map_err(|error| format!("pkey.new: {error}"))?;
        let der = read.1.contents;
        RSAPublicKey::from_der(&der).map_err(|error| format!("pkey.new: {error}"))?;
        return Ok(Key {
            is_private: false,
            public: der,
        });
    }
    // A certificate holds a public key as well, and Kong takes it for one.
    if pem.contains("-----BEGIN CERTIFICATE-----") && !pem.contains("PRIVATE KEY-----") {
        return certificate(pem).map(|cert| Key {
            is_private: false,
            public: cert.public,
        });
    }
    let der = PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| format!("pkey.new: {error}"))?;
    match public_of(&der) {
        Some(public) => Ok(Key {
            is_private: true,
            public,
        }),
        None => Err("pkey.new: not a key of a known kind".into()),
    }
}

/// The public key in a PEM text that holds it, its certificate or its private half: as a `RSAPublicKey`, a point of a
/// curve, or the 32 bytes of Ed25519.
pub fn public_key(pem: &str) -> Option<Vec<u8>> {
    key(pem).ok().map(|key| key.public)
}

fn public_of(key: &PrivateKeyDer<'_>) -> Option<Vec<u8>> {
    let der = key.secret_der();
    let rsa = match key {
        PrivateKeyDer::Pkcs1(_) => RsaKeyPair::from_der(der).ok(),
        _ => RsaKeyPair::from_pkcs8(der).ok(),
    };
    if let Some(rsa) = rsa {
        return Some(rsa.public_key().as_ref().to_vec());
    }
    if let Some(public) = public_of_rsa(key) {
        return Some(public);
    }
    for curve in [
        &ECDSA_P256_SHA256_ASN1_SIGNING,
        &ECDSA_P384_SHA384_ASN1_SIGNING,
        &ECDSA_P521_SHA512_ASN1_SIGNING,
    ] {
        if let Ok(pair) = EcdsaKeyPair::from_private_key_der(curve, der) {
            return Some(pair.public_key().as_ref().to_vec());
        }
    }
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(der)
        .ok()
        .map(|pair| pair.public_key().as_ref().to_vec())
}

/// The public key of RSA that is too short for TLS here: it is a key all the same, and who stores it gets it back.
fn public_of_rsa(key: &PrivateKeyDer<'_>) -> Option<Vec<u8>> {
    let der = key.secret_der();
    let pkcs1 = match key {
        PrivateKeyDer::Pkcs1(_) => der,
        _ => {
            let (_, info) = Any::from_der(der).ok()?;
            let (rest, _version) = Any::from_der(info.data).ok()?;
            let (rest, algorithm) = Any::from_der(rest).ok()?;
            let (_, oid) = Oid::from_der(algorithm.data).ok()?;
            (oid == OID_PKCS1_RSAENCRYPTION).then_some(())?;
            Any::from_der(rest).ok()?.1.data
        }
    };
    let (_, private) = Any::from_der(pkcs1).ok()?;
    let (parts, _version) = Integer::from_der(private.data).ok()?;
    let (rest, _modulus) = Integer::from_der(parts).ok()?;
    let (rest, _exponent) = Integer::from_der(rest).ok()?;
    let public = parts.get(..parts.len() - rest.len())?;
    Sequence::new(public.into()).to_der_vec().ok()
}

/// Whether a JSON Web Key has the parts that its kind needs.
pub(super) fn is_jwk(jwk: &Value) -> bool {
    let part = |name: &str| {
        let text = jwk.get(name).and_then(Value::as_str);
        text.is_some_and(|text| {
            !text.is_empty() && URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).is_ok()
        })
    };
    match jwk.get("kty").and_then(Value::as_str) {
        Some("RSA") => part("n") && part("e"),
        Some("EC") => jwk.get("crv").is_some() && part("x") && part("y"),
        Some("OKP") => jwk.get("crv").is_some() && part("x"),
        _ => false,
    }
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn public_keys_come_in_both_forms() {
        let pair = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        let der = pair.public_key().as_ref();
        let pem = |label: &str, der: &[u8]| {
            let text = STANDARD.encode(der);
            format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
        };
        let read = key(&pem("RSA PUBLIC KEY", der)).unwrap();
        assert!(!read.is_private);
        assert_eq!(read.public, der);
        assert!(key(&pem("RSA PUBLIC KEY", b"not a key")).is_err());
        assert!(key(&pem("PUBLIC KEY", der)).is_err());
    }
}
