//! The rules that a peer's certificate must satisfy, and the rustls verifiers that apply them.
//!
//! A SPIFFE certificate has no host name: the chain is validated, then one of the name matchers must match (none listed: any certificate of the roots
//! will do). Host names are compared only when asked.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use smallvec::SmallVec;
use webpki::{
    EndEntityCert, ExpirationPolicy, KeyUsage, RevocationCheckDepth, RevocationOptionsBuilder,
};

use super::admitted::{self, Chain};
use super::certificate::CertificateFacts;
use super::error::{PeerRejection, PlanError, TlsError};
use super::parameters;
use super::san::SanMatcher;
use super::trust::{Trust, TrustSlot};

/// What the peer's certificate must be. The default asks nothing.
#[derive(Clone, Debug, Default)]
pub struct PeerRules {
    /// Roots that its chain must end in; none: the chain is not looked at, as Envoy does without `trusted_ca`.
    pub trust: Option<Arc<TrustSlot>>,
    /// One of these must match; empty: any name.
    pub names: Vec<SanMatcher>,
    /// SHA-256 of acceptable leaf certificates (`verify_certificate_hash`).
    pub certificate_hashes: Vec<[u8; 32]>,
    /// SHA-256 of acceptable public keys (`verify_certificate_spki`). With both lists, a match in either is enough.
    pub key_hashes: Vec<[u8; 32]>,
    /// `trust_chain_verification: ACCEPT_UNTRUSTED`: a certificate that fails the rules is let in, and the connection says so.
    pub accept_untrusted: bool,
    /// Ask revocation lists about the leaf only (`only_verify_leaf_cert_crl`).
    pub leaf_revocation_only: bool,
    /// How many authorities may stand between the certificate and a root; none: as many as webpki takes.
    pub most_intermediates: Option<u32>,
}

impl PeerRules {
    /// Whether anything is asked of the certificate.
    pub fn is_empty(&self) -> bool {
        self.trust.is_none() && self.names.is_empty() && self.pins_nothing()
    }

    /// Names and host names mean nothing unless a root vouches for them; Envoy refuses this too.
    pub(super) fn validate(&self, verifies_host: bool) -> Result<(), PlanError> {
        if self.trust.is_none() && (verifies_host || !self.names.is_empty()) {
            return Err(PlanError::NamesWithoutTrust);
        }
        Ok(())
    }

    pub(super) fn generation(&self) -> u64 {
        self.trust.as_ref().map_or(0, |slot| slot.generation())
    }

    pub(super) fn pins_nothing(&self) -> bool {
        self.certificate_hashes.is_empty() && self.key_hashes.is_empty()
    }

    pub(super) fn current_trust(&self) -> Result<Option<Arc<Trust>>, TlsError> {
        match &self.trust {
            None => Ok(None),
            Some(slot) => slot.load().map(Some).ok_or_else(|| TlsError::NotReady {
                secret: slot.name().into(),
            }),
        }
    }
}

/// Which host name a server certificate must be good for.
#[derive(Clone, Debug)]
pub(super) enum HostRule {
    /// None.
    Ignore,
    /// The name that rustls was given, which is also the one that was sent.
    AsSent,
    /// Another one than was sent.
    Fixed(ServerName<'static>),
}

/// The rules with the roots of one generation. Sessions are bound to the verifier that admitted them, and rustls compares its address.
/// One serves one role only.
#[derive(Debug)]
pub(super) struct PeerVerifier {
    rules: Arc<PeerRules>,
    trust: Option<Arc<Trust>>,
    host: HostRule,
    /// Whether a client may come without a certificate.
    required: bool,
    /// Under which chains are remembered.
    number: u64,
}

impl PeerVerifier {
    pub(super) fn new(
        rules: Arc<PeerRules>,
        trust: Option<Arc<Trust>>,
        host: HostRule,
        required: bool,
    ) -> Self {
        Self {
            rules,
            trust,
            host,
            required,
            number: admitted::next_verifier(),
        }
    }

    /// Whether the chain satisfies every rule, untrusted ones not excused. Used after the handshake where `accept_untrusted` lets all in.
    pub(super) fn admits(&self, chain: &[CertificateDer<'_>], role: Role) -> bool {
        let Some((leaf, rest)) = chain.split_first() else {
            return false;
        };
        !self.rules.is_empty() && self.judge(leaf, rest, None, role, UnixTime::now()).is_ok()
    }

    pub(super) fn accepts_untrusted(&self) -> bool {
        self.rules.accept_untrusted
    }

    pub(super) fn asks_nothing(&self) -> bool {
        self.rules.is_empty() && matches!(self.host, HostRule::Ignore)
    }

    fn decide(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: Option<&ServerName<'_>>,
        role: Role,
        now: UnixTime,
    ) -> Result<(), Error> {
        if self.rules.accept_untrusted || self.asks_nothing() {
            return Ok(());
        }
        self.judge(leaf, intermediates, name, role, now)
    }

    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: Option<&ServerName<'_>>,
        role: Role,
        now: UnixTime,
    ) -> Result<(), Error> {
        let facts = CertificateFacts::shared(leaf)?;
        let parsed = EndEntityCert::try_from(leaf).map_err(refusal)?;
        if let Some(trust) = &self.trust {
            self.judge_chain(trust, leaf, &parsed, &facts, intermediates, role, now)?;
        }
        let wanted = match &self.host {
            HostRule::Ignore => None,
            HostRule::AsSent => name,
            HostRule::Fixed(fixed) => Some(fixed),
        };
        if let Some(wanted) = wanted {
            parsed
                .verify_is_valid_for_subject_name(wanted)
                .map_err(refusal)?;
        }
        if !self.rules.names.is_empty()
            && !self
                .rules
                .names
                .iter()
                .any(|matcher| matcher.matches(&facts))
        {
            return Err(PeerRejection::NameMismatch.into());
        }
        let pinned = self.rules.certificate_hashes.contains(&facts.digest)
            || self.rules.key_hashes.contains(&facts.key_digest);
        if !self.rules.pins_nothing() && !pinned {
            return Err(PeerRejection::NotPinned.into());
        }
        Ok(())
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one certificate in its three readings, and the circumstances"
    )]
    fn judge_chain(
        &self,
        trust: &Trust,
        leaf: &CertificateDer<'_>,
        parsed: &EndEntityCert<'_>,
        facts: &CertificateFacts,
        intermediates: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
    ) -> Result<(), Error> {
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let chain = if trust.revocation().is_empty() {
            Chain::new(self.number, facts, intermediates)
        } else {
            None
        };
        if chain.is_some_and(|chain| chain.is_known(seconds)) {
            return Ok(());
        }
        // A certificate that is itself in the bundle needs nobody to vouch for it: people pin self-signed certificates this way, and OpenSSL accepts
        // them, while webpki refuses an authority as a leaf. Its time still counts.
        if trust.holds(leaf) && trust.revocation().is_empty() {
            return match seconds {
                early if early < facts.not_before => Err(CertificateError::NotValidYet.into()),
                late if late > facts.not_after => Err(CertificateError::Expired.into()),
                _ => Ok(()),
            };
        }
        let usage = match role {
            Role::Client => KeyUsage::client_auth(),
            Role::Server => KeyUsage::server_auth(),
        };
        let lists: SmallVec<[&webpki::CertRevocationList<'_>; 4]> =
            trust.revocation().iter().collect();
        // As OpenSSL's CRL_CHECK_ALL: once there is a list, every authority of the chain needs one, and a list past its time counts for nothing.
        let depth = if self.rules.leaf_revocation_only {
            RevocationCheckDepth::EndEntity
        } else {
            RevocationCheckDepth::Chain
        };
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|builder| {
            builder
                .with_depth(depth)
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
        let algorithms = parameters::provider().signature_verification_algorithms.all;
        let most = self.rules.most_intermediates;
        // Another way to a root may be shorter: webpki goes on looking.
        let short = |path: &webpki::VerifiedPath<'_>| {
            let between = path.intermediate_certificates().count();
            match most {
                Some(most) if between > most as usize => {
                    Err(webpki::Error::MaximumPathDepthExceeded)
                }
                _ => Ok(()),
            }
        };
        parsed
            .verify_for_usage(
                algorithms,
                trust.anchors(),
                intermediates,
                now,
                usage,
                revocation,
                Some(&short),
            )
            .map(|_| ())
            .map_err(refusal)?;
        if let Some(chain) = chain {
            chain.remember();
        }
        Ok(())
    }
}

/// What the peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Client,
    Server,
}

impl ClientCertVerifier for PeerVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        match &self.trust {
            Some(trust) if !self.rules.accept_untrusted => trust.subjects(),
            _ => &[],
        }
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.decide(end_entity, intermediates, None, Role::Client, now)
            .map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &parameters::provider().signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &parameters::provider().signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        parameters::provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.decide(
            end_entity,
            intermediates,
            Some(server_name),
            Role::Server,
            now,
        )
        .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &parameters::provider().signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &parameters::provider().signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        parameters::provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// webpki's verdict in rustls' words, which decide the alert.
fn refusal(error: webpki::Error) -> Error {
    use webpki::Error as Webpki;
    let verdict = match error {
        Webpki::BadDer | Webpki::BadDerTime | Webpki::TrailingData(_) => {
            CertificateError::BadEncoding
        }
        Webpki::CertNotValidYet { .. } => CertificateError::NotValidYet,
        Webpki::CertExpired { .. } | Webpki::InvalidCertValidity => CertificateError::Expired,
        Webpki::UnknownIssuer => CertificateError::UnknownIssuer,
        Webpki::CertNotValidForName(_) => CertificateError::NotValidForName,
        Webpki::CertRevoked => CertificateError::Revoked,
        Webpki::UnknownRevocationStatus => CertificateError::UnknownRevocationStatus,
        Webpki::CrlExpired { .. } => CertificateError::ExpiredRevocationList,
        Webpki::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        Webpki::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    };
    Error::InvalidCertificate(verdict)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tls::tests::pki::{Authority, Leaf};

    /// What is remembered of a chain must not outlive its time, its roots or a single byte of it.
    #[test]
    fn a_chain_that_was_good_is_not_good_for_ever() {
        let (authority, other) = (Authority::new("one"), Authority::new("one"));
        let verifier = |authority: &Authority| {
            let rules = PeerRules {
                trust: Some(authority.trust()),
                ..PeerRules::default()
            };
            let trust = rules.current_trust().unwrap();
            PeerVerifier::new(Arc::new(rules), trust, HostRule::Ignore, true)
        };
        let identity = authority.issue(&Leaf::uri("spiffe://a/b")).identity();
        let leaf = &identity.chain()[0];
        let at = |seconds: i64| {
            UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).unwrap()))
        };
        let (first, last) = (identity.facts().not_before, identity.facts().not_after);
        let good = verifier(&authority);
        for _ in 0..2 {
            for now in [first, last] {
                good.verify_client_cert(leaf, &[], at(now)).unwrap();
            }
            for (now, expected) in [
                (first - 1, CertificateError::NotValidYet),
                (last + 1, CertificateError::Expired),
            ] {
                assert_eq!(
                    good.verify_client_cert(leaf, &[], at(now)).unwrap_err(),
                    expected.into()
                );
            }
            // The same subject, another key.
            assert!(
                verifier(&other)
                    .verify_client_cert(leaf, &[], at(first))
                    .is_err()
            );
            let mut forged = leaf.to_vec();
            if let Some(byte) = forged.last_mut() {
                *byte ^= 1;
            }
            assert!(
                good.verify_client_cert(&CertificateDer::from(forged), &[], at(first))
                    .is_err()
            );
        }
    }

    /// An intermediate counts as much as the leaf: with it the chain is good, without it or with another it is not.
    #[test]
    fn a_remembered_chain_needs_its_intermediates() {
        let root = Authority::new("root");
        let (middle, until) = root.intermediate("middle", 2030);
        let stranger = Authority::new("root").intermediate("middle", 2030).0;
        let identity = middle.issue(&Leaf::uri("spiffe://a/b")).identity();
        let rules = PeerRules {
            trust: Some(root.trust()),
            ..PeerRules::default()
        };
        let trust = rules.current_trust().unwrap();
        let verifier = PeerVerifier::new(Arc::new(rules), trust, HostRule::Ignore, true);
        let at = |seconds: i64| {
            UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).unwrap()))
        };
        let (leaf, good) = (&identity.chain()[0], middle.der());
        for _ in 0..2 {
            verifier
                .verify_client_cert(leaf, std::slice::from_ref(&good), at(until))
                .unwrap();
            assert!(
                verifier
                    .verify_client_cert(leaf, std::slice::from_ref(&good), at(until + 1))
                    .is_err()
            );
            assert!(verifier.verify_client_cert(leaf, &[], at(until)).is_err());
            assert!(
                verifier
                    .verify_client_cert(leaf, &[stranger.der()], at(until))
                    .is_err()
            );
        }
    }
}
