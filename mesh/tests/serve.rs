//! ADS and SDS over real sockets, with a gRPC client.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use carbyne_mesh::{Mesh, generate::Kind, serve::status::SyncState};
use carbyne_protos::{
    any,
    envoy::{
        config::core::v3::Node,
        extensions::transport_sockets::tls::v3::{Secret, secret::Type},
        service::discovery::v3::{
            DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
        },
    },
    google::rpc::Status as RpcStatus,
    json,
};
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Status, Streaming,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

const ADS: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
const DELTA: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const SDS: &str = "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets";
const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

/// A copy of the example platform that a test may change.
fn platform() -> tempfile::TempDir {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/platform");
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(source).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    folder
}

struct Client<I, O> {
    out: mpsc::Sender<I>,
    incoming: Streaming<O>,
}

impl<I: Message + Default + 'static, O: Message + Default + 'static> Client<I, O> {
    async fn open(channel: Channel, method: &'static str) -> Result<Self, Status> {
        let (out, stream) = mpsc::channel(8);
        let mut grpc = tonic::client::Grpc::new(channel);
        grpc.ready().await.unwrap();
        let request = tonic::Request::new(ReceiverStream::new(stream));
        let response = grpc
            .streaming(
                request,
                http::uri::PathAndQuery::from_static(method),
                ProstCodec::<I, O>::default(),
            )
            .await?;
        Ok(Self {
            out,
            incoming: response.into_inner(),
        })
    }

    async fn send(&self, request: I) {
        self.out.send(request).await.unwrap();
    }

    async fn next(&mut self) -> O {
        tokio::time::timeout(PATIENCE, self.incoming.message())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
    }
}

/// Only for tests that are broken: nothing takes this long.
const PATIENCE: Duration = Duration::from_secs(20);

async fn unix(path: &Path) -> Channel {
    Endpoint::from_shared(format!("unix:{}", path.display()))
        .unwrap()
        .connect()
        .await
        .unwrap()
}

fn node(mesh: &Mesh, name: &str) -> Node {
    let workload = mesh
        .workloads()
        .into_iter()
        .find(|workload| workload.name == name)
        .unwrap();
    json::from_json(&workload.node()).unwrap()
}

fn ask(kind: Kind, names: &[&str]) -> DiscoveryRequest {
    DiscoveryRequest {
        type_url: kind.type_url().to_owned(),
        resource_names: names.iter().map(|name| (*name).to_owned()).collect(),
        ..DiscoveryRequest::default()
    }
}

fn ack(response: &DiscoveryResponse, names: &[&str]) -> DiscoveryRequest {
    DiscoveryRequest {
        type_url: response.type_url.clone(),
        version_info: response.version_info.clone(),
        response_nonce: response.nonce.clone(),
        resource_names: names.iter().map(|name| (*name).to_owned()).collect(),
        ..DiscoveryRequest::default()
    }
}

/// Polls the board until it says so (an ACK has no answer to wait for).
async fn until(mesh: &Mesh, kind: Kind, wanted: impl Fn(&SyncState) -> bool) {
    let seen = async {
        loop {
            let connections = mesh.status();
            let state = connections
                .first()
                .and_then(|connection| connection.types.get(&kind));
            if state.is_some_and(|(state, _)| wanted(state)) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.unwrap();
}

fn rewrite(folder: &Path, file: &str, from: &str, to: &str) {
    let path: PathBuf = folder.join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{file} has {from}");
    std::fs::write(path, text.replace(from, to)).unwrap();
}

#[tokio::test]
async fn sotw_over_a_unix_socket() {
    let folder = platform();
    let mesh = Mesh::load(folder.path()).unwrap();
    let socket = folder.path().join("sockets/XDS");
    let server = mesh.serve_ads_unix(&socket).unwrap();
    let mut client: Client<DiscoveryRequest, DiscoveryResponse> =
        Client::open(unix(&socket).await, ADS).await.unwrap();
    client
        .send(DiscoveryRequest {
            node: Some(node(&mesh, "portal")),
            ..ask(Kind::Cluster, &[])
        })
        .await;
    let clusters = client.next().await;
    assert_eq!(clusters.resources.len(), 9);
    assert_eq!(clusters.version_info, mesh.version());
    client.send(ack(&clusters, &[])).await;
    until(&mesh, Kind::Cluster, |state| *state == SyncState::Synced).await;
    let name = "outbound|8081||catalogue.platform.svc.cluster.local";
    client.send(ask(Kind::Endpoint, &[name])).await;
    let endpoints = client.next().await;
    assert_eq!(endpoints.resources.len(), 1);
    client.send(ack(&endpoints, &[name])).await;
    client.send(ask(Kind::Listener, &[])).await;
    let listeners = client.next().await;
    assert_eq!(listeners.resources.len(), 4);
    let mut nack = ack(&listeners, &[]);
    nack.error_detail = Some(RpcStatus {
        message: "listener 127.0.10.1_8080: bad".to_owned(),
        ..RpcStatus::default()
    });
    client.send(nack).await;
    until(&mesh, Kind::Listener, |state| {
        *state == SyncState::Error("listener 127.0.10.1_8080: bad".to_owned())
    })
    .await;

    // A reload that changes nothing sends nothing: the next thing to come is the endpoint that moved.
    assert!(!mesh.reload().unwrap());
    rewrite(
        folder.path(),
        "services.yaml",
        "address: 127.0.10.2,",
        "address: 127.0.10.9,",
    );
    mesh.reload().unwrap();
    let moved = client.next().await;
    assert_eq!(moved.type_url, Kind::Endpoint.type_url());
    assert_eq!(moved.version_info, mesh.version());
    assert!(
        json::any_to_json(&moved.resources[0])
            .to_string()
            .contains("127.0.10.9")
    );
    client.send(ack(&moved, &[name])).await;

    // A bad file is refused whole.
    let before = mesh.version();
    rewrite(
        folder.path(),
        "services.yaml",
        "number: 8081",
        "number: many",
    );
    let errors = mesh.reload().unwrap_err().to_string();
    assert!(
        errors.contains("services.yaml:") && errors.contains("spec.ports[0].number"),
        "{errors}"
    );
    assert_eq!(mesh.version(), before);
    server.stop().await;
    assert!(!socket.exists());
    let end = tokio::time::timeout(PATIENCE, client.incoming.message())
        .await
        .unwrap();
    assert!(
        !matches!(end, Ok(Some(_))),
        "stopping ends the streams: {end:?}"
    );
}

#[tokio::test]
async fn cluster_changes_bring_their_endpoints() {
    let folder = platform();
    let mesh = Mesh::load(folder.path()).unwrap();
    let server = mesh
        .serve_ads_tcp(([127, 0, 0, 1], 0).into())
        .await
        .unwrap();
    let channel = Endpoint::from_shared(format!("http://{}", server.address().unwrap()))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut client: Client<DiscoveryRequest, DiscoveryResponse> =
        Client::open(channel, ADS).await.unwrap();
    client
        .send(DiscoveryRequest {
            node: Some(node(&mesh, "portal")),
            ..ask(Kind::Cluster, &[])
        })
        .await;
    let clusters = client.next().await;
    client.send(ack(&clusters, &[])).await;
    let name = "outbound|8081||catalogue.platform.svc.cluster.local";
    client.send(ask(Kind::Endpoint, &[name])).await;
    let endpoints = client.next().await;
    client.send(ack(&endpoints, &[name])).await;
    rewrite(
        folder.path(),
        "routes.yaml",
        "connectTimeout: 2s",
        "connectTimeout: 3s",
    );
    mesh.reload().unwrap();
    let first = client.next().await;
    let second = client.next().await;
    assert_eq!(
        (first.type_url.as_str(), first.resources.len()),
        (Kind::Cluster.type_url(), 9),
        "clusters are always complete"
    );
    assert_eq!(
        (second.type_url.as_str(), second.resources.len()),
        (Kind::Endpoint.type_url(), 1)
    );
    server.stop().await;
}

#[tokio::test]
async fn delta_sends_what_changed_and_names_what_is_gone() {
    let folder = platform();
    let mesh = Mesh::load(folder.path()).unwrap();
    let socket = folder.path().join("XDS");
    let server = mesh.serve_ads_unix(&socket).unwrap();
    let mut client: Client<DeltaDiscoveryRequest, DeltaDiscoveryResponse> =
        Client::open(unix(&socket).await, DELTA).await.unwrap();
    let ask = |kind: Kind, names: &[&str]| DeltaDiscoveryRequest {
        type_url: kind.type_url().to_owned(),
        resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
        ..DeltaDiscoveryRequest::default()
    };
    client
        .send(DeltaDiscoveryRequest {
            node: Some(node(&mesh, "portal")),
            initial_resource_versions: [("outbound|1||gone".to_owned(), "1".to_owned())].into(),
            ..ask(Kind::Cluster, &["*"])
        })
        .await;
    let clusters = client.next().await;
    assert_eq!(clusters.resources.len(), 9);
    assert_eq!(clusters.removed_resources, ["outbound|1||gone"]);
    client
        .send(ask(
            Kind::Endpoint,
            &[
                "outbound|8082||billing.platform.svc.cluster.local",
                "outbound|9||none",
            ],
        ))
        .await;
    let endpoints = client.next().await;
    assert_eq!(endpoints.resources.len(), 1);
    assert_eq!(
        endpoints.removed_resources,
        ["outbound|9||none"],
        "a name that does not exist comes back as removed"
    );
    rewrite(
        folder.path(),
        "routes.yaml",
        "connectTimeout: 2s",
        "connectTimeout: 3s",
    );
    mesh.reload().unwrap();
    let changed = client.next().await;
    assert_eq!(changed.type_url, Kind::Cluster.type_url());
    let names: Vec<&str> = changed
        .resources
        .iter()
        .map(|resource| resource.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "outbound|8081||catalogue.platform.svc.cluster.local",
            "outbound|8081|v1|catalogue.platform.svc.cluster.local",
            "outbound|8081|v2|catalogue.platform.svc.cluster.local",
        ]
    );
    rewrite(
        folder.path(),
        "sidecars.yaml",
        "bind: 127.0.10.1, captureMode: NONE, hosts: [./billing.platform.svc.cluster.local]",
        "bind: 127.0.10.1, captureMode: NONE, hosts: [./none.example]",
    );
    mesh.reload().unwrap();
    // The endpoints that follow the change of clusters come first, then the next change.
    let mut removed = Vec::new();
    while !removed.contains(&"outbound|8082||billing.platform.svc.cluster.local".to_owned()) {
        let response = client.next().await;
        if response.type_url == Kind::Cluster.type_url() {
            removed.extend(response.removed_resources);
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_stream_without_a_node_is_refused() {
    let folder = platform();
    let mesh = Mesh::load(folder.path()).unwrap();
    let socket = folder.path().join("XDS");
    let server = mesh.serve_ads_unix(&socket).unwrap();
    let mut client: Client<DiscoveryRequest, DiscoveryResponse> =
        Client::open(unix(&socket).await, ADS).await.unwrap();
    client.send(ask(Kind::Cluster, &[])).await;
    let status = client.incoming.message().await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    server.stop().await;
}

#[tokio::test]
async fn secrets_and_their_renewal() {
    let folder = platform();
    let mesh = Mesh::load(folder.path()).unwrap();
    let secrets = mesh.secrets("platform", "portal").unwrap();
    let socket = folder.path().join("SDS");
    let server = secrets.serve_unix(&socket).unwrap();
    let decode = |response: &DiscoveryResponse| -> Secret {
        any::decode_any(&response.resources[0]).unwrap()
    };
    let ask = |name: &str| DiscoveryRequest {
        type_url: SECRET.to_owned(),
        resource_names: vec![name.to_owned()],
        ..DiscoveryRequest::default()
    };
    let mut own: Client<DiscoveryRequest, DiscoveryResponse> =
        Client::open(unix(&socket).await, SDS).await.unwrap();
    own.send(ask("default")).await;
    let first = own.next().await;
    assert!(matches!(
        decode(&first).r#type,
        Some(Type::TlsCertificate(_))
    ));
    let mut root: Client<DiscoveryRequest, DiscoveryResponse> =
        Client::open(unix(&socket).await, SDS).await.unwrap();
    root.send(ask("ROOTCA")).await;
    let authority = root.next().await;
    assert!(matches!(
        decode(&authority).r#type,
        Some(Type::ValidationContext(_))
    ));
    assert_eq!(
        format!("{:?}", decode(&first)).matches("PRIVATE").count(),
        0
    );
    own.send(DiscoveryRequest {
        response_nonce: first.nonce.clone(),
        version_info: first.version_info.clone(),
        ..ask("default")
    })
    .await;
    secrets.rotate().unwrap();
    let second = own.next().await;
    assert_ne!(first.version_info, second.version_info);
    assert_ne!(first.resources, second.resources);
    let mut unknown: Client<DiscoveryRequest, DiscoveryResponse> =
        Client::open(unix(&socket).await, SDS).await.unwrap();
    unknown.send(ask("other")).await;
    assert_eq!(
        unknown.incoming.message().await.unwrap_err().code(),
        Code::NotFound
    );
    let delta = "/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets";
    let refused =
        Client::<DeltaDiscoveryRequest, DeltaDiscoveryResponse>::open(unix(&socket).await, delta)
            .await;
    assert_eq!(
        refused.err().map(|status| status.code()),
        Some(Code::Unimplemented)
    );
    server.stop().await;
}

#[test]
fn a_saved_file_is_live_and_a_bad_one_is_told() {
    let folder = platform();
    let mesh = Mesh::load(folder.path()).unwrap();
    let (told, outcomes) = std::sync::mpsc::channel();
    let watch = mesh
        .watch(move |outcome| told.send(outcome).unwrap())
        .unwrap();
    let first = mesh.version();
    rewrite(folder.path(), "routes.yaml", "timeout: 5s", "timeout: 6s");
    outcomes.recv_timeout(PATIENCE).unwrap().unwrap();
    assert_ne!(mesh.version(), first);
    let good = mesh.version();
    rewrite(folder.path(), "routes.yaml", "timeout: 6s", "timeout: six");
    let errors = outcomes.recv_timeout(PATIENCE).unwrap().unwrap_err();
    assert!(
        errors
            .to_string()
            .contains("routes.yaml:12:5: spec.http[0].timeout: `six`"),
        "{errors}"
    );
    assert_eq!(mesh.version(), good);
    drop(watch);
}
