//! What the admin port's pages read of the running proxy, and the levers that they pull.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use carbyne_engine::cluster::EndpointHealth;
use carbyne_engine::cluster::host::Flag;
use carbyne_engine::net::Address as EngineAddress;
use carbyne_engine::observe::exposition::Exposition;
use carbyne_engine::observe::process::Process;
use carbyne_protos::envoy::admin::v3 as wire;
use carbyne_protos::envoy::config::bootstrap::v3::Bootstrap;
use carbyne_protos::envoy::config::core::v3::{self as core, Node};
use carbyne_protos::prost_types::Any;
use prost::{Message, Name};
use tokio::sync::Notify;

use super::certificates::InUse;
use super::discovery::Discovery;
use super::overload::Overload;
use super::telemetry::Telling;
use crate::admin::State;
use crate::admin::loggers::Loggers;
use crate::admin::state::{Configuration, Drain, Entry, Origin, Server, Statistic, Unready};
use crate::cli::{LogLevel, Options};
use crate::observe::stats::Reading;
use crate::plan::Finding;
use crate::wire::xds::{Ads, Resource, ResourceType};

mod counters;

/// The running proxy as the admin port sees it.
#[derive(Debug)]
pub struct Running {
    /// The command line.
    pub options: Options,
    /// Number of workers.
    pub workers: u32,
    /// The bootstrap.
    pub bootstrap: Arc<Bootstrap>,
    /// Who it is.
    pub node: Node,
    /// Clusters, listeners, discovery.
    pub discovery: Discovery,
    /// Counters.
    pub telling: Arc<Telling>,
    /// What is refused while a resource is short.
    pub overload: Arc<Overload>,
    /// When it started.
    pub started: Instant,
    /// The same on the wall clock.
    pub started_time: SystemTime,
    /// Health checks are told to fail.
    pub failing: Cell<bool>,
    /// It drains.
    pub draining: Cell<bool>,
    /// Whether everything that it began with was warm once.
    pub initialized: Cell<bool>,
    /// Told to exit.
    pub quit: Rc<Notify>,
    /// Loggers and their levels.
    pub loggers: Loggers,
}

impl Running {
    /// Where it stands: live once clusters and listeners were answered, or nobody is asked for them, and the first of them are warm.
    pub fn server_state(&self) -> wire::server_info::State {
        if self.failing.get() || self.draining.get() {
            return wire::server_info::State::Draining;
        }
        if self.initialized.get() || self.is_initialized() {
            // What comes later warms without that anybody notices.
            self.initialized.set(true);
            wire::server_info::State::Live
        } else {
            wire::server_info::State::Initializing
        }
    }

    fn is_initialized(&self) -> bool {
        let answered = self.with_ads(|ads| {
            [ResourceType::Cluster, ResourceType::Listener]
                .iter()
                .all(|kind| ads.statistics(*kind).update_success > 0)
        });
        answered.unwrap_or(true)
            && self.discovery.clusters.waiting().is_empty()
            && self.discovery.listeners.waiting().is_empty()
    }

    fn with_ads<T>(&self, read: impl FnOnce(&Ads) -> T) -> Option<T> {
        self.discovery
            .ads
            .borrow()
            .as_ref()
            .map(|ads| read(&ads.borrow()))
    }

    /// The TLS contexts of listeners and clusters.
    fn certificates_in_use(&self) -> InUse {
        let listeners = self.discovery.listeners.shown().into_iter();
        let clusters = self.discovery.clusters.shown().into_iter();
        let mut in_use = InUse::default();
        for shown in listeners {
            let chains = shown.live.chains.iter();
            for tls in chains.filter_map(|chain| chain.tls.as_deref()) {
                in_use.server(tls);
            }
        }
        for shown in clusters {
            for tls in shown.live.plan.tls() {
                in_use.client(tls);
            }
        }
        in_use
    }

    /// What was accepted of a type without being understood, by the resource's name.
    fn findings(&self, resource_type: ResourceType) -> Vec<(Arc<str>, Finding)> {
        match resource_type {
            ResourceType::Cluster => self.discovery.clusters.findings(),
            ResourceType::Listener => self.discovery.listeners.findings(),
            ResourceType::Route => self.discovery.listeners.route_findings(),
            _ => Vec::new(),
        }
    }

    fn entries(&self, resource_type: ResourceType, warming: &[Arc<str>]) -> Vec<Entry> {
        let findings = self.findings(resource_type);
        let entries = self.with_ads(|ads| {
            let entries = ads.resources(resource_type).map(|resource| Entry {
                name: resource.name.clone(),
                origin: if warming.contains(&resource.name) {
                    Origin::Warming
                } else {
                    Origin::Active
                },
                version: resource.version.clone(),
                time: Some(resource.received),
                resource: Some(Any {
                    type_url: resource_type.type_url().to_owned(),
                    value: resource.bytes.to_vec(),
                }),
                failure: ads
                    .failures(resource_type)
                    .find(|(name, _)| **name == resource.name)
                    .map(|(_, failure)| wire::UpdateFailureState {
                        details: failure.reason.clone(),
                        version_info: failure.version.to_string(),
                        last_update_attempt: Some(failure.time.into()),
                        failed_configuration: None,
                    })
                    .or_else(|| not_understood(resource, &findings)),
            });
            entries.collect()
        });
        entries.unwrap_or_default()
    }
}

/// Milliseconds since 1970, as Envoy's gauges of times are.
fn milliseconds(time: SystemTime) -> Option<u64> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
}

/// The name of a cluster in statistics.
fn stat_name(live: &crate::live::clusters::LiveCluster) -> Arc<str> {
    if live.plan.alt_stat_name.is_empty() {
        live.cluster.name().clone()
    } else {
        live.plan.alt_stat_name.clone()
    }
}

impl State for Running {
    fn server(&self) -> Server {
        Server {
            state: self.server_state(),
            uptime: self.started.elapsed(),
            options: self.options.to_message(self.workers),
            node: self.node.clone(),
        }
    }

    fn statistics(&self, show: &mut dyn FnMut(Statistic<'_>)) {
        let registry = &self.telling.registry;
        for shown in self.discovery.clusters.shown() {
            let name = stat_name(&shown.live);
            shown.live.cluster.times().visit(|histogram, snapshot| {
                let name = format!("cluster.{name}.{histogram}");
                registry.show(&name, Reading::Histogram(snapshot), show);
            });
        }
        self.counters(&mut |name, gauge, value| {
            let reading = if gauge {
                Reading::Gauge(value)
            } else {
                Reading::Counter(value)
            };
            registry.show(name, reading, &mut |mut statistic| {
                // A gauge that was set counts as used even at zero: pilot-agent asks for server.state 0.
                statistic.used |= gauge;
                show(statistic);
            });
        });
        registry.visit(show);
    }

    fn exposition(&self) -> String {
        let mut page = Exposition::default();
        let version = env!("CARGO_PKG_VERSION");
        Process::read().write("carbyne-proxy", version, &mut page);
        if let Some(expires) = self.certificates_in_use().first_expires() {
            // Envoy tells whole days, of which Istio's certificates have none.
            page.single(
                "carbyne_certificate_expiration_timestamp_seconds",
                "When the first certificate in use expires.",
                "gauge",
                expires,
            );
        }
        if let Some(security) = &self.telling.security {
            page.append(|text| carbyne_events::metrics::write(&security.status(), text));
        }
        page.into_text()
    }

    fn clusters(&self) -> Vec<wire::ClusterStatus> {
        let shown = self.discovery.clusters.shown().into_iter();
        shown
            .map(|shown| {
                let cluster = &shown.live.cluster;
                let set = cluster.endpoints();
                let assigned = set.hosts().map(host_status);
                let originals = cluster.originals().all();
                wire::ClusterStatus {
                    name: cluster.name().to_string(),
                    added_via_api: !shown.fixed,
                    host_statuses: assigned.chain(originals.iter().map(host_status)).collect(),
                    observability_name: stat_name(&shown.live).to_string(),
                    eds_service_name: shown
                        .live
                        .plan
                        .discovery
                        .as_ref()
                        .map(|source| source.name.to_string())
                        .unwrap_or_default(),
                    ..wire::ClusterStatus::default()
                }
            })
            .collect()
    }

    fn listeners(&self) -> Vec<wire::ListenerStatus> {
        let shown = self.discovery.listeners.shown().into_iter();
        shown
            .map(|shown| {
                let mut addresses = shown.addresses.iter().map(address);
                wire::ListenerStatus {
                    name: shown.live.name.to_string(),
                    local_address: addresses.next(),
                    additional_local_addresses: addresses.collect(),
                }
            })
            .collect()
    }

    fn certificates(&self) -> Vec<wire::Certificate> {
        self.certificates_in_use().describe()
    }

    fn configuration(&self, include_eds: bool) -> Configuration {
        let warming_listeners = self.discovery.listeners.warming();
        let clusters = self.discovery.clusters.shown().into_iter();
        let warming_clusters: Vec<_> = clusters
            .filter(|shown| shown.warming)
            .map(|shown| shown.live.cluster.name().clone())
            .collect();
        let statics = self.bootstrap.static_resources.clone().unwrap_or_default();
        let fixed = |name: &str, any: Any| Entry {
            name: Arc::from(name),
            origin: Origin::Static,
            version: Arc::from(""),
            time: Some(self.started_time),
            resource: Some(any),
            failure: None,
        };
        let mut clusters: Vec<_> = statics
            .clusters
            .iter()
            .map(|message| fixed(&message.name, pack(message)))
            .collect();
        clusters.extend(self.entries(ResourceType::Cluster, &warming_clusters));
        let mut listeners: Vec<_> = statics
            .listeners
            .iter()
            .map(|message| fixed(&message.name, pack(message)))
            .collect();
        listeners.extend(self.entries(ResourceType::Listener, &warming_listeners));
        let version = |kind| {
            self.with_ads(|ads| ads.statistics(kind).version.clone())
                .unwrap_or_default()
        };
        let mut secrets = self.entries(ResourceType::Secret, &[]);
        for machine in self.discovery.secrets.borrow().values() {
            let machine = machine.borrow();
            secrets.extend(
                machine
                    .resources(ResourceType::Secret)
                    .map(|resource| Entry {
                        name: resource.name.clone(),
                        origin: Origin::Active,
                        version: resource.version.clone(),
                        time: Some(resource.received),
                        resource: Some(Any {
                            type_url: ResourceType::Secret.type_url().to_owned(),
                            value: resource.bytes.to_vec(),
                        }),
                        failure: None,
                    }),
            );
        }
        Configuration {
            bootstrap: self.bootstrap.clone(),
            bootstrap_time: Some(self.started_time),
            clusters_version: version(ResourceType::Cluster),
            listeners_version: version(ResourceType::Listener),
            clusters,
            endpoints: if include_eds {
                self.entries(ResourceType::Endpoint, &[])
            } else {
                Vec::new()
            },
            extensions: self.entries(ResourceType::Extension, &[]),
            listeners,
            routes: self.entries(ResourceType::Route, &[]),
            secrets,
        }
    }

    fn unready(&self) -> Vec<Unready> {
        let unready = |kind: &str, (name, targets): (Arc<str>, Vec<String>)| Unready {
            name: format!("{kind} {name}"),
            targets,
        };
        let clusters = self.discovery.clusters.waiting().into_iter();
        let listeners = self.discovery.listeners.waiting().into_iter();
        clusters
            .map(|waiting| unready("cluster", waiting))
            .chain(listeners.map(|waiting| unready("listener", waiting)))
            .collect()
    }

    fn loggers(&self) -> Vec<(&'static str, LogLevel)> {
        self.loggers.levels()
    }

    fn set_log_level(&self, logger: Option<&str>, level: LogLevel) {
        self.loggers.set(logger, level);
    }

    fn drain_listeners(&self, drain: Drain) {
        self.discovery.listeners.drain(drain.inbound_only);
        if drain.skip_exit {
            return;
        }
        let listeners = self.discovery.listeners.clone();
        let wait = if drain.graceful {
            self.options.drain_time()
        } else {
            Duration::ZERO
        };
        tokio::task::spawn_local(async move {
            tokio::time::sleep(wait).await;
            listeners.close_drained();
        });
    }

    fn fail_health_checks(&self, fail: bool) {
        self.failing.set(fail);
    }

    fn reset_counters(&self) {
        self.telling.registry.reset(|note| {
            self.counters(&mut |name, gauge, value| {
                if !gauge {
                    note(name, value);
                }
            });
        });
    }

    fn reopen_logs(&self) {
        self.telling.reopen_logs();
    }

    fn quit(&self) {
        self.quit.notify_one();
    }
}

/// A resource that was accepted although something of it is not served: shown where its owner looks for errors.
fn not_understood(
    resource: &Resource,
    findings: &[(Arc<str>, Finding)],
) -> Option<wire::UpdateFailureState> {
    let own = findings.iter().filter(|(name, _)| *name == resource.name);
    let texts: Vec<_> = own.map(|(_, finding)| finding.to_string()).collect();
    (!texts.is_empty()).then(|| wire::UpdateFailureState {
        details: format!(
            "accepted, but not all of it is served: {}",
            texts.join("; ")
        ),
        version_info: resource.version.to_string(),
        last_update_attempt: Some(resource.received.into()),
        failed_configuration: None,
    })
}

fn pack<M: Message + Name>(message: &M) -> Any {
    Any {
        type_url: M::type_url(),
        value: message.encode_to_vec(),
    }
}

fn address(address: &EngineAddress) -> core::Address {
    use core::address::Address;
    use core::socket_address::PortSpecifier;
    core::Address {
        address: Some(match address {
            EngineAddress::Tcp(socket) => Address::SocketAddress(core::SocketAddress {
                address: socket.ip().to_string(),
                port_specifier: Some(PortSpecifier::PortValue(socket.port().into())),
                ..core::SocketAddress::default()
            }),
            EngineAddress::Unix(path) => Address::Pipe(core::Pipe {
                path: path.display().to_string(),
                mode: 0,
            }),
        }),
    }
}

fn host_status(host: &Arc<carbyne_engine::cluster::Host>) -> wire::HostStatus {
    let simple = |name: &str, value: u64, gauge: bool| wire::SimpleMetric {
        name: name.to_owned(),
        value,
        r#type: i32::from(gauge),
    };
    let stats = &host.stats;
    wire::HostStatus {
        address: Some(address(&host.address)),
        stats: vec![
            simple("cx_connect_fail", stats.cx_connect_fail.value(), false),
            simple("cx_total", stats.cx_total.value(), false),
            simple("rq_error", stats.rq_error.value(), false),
            simple("rq_success", stats.rq_success.value(), false),
            simple("rq_timeout", stats.rq_timeout.value(), false),
            simple("rq_total", stats.rq_total.value(), false),
            simple("cx_active", stats.cx_active.value(), true),
            simple("rq_active", u64::from(stats.rq_active()), true),
        ],
        health_status: Some(wire::HostHealthStatus {
            failed_active_health_check: host.has(Flag::FailedActiveCheck),
            failed_outlier_check: host.has(Flag::Ejected),
            failed_active_degraded_check: host.has(Flag::DegradedActiveCheck),
            pending_dynamic_removal: host.has(Flag::PendingRemoval),
            pending_active_hc: host.has(Flag::PendingFirstCheck),
            active_hc_timeout: host.has(Flag::ActiveCheckTimeout),
            excluded_via_immediate_hc_fail: host.has(Flag::Excluded),
            // What the control plane says, not what came of it here.
            eds_health_status: match host.assigned_health {
                EndpointHealth::Healthy => core::HealthStatus::Healthy,
                EndpointHealth::Degraded => core::HealthStatus::Degraded,
                EndpointHealth::Draining => core::HealthStatus::Draining,
                EndpointHealth::Unhealthy | EndpointHealth::Timeout => {
                    core::HealthStatus::Unhealthy
                }
            } as i32,
            ..wire::HostHealthStatus::default()
        }),
        weight: host.weight,
        hostname: host.hostname.to_string(),
        priority: host.priority.into(),
        locality: Some(core::Locality {
            region: host.locality.region.to_string(),
            zone: host.locality.zone.to_string(),
            sub_zone: host.locality.sub_zone.to_string(),
        }),
        ..wire::HostStatus::default()
    }
}
