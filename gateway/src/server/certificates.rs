//! The certificate for names that no other is for: the configured one, or one that the node signs itself and keeps.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use carbyne_engine::tls::{Identity, IdentitySlot};
use rcgen::{CertificateParams, DnType, KeyPair};

use super::{Result, ServerError, system};
use crate::conf::Conf;

/// The default certificates, one a kind of key.
pub(super) fn default(conf: &Conf) -> Result<Vec<Arc<IdentitySlot>>> {
    let list = |key| {
        let text = conf.get(key).unwrap_or_default();
        text.split(',')
            .map(str::trim)
            .filter(|path| !path.is_empty())
    };
    let mut pairs: Vec<_> = list("ssl_cert").zip(list("ssl_cert_key")).collect();
    let folder = conf.prefix().join("ssl");
    let (chain, key) = (
        folder.join("kong-default.crt"),
        folder.join("kong-default.key"),
    );
    let own = (chain.to_string_lossy(), key.to_string_lossy());
    if pairs.is_empty() {
        if !chain.is_file() || !key.is_file() {
            generate(&folder, &chain, &key)?;
        }
        pairs.push((&own.0, &own.1));
    }
    let slots = pairs.into_iter().map(|(chain, key)| {
        let read = |path: &str| std::fs::read(path).map_err(|source| system(path, source));
        let identity = Identity::from_pem(&read(chain)?, &read(key)?)
            .map_err(|error| ServerError::Configuration(format!("ssl_cert {chain}: {error}")))?;
        Ok(IdentitySlot::filled("default certificate", identity))
    });
    slots.collect()
}

fn generate(folder: &Path, chain: &Path, key: &Path) -> Result<()> {
    let failed =
        |error: rcgen::Error| ServerError::Configuration(format!("default certificate: {error}"));
    let mut parameters = CertificateParams::new(vec!["localhost".to_owned()]).map_err(failed)?;
    let name = &mut parameters.distinguished_name;
    name.push(DnType::CommonName, "localhost");
    name.push(DnType::OrganizationName, "Kong");
    let pair = KeyPair::generate().map_err(failed)?;
    let certificate = parameters.self_signed(&pair).map_err(failed)?;
    std::fs::create_dir_all(folder)
        .map_err(|source| system(&folder.display().to_string(), source))?;
    let write = |path: &Path, text: &str, mode| {
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(path);
        file.and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
            .map_err(|source| system(&path.display().to_string(), source))
    };
    write(key, &pair.serialize_pem(), 0o600)?;
    write(chain, &certificate.pem(), 0o644)
}
