//! What telemetry asks about a cluster and an endpoint: services, Istio's metadata, the name for statistics.

use std::sync::Arc;

use carbyne_engine::cluster::settings::Protocol;
use serde_json::Value;

use super::peer::Peer;

/// Facts of a cluster, made once with its plan.
#[derive(Debug, Default)]
pub struct ClusterFacts {
    /// The cluster's name.
    pub name: Arc<str>,
    /// The name that statistics and `%UPSTREAM_CLUSTER%` use, where it is another (`alt_stat_name`).
    pub alt_stat_name: Option<Arc<str>>,
    /// The services behind it (`istio.services`); istiod writes one.
    pub services: Box<[Service]>,
    /// Outside the mesh (`istio.external`).
    pub external: bool,
    /// Peer metadata is not told to it (`istio.disable_mx`).
    pub disable_metadata_exchange: bool,
    /// Whether `istio.alpn` may choose the protocols that it is offered.
    pub alpn_override: bool,
    /// What is spoken to it.
    pub protocol: UpstreamProtocol,
    /// `filter_metadata` as JSON.
    pub metadata: Value,
}

/// What is spoken to a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2.
    Http2,
    /// What the client speaks.
    AsDownstream,
}

/// A service behind a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Its host.
    pub host: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
}

/// Facts of an endpoint; attached to the engine's hosts as their extension.
#[derive(Debug, Default)]
pub struct EndpointFacts {
    /// The workload that its metadata names (`istio.workload`).
    pub peer: Option<Arc<Peer>>,
    /// `filter_metadata` as JSON.
    pub metadata: Value,
}

impl ClusterFacts {
    /// Reads a cluster's `filter_metadata`; `alt_stat_name` may be empty.
    pub fn new(name: &str, alt_stat_name: &str, filter_metadata: Value, protocol: &Protocol) -> Self {
        let istio = filter_metadata.get("istio");
        let flag = |key: &str| match istio.and_then(|istio| istio.get(key)) {
            Some(Value::Bool(value)) => Some(*value),
            Some(Value::String(text)) => Some(text == "true"),
            _ => None,
        };
        let services = istio
            .and_then(|istio| istio.get("services"))
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice)
            .iter()
            .map(|service| {
                let text = |key: &str| Arc::from(service.get(key).and_then(Value::as_str).unwrap_or_default());
                Service {
                    host: text("host"),
                    name: text("name"),
                    namespace: text("namespace"),
                }
            })
            .collect();
        Self {
            name: Arc::from(name),
            alt_stat_name: (!alt_stat_name.is_empty()).then(|| Arc::from(alt_stat_name)),
            services,
            external: flag("external") == Some(true),
            disable_metadata_exchange: flag("disable_mx") == Some(true),
            alpn_override: flag("alpn_override") != Some(false),
            protocol: match protocol {
                Protocol::Http1 => UpstreamProtocol::Http1,
                Protocol::Http2(_) => UpstreamProtocol::Http2,
                Protocol::AsDownstream(_) => UpstreamProtocol::AsDownstream,
            },
            metadata: filter_metadata,
        }
    }
}

impl EndpointFacts {
    /// Reads an endpoint's `filter_metadata`.
    pub fn new(filter_metadata: Value) -> Self {
        let peer = filter_metadata
            .get("istio")
            .and_then(|istio| istio.get("workload"))
            .and_then(Value::as_str)
            .and_then(Peer::from_endpoint)
            .map(Arc::new);
        Self {
            peer,
            metadata: filter_metadata,
        }
    }

    /// The facts that a host carries.
    pub fn of(host: &carbyne_engine::cluster::Host) -> Option<&Self> {
        host.extension.as_ref()?.0.downcast_ref()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn istio_metadata() {
        let facts = ClusterFacts::new(
            "outbound|80||a.b.svc.cluster.local",
            "",
            json!({"istio": {"services": [{"host": "a.b.svc.cluster.local", "name": "a", "namespace": "b"}], "alpn_override": "false", "external": true}}),
            &Protocol::Http1,
        );
        assert_eq!(&*facts.services[0].host, "a.b.svc.cluster.local");
        assert!(facts.external && !facts.alpn_override && !facts.disable_metadata_exchange);
        let plain = ClusterFacts::new("x", "y;", Value::Null, &Protocol::Http1);
        assert!(plain.alpn_override && !plain.external && plain.services.is_empty());
        assert_eq!(plain.alt_stat_name.as_deref(), Some("y;"));
    }
}
