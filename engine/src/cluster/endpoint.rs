//! Endpoints as they are assigned, before they are hosts.

use std::any::Any;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::net::Address;

/// The health that the assignment states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EndpointHealth {
    /// Unknown or healthy.
    #[default]
    Healthy,
    /// Not to be used.
    Unhealthy,
    /// Serves what it has, gets nothing new.
    Draining,
    /// Used when too few are healthy.
    Degraded,
    /// Its own check timed out; not to be used.
    Timeout,
}

/// What the engine's user attaches to an endpoint (labels for metrics and the like); carried to the host untouched.
#[derive(Clone)]
pub struct Extension(pub Arc<dyn Any + Send + Sync>);

/// One assigned endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// Where it listens.
    pub address: Address,
    /// Its name (DNS name, SNI and Host candidates), may be empty.
    pub hostname: Arc<str>,
    /// Share of the load within its locality, at least 1.
    pub weight: u32,
    /// The health that the assignment states.
    pub health: EndpointHealth,
    /// Index into the cluster's transports.
    pub transport: u16,
    /// Overrides what hash balancers hash.
    pub hash_key: Option<Arc<str>>,
    /// What makes it the same host across updates, if not its address: a host whose address moves.
    pub identity: Option<Arc<str>>,
    /// What the engine's user attached.
    pub extension: Option<Extension>,
}

/// A place.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Locality {
    /// Region.
    pub region: Arc<str>,
    /// Zone.
    pub zone: Arc<str>,
    /// Sub-zone.
    pub sub_zone: Arc<str>,
}

/// The endpoints of one locality at one priority.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LocalityEndpoints {
    /// The place.
    pub locality: Locality,
    /// 0 is used first.
    pub priority: u8,
    /// Share of the priority's load when localities are weighted; without one it is 0 and gets no load.
    pub weight: u32,
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// A whole assignment.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// Endpoints by locality and priority.
    pub localities: Vec<LocalityEndpoints>,
    /// Percent by which available hosts are taken to be able to carry more than their share (140).
    pub overprovisioning_factor: u32,
    /// Weigh hosts when computing the health of a priority, instead of counting them.
    pub weighted_priority_health: bool,
}

impl Endpoint {
    /// A healthy endpoint of weight 1 on the first transport.
    #[must_use]
    pub fn at(address: SocketAddr) -> Self {
        Self {
            address: Address::Tcp(address),
            hostname: Arc::from(""),
            weight: 1,
            health: EndpointHealth::Healthy,
            transport: 0,
            hash_key: None,
            identity: None,
            extension: None,
        }
    }
}

impl Assignment {
    /// The localities with the default policy.
    #[must_use]
    pub fn of(localities: Vec<LocalityEndpoints>) -> Self {
        Self {
            localities,
            ..Self::default()
        }
    }
}

impl Default for Assignment {
    fn default() -> Self {
        Self {
            localities: Vec::new(),
            overprovisioning_factor: 140,
            weighted_priority_health: false,
        }
    }
}

/// Equal when they are the same object: comparing contents is the user's affair, who should keep the object when nothing changed.
impl PartialEq for Extension {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Extension {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Extension")
    }
}
