//! From a [`Snapshot`] and a node to the node's clusters, endpoints, listeners and routes, by istiod 1.29's rules.
//!
//! Generation speaks proto3-JSON (`serde_json::Value`); [`Resource::encode`] turns it into Envoy's messages, where a field that the
//! message does not have is an error, so nothing can be generated that is not Envoy's.

mod authorize;
mod cluster;
mod encode;
mod endpoint;
mod envoy_filter;
mod json;
mod listener;
mod name;
mod node;
mod peer;
mod proxy;
mod route;
mod scope;
mod telemetry;
mod tls;

use std::sync::Arc;

use serde_json::Value;

pub use self::{
    encode::{EncodeError, Kind},
    node::{Interception, Node, NodeError, NodeKind},
    proxy::Proxy,
};
use crate::{
    model::{Labels, security::MutualTlsMode},
    source::Snapshot,
};

/// One generated resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// Its type.
    pub kind: Kind,
    /// Name by which it is subscribed.
    pub name: String,
    /// proto3-JSON of the message, without `@type`.
    pub value: Value,
}

/// The mTLS mode in which a workload's port takes connections; never `Unset`.
#[must_use]
pub fn peer_mode(
    snapshot: &Snapshot,
    namespace: &str,
    labels: &Labels,
    port: u32,
) -> MutualTlsMode {
    peer::PeerPolicy::of(snapshot, namespace, labels).port(port)
}

/// All resources of a wildcard type.
#[must_use]
pub fn all(proxy: &Proxy, kind: Kind) -> Vec<Resource> {
    match kind {
        Kind::Cluster => collect(kind, cluster::build(proxy), "name"),
        Kind::Listener => collect(kind, listener::build(proxy), "name"),
        Kind::Endpoint | Kind::Route => Vec::new(),
    }
}

/// The named resources; of a wildcard type all those with these names. A name that does not exist gives nothing, except that
/// istiod answers any route name of a sidecar, known or not.
#[must_use]
pub fn named<'a>(
    proxy: &Proxy,
    kind: Kind,
    names: impl IntoIterator<Item = &'a str>,
) -> Vec<Resource> {
    match kind {
        Kind::Endpoint => {
            let built = names
                .into_iter()
                .filter_map(|name| endpoint::build(proxy, name))
                .collect();
            collect(kind, built, "clusterName")
        }
        Kind::Route => {
            let built = names
                .into_iter()
                .filter_map(|name| route::build(proxy, name))
                .collect();
            collect(kind, built, "name")
        }
        Kind::Cluster | Kind::Listener => {
            let wanted: std::collections::HashSet<&str> = names.into_iter().collect();
            let mut resources = all(proxy, kind);
            resources.retain(|resource| wanted.contains(resource.name.as_str()));
            resources
        }
    }
}

/// Resolves a node against a snapshot.
#[must_use]
pub fn proxy(snapshot: &Arc<Snapshot>, node: &Node) -> Proxy {
    Proxy::new(Arc::clone(snapshot), node.clone())
}

fn collect(kind: Kind, values: Vec<Value>, key: &str) -> Vec<Resource> {
    values
        .into_iter()
        .map(|mut value| {
            json::prune(&mut value);
            Resource {
                kind,
                name: value[key].as_str().unwrap_or_default().to_owned(),
                value,
            }
        })
        .collect()
}
