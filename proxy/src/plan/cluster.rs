//! Clusters.
//!
//! | file | what it plans |
//! |---|---|
//! | here | discovery, limits, facts |
//! | [`balancer`] | how hosts are picked |
//! | [`protocol`] | what is spoken to hosts |
//! | [`transport`] | how bytes travel to hosts |

use std::sync::Arc;
use std::time::Duration;

use carbyne_engine::cluster::Settings;
use carbyne_engine::cluster::settings::{
    AddressFamily, Discovery, DnsMode, DnsSettings, FailureRefresh, RetryBudget, TcpKeepalive,
    Thresholds,
};
use carbyne_engine::tls::ClientTls;
use carbyne_protos::any::Unwrapped;
use carbyne_protos::envoy::config::cluster::v3 as wire;
use carbyne_protos::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, DnsLookupFamily,
};
use carbyne_protos::envoy::config::core::v3::RoutingPriority;
use carbyne_protos::envoy::tcp::metadataexchange::config::MetadataExchange;
use serde_json::Value;

use self::protocol::ProtocolPlan;
use super::endpoint::{self, EndpointsPlan, TransportMatch};
use super::error::Fault;
use super::filter::decode;
use super::health;
use super::scope::Scope;
use super::tls::Upstream;
use super::value::{self, ResourceSource};
use crate::live::warming::Thing;

pub mod balancer;
pub mod protocol;
mod transport;

/// A planned cluster.
#[derive(Debug)]
pub struct ClusterPlan {
    /// The engine's part.
    pub settings: Settings,
    /// Name in statistics; empty takes the cluster's.
    pub alt_stat_name: Arc<str>,
    /// Where endpoints come from, if by discovery.
    pub discovery: Option<EndpointSource>,
    /// Endpoints that stand in the message.
    pub endpoints: Option<EndpointsPlan>,
    /// How bytes travel, by the engine's numbers.
    pub transports: Vec<TransportPlan>,
    /// What the first transports are chosen by; endpoints that none wants take [`Self::fallback`].
    pub matches: Vec<TransportMatch>,
    /// Number of the transport of all others.
    pub fallback: u16,
    /// Protocol facts beside the engine's.
    pub protocol: ProtocolPlan,
    /// Exchange metadata with hosts that agree to.
    pub metadata_exchange: Option<Arc<MetadataExchange>>,
    /// Hosts come from the request instead of the connection: the field that names them.
    pub original_dst_header: Option<Box<str>>,
    /// Another port than the original one.
    pub original_dst_port: Option<u16>,
    /// `filter_metadata` as JSON.
    pub metadata: Option<Arc<Value>>,
    /// What Istio says about it.
    pub istio: IstioFacts,
    /// Something was not understood without which hosts must not be reached: no connection is made.
    pub refuse: Option<Arc<str>>,
}

/// Where endpoints come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSource {
    /// Name of the assignment.
    pub name: Arc<str>,
    /// Where it comes from.
    pub source: ResourceSource,
}

/// How bytes travel to some of the endpoints.
#[derive(Clone, Debug)]
pub struct TransportPlan {
    /// Its name, may be empty.
    pub name: Arc<str>,
    /// What it is.
    pub kind: Upstream,
}

/// `istio` of a cluster's metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IstioFacts {
    /// Services behind it, for metric labels.
    pub services: Vec<ServiceFacts>,
    /// `istio.alpn` must not change what is offered.
    pub keep_alpn: bool,
    /// It is outside of the mesh.
    pub external: bool,
    /// No metadata exchange.
    pub no_exchange: bool,
}

/// A service behind a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceFacts {
    /// Its full host name.
    pub host: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
}

impl ClusterPlan {
    /// A static plaintext cluster with every default.
    pub fn named(name: &str) -> Self {
        Self {
            settings: Settings::named(name),
            alt_stat_name: Arc::from(""),
            discovery: None,
            endpoints: None,
            transports: vec![TransportPlan {
                name: Arc::from(""),
                kind: Upstream::Raw,
            }],
            matches: Vec::new(),
            fallback: 0,
            protocol: ProtocolPlan::default(),
            metadata_exchange: None,
            original_dst_header: None,
            original_dst_port: None,
            metadata: None,
            istio: IstioFacts::default(),
            refuse: None,
        }
    }

    /// TLS settings that have to be ready before it serves.
    pub fn tls(&self) -> impl Iterator<Item = &Arc<ClientTls>> {
        self.transports
            .iter()
            .filter_map(|transport| match &transport.kind {
                Upstream::Tls(tls) => Some(tls),
                Upstream::Raw | Upstream::Refuse(_) => None,
            })
    }
}

/// Plans a cluster.
pub fn plan(message: &wire::Cluster, scope: &Scope<'_>) -> Option<ClusterPlan> {
    if message.name.is_empty() {
        scope.field("name").missing();
    }
    let mut plan = ClusterPlan::named(&message.name);
    let mut refuse = discovery(message, &mut plan, scope);
    balancer::plan(message, &mut plan, scope);
    if let Some(reason) = protocol::plan(message, &mut plan, scope) {
        refuse = refuse.or(Some(reason));
    }
    limits(message, &mut plan, scope);
    let transported = transport::plan(message, &mut plan, scope);
    plan.alt_stat_name = Arc::from(message.alt_stat_name.as_str());
    plan.metadata = value::metadata(message.metadata.as_ref());
    plan.istio = istio_facts(plan.metadata.as_deref());
    plan.metadata_exchange = filters(message, scope);
    if let Some(assignment) = &message.load_assignment {
        plan.endpoints = endpoint::plan(assignment, &scope.field("load_assignment"));
    }
    if message
        .lb_subset_config
        .as_ref()
        .is_some_and(|subset| !subset.subset_selectors.is_empty())
    {
        scope
            .field("lb_subset_config")
            .note("subsets are not served: every host is eligible");
    }
    plan.refuse = refuse;
    transported.then_some(plan)
}

/// Where hosts come from, or why none may be reached.
fn discovery(
    message: &wire::Cluster,
    plan: &mut ClusterPlan,
    scope: &Scope<'_>,
) -> Option<Arc<str>> {
    let kind = match &message.cluster_discovery_type {
        Some(ClusterDiscoveryType::Type(kind)) => match DiscoveryType::try_from(*kind) {
            Ok(kind) => kind,
            Err(_) => {
                return Some(
                    scope
                        .field("type")
                        .refuse(format!("discovery type {kind} is not served")),
                );
            }
        },
        Some(ClusterDiscoveryType::ClusterType(custom)) => {
            let words = format!("cluster type {} is not served", custom.name);
            return Some(scope.field("cluster_type").refuse(words));
        }
        None => DiscoveryType::Static,
    };
    // Above zero whatever the type is, although only one type has hosts to clean up.
    let cleanup_interval = value::positive_duration(
        message.cleanup_interval.as_ref(),
        &scope.field("cleanup_interval"),
    );
    match kind {
        DiscoveryType::Static => {}
        DiscoveryType::StrictDns => {
            plan.settings.discovery = Discovery::Dns(dns(message, DnsMode::Strict, scope))
        }
        DiscoveryType::LogicalDns => {
            let endpoints = message
                .load_assignment
                .iter()
                .flat_map(|assignment| &assignment.endpoints);
            if endpoints
                .map(|locality| locality.lb_endpoints.len())
                .sum::<usize>()
                != 1
            {
                scope
                    .field("load_assignment")
                    .reject(Fault::Words("LOGICAL_DNS needs exactly one endpoint"));
            }
            plan.settings.discovery = Discovery::Dns(dns(message, DnsMode::Logical, scope));
        }
        DiscoveryType::Eds => {
            let scope = scope.field("eds_cluster_config");
            let Some(eds) = &message.eds_cluster_config else {
                scope.missing();
                return None;
            };
            let name = if eds.service_name.is_empty() {
                &message.name
            } else {
                &eds.service_name
            };
            let scope = scope.field("eds_config");
            if let Some(source) = value::config_source(eds.eds_config.as_ref(), &scope) {
                let name: Arc<str> = Arc::from(name.as_str());
                scope.need(
                    Thing::Endpoints(name.clone()),
                    value::initial_fetch_timeout(eds.eds_config.as_ref(), &scope),
                );
                plan.discovery = Some(EndpointSource { name, source });
            }
        }
        DiscoveryType::OriginalDst => {
            plan.settings.discovery = Discovery::OriginalDestination {
                cleanup_interval: cleanup_interval.unwrap_or(FIVE_SECONDS),
            };
            if let Some(wire::cluster::LbConfig::OriginalDstLbConfig(config)) = &message.lb_config {
                let scope = scope.field("original_dst_lb_config");
                let header = if config.http_header_name.is_empty() {
                    ORIGINAL_DST_HOST
                } else {
                    &config.http_header_name
                };
                plan.original_dst_header = config.use_http_header.then(|| header.into());
                plan.original_dst_port = config
                    .upstream_port_override
                    .and_then(|port| value::port(port, &scope.field("upstream_port_override")));
            }
        }
    }
    None
}

fn dns(message: &wire::Cluster, mode: DnsMode, scope: &Scope<'_>) -> DnsSettings {
    let family = match DnsLookupFamily::try_from(message.dns_lookup_family) {
        Ok(DnsLookupFamily::Auto) => AddressFamily::Auto,
        Ok(DnsLookupFamily::V4Only) => AddressFamily::V4Only,
        Ok(DnsLookupFamily::V6Only) => AddressFamily::V6Only,
        Ok(DnsLookupFamily::V4Preferred) => AddressFamily::V4Preferred,
        Ok(DnsLookupFamily::All) => AddressFamily::All,
        Err(_) => {
            scope
                .field("dns_lookup_family")
                .out_of_range(message.dns_lookup_family, "a family (0 to 4)");
            AddressFamily::Auto
        }
    };
    let failure = message.dns_failure_refresh_rate.as_ref().and_then(|rate| {
        let scope = scope.field("dns_failure_refresh_rate");
        let base =
            value::positive_duration(rate.base_interval.as_ref(), &scope.field("base_interval"))?;
        let max =
            value::positive_duration(rate.max_interval.as_ref(), &scope.field("max_interval"))
                .unwrap_or_else(|| base.saturating_mul(10));
        Some(FailureRefresh {
            base,
            max: max.max(base),
        })
    });
    let refresh = value::positive_duration(
        message.dns_refresh_rate.as_ref(),
        &scope.field("dns_refresh_rate"),
    );
    if refresh.is_some_and(|refresh| refresh <= Duration::from_millis(1)) {
        scope
            .field("dns_refresh_rate")
            .out_of_range(format_args!("{refresh:?}"), "above 1 ms");
    }
    DnsSettings {
        mode,
        refresh: refresh.unwrap_or(FIVE_SECONDS),
        jitter: value::duration(message.dns_jitter.as_ref(), &scope.field("dns_jitter"))
            .unwrap_or_default(),
        failure_refresh: failure,
        respect_ttl: message.respect_dns_ttl,
        family,
    }
}

fn limits(message: &wire::Cluster, plan: &mut ClusterPlan, scope: &Scope<'_>) {
    let settings = &mut plan.settings;
    if let Some(timeout) = value::positive_duration(
        message.connect_timeout.as_ref(),
        &scope.field("connect_timeout"),
    ) {
        settings.connect_timeout = timeout;
    }
    if let Some(limit) = message.per_connection_buffer_limit_bytes {
        settings.buffer_limit = limit as usize;
    }
    settings.drain_on_removal = message.ignore_health_on_host_removal;
    settings.close_connections_on_health_failure = message.close_connections_on_host_health_failure;
    let breakers = message
        .circuit_breakers
        .iter()
        .flat_map(|breakers| &breakers.thresholds)
        .enumerate();
    for (index, thresholds) in breakers {
        let planned = planned_thresholds(
            thresholds,
            &scope.field("circuit_breakers").item("thresholds", index),
        );
        let priority = usize::from(thresholds.priority == RoutingPriority::High as i32);
        settings.thresholds[priority] = planned;
    }
    if let Some(outlier) = &message.outlier_detection {
        settings.outlier = Some(health::outlier(outlier, &scope.field("outlier_detection")));
    }
    let checks = message.health_checks.iter().enumerate();
    settings.health_checks = checks
        .filter_map(|(index, check)| health::plan(check, &scope.item("health_checks", index)))
        .collect();
    if let Some(bind) = &message.upstream_bind_config {
        let scope = scope.field("upstream_bind_config");
        if let Some(source) = &bind.source_address {
            settings.source_address = value::socket_address(source, &scope.field("source_address"))
                .map(|address| address.ip());
        }
    }
    let keepalive = message
        .upstream_connection_options
        .as_ref()
        .and_then(|options| options.tcp_keepalive);
    settings.tcp_keepalive = keepalive.map(|keepalive| TcpKeepalive {
        probes: keepalive.keepalive_probes,
        time: keepalive
            .keepalive_time
            .map(|seconds| Duration::from_secs(seconds.into())),
        interval: keepalive
            .keepalive_interval
            .map(|seconds| Duration::from_secs(seconds.into())),
    });
}

fn planned_thresholds(
    wanted: &wire::circuit_breakers::Thresholds,
    scope: &Scope<'_>,
) -> Thresholds {
    let default = Thresholds::default();
    Thresholds {
        max_connections: wanted
            .max_connections
            .map_or(default.max_connections, u64::from),
        max_pending: wanted
            .max_pending_requests
            .map_or(default.max_pending, u64::from),
        max_requests: wanted.max_requests.map_or(default.max_requests, u64::from),
        max_retries: wanted.max_retries.map_or(default.max_retries, u64::from),
        retry_budget: wanted.retry_budget.as_ref().map(|budget| {
            let default = RetryBudget::default();
            let scope = scope.field("retry_budget");
            RetryBudget {
                percent: value::percent(
                    budget.budget_percent.as_ref(),
                    &scope.field("budget_percent"),
                )
                .unwrap_or(default.percent),
                min_concurrency: budget
                    .min_retry_concurrency
                    .map_or(default.min_concurrency, u64::from),
            }
        }),
        track_remaining: wanted.track_remaining,
    }
}

/// Filters of connections to hosts: only metadata exchange is served, the rest is noted.
fn filters(message: &wire::Cluster, scope: &Scope<'_>) -> Option<Arc<MetadataExchange>> {
    let mut exchange = None;
    for (index, filter) in message.filters.iter().enumerate() {
        let scope = scope.item("filters", index);
        let unwrapped = filter
            .typed_config
            .as_ref()
            .and_then(|config| Unwrapped::of(config).ok());
        match unwrapped {
            Some(unwrapped) if unwrapped.is::<MetadataExchange>() => {
                exchange = decode(&unwrapped, &scope.field("typed_config"))
            }
            _ => scope.note(format!("filter {} is not served", filter.name)),
        }
    }
    exchange
}

fn istio_facts(metadata: Option<&Value>) -> IstioFacts {
    let Some(istio) = metadata.and_then(|metadata| metadata.get("istio")) else {
        return IstioFacts::default();
    };
    // Istio writes truth both as a boolean and as a text.
    let says = |key: &str, truth: bool| match istio.get(key) {
        Some(Value::Bool(value)) => *value == truth,
        Some(Value::String(text)) => text == if truth { "true" } else { "false" },
        _ => false,
    };
    let service = |service: &Value| {
        let text =
            |key: &str| Arc::from(service.get(key).and_then(Value::as_str).unwrap_or_default());
        ServiceFacts {
            host: text("host"),
            name: text("name"),
            namespace: text("namespace"),
        }
    };
    IstioFacts {
        services: istio
            .get("services")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(service)
            .collect(),
        keep_alpn: says("alpn_override", false),
        external: says("external", true),
        no_exchange: says("disable_mx", true),
    }
}

const FIVE_SECONDS: Duration = Duration::from_secs(5);
const ORIGINAL_DST_HOST: &str = "x-envoy-original-dst-host";
