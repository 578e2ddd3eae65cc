//! A node seen through a snapshot: its labels, place, services and rules.

use std::sync::Arc;

use super::{
    node::{Interception, Locality, Node, NodeKind},
    scope::Scope,
};
use crate::{
    model::{Config, DestinationRule, Labels, labels_match},
    source::{Service, ServicePort, Snapshot},
};

/// One service port that the node's workload serves.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) service: Arc<Service>,
    pub(super) port: ServicePort,
    /// Port of the workload.
    pub(super) target: u32,
}

/// Everything that generation asks about a node.
#[derive(Debug)]
pub struct Proxy {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) node: Node,
    /// Labels by which policies select; those of the WorkloadEntry at the node's address win over what the node said.
    pub(super) labels: Labels,
    pub(super) locality: Locality,
    pub(super) targets: Vec<Target>,
    pub(super) scope: Scope,
}

impl Proxy {
    pub(super) fn new(snapshot: Arc<Snapshot>, node: Node) -> Self {
        let mut targets: Vec<Target> = Vec::new();
        let mut from_registry: Option<(Labels, Locality)> = None;
        for service in &snapshot.registry.services {
            for instance in &service.instances {
                if !node.addresses.contains(&instance.address) {
                    continue;
                }
                from_registry.get_or_insert_with(|| {
                    (instance.labels.clone(), Locality::parse(&instance.locality))
                });
                let seen = targets.iter().any(|target| {
                    target.service.hostname == service.hostname
                        && target.port.number == instance.service_port
                });
                if let (false, Some(port)) = (seen, service.port(instance.service_port)) {
                    targets.push(Target {
                        service: Arc::clone(service),
                        port: port.clone(),
                        target: instance.port,
                    });
                }
            }
        }
        let (registry_labels, registry_locality) = from_registry.unwrap_or_default();
        let labels = if registry_labels.is_empty() {
            node.labels.clone()
        } else {
            registry_labels
        };
        let locality = if node.locality.is_empty() {
            registry_locality
        } else {
            node.locality.clone()
        };
        let scope = Scope::new(&snapshot, &node, &labels);
        Self {
            snapshot,
            node,
            labels,
            locality,
            targets,
            scope,
        }
    }

    pub(super) fn is_router(&self) -> bool {
        self.node.kind == NodeKind::Router
    }

    /// Nothing is intercepted: every listener is really bound.
    pub(super) fn is_bare(&self) -> bool {
        self.node.interception == Interception::None
    }

    /// True when a policy with this selector holds for the node.
    pub(super) fn selected(&self, selector: Option<&crate::model::Selector>) -> bool {
        selector.is_none_or(|selector| labels_match(&selector.match_labels, &self.labels))
    }

    /// Policies that hold for the node: of the root namespace and of its own, root first, each in name order.
    pub(super) fn policies<'a, T>(
        &'a self,
        all: &'a [Config<T>],
        selector: impl Fn(&T) -> Option<&crate::model::Selector> + 'a,
    ) -> impl Iterator<Item = &'a Config<T>> {
        let root = self.snapshot.mesh.root_namespace.as_str();
        let own = self.node.namespace.as_str();
        let of = move |namespace: &'a str| {
            all.iter()
                .filter(move |config| config.meta.namespace == namespace)
        };
        let second = (own != root).then(|| of(own)).into_iter().flatten();
        of(root)
            .chain(second)
            .filter(move |config| self.selected(selector(&config.spec)))
    }

    /// The DestinationRule for a service, as a client (`inbound` false) or as its server.
    pub(super) fn destination_rule(
        &self,
        host: &str,
        inbound: bool,
    ) -> Option<&Arc<Config<DestinationRule>>> {
        let service = self.scope.service(host)?;
        self.rule_for(service, inbound)
    }

    pub(super) fn rule_for(
        &self,
        service: &Service,
        inbound: bool,
    ) -> Option<&Arc<Config<DestinationRule>>> {
        let own = self.node.namespace.as_str();
        let root = self.snapshot.mesh.root_namespace.as_str();
        // Client's namespace, then the service's, then the root: the first that has a rule decides (istiod: destinationRule()).
        let mut namespaces = Vec::new();
        if own != root {
            namespaces.push(own);
        }
        namespaces.push(&service.namespace);
        namespaces.push(root);
        for namespace in namespaces {
            let rules: Vec<_> = self
                .snapshot
                .destination_rules
                .iter()
                .filter(|rule| {
                    rule.meta.namespace == namespace
                        && crate::source::exported(&rule.spec.export_to, &rule.meta.namespace, own)
                        && super::name::host_within(&service.hostname, &rule.spec.host)
                })
                .collect();
            // The most specific host wins; among equals the first.
            let Some(best) = rules.iter().map(|rule| specificity(&rule.spec.host)).max() else {
                continue;
            };
            let best: Vec<_> = rules
                .into_iter()
                .filter(|rule| specificity(&rule.spec.host) == best)
                .collect();
            let chosen = best.iter().find(|rule| {
                !inbound
                    && rule.meta.namespace == own
                    && rule
                        .spec
                        .workload_selector
                        .as_ref()
                        .is_some_and(|selector| labels_match(&selector.match_labels, &self.labels))
            });
            let general = || {
                best.iter()
                    .find(|rule| rule.spec.workload_selector.is_none())
            };
            if let Some(rule) = chosen.or_else(general) {
                return Some(rule);
            }
        }
        None
    }
}

/// Exact hosts before wildcards, longer wildcards before shorter.
fn specificity(host: &str) -> (bool, usize) {
    (!host.starts_with('*'), host.len())
}
