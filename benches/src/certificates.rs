//! One certificate authority and two identities, made anew for each run.
//!
//! ECDSA P-256, as Istio's proxies ask for with `ECC_SIGNER_ALGORITHM`; each leaf carries a SPIFFE name (what
//! the mesh proxies check) and a DNS name (what nginx and HAProxy can check).

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::error::BenchError;

/// The name that every request and every SNI carries.
pub const HOST: &str = "bench.local";

/// Writes `ca.pem`, and for `server` and `client` a `.pem`, a `.key` and both in `-bundle.pem`; returns
/// the load generator's own TLS settings with the client identity.
///
/// # Errors
/// When a key cannot be made or a file not be written.
pub fn write(folder: &Path) -> Result<Arc<ClientConfig>, BenchError> {
    let authority_key = KeyPair::generate().map_err(certificate)?;
    let mut authority = CertificateParams::new(Vec::new()).map_err(certificate)?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    authority
        .distinguished_name
        .push(DnType::CommonName, "bench authority");
    let root = authority.self_signed(&authority_key).map_err(certificate)?;
    store(folder, "ca.pem", &root.pem())?;
    let issuer = Issuer::from_params(&authority, authority_key);

    leaf(folder, "server", &issuer)?;
    let (chain, key) = leaf(folder, "client", &issuer)?;

    let mut roots = RootCertStore::empty();
    roots.add(root.der().clone()).map_err(certificate)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(certificate)?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![chain], key)
        .map_err(certificate)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A new connection is a full handshake, or "new connection" would measure the ticket cache.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn leaf(
    folder: &Path,
    account: &str,
    issuer: &Issuer<'_, KeyPair>,
) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), BenchError> {
    let key = KeyPair::generate().map_err(certificate)?;
    let mut params = CertificateParams::new(vec![HOST.to_owned()]).map_err(certificate)?;
    let spiffe = format!("spiffe://cluster.local/ns/bench/sa/{account}");
    params
        .subject_alt_names
        .push(SanType::URI(spiffe.try_into().map_err(certificate)?));
    params.distinguished_name.push(DnType::CommonName, account);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let signed = params.signed_by(&key, issuer).map_err(certificate)?;
    let (chain, secret) = (signed.pem(), key.serialize_pem());
    store(folder, &format!("{account}.pem"), &chain)?;
    store(folder, &format!("{account}.key"), &secret)?;
    store(
        folder,
        &format!("{account}-bundle.pem"),
        &format!("{chain}{secret}"),
    )?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Ok((signed.der().clone(), key))
}

fn store(folder: &Path, name: &str, content: &str) -> Result<(), BenchError> {
    let path = folder.join(name);
    fs::write(&path, content).map_err(BenchError::file(path))
}

fn certificate(error: impl std::fmt::Display) -> BenchError {
    BenchError::Certificate(error.to_string())
}
