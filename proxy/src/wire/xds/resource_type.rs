//! The types that are asked for over ADS.

/// A type of resource. The order is that in which a client asks: what others refer to comes first
/// (istiod pushes in the same order).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ResourceType {
    /// CDS: clusters, always the full state.
    Cluster,
    /// EDS: endpoints, by the name that the cluster gives.
    Endpoint,
    /// LDS: listeners, always the full state.
    Listener,
    /// RDS: route configurations, by the name that the listener gives.
    Route,
    /// SDS over ADS: secrets of gateways, by name.
    Secret,
    /// ECDS: configuration of single filters, by the filter's name.
    Extension,
}

impl ResourceType {
    /// All types, in order.
    pub const ALL: [Self; 6] = [
        Self::Cluster,
        Self::Endpoint,
        Self::Listener,
        Self::Route,
        Self::Secret,
        Self::Extension,
    ];

    /// The type whose URL this is.
    pub fn from_type_url(type_url: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.type_url() == type_url)
    }

    /// The URL that requests, responses and resources carry.
    pub fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoint => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::Route => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            Self::Secret => "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            Self::Extension => "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        }
    }

    /// Whether a state-of-the-world response lists everything, so that what it lacks is gone. For the
    /// other types a missing name says nothing.
    pub fn is_full_state(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener)
    }

    /// What Envoy calls such resources in a NACK.
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Cluster => "cluster(s)",
            Self::Endpoint => "endpoint(s)",
            Self::Listener => "listener(s)",
            Self::Route => "route configuration(s)",
            Self::Secret => "secret(s)",
            Self::Extension => "extension(s)",
        }
    }

    pub(super) fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_found_again_and_indices_follow_the_order() {
        for (index, kind) in ResourceType::ALL.into_iter().enumerate() {
            assert_eq!(ResourceType::from_type_url(kind.type_url()), Some(kind));
            assert_eq!(kind.index(), index);
        }
        assert_eq!(
            ResourceType::from_type_url("type.googleapis.com/istio.networking.nds.v1.NameTable"),
            None
        );
    }
}
