//! Who asks: the node of an xDS request, with the metadata that pilot-agent puts there.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::model::Labels;

/// Kind of proxy, the first part of the node id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// Beside a workload.
    Sidecar,
    /// A gateway.
    Router,
}

/// How traffic reaches a sidecar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interception {
    /// iptables REDIRECT.
    #[default]
    Redirect,
    /// iptables TPROXY.
    Tproxy,
    /// Not at all: explicit listeners.
    None,
}

/// Region, zone, sub-zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locality {
    /// Region.
    pub region: String,
    /// Zone.
    pub zone: String,
    /// Sub-zone.
    pub sub_zone: String,
}

impl Locality {
    /// Reads `region/zone/sub-zone`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut parts = text.splitn(3, '/').map(str::to_owned);
        Self {
            region: parts.next().unwrap_or_default(),
            zone: parts.next().unwrap_or_default(),
            sub_zone: parts.next().unwrap_or_default(),
        }
    }

    /// Nothing is known.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.region.is_empty() && self.zone.is_empty() && self.sub_zone.is_empty()
    }
}

/// A node as it introduced itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The whole id.
    pub id: String,
    /// Kind.
    pub kind: NodeKind,
    /// Workload addresses, never empty.
    pub addresses: Vec<String>,
    /// Pod or workload name.
    pub name: String,
    /// Namespace whose configuration holds.
    pub namespace: String,
    /// `NAMESPACE.svc.DOMAIN`.
    pub dns_domain: String,
    /// Envoy's service cluster.
    pub cluster: String,
    /// Labels of the workload.
    pub labels: Labels,
    /// Interception.
    pub interception: Interception,
    /// Kubernetes cluster.
    pub cluster_id: String,
    /// Mesh.
    pub mesh_id: String,
    /// Service account.
    pub service_account: String,
    /// Accept HTTP/1.0.
    pub http10: bool,
    /// Idle time of TCP and HTTP connections.
    pub idle_timeout: Option<crate::model::Duration>,
    /// Locality that the node said.
    pub locality: Locality,
    /// Proxy version.
    pub version: String,
}

/// A node that cannot be served.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum NodeError {
    /// The id is not `TYPE~IP~NAME~DOMAIN`.
    #[error("node id `{0}` is not TYPE~IP~NAME.NAMESPACE~DOMAIN")]
    Id(String),
    /// A type that this control plane does not serve.
    #[error("node type `{0}` is not served; sidecar and router are")]
    Kind(String),
}

impl Node {
    /// Reads a node in proto3-JSON (`{id, cluster, locality, metadata}`).
    ///
    /// # Errors
    /// When the id has not four parts, or the type is not served.
    pub fn from_json(node: &Value) -> Result<Self, NodeError> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let id = text(&node["id"]);
        let parts: Vec<&str> = id.split('~').collect();
        let &[kind, ip, name, domain] = parts.as_slice() else {
            return Err(NodeError::Id(id));
        };
        let kind = match kind {
            "sidecar" => NodeKind::Sidecar,
            "router" => NodeKind::Router,
            other => return Err(NodeError::Kind(other.to_owned())),
        };
        let metadata = &node["metadata"];
        let meta = |key: &str| text(&metadata[key]);
        let (short, from_name) = name.rsplit_once('.').unwrap_or((name, ""));
        let listed = meta("INSTANCE_IPS");
        let mut addresses: Vec<String> = listed
            .split(',')
            .filter(|ip| !ip.is_empty())
            .map(str::to_owned)
            .collect();
        if addresses.is_empty() && !ip.is_empty() {
            addresses.push(ip.to_owned());
        }
        if addresses.is_empty() {
            return Err(NodeError::Id(id));
        }
        let namespace = Some(meta("NAMESPACE")).filter(|namespace| !namespace.is_empty());
        let labels: BTreeMap<String, String> = metadata["LABELS"]
            .as_object()
            .map(|map| {
                map.iter()
                    .map(|(key, value)| (key.clone(), text(value)))
                    .collect()
            })
            .unwrap_or_default();
        let locality = &node["locality"];
        let sub_zone = if locality["subZone"].is_null() {
            &locality["sub_zone"]
        } else {
            &locality["subZone"]
        };
        Ok(Self {
            kind,
            addresses,
            name: short.to_owned(),
            namespace: namespace.unwrap_or_else(|| from_name.to_owned()),
            dns_domain: domain.to_owned(),
            cluster: text(&node["cluster"]),
            labels,
            interception: match meta("INTERCEPTION_MODE").as_str() {
                "NONE" => Interception::None,
                "TPROXY" => Interception::Tproxy,
                _ => Interception::Redirect,
            },
            cluster_id: meta("CLUSTER_ID"),
            mesh_id: meta("MESH_ID"),
            service_account: meta("SERVICE_ACCOUNT"),
            http10: meta("HTTP10") == "1",
            idle_timeout: crate::model::Duration::parse(&meta("IDLE_TIMEOUT")).ok(),
            locality: Locality {
                region: text(&locality["region"]),
                zone: text(&locality["zone"]),
                sub_zone: text(sub_zone),
            },
            version: meta("ISTIO_VERSION"),
            id,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_the_id_and_metadata() {
        let node = Node::from_json(&json!({
            "id": "sidecar~10.0.0.1~shop-1.ns~ns.svc.cluster.local",
            "cluster": "shop.ns",
            "locality": {"region": "r", "sub_zone": "s"},
            "metadata": {"INTERCEPTION_MODE": "NONE", "LABELS": {"app": "shop"}, "IDLE_TIMEOUT": "5s"}
        }))
        .unwrap();
        assert_eq!(
            (node.name.as_str(), node.namespace.as_str()),
            ("shop-1", "ns")
        );
        assert_eq!(node.addresses, ["10.0.0.1"]);
        assert_eq!(node.interception, Interception::None);
        assert_eq!(node.labels["app"], "shop");
        assert_eq!(node.locality.sub_zone, "s");
        assert_eq!(
            node.idle_timeout,
            Some(crate::model::Duration::from_secs(5))
        );
    }

    #[test]
    fn refuses_what_istiod_refuses() {
        for id in [
            "",
            "sidecar~1.2.3.4~x",
            "sidecar~1.2.3.4~x~y~z",
            "ztunnel~1.2.3.4~x.y~z",
            "sidecar~~x.y~z",
        ] {
            assert!(Node::from_json(&json!({"id": id})).is_err(), "{id}");
        }
    }
}
