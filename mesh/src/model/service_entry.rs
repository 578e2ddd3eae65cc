//! `ServiceEntry` and `WorkloadEntry`: what services exist and who serves them.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Labels, Port, WorkloadSelector};

/// networking.istio.io ServiceEntry.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceEntry {
    /// DNS names, exact or `*.suffix`.
    pub hosts: Vec<String>,
    /// Virtual addresses or CIDR blocks.
    pub addresses: Vec<String>,
    /// Service ports.
    pub ports: Vec<Port>,
    /// Inside the mesh or outside.
    pub location: Location,
    /// How endpoints are found.
    pub resolution: Resolution,
    /// Endpoints written in place.
    pub endpoints: Vec<WorkloadEntry>,
    /// Endpoints found among the WorkloadEntries of the namespace.
    pub workload_selector: Option<WorkloadSelector>,
    /// Namespaces that see the service; empty: all.
    pub export_to: Vec<String>,
    /// Extra names that a server certificate may bear.
    pub subject_alt_names: Vec<String>,
}

/// `location:`; istiod's default is MESH_EXTERNAL.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Location {
    /// Outside the mesh: no mTLS.
    #[default]
    MeshExternal,
    /// Part of the mesh.
    MeshInternal,
}

/// `resolution:`.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Resolution {
    /// Go where the client was going.
    #[default]
    None,
    /// The addresses written down.
    Static,
    /// Every address that DNS gives.
    Dns,
    /// One address that DNS gives.
    DnsRoundRobin,
}

/// networking.istio.io WorkloadEntry, also an endpoint of a ServiceEntry.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadEntry {
    /// IP address, DNS name or `unix://` path.
    pub address: String,
    /// Port name → port, where it differs from the service's.
    pub ports: BTreeMap<String, u32>,
    /// Workload labels.
    pub labels: Labels,
    /// Network name.
    pub network: String,
    /// `region/zone/subzone`.
    pub locality: String,
    /// Load-balancing weight; 0 means 1.
    pub weight: u32,
    /// Service account in the entry's namespace.
    pub service_account: String,
}
