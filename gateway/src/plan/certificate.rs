//! Certificates and the names that they are shown for.

use carbyne_engine::tls::{Identity, SecretError, Trust};

use crate::value::{self, Object, Value};

/// A certificate with its key, and a second one of another kind of key.
#[derive(Debug)]
pub struct Certificate {
    pub id: Box<str>,
    pub identity: Identity,
    pub alternative: Option<Identity>,
}

/// A name by which clients ask for a certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sni {
    pub name: Box<str>,
    /// The certificate's id.
    pub certificate: Box<str>,
}

/// Why a row is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{field}: {source}")]
    Secret {
        field: &'static str,
        source: SecretError,
    },
}

impl Certificate {
    /// Reads a row.
    pub fn read(row: &Object) -> Result<Self, CertificateError> {
        let pair = |chain: &'static str, key: &'static str| {
            let text = |field| value::at(row, field).and_then(Value::as_str);
            let (Some(certificates), Some(secret)) = (text(chain), text(key)) else {
                return Ok(None);
            };
            Identity::from_pem(certificates.as_bytes(), secret.as_bytes())
                .map(Some)
                .map_err(|source| CertificateError::Secret {
                    field: chain,
                    source,
                })
        };
        Ok(Self {
            id: id(row)?,
            identity: pair("cert", "key")?.ok_or(CertificateError::Missing("cert"))?,
            alternative: pair("cert_alt", "key_alt")?,
        })
    }
}

impl Sni {
    /// Reads a row.
    pub fn read(row: &Object) -> Result<Self, CertificateError> {
        let text = |field| value::at(row, field).and_then(Value::as_str);
        Ok(Self {
            name: text("name")
                .ok_or(CertificateError::Missing("name"))?
                .into(),
            certificate: text("certificate.id")
                .ok_or(CertificateError::Missing("certificate"))?
                .into(),
        })
    }
}

/// Reads the row of a certificate authority: its id, and the certificate as PEM, once it is known to be one.
pub fn read_authority(row: &Object) -> Result<(Box<str>, Box<str>), CertificateError> {
    let text = row.get("cert").and_then(Value::as_str);
    let text = text.ok_or(CertificateError::Missing("cert"))?;
    Trust::from_pem(text.as_bytes(), None).map_err(|source| CertificateError::Secret {
        field: "cert",
        source,
    })?;
    Ok((id(row)?, text.into()))
}

fn id(row: &Object) -> Result<Box<str>, CertificateError> {
    let id = row.get("id").and_then(Value::as_str);
    id.map(Box::from).ok_or(CertificateError::Missing("id"))
}
