//! pilot-agent's two services over recorded answers: ADS (SotW) and SDS, on the sockets where a sidecar looks for them.

use std::collections::BTreeMap;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use carbyne_protos::envoy::config::core::v3::{DataSource, data_source};
use carbyne_protos::envoy::config::endpoint::v3::ClusterLoadAssignment;
use carbyne_protos::envoy::config::route::v3::RouteConfiguration;
use carbyne_protos::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, TlsCertificate, secret,
};
use carbyne_protos::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use carbyne_protos::prost_types::Any;
use prost::Message;
use tokio::sync::oneshot;

use crate::support::tls::Identity;

/// What one sidecar is told.
#[derive(Debug)]
pub struct Told {
    pub answers: Vec<DiscoveryResponse>,
    pub identity: Identity,
    pub root: String,
    /// Answers that the sidecar refused, with its reasons.
    refusals: Mutex<Vec<String>>,
    /// Types that it accepted.
    accepted: Mutex<BTreeMap<String, usize>>,
}

/// The services run on a thread of their own until this value is dropped.
#[derive(Debug)]
pub struct Agent {
    pub told: Arc<Told>,
    _running: oneshot::Sender<()>,
}

impl Agent {
    pub fn start(
        xds: &Path,
        sds: &Path,
        answers: Vec<DiscoveryResponse>,
        identity: Identity,
        root: String,
    ) -> Self {
        let told = Arc::new(Told {
            answers,
            identity,
            root,
            refusals: Mutex::default(),
            accepted: Mutex::default(),
        });
        let sockets = [xds, sds].map(|path| {
            let socket = UnixListener::bind(path).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        });
        let (running, ended) = oneshot::channel::<()>();
        let (sender, started) = mpsc::channel();
        let inside = Arc::clone(&told);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                for socket in sockets {
                    tokio::spawn(accept(socket, Arc::clone(&inside)));
                }
                sender.send(()).unwrap();
                // Ends with the agent, whose half of the channel is dropped.
                ended.await.unwrap_or_default();
            });
        });
        started.recv().unwrap();
        Self {
            told,
            _running: running,
        }
    }
}

impl Told {
    /// Have all four types been accepted? Panics where one was refused.
    pub fn settled(&self) -> bool {
        let refusals = self.refusals.lock().unwrap();
        assert!(refusals.is_empty(), "refused: {refusals:?}");
        self.answers
            .iter()
            .all(|answer| self.accepted.lock().unwrap().contains_key(&answer.type_url))
    }

    /// The recorded answer, as far as it was asked for.
    fn answer(&self, type_url: &str, names: &[String]) -> Option<DiscoveryResponse> {
        let recorded = self
            .answers
            .iter()
            .find(|answer| answer.type_url == type_url)?;
        let mut answer = recorded.clone();
        if !names.is_empty() {
            answer
                .resources
                .retain(|resource| names.contains(&name_of(resource)));
        }
        Some(answer)
    }

    /// A secret by its name: roots for what is a context of validation, else the certificate of this sidecar.
    fn secret(&self, name: &str) -> DiscoveryResponse {
        let pem = |text: &str| {
            Some(DataSource {
                specifier: Some(data_source::Specifier::InlineBytes(text.into())),
                ..DataSource::default()
            })
        };
        let is_root = name == "ROOTCA" || name.starts_with("file-root:");
        let content = if is_root {
            secret::Type::ValidationContext(CertificateValidationContext {
                trusted_ca: pem(&self.root),
                ..CertificateValidationContext::default()
            })
        } else {
            secret::Type::TlsCertificate(TlsCertificate {
                certificate_chain: pem(&self.identity.chain),
                private_key: pem(&self.identity.key),
                ..TlsCertificate::default()
            })
        };
        let secret = Secret {
            name: name.to_owned(),
            r#type: Some(content),
        };
        DiscoveryResponse {
            version_info: "1".to_owned(),
            type_url: SECRET.to_owned(),
            resources: vec![Any {
                type_url: SECRET.to_owned(),
                value: secret.encode_to_vec(),
            }],
            ..DiscoveryResponse::default()
        }
    }
}

async fn accept(socket: UnixListener, told: Arc<Told>) {
    let socket = tokio::net::UnixListener::from_std(socket).unwrap();
    while let Ok((stream, _)) = socket.accept().await {
        let told = Arc::clone(&told);
        tokio::spawn(async move {
            let mut builder = h2::server::Builder::new();
            builder.initial_window_size(1 << 20);
            let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else {
                return;
            };
            while let Some(Ok((request, respond))) = connection.accept().await {
                tokio::spawn(stream_of(Arc::clone(&told), request, respond));
            }
        });
    }
}

/// One gRPC stream to its end; a peer that breaks it off is no concern of ours.
async fn stream_of(
    told: Arc<Told>,
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
) {
    let secrets = request.uri().path().ends_with("/StreamSecrets");
    let mut head = http::Response::new(());
    head.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/grpc"),
    );
    let Ok(mut out) = respond.send_response(head, false) else {
        return;
    };
    let mut incoming = request.into_body();
    let mut read = BytesMut::new();
    let mut asked: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut number = 0_u64;
    while let Some(Ok(piece)) = incoming.data().await {
        if incoming
            .flow_control()
            .release_capacity(piece.len())
            .is_err()
        {
            return;
        }
        read.extend_from_slice(&piece);
        while let Some(message) = take(&mut read) {
            let request = DiscoveryRequest::decode(message).unwrap();
            let kind = request.type_url.clone();
            if let Some(error) = &request.error_detail {
                let reason = format!("{kind}: {}", error.message);
                told.refusals.lock().unwrap().push(reason);
                continue;
            }
            if !request.response_nonce.is_empty() && !secrets {
                let mut accepted = told.accepted.lock().unwrap();
                *accepted.entry(kind.clone()).or_default() += 1;
            }
            let mut names = request.resource_names.clone();
            names.sort_unstable();
            if asked.get(&kind) == Some(&names) {
                continue;
            }
            asked.insert(kind.clone(), names.clone());
            let answer = match names.first() {
                Some(name) if secrets => Some(told.secret(name)),
                _ => told.answer(&kind, &names),
            };
            let Some(mut answer) = answer else { continue };
            number += 1;
            answer.nonce = number.to_string();
            if out.send_data(framed(&answer), false).is_err() {
                return;
            }
        }
    }
}

/// The next whole message of a gRPC stream.
fn take(read: &mut BytesMut) -> Option<Bytes> {
    let length = u32::from_be_bytes(read.get(1..5)?.try_into().unwrap()) as usize;
    if read.len() < 5 + length {
        return None;
    }
    read.advance(5);
    Some(read.split_to(length).freeze())
}

fn framed(message: &DiscoveryResponse) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(0);
    out.put_u32(u32::try_from(message.encoded_len()).unwrap());
    out.extend_from_slice(&message.encode_to_vec());
    out.freeze()
}

fn name_of(resource: &Any) -> String {
    let bytes = &*resource.value;
    if resource.type_url.ends_with("ClusterLoadAssignment") {
        return ClusterLoadAssignment::decode(bytes).unwrap().cluster_name;
    }
    RouteConfiguration::decode(bytes).unwrap().name
}

const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
