//! Spans of a platform: whoever the folder's `opentelemetry` provider names on this machine is played by `carbyne up`, which keeps
//! the last few thousand spans in memory. `carbyne verify` asks for those of a request that it has sent.
//!
//! | file | what it does |
//! |---|---|
//! | [`receive`] | takes OTLP over HTTP |
//! | [`ring`] | what is kept |

pub mod receive;
pub mod ring;

use std::net::{IpAddr, SocketAddr};

use carbyne_mesh::source::{Service, Snapshot};
use serde::{Deserialize, Serialize};

/// A span, cut to what tells who took part in a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Trace, 32 hexadecimal digits.
    pub trace: String,
    /// 16 hexadecimal digits.
    pub id: String,
    /// The span above; empty for the first of a trace.
    pub parent: String,
    /// `service.name` of whoever sent it.
    pub service: String,
    /// Name of the operation.
    pub name: String,
    /// `client`, `server`, or another kind in OTLP's words.
    pub kind: String,
    /// Microseconds since 1970.
    pub start: u64,
    /// Microseconds.
    pub duration: u64,
}

/// What is told of the spans that came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Where they are taken.
    pub addresses: Vec<SocketAddr>,
    /// Spans that came since the start.
    pub received: u64,
    /// Spans that are kept.
    pub kept: usize,
    /// Traces that these belong to.
    pub traces: usize,
}

/// Where the folder has spans sent to, as far as that is on this machine and nobody's whom the folder names as a workload.
#[must_use]
pub fn addresses(snapshot: &Snapshot) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for (service, port) in collectors(snapshot) {
        for instance in &service.instances {
            let address = instance.address.parse::<IpAddr>().ok();
            let address = address.filter(|address| address.is_loopback());
            let target = u16::try_from(instance.port).ok();
            if let (true, Some((address, target))) =
                (instance.service_port == port, address.zip(target))
            {
                found.push(SocketAddr::new(address, target));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// True for a service that takes spans rather than calls.
#[must_use]
pub fn is_collector(snapshot: &Snapshot, service: &Service) -> bool {
    collectors(snapshot).any(|(other, _)| {
        (&other.hostname, &other.namespace) == (&service.hostname, &service.namespace)
    })
}

/// External services that providers of spans over HTTP name, each with the port.
fn collectors(snapshot: &Snapshot) -> impl Iterator<Item = (&Service, u32)> {
    let providers = snapshot.mesh.extension_providers.iter();
    let named = providers.filter_map(|provider| {
        let provider = provider.opentelemetry.as_ref()?;
        provider.http.as_ref()?;
        Some((provider.service.as_str(), provider.port))
    });
    named.flat_map(move |(name, port)| {
        let (namespace, host) = match name.split_once('/') {
            Some((namespace, host)) => (Some(namespace), host),
            None => (None, name),
        };
        let services = snapshot.registry.named(host);
        services
            .filter(move |service| {
                service.external && namespace.is_none_or(|namespace| service.namespace == namespace)
            })
            .map(move |service| (&**service, port))
    })
}
