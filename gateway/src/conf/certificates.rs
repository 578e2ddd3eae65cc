//! What interfaces show to clients that speak TLS: the certificates that were configured, or ones
//! that the node makes for itself, under the names that Kong gives them.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use carbyne_engine::tls::{Identity, Trust};
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};

use super::{Conf, ConfError};

/// Who listens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Interface {
    Admin,
    Proxy,
    Status,
}

impl Interface {
    /// What the names of its keys begin with.
    fn keys(self) -> &'static str {
        match self {
            Self::Admin => "admin_",
            Self::Proxy => "",
            Self::Status => "status_",
        }
    }

    /// What the names of its files begin with.
    fn files(self) -> &'static str {
        match self {
            Self::Admin => "admin-",
            Self::Proxy => "",
            Self::Status => "status-",
        }
    }

    fn directives(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Proxy => "proxy",
            Self::Status => "status",
        }
    }

    /// Certificate and key that the node makes for itself, of a kind.
    fn default_files(self, prefix: &Path, kind: &str) -> (PathBuf, PathBuf) {
        let folder = prefix.join("ssl");
        let name = format!("{}kong-default{kind}", self.files());
        (
            folder.join(format!("{name}.crt")),
            folder.join(format!("{name}.key")),
        )
    }
}

/// RSA for clients that know nothing else, and ECDSA.
const KINDS: [&str; 2] = ["", "-ecdsa"];

impl Conf {
    /// The certificates of an interface; without any, those that [`create_default`] makes.
    pub fn identities(&self, interface: Interface) -> Result<Vec<Identity>, ConfError> {
        let (chains, keys) = (
            format!("{}ssl_cert", interface.keys()),
            format!("{}ssl_cert_key", interface.keys()),
        );
        let list = |key: &str| -> Vec<String> {
            let parts = self.get(key).unwrap_or_default().split(',');
            parts
                .map(|part| part.trim().to_owned())
                .filter(|part| !part.is_empty())
                .collect()
        };
        let (listed, private) = (list(&chains), list(&keys));
        let refused = |why: String| ConfError::Refused(why);
        if listed.len() != private.len() {
            return Err(refused(format!(
                "{chains} and {keys} have to name as many files: {} and {}",
                listed.len(),
                private.len()
            )));
        }
        if listed.is_empty() {
            let prefix = self.prefix();
            create_default(&prefix, interface).map_err(|error| ConfError::Unreadable {
                path: prefix.join("ssl"),
                problem: error.to_string(),
            })?;
            return KINDS
                .iter()
                .map(|kind| {
                    let (chain, key) = interface.default_files(&prefix, kind);
                    let read = |path: &Path| {
                        std::fs::read(path).map_err(|error| ConfError::Unreadable {
                            path: path.into(),
                            problem: error.to_string(),
                        })
                    };
                    Identity::from_pem(&read(&chain)?, &read(&key)?)
                        .map_err(|error| refused(format!("{}: {error}", chain.display())))
                })
                .collect();
        }
        listed
            .iter()
            .zip(&private)
            .map(|(chain, key)| {
                let identity = Identity::from_pem(&pem(&chains, chain)?, &pem(&keys, key)?);
                identity.map_err(|error| refused(format!("{chains}: {error}")))
            })
            .collect()
    }

    /// The roots that certificates of clients of an interface have to end in.
    pub fn client_roots(&self, interface: Interface) -> Result<Option<Trust>, ConfError> {
        let key = format!("nginx_{}_ssl_client_certificate", interface.directives());
        let Some(text) = self.get(&key) else {
            return Ok(None);
        };
        let trust = Trust::from_pem(&pem(&key, text)?, None);
        trust
            .map(Some)
            .map_err(|error| ConfError::Refused(format!("{key}: {error}")))
    }
}

/// A file's content, or the text itself: as it is, or in base64. Nothing of it is ever printed.
fn pem(key: &str, text: &str) -> Result<Vec<u8>, ConfError> {
    if text.contains("-----BEGIN") {
        return Ok(text.replace("\\n", "\n").into_bytes());
    }
    let path = Path::new(text);
    if path.exists() {
        return std::fs::read(path).map_err(|error| ConfError::Unreadable {
            path: path.into(),
            problem: error.to_string(),
        });
    }
    let compact: String = text.split_whitespace().collect();
    match STANDARD.decode(compact) {
        Ok(decoded) if decoded.windows(10).any(|window| window == b"-----BEGIN") => Ok(decoded),
        _ => Err(ConfError::Refused(format!(
            "{key}: no such file, and neither PEM nor PEM in base64"
        ))),
    }
}

/// Makes the certificates of an interface, where they are not there yet: for `localhost`, signed
/// by themselves, for twenty years, as Kong does.
pub fn create_default(prefix: &Path, interface: Interface) -> std::io::Result<()> {
    for kind in KINDS {
        let (chain, key) = interface.default_files(prefix, kind);
        if chain.exists() && key.exists() {
            continue;
        }
        std::fs::create_dir_all(prefix.join("ssl"))?;
        let (certificate, private) = generate(kind).map_err(std::io::Error::other)?;
        write(&key, private.as_bytes(), 0o600)?;
        write(&chain, certificate.as_bytes(), 0o644)?;
    }
    Ok(())
}

fn generate(kind: &str) -> Result<(String, String), rcgen::Error> {
    let key = match kind {
        "" => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)?,
        _ => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?,
    };
    let mut parameters = CertificateParams::new(["localhost".to_owned()])?;
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Carbyne");
    name.push(DnType::CommonName, "localhost");
    parameters.distinguished_name = name;
    let now = std::time::SystemTime::now();
    parameters.not_before = now.into();
    parameters.not_after = (now + std::time::Duration::from_secs(86_400 * 365 * 20)).into();
    parameters.is_ca = IsCa::ExplicitNoCa;
    parameters.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let certificate = parameters.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// Writes a file as a whole: another process sees all of it or nothing.
fn write(path: &Path, content: &[u8], mode: u32) -> std::io::Result<()> {
    let draft = path.with_extension(format!("{}.draft", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&draft)?;
    file.write_all(content)?;
    std::fs::rename(draft, path)
}
