//! Route configurations: of sidecars by port, Unix path or sniffed service; of gateways by server.

mod action;
mod gateway;
mod hash;
mod matching;
mod sidecar;
mod translate;

use serde_json::Value;

pub(super) use self::{
    gateway::{MergedServer, intersection, merged, virtual_services},
    translate::destination_cluster,
};
use super::proxy::Proxy;

/// The route configuration of this name, as istiod answers it even for names that nothing refers to any more.
pub(super) fn build(proxy: &Proxy, name: &str) -> Option<Value> {
    if proxy.is_router() {
        Some(gateway::build(proxy, name))
    } else {
        Some(sidecar::build(proxy, name))
    }
}
