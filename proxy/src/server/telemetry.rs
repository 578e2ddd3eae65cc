//! What is told about requests, streams and refused connections: logs and counters.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use carbyne_engine::forward::serve::Refusal;
use carbyne_engine::forward::{Downstream, Event, Events, Exchange};
use carbyne_engine::observe::log::LogSettings;
use carbyne_engine::observe::metrics::{Counter, Gauge};
use carbyne_protos::envoy::config::accesslog::v3::AccessLog;
use carbyne_protos::envoy::config::bootstrap::v3::Bootstrap;
use carbyne_protos::stats::PluginConfig;

use super::listener::ListenerStats;
use crate::cli::Options;
use crate::context::Context;
use crate::observe::access_log::AccessLogs;
use crate::observe::access_log::LogFiles;
use crate::observe::facts::{Facts, StreamRecord};
use crate::observe::flags::Flags;
use crate::observe::istio::IstioStats;
use crate::observe::peer::LocalNode;
use crate::observe::stats::{Registry, StatsRules};
use crate::plan::Environment;
use crate::plan::error::Rejection;
use crate::plan::http::HttpPlan;
use crate::plan::scope::Room;

/// What all of it is made with.
#[derive(Debug)]
pub struct Telling {
    environment: Environment,
    files: LogFiles,
    /// Who we are.
    pub node: Arc<LocalNode>,
    /// Every statistic that the bootstrap lets show.
    pub registry: Arc<Registry>,
    listeners: Mutex<BTreeMap<Arc<str>, Arc<ListenerStats>>>,
    managers: Mutex<BTreeMap<Arc<str>, Arc<ManagerStats>>>,
}

/// What one connection manager tells.
#[derive(Debug)]
pub struct Telemetry {
    stats: Arc<ManagerStats>,
    logs: AccessLogs,
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
}

/// What is told about connections and streams.
#[derive(Debug)]
pub struct ConnectionLog {
    logs: AccessLogs,
    /// Istio's metrics of streams, where the chain has them.
    stats: Option<IstioStats>,
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
        let node = LocalNode::new(&bootstrap.node.clone().unwrap_or_default(), &[]);
        let registry = Registry::new(rules, &node.istio_version);
        let settings = LogSettings {
            flush_interval: options.file_flush_interval(),
            flush_size: options.file_flush_min_size_kb as usize * 1024,
            ..LogSettings::default()
        };
        Ok(Arc::new(Self {
            node: Arc::new(node),
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
        let logs = AccessLogs::plan(loggers, &room.scope(), &self.files);
        Ok(room.finish(Some(logs))?.plan)
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
        }
    }
}

impl Telemetry {
    /// For one connection manager.
    pub fn new(telling: &Arc<Telling>, plan: &HttpPlan, _inbound: bool) -> Result<Self, Rejection> {
        Ok(Self {
            stats: telling.manager_stats(&plan.stat_prefix),
            logs: telling.access_logs(&plan.access_log)?,
        })
    }

    /// A request arrived.
    pub fn arrived(&self, _exchange: &mut Exchange<Context>, _plan: &HttpPlan) {
        self.stats.requests.increment();
        self.stats.active.increment();
    }

    /// A request ended.
    pub fn ended(&self, exchange: &Exchange<Context>) {
        self.stats.active.decrement();
        self.logs.log(&Facts::of(exchange));
        if let Some(response) = &exchange.response
            && let Some(counter) = self
                .stats
                .by_class
                .get(usize::from(response.status.as_u16() / 100).wrapping_sub(1))
        {
            counter.increment();
        }
    }

    /// Bytes came that are no request.
    pub fn refused(&self, _downstream: &Downstream, _refusal: &Refusal) {
        self.stats.protocol_errors.increment();
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

    /// A stream ended.
    pub fn ended(&self, mut record: StreamRecord) {
        record.end(Instant::now());
        let facts = Facts::of_stream(&record);
        if let Some(stats) = &self.stats {
            let series = stats.stream(&facts);
            series.opened();
            series.bytes(record.counts.received, record.counts.sent);
            series.closed();
        }
        self.logs.log(&facts);
    }
}
