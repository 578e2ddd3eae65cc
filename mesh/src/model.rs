//! Istio's resources as they are written in YAML: one file a family, serde types only, no behaviour beyond reading.
//!
//! Every struct fills what is absent with Istio's default, takes no field as an error, and leaves the naming of unknown fields to
//! [`crate::source`], which knows their line.

pub mod destination_rule;
pub mod duration;
pub mod envoy_filter;
pub mod gateway;
pub mod mesh_config;
pub mod meta;
pub mod provider;
pub mod security;
pub mod service_entry;
pub mod sidecar;
pub mod telemetry;
pub mod virtual_service;

use std::collections::BTreeMap;

use serde::Deserialize;

pub use self::{
    destination_rule::DestinationRule,
    duration::Duration,
    envoy_filter::EnvoyFilter,
    gateway::Gateway,
    mesh_config::{MeshConfig, ProxyStatsMatcher},
    meta::{Config, Meta, Origin},
    security::{AuthorizationPolicy, PeerAuthentication, RequestAuthentication},
    service_entry::{ServiceEntry, WorkloadEntry},
    sidecar::Sidecar,
    telemetry::Telemetry,
    virtual_service::VirtualService,
};

/// Labels or annotations.
pub type Labels = BTreeMap<String, String>;

/// `{name, port, protocol}` as Gateways, Sidecars and ServiceEntries write a port.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Port {
    /// Port number.
    pub number: u32,
    /// Port name.
    pub name: String,
    /// Protocol name, case-insensitive; empty means: detect it.
    pub protocol: String,
    /// Where the workload listens, when that is another port.
    pub target_port: u32,
}

/// `{number: 8080}` as destinations write a port.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PortSelector {
    /// Port number.
    pub number: u32,
}

/// `selector: {matchLabels: …}` of the security and telemetry resources.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Selector {
    /// All of them must be on the workload.
    pub match_labels: Labels,
}

/// `workloadSelector: {labels: …}` of the networking resources.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadSelector {
    /// All of them must be on the workload.
    pub labels: Labels,
}

/// One of exact, prefix, regex; none of them means "present".
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StringMatch {
    /// The whole value.
    pub exact: Option<String>,
    /// The start of the value.
    pub prefix: Option<String>,
    /// RE2, the whole value.
    pub regex: Option<String>,
}

/// A percentage, 0.0 to 100.0.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Percent {
    /// 0.0 to 100.0.
    pub value: f64,
}

/// True when every wanted label is on the workload with its value (Istio: `SubsetOf`).
#[must_use]
pub fn labels_match(wanted: &Labels, have: &Labels) -> bool {
    wanted
        .iter()
        .all(|(key, value)| have.get(key) == Some(value))
}
