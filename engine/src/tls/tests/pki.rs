//! A small certificate authority and a pair of handshakes for the tests of this room.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use crate::tls::{
    AlpnList, ClientCertificate, ClientStream, ClientTls, ClientTlsPlan, Identity, IdentitySlot,
    Overrides, PeerRules, Resumption, SecretSlot, ServerIdentity, ServerNames, ServerStream,
    ServerTls, ServerTlsPlan, TlsError, TlsParameters, Trust, TrustSlot,
};

pub(in crate::tls) const CLIENT: &str = "spiffe://cluster.local/ns/default/sa/a";
pub(in crate::tls) const SERVER: &str = "spiffe://cluster.local/ns/default/sa/b";

/// One authority, one certificate a side.
pub(in crate::tls) struct Mesh {
    pub(in crate::tls) authority: Authority,
    pub(in crate::tls) client: Issued,
    pub(in crate::tls) server: Issued,
}

impl Mesh {
    pub(in crate::tls) fn new() -> Self {
        let authority = Authority::new("cluster.local");
        let client = authority.issue(&Leaf::uri(CLIENT));
        let server = authority.issue(&Leaf::uri(SERVER));
        Self {
            authority,
            client,
            server,
        }
    }

    pub(in crate::tls) fn server_plan(&self) -> ServerTlsPlan {
        server_plan(self.server.slot(), self.authority.trust())
    }

    pub(in crate::tls) fn client_plan(&self) -> ClientTlsPlan {
        client_plan(Some(self.client.slot()), self.authority.trust())
    }
}

/// An authority that signs leafs.
pub(in crate::tls) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(in crate::tls) pem: String,
}

/// What differs from a usual mesh leaf.
#[derive(Clone)]
pub(in crate::tls) struct Leaf {
    pub(in crate::tls) names: Vec<SanType>,
    pub(in crate::tls) subject: Option<&'static str>,
    pub(in crate::tls) until: i32,
    pub(in crate::tls) serial: u8,
    pub(in crate::tls) usage: Vec<ExtendedKeyUsagePurpose>,
}

/// PEM of a leaf and its key.
pub(in crate::tls) struct Issued {
    pub(in crate::tls) chain: String,
    pub(in crate::tls) key: String,
}

impl Authority {
    pub(in crate::tls) fn new(name: &str) -> Self {
        let params = Self::params(name, 2090);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// An authority below this one, and the last second of its validity.
    pub(in crate::tls) fn intermediate(&self, name: &str, until: i32) -> (Self, i64) {
        let params = Self::params(name, until);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let last = params.not_after.unix_timestamp();
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        let issuer = Issuer::new(params, key);
        (Self { issuer, pem }, last)
    }

    pub(in crate::tls) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()
    }

    fn params(name: &str, until: i32) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_after = date_time_ymd(until, 1, 1);
        params
    }

    pub(in crate::tls) fn issue(&self, leaf: &Leaf) -> Issued {
        self.issue_for(
            leaf,
            &KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(),
        )
    }

    pub(in crate::tls) fn issue_for(&self, leaf: &Leaf, key: &KeyPair) -> Issued {
        let chain = leaf.params().signed_by(key, &self.issuer).unwrap().pem();
        Issued {
            chain,
            key: key.serialize_pem(),
        }
    }

    pub(in crate::tls) fn revoke(&self, serials: &[u8]) -> String {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&[*serial]),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2090, 1, 1),
            crl_number: SerialNumber::from_slice(&[1]),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    pub(in crate::tls) fn trust(&self) -> Arc<TrustSlot> {
        SecretSlot::filled(
            "ROOTCA",
            Trust::from_pem(self.pem.as_bytes(), None).unwrap(),
        )
    }
}

impl Leaf {
    pub(in crate::tls) fn uri(uri: &str) -> Self {
        Self::with(vec![SanType::URI(uri.try_into().unwrap())])
    }

    pub(in crate::tls) fn dns(name: &str) -> Self {
        Self::with(vec![SanType::DnsName(name.try_into().unwrap())])
    }

    pub(in crate::tls) fn ip(address: IpAddr) -> Self {
        Self::with(vec![SanType::IpAddress(address)])
    }

    pub(in crate::tls) fn with(names: Vec<SanType>) -> Self {
        let usage = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        Self {
            names,
            subject: None,
            until: 2090,
            serial: 7,
            usage,
        }
    }

    pub(in crate::tls) fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        if let Some(subject) = self.subject {
            params
                .distinguished_name
                .push(DnType::OrganizationName, "Acme, Inc.");
            params.distinguished_name.push(DnType::CommonName, subject);
        }
        params.subject_alt_names.clone_from(&self.names);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(self.until, 1, 1);
        params.serial_number = Some(SerialNumber::from_slice(&[self.serial]));
        params.extended_key_usages.clone_from(&self.usage);
        params
    }
}

impl Issued {
    pub(in crate::tls) fn identity(&self) -> Identity {
        Identity::from_pem(self.chain.as_bytes(), self.key.as_bytes()).unwrap()
    }

    pub(in crate::tls) fn slot(&self) -> Arc<IdentitySlot> {
        SecretSlot::filled("default", self.identity())
    }
}

/// A mesh server: requires a certificate of `trust`, offers h2 and http/1.1.
pub(in crate::tls) fn server_plan(
    identity: Arc<IdentitySlot>,
    trust: Arc<TrustSlot>,
) -> ServerTlsPlan {
    ServerTlsPlan {
        identities: vec![ServerIdentity {
            slot: identity,
            names: ServerNames::FromCertificate,
        }],
        alpn: AlpnList::new(["h2", "http/1.1"]).unwrap(),
        client_certificate: ClientCertificate::Required,
        peer: PeerRules {
            trust: Some(trust),
            ..PeerRules::default()
        },
        parameters: TlsParameters::default(),
        resumption: Resumption::Tickets,
    }
}

/// A mesh client: shows a certificate, trusts `trust`, asks for no name.
pub(in crate::tls) fn client_plan(
    identity: Option<Arc<IdentitySlot>>,
    trust: Arc<TrustSlot>,
) -> ClientTlsPlan {
    ClientTlsPlan {
        identity,
        peer: PeerRules {
            trust: Some(trust),
            ..PeerRules::default()
        },
        verifies_host: false,
        sni: Some("outbound_.80_._.b.default.svc.cluster.local".into()),
        alpn: AlpnList::new(["istio", "h2"]).unwrap(),
        parameters: TlsParameters::default(),
        resumed_names: 4,
    }
}

type Accepted = Result<ServerStream<DuplexStream>, TlsError>;
type Connected = Result<ClientStream<DuplexStream>, TlsError>;

/// Both sides of one handshake. Where both succeed, a byte goes each way, so that tickets arrive and late alerts show.
pub(in crate::tls) async fn shake(
    server: &ServerTls,
    client: &ClientTls,
    overrides: Overrides<'_>,
) -> (Accepted, Connected) {
    let (near, far) = duplex(16 << 10);
    let (accepted, connected) = tokio::join!(
        server.accept(far, Some(Duration::from_secs(20))),
        client.connect(near, overrides)
    );
    match (accepted, connected) {
        (Ok(mut accepted), Ok(mut connected)) => {
            converse(&mut accepted, &mut connected).await;
            (Ok(accepted), Ok(connected))
        }
        other => other,
    }
}

pub(in crate::tls) async fn converse(
    accepted: &mut ServerStream<DuplexStream>,
    connected: &mut ClientStream<DuplexStream>,
) {
    let server = async {
        accepted.write_all(b"s").await.unwrap();
        accepted.flush().await.unwrap();
        assert_eq!(accepted.read_u8().await.unwrap(), b'c');
    };
    let client = async {
        connected.write_all(b"c").await.unwrap();
        connected.flush().await.unwrap();
        assert_eq!(connected.read_u8().await.unwrap(), b's');
    };
    tokio::join!(server, client);
}
