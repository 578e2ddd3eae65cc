//! Certificates made for one run, and both sides of TLS over blocking sockets.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, ServerConfig,
    ServerConnection, SignatureScheme, StreamOwned,
};

/// An authority that signs what a suite needs.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Authority")
    }
}

/// A certificate and its key, in PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    pub chain: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self {
            issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap(),
        }
    }

    pub fn root(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for these DNS names and URIs.
    pub fn sign(&self, common_name: &str, names: &[&str], uris: &[&str]) -> Identity {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        for uri in uris {
            params
                .subject_alt_names
                .push(SanType::URI((*uri).try_into().unwrap()));
        }
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, common_name);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity {
            chain: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Identity {
    /// Writes NAME.crt and NAME.key.
    pub fn write(&self, folder: &Path, name: &str) {
        std::fs::write(folder.join(format!("{name}.crt")), &self.chain).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), &self.key).unwrap();
    }

    fn parts(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = CertificateDer::pem_slice_iter(self.chain.as_bytes()).collect::<Result<_, _>>();
        (
            chain.unwrap(),
            PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap(),
        )
    }
}

/// A TLS server's certificate and the protocols it offers.
#[derive(Clone)]
pub struct ServerIdentity(Arc<ServerConfig>);

impl fmt::Debug for ServerIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ServerIdentity")
    }
}

impl ServerIdentity {
    /// With `client_root` a client must show a certificate of that authority.
    pub fn new(identity: &Identity, protocols: &[&str], client_root: Option<&str>) -> Self {
        let (chain, key) = identity.parts();
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match client_root {
            None => builder.with_no_client_auth(),
            Some(root) => {
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots(root)), provider());
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        Self(Arc::new(config))
    }

    /// Finishes the handshake; the text says which name the client asked for and which protocol came out.
    pub fn accept(
        &self,
        mut socket: TcpStream,
    ) -> io::Result<(StreamOwned<ServerConnection, TcpStream>, String)> {
        let mut connection =
            ServerConnection::new(Arc::clone(&self.0)).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        let text = format!(
            "sni={} alpn={} client={}",
            connection.server_name().unwrap_or("-"),
            connection.alpn_protocol().map_or_else(
                || "-".into(),
                |name| String::from_utf8_lossy(name).into_owned()
            ),
            connection.peer_certificates().map_or(0, <[_]>::len),
        );
        Ok((StreamOwned::new(connection, socket), text))
    }
}

/// How a client of a suite speaks TLS. It trusts whoever answers: who answers is what the case looks at.
#[derive(Debug, Default)]
pub struct ClientTls<'a> {
    pub server_name: Option<&'a str>,
    pub protocols: &'a [&'a str],
    pub identity: Option<&'a Identity>,
}

/// A finished handshake.
#[derive(Debug)]
pub struct Handshake {
    pub stream: StreamOwned<ClientConnection, TcpStream>,
    pub socket: TcpStream,
    pub protocol: Option<String>,
    /// The first common name in the server's certificate, found as text.
    pub certificate: Vec<u8>,
}

impl ClientTls<'_> {
    pub fn connect(&self, address: SocketAddr) -> io::Result<Handshake> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TrustAnyone(provider())));
        let mut config = match self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let (chain, key) = identity.parts();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.enable_sni = self.server_name.is_some();
        config.alpn_protocols = self
            .protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        let name =
            ServerName::try_from(self.server_name.unwrap_or("nobody.test").to_owned()).unwrap();
        let mut connection =
            ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        let mut socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(super::PATIENCE))?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        let protocol = connection
            .alpn_protocol()
            .map(|name| String::from_utf8_lossy(name).into_owned());
        let certificate = connection
            .peer_certificates()
            .map_or_else(Vec::new, |chain| chain[0].to_vec());
        let handle = socket.try_clone()?;
        Ok(Handshake {
            stream: StreamOwned::new(connection, socket),
            socket: handle,
            protocol,
            certificate,
        })
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn roots(pem: &str) -> RootCertStore {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        store.add(certificate.unwrap()).unwrap();
    }
    store
}

#[derive(Debug)]
struct TrustAnyone(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAnyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
