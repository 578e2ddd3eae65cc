//! Services and instances as istiod's registry holds them (serviceentry/conversion): one service per host, one instance per endpoint.

use std::sync::Arc;

use crate::model::{
    Config, Labels, MeshConfig, Origin, ServiceEntry,
    service_entry::{Location, Resolution, WorkloadEntry},
};

/// What a port speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]

pub enum Protocol {
    #[default]
    Unset,
    Http,
    Http2,
    HttpProxy,
    Grpc,
    GrpcWeb,
    Https,
    Tls,
    Tcp,
    Mongo,
    Redis,
    MySql,
    Udp,
}

/// The three families of listeners that a protocol asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// HTTP connection manager.
    Http,
    /// TCP proxy.
    Tcp,
    /// Looked at first.
    Auto,
    /// Not served.
    Unknown,
}

impl Protocol {
    /// Reads Istio's protocol names, any case; what is unknown is detected.
    #[must_use]
    pub fn parse(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "http" => Self::Http,
            "http2" | "h2c" => Self::Http2,
            "http_proxy" => Self::HttpProxy,
            "grpc" => Self::Grpc,
            "grpc-web" => Self::GrpcWeb,
            "https" => Self::Https,
            "tls" => Self::Tls,
            "tcp" => Self::Tcp,
            "mongo" => Self::Mongo,
            "redis" => Self::Redis,
            "mysql" => Self::MySql,
            "udp" => Self::Udp,
            _ => Self::Unset,
        }
    }

    /// Plain HTTP of any version.
    #[must_use]
    pub const fn is_http(self) -> bool {
        matches!(
            self,
            Self::Http | Self::Http2 | Self::HttpProxy | Self::Grpc | Self::GrpcWeb
        )
    }

    /// HTTP/2 by declaration.
    #[must_use]
    pub const fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Grpc | Self::GrpcWeb)
    }

    /// gRPC by declaration.
    #[must_use]
    pub const fn is_grpc(self) -> bool {
        matches!(self, Self::Grpc | Self::GrpcWeb)
    }

    /// TLS from the client on.
    #[must_use]
    pub const fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Tls)
    }

    /// Opaque bytes.
    #[must_use]
    pub const fn is_tcp(self) -> bool {
        matches!(
            self,
            Self::Tcp | Self::Https | Self::Tls | Self::Mongo | Self::Redis | Self::MySql
        )
    }

    /// HTTP, or perhaps HTTP.
    #[must_use]
    pub const fn is_http_or_sniffed(self) -> bool {
        self.is_http() || matches!(self, Self::Unset)
    }

    /// Which listener it needs.
    #[must_use]
    pub const fn family(self) -> Family {
        match self {
            Self::Unset => Family::Auto,
            Self::Udp => Family::Unknown,
            other if other.is_http() => Family::Http,
            _ => Family::Tcp,
        }
    }

    /// What is inside once TLS is taken off.
    #[must_use]
    pub const fn after_tls(self) -> Self {
        match self {
            Self::Https => Self::Http,
            Self::Tls => Self::Tcp,
            other => other,
        }
    }
}

/// One port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Number clients dial.
    pub number: u32,
    /// Name.
    pub name: String,
    /// Protocol.
    pub protocol: Protocol,
    /// Port of the workload if the entry says another.
    pub target: u32,
}

/// One host.
#[derive(Clone, Debug)]
pub struct Service {
    /// Host name, as written.
    pub hostname: String,
    /// Namespace of the entry.
    pub namespace: String,
    /// Virtual address, a CIDR block, or `0.0.0.0` for none.
    pub address: String,
    /// Ports in order.
    pub ports: Vec<ServicePort>,
    /// How endpoints are found.
    pub resolution: Resolution,
    /// Outside the mesh.
    pub external: bool,
    /// Who sees it; empty: all.
    pub export_to: Vec<String>,
    /// Extra names of the servers.
    pub subject_alt_names: Vec<String>,
    /// True when endpoints are selected rather than written in place.
    pub selects: bool,
    /// Endpoints, one per workload and port.
    pub instances: Vec<Instance>,
    /// Where the entry is.
    pub origin: Origin,
}

impl Service {
    /// The port with this number.
    #[must_use]
    pub fn port(&self, number: u32) -> Option<&ServicePort> {
        self.ports.iter().find(|port| port.number == number)
    }

    /// SPIFFE ids and extra names that a server of this service may bear, sorted.
    #[must_use]
    pub fn accounts(&self, mesh: &MeshConfig) -> Vec<String> {
        let mut accounts: Vec<String> = self
            .instances
            .iter()
            .filter_map(|instance| instance.account.clone())
            .chain(self.subject_alt_names.iter().cloned())
            .collect();
        accounts.sort();
        accounts.dedup();
        // An alias of our trust domain may sign for the same account.
        for alias in &mesh.trust_domain_aliases {
            let own = format!("spiffe://{}/", mesh.trust_domain);
            let more: Vec<String> = accounts
                .iter()
                .filter_map(|account| {
                    account
                        .strip_prefix(&own)
                        .map(|rest| format!("spiffe://{alias}/{rest}"))
                })
                .collect();
            accounts.extend(more);
        }
        accounts.sort();
        accounts.dedup();
        accounts
    }
}

/// One endpoint at one service port.
#[derive(Clone, Debug)]
pub struct Instance {
    /// IP address or DNS name.
    pub address: String,
    /// Workload port.
    pub port: u32,
    /// Name of the service port.
    pub port_name: String,
    /// Number of the service port.
    pub service_port: u32,
    /// Workload labels, with the topology labels that istiod adds.
    pub labels: Labels,
    /// `region/zone/subzone`.
    pub locality: String,
    /// 0 means 1.
    pub weight: u32,
    /// Speaks mesh mTLS.
    pub mutual_tls: bool,
    /// SPIFFE id.
    pub account: Option<String>,
    /// Name of the WorkloadEntry; empty for endpoints written in place.
    pub workload: String,
    /// Namespace of the WorkloadEntry; empty for endpoints written in place.
    pub namespace: String,
}

impl Instance {
    fn new(entry: &WorkloadEntry, port: &ServicePort, namespace: &str, mesh: &MeshConfig) -> Self {
        let own_port = entry
            .ports
            .get(&port.name)
            .copied()
            .filter(|port| *port > 0);
        let target = if port.target > 0 {
            port.target
        } else {
            port.number
        };
        // Istio: the label decides, else a service account means a proxy.
        let mutual_tls = entry
            .labels
            .get(TLS_MODE_LABEL)
            .map_or(!entry.service_account.is_empty(), |mode| mode == "istio");
        let account = (!entry.service_account.is_empty()).then(|| {
            format!(
                "spiffe://{}/ns/{namespace}/sa/{}",
                mesh.trust_domain, entry.service_account
            )
        });
        Self {
            address: entry.address.clone(),
            port: own_port.unwrap_or(target),
            port_name: port.name.clone(),
            service_port: port.number,
            labels: entry.labels.clone(),
            locality: entry.locality.clone(),
            weight: entry.weight,
            mutual_tls,
            account,
            workload: String::new(),
            namespace: String::new(),
        }
    }
}

/// All services of one entry, endpoints included.
pub(crate) fn convert(
    entry: &Config<ServiceEntry>,
    workloads: &[Config<WorkloadEntry>],
    mesh: &MeshConfig,
) -> Vec<Arc<Service>> {
    let spec = &entry.spec;
    let namespace = &entry.meta.namespace;
    let ports: Vec<ServicePort> = spec
        .ports
        .iter()
        .map(|port| ServicePort {
            number: port.number,
            name: port.name.clone(),
            protocol: Protocol::parse(&port.protocol),
            target: port.target_port,
        })
        .collect();
    let addresses: Vec<String> = if spec.addresses.is_empty() {
        vec![UNSPECIFIED.to_owned()]
    } else {
        spec.addresses
            .iter()
            .map(|address| without_full_prefix(address))
            .collect()
    };
    let mut services = Vec::new();
    for host in &spec.hosts {
        let mut instances = Vec::new();
        for port in &ports {
            for endpoint in &spec.endpoints {
                instances.push(Instance::new(endpoint, port, namespace, mesh));
            }
            if let Some(selector) = &spec.workload_selector {
                let selected = workloads.iter().filter(|workload| {
                    workload.meta.namespace == *namespace
                        && crate::model::labels_match(&selector.labels, &workload.spec.labels)
                });
                for workload in selected {
                    instances.push(Instance {
                        workload: workload.meta.name.clone(),
                        namespace: namespace.clone(),
                        ..Instance::new(&workload.spec, port, namespace, mesh)
                    });
                }
            } else if spec.endpoints.is_empty()
                && matches!(spec.resolution, Resolution::Dns | Resolution::DnsRoundRobin)
            {
                // A DNS entry without endpoints stands for its own name.
                let own = WorkloadEntry {
                    address: host.clone(),
                    ..WorkloadEntry::default()
                };
                instances.push(Instance::new(&own, port, namespace, mesh));
            }
        }
        for address in &addresses {
            services.push(Arc::new(Service {
                hostname: host.clone(),
                namespace: namespace.clone(),
                address: address.clone(),
                ports: ports.clone(),
                resolution: spec.resolution,
                external: spec.location == Location::MeshExternal,
                export_to: spec.export_to.clone(),
                subject_alt_names: spec.subject_alt_names.clone(),
                selects: spec.workload_selector.is_some(),
                instances: instances.clone(),
                origin: entry.origin.clone(),
            }));
        }
    }
    services
}

/// `10.0.0.1/32` is the address `10.0.0.1`.
fn without_full_prefix(address: &str) -> String {
    match address.split_once('/') {
        Some((ip, bits))
            if (bits == "32" && ip.contains('.')) || (bits == "128" && ip.contains(':')) =>
        {
            ip.to_owned()
        }
        _ => address.to_owned(),
    }
}

/// Address of a service without one.
pub const UNSPECIFIED: &str = "0.0.0.0";
/// Label that says whether a workload has a proxy.
pub const TLS_MODE_LABEL: &str = "security.istio.io/tlsMode";
