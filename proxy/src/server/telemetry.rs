//! What is told about requests, streams and refused connections: logs and counters.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use carbyne_engine::forward::serve::Refusal;
use carbyne_engine::forward::{Answer, Counts, Downstream, Event, Events, Exchange, Timing};
use carbyne_engine::observe::log::LogSettings;
use carbyne_engine::observe::metrics::{Counter, Gauge};
use carbyne_protos::envoy::config::accesslog::v3::AccessLog;
use carbyne_protos::envoy::config::bootstrap::v3::Bootstrap;
use carbyne_protos::envoy::config::core::v3::TrafficDirection;
use carbyne_protos::stats::PluginConfig;
use http::StatusCode;

use super::listener::ListenerStats;
use crate::cli::{IpVersion, Options};
use crate::context::Context;
use crate::observe::access_log::AccessLogs;
use crate::observe::access_log::{Collectors, LogFiles};
use crate::observe::export::Batcher;
use crate::observe::facts::{Facts, StreamRecord};
use crate::observe::flags::{Flag, Flags};
use crate::observe::istio::{IstioStats, TcpSeries};
use crate::observe::peer::LocalNode;
use crate::observe::stats::{Registry, StatsRules};
use crate::observe::trace::decision::{IdRules, Reasons};
use crate::observe::trace::exporter::Exporters;
use crate::observe::trace::record::Teller;
use crate::observe::trace::tracer::Surroundings;
use crate::observe::trace::{self, Tracer};
use crate::plan::Environment;
use crate::plan::error::Rejection;
use crate::plan::filter::HttpFilterKind;
use crate::plan::http::HttpPlan;
use crate::plan::scope::Room;
use crate::plan::tracing::{Provider, provider};

/// What all of it is made with.
#[derive(Debug)]
pub struct Telling {
    environment: Environment,
    files: LogFiles,
    /// Who we are.
    pub node: Arc<LocalNode>,
    /// The first address of this machine that others may reach.
    pub local_address: IpAddr,
    /// Every statistic that the bootstrap lets show.
    pub registry: Arc<Registry>,
    listeners: Mutex<BTreeMap<Arc<str>, Arc<ListenerStats>>>,
    managers: Mutex<BTreeMap<Arc<str>, Arc<ManagerStats>>>,
    /// Collectors, and what waits for them.
    pub batcher: Arc<Batcher>,
    exporters: Exporters,
    collectors: Collectors,
    teller: Arc<Teller>,
    /// Whom the bootstrap tells of spans where a connection manager names nobody.
    provider: Option<Provider>,
}

/// What one connection manager tells.
#[derive(Debug)]
pub struct Telemetry {
    stats: Arc<ManagerStats>,
    logs: AccessLogs,
    /// What is told of requests as spans, where anything is.
    pub tracer: Option<Tracer>,
}

/// What a connection manager counts, by Envoy's names.
#[derive(Debug, Default)]
pub struct ManagerStats {
    /// `downstream_rq_total`
    pub requests: Counter,
    /// `downstream_rq_active`
    pub active: Gauge,
    /// `downstream_rq_1xx` to `downstream_rq_5xx`
    pub by_class: [Counter; 5],
    /// `downstream_cx_protocol_error`
    pub protocol_errors: Counter,
    /// `tracing.*`
    pub tracing: Arc<Reasons>,
}

/// What is told about connections and streams.
#[derive(Debug)]
pub struct ConnectionLog {
    logs: AccessLogs,
    /// Istio's metrics of streams, where the chain has them.
    stats: Option<IstioStats>,
}

/// Tells about one stream, while it goes on and at its end.
#[derive(Debug)]
pub struct StreamTelling<'a> {
    log: &'a ConnectionLog,
    series: Option<Rc<TcpSeries>>,
    /// Bytes that are counted.
    received: u64,
    sent: u64,
}

impl Telling {
    /// As the command line and the bootstrap say.
    pub fn new(
        options: &Options,
        bootstrap: &Bootstrap,
        environment: Environment,
    ) -> Result<Arc<Self>, Rejection> {
        let room = Room::new(&environment, Vec::new());
        let rules = StatsRules::plan(bootstrap.stats_config.as_ref(), &room.scope());
        let rules = room.finish(rules)?.plan;
        let room = Room::new(&environment, Vec::new());
        let provider = bootstrap.tracing.as_ref().and_then(|tracing| {
            let scope = room.scope();
            let scope = scope.field("tracing");
            provider(tracing.http.as_ref()?, &scope.field("http"))
        });
        let provider = room.finish(Some(provider))?.plan;
        let message = bootstrap.node.clone().unwrap_or_default();
        let node = LocalNode::new(&message, &[]);
        let batcher = Arc::new(Batcher::new());
        let pace = trace::exporter::Settings::of(bootstrap.layered_runtime.as_ref());
        let registry = Registry::new(rules, &node.istio_version);
        let settings = LogSettings {
            flush_interval: options.file_flush_interval(),
            flush_size: options.file_flush_min_size_kb as usize * 1024,
            ..LogSettings::default()
        };
        Ok(Arc::new(Self {
            exporters: Exporters::new(batcher.clone(), pace, &message.cluster),
            collectors: Collectors::new(batcher.clone(), message),
            batcher,
            teller: Arc::new(Teller {
                node: Arc::from(&*node.id),
                zone: Arc::from(&*node.peer.zone),
            }),
            provider,
            node: Arc::new(node),
            local_address: local_address(options.local_address_ip_version),
            registry,
            environment,
            files: LogFiles::new(settings),
            listeners: Mutex::default(),
            managers: Mutex::default(),
        }))
    }

    /// Opens log files anew.
    pub fn reopen_logs(&self) {
        self.files.reopen();
    }

    /// Writes out what is buffered.
    pub fn close(&self) {
        self.files.close();
    }

    fn access_logs(&self, loggers: &[AccessLog]) -> Result<AccessLogs, Rejection> {
        let room = Room::new(&self.environment, Vec::new());
        let logs = AccessLogs::plan(loggers, &room.scope(), &self.files, &self.collectors);
        Ok(room.finish(Some(logs))?.plan)
    }

    /// The tracer of a connection manager.
    fn tracer(
        &self,
        plan: &HttpPlan,
        direction: TrafficDirection,
        reasons: &Arc<Reasons>,
    ) -> Option<Tracer> {
        let tracing = plan.tracing.clone()?;
        let provider = tracing.provider.as_ref().or(self.provider.as_ref());
        let propagation = provider.map(|provider| provider.propagation.clone());
        let exporter = provider.and_then(|provider| self.exporters.of(provider));
        let surroundings = Surroundings {
            egress: direction == TrafficDirection::Outbound,
            router_spawns: plan.filters.iter().any(|filter| {
                matches!(&filter.kind, HttpFilterKind::Router(router) if router.start_child_span)
            }),
            ids: IdRules {
                pack: plan.fields.pack_trace_reason,
                sample: plan.fields.sample_by_request_id,
            },
            teller: self.teller.clone(),
            reasons: reasons.clone(),
        };
        Some(Tracer::new(tracing, propagation, exporter, surroundings))
    }

    /// The counters of a listener; they outlive its updates.
    pub fn listener_stats(&self, name: &Arc<str>) -> Arc<ListenerStats> {
        let mut held = self
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        held.entry(name.clone()).or_default().clone()
    }

    /// Connections of all listeners that are open, and requests that are not logged yet.
    pub fn active_connections(&self) -> i64 {
        let listeners = self.listeners.lock();
        let listeners = listeners.unwrap_or_else(PoisonError::into_inner);
        let connections = listeners.values().map(|stats| stats.active.value());
        let managers = self.managers.lock().unwrap_or_else(PoisonError::into_inner);
        let requests = managers.values().map(|stats| stats.active.value());
        connections.chain(requests).sum()
    }

    /// The counters of connection managers with one prefix.
    pub fn manager_stats(&self, prefix: &Arc<str>) -> Arc<ManagerStats> {
        let mut held = self.managers.lock().unwrap_or_else(PoisonError::into_inner);
        held.entry(prefix.clone()).or_default().clone()
    }

    /// Shows every counter and gauge by its name.
    pub fn visit(&self, show: &mut dyn FnMut(&str, bool, u64)) {
        self.exporters
            .visit(&mut |name, value| show(name, false, value));
        self.collectors
            .visit(&mut |name, value| show(name, false, value));
        let (taken, dropped, failed) = self.files.counts();
        show("filesystem.write_buffered", false, taken);
        show("filesystem.write_failed", false, failed);
        // Lines that a full or slow disk cost; Envoy does not count them.
        show("filesystem.write_dropped", false, dropped);
        for (name, stats) in self
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            let counters = [
                ("downstream_cx_total", &stats.connections),
                ("downstream_global_cx_overflow", &stats.overflows),
                ("no_filter_chain_match", &stats.no_chain),
                ("downstream_pre_cx_timeout", &stats.inspection_timeouts),
                ("ssl.connection_error", &stats.handshake_failures),
                ("ssl.handshake", &stats.handshakes),
            ];
            for (counter, value) in counters {
                show(&format!("listener.{name}.{counter}"), false, value.value());
            }
            let active = u64::try_from(stats.active.value()).unwrap_or(0);
            show(
                &format!("listener.{name}.downstream_cx_active"),
                true,
                active,
            );
        }
        for (prefix, stats) in self
            .managers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            show(
                &format!("http.{prefix}.downstream_rq_total"),
                false,
                stats.requests.value(),
            );
            for (class, counter) in stats.by_class.iter().enumerate() {
                let name = format!("http.{prefix}.downstream_rq_{}xx", class + 1);
                show(&name, false, counter.value());
            }
            let active = u64::try_from(stats.active.value()).unwrap_or(0);
            show(&format!("http.{prefix}.downstream_rq_active"), true, active);
            let reasons = &stats.tracing;
            for (reason, counter) in [
                ("random_sampling", &reasons.random_sampling),
                ("service_forced", &reasons.service_forced),
                ("client_enabled", &reasons.client_enabled),
                ("not_traceable", &reasons.not_traceable),
            ] {
                let name = format!("http.{prefix}.tracing.{reason}");
                show(&name, false, counter.value());
            }
        }
    }
}

impl Telemetry {
    /// For one connection manager.
    pub fn new(
        telling: &Arc<Telling>,
        plan: &HttpPlan,
        direction: TrafficDirection,
    ) -> Result<Self, Rejection> {
        let stats = telling.manager_stats(&plan.stat_prefix);
        Ok(Self {
            tracer: telling.tracer(plan, direction, &stats.tracing),
            stats,
            logs: telling.access_logs(&plan.access_log)?,
        })
    }

    /// A request arrived.
    pub fn arrived(&self) {
        self.stats.requests.increment();
        self.stats.active.increment();
    }

    /// A request ended.
    pub fn ended(&self, exchange: &Exchange<Context>) {
        self.stats.active.decrement();
        self.logs.log(&Facts::of(exchange));
        if let Some(tracer) = &self.tracer {
            tracer.end(exchange);
        }
        if let Some(response) = &exchange.response {
            self.count(response.status);
        }
    }

    /// Bytes came that are no request.
    pub fn refused(&self, downstream: &Downstream, refusal: &Refusal, answer: &Answer) {
        self.stats.requests.increment();
        let flags = match refusal {
            Refusal::Head(_) | Refusal::Request(_) => {
                self.stats.protocol_errors.increment();
                Flags::only(Flag::DownstreamProtocolError)
            }
            Refusal::HeadTimeout => Flags::NONE,
        };
        let timing = Timing {
            end: Some(Duration::ZERO),
            ..Timing::now(true)
        };
        let facts = Facts {
            downstream: Some(downstream),
            protocol: Some(http::Version::HTTP_11),
            response: Some(&answer.response),
            timing: Some(&timing),
            counts: Counts {
                sent: answer.body.len() as u64,
                ..Counts::default()
            },
            flags,
            details: &answer.details,
            ..Facts::default()
        };
        self.logs.log(&facts);
        self.count(answer.response.status);
    }

    fn count(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).wrapping_sub(1);
        if let Some(counter) = self.stats.by_class.get(class) {
            counter.increment();
        }
    }
}

impl ConnectionLog {
    /// With these access logs.
    pub fn new(
        telling: &Arc<Telling>,
        logs: &[AccessLog],
        _inbound: bool,
    ) -> Result<Self, Rejection> {
        Ok(Self {
            logs: telling.access_logs(logs)?,
            stats: None,
        })
    }

    /// Counts streams in Istio's metrics.
    pub fn count(&mut self, telling: &Telling, message: &PluginConfig, inbound: bool) {
        let room = Room::new(&telling.environment, Vec::new());
        let store = telling.registry.istio();
        let stats = IstioStats::plan(message, inbound, &telling.node, store, &room.scope());
        self.stats = Some(stats);
    }

    /// No chain wanted the connection.
    pub fn no_chain(&self, downstream: &Rc<Downstream>) {
        let mut record = StreamRecord::new(downstream.clone());
        let mut events = Events::default();
        events.insert(Event::NoRoute);
        record.flags = Flags::of(events);
        record.details = "filter_chain_not_found".into();
        self.ended(record);
    }

    /// The TLS handshake failed.
    pub fn handshake_failed(&self, downstream: &Rc<Downstream>, reason: &'static str) {
        let mut record = StreamRecord::new(downstream.clone());
        record.termination = reason.into();
        self.ended(record);
    }

    /// A filter closed the connection.
    pub fn refused(&self, downstream: &Rc<Downstream>, details: &str) {
        let mut record = StreamRecord::new(downstream.clone());
        record.termination = details.to_owned().into();
        self.ended(record);
    }

    /// A stream begins.
    pub const fn stream(&self) -> StreamTelling<'_> {
        StreamTelling {
            log: self,
            series: None,
            received: 0,
            sent: 0,
        }
    }

    /// A connection ended that was no stream.
    fn ended(&self, record: StreamRecord) {
        self.stream().ended(record);
    }
}

impl StreamTelling<'_> {
    /// Time between two reports while the stream goes on; none where nobody counts.
    pub fn interval(&self) -> Option<Duration> {
        Some(self.log.stats.as_ref()?.tcp_reporting)
    }

    /// Counts what went through since the last report. The first one says that the stream is open, and fixes its labels:
    /// it must come when the peers are known.
    pub fn report(&mut self, record: &StreamRecord) {
        let Some(stats) = &self.log.stats else {
            return;
        };
        let series = self.series.get_or_insert_with(|| {
            let series = stats.stream(&Facts::of_stream(record));
            series.opened();
            series
        });
        let counts = &record.counts;
        series.bytes(counts.received - self.received, counts.sent - self.sent);
        (self.received, self.sent) = (counts.received, counts.sent);
    }

    /// It is over.
    pub fn ended(mut self, mut record: StreamRecord) {
        record.end(Instant::now());
        self.report(&record);
        if let Some(series) = self.series {
            series.closed();
        }
        self.log.logs.log(&Facts::of_stream(&record));
    }
}

/// The first address of an interface that is not the loopback, in the kernel's order, as Envoy finds its own.
fn local_address(version: IpVersion) -> IpAddr {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let mut addresses = interfaces.iter().map(if_addrs::Interface::ip);
    let wanted = |address: &IpAddr| {
        !address.is_loopback() && address.is_ipv4() == (version == IpVersion::V4)
    };
    addresses.find(wanted).unwrap_or_else(|| match version {
        IpVersion::V4 => Ipv4Addr::LOCALHOST.into(),
        IpVersion::V6 => Ipv6Addr::LOCALHOST.into(),
    })
}
