//! Istio's metadata exchange: who the workload at the other end is, told in header fields of HTTP and in a frame at the head of TCP streams.
//!
//! | file | what it holds |
//! |---|---|
//! | here | header fields (`io.istio.http.peer_metadata.Config`) |
//! | [`tcp`] | frames (`envoy.tcp.metadataexchange.config.MetadataExchange`) |

pub mod tcp;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use carbyne_engine::forward::Exchange;
use carbyne_engine::http::Headers;
use carbyne_protos::io::istio::http::peer_metadata::Config;
use carbyne_protos::io::istio::http::peer_metadata::config::discovery_method::MethodSpecifier;
use carbyne_protos::io::istio::http::peer_metadata::config::propagation_method::MethodSpecifier as Propagation;
use carbyne_protos::io::istio::http::peer_metadata::config::{DiscoveryMethod, PropagationMethod};
use http::HeaderName;

use crate::context::Context;
use crate::live::clusters::LiveCluster;
use crate::observe::peer::{LocalNode, METADATA, METADATA_ID, Peer};
use crate::plan::scope::Scope;

/// The compiled filter.
#[derive(Clone, Debug)]
pub struct MetadataExchangeFilter {
    node: Arc<LocalNode>,
    downstream: Box<[Discovery]>,
    upstream: Box<[Discovery]>,
    /// Tell clients that asked.
    tell_downstream: bool,
    tell_upstream: Option<Upstream>,
    labels: Arc<[Box<str>]>,
    /// Tells remembered peers apart by the labels that were kept of them.
    scope: u64,
}

/// How a peer is found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Discovery {
    Baggage,
    Headers,
}

/// How hosts are told.
#[derive(Clone, Copy, Debug)]
struct Upstream {
    skip_external: bool,
}

impl MetadataExchangeFilter {
    /// Reads the message. Workload discovery finds nothing here: istiod serves its resources to ztunnels and waypoints alone, and lists the
    /// other methods behind it.
    pub fn plan(message: &Config, node: &Arc<LocalNode>, scope: &Scope<'_>) -> Self {
        let discovery = |methods: &[DiscoveryMethod], name: &'static str| -> Box<[Discovery]> {
            let read = |(index, method): (usize, &DiscoveryMethod)| match method.method_specifier {
                Some(MethodSpecifier::IstioHeaders(_)) => Some(Discovery::Headers),
                Some(MethodSpecifier::Baggage(_)) => Some(Discovery::Baggage),
                Some(MethodSpecifier::WorkloadDiscovery(_)) => None,
                None => {
                    scope
                        .item(name, index)
                        .note("an unknown method finds nothing");
                    None
                }
            };
            methods.iter().enumerate().filter_map(read).collect()
        };
        let told = |methods: &[PropagationMethod]| {
            methods.iter().find_map(|method| {
                method
                    .method_specifier
                    .map(|Propagation::IstioHeaders(headers)| Upstream {
                        skip_external: headers.skip_external_clusters,
                    })
            })
        };
        let labels: Arc<[Box<str>]> = message
            .additional_labels
            .iter()
            .map(|label| label.as_str().into())
            .collect();
        Self {
            node: Arc::clone(node),
            downstream: discovery(&message.downstream_discovery, "downstream_discovery"),
            upstream: discovery(&message.upstream_discovery, "upstream_discovery"),
            tell_downstream: told(&message.downstream_propagation).is_some(),
            tell_upstream: told(&message.upstream_propagation),
            scope: if labels.is_empty() {
                0
            } else {
                SCOPES.fetch_add(1, Ordering::Relaxed)
            },
            labels,
        }
    }

    /// Inbound: learns the client and takes the fields away. Outbound: tells the host.
    pub fn request(&self, exchange: &mut Exchange<Context>) {
        if !self.downstream.is_empty() {
            let headers = &mut exchange.request.headers;
            exchange.context.peer_asked = headers.contains(&FIELD) || headers.contains(&FIELD_ID);
            exchange.context.downstream_peer = self.discover(&self.downstream, headers);
            self.strip(&self.downstream, headers);
        }
        if let Some(upstream) = self.tell_upstream
            && !exchange
                .context
                .cluster
                .as_deref()
                .is_some_and(|cluster| upstream.skips(cluster))
        {
            self.tell(&mut exchange.request.headers);
        }
    }

    /// Outbound: learns the host and takes the fields away. Inbound: tells a client that told first.
    pub fn response(&self, exchange: &mut Exchange<Context>) {
        let Some(response) = &mut exchange.response else {
            return;
        };
        if !self.upstream.is_empty() {
            if let Some(peer) = self.discover(&self.upstream, &response.headers) {
                exchange.context.upstream_peer = Some(peer);
            }
            self.strip(&self.upstream, &mut response.headers);
        }
        if self.tell_downstream && exchange.context.peer_asked {
            self.tell(&mut response.headers);
        }
    }

    /// The first method that finds something.
    fn discover(&self, methods: &[Discovery], headers: &Headers) -> Option<Arc<Peer>> {
        methods.iter().find_map(|method| match method {
            // What does not decode is no peer; the request goes on.
            Discovery::Headers => headers
                .get(&FIELD)
                .and_then(|value| Peer::of_header(value.as_bytes(), &self.labels, self.scope).ok()),
            Discovery::Baggage => headers
                .text(&BAGGAGE)
                .and_then(Peer::from_baggage)
                .map(Arc::new),
        })
    }

    fn strip(&self, methods: &[Discovery], headers: &mut Headers) {
        if methods.contains(&Discovery::Headers) {
            headers.remove(&FIELD);
            headers.remove(&FIELD_ID);
        }
    }

    fn tell(&self, headers: &mut Headers) {
        headers.insert(FIELD_ID, self.node.id_header.clone());
        headers.insert(FIELD, self.node.header.clone());
    }
}

impl Upstream {
    /// Whether the cluster is told nothing: it is passed through, forbids it, or lies outside of the mesh.
    fn skips(self, cluster: &LiveCluster) -> bool {
        let istio = &cluster.plan.istio;
        istio.no_exchange
            || (self.skip_external && istio.external)
            || &**cluster.cluster.name() == "PassthroughCluster"
    }
}

static SCOPES: AtomicU64 = AtomicU64::new(1);
const FIELD: HeaderName = HeaderName::from_static(METADATA);
const FIELD_ID: HeaderName = HeaderName::from_static(METADATA_ID);
const BAGGAGE: HeaderName = HeaderName::from_static("baggage");
