//! What a scrape reads: Kong's metrics in the text format, in the order of Kong, which is that of the alphabet.

use std::fmt::Display;
use std::sync::Arc;

use carbyne_engine::observe::exposition::{Exposition, Label};
use carbyne_engine::observe::process::Process;

use super::series::{Histogram, KONG, Labels, REQUEST, RouteSeries, Shared, UPSTREAM};
use crate::error::KONG_VERSION;
use crate::shipping::Watch;

/// What is known of the node beside its routes.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub node_id: String,
    pub store_is_reachable: bool,
    pub connections: Connections,
    /// What the process takes of the machine.
    pub process: Process,
    /// Names, bytes in use and bytes at most of what is kept within bounds.
    pub memory: Vec<(&'static str, u64, u64)>,
    /// Health of targets, where some instance asks for it.
    pub targets: Vec<TargetHealth>,
    /// How it goes with events, where they are emitted.
    pub events: Option<carbyne_events::emit::Status>,
    /// How it goes with shipping them, where the node does.
    pub shipping: Option<Watch>,
}

/// Connections and requests as nginx counts them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Connections {
    pub accepted: u64,
    pub active: u64,
    pub requests: u64,
    /// Requests that are being answered.
    pub writing: u64,
}

/// The health of one address of a target.
#[derive(Clone, Debug)]
pub struct TargetHealth {
    pub upstream: String,
    pub target: String,
    /// Empty where the target has none.
    pub address: String,
    /// One of [`STATES`].
    pub state: &'static str,
}

/// Of these a target's address has one.
pub const STATES: [&str; 4] = ["healthchecks_off", "healthy", "unhealthy", "dns_error"];

/// Kong's one workspace.
const WORKSPACE: &str = "default";

/// Words everything; what Kong does not have comes last, under names of our own.
pub fn write(shared: &Shared, facts: &Facts) -> String {
    let mut text = Text(Exposition::with_capacity(8 * 1024));
    // As Kong: while no instance counts, what was counted before is not shown.
    let routes = if shared.is_enabled() {
        shared.routes()
    } else {
        Vec::new()
    };
    text.bandwidth(&routes);
    let name = "kong_datastore_reachable";
    let help = "Datastore reachable from Kong, 0 is unreachable";
    text.head(name, help, "gauge");
    text.line(name, &[], u64::from(facts.store_is_reachable));
    text.requests(&routes);
    text.histogram(&KONG, &routes);
    text.node(shared, facts);
    text.histogram(&REQUEST, &routes);
    text.histogram(&UPSTREAM, &routes);
    text.targets(&facts.targets);
    let version = env!("CARGO_PKG_VERSION");
    facts.process.write("carbyne-gateway", version, &mut text.0);
    if let Some(events) = &facts.events {
        text.0
            .append(|page| carbyne_events::metrics::write(events, page));
    }
    if let Some(shipping) = &facts.shipping {
        text.0.append(|page| shipping.metrics(page));
    }
    text.0.into_text()
}

struct Text(Exposition);

type Routes = [(Labels, Arc<RouteSeries>)];

impl Text {
    fn head(&mut self, name: &str, help: &str, kind: &str) {
        self.0.head(name, help, kind);
    }

    fn line(&mut self, name: &str, labels: &[Label<'_>], value: impl Display) {
        self.0.line(name, labels, value);
    }

    fn bandwidth(&mut self, routes: &Routes) {
        let name = "kong_bandwidth_bytes";
        let mut told = false;
        for (labels, series) in routes {
            for (direction, of) in [("egress", 1), ("ingress", 0)] {
                series.traffic(|consumer, traffic| {
                    let Some(bytes) = traffic.bytes().map(|bytes| [bytes.0, bytes.1][of]) else {
                        return;
                    };
                    if bytes == 0 {
                        return;
                    }
                    if !std::mem::replace(&mut told, true) {
                        let help = "Total bandwidth (ingress/egress) throughput in bytes";
                        self.head(name, help, "counter");
                    }
                    let labels = [
                        ("service", &*labels.service),
                        ("route", &labels.route),
                        ("direction", direction),
                        ("workspace", WORKSPACE),
                        ("consumer", consumer),
                    ];
                    self.line(name, &labels, bytes);
                });
            }
        }
    }

    fn requests(&mut self, routes: &Routes) {
        let name = "kong_http_requests_total";
        let mut told = false;
        for (labels, series) in routes {
            series.traffic(|consumer, traffic| {
                for code in traffic.codes() {
                    if !std::mem::replace(&mut told, true) {
                        let help = "HTTP status codes per consumer/service/route in Kong";
                        self.head(name, help, "counter");
                    }
                    let status = code.status.to_string();
                    let labels = [
                        ("service", &*labels.service),
                        ("route", &labels.route),
                        ("code", &status),
                        ("source", if code.by_service { "service" } else { "kong" }),
                        ("workspace", WORKSPACE),
                        ("consumer", consumer),
                    ];
                    self.line(name, &labels, code.count.value());
                }
            });
        }
    }

    fn histogram(&mut self, histogram: &Histogram, routes: &Routes) {
        let counted = routes.iter().filter_map(|(labels, series)| {
            let (counts, sum) = histogram.read(series.latencies()?);
            let all: u64 = counts.iter().sum();
            (all > 0).then_some((labels, counts, all, sum))
        });
        let counted: Vec<_> = counted.collect();
        if counted.is_empty() {
            return;
        }
        self.head(histogram.name, histogram.help, "histogram");
        for (of, counts, all, _) in &counted {
            let name = format!("{}_bucket", histogram.name);
            let mut below = 0;
            for (bound, count) in histogram.bounds.iter().zip(counts) {
                below += count;
                let bound = bound.to_string();
                let [service, route, workspace] = labels_of(of);
                self.line(&name, &[service, route, workspace, ("le", &bound)], below);
            }
            let [service, route, workspace] = labels_of(of);
            self.line(&name, &[service, route, workspace, ("le", "+Inf")], all);
        }
        for (of, _, all, _) in &counted {
            self.line(&format!("{}_count", histogram.name), &labels_of(of), all);
        }
        for (of, _, _, sum) in &counted {
            self.line(&format!("{}_sum", histogram.name), &labels_of(of), sum);
        }
    }

    fn node(&mut self, shared: &Shared, facts: &Facts) {
        let id = ("node_id", facts.node_id.as_str());
        let http = ("kong_subsystem", "http");
        let name = "kong_memory_lua_shared_dict_bytes";
        self.head(name, "Allocated slabs in bytes in a shared_dict", "gauge");
        for (dict, used, _) in &facts.memory {
            self.line(name, &[id, ("shared_dict", dict), http], used);
        }
        let name = "kong_memory_lua_shared_dict_total_bytes";
        let help = "Total capacity in bytes of a shared_dict";
        self.head(name, help, "gauge");
        for (dict, _, most) in &facts.memory {
            self.line(name, &[id, ("shared_dict", dict), http], most);
        }
        let name = "kong_memory_workers_lua_vms_bytes";
        self.head(name, "Allocated bytes in worker Lua VM", "gauge");
        let pid = std::process::id().to_string();
        self.line(name, &[id, ("pid", &pid), http], facts.process.resident);
        self.connections(id, &facts.connections);
        if shared.is_enabled() {
            let name = "kong_nginx_metric_errors_total";
            let help = "Number of nginx-lua-prometheus errors";
            self.head(name, help, "counter");
            self.line(name, &[], shared.errors());
        }
        let http = ("subsystem", "http");
        let name = "kong_nginx_requests_total";
        self.head(name, "Number of requests total", "gauge");
        self.line(name, &[id, http], facts.connections.requests);
        let name = "kong_nginx_timers";
        self.head(name, "Number of nginx timers", "gauge");
        for state in ["pending", "running"] {
            self.line(name, &[("state", state)], 0);
        }
        let name = "kong_node_info";
        self.head(name, "Kong Node metadata information", "gauge");
        self.line(name, &[id, ("version", KONG_VERSION)], 1);
    }

    fn connections(&mut self, id: Label<'_>, connections: &Connections) {
        let name = "kong_nginx_connections_total";
        self.head(name, "Number of connections by subsystem", "gauge");
        let Connections {
            accepted,
            active,
            requests,
            writing,
        } = *connections;
        for (state, value) in [
            ("accepted", accepted),
            ("active", active),
            ("handled", accepted),
            ("reading", 0),
            ("total", requests),
            ("waiting", active.saturating_sub(writing)),
            ("writing", writing),
        ] {
            self.line(name, &[id, ("subsystem", "http"), ("state", state)], value);
        }
    }

    fn targets(&mut self, targets: &[TargetHealth]) {
        if targets.is_empty() {
            return;
        }
        let name = "kong_upstream_target_health";
        let help = "Health status of targets of upstream. States = healthchecks_off|healthy|unhealthy|dns_error, value is 1 when state is populated.";
        self.head(name, help, "gauge");
        for target in targets {
            for state in STATES {
                let labels = [
                    ("upstream", &*target.upstream),
                    ("target", &target.target),
                    ("address", &target.address),
                    ("state", state),
                    ("subsystem", "http"),
                ];
                self.line(name, &labels, u64::from(state == target.state));
            }
        }
    }
}

fn labels_of(labels: &Labels) -> [Label<'_>; 3] {
    [
        ("service", &labels.service),
        ("route", &labels.route),
        ("workspace", WORKSPACE),
    ]
}
