//! The aggregated discovery service: a task a stream, between gRPC and [`super::protocol`].

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use carbyne_protos::{
    envoy::{
        config::core::v3::{ControlPlane, Node as XdsNode},
        service::discovery::v3::{
            DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
            Resource as DeltaResource,
        },
    },
    json,
    prost_types::Any,
};
use tokio::sync::{mpsc, watch};
use tonic::{Status, Streaming, body::Body};

use super::{
    grpc::{self, BoxedResponse, Methods, Server},
    protocol::{Push, Request, Session, Variant},
    status::{Board, Entry},
};
use crate::{
    generate::{self, Kind, Node, Proxy},
    source::Snapshot,
};

/// A snapshot with the version that responses bear.
#[derive(Clone, Debug)]
pub struct Published {
    /// What is generated from.
    pub snapshot: Arc<Snapshot>,
    /// istiod's push version: a time and a number that only grows.
    pub version: String,
}

/// The service; clones share everything.
#[derive(Clone, Debug)]
pub struct Ads {
    published: watch::Receiver<Arc<Published>>,
    board: Board,
}

impl Ads {
    /// Serves what `published` holds, and every change of it.
    #[must_use]
    pub const fn new(published: watch::Receiver<Arc<Published>>, board: Board) -> Self {
        Self { published, board }
    }

    /// Listens on a Unix socket, as pilot-agent does for Envoy.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn serve_unix(&self, path: &Path) -> io::Result<Server> {
        grpc::unix(path, self.clone())
    }

    /// Listens on a TCP address, as istiod does on 15010 (plaintext, so for 127.0.0.1 only).
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn serve_tcp(&self, address: SocketAddr) -> io::Result<Server> {
        grpc::tcp(address, self.clone()).await
    }
}

impl Methods for Ads {
    const NAME: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";

    fn call(&self, method: &str, request: http::Request<Body>) -> Option<BoxedResponse> {
        let ads = self.clone();
        match method {
            "StreamAggregatedResources" => Some(grpc::streaming(request, move |incoming, out| {
                run::<Sotw>(ads, incoming, out)
            })),
            "DeltaAggregatedResources" => Some(grpc::streaming(request, move |incoming, out| {
                run::<Delta>(ads, incoming, out)
            })),
            _ => None,
        }
    }
}

/// What distinguishes the two protocols on the wire.
trait Wire: Send + 'static {
    type Request: prost::Message + Default + Send + 'static;
    type Response: prost::Message + Default + Send + 'static;
    const VARIANT: Variant;
    fn split(request: Self::Request) -> (Option<XdsNode>, Request);
    fn response(answer: Answer) -> Self::Response;
}

/// A response before it is of either protocol.
struct Answer {
    kind: Kind,
    version: String,
    nonce: String,
    resources: Vec<(String, Any)>,
    removed: Vec<String>,
}

struct Sotw;
struct Delta;

fn control_plane() -> Option<ControlPlane> {
    Some(ControlPlane {
        identifier: format!("carbyne-mesh {}", env!("CARGO_PKG_VERSION")),
    })
}

impl Wire for Sotw {
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;
    const VARIANT: Variant = Variant::Sotw;

    fn split(request: DiscoveryRequest) -> (Option<XdsNode>, Request) {
        let reduced = Request {
            type_url: request.type_url,
            nonce: request.response_nonce,
            error: request.error_detail.map(|error| error.message),
            names: request.resource_names,
            ..Request::default()
        };
        (request.node, reduced)
    }

    fn response(answer: Answer) -> DiscoveryResponse {
        DiscoveryResponse {
            version_info: answer.version,
            resources: answer
                .resources
                .into_iter()
                .map(|(_, resource)| resource)
                .collect(),
            type_url: answer.kind.type_url().to_owned(),
            nonce: answer.nonce,
            control_plane: control_plane(),
            ..DiscoveryResponse::default()
        }
    }
}

impl Wire for Delta {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;
    const VARIANT: Variant = Variant::Delta;

    fn split(request: DeltaDiscoveryRequest) -> (Option<XdsNode>, Request) {
        let reduced = Request {
            type_url: request.type_url,
            nonce: request.response_nonce,
            error: request.error_detail.map(|error| error.message),
            names: request.resource_names_subscribe,
            removed: request.resource_names_unsubscribe,
            held: request.initial_resource_versions.into_keys().collect(),
        };
        (request.node, reduced)
    }

    fn response(answer: Answer) -> DeltaDiscoveryResponse {
        let version = answer.version.clone();
        let resources = answer
            .resources
            .into_iter()
            .map(|(name, resource)| DeltaResource {
                name,
                version: version.clone(),
                resource: Some(resource),
                ..DeltaResource::default()
            });
        DeltaDiscoveryResponse {
            resources: resources.collect(),
            system_version_info: answer.version,
            type_url: answer.kind.type_url().to_owned(),
            removed_resources: answer.removed,
            nonce: answer.nonce,
            control_plane: control_plane(),
            ..DeltaDiscoveryResponse::default()
        }
    }
}

/// One stream: its client, its subscriptions, what it was sent.
struct Stream {
    node: Node,
    session: Session,
    variant: Variant,
    published: Arc<Published>,
    proxy: Proxy,
    entry: Entry,
}

async fn run<W: Wire>(
    ads: Ads,
    mut incoming: Streaming<W::Request>,
    out: mpsc::Sender<Result<W::Response, Status>>,
) {
    let mut published = ads.published.clone();
    let mut stream: Option<Stream> = None;
    loop {
        let pushes = tokio::select! {
            request = incoming.message() => {
                let request = match request {
                    Ok(Some(request)) => request,
                    Ok(None) => return,
                    Err(status) => {
                        tracing::debug!(%status, "stream ended");
                        return;
                    }
                };
                let (node, request) = W::split(request);
                let live = if stream.is_none() { published.borrow_and_update().clone() } else { published.borrow().clone() };
                let current = match &mut stream {
                    Some(stream) => stream,
                    None => match Stream::open::<W>(&ads, node, live) {
                        Ok(opened) => stream.insert(opened),
                        Err(status) => {
                            // The client may be gone already; then there is nobody to tell.
                            drop(out.send(Err(status)).await);
                            return;
                        }
                    },
                };
                match current.session.request(&request) {
                    Ok(pushes) => pushes,
                    Err(error) => {
                        drop(out.send(Err(Status::invalid_argument(error.to_string()))).await);
                        return;
                    }
                }
            }
            changed = published.changed() => {
                if changed.is_err() {
                    return;
                }
                let Some(current) = &mut stream else { continue };
                current.published = published.borrow_and_update().clone();
                current.proxy = generate::proxy(&current.published.snapshot, &current.node);
                current.session.changed()
            }
        };
        let Some(current) = &mut stream else { continue };
        let mut follow: BTreeSet<Kind> = BTreeSet::new();
        for mut push in pushes {
            push.forced |= follow.contains(&push.kind);
            let forced = push.forced;
            let Some(answer) = current.answer(&push) else {
                continue;
            };
            if !forced {
                // A change of clusters (listeners) makes the client warm them, for which it wants endpoints (routes).
                follow.extend(Session::follows(push.kind));
            }
            if out.send(Ok(W::response(answer))).await.is_err() {
                return;
            }
        }
        current
            .entry
            .update(&current.session, &current.published.version);
    }
}

impl Stream {
    fn open<W: Wire>(
        ads: &Ads,
        node: Option<XdsNode>,
        published: Arc<Published>,
    ) -> Result<Self, Status> {
        let node = node.ok_or_else(|| {
            Status::invalid_argument("the first request of a stream must carry the node")
        })?;
        let node = Node::from_json(&json::to_json(&node))
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(Self {
            proxy: generate::proxy(&published.snapshot, &node),
            session: Session::new(W::VARIANT),
            variant: W::VARIANT,
            entry: ads.board.enter(&node.id, W::VARIANT),
            published,
            node,
        })
    }

    /// The response to a push; none when nothing changed and nothing is owed.
    fn answer(&mut self, push: &Push) -> Option<Answer> {
        let generated = match &push.names {
            None => generate::all(&self.proxy, push.kind),
            Some(names) => {
                generate::named(&self.proxy, push.kind, names.iter().map(String::as_str))
            }
        };
        let mut resources: BTreeMap<String, (u64, Any)> = BTreeMap::new();
        let mut order = Vec::new();
        for resource in generated {
            match resource.encode() {
                Ok(message) => {
                    let mut hasher = DefaultHasher::new();
                    message.value.hash(&mut hasher);
                    order.push(resource.name.clone());
                    resources.insert(resource.name, (hasher.finish(), message));
                }
                // The rest of the configuration is still good; the fault is shown where its owner looks.
                Err(error) => tracing::error!(node = %self.node.id, %error, "resource left out"),
            }
        }
        let held = self.session.held(push);
        let wanted = |name: &String| push.names.as_ref().is_none_or(|names| names.contains(name));
        let mut removed: Vec<String> = held
            .keys()
            .filter(|name| !resources.contains_key(*name))
            .cloned()
            .collect();
        if let (Variant::Delta, Some(names)) = (self.variant, &push.names) {
            // A name that does not exist comes back as removed.
            removed.extend(
                names
                    .iter()
                    .filter(|name| !resources.contains_key(*name) && !held.contains_key(*name))
                    .cloned(),
            );
        }
        let changed = |name: &String| held.get(name) != resources.get(name).map(|(hash, _)| hash);
        let wildcard_sotw = self.variant == Variant::Sotw && push.kind.is_wildcard();
        if !push.forced {
            let any = order.iter().any(changed)
                || (!removed.is_empty() && (wildcard_sotw || self.variant == Variant::Delta));
            if !any {
                return None;
            }
        }
        // SotW clusters and listeners are always complete; everything else may be only what changed.
        let keep = |name: &String| push.forced || wildcard_sotw || changed(name);
        let sent: Vec<String> = order
            .iter()
            .filter(|name| wanted(name) && keep(name))
            .cloned()
            .collect();
        let nonce = format!(
            "{}{:016x}",
            self.published.version,
            NONCE.fetch_add(1, Ordering::Relaxed)
        );
        let hashes: Vec<(String, u64)> = sent
            .iter()
            .filter_map(|name| Some((name.clone(), resources.get(name)?.0)))
            .collect();
        self.session.sent(
            push.kind,
            &nonce,
            &self.published.version,
            hashes,
            push.names.is_none() && wildcard_sotw,
        );
        self.session.forget(push.kind, &removed);
        Some(Answer {
            kind: push.kind,
            version: self.published.version.clone(),
            nonce,
            resources: sent
                .into_iter()
                .filter_map(|name| {
                    let (_, message) = resources.remove(&name)?;
                    Some((name, message))
                })
                .collect(),
            removed: if self.variant == Variant::Delta {
                removed
            } else {
                Vec::new()
            },
        })
    }
}

/// Nonces are unique over all streams of the process.
static NONCE: AtomicU64 = AtomicU64::new(1);
