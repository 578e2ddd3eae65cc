//! The secret discovery service, as pilot-agent serves it to one workload: `default` and `ROOTCA`, SotW only, renewals pushed.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use carbyne_protos::{
    any,
    envoy::{
        config::core::v3::{DataSource, data_source::Specifier},
        extensions::transport_sockets::tls::v3::{
            CertificateValidationContext, Secret, TlsCertificate, secret::Type,
        },
        service::discovery::v3::{DiscoveryRequest, DiscoveryResponse},
    },
    prost_types::Any,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tonic::{Status, Streaming, body::Body};

use super::grpc::{self, BoxedResponse, Methods, Server};
use crate::certificate::{Authority, CertificateError, Identity, Leaf};

/// The workload's certificate, renewed while this lives.
#[derive(Debug)]
pub struct Secrets {
    authority: Arc<Authority>,
    identity: Identity,
    current: watch::Sender<Arc<Issued>>,
}

/// A certificate with the version that tells it from others.
#[derive(Debug)]
struct Issued {
    leaf: Leaf,
    version: u64,
}

impl Secrets {
    /// Issues the first certificate.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(
        authority: Arc<Authority>,
        identity: Identity,
    ) -> Result<Arc<Self>, CertificateError> {
        let leaf = authority.issue(&identity)?;
        let (current, _) = watch::channel(Arc::new(Issued { leaf, version: 1 }));
        Ok(Arc::new(Self {
            authority,
            identity,
            current,
        }))
    }

    /// Whose they are.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Issues the next certificate now; open streams get it.
    ///
    /// # Errors
    /// When it cannot be made; the old one stays.
    pub fn rotate(&self) -> Result<(), CertificateError> {
        let leaf = self.authority.issue(&self.identity)?;
        self.current.send_modify(|current| {
            *current = Arc::new(Issued {
                leaf,
                version: current.version + 1,
            });
        });
        Ok(())
    }

    /// Renews at half of each life until the task is ended.
    pub fn keep_fresh(self: &Arc<Self>) -> JoinHandle<()> {
        let secrets = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                let due = secrets.current.borrow().leaf.renewal();
                let wait = due.duration_since(SystemTime::now()).unwrap_or(SOON);
                tokio::time::sleep(wait.max(SOON)).await;
                if let Err(error) = secrets.rotate() {
                    tracing::error!(%error, identity = %secrets.identity.uri(), "certificate not renewed");
                }
            }
        })
    }

    /// Listens on the workload's socket.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn serve_unix(self: &Arc<Self>, path: &Path) -> io::Result<Server> {
        grpc::unix(path, Sds(Arc::clone(self)))
    }

    /// The secret of a name; none when there is no such secret.
    fn secret(&self, name: &str, issued: &Issued) -> Option<Any> {
        let bytes = |pem: &str| {
            Some(DataSource {
                specifier: Some(Specifier::InlineBytes(pem.as_bytes().to_vec())),
                ..DataSource::default()
            })
        };
        let content = match name {
            "default" => Type::TlsCertificate(TlsCertificate {
                certificate_chain: bytes(&issued.leaf.chain_pem),
                private_key: bytes(&issued.leaf.key_pem),
                ..TlsCertificate::default()
            }),
            "ROOTCA" => Type::ValidationContext(CertificateValidationContext {
                trusted_ca: bytes(self.authority.root_pem()),
                ..CertificateValidationContext::default()
            }),
            _ => return None,
        };
        Some(any::pack(&Secret {
            name: name.to_owned(),
            r#type: Some(content),
        }))
    }
}

#[derive(Clone)]
struct Sds(Arc<Secrets>);

impl Methods for Sds {
    const NAME: &'static str = "envoy.service.secret.v3.SecretDiscoveryService";

    // DeltaSecrets and FetchSecrets are Unimplemented, as in pilot-agent (istio.md 1.2).
    fn call(&self, method: &str, request: http::Request<Body>) -> Option<BoxedResponse> {
        let secrets = Arc::clone(&self.0);
        (method == "StreamSecrets")
            .then(|| grpc::streaming(request, move |incoming, out| run(secrets, incoming, out)))
    }
}

/// What a stream has of one secret.
#[derive(Default)]
struct Sent {
    version: u64,
}

async fn run(
    secrets: Arc<Secrets>,
    mut incoming: Streaming<DiscoveryRequest>,
    out: mpsc::Sender<Result<DiscoveryResponse, Status>>,
) {
    let mut current = secrets.current.subscribe();
    let mut names: BTreeMap<String, Sent> = BTreeMap::new();
    let mut nonce = String::new();
    loop {
        tokio::select! {
            request = incoming.message() => {
                let Ok(Some(request)) = request else { return };
                if !request.response_nonce.is_empty() && request.response_nonce != nonce {
                    continue;
                }
                if let Some(error) = &request.error_detail {
                    tracing::warn!(identity = %secrets.identity.uri(), error = %error.message, "secret refused");
                    continue;
                }
                names.retain(|name, _| request.resource_names.contains(name));
                for name in request.resource_names {
                    names.entry(name).or_default();
                }
            }
            changed = current.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
        let issued = current.borrow_and_update().clone();
        for (name, sent) in &mut names {
            // The root does not change with the certificate.
            let version = if name == "ROOTCA" { 1 } else { issued.version };
            if sent.version == version {
                continue;
            }
            let Some(secret) = secrets.secret(name, &issued) else {
                drop(
                    out.send(Err(Status::not_found(format!(
                        "no secret `{name}` for {}",
                        secrets.identity.uri()
                    ))))
                    .await,
                );
                return;
            };
            sent.version = version;
            nonce = NONCE.fetch_add(1, Ordering::Relaxed).to_string();
            let response = DiscoveryResponse {
                version_info: version.to_string(),
                resources: vec![secret],
                type_url: format!(
                    "{}envoy.extensions.transport_sockets.tls.v3.Secret",
                    any::TYPE_URL_HOST
                ),
                nonce: nonce.clone(),
                ..DiscoveryResponse::default()
            };
            if out.send(Ok(response)).await.is_err() {
                return;
            }
        }
    }
}

static NONCE: AtomicU64 = AtomicU64::new(1);
/// Least time between two renewals, so that a short life or a failing authority does not spin.
const SOON: Duration = Duration::from_millis(500);
