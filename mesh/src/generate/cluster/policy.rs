//! What a DestinationRule's traffic policy writes into a cluster.

use serde_json::{Map, Value, json};

use super::super::json::{any, duration};
use crate::{
    model::{
        MeshConfig,
        destination_rule::{
            ClientTls, ConnectionPool, ConsistentHash, H2Upgrade, LoadBalancer, OutlierDetection,
            RetryBudget, SimpleBalancer, TcpKeepalive, TrafficPolicy,
        },
        mesh_config::MeshH2Upgrade,
    },
    source::Protocol,
};

/// The policy that holds for one port and subset.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::generate) struct Policy<'a> {
    pub(in crate::generate) load_balancer: Option<&'a LoadBalancer>,
    pub(in crate::generate) connection_pool: Option<&'a ConnectionPool>,
    pub(in crate::generate) outlier_detection: Option<&'a OutlierDetection>,
    pub(in crate::generate) tls: Option<&'a ClientTls>,
    pub(in crate::generate) retry_budget: Option<RetryBudget>,
}

impl<'a> Policy<'a> {
    /// A port-level setting replaces the whole policy; the flag says that there was one.
    pub(in crate::generate) fn for_port(
        policy: Option<&'a TrafficPolicy>,
        port: u32,
    ) -> (Self, bool) {
        let Some(policy) = policy else {
            return (Self::default(), false);
        };
        if let Some(own) = policy
            .port_level_settings
            .iter()
            .find(|setting| setting.port.number == port)
        {
            let replaced = Self {
                load_balancer: own.load_balancer.as_ref(),
                connection_pool: own.connection_pool.as_ref(),
                outlier_detection: own.outlier_detection.as_ref(),
                tls: own.tls.as_ref(),
                retry_budget: policy.retry_budget,
            };
            return (replaced, true);
        }
        let whole = Self {
            load_balancer: policy.load_balancer.as_ref(),
            connection_pool: policy.connection_pool.as_ref(),
            outlier_detection: policy.outlier_detection.as_ref(),
            tls: policy.tls.as_ref(),
            retry_budget: policy.retry_budget,
        };
        (whole, false)
    }

    /// What a subset says wins, field by field; its port-level setting wins even by being silent.
    pub(in crate::generate) fn with_subset(
        self,
        subset: Option<&'a TrafficPolicy>,
        port: u32,
    ) -> Self {
        if subset.is_none() {
            return self;
        }
        let (own, port_level) = Self::for_port(subset, port);
        fn pick<T>(own: Option<T>, parent: Option<T>, port_level: bool) -> Option<T> {
            if port_level { own } else { own.or(parent) }
        }
        Self {
            load_balancer: pick(own.load_balancer, self.load_balancer, port_level),
            connection_pool: pick(own.connection_pool, self.connection_pool, port_level),
            outlier_detection: pick(own.outlier_detection, self.outlier_detection, port_level),
            tls: pick(own.tls, self.tls, port_level),
            retry_budget: own.retry_budget.or(self.retry_budget),
        }
    }
}

/// `HttpProtocolOptions` in the making.
#[derive(Debug, Default)]
pub(super) struct HttpOptions {
    /// `explicitHttpConfig` or `useDownstreamProtocolConfig`, with its key.
    pub(super) upstream: Option<(&'static str, Value)>,
    pub(super) common: Option<Value>,
    pub(super) auto_sni: bool,
    pub(super) auto_san_validation: bool,
}

/// Speak to the upstream what the client spoke.
pub(super) fn use_downstream() -> (&'static str, Value) {
    (
        "useDownstreamProtocolConfig",
        json!({"httpProtocolOptions": {}, "http2ProtocolOptions": {}}),
    )
}

impl HttpOptions {
    pub(super) fn for_protocol(protocol: Protocol, router: bool) -> Self {
        let upstream = if protocol.is_http2() {
            Some(("explicitHttpConfig", json!({"http2ProtocolOptions": {}})))
        } else if protocol == Protocol::Unset && !router {
            Some(use_downstream())
        } else {
            None
        };
        Self {
            upstream,
            ..Self::default()
        }
    }

    pub(super) fn is_http2(&self) -> bool {
        matches!(&self.upstream, Some(("explicitHttpConfig", value)) if value.get("http2ProtocolOptions").is_some())
    }

    pub(super) fn write(self, cluster: &mut Value) {
        let touched = self.upstream.is_some()
            || self.common.is_some()
            || self.auto_sni
            || self.auto_san_validation;
        if !touched {
            return;
        }
        let mut options = Map::new();
        let (key, value) = self
            .upstream
            .unwrap_or_else(|| ("explicitHttpConfig", json!({"httpProtocolOptions": {}})));
        options.insert(key.to_owned(), value);
        if let Some(common) = self.common {
            options.insert("commonHttpProtocolOptions".to_owned(), common);
        }
        if self.auto_sni || self.auto_san_validation {
            let value =
                json!({"autoSni": self.auto_sni, "autoSanValidation": self.auto_san_validation});
            options.insert("upstreamHttpProtocolOptions".to_owned(), value);
        }
        cluster["typedExtensionProtocolOptions"] =
            json!({OPTIONS: any(OPTIONS, Value::Object(options))});
    }
}

const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// HTTP/1 ports that are called over HTTP/2.
pub(super) fn h2_upgrade(
    mesh: &MeshConfig,
    pool: Option<&ConnectionPool>,
    protocol: Protocol,
    http: &mut HttpOptions,
) {
    let settings = pool.and_then(|pool| pool.http.as_ref());
    let upgrade = match settings {
        Some(settings) if settings.use_client_protocol => false,
        Some(settings) if settings.h2_upgrade_policy == H2Upgrade::Upgrade => true,
        Some(settings) if settings.h2_upgrade_policy == H2Upgrade::DoNotUpgrade => false,
        _ => protocol.is_http() && mesh.h2_upgrade_policy == MeshH2Upgrade::Upgrade,
    };
    if upgrade && http.upstream.is_none() {
        http.upstream = Some(("explicitHttpConfig", json!({"http2ProtocolOptions": {}})));
    }
}

/// Limits, timeouts, keepalive.
pub(super) fn connection_pool(
    mesh: &MeshConfig,
    cluster: &mut Value,
    http: &mut HttpOptions,
    pool: Option<&ConnectionPool>,
    budget: Option<RetryBudget>,
) {
    let settings = pool.and_then(|pool| pool.http.as_ref());
    let tcp = pool.and_then(|pool| pool.tcp.as_ref());
    let limit = |value: Option<u32>| value.filter(|value| *value > 0).unwrap_or(u32::MAX);
    let retry_budget = budget.map(|budget| {
        json!({
            "budgetPercent": {"value": budget.percent.map_or(20.0, |percent| percent.value)},
            "minRetryConcurrency": if budget.min_retry_concurrency > 0 { budget.min_retry_concurrency } else { 3 },
        })
    });
    cluster["circuitBreakers"] = json!({"thresholds": [{
        "maxConnections": limit(tcp.map(|tcp| tcp.max_connections)),
        "maxPendingRequests": limit(settings.map(|http| http.max_pending_requests)),
        "maxRequests": limit(settings.map(|http| http.max_requests)),
        "maxRetries": limit(settings.map(|http| http.max_retries)),
        "retryBudget": retry_budget,
    }]});
    let connect = tcp
        .and_then(|tcp| tcp.connect_timeout)
        .unwrap_or(mesh.connect_timeout);
    cluster["connectTimeout"] = json!(connect.to_string());
    keepalive(cluster, mesh.tcp_keepalive);
    keepalive(cluster, tcp.and_then(|tcp| tcp.tcp_keepalive));
    let idle = settings
        .and_then(|http| http.idle_timeout)
        .or_else(|| tcp.and_then(|tcp| tcp.idle_timeout));
    let life = tcp.and_then(|tcp| tcp.max_connection_duration);
    let per_connection = settings.map_or(0, |http| http.max_requests_per_connection);
    let streams = settings.map_or(0, |http| http.max_concurrent_streams);
    if idle.is_some() || life.is_some() || per_connection > 0 || streams > 0 {
        http.common = Some(json!({
            "idleTimeout": duration(idle),
            "maxConnectionDuration": duration(life),
            "maxRequestsPerConnection": (per_connection > 0).then_some(per_connection),
        }));
        if streams > 0
            && let Some(("explicitHttpConfig", value)) = &mut http.upstream
            && let Some(http2) = value.get_mut("http2ProtocolOptions")
        {
            http2["maxConcurrentStreams"] = json!(streams);
        }
    }
    if settings.is_some_and(|http| http.use_client_protocol) {
        http.upstream = Some(use_downstream());
    }
}

fn keepalive(cluster: &mut Value, settings: Option<TcpKeepalive>) {
    let Some(settings) = settings else { return };
    let entry = &mut cluster["upstreamConnectionOptions"]["tcpKeepalive"];
    if entry.is_null() {
        *entry = json!({});
    }
    if settings.probes > 0 {
        entry["keepaliveProbes"] = json!(settings.probes);
    }
    if let Some(time) = settings.time {
        entry["keepaliveTime"] = json!(time.0.as_secs());
    }
    if let Some(interval) = settings.interval {
        entry["keepaliveInterval"] = json!(interval.0.as_secs());
    }
}

/// Ejection; success rates are never enforced.
pub(super) fn outlier_detection(cluster: &mut Value, outlier: Option<&OutlierDetection>) {
    let Some(outlier) = outlier else { return };
    let enforce = |count: Option<u32>| count.map(|count| if count > 0 { 100 } else { 0 });
    let split = outlier.split_external_local_origin_errors;
    let local = outlier
        .consecutive_local_origin_failures
        .filter(|count| split && *count > 0);
    cluster["outlierDetection"] = json!({
        "consecutive5xx": outlier.consecutive_5xx_errors,
        "enforcingConsecutive5xx": enforce(outlier.consecutive_5xx_errors),
        "consecutiveGatewayFailure": outlier.consecutive_gateway_errors,
        "enforcingConsecutiveGatewayFailure": enforce(outlier.consecutive_gateway_errors),
        "interval": duration(outlier.interval),
        "baseEjectionTime": duration(outlier.base_ejection_time),
        "maxEjectionPercent": (outlier.max_ejection_percent > 0).then_some(outlier.max_ejection_percent),
        "enforcingSuccessRate": 0,
        "splitExternalLocalOriginErrors": split.then_some(true),
        "consecutiveLocalOriginFailure": local,
        "enforcingConsecutiveLocalOriginFailure": local.map(|_| 100),
        "enforcingLocalOriginSuccessRate": split.then_some(0),
    });
    if outlier.min_health_percent >= 0 {
        // Zero is said aloud: Envoy's own default is 50.
        cluster["commonLbConfig"]["healthyPanicThreshold"] =
            json!({"value": f64::from(outlier.min_health_percent)});
    }
}

/// Algorithm, locality, slow start.
pub(super) fn load_balancer(
    mesh: &MeshConfig,
    cluster: &mut Value,
    policy: &Policy<'_>,
    kind: &str,
) {
    let balancer = policy.load_balancer;
    let locality = super::super::endpoint::locality_setting(mesh, balancer);
    if let Some(locality) = locality {
        let failover = policy.outlier_detection.is_some()
            && (!locality.failover.is_empty() || !locality.failover_priority.is_empty());
        if failover || !locality.distribute.is_empty() {
            cluster["commonLbConfig"]["localityWeightedLbConfig"] = json!({});
        }
    }
    if kind == "ORIGINAL_DST" {
        cluster["lbPolicy"] = json!("CLUSTER_PROVIDED");
        return;
    }
    let warmup = balancer.and_then(slow_start);
    match balancer.and_then(|balancer| balancer.simple) {
        Some(SimpleBalancer::Random) => cluster["lbPolicy"] = json!("RANDOM"),
        Some(SimpleBalancer::RoundRobin) => {
            cluster["lbPolicy"] = json!("ROUND_ROBIN");
            if let Some(warmup) = warmup {
                cluster["roundRobinLbConfig"] = json!({"slowStartConfig": warmup});
            }
        }
        _ => {
            cluster["lbPolicy"] = json!("LEAST_REQUEST");
            if let Some(warmup) = warmup {
                cluster["leastRequestLbConfig"] = json!({"slowStartConfig": warmup});
            }
        }
    }
    if let Some(hash) = balancer.and_then(|balancer| balancer.consistent_hash.as_ref()) {
        consistent_hash(cluster, hash);
    }
}

fn slow_start(balancer: &LoadBalancer) -> Option<Value> {
    if let Some(warmup) = balancer.warmup {
        return Some(json!({
            "slowStartWindow": duration(warmup.duration),
            // The key `(` can never be set at run time.
            "aggression": {"defaultValue": warmup.aggression.unwrap_or(1.0), "runtimeKey": "("},
            "minWeightPercent": {"value": warmup.minimum_percent.unwrap_or(10.0)},
        }));
    }
    balancer
        .warmup_duration_secs
        .map(|window| json!({"slowStartWindow": window.to_string()}))
}

fn consistent_hash(cluster: &mut Value, hash: &ConsistentHash) {
    // An affinity replaces the settings of the simple algorithms.
    cluster["leastRequestLbConfig"] = Value::Null;
    cluster["roundRobinLbConfig"] = Value::Null;
    let ring = |size: u64| json!({"minimumRingSize": size.to_string()});
    if let Some(maglev) = hash.maglev {
        cluster["lbPolicy"] = json!("MAGLEV");
        if maglev.table_size > 0 {
            cluster["maglevLbConfig"] = json!({"tableSize": maglev.table_size.to_string()});
        }
        return;
    }
    cluster["lbPolicy"] = json!("RING_HASH");
    match hash.ring_hash {
        Some(settings) if settings.minimum_ring_size > 0 => {
            cluster["ringHashLbConfig"] = ring(settings.minimum_ring_size)
        }
        Some(_) => {}
        None if hash.minimum_ring_size > 0 => {
            cluster["ringHashLbConfig"] = ring(hash.minimum_ring_size)
        }
        None => cluster["ringHashLbConfig"] = ring(1_024),
    }
}
