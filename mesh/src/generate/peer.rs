//! PeerAuthentication: which mTLS mode a workload port is in.

use std::collections::BTreeMap;

use super::proxy::Proxy;
use crate::{
    model::{Config, Labels, PeerAuthentication, labels_match, security::MutualTlsMode},
    source::{Service, Snapshot},
};

/// Mode of a port, never Unset.
pub(super) type Mode = MutualTlsMode;

/// Mesh, namespace and workload policies put together.
#[derive(Clone, Debug)]
pub(super) struct PeerPolicy {
    pub(super) mode: Mode,
    /// Workload port → mode.
    pub(super) ports: BTreeMap<u32, Mode>,
}

impl PeerPolicy {
    /// The policy of workloads with these labels.
    pub(super) fn of(snapshot: &Snapshot, namespace: &str, labels: &Labels) -> Self {
        let root = snapshot.mesh.root_namespace.as_str();
        let find = |namespace: &str, wanted: &dyn Fn(Option<&Labels>) -> bool| {
            snapshot
                .peer_authentications
                .iter()
                .find(|config| config.meta.namespace == namespace && wanted(selector(config)))
        };
        let general = |selector: Option<&Labels>| selector.is_none();
        let chosen =
            |selector: Option<&Labels>| selector.is_some_and(|wanted| labels_match(wanted, labels));
        let mesh = find(root, &general);
        let (own, workload) = if namespace == root {
            // In the root namespace selectors are not allowed to narrow (ComposePeerAuthentication).
            (None, None)
        } else {
            (find(namespace, &general), find(namespace, &chosen))
        };
        let mut mode = Mode::Permissive;
        for config in [mesh, own, workload].into_iter().flatten() {
            if let Some(set) = config
                .spec
                .mtls
                .map(|mtls| mtls.mode)
                .filter(|mode| *mode != Mode::Unset)
            {
                mode = set;
            }
        }
        let ports = workload
            .iter()
            .flat_map(|config| &config.spec.port_level_mtls)
            .filter_map(|(port, mtls)| {
                let set = if mtls.mode == Mode::Unset {
                    mode
                } else {
                    mtls.mode
                };
                Some((port.parse().ok()?, set))
            })
            .collect();
        Self { mode, ports }
    }

    pub(super) fn for_proxy(proxy: &Proxy) -> Self {
        Self::of(&proxy.snapshot, &proxy.node.namespace, &proxy.labels)
    }

    pub(super) fn port(&self, port: u32) -> Mode {
        self.ports.get(&port).copied().unwrap_or(self.mode)
    }
}

fn selector(config: &Config<PeerAuthentication>) -> Option<&Labels> {
    let labels = &config.spec.selector.as_ref()?.match_labels;
    (!labels.is_empty()).then_some(labels)
}

/// What a client may assume of a service without asking its endpoints (istiod: BestEffortInferServiceMTLSMode);
/// none when the service is outside the mesh.
pub(super) fn inferred(
    snapshot: &Snapshot,
    service: &Service,
    port: u32,
    passthrough: bool,
) -> Option<Mode> {
    if service.external {
        return None;
    }
    if passthrough || service.resolution == crate::model::service_entry::Resolution::None {
        let mut instances = service
            .instances
            .iter()
            .filter(|instance| instance.service_port == port)
            .peekable();
        if instances.peek().is_none() || instances.any(|instance| !instance.mutual_tls) {
            return Some(Mode::Disable);
        }
    }
    let none = Labels::new();
    Some(PeerPolicy::of(snapshot, &service.namespace, &none).mode)
}
