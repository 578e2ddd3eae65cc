//! What the admin port reads and which actions it may take; the server implements it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use carbyne_protos::envoy::admin::v3::{
    Certificate, ClusterStatus, CommandLineOptions, ListenerStatus, UpdateFailureState, server_info,
};
use carbyne_protos::envoy::config::bootstrap::v3::Bootstrap;
use carbyne_protos::envoy::config::core::v3::Node;
use carbyne_protos::prost_types::Any;

use crate::cli::LogLevel;

use super::histogram::Distribution;

/// The readable state of a running proxy and its levers.
pub trait State {
    /// Where the server stands.
    fn server(&self) -> Server;

    /// Shows every statistic, in any order.
    fn statistics(&self, show: &mut dyn FnMut(Statistic<'_>));

    /// Metrics of our own that are no statistics of Envoy's kind, in Prometheus' text format.
    fn exposition(&self) -> String;

    /// All clusters, with their endpoints as far as `EndpointsConfigDump` does not tell more.
    fn clusters(&self) -> Vec<ClusterStatus>;

    /// All active listeners with the addresses that they are bound to.
    fn listeners(&self) -> Vec<ListenerStatus>;

    /// Certificates in use, one entry per TLS context; `certs` makes them from PEM.
    fn certificates(&self) -> Vec<Certificate>;

    /// What was configured, for `/config_dump`. Endpoints only where `include_eds`.
    fn configuration(&self, include_eds: bool) -> Configuration;

    /// What initialisation waits for.
    fn unready(&self) -> Vec<Unready>;

    /// The names of the loggers and their levels, in the order to list them.
    fn loggers(&self) -> Vec<(&'static str, LogLevel)>;

    /// Sets the level of one logger of [`State::loggers`], or of all.
    fn set_log_level(&self, logger: Option<&str>, level: LogLevel);

    /// Begins to drain listeners.
    fn drain_listeners(&self, drain: Drain);

    /// Makes `/ready` and health-check filters fail, or not any more.
    fn fail_health_checks(&self, fail: bool);

    /// Sets all counters to zero.
    fn reset_counters(&self);

    /// Opens log files anew.
    fn reopen_logs(&self);

    /// Exits soon; the answer to the request still goes out.
    fn quit(&self);
}

/// Where the server stands.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its state.
    pub state: server_info::State,
    /// How long it runs.
    pub uptime: Duration,
    /// Its command line.
    pub options: CommandLineOptions,
    /// Who it is.
    pub node: Node,
}

/// What `POST /drain_listeners` asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Drain {
    /// Listeners stay open during the drain time, while connections are told to end.
    pub graceful: bool,
    /// Listeners are never closed.
    pub skip_exit: bool,
    /// Only listeners for inbound traffic.
    pub inbound_only: bool,
}

/// One statistic.
#[derive(Clone, Copy, Debug)]
pub struct Statistic<'a> {
    /// Its whole name, such as `cluster.xds-grpc;.upstream_cx_total`.
    pub name: &'a str,
    /// The name without what the tags took out, such as `cluster.upstream_cx_total`.
    pub tag_extracted_name: &'a str,
    /// Tags: names and values, for Prometheus' labels.
    pub tags: &'a [(&'a str, &'a str)],
    /// What it says.
    pub value: StatisticValue<'a>,
    /// Whether it was changed since the start (`usedonly`).
    pub used: bool,
}

/// What a statistic says.
#[derive(Clone, Copy, Debug)]
pub enum StatisticValue<'a> {
    /// How often something happened.
    Counter(u64),
    /// How much there is of something.
    Gauge(u64),
    /// A text.
    Text(&'a str),
    /// How often something had which size.
    Histogram(&'a Distribution),
}

/// What `/config_dump` prints.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    /// The bootstrap with everything merged into it.
    pub bootstrap: Arc<Bootstrap>,
    /// When it was loaded.
    pub bootstrap_time: Option<SystemTime>,
    /// The newest version of the clusters that was applied.
    pub clusters_version: Arc<str>,
    /// The newest version of the listeners that was applied.
    pub listeners_version: Arc<str>,
    /// Clusters.
    pub clusters: Vec<Entry>,
    /// `ClusterLoadAssignment`s of all clusters.
    pub endpoints: Vec<Entry>,
    /// Filter configurations.
    pub extensions: Vec<Entry>,
    /// Listeners; one entry for every state that one of that name is in.
    pub listeners: Vec<Entry>,
    /// Route configurations, inline ones as [`Origin::Static`].
    pub routes: Vec<Entry>,
    /// Secrets, with their content: the page redacts them.
    pub secrets: Vec<Entry>,
}

/// One resource of [`Configuration`].
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name.
    pub name: Arc<str>,
    /// Where it came from.
    pub origin: Origin,
    /// The version in which it came; empty for a static one.
    pub version: Arc<str>,
    /// When it was applied.
    pub time: Option<SystemTime>,
    /// The resource as it came; none where no version was ever accepted.
    pub resource: Option<Any>,
    /// The newest version, where that was refused.
    pub failure: Option<UpdateFailureState>,
}

/// Where a resource came from, and what became of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// From the bootstrap, or inside another resource.
    Static,
    /// From the control plane, in use.
    Active,
    /// From the control plane, waiting for what it needs.
    Warming,
    /// From the control plane, finishing its connections.
    Draining,
}

/// Something that initialisation waits for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unready {
    /// Who waits, such as `listener virtualInbound`.
    pub name: String,
    /// For what, such as `secret default`.
    pub targets: Vec<String>,
}
