//! Root and leaves, P-256 throughout.

use std::{
    fmt,
    path::Path,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};

use super::Identity;

/// Why a certificate could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The generator refused.
    #[error("certificate: {0}")]
    Generate(#[from] rcgen::Error),
    /// A root's file could not be read or written.
    #[error("{file}: {error}")]
    File {
        /// The file.
        file: String,
        /// What happened.
        error: std::io::Error,
    },
}

/// A certificate authority; its key never leaves it except to the file it is told to use.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root_pem: String,
    life: Duration,
}

impl fmt::Debug for Authority {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Authority")
            .field("life", &self.life)
            .finish_non_exhaustive()
    }
}

/// One workload's certificate and key.
#[derive(Clone)]
pub struct Leaf {
    /// PEM: the leaf, then the root that signed it.
    pub chain_pem: String,
    /// PEM, PKCS#8.
    pub key_pem: String,
    /// When it was made.
    pub issued: SystemTime,
    /// When it ends.
    pub expires: SystemTime,
}

impl Leaf {
    /// When the next one is due: half of the life is over (istio.md 1.6).
    #[must_use]
    pub fn renewal(&self) -> SystemTime {
        let life = self.expires.duration_since(self.issued).unwrap_or_default();
        self.issued + life / 2
    }
}

impl fmt::Debug for Leaf {
    /// Never the key.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Leaf")
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// A new root for a trust domain; leaves live `life`.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn generate(trust_domain: &str, life: Duration) -> Result<Self, CertificateError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, trust_domain);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let now = SystemTime::now();
        params.not_before = (now - CLOCK_SKEW).into();
        params.not_after = (now + ROOT_LIFE).into();
        let root_pem = params.self_signed(&key)?.pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            root_pem,
            life,
        })
    }

    /// The root in `root-cert.pem` and `root-key.pem` of a folder, made and written there (key readable by its owner only) if missing.
    ///
    /// # Errors
    /// When the files cannot be read, written or understood.
    pub fn open(
        folder: &Path,
        trust_domain: &str,
        life: Duration,
    ) -> Result<Self, CertificateError> {
        let (certificate, key) = (folder.join("root-cert.pem"), folder.join("root-key.pem"));
        let file_error = |path: &Path, error| CertificateError::File {
            file: path.display().to_string(),
            error,
        };
        if certificate.exists() || key.exists() {
            let root_pem = std::fs::read_to_string(&certificate)
                .map_err(|error| file_error(&certificate, error))?;
            let key_pem = std::fs::read_to_string(&key).map_err(|error| file_error(&key, error))?;
            let issuer = Issuer::from_ca_cert_pem(&root_pem, KeyPair::from_pem(&key_pem)?)?;
            return Ok(Self {
                issuer,
                root_pem,
                life,
            });
        }
        let made = Self::generate(trust_domain, life)?;
        std::fs::create_dir_all(folder).map_err(|error| file_error(folder, error))?;
        write_private(&key, made.issuer.key().serialize_pem().as_bytes())
            .map_err(|error| file_error(&key, error))?;
        std::fs::write(&certificate, &made.root_pem)
            .map_err(|error| file_error(&certificate, error))?;
        Ok(made)
    }

    /// PEM of the root.
    #[must_use]
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// A certificate for a workload: a URI name, no subject, two minutes of grace for clocks that are behind.
    ///
    /// # Errors
    /// When no key can be made or the name cannot be written.
    pub fn issue(&self, identity: &Identity) -> Result<Leaf, CertificateError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(identity.uri().as_str().try_into()?)];
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        let issued = SystemTime::now();
        let expires = issued + self.life;
        params.not_before = (issued - CLOCK_SKEW).into();
        params.not_after = expires.into();
        let leaf = params.signed_by(&key, &self.issuer)?;
        Ok(Leaf {
            chain_pem: format!("{}{}", leaf.pem(), self.root_pem),
            key_pem: key.serialize_pem(),
            issued,
            expires,
        })
    }
}

fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)
}

const CLOCK_SKEW: Duration = Duration::from_secs(120);
const ROOT_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

#[cfg(test)]
mod tests {
    use x509_parser::prelude::*;

    use super::*;

    fn identity() -> Identity {
        Identity {
            trust_domain: "cluster.local".to_owned(),
            namespace: "shop".to_owned(),
            service_account: "portal".to_owned(),
        }
    }

    #[test]
    fn leaves_are_what_istio_expects() {
        let authority = Authority::generate("cluster.local", Duration::from_secs(3_600)).unwrap();
        let leaf = authority.issue(&identity()).unwrap();
        let pems: Vec<_> = Pem::iter_from_buffer(leaf.chain_pem.as_bytes())
            .map(Result::unwrap)
            .collect();
        assert_eq!(pems.len(), 2);
        let certificate = pems[0].parse_x509().unwrap();
        let root = pems[1].parse_x509().unwrap();
        assert_eq!(
            certificate.subject().iter().count(),
            0,
            "the subject is empty"
        );
        let names = certificate.subject_alternative_name().unwrap().unwrap();
        assert_eq!(
            names.value.general_names,
            [GeneralName::URI("spiffe://cluster.local/ns/shop/sa/portal")]
        );
        assert!(
            certificate
                .verify_signature(Some(root.public_key()))
                .is_ok()
        );
        assert!(!certificate.is_ca() && root.is_ca());
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.server_auth && usage.client_auth);
        let validity = certificate.validity();
        let total = validity.not_after.timestamp() - validity.not_before.timestamp();
        assert!((3_719..=3_721).contains(&total), "{total}");
        assert_eq!(
            leaf.renewal().duration_since(leaf.issued).unwrap(),
            Duration::from_secs(1_800)
        );
        assert!(!format!("{leaf:?} {authority:?}").contains("PRIVATE"));
    }

    #[test]
    fn a_root_survives_in_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let life = Duration::from_secs(60);
        let first = Authority::open(folder.path(), "cluster.local", life).unwrap();
        let again = Authority::open(folder.path(), "cluster.local", life).unwrap();
        assert_eq!(first.root_pem(), again.root_pem());
        let leaf = again.issue(&identity()).unwrap();
        let pems: Vec<_> = Pem::iter_from_buffer(leaf.chain_pem.as_bytes())
            .map(Result::unwrap)
            .collect();
        let root = pems[1].parse_x509().unwrap();
        assert!(
            pems[0]
                .parse_x509()
                .unwrap()
                .verify_signature(Some(root.public_key()))
                .is_ok()
        );
    }
}
