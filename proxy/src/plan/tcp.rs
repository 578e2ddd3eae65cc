//! TCP proxy.

use std::sync::Arc;
use std::time::Duration;

use carbyne_protos::envoy::extensions::filters::network::tcp_proxy::v3 as wire;
use carbyne_protos::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::ClusterSpecifier;
use carbyne_protos::envoy::r#type::v3::hash_policy::PolicySpecifier;

use super::scope::Scope;
use super::value;
use crate::live::clusters::ClusterSlot;
use crate::observe::access_log::AccessLogs;

/// A planned TCP proxy.
#[derive(Debug)]
pub struct TcpPlan {
    /// Prefix of its statistics.
    pub stat_prefix: Arc<str>,
    /// Clusters with their weights, one at least; a connection picks by a random number below [`Self::total_weight`].
    pub clusters: Box<[(Arc<ClusterSlot>, u32)]>,
    /// Sum of the weights.
    pub total_weight: u64,
    /// Longest silence; `None` is no limit. Envoy's default is 1 h.
    pub idle_timeout: Option<Duration>,
    /// Longest duration; `None` is no limit.
    pub max_duration: Option<Duration>,
    /// How often a connection is tried.
    pub connect_attempts: u32,
    /// Hash the client's address for consistent balancers.
    pub hash_source_address: bool,
    /// What is logged.
    pub access_log: Arc<AccessLogs>,
    /// A part of the messages was not understood where it matters: reset.
    pub refuse: Option<Arc<str>>,
}

impl TcpPlan {
    /// The cluster for a random number.
    pub fn pick(&self, random: u64) -> Option<&Arc<ClusterSlot>> {
        let mut point = random % self.total_weight.max(1);
        for (slot, weight) in &self.clusters {
            match point.checked_sub(u64::from(*weight)) {
                Some(rest) => point = rest,
                None => return Some(slot),
            }
        }
        self.clusters.first().map(|(slot, _)| slot)
    }
}

/// Plans a TCP proxy.
pub fn plan(message: &wire::TcpProxy, scope: &Scope<'_>) -> Option<TcpPlan> {
    if message.stat_prefix.is_empty() {
        scope.field("stat_prefix").missing();
    }
    let slot = |name: &str| scope.environment().clusters.slot(name);
    let mut refuse = None;
    let clusters: Box<[_]> = match &message.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => {
            if name.is_empty() {
                scope.field("cluster").missing();
            }
            [(slot(name), 1)].into()
        }
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            let scope = scope.field("weighted_clusters");
            if weighted.clusters.is_empty() {
                scope.field("clusters").missing();
            }
            for (index, share) in weighted.clusters.iter().enumerate() {
                if share.weight == 0 {
                    scope
                        .item("clusters", index)
                        .field("weight")
                        .out_of_range(0, "1 or more");
                }
            }
            weighted
                .clusters
                .iter()
                .map(|share| (slot(&share.name), share.weight))
                .collect()
        }
        None => {
            scope.field("cluster").missing();
            refuse = Some(Arc::from("the cluster was not decoded"));
            Box::default()
        }
    };
    if message.tunneling_config.is_some() {
        // Without it the bytes would go to the proxy that was to carry them on.
        refuse = Some(
            scope
                .field("tunneling_config")
                .refuse("tunnels are not served"),
        );
    }
    let connect_attempts = value::within(
        message.max_connect_attempts,
        1..=u32::MAX,
        "1 or more",
        1,
        &scope.field("max_connect_attempts"),
    );
    let source_ip = |policy: &carbyne_protos::envoy::r#type::v3::HashPolicy| {
        matches!(policy.policy_specifier, Some(PolicySpecifier::SourceIp(_)))
    };
    Some(TcpPlan {
        stat_prefix: Arc::from(message.stat_prefix.as_str()),
        total_weight: clusters.iter().map(|(_, weight)| u64::from(*weight)).sum(),
        clusters,
        idle_timeout: value::limit(
            message.idle_timeout.as_ref(),
            Some(HOUR),
            &scope.field("idle_timeout"),
        ),
        max_duration: value::limit(
            message.max_downstream_connection_duration.as_ref(),
            None,
            &scope.field("max_downstream_connection_duration"),
        ),
        connect_attempts,
        hash_source_address: message.hash_policy.iter().any(source_ip),
        access_log: Arc::new(AccessLogs::plan(&message.access_log, scope)),
        refuse,
    })
}

const HOUR: Duration = Duration::from_secs(3600);
