//! `EnvoyFilter`: of all it can do, the insertion of HTTP filters.

use serde::Deserialize;
use serde_json::Value;

use super::WorkloadSelector;

/// networking.istio.io EnvoyFilter.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvoyFilter {
    /// Workloads meant; none: the namespace, or all in the root namespace.
    pub workload_selector: Option<WorkloadSelector>,
    /// Patches in order.
    pub config_patches: Vec<Patch>,
    /// Order among EnvoyFilters, lowest first.
    pub priority: i32,
}

/// One patch.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Patch {
    /// Only `HTTP_FILTER` is served.
    pub apply_to: String,
    /// Where.
    #[serde(rename = "match")]
    pub matching: PatchMatch,
    /// What.
    pub patch: PatchBody,
}

/// `patch:`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PatchBody {
    /// INSERT_BEFORE, INSERT_AFTER, INSERT_FIRST.
    pub operation: String,
    /// The HTTP filter, in proto3-JSON of either spelling.
    pub value: Value,
}

/// `match:`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PatchMatch {
    /// ANY, SIDECAR_INBOUND, SIDECAR_OUTBOUND, GATEWAY.
    pub context: String,
    /// Listener conditions.
    pub listener: ListenerMatch,
}

/// `match.listener`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListenerMatch {
    /// Port; 0: any.
    pub port_number: u32,
    /// Name; empty: any.
    pub name: String,
    /// Chain conditions.
    pub filter_chain: ChainMatch,
}

/// `match.listener.filterChain`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ChainMatch {
    /// Name; empty: any.
    pub name: String,
    /// Network filter.
    pub filter: FilterMatch,
}

/// `match.listener.filterChain.filter`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FilterMatch {
    /// Network filter name.
    pub name: String,
    /// HTTP filter.
    pub sub_filter: SubFilterMatch,
}

/// `match.listener.filterChain.filter.subFilter`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SubFilterMatch {
    /// HTTP filter name beside which to insert.
    pub name: String,
}
