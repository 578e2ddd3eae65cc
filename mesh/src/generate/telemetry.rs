//! Telemetry resources: which hold for a node, and what they make of logs, spans and metrics.

mod access_log;
mod metrics;
mod tracing;

pub(super) use self::{
    access_log::{access_log, listener_log},
    metrics::stats,
    tracing::tracing,
};
use super::proxy::Proxy;
use crate::model::{
    Config, Telemetry,
    provider::{ExtensionProvider, FileAccessLog},
    telemetry::Mode,
};

/// Kinds of listeners that telemetry distinguishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Inbound,
    Outbound,
    Gateway,
}

impl Class {
    /// Clients are outbound listeners and gateways.
    fn concerns(self, mode: Mode) -> bool {
        match mode {
            Mode::ClientAndServer => true,
            Mode::Client => self != Self::Inbound,
            Mode::Server => self == Self::Inbound,
        }
    }
}

/// A provider of the mesh, or one of the two that istiod always has.
pub(super) enum Provider<'a> {
    /// Written in the mesh configuration.
    Said(&'a ExtensionProvider),
    /// `prometheus`.
    Prometheus,
    /// `envoy`: Istio's text line to standard output.
    Envoy,
}

impl Provider<'_> {
    fn is_prometheus(&self) -> bool {
        matches!(self, Self::Prometheus)
            || self
                .config()
                .is_some_and(|config| config.prometheus.is_some())
    }

    fn config(&self) -> Option<&ExtensionProvider> {
        match self {
            Self::Said(config) => Some(config),
            _ => None,
        }
    }

    fn file_access_log(&self) -> Option<FileAccessLog> {
        match self {
            Self::Said(config) => config.envoy_file_access_log.clone(),
            Self::Envoy => Some(FileAccessLog {
                path: "/dev/stdout".to_owned(),
                ..FileAccessLog::default()
            }),
            Self::Prometheus => None,
        }
    }
}

pub(super) fn provider<'a>(proxy: &'a Proxy, name: &str) -> Option<Provider<'a>> {
    let providers = &proxy.snapshot.mesh.extension_providers;
    let said = providers
        .iter()
        .find(|provider| provider.name.eq_ignore_ascii_case(name));
    said.map(Provider::Said)
        .or_else(|| match name.to_ascii_lowercase().as_str() {
            "prometheus" => Some(Provider::Prometheus),
            "envoy" => Some(Provider::Envoy),
            _ => None,
        })
}

/// Telemetry of the mesh, then of the namespace, then all that select the workload.
fn applicable(proxy: &Proxy) -> impl Iterator<Item = &Telemetry> {
    let root = proxy.snapshot.mesh.root_namespace.as_str();
    let own = proxy.node.namespace.as_str();
    let all = &proxy.snapshot.telemetries;
    let selects = |config: &&Config<Telemetry>| {
        config
            .spec
            .selector
            .as_ref()
            .is_some_and(|selector| !selector.match_labels.is_empty())
    };
    let general = move |namespace: &str| {
        all.iter()
            .find(|config| config.meta.namespace == namespace && !selects(config))
    };
    let mesh = general(root);
    let namespace = if own == root { None } else { general(own) };
    let workload = all.iter().filter(move |config| {
        config.meta.namespace == own
            && selects(config)
            && proxy.selected(config.spec.selector.as_ref())
    });
    mesh.into_iter()
        .chain(namespace)
        .chain(workload)
        .map(|config| &config.spec)
}

/// Host and cluster of a provider's service, written `host` or `namespace/host`; none when no such port is known.
pub(super) fn lookup(proxy: &Proxy, service: &str, port: u32) -> Option<(String, String)> {
    let (namespace, host) = match service.split_once('/') {
        Some((namespace, host)) => (Some(namespace), host),
        None => (None, service),
    };
    let mut found = proxy.snapshot.registry.named(host);
    let known =
        found.any(|service| namespace.is_none_or(|namespace| service.namespace == namespace));
    known.then(|| (host.to_owned(), tracing::cluster(host, port)))
}
