//! From proto3-JSON to Envoy's messages.

use carbyne_protos::{json, prost_types::Any};
use serde_json::Value;

use super::Resource;

/// The four resource types that this control plane generates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// CDS.
    Cluster,
    /// EDS.
    Endpoint,
    /// LDS.
    Listener,
    /// RDS.
    Route,
}

impl Kind {
    /// All of them in istiod's push order.
    pub const ALL: [Self; 4] = [Self::Cluster, Self::Endpoint, Self::Listener, Self::Route];

    /// Type URL on the wire.
    #[must_use]
    pub const fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoint => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::Route => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        }
    }

    /// The type of a URL; none for what is not generated here.
    #[must_use]
    pub fn from_type_url(type_url: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.type_url() == type_url)
    }

    /// Clusters and listeners are subscribed as a whole; the rest by name.
    #[must_use]
    pub const fn is_wildcard(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener)
    }
}

/// A generated resource that Envoy's messages do not allow: a fault of this crate or of an EnvoyFilter's value.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{name}: {problem}")]
pub struct EncodeError {
    /// The resource.
    pub name: String,
    /// Where and what.
    pub problem: String,
}

impl Resource {
    /// The message as it goes onto the wire.
    ///
    /// # Errors
    /// A field or value that the message does not have.
    pub fn encode(&self) -> Result<Any, EncodeError> {
        let mut value = self.value.clone();
        if let Value::Object(map) = &mut value {
            map.insert(
                "@type".to_owned(),
                Value::String(self.kind.type_url().to_owned()),
            );
        }
        json::any_from_json(&value).map_err(|error| EncodeError {
            name: self.name.clone(),
            problem: error.to_string(),
        })
    }
}
