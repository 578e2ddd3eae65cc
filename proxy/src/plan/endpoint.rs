//! Endpoints of clusters.
//!
//! An assignment comes on its own and outlives updates of its cluster; which transport an endpoint takes depends on both. So a plan keeps what
//! transports are chosen by, and [`EndpointsPlan::assignment`] makes the engine's assignment for a cluster's transports.

use std::sync::Arc;

use carbyne_engine::cluster::dns::{NamedEndpoint, NamedLocality};
use carbyne_engine::cluster::{
    Assignment, Endpoint, EndpointHealth, Extension, Locality, LocalityEndpoints,
};
use carbyne_engine::net::Address;
use carbyne_protos::envoy::config::core::v3 as core;
use carbyne_protos::envoy::config::core::v3::HealthStatus;
use carbyne_protos::envoy::config::core::v3::address::Address as WireAddress;
use carbyne_protos::envoy::config::endpoint::v3 as wire;
use carbyne_protos::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use carbyne_protos::json;
use serde_json::Value;

use super::error::Fault;
use super::scope::Scope;
use super::value;

/// A planned assignment.
#[derive(Debug)]
pub struct EndpointsPlan {
    /// The cluster's name, or its service name.
    pub cluster: Arc<str>,
    /// Localities in their order.
    pub localities: Vec<LocalityPlan>,
    /// Percent of what hosts may carry more than their share (140).
    pub overprovisioning_factor: u32,
    /// Weigh hosts when computing the health of a priority.
    pub weighted_priority_health: bool,
    /// Shares of requests that are refused, by category.
    pub drops: Vec<(Arc<str>, crate::live::matcher::Fraction)>,
}

/// Endpoints of one place at one priority.
#[derive(Debug)]
pub struct LocalityPlan {
    /// The place.
    pub locality: Locality,
    /// 0 is used first.
    pub priority: u8,
    /// Share of the priority's load.
    pub weight: u32,
    /// The endpoints.
    pub endpoints: Vec<EndpointPlan>,
}

/// One endpoint.
#[derive(Debug)]
pub struct EndpointPlan {
    /// Where it listens.
    pub address: EndpointAddress,
    /// Its name, may be empty.
    pub hostname: Arc<str>,
    /// Share of the load within its place.
    pub weight: u32,
    /// Its health.
    pub health: EndpointHealth,
    /// What is known about it.
    pub facts: Arc<EndpointFacts>,
}

/// Where an endpoint listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointAddress {
    /// A name that has to be resolved.
    Name {
        /// The name.
        host: Arc<str>,
        /// The port.
        port: u16,
    },
    /// A socket.
    Socket(Address),
}

/// What the proxy knows about an endpoint beside what the engine needs; the host's extension.
#[derive(Debug, Default)]
pub struct EndpointFacts {
    /// `filter_metadata` as JSON.
    pub metadata: Option<Arc<Value>>,
    /// The workload as istiod describes it.
    pub workload: Option<Workload>,
}

/// `istio.workload` of an endpoint: name, namespace, canonical name, canonical revision, cluster; parts may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// Its name.
    pub name: Box<str>,
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its canonical service.
    pub canonical_name: Box<str>,
    /// That service's revision.
    pub canonical_revision: Box<str>,
    /// The cluster it runs in.
    pub cluster: Box<str>,
}

/// What chooses a transport: all of these keys have these values below `envoy.transport_socket_match` of the endpoint.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TransportMatch {
    /// Keys and values; none match everything.
    pub criteria: Vec<(String, Value)>,
}

impl EndpointFacts {
    /// Those of a host, if it was planned here.
    pub fn of(extension: Option<&Extension>) -> Option<&Self> {
        extension.and_then(|extension| extension.0.downcast_ref())
    }

    /// The value of a key below a filter's name.
    pub fn value(&self, filter: &str, key: &str) -> Option<&Value> {
        self.metadata.as_ref()?.get(filter)?.get(key)
    }
}

impl Workload {
    /// Reads `name;namespace;canonical;revision;cluster`.
    pub fn parse(text: &str) -> Self {
        let mut parts = text.split(';').map(Box::from);
        let mut next = || parts.next().unwrap_or_default();
        Self {
            name: next(),
            namespace: next(),
            canonical_name: next(),
            canonical_revision: next(),
            cluster: next(),
        }
    }
}

impl EndpointsPlan {
    /// The engine's assignment for a cluster with these transports, in their order. `fallback` is the number of the transport that endpoints
    /// take which none wants. Endpoints with names are not in it: [`Self::named`].
    pub fn assignment(&self, transports: &[TransportMatch], fallback: u16) -> Assignment {
        let endpoint = |plan: &EndpointPlan| {
            let EndpointAddress::Socket(address) = &plan.address else {
                return None;
            };
            Some(plan.endpoint(address.clone(), transports, fallback))
        };
        let localities = self.localities.iter().map(|plan| LocalityEndpoints {
            locality: plan.locality.clone(),
            priority: plan.priority,
            weight: plan.weight,
            endpoints: plan.endpoints.iter().filter_map(endpoint).collect(),
        });
        Assignment {
            localities: localities.collect(),
            overprovisioning_factor: self.overprovisioning_factor,
            weighted_priority_health: self.weighted_priority_health,
        }
    }

    /// Endpoints for the resolver: every one, names and addresses alike.
    pub fn named(&self, transports: &[TransportMatch], fallback: u16) -> Vec<NamedLocality> {
        let endpoint = |plan: &EndpointPlan| {
            let (host, port) = match &plan.address {
                EndpointAddress::Name { host, port } => (Arc::clone(host), *port),
                EndpointAddress::Socket(Address::Tcp(socket)) => {
                    (Arc::from(socket.ip().to_string()), socket.port())
                }
                EndpointAddress::Socket(Address::Unix(_)) => return None,
            };
            Some(NamedEndpoint {
                host,
                port,
                template: plan.endpoint(
                    Address::Tcp(([0, 0, 0, 0], port).into()),
                    transports,
                    fallback,
                ),
            })
        };
        let localities = self.localities.iter().map(|plan| NamedLocality {
            locality: plan.locality.clone(),
            priority: plan.priority,
            weight: plan.weight,
            endpoints: plan.endpoints.iter().filter_map(endpoint).collect(),
        });
        localities.collect()
    }
}

impl EndpointPlan {
    fn endpoint(&self, address: Address, transports: &[TransportMatch], fallback: u16) -> Endpoint {
        let hash_key = self
            .facts
            .value("envoy.lb", "hash_key")
            .and_then(Value::as_str);
        Endpoint {
            address,
            hostname: Arc::clone(&self.hostname),
            weight: self.weight,
            health: self.health,
            transport: self.facts.transport(transports, fallback),
            hash_key: hash_key.map(Arc::from),
            identity: None,
            extension: Some(Extension(Arc::<EndpointFacts>::clone(&self.facts))),
        }
    }
}

impl EndpointFacts {
    /// The number of the first transport that wants this endpoint.
    fn transport(&self, transports: &[TransportMatch], fallback: u16) -> u16 {
        let wants = |wanted: &TransportMatch| {
            wanted
                .criteria
                .iter()
                .all(|(key, value)| self.value(MATCH, key) == Some(value))
        };
        transports
            .iter()
            .position(wants)
            .and_then(|number| u16::try_from(number).ok())
            .unwrap_or(fallback)
    }
}

/// Plans an assignment.
pub fn plan(message: &wire::ClusterLoadAssignment, scope: &Scope<'_>) -> Option<EndpointsPlan> {
    if message.cluster_name.is_empty() {
        scope.field("cluster_name").missing();
    }
    let policy = message.policy.clone().unwrap_or_default();
    let policy_scope = scope.field("policy");
    let expected = "1 or more";
    let overprovisioning_factor = value::within(
        policy.overprovisioning_factor,
        1..=u32::MAX,
        expected,
        140,
        &policy_scope.field("overprovisioning_factor"),
    );
    let drops = policy
        .drop_overloads
        .iter()
        .enumerate()
        .filter_map(|(index, drop)| {
            let scope = policy_scope.item("drop_overloads", index);
            let share = value::fraction(
                drop.drop_percentage.as_ref()?,
                &scope.field("drop_percentage"),
            )?;
            Some((Arc::from(drop.category.as_str()), share))
        });
    let localities = message.endpoints.iter().enumerate();
    Some(EndpointsPlan {
        cluster: Arc::from(message.cluster_name.as_str()),
        drops: drops.collect(),
        localities: localities
            .filter_map(|(index, locality)| {
                locality_plan(locality, &scope.item("endpoints", index))
            })
            .collect(),
        overprovisioning_factor,
        weighted_priority_health: policy.weighted_priority_health,
    })
}

fn locality_plan(locality: &wire::LocalityLbEndpoints, scope: &Scope<'_>) -> Option<LocalityPlan> {
    let Some(priority) = u8::try_from(locality.priority)
        .ok()
        .filter(|priority| *priority <= 128)
    else {
        scope
            .field("priority")
            .out_of_range(locality.priority, "0 to 128");
        return None;
    };
    if locality.load_balancing_weight == Some(0) {
        scope
            .field("load_balancing_weight")
            .out_of_range(0, "1 or more");
    }
    let place = locality.locality.clone().unwrap_or_default();
    let endpoints = locality.lb_endpoints.iter().enumerate();
    Some(LocalityPlan {
        locality: Locality {
            region: Arc::from(place.region),
            zone: Arc::from(place.zone),
            sub_zone: Arc::from(place.sub_zone),
        },
        priority,
        weight: locality.load_balancing_weight.unwrap_or(0),
        endpoints: endpoints
            .filter_map(|(index, endpoint)| {
                endpoint_plan(endpoint, &scope.item("lb_endpoints", index))
            })
            .collect(),
    })
}

fn endpoint_plan(endpoint: &wire::LbEndpoint, scope: &Scope<'_>) -> Option<EndpointPlan> {
    if endpoint.load_balancing_weight == Some(0) {
        scope
            .field("load_balancing_weight")
            .out_of_range(0, "1 or more");
    }
    let health = match HealthStatus::try_from(endpoint.health_status) {
        Ok(HealthStatus::Unknown | HealthStatus::Healthy) => EndpointHealth::Healthy,
        Ok(HealthStatus::Unhealthy) => EndpointHealth::Unhealthy,
        Ok(HealthStatus::Draining) => EndpointHealth::Draining,
        Ok(HealthStatus::Timeout) => EndpointHealth::Timeout,
        Ok(HealthStatus::Degraded) => EndpointHealth::Degraded,
        Err(_) => EndpointHealth::Unhealthy,
    };
    let host = match &endpoint.host_identifier {
        Some(HostIdentifier::Endpoint(host)) => host,
        Some(HostIdentifier::EndpointName(_)) => {
            scope.field("endpoint_name").reject(Fault::Words(
                "named endpoints are not served, write the endpoint",
            ));
            return None;
        }
        None => {
            scope.field("endpoint").missing();
            return None;
        }
    };
    let address = address(
        host.address.as_ref(),
        &scope.field("endpoint").field("address"),
    )?;
    let metadata = value::metadata(endpoint.metadata.as_ref());
    let workload = metadata.as_ref().and_then(|metadata| {
        metadata
            .get("istio")?
            .get("workload")?
            .as_str()
            .map(Workload::parse)
    });
    Some(EndpointPlan {
        address,
        hostname: Arc::from(host.hostname.as_str()),
        weight: endpoint.load_balancing_weight.unwrap_or(1),
        health,
        facts: Arc::new(EndpointFacts { metadata, workload }),
    })
}

fn address(address: Option<&core::Address>, scope: &Scope<'_>) -> Option<EndpointAddress> {
    match address.and_then(|address| address.address.as_ref()) {
        Some(WireAddress::SocketAddress(socket)) => {
            let scope = scope.field("socket_address");
            let port = value::socket_port(socket, &scope)?;
            if socket.address.is_empty() {
                scope.field("address").missing();
            }
            Some(match socket.address.parse() {
                Ok(ip) => {
                    EndpointAddress::Socket(Address::Tcp(std::net::SocketAddr::new(ip, port)))
                }
                Err(_) => EndpointAddress::Name {
                    host: Arc::from(socket.address.as_str()),
                    port,
                },
            })
        }
        Some(WireAddress::Pipe(pipe)) => Some(EndpointAddress::Socket(Address::unix(&pipe.path))),
        Some(WireAddress::EnvoyInternalAddress(_)) => {
            scope.note("internal addresses are not served: the endpoint is left out");
            None
        }
        None => {
            scope.missing();
            None
        }
    }
}

/// The criteria of a `match`.
pub fn criteria(fields: Option<&carbyne_protos::prost_types::Struct>) -> TransportMatch {
    let object = fields.map(json::struct_to_json);
    let entries = object
        .as_ref()
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    TransportMatch {
        criteria: entries
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
    }
}

const MATCH: &str = "envoy.transport_socket_match";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workloads() {
        let workload = Workload::parse("portal-7;data-platform;portal;v1;Kubernetes");
        assert_eq!(
            (&*workload.name, &*workload.namespace, &*workload.cluster),
            ("portal-7", "data-platform", "Kubernetes")
        );
        assert_eq!(&*Workload::parse(";;;;Kubernetes").cluster, "Kubernetes");
        assert_eq!(Workload::parse(""), Workload::default());
    }

    #[test]
    fn the_first_transport_that_wants_an_endpoint_takes_it() {
        let wanted = |criteria: &[(&str, &str)]| TransportMatch {
            criteria: criteria
                .iter()
                .map(|(key, value)| ((*key).to_owned(), Value::from(*value)))
                .collect(),
        };
        let transports = [wanted(&[("tlsMode", "istio")]), wanted(&[])];
        let facts = |metadata: Value| EndpointFacts {
            metadata: Some(Arc::new(metadata)),
            workload: None,
        };
        let mtls = facts(serde_json::json!({ MATCH: {"tlsMode": "istio"} }));
        let other = facts(serde_json::json!({ MATCH: {"tlsMode": "other"} }));
        assert_eq!(mtls.transport(&transports, 9), 0);
        assert_eq!(other.transport(&transports, 9), 1);
        assert_eq!(EndpointFacts::default().transport(&transports, 9), 1);
        assert_eq!(other.transport(&transports[..1], 9), 9);
    }
}
