//! Istio's standard metrics (`istio.stats`): requests, sizes, durations, messages and TCP bytes with their labels (istio.md 5.1).
//!
//! Labels are worded once for every combination of cluster, peers, status and flags that a worker sees; after that a request costs one look-up
//! by pointers and numbers.
//!
//! | file | what it holds |
//! |---|---|
//! | [`labels`] | label names in their order, and where their values come from |
//! | [`overrides`] | what Telemetry resources change about them |
//! | [`series`] | all series of the process |

mod labels;
mod overrides;
mod series;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use carbyne_engine::cluster::Host;
use carbyne_engine::observe::metrics::{Counter, Histogram};
use carbyne_engine::tls::{CertificateFacts, Negotiated};
use carbyne_protos::stats::{PluginConfig, Reporter as WireReporter};
use rustc_hash::FxHashMap;

pub use self::labels::{HTTP_LABELS, TCP_LABELS};
pub use self::series::{Series, SeriesValue, Store};

use self::labels::Labels;
use self::overrides::{Metric, Overrides};
use super::facts::Facts;
use super::flags::Flags;
use super::peer::{LocalNode, Peer};
use crate::live::clusters::LiveCluster;
use crate::live::route::RouteEntry;
use crate::plan::scope::Scope;
use crate::plan::value;

/// The metrics of one listener's traffic in one direction.
#[derive(Debug)]
pub struct IstioStats {
    /// Tells what workers remember of different filters apart.
    id: u64,
    node: Arc<LocalNode>,
    store: Arc<Store>,
    reporter: Reporter,
    host_fallback: bool,
    overrides: Arc<Overrides>,
    /// Time between reports of the bytes of a stream that goes on.
    pub tcp_reporting: Duration,
}

/// Who reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reporter {
    /// The client's sidecar: outbound listeners and gateways.
    Source,
    /// The server's sidecar: inbound listeners.
    Destination,
    /// A waypoint.
    Waypoint,
}

/// The series of a TCP stream; dropped metrics count nowhere.
#[derive(Debug)]
pub struct TcpSeries {
    opened: Option<Counter>,
    closed: Option<Counter>,
    sent: Option<Counter>,
    received: Option<Counter>,
}

#[derive(Debug)]
struct HttpSeries {
    requests: Option<Counter>,
    duration: Option<Histogram>,
    request_bytes: Option<Histogram>,
    response_bytes: Option<Histogram>,
    request_messages: Option<Counter>,
    response_messages: Option<Counter>,
}

/// What a label set depends on. Objects are told apart by their addresses; the cache keeps them alive, so that an address means one object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    filter: u64,
    cluster: usize,
    /// The cluster's name, where the cluster itself is not at hand: streams, and routes to clusters that do not exist.
    cluster_name: Box<[u8]>,
    route: usize,
    peers: [usize; 2],
    endpoint: usize,
    certificates: [usize; 2],
    status: u16,
    grpc: u16,
    flags: Flags,
    security: u8,
    /// The host of the request, where it is a label.
    host: Bytes,
    /// Values of dimensions that are computed.
    dimensions: Box<[u8]>,
}

/// A label set that a worker remembers, with what its key's addresses belong to.
#[derive(Debug)]
struct Remembered<S> {
    series: Rc<S>,
    #[expect(
        dead_code,
        reason = "kept so that the addresses in the key are not used again"
    )]
    owners: Owners,
}

/// The objects whose addresses stand in a key.
#[derive(Debug)]
struct Owners {
    cluster: Option<Arc<LiveCluster>>,
    route: Option<Arc<RouteEntry>>,
    peers: [Option<Arc<Peer>>; 2],
    host: Option<Arc<Host>>,
    certificates: [Option<Arc<CertificateFacts>>; 2],
}

impl Reporter {
    /// As in the label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Waypoint => "waypoint",
        }
    }
}

/// What the filter's message says, whatever listener it is for.
#[derive(Clone, Debug)]
pub struct StatsPlan {
    waypoint: bool,
    host_fallback: bool,
    overrides: Arc<Overrides>,
    tcp_reporting: Duration,
}

impl StatsPlan {
    /// Reads the filter's message.
    pub fn read(message: &PluginConfig, node: &Arc<LocalNode>, scope: &Scope<'_>) -> Self {
        let reporter = WireReporter::try_from(message.reporter);
        let reporting = value::duration(
            message.tcp_reporting_duration.as_ref(),
            &scope.field("tcp_reporting_duration"),
        );
        Self {
            waypoint: reporter == Ok(WireReporter::ServerGateway),
            host_fallback: !message.disable_host_header_fallback,
            overrides: Arc::new(Overrides::plan(message, node, scope)),
            tcp_reporting: reporting
                .filter(|time| !time.is_zero())
                .unwrap_or(Duration::from_secs(5)),
        }
    }
}

impl IstioStats {
    /// The metrics of one listener's traffic; `inbound` is its direction.
    pub fn new(plan: &StatsPlan, inbound: bool, node: &Arc<LocalNode>, store: &Arc<Store>) -> Self {
        Self {
            id: FILTERS.fetch_add(1, Ordering::Relaxed),
            node: Arc::clone(node),
            store: Arc::clone(store),
            reporter: match (plan.waypoint, inbound) {
                (true, _) => Reporter::Waypoint,
                (false, true) => Reporter::Destination,
                (false, false) => Reporter::Source,
            },
            host_fallback: plan.host_fallback,
            overrides: Arc::clone(&plan.overrides),
            tcp_reporting: plan.tcp_reporting,
        }
    }

    /// A request is over.
    pub fn request(&self, facts: &Facts<'_>) {
        let series = HTTP.with_borrow_mut(|cache| {
            cache.find(self.key(facts), || (self.http_series(facts), owners(facts)))
        });
        if let Some(counter) = &series.requests {
            counter.increment();
        }
        if let (Some(histogram), Some(took)) =
            (&series.duration, facts.timing.and_then(|timing| timing.end))
        {
            // Envoy records whole milliseconds.
            histogram.observe_milliseconds(took);
        }
        if let Some(histogram) = &series.request_bytes {
            histogram.observe(facts.counts.wire_received as f64);
        }
        if let Some(histogram) = &series.response_bytes {
            histogram.observe(facts.counts.wire_sent as f64);
        }
        let (requests, responses) = facts.grpc_messages;
        for (counter, messages) in [
            (&series.request_messages, requests),
            (&series.response_messages, responses),
        ] {
            if let Some(counter) = counter {
                counter.add(messages);
            }
        }
    }

    /// The series of a stream whose peers are known. The flags are those at that time: streams report while they go on.
    pub fn stream(&self, facts: &Facts<'_>) -> Rc<TcpSeries> {
        TCP.with_borrow_mut(|cache| {
            cache.find(self.key(facts), || (self.tcp_series(facts), owners(facts)))
        })
    }

    fn http_series(&self, facts: &Facts<'_>) -> HttpSeries {
        let labels = Labels::of(self, facts);
        let counter = |metric| self.counter(metric, &labels, facts);
        let histogram = |metric| self.histogram(metric, &labels, facts);
        let grpc = facts.is_grpc();
        HttpSeries {
            requests: counter(Metric::RequestsTotal),
            duration: histogram(Metric::RequestDuration),
            request_bytes: histogram(Metric::RequestBytes),
            response_bytes: histogram(Metric::ResponseBytes),
            request_messages: grpc
                .then(|| counter(Metric::RequestMessagesTotal))
                .flatten(),
            response_messages: grpc
                .then(|| counter(Metric::ResponseMessagesTotal))
                .flatten(),
        }
    }

    fn tcp_series(&self, facts: &Facts<'_>) -> TcpSeries {
        let labels = Labels::of(self, facts);
        let counter = |metric| self.counter(metric, &labels, facts);
        TcpSeries {
            opened: counter(Metric::TcpOpened),
            closed: counter(Metric::TcpClosed),
            sent: counter(Metric::TcpSent),
            received: counter(Metric::TcpReceived),
        }
    }

    fn counter(&self, metric: Metric, labels: &Labels, facts: &Facts<'_>) -> Option<Counter> {
        Some(
            self.store
                .counter(metric.name(), self.overrides.apply(metric, labels, facts)?),
        )
    }

    fn histogram(&self, metric: Metric, labels: &Labels, facts: &Facts<'_>) -> Option<Histogram> {
        Some(
            self.store
                .histogram(metric.name(), self.overrides.apply(metric, labels, facts)?),
        )
    }

    fn key(&self, facts: &Facts<'_>) -> Key {
        let owners = owners(facts);
        let tls = facts.downstream_tls();
        let named = facts
            .cluster_plan
            .is_some_and(|cluster| !cluster.istio.services.is_empty());
        let host_label = match facts.request {
            Some(request) if self.host_fallback && !named => request.authority.clone(),
            _ => Bytes::new(),
        };
        let grpc = if facts.is_grpc() {
            facts.grpc_status().unwrap_or(u16::MAX - 1)
        } else {
            u16::MAX
        };
        Key {
            filter: self.id,
            cluster: pointer(owners.cluster.as_ref()),
            cluster_name: match (&owners.cluster, facts.cluster) {
                (None, Some(name)) => name.as_bytes().into(),
                _ => Box::default(),
            },
            route: pointer(owners.route.as_ref()),
            peers: owners.peers.each_ref().map(|peer| pointer(peer.as_ref())),
            endpoint: pointer(owners.host.as_ref()),
            certificates: owners
                .certificates
                .each_ref()
                .map(|certificate| pointer(certificate.as_ref())),
            status: facts.status(),
            grpc,
            flags: facts.flags,
            security: u8::from(tls.is_some_and(|tls| tls.peer_verified)),
            host: host_label,
            dimensions: self.overrides.dynamic(facts),
        }
    }
}

impl TcpSeries {
    /// A stream began.
    pub fn opened(&self) {
        if let Some(counter) = &self.opened {
            counter.increment();
        }
    }

    /// A stream ended.
    pub fn closed(&self) {
        if let Some(counter) = &self.closed {
            counter.increment();
        }
    }

    /// Bytes since the last report: from the client, and to it.
    pub fn bytes(&self, received: u64, sent: u64) {
        for (counter, bytes) in [(&self.received, received), (&self.sent, sent)] {
            if let Some(counter) = counter
                && bytes > 0
            {
                counter.add(bytes);
            }
        }
    }
}

/// The objects whose addresses stand in a key.
fn owners(facts: &Facts<'_>) -> Owners {
    let certificate = |tls: Option<&Negotiated>| tls.and_then(|tls| tls.peer.clone());
    Owners {
        cluster: facts.context.and_then(|context| context.cluster.clone()),
        route: facts.context.and_then(|context| context.route.clone()),
        peers: [facts.downstream_peer.cloned(), facts.upstream_peer.cloned()],
        host: facts.upstream.and_then(|upstream| upstream.host.clone()),
        certificates: [
            certificate(facts.downstream_tls()),
            certificate(facts.upstream_tls()),
        ],
    }
}

fn pointer<T>(object: Option<&Arc<T>>) -> usize {
    object.map_or(0, |object| Arc::as_ptr(object).addr())
}

/// What one worker remembers.
#[derive(Debug)]
struct Cache<S> {
    known: FxHashMap<Key, Remembered<S>>,
}

impl<S> Default for Cache<S> {
    fn default() -> Self {
        Self {
            known: FxHashMap::default(),
        }
    }
}

impl<S> Cache<S> {
    fn find(&mut self, key: Key, make: impl FnOnce() -> (S, Owners)) -> Rc<S> {
        if let Some(remembered) = self.known.get(&key) {
            return Rc::clone(&remembered.series);
        }
        if self.known.len() >= REMEMBERED {
            // Also lets go of clusters and hosts that are gone.
            self.known.clear();
        }
        let (series, owners) = make();
        let series = Rc::new(series);
        self.known.insert(
            key,
            Remembered {
                series: Rc::clone(&series),
                owners,
            },
        );
        series
    }
}

static FILTERS: AtomicU64 = AtomicU64::new(0);
/// Label sets that a worker remembers.
const REMEMBERED: usize = 4096;

thread_local! {
    static HTTP: RefCell<Cache<HttpSeries>> = RefCell::default();
    static TCP: RefCell<Cache<TcpSeries>> = RefCell::default();
}
