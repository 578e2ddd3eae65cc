//! What a cluster is told to be. Plain data: compiled by the planner, never refused here.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::health::HealthCheckSettings;
use super::outlier::OutlierSettings;
use crate::http::h1;
use crate::tls::ClientTls;

/// Everything about a cluster except its endpoints. Defaults are those of Envoy's documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The cluster's name, also the key of its statistics.
    pub name: Arc<str>,
    /// Where its endpoints come from.
    pub discovery: Discovery,
    /// How a host is picked.
    pub balancer: BalancerSettings,
    /// Percent of available hosts in a priority below which health is disregarded (0 turns panic off).
    pub panic_threshold: u32,
    /// Whether locality weights decide on the locality first.
    pub locality_weighted: bool,
    /// New hosts count neither as healthy nor as unhealthy until their first active health check.
    pub ignore_new_hosts_until_first_check: bool,
    /// Hosts that leave the assignment are dropped although their active health check passes. When false they stay until it fails.
    pub drain_on_removal: bool,
    /// Connections to hosts that turned unhealthy are closed.
    pub close_connections_on_health_failure: bool,
    /// How long a connection may take to be established, TLS included.
    pub connect_timeout: Duration,
    /// What is spoken to the hosts.
    pub protocol: Protocol,
    /// Whether HTTP/1 trailers pass, both ways.
    pub http1_trailers: bool,
    /// Close a connection that had no request this long; `None` never. Envoy's default is 1 h.
    pub idle_timeout: Option<Duration>,
    /// Close a connection after this many requests; `None` never.
    pub max_requests_per_connection: Option<u64>,
    /// Idle HTTP/1 connections that a worker keeps to a host; `None` is no limit.
    pub max_idle_connections: Option<usize>,
    /// Close a connection at this age; `None` never.
    pub max_connection_duration: Option<Duration>,
    /// Soft limit of bytes buffered per connection (Envoy: 1 MiB).
    pub buffer_limit: usize,
    /// The transports that endpoints refer to by index; the first is the default.
    pub transports: Vec<Arc<Transport>>,
    /// Breaker limits: default and high routing priority.
    pub thresholds: [Thresholds; 2],
    /// Outlier detection, if any.
    pub outlier: Option<OutlierSettings>,
    /// Active health checks; a host must pass all of them.
    pub health_checks: Vec<HealthCheckSettings>,
    /// The local address that connections are bound to.
    pub source_address: Option<IpAddr>,
    /// TCP keepalive on connections.
    pub tcp_keepalive: Option<TcpKeepalive>,
}

/// Where the endpoints of a cluster come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Discovery {
    /// Given by whoever updates the cluster: static configuration or a discovery service.
    Static,
    /// Resolved from host names.
    Dns(DnsSettings),
    /// The address that the downstream connection was meant for, hosts are made on demand.
    OriginalDestination {
        /// A host without use for this long is forgotten (Envoy: 5 s).
        cleanup_interval: Duration,
    },
}

/// How host names are resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsSettings {
    /// Which of the addresses become hosts.
    pub mode: DnsMode,
    /// Time between resolutions (Envoy: 5 s).
    pub refresh: Duration,
    /// Upper bound of a random addition to every wait.
    pub jitter: Duration,
    /// Back-off after a failure; `None` waits `refresh`.
    pub failure_refresh: Option<FailureRefresh>,
    /// Wait the record's time to live instead of `refresh` where it is known.
    pub respect_ttl: bool,
    /// Which address families are asked for.
    pub family: AddressFamily,
}

/// Which of the resolved addresses become hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DnsMode {
    /// Every address is a host.
    Strict,
    /// Only the first address is used, for new connections.
    Logical,
}

/// Exponential back-off with full jitter after failed resolutions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailureRefresh {
    /// The first wait.
    pub base: Duration,
    /// The longest wait.
    pub max: Duration,
}

/// Which addresses a resolution returns. Meanings of Envoy's `DnsLookupFamily`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AddressFamily {
    /// IPv6, and IPv4 only when there is none.
    #[default]
    Auto,
    /// IPv4 only.
    V4Only,
    /// IPv6 only.
    V6Only,
    /// IPv4, and IPv6 only when there is none.
    V4Preferred,
    /// Both.
    All,
}

/// How a host is picked.
#[derive(Debug, Clone, PartialEq)]
pub enum BalancerSettings {
    /// In turn, by weight.
    RoundRobin {
        /// Ramp up new hosts.
        slow_start: Option<SlowStart>,
    },
    /// The least busy of a few random hosts; by weight and activity when weights differ.
    LeastRequest {
        /// How many hosts are compared (2).
        choice_count: u32,
        /// The exponent on activity when weights differ (1.0).
        active_request_bias: f64,
        /// Ramp up new hosts.
        slow_start: Option<SlowStart>,
    },
    /// Any, whatever its weight.
    Random,
    /// Consistent hashing on a ring.
    RingHash {
        /// Smallest ring (1024).
        min_size: u64,
        /// Largest ring (8388608).
        max_size: u64,
        /// The hash of the ring's points.
        hash: RingHashFunction,
        /// Hash host names instead of addresses.
        use_hostname: bool,
    },
    /// Consistent hashing by a permutation table.
    Maglev {
        /// Entries, a prime (65537).
        table_size: u64,
        /// Hash host names instead of addresses.
        use_hostname: bool,
    },
}

/// Ramp-up of the weight of hosts that just became healthy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlowStart {
    /// How long the ramp lasts; zero turns it off.
    pub window: Duration,
    /// The ramp's shape: `time_factor^(1/aggression)` (1.0 is linear).
    pub aggression: f64,
    /// The least weight in percent of the full weight (10).
    pub min_weight_percent: f64,
}

/// The hash of a ring's points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RingHashFunction {
    /// xxHash64 with seed 0.
    #[default]
    XxHash,
    /// MurmurHash2 (64 bit, as GNU's `std::hash`).
    Murmur2,
}

/// What is spoken to the hosts of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2, with prior knowledge or by ALPN.
    Http2(Http2Settings),
    /// What the downstream speaks.
    AsDownstream(Http2Settings),
}

/// HTTP/2 towards the hosts; `None` leaves the codec's default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Http2Settings {
    /// Streams at a time on one connection.
    pub max_concurrent_streams: Option<u32>,
    /// Flow-control window of a stream, in bytes.
    pub initial_stream_window: Option<u32>,
    /// Flow-control window of a connection, in bytes.
    pub initial_connection_window: Option<u32>,
    /// Pings on idle connections.
    pub keepalive: Option<Http2Keepalive>,
}

/// Pings that keep a connection alive and find dead ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2Keepalive {
    /// Time between pings; `None` sends none but on idle.
    pub interval: Option<Duration>,
    /// How long the answer may take before the connection is closed.
    pub timeout: Duration,
    /// Ping before the next request after this idle time.
    pub idle_interval: Option<Duration>,
}

/// How bytes travel to a host.
#[derive(Debug, Clone)]
pub enum Transport {
    /// Plain bytes.
    Raw,
    /// TLS with these settings.
    Tls(Arc<ClientTls>),
}

/// TLS settings are equal when they are the same object: whoever plans them keeps it while nothing changed.
impl PartialEq for Transport {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Raw, Self::Raw) => true,
            (Self::Tls(left), Self::Tls(right)) => Arc::ptr_eq(left, right),
            _ => false,
        }
    }
}

/// Breaker limits for one routing priority.
#[derive(Debug, Clone, PartialEq)]
pub struct Thresholds {
    /// Connections (1024).
    pub max_connections: u64,
    /// Requests that wait for a connection (1024).
    pub max_pending: u64,
    /// Requests under way (1024).
    pub max_requests: u64,
    /// Retries under way (3), unless there is a budget.
    pub max_retries: u64,
    /// Retries as a share of the requests under way.
    pub retry_budget: Option<RetryBudget>,
    /// Whether the remaining room is published as statistics.
    pub track_remaining: bool,
}

/// Retries as a share of the requests under way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryBudget {
    /// Percent of active and pending requests (20).
    pub percent: f64,
    /// Retries that are always allowed (3).
    pub min_concurrency: u64,
}

/// TCP keepalive; `None` leaves the system's default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpKeepalive {
    /// Unanswered probes before the connection is dead.
    pub probes: Option<u32>,
    /// Idle time before the first probe.
    pub time: Option<Duration>,
    /// Time between probes.
    pub interval: Option<Duration>,
}

impl Settings {
    /// A static round-robin cluster over HTTP/1.1 with every default.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: Arc::from(name),
            discovery: Discovery::Static,
            balancer: BalancerSettings::RoundRobin { slow_start: None },
            panic_threshold: 50,
            locality_weighted: false,
            ignore_new_hosts_until_first_check: false,
            drain_on_removal: false,
            close_connections_on_health_failure: false,
            connect_timeout: Duration::from_secs(5),
            protocol: Protocol::Http1,
            http1_trailers: false,
            idle_timeout: Some(Duration::from_secs(3600)),
            max_requests_per_connection: None,
            max_idle_connections: None,
            max_connection_duration: None,
            buffer_limit: 1 << 20,
            transports: vec![Arc::new(Transport::Raw)],
            thresholds: [Thresholds::default(), Thresholds::default()],
            outlier: None,
            health_checks: Vec::new(),
            source_address: None,
            tcp_keepalive: None,
        }
    }
}

impl Settings {
    /// What responses of the hosts may cost and hold.
    #[must_use]
    pub fn h1_limits(&self) -> h1::Limits {
        h1::Limits {
            trailers: self.http1_trailers,
            ..h1::Limits::default()
        }
    }
}

impl BalancerSettings {
    /// The slow start of the balancers that have one.
    #[must_use]
    pub fn slow_start(&self) -> Option<&SlowStart> {
        match self {
            Self::RoundRobin { slow_start } | Self::LeastRequest { slow_start, .. } => {
                slow_start.as_ref().filter(|slow| !slow.window.is_zero())
            }
            Self::Random | Self::RingHash { .. } | Self::Maglev { .. } => None,
        }
    }

    /// Least request with Envoy's defaults.
    #[must_use]
    pub fn least_request() -> Self {
        Self::LeastRequest {
            choice_count: 2,
            active_request_bias: 1.0,
            slow_start: None,
        }
    }
}

impl Default for DnsSettings {
    fn default() -> Self {
        Self {
            mode: DnsMode::Strict,
            refresh: Duration::from_secs(5),
            jitter: Duration::ZERO,
            failure_refresh: None,
            respect_ttl: false,
            family: AddressFamily::Auto,
        }
    }
}

impl Default for SlowStart {
    fn default() -> Self {
        Self {
            window: Duration::ZERO,
            aggression: 1.0,
            min_weight_percent: 10.0,
        }
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_pending: 1024,
            max_requests: 1024,
            max_retries: 3,
            retry_budget: None,
            track_remaining: false,
        }
    }
}

impl Thresholds {
    /// Nothing is limited.
    #[must_use]
    pub const fn without_limits() -> Self {
        Self {
            max_connections: u64::MAX,
            max_pending: u64::MAX,
            max_requests: u64::MAX,
            max_retries: u64::MAX,
            retry_budget: None,
            track_remaining: false,
        }
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            percent: 20.0,
            min_concurrency: 3,
        }
    }
}
