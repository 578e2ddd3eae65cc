//! Secrets: certificates with their keys, and roots.

use carbyne_engine::tls::{Identity, Trust};
use carbyne_protos::envoy::config::core::v3::DataSource;
use carbyne_protos::envoy::config::core::v3::data_source::Specifier;
use carbyne_protos::envoy::extensions::transport_sockets::tls::v3 as wire;
use carbyne_protos::envoy::extensions::transport_sockets::tls::v3::secret::Type;

use super::error::Fault;
use super::scope::Scope;
use super::value;

/// A planned secret.
#[derive(Debug)]
pub struct SecretPlan {
    /// Its name.
    pub name: String,
    /// What it is; nothing where it is not served, or holds conditions that would go unheeded: its users wait.
    pub content: Option<SecretContent>,
}

/// What a secret is.
#[derive(Debug)]
pub enum SecretContent {
    /// Certificate chain and key.
    Identity(Box<Identity>),
    /// Roots.
    Trust(Box<Trust>),
}

/// Plans a secret. An error names what is wrong with it and nothing of what it holds.
pub fn plan(message: &wire::Secret, scope: &Scope<'_>) -> Option<SecretPlan> {
    let content = match &message.r#type {
        Some(Type::TlsCertificate(certificate)) => {
            let scope = scope.field("tls_certificate");
            match scope.doubt() {
                Some(_) => None,
                None => Some(SecretContent::Identity(Box::new(identity(
                    certificate,
                    &scope,
                )?))),
            }
        }
        Some(Type::ValidationContext(context)) => {
            let scope = scope.field("validation_context");
            let conditions = !context.match_typed_subject_alt_names.is_empty()
                || !context.match_subject_alt_names.is_empty()
                || !context.verify_certificate_hash.is_empty()
                || !context.verify_certificate_spki.is_empty();
            if conditions {
                scope.note("conditions on names and hashes are served where the context names the secret, not in the secret");
            }
            if conditions || scope.doubt().is_some() {
                None
            } else {
                match trust(context, &scope)? {
                    Some(trust) => Some(SecretContent::Trust(Box::new(trust))),
                    None => {
                        scope.field("trusted_ca").missing();
                        None
                    }
                }
            }
        }
        Some(Type::SessionTicketKeys(_)) => {
            scope
                .field("session_ticket_keys")
                .note("session ticket keys are not served: each process has its own");
            None
        }
        Some(Type::GenericSecret(_)) => {
            scope
                .field("generic_secret")
                .note("generic secrets are not served");
            None
        }
        None => {
            scope.missing();
            None
        }
    };
    Some(SecretPlan {
        name: message.name.clone(),
        content,
    })
}

/// A certificate chain with its key.
pub fn identity(certificate: &wire::TlsCertificate, scope: &Scope<'_>) -> Option<Identity> {
    if certificate.pkcs12.is_some() {
        scope.field("pkcs12").reject(Fault::Words(
            "PKCS #12 is not served, write certificate_chain and private_key",
        ));
        return None;
    }
    let chain = value::data(
        certificate.certificate_chain.as_ref(),
        &scope.field("certificate_chain"),
    );
    let key = value::data(
        certificate.private_key.as_ref(),
        &scope.field("private_key"),
    );
    if certificate.certificate_chain.is_none() {
        scope.field("certificate_chain").missing();
    }
    if certificate.private_key.is_none() {
        scope.field("private_key").missing();
    }
    let identity = scope.take(Identity::from_pem(&chain?, &key?))?;
    Some(match file(certificate.certificate_chain.as_ref()) {
        Some(path) => identity.from_file(path),
        None => identity,
    })
}

/// The file that holds the data, if one does.
fn file(source: Option<&DataSource>) -> Option<&str> {
    match source?.specifier.as_ref()? {
        Specifier::Filename(path) => Some(path),
        _ => None,
    }
}

/// The roots of a validation context; nothing where it has none. `None` outside says that they are broken.
pub fn trust(
    context: &wire::CertificateValidationContext,
    scope: &Scope<'_>,
) -> Option<Option<Trust>> {
    if context.system_root_certs.is_some() && context.trusted_ca.is_none() {
        let path = SYSTEM_ROOTS
            .iter()
            .find(|path| std::path::Path::new(path).is_file());
        let Some(path) = path else {
            scope
                .field("system_root_certs")
                .reject(Fault::Words("no root bundle was found on this system"));
            return None;
        };
        let roots = std::fs::read(path).map_err(|error| Fault::File {
            path: (*path).to_owned(),
            reason: error.to_string(),
        });
        let roots = scope.field("system_root_certs").take(roots)?;
        return scope
            .field("system_root_certs")
            .take(Trust::from_pem(&roots, None))
            .map(Some);
    }
    if context.trusted_ca.is_none() {
        return Some(None);
    }
    let roots = value::data(context.trusted_ca.as_ref(), &scope.field("trusted_ca"))?;
    let crl = match &context.crl {
        Some(crl) => Some(value::data(Some(crl), &scope.field("crl"))?),
        None => None,
    };
    let trust = scope
        .field("trusted_ca")
        .take(Trust::from_pem(&roots, crl.as_deref()))?;
    Some(Some(match file(context.trusted_ca.as_ref()) {
        Some(path) => trust.from_file(path),
        None => trust,
    }))
}

/// Where distributions keep the system's roots.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
