//! What is told about requests, streams and refused connections: logs and counters.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use carbyne_engine::forward::serve::Refusal;
use carbyne_engine::forward::{Answer, Counts, Downstream, Event, Exchange, Timing};
use carbyne_engine::observe::metrics::Counter;
use carbyne_protos::envoy::config::bootstrap::v3::Bootstrap;
use carbyne_protos::envoy::config::core::v3::TrafficDirection;
use http::StatusCode;

pub use self::manager_stats::ManagerStats;
pub use self::streams::{ConnectionLog, StreamTelling};
use super::listener::ListenerStats;
use crate::cli::{IpVersion, Options};
use crate::context::Context;
use crate::observe::access_log::AccessLogs;
use crate::observe::access_log::LogSinks;
use crate::observe::denials::Denials;
use crate::observe::export::Batcher;
use crate::observe::facts::Facts;
use crate::observe::flags::{Flag, Flags};
use crate::observe::peer::LocalNode;
use crate::observe::security::Security;
use crate::observe::stats::{Reading, Registry, Source, StatsRules};
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

mod manager_stats;
mod streams;

/// What all of it is made with.
#[derive(Debug)]
pub struct Telling {
    logs: Arc<LogSinks>,
    /// Who we are.
    pub node: Arc<LocalNode>,
    /// The first address of this machine that others may reach.
    pub local_address: IpAddr,
    /// Every statistic that the bootstrap lets show.
    pub registry: Arc<Registry>,
    /// What policies refused.
    pub denials: Arc<Denials>,
    listeners: Mutex<BTreeMap<Arc<str>, Arc<ListenerStats>>>,
    managers: Mutex<BTreeMap<Arc<str>, Arc<ManagerStats>>>,
    /// Collectors, and what waits for them.
    pub batcher: Arc<Batcher>,
    exporters: Exporters,
    teller: Arc<Teller>,
    /// Tells what was refused, where the process emits events.
    pub security: Option<Security>,
    /// Whom the bootstrap tells of spans where a connection manager names nobody.
    provider: Option<Provider>,
}

/// What one connection manager tells.
#[derive(Debug)]
pub struct Telemetry {
    stats: Arc<ManagerStats>,
    denials: Arc<Denials>,
    logs: Arc<AccessLogs>,
    security: Option<Security>,
    /// What is told of requests as spans, where anything is.
    pub tracer: Option<Tracer>,
}

impl Telling {
    /// As the bootstrap says.
    pub fn new(
        options: &Options,
        bootstrap: &Bootstrap,
        environment: &Environment,
        batcher: Arc<Batcher>,
        security: Option<Security>,
    ) -> Result<Arc<Self>, Rejection> {
        let room = Room::new(environment, Vec::new());
        let rules = StatsRules::plan(bootstrap.stats_config.as_ref(), &room.scope());
        let rules = room.finish(rules)?.plan;
        let room = Room::new(environment, Vec::new());
        let provider = bootstrap.tracing.as_ref().and_then(|tracing| {
            let scope = room.scope();
            let scope = scope.field("tracing");
            provider(tracing.http.as_ref()?, &scope.field("http"))
        });
        let provider = room.finish(Some(provider))?.plan;
        let node = environment.node.clone();
        let pace = trace::exporter::Settings::of(bootstrap.layered_runtime.as_ref());
        let cluster = bootstrap.node.as_ref().map_or("", |node| &node.cluster);
        let registry = Registry::new(rules, &node.istio_version);
        Ok(Arc::new(Self {
            denials: Arc::new(Denials::new(registry.istio())),
            exporters: Exporters::new(batcher.clone(), pace, cluster),
            batcher,
            teller: Arc::new(Teller {
                node: Arc::from(&*node.id),
                zone: Arc::from(&*node.peer.zone),
            }),
            provider,
            security,
            registry,
            node,
            local_address: local_address(options.local_address_ip_version),
            logs: environment.logs.clone().unwrap_or_default(),
            listeners: Mutex::default(),
            managers: Mutex::default(),
        }))
    }

    /// Opens log files anew.
    pub fn reopen_logs(&self) {
        self.logs.files.reopen();
    }

    /// Writes out what is buffered.
    pub fn close(&self) {
        self.logs.files.close();
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

    /// Connections of all listeners that are open.
    pub fn open_connections(&self) -> i64 {
        let listeners = self.listeners.lock();
        let listeners = listeners.unwrap_or_else(PoisonError::into_inner);
        listeners.values().map(|stats| stats.active.value()).sum()
    }

    /// The same, and requests that are not logged yet.
    pub fn active_connections(&self) -> i64 {
        let connections = self.open_connections();
        let managers = self.managers.lock().unwrap_or_else(PoisonError::into_inner);
        let requests = managers.values().map(|stats| stats.active.value());
        connections + requests.sum::<i64>()
    }

    /// The counters of connection managers with one prefix.
    pub fn manager_stats(&self, prefix: &Arc<str>) -> Arc<ManagerStats> {
        let mut held = self.managers.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(ManagerStats::new(prefix, &self.registry));
        held.entry(prefix.clone()).or_insert_with(new).clone()
    }

    /// Shows every counter and gauge by its name.
    pub fn visit(&self, show: &mut dyn FnMut(&str, bool, u64)) {
        self.exporters
            .visit(&mut |name, value| show(name, false, value));
        self.logs
            .collectors
            .visit(&mut |name, value| show(name, false, value));
        let (taken, dropped, failed) = self.logs.files.counts();
        show("filesystem.write_buffered", false, taken);
        show("filesystem.write_failed", false, failed);
        // Lines that a full or slow disk cost; Envoy does not count them.
        show("filesystem.write_dropped", false, dropped);
        let count = |value: i64| u64::try_from(value).unwrap_or(0);
        let listeners = self.listeners.lock();
        for (name, stats) in listeners.unwrap_or_else(PoisonError::into_inner).iter() {
            let mut counter = |counter: &str, value: &Counter| {
                show(&format!("listener.{name}.{counter}"), false, value.value());
            };
            let connections = stats.connections.value();
            counter("downstream_cx_total", &stats.connections);
            counter("downstream_global_cx_overflow", &stats.overflows);
            counter("downstream_listener_filter_error", &stats.inspection_errors);
            counter("no_filter_chain_match", &stats.no_chain);
            counter("downstream_pre_cx_timeout", &stats.inspection_timeouts);
            counter("ssl.connection_error", &stats.handshake_failures);
            counter("ssl.handshake", &stats.handshakes);
            counter("ssl.session_reused", &stats.resumptions);
            counter("ssl.no_certificate", &stats.no_certificate);
            counter("ssl.fail_verify_error", &stats.unverified);
            counter("ssl.fail_verify_san", &stats.wrong_names);
            counter(
                "server_ssl_socket_factory.downstream_context_secrets_not_ready",
                &stats.secrets_missing,
            );
            let active = count(stats.active.value());
            show(
                &format!("listener.{name}.downstream_cx_active"),
                true,
                active,
            );
            let over = connections.saturating_sub(active);
            show(
                &format!("listener.{name}.downstream_cx_destroy"),
                false,
                over,
            );
        }
        let managers = self.managers.lock();
        for (prefix, stats) in managers.unwrap_or_else(PoisonError::into_inner).iter() {
            let mut counter = |counter: &str, value: u64| {
                show(&format!("http.{prefix}.downstream_{counter}"), false, value);
            };
            let (connections, requests) = (stats.connections.value(), stats.requests.value());
            let active = count(stats.active.value());
            let connected = count(stats.connected.value());
            counter("cx_total", connections);
            counter("cx_destroy", connections.saturating_sub(connected));
            counter("cx_ssl_total", stats.secure_connections.value());
            counter("cx_protocol_error", stats.protocol_errors.value());
            counter("rq_total", requests);
            counter("rq_completed", requests.saturating_sub(active));
            counter(
                "rq_http1_total",
                requests.saturating_sub(stats.http2_requests.value()),
            );
            counter("rq_http2_total", stats.http2_requests.value());
            counter("rq_overload_close", stats.overloaded.value());
            counter("rq_rx_reset", stats.resets.value());
            counter("rq_idle_timeout", stats.idle.value());
            for (class, value) in stats.by_class.iter().enumerate() {
                counter(&format!("rq_{}xx", class + 1), value.value());
            }
            for (name, value) in [
                ("no_route", &stats.no_route),
                ("no_cluster", &stats.no_cluster),
                ("rq_direct_response", &stats.direct),
                ("rq_total", &stats.routed),
            ] {
                show(&format!("http.{prefix}.{name}"), false, value.value());
            }
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
            show(&format!("http.{prefix}.downstream_rq_active"), true, active);
            show(
                &format!("http.{prefix}.downstream_cx_active"),
                true,
                connected,
            );
        }
    }
}

impl Source for Telling {
    /// Distributions; everything else is shown by [`Telling::visit`].
    fn visit(&self, show: &mut dyn FnMut(&str, Reading<'_>)) {
        let managers = self.managers.lock();
        for (prefix, stats) in managers.unwrap_or_else(PoisonError::into_inner).iter() {
            for (name, histogram) in [
                ("downstream_rq_time", &stats.request_time),
                ("downstream_cx_length_ms", &stats.connection_length),
            ] {
                let snapshot = histogram.snapshot();
                show(
                    &format!("http.{prefix}.{name}"),
                    Reading::Histogram(&snapshot),
                );
            }
        }
    }
}

/// A connection of a manager; counted until it is dropped.
#[derive(Debug)]
pub struct Connected<'a> {
    stats: &'a ManagerStats,
    since: Instant,
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.stats.connected.decrement();
        // Envoy records whole milliseconds.
        let length = self.since.elapsed().as_millis();
        self.stats.connection_length.observe(length as f64);
    }
}

impl Telemetry {
    /// For one connection manager.
    pub fn new(telling: &Telling, plan: &HttpPlan, direction: TrafficDirection) -> Self {
        let stats = telling.manager_stats(&plan.stat_prefix);
        Self {
            tracer: telling.tracer(plan, direction, &stats.tracing),
            denials: telling.denials.clone(),
            stats,
            logs: plan.access_log.clone(),
            security: telling.security.clone(),
        }
    }

    /// A connection arrived.
    pub fn connected(&self, downstream: &Downstream) -> Connected<'_> {
        self.stats.connections.increment();
        self.stats.connected.increment();
        if downstream.tls.is_some() {
            self.stats.secure_connections.increment();
        }
        Connected {
            stats: &self.stats,
            since: downstream.accepted,
        }
    }

    /// A request arrived.
    pub fn arrived(&self) {
        self.stats.requests.increment();
        self.stats.active.increment();
    }

    /// The last of an answer is about to be sent.
    pub fn ending(&self, exchange: &Exchange<Context>) {
        if let Some(security) = &self.security {
            security.answered(exchange);
        }
    }

    /// A request ended.
    pub fn ended(&self, exchange: &Exchange<Context>) {
        let stats = &*self.stats;
        stats.active.decrement();
        self.logs.log(&Facts::of(exchange));
        if let Some(tracer) = &self.tracer {
            tracer.end(exchange);
        }
        if let Some(response) = &exchange.response {
            self.count(response.status);
        }
        if let Some(policy) = &exchange.context.denied_by {
            self.denials.count(policy);
        }
        if exchange.request.version == http::Version::HTTP_2 {
            stats.http2_requests.increment();
        }
        if let Some(took) = exchange.timing.end {
            stats.request_time.observe_milliseconds(took);
        }
        if exchange.upstream.cluster.is_some() {
            stats.routed.increment();
        }
        // Most requests are none of these.
        let events = exchange.events;
        for (event, counter) in [
            (Event::NoRoute, &stats.no_route),
            (Event::NoCluster, &stats.no_cluster),
            (Event::StreamIdle, &stats.idle),
            (Event::ClientGone, &stats.resets),
        ] {
            if events.contains(event) {
                counter.increment();
            }
        }
        if exchange.details == "overload" {
            stats.overloaded.increment();
        }
        // Redirects among them, as in Envoy.
        if exchange.details == "direct_response" {
            stats.direct.increment();
        }
    }

    /// Bytes came that are no request.
    pub fn refused(&self, downstream: &Downstream, refusal: &Refusal, answer: &Answer) {
        self.stats.requests.increment();
        if let Some(security) = &self.security {
            security.unreadable(downstream, answer);
        }
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
