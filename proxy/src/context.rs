//! What filters keep about one request, beside what the engine's exchange holds.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;
use smallvec::SmallVec;

use crate::filter::addition::Addition;
use crate::filter::grpc_stats::Messages;
use crate::live::clusters::LiveCluster;
use crate::live::route::{RouteEntry, Timeouts};
use crate::observe::peer::Peer;
use crate::observe::trace::Span;

/// Per-request state of the HTTP filters; `Exchange<Context>` is what every filter gets.
#[derive(Debug, Default)]
pub struct Context {
    /// The route that was chosen; filters run after the choice, as in Envoy, and may clear it.
    pub route: Option<Arc<RouteEntry>>,
    /// Name of the filter chain that serves the connection.
    pub filter_chain: Option<Arc<str>>,
    /// Name of the virtual host that was chosen.
    pub virtual_host: Option<Arc<str>>,
    /// The cluster that the request goes to: the route's, or the one drawn from its weights; `None` also
    /// where the route names one that does not exist.
    pub cluster: Option<Arc<LiveCluster>>,
    /// The name of that cluster, whether it exists or not.
    pub cluster_name: Option<Arc<str>>,
    /// Number of the weighted cluster that was drawn.
    pub weighted: Option<usize>,
    /// A filter changed what the route depends on: it is chosen again after that filter.
    pub route_cleared: bool,
    /// The virtual host wants TLS and the request came without.
    pub tls_required: bool,
    /// The request's random number: one for all draws, so that choosing again draws the same.
    pub random: u64,
    /// The client's address as far as it can be trusted (`x-forwarded-for`).
    pub client: Option<IpAddr>,
    /// What consistent balancers hash.
    pub hash: Option<u64>,
    /// Cookies that the hash rules made up.
    pub set_cookies: SmallVec<[HeaderValue; 1]>,
    /// How long it may take.
    pub timeouts: Timeouts,
    /// Dynamic metadata by filter name (jwt_authn payloads, rbac's effective policy, …).
    pub metadata: Metadata,
    /// `kid` of the token that was verified, for what is told of a refusal.
    pub token_key_id: Option<String>,
    /// The client's workload, as metadata exchange told.
    pub downstream_peer: Option<Arc<Peer>>,
    /// The server's workload, as metadata exchange or the endpoint told.
    pub upstream_peer: Option<Arc<Peer>>,
    /// Whether the request carried peer metadata, so that the response must.
    pub peer_asked: bool,
    /// Fields that filters of the request want in the response (ext_authz).
    pub response_additions: Vec<Addition>,
    /// ALPN list that `istio.alpn` chose for the upstream connection.
    pub alpn: Option<Arc<carbyne_engine::tls::AlpnList>>,
    /// What the client accepts, as it came, where the chain compresses.
    pub accept_encoding: Option<HeaderValue>,
    /// gRPC messages of the request and of the response, counted by grpc_stats while they pass.
    pub grpc: Option<Rc<Messages>>,
    /// The span of the request, where it is traced.
    pub span: Option<Box<Span>>,
    /// The operation that the client's proxy shall name its span after.
    pub decoration: Option<Arc<str>>,
    /// Policy and rule that denied the request, for the access log.
    pub denied_by: Option<Arc<str>>,
}

impl Context {
    /// gRPC messages of the request and of the response so far.
    pub fn grpc_messages(&self) -> (u64, u64) {
        self.grpc
            .as_ref()
            .map_or((0, 0), |messages| messages.counts())
    }
}

/// Dynamic metadata: a few namespaces, each a JSON object.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    namespaces: Vec<(Arc<str>, serde_json::Map<String, serde_json::Value>)>,
}

impl Metadata {
    /// The object of `namespace`, if a filter wrote it.
    pub fn namespace(
        &self,
        namespace: &str,
    ) -> Option<&serde_json::Map<String, serde_json::Value>> {
        self.namespaces
            .iter()
            .find_map(|(name, object)| (**name == *namespace).then_some(object))
    }

    /// The value at `path` below `namespace`.
    pub fn value<'a>(
        &self,
        namespace: &str,
        mut path: impl Iterator<Item = &'a str>,
    ) -> Option<&serde_json::Value> {
        let mut value = self.namespace(namespace)?.get(path.next()?)?;
        for key in path {
            value = value.as_object()?.get(key)?;
        }
        Some(value)
    }

    /// Merges `object` into `namespace`: keys that exist are replaced.
    pub fn merge(&mut self, namespace: &str, object: serde_json::Map<String, serde_json::Value>) {
        match self
            .namespaces
            .iter_mut()
            .find(|(name, _)| **name == *namespace)
        {
            Some((_, existing)) => existing.extend(object),
            None => self.namespaces.push((Arc::from(namespace), object)),
        }
    }

    /// All namespaces.
    pub fn iter(
        &self,
    ) -> impl Iterator<Item = (&str, &serde_json::Map<String, serde_json::Value>)> {
        self.namespaces
            .iter()
            .map(|(name, object)| (&**name, object))
    }
}
