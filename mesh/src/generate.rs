//! From a [`Snapshot`] and a node to the node's clusters, endpoints, listeners and routes, by istiod 1.29's rules.
//!
//! Generation speaks proto3-JSON (`serde_json::Value`); [`Resource::encode`] turns it into Envoy's messages, where a field that the
//! message does not have is an error, so nothing can be generated that is not Envoy's.

mod authorize;
mod cluster;
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
    node::{Interception, Node, NodeError, NodeKind},
    proxy::Proxy,
};
use crate::source::Snapshot;

/// One generated resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// Name by which it is subscribed.
    pub name: String,
    /// proto3-JSON of the message, without `@type`.
    pub value: Value,
}

/// All clusters of a node.
#[must_use]
pub fn clusters(proxy: &Proxy) -> Vec<Resource> {
    named(cluster::build(proxy), "name")
}

/// Endpoints of the named clusters; names without a cluster get an empty assignment, as from istiod.
#[must_use]
pub fn endpoints<'a>(proxy: &Proxy, names: impl IntoIterator<Item = &'a str>) -> Vec<Resource> {
    let built = names.into_iter().filter_map(|name| endpoint::build(proxy, name)).collect();
    named(built, "clusterName")
}

/// All listeners of a node.
#[must_use]
pub fn listeners(proxy: &Proxy) -> Vec<Resource> {
    named(listener::build(proxy), "name")
}

/// The named route configurations.
#[must_use]
pub fn routes<'a>(proxy: &Proxy, names: impl IntoIterator<Item = &'a str>) -> Vec<Resource> {
    let built = names.into_iter().filter_map(|name| route::build(proxy, name)).collect();
    named(built, "name")
}

/// Resolves a node against a snapshot.
#[must_use]
pub fn proxy(snapshot: &Arc<Snapshot>, node: &Node) -> Proxy {
    Proxy::new(Arc::clone(snapshot), node.clone())
}

fn named(values: Vec<Value>, key: &str) -> Vec<Resource> {
    values
        .into_iter()
        .map(|mut value| {
            json::prune(&mut value);
            Resource {
                name: value[key].as_str().unwrap_or_default().to_owned(),
                value,
            }
        })
        .collect()
}
