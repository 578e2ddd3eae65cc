//! Label names in their order, and where their values come from.

use carbyne_engine::tls::CertificateFacts;

use super::{IstioStats, Reporter};
use crate::observe::facts::Facts;
use crate::observe::peer::Peer;

/// The values of one label set, in the order of [`HTTP_LABELS`] or [`TCP_LABELS`].
#[derive(Clone, Debug)]
pub(super) struct Labels {
    pub(super) values: Vec<(&'static str, String)>,
}

/// One end of a connection.
#[derive(Default)]
struct End<'a> {
    workload: &'a str,
    namespace: &'a str,
    canonical_service: &'a str,
    canonical_revision: &'a str,
    app: &'a str,
    version: &'a str,
    cluster: &'a str,
    principal: &'a str,
}

impl<'a> End<'a> {
    fn of(peer: &'a Peer) -> Self {
        Self {
            workload: &peer.workload,
            namespace: &peer.namespace,
            canonical_service: &peer.canonical_service,
            canonical_revision: &peer.canonical_revision,
            app: &peer.app,
            version: &peer.version,
            cluster: &peer.cluster,
            principal: "",
        }
    }

    fn with_principal(self, certificate: Option<&'a CertificateFacts>) -> Self {
        Self {
            principal: certificate
                .and_then(CertificateFacts::first_uri)
                .unwrap_or_default(),
            ..self
        }
    }
}

impl Labels {
    /// Words all labels.
    pub(super) fn of(stats: &IstioStats, facts: &Facts<'_>) -> Self {
        let own = End::of(&stats.node.peer);
        let inbound = stats.reporter != Reporter::Source;
        let tls = if inbound {
            facts.downstream_tls()
        } else {
            facts.upstream_tls()
        };
        let (theirs, ours) = (
            tls.and_then(|tls| tls.peer.as_deref()),
            tls.and_then(|tls| tls.local.as_deref()),
        );
        let server = || {
            facts.upstream_peer.map(|peer| End::of(peer)).or_else(|| {
                let workload = facts.endpoint()?.workload.as_ref()?;
                Some(End {
                    workload: &workload.name,
                    namespace: &workload.namespace,
                    canonical_service: &workload.canonical_name,
                    canonical_revision: &workload.canonical_revision,
                    cluster: &workload.cluster,
                    ..End::default()
                })
            })
        };
        let (source, destination) = match stats.reporter {
            Reporter::Source => (
                own.with_principal(ours),
                server().unwrap_or_default().with_principal(theirs),
            ),
            Reporter::Destination | Reporter::Waypoint => {
                let mut client = facts
                    .downstream_peer
                    .map(|peer| End::of(peer))
                    .unwrap_or_default()
                    .with_principal(theirs);
                // The certificate says more surely than the client where it lives.
                if let Some(namespace) = spiffe_namespace(client.principal) {
                    client.namespace = namespace;
                }
                let here = if stats.reporter == Reporter::Waypoint {
                    server().unwrap_or_default()
                } else {
                    own
                };
                (client, here.with_principal(ours))
            }
        };
        let service = Service::of(stats, facts);
        let security = match stats.reporter {
            Reporter::Source => UNKNOWN,
            _ if tls.is_some_and(|tls| tls.peer.is_some() && tls.peer_verified) => "mutual_tls",
            _ => "none",
        };
        let mut flags = Vec::new();
        facts.flags.write_short(&mut flags);
        let grpc = facts.is_grpc();
        let grpc_status = if grpc {
            facts
                .grpc_status()
                .map(|status| status.to_string())
                .unwrap_or_default()
        } else {
            String::new()
        };
        let protocol = if facts.is_stream {
            "tcp"
        } else if grpc {
            "grpc"
        } else {
            "http"
        };
        let value = |name: &str| match name {
            "reporter" => stats.reporter.as_str().to_owned(),
            "source_workload" => known(source.workload),
            "source_canonical_service" => known(source.canonical_service),
            "source_canonical_revision" => revision(source.canonical_revision),
            "source_workload_namespace" => known(source.namespace),
            "source_principal" => known(source.principal),
            "source_app" => known(source.app),
            "source_version" => known(source.version),
            "source_cluster" => known(source.cluster),
            "destination_workload" => known(destination.workload),
            "destination_workload_namespace" => known(destination.namespace),
            "destination_principal" => known(destination.principal),
            "destination_app" => known(destination.app),
            "destination_version" => known(destination.version),
            "destination_service" => known(&service.host),
            "destination_canonical_service" => known(destination.canonical_service),
            "destination_canonical_revision" => revision(destination.canonical_revision),
            "destination_service_name" => known(&service.name),
            "destination_service_namespace" => known(&service.namespace),
            "destination_cluster" => known(destination.cluster),
            "request_protocol" => protocol.to_owned(),
            "response_code" => facts.status().to_string(),
            "grpc_response_status" => grpc_status.clone(),
            "response_flags" => String::from_utf8_lossy(&flags).into_owned(),
            "connection_security_policy" => security.to_owned(),
            _ => UNKNOWN.to_owned(),
        };
        let names: &[&'static str] = if facts.is_stream {
            &TCP_LABELS
        } else {
            &HTTP_LABELS
        };
        Self {
            values: names.iter().map(|name| (*name, value(name))).collect(),
        }
    }
}

/// The service that was called.
#[derive(Default)]
struct Service {
    host: String,
    name: String,
    namespace: String,
}

impl Service {
    fn of(stats: &IstioStats, facts: &Facts<'_>) -> Self {
        if let Some(service) = facts
            .cluster_plan
            .and_then(|cluster| cluster.istio.services.first())
        {
            return Self {
                host: service.host.to_string(),
                name: service.name.to_string(),
                namespace: service.namespace.to_string(),
            };
        }
        let host = match facts.request {
            Some(request) if stats.host_fallback => {
                String::from_utf8_lossy(&request.authority).into_owned()
            }
            _ => String::new(),
        };
        let name = match (facts.route, facts.cluster) {
            ("block_all", _) => "BlackHoleCluster",
            ("allow_any", _) => "PassthroughCluster",
            (
                _,
                Some(
                    cluster @ ("BlackHoleCluster"
                    | "PassthroughCluster"
                    | "InboundPassthroughCluster"
                    | "InboundPassthroughClusterIpv4"
                    | "InboundPassthroughClusterIpv6"),
                ),
            ) => cluster,
            _ => "",
        };
        Self {
            host,
            name: name.to_owned(),
            namespace: String::new(),
        }
    }
}

/// `NS` of `spiffe://DOMAIN/ns/NS/sa/ACCOUNT`.
fn spiffe_namespace(principal: &str) -> Option<&str> {
    let mut parts = principal.strip_prefix("spiffe://")?.split('/').skip(1);
    parts.find(|part| *part == "ns")?;
    parts.next().filter(|namespace| !namespace.is_empty())
}

fn known(text: &str) -> String {
    if text.is_empty() { UNKNOWN } else { text }.to_owned()
}

fn revision(text: &str) -> String {
    if text.is_empty() { "latest" } else { text }.to_owned()
}

pub(super) const UNKNOWN: &str = "unknown";

/// Labels of requests.
pub const HTTP_LABELS: [&str; 25] = [
    "reporter",
    "source_workload",
    "source_canonical_service",
    "source_canonical_revision",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_cluster",
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_service",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_service_name",
    "destination_service_namespace",
    "destination_cluster",
    "request_protocol",
    "response_code",
    "grpc_response_status",
    "response_flags",
    "connection_security_policy",
];

/// Labels of streams.
pub const TCP_LABELS: [&str; 23] = [
    "reporter",
    "source_workload",
    "source_canonical_service",
    "source_canonical_revision",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_cluster",
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_service",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_service_name",
    "destination_service_namespace",
    "destination_cluster",
    "request_protocol",
    "response_flags",
    "connection_security_policy",
];
