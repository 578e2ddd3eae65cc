//! What the Admin API tells about the health of an upstream.

use std::sync::Arc;

use super::address::Address;
use super::members::Resolved;
use crate::dns::{DnsError, Kind};
use crate::object;
use crate::plan::upstream::Target;
use crate::value::{Object, Value};

/// An upstream's health.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    pub(super) id: Box<str>,
    /// Enough of the weight is available.
    pub is_healthy: bool,
    /// Whether anything is checked.
    pub checks_are_on: bool,
    pub targets: Vec<TargetStatus>,
}

/// A target's.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetStatus {
    pub host: Arc<str>,
    pub port: u16,
    /// Where its addresses come from, or why it has none.
    pub dns: String,
    pub weight: u32,
    pub addresses: Vec<AddressStatus>,
    is_checked: bool,
}

/// An address's.
#[derive(Clone, Debug, PartialEq)]
pub struct AddressStatus {
    pub ip: Arc<str>,
    pub port: u16,
    pub weight: u32,
    pub is_healthy: bool,
}

/// Where the addresses of a target come from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Failed(DnsError),
    Kind(Kind),
    /// The name is to be resolved each time.
    Momentary,
    Unknown,
}

impl Status {
    /// The body of `balancer_health=1`.
    pub fn balancer(&self) -> Object {
        let health = text(self.is_healthy);
        let hosts: Vec<_> = self
            .targets
            .iter()
            .map(|target| Value::from(target.print(AddressStatus::healthy)))
            .collect();
        object! {
            "health": if self.checks_are_on { health } else { OFF },
            "balancer_health": health,
            "id": &*self.id,
            "details": object! {
                "healthy": self.is_healthy,
                "weight": weight(self.targets.iter().flat_map(|target| &target.addresses)),
                "hosts": hosts,
            },
        }
    }

    /// The target at an address, as it is stored.
    pub fn target(&self, address: &str) -> Option<&TargetStatus> {
        let found = |target: &&TargetStatus| {
            address
                .strip_suffix(&target.port.to_string())
                .and_then(|rest| rest.strip_suffix(':'))
                .is_some_and(|host| host.eq_ignore_ascii_case(&target.host))
        };
        self.targets.iter().find(found)
    }
}

impl TargetStatus {
    pub(super) fn new(
        target: &Target,
        source: &Source,
        addresses: &[Arc<Address>],
        checks_are_on: bool,
    ) -> Self {
        let address = |address: &Arc<Address>| AddressStatus {
            ip: address.key.ip.clone(),
            port: address.key.port,
            weight: address.weight,
            is_healthy: !checks_are_on || address.learnt.health.is_available(),
        };
        Self {
            host: target.host.text.clone(),
            port: target.port,
            dns: source.text(),
            weight: target.weight,
            addresses: addresses.iter().map(address).collect(),
            is_checked: checks_are_on && target.weight > 0,
        }
    }

    /// One word: any address that serves makes a target healthy.
    pub fn health(&self) -> &'static str {
        match &*self.addresses {
            [] => "DNS_ERROR",
            _ if !self.is_checked => OFF,
            addresses => text(addresses.iter().any(|address| address.is_healthy)),
        }
    }

    /// Everything that is known about it.
    pub fn data(&self) -> Object {
        self.print(|address| {
            let health = if self.is_checked {
                text(address.is_healthy)
            } else {
                OFF
            };
            ("health", health.into())
        })
    }

    fn print(&self, health: impl Fn(&AddressStatus) -> (&'static str, Value)) -> Object {
        let address = |address: &AddressStatus| {
            let mut printed = object! {
                "ip": &*address.ip,
                "port": u32::from(address.port),
                "weight": address.weight,
            };
            let (name, value) = health(address);
            printed.insert(name.into(), value);
            Value::from(printed)
        };
        object! {
            "host": &*self.host,
            "port": u32::from(self.port),
            "dns": self.dns.as_str(),
            "nodeWeight": self.weight,
            "weight": weight(self.addresses.iter()),
            "addresses": self.addresses.iter().map(address).collect::<Vec<_>>(),
        }
    }
}

impl AddressStatus {
    fn healthy(&self) -> (&'static str, Value) {
        ("healthy", self.is_healthy.into())
    }
}

impl Source {
    pub(super) fn of(resolved: &Resolved) -> Self {
        if resolved.is_momentary {
            Self::Momentary
        } else {
            Self::Kind(resolved.kind)
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Failed(error) => error.to_string(),
            Self::Kind(kind) => kind.to_string(),
            Self::Momentary => "ttl=0, virtual SRV".to_owned(),
            Self::Unknown => "unknown".to_owned(),
        }
    }
}

fn weight<'a>(addresses: impl Iterator<Item = &'a AddressStatus> + Clone) -> Object {
    let total: u32 = addresses.clone().map(|address| address.weight).sum();
    let unavailable: u32 = addresses
        .filter(|address| !address.is_healthy)
        .map(|address| address.weight)
        .sum();
    object! {
        "total": total,
        "unavailable": unavailable,
        "available": total - unavailable,
    }
}

fn text(is_healthy: bool) -> &'static str {
    if is_healthy { "HEALTHY" } else { "UNHEALTHY" }
}

const OFF: &str = "HEALTHCHECKS_OFF";
