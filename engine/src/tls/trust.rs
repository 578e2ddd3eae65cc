//! Whom we trust: roots, of one trust domain or several, and what they revoked.

use std::fmt;

use rustc_hash::FxHashSet;
use rustls::DistinguishedName;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor};
use webpki::{CertRevocationList, OwnedCertRevocationList, anchor_from_trusted_cert};

use super::error::SecretError;
use super::identity;
use super::slot::{Secret, SecretSlot};

/// Trusted roots and revocation lists. Roots of several trust domains are pooled, as in Envoy's default validator: each may vouch for any name,
/// and name matchers say which names count.
pub struct Trust {
    anchors: Vec<TrustAnchor<'static>>,
    subjects: Vec<DistinguishedName>,
    /// The trusted certificates themselves: one of them may stand for itself as a leaf.
    certificates: FxHashSet<CertificateDer<'static>>,
    /// The first usable root, which is shown for the whole bundle.
    first: CertificateDer<'static>,
    source: Box<str>,
    revocation: Vec<CertRevocationList<'static>>,
    revocation_der: Vec<CertificateRevocationListDer<'static>>,
    ignored: usize,
}

/// Where a root bundle arrives and rotates.
pub type TrustSlot = SecretSlot<Trust>;

impl Trust {
    /// Reads a bundle of roots and, where given, of revocation lists. Roots that do not decode are passed over and counted, as system bundles hold
    /// odd ones; at least one must be usable. A revocation list that does not decode is an error: leaving it out would accept what it revokes.
    pub fn from_pem(roots: &[u8], revocation: Option<&[u8]>) -> Result<Self, SecretError> {
        let mut trust = Self {
            anchors: Vec::new(),
            subjects: Vec::new(),
            certificates: FxHashSet::default(),
            first: CertificateDer::from(Vec::new()),
            source: identity::INLINE.into(),
            revocation: Vec::new(),
            revocation_der: Vec::new(),
            ignored: 0,
        };
        let mut first_error = None;
        for (index, certificate) in identity::certificates(ROOTS, roots)?
            .into_iter()
            .enumerate()
        {
            match anchor_from_trusted_cert(&certificate) {
                Ok(anchor) => {
                    trust
                        .subjects
                        .push(DistinguishedName::in_sequence(&anchor.subject));
                    trust.anchors.push(anchor.to_owned());
                }
                Err(source) => {
                    trust.ignored += 1;
                    first_error.get_or_insert(SecretError::Root { index, source });
                    continue;
                }
            }
            if trust.first.is_empty() {
                trust.first = certificate.clone();
            }
            trust.certificates.insert(certificate);
        }
        if trust.anchors.is_empty() {
            return Err(first_error.unwrap_or(SecretError::Missing {
                what: ROOTS,
                wanted: "certificate",
            }));
        }
        for (index, section) in
            CertificateRevocationListDer::pem_slice_iter(revocation.unwrap_or_default()).enumerate()
        {
            let der = section.map_err(|_| SecretError::Pem { what: REVOCATION })?;
            let list = OwnedCertRevocationList::from_der(&der)
                .map_err(|source| SecretError::Revocation { index, source })?;
            trust.revocation.push(list.into());
            trust.revocation_der.push(der);
        }
        if trust.revocation.is_empty() && revocation.is_some_and(|pem| !pem.trim_ascii().is_empty())
        {
            return Err(SecretError::Missing {
                what: REVOCATION,
                wanted: "revocation list",
            });
        }
        Ok(trust)
    }

    /// The same, read from this file.
    #[must_use]
    pub fn from_file(mut self, path: &str) -> Self {
        self.source = path.into();
        self
    }

    /// The file that it was read from, or `<inline>`.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The first usable root.
    pub fn first(&self) -> &CertificateDer<'static> {
        &self.first
    }

    /// Number of usable roots.
    pub fn roots(&self) -> usize {
        self.anchors.len()
    }

    /// Number of certificates of the bundle that could not be used.
    pub fn ignored(&self) -> usize {
        self.ignored
    }

    pub(super) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    pub(super) fn subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    pub(super) fn revocation(&self) -> &[CertRevocationList<'static>] {
        &self.revocation
    }

    pub(super) fn holds(&self, certificate: &CertificateDer<'_>) -> bool {
        self.certificates.contains(certificate)
    }
}

impl Secret for Trust {
    fn same(&self, other: &Self) -> bool {
        self.certificates == other.certificates && self.revocation_der == other.revocation_der
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Trust")
            .field("roots", &self.anchors.len())
            .field("revocation_lists", &self.revocation.len())
            .field("ignored", &self.ignored)
            .finish()
    }
}

const ROOTS: &str = "the root bundle";
const REVOCATION: &str = "the revocation list";
