//! From the command line to the end of the process.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use carbyne_engine::observe::log::LogSettings;
use carbyne_engine::runtime::{Worker, Workers, budget};
use carbyne_events::event::system_health::State;
use carbyne_events::source::{Health, Program, Source, SourceError};
use carbyne_protos::envoy::config::bootstrap::v3::Bootstrap;
use carbyne_protos::envoy::config::core::v3::address::Address;
use carbyne_protos::envoy::config::core::v3::socket_address::PortSpecifier;
use rustix::process::{Resource, getrlimit};
use tokio::net::TcpListener;
use tokio::runtime::{LocalOptions, LocalRuntime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use super::admin;
use super::clusters::ClusterManager;
use super::compile::Compiler;
use super::discovery::Discovery;
use super::listeners::ListenerManager;
use super::overload::Overload;
use super::state::Running;
use super::telemetry::Telling;
use crate::admin::loggers::{LogError, Loggers};
use crate::cli::{Mode, Options};
use crate::observe::access_log::{Collectors, LogFiles, LogSinks};
use crate::observe::export::Batcher;
use crate::observe::peer::LocalNode;
use crate::observe::security::Security;
use crate::plan::Environment;
use crate::plan::error::Rejection;
use crate::plan::overload::{self, OverloadPlan};
use crate::wire::bootstrap;

/// Why the proxy did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The bootstrap cannot be read.
    #[error(transparent)]
    Bootstrap(#[from] bootstrap::LoadError),
    /// Resources of the bootstrap cannot be used.
    #[error("{}", .0.join("\n"))]
    Resources(Vec<String>),
    /// The admin port cannot be bound.
    #[error("admin.address: cannot listen on {address}: {source}")]
    Admin {
        /// The address.
        address: String,
        /// The system's words.
        source: io::Error,
    },
    /// The program's own log cannot be written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Events were asked for and cannot be emitted.
    #[error(transparent)]
    Events(#[from] SourceError),
    /// Threads or runtimes cannot be started.
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
}

/// Runs the proxy until it is told to end.
pub fn run(options: Options) -> Result<(), RunError> {
    let loggers = Loggers::install(&options)?;
    for flag in &options.unknown {
        tracing::warn!(flag, "unknown flag ignored");
    }
    let loaded = bootstrap::load(&options.bootstrap())?;
    for path in &loaded.ignored {
        tracing::warn!(path, "unknown field of the bootstrap ignored");
    }
    let concurrency = options
        .concurrency
        .filter(|count| *count > 0)
        .map_or_else(available, |count| count as usize);
    // Everything is planned before a port is bound or a thread started.
    check(&loaded.message)?;
    if options.mode == Mode::Validate {
        return Ok(());
    }
    let workers = Arc::new(Workers::start(concurrency)?);
    let runtime: LocalRuntime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    runtime.block_on(serve(options, loaded.message, workers, loggers))
}

/// Plans every resource of the bootstrap; all errors at once.
pub(crate) fn check(message: &Bootstrap) -> Result<(), RunError> {
    let environment = Environment::default();
    let mut errors = Vec::new();
    let statics = message.static_resources.clone().unwrap_or_default();
    for (index, cluster) in statics.clusters.iter().enumerate() {
        let planned = environment.plan_message(cluster, crate::plan::cluster::plan);
        collect(&mut errors, "clusters", index, planned.err());
    }
    for (index, listener) in statics.listeners.iter().enumerate() {
        let planned = environment.plan_message(listener, crate::plan::listener::plan);
        collect(&mut errors, "listeners", index, planned.err());
    }
    for (index, secret) in statics.secrets.iter().enumerate() {
        let planned = environment.plan_message(secret, crate::plan::secret::plan);
        collect(&mut errors, "secrets", index, planned.err());
    }
    if let Err(RunError::Resources(found)) = overload_plan(message, &environment) {
        errors.extend(found);
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(RunError::Resources(errors))
    }
}

/// What the bootstrap says about resources that run short.
fn overload_plan(message: &Bootstrap, environment: &Environment) -> Result<OverloadPlan, RunError> {
    let Some(manager) = &message.overload_manager else {
        return Ok(OverloadPlan::default());
    };
    let planned = environment.plan_message(manager, overload::plan);
    let planned = planned.map_err(|rejection| {
        let errors = rejection.errors.iter();
        RunError::Resources(
            errors
                .map(|error| format!("overload_manager.{error}"))
                .collect(),
        )
    })?;
    for finding in planned.findings {
        tracing::warn!(%finding, "overload_manager");
    }
    Ok(planned.plan)
}

fn collect(errors: &mut Vec<String>, field: &str, index: usize, rejection: Option<Rejection>) {
    for error in rejection.into_iter().flat_map(|rejection| rejection.errors) {
        errors.push(format!("static_resources.{field}[{index}].{error}"));
    }
}

async fn serve(
    options: Options,
    mut message: Bootstrap,
    workers: Arc<Workers>,
    loggers: Loggers,
) -> Result<(), RunError> {
    let worker = Worker::new(None);
    let own = message.node.clone().unwrap_or_default();
    let batcher = Arc::new(Batcher::new());
    let environment = Environment {
        node: Arc::new(LocalNode::new(&own, &[])),
        logs: Some(Arc::new(LogSinks {
            files: LogFiles::new(LogSettings {
                flush_interval: options.file_flush_interval(),
                flush_size: options.file_flush_min_size_kb as usize * 1024,
                ..LogSettings::default()
            }),
            collectors: Collectors::new(batcher.clone(), own),
        })),
        ..Environment::default()
    };
    let events = Source::open(PROGRAM, |name| std::env::var(name).ok())?;
    let security = events.clone().map(Security::new);
    let telling = Telling::new(&options, &message, &environment, batcher, security)
        .map_err(|error| RunError::Resources(vec![format!("stats_config.{error}")]))?;
    let overload = Overload::new(overload_plan(&message, &environment)?);
    let compiler = Compiler {
        environment: environment.clone(),
        telling: telling.clone(),
        overload: overload.clone(),
    };
    telling.registry.register(&telling);
    let collectors = environment.clusters.clone();
    let clusters = Rc::new(ClusterManager::new(environment.clone()));
    let listeners = ListenerManager::new(
        environment.clone(),
        worker.clone(),
        workers.clone(),
        compiler,
        options.drain_time(),
    );
    let node = bootstrap::node(&message);
    let statics = message.static_resources.clone().unwrap_or_default();
    // As Envoy dumps it, with the version that istioctl prints.
    message.node = Some(node.clone());
    let discovery = Discovery {
        environment,
        clusters,
        listeners: Rc::new(listeners),
        ads: Rc::default(),
        secrets: Rc::default(),
        node: node.clone(),
        statics: Rc::from(statics.secrets.clone()),
        changed: Rc::default(),
    };
    let mut errors = Vec::new();
    for (index, cluster) in statics.clusters.iter().enumerate() {
        let added = discovery.clusters.add_static(cluster);
        collect(&mut errors, "clusters", index, added.err());
    }
    for (index, listener) in statics.listeners.iter().enumerate() {
        let added = discovery.listeners.add_static(listener);
        collect(&mut errors, "listeners", index, added.err());
    }
    if !errors.is_empty() {
        return Err(RunError::Resources(errors));
    }
    let quit = Rc::new(Notify::new());
    let source = bootstrap::ads_source(&message);
    let admin_address = admin_address(&message);
    let running = Rc::new(Running {
        workers: u32::try_from(workers.count()).unwrap_or(u32::MAX),
        bootstrap: Arc::new(message),
        node,
        discovery: discovery.clone(),
        telling,
        overload: overload.clone(),
        started: Instant::now(),
        started_time: SystemTime::now(),
        failing: Cell::new(false),
        draining: Cell::new(false),
        initialized: Cell::new(false),
        quit: quit.clone(),
        loggers,
        options,
    });
    if let Some(address) = admin_address {
        let listener = TcpListener::bind(&address)
            .await
            .map_err(|source| RunError::Admin { address, source })?;
        if let (Some(path), Ok(bound)) =
            (&running.options.admin_address_path, listener.local_addr())
        {
            std::fs::write(path, bound.to_string())?;
        }
        tokio::task::spawn_local(admin::serve(listener, worker.clone(), running.clone()));
    }
    budget::limit_connections(connection_limit());
    tokio::task::spawn_local(overload.clone().watch());
    let batcher = running.telling.batcher.clone();
    let (teller, told) = (batcher.clone(), collectors.clone());
    let sender = worker.clone();
    tokio::task::spawn_local(async move { teller.run(sender, told).await });
    let mut signals = Signals::new()?;
    discovery.start(&worker, source.as_ref());
    if let Some(events) = events.clone() {
        tokio::task::spawn_local(tell_health(events, running.clone()));
    }
    signals.wait(&running).await;
    if let Some(events) = &events {
        events.health(State::Draining, &health(&running));
    }
    finish(&running, &mut signals).await;
    batcher.flush(&worker, &collectors, LAST_WORDS).await;
    if let Some(events) = &events {
        // Those who do not answer within the time hold back no more than a count.
        let (done, mut all) = tokio::sync::mpsc::unbounded_channel();
        workers.on_each(move |_| {
            Security::finish();
            done.send(()).ok();
        });
        let all = async { while all.recv().await.is_some() {} };
        tokio::time::timeout(LAST_WORDS, all).await.ok();
        events.health(State::Stopped, &Health::default());
        events.close();
    }
    running.telling.close();
    Ok(())
}

/// Tells how the process is: when that changes, and now and then.
async fn tell_health(events: Arc<Source>, running: Rc<Running>) {
    let mut told = None;
    let mut since = Instant::now();
    loop {
        let state = match (running.initialized.get(), running.failing.get()) {
            (_, true) => State::Degraded,
            (true, false) => State::Ready,
            (false, false) => State::Starting,
        };
        if running.draining.get() {
            return;
        }
        if told != Some(state) || since.elapsed() >= HEALTH_INTERVAL {
            events.health(state, &health(&running));
            (told, since) = (Some(state), Instant::now());
        }
        tokio::time::sleep(HEALTH_LOOK).await;
    }
}

fn health(running: &Running) -> Health<'static> {
    let connections = running.telling.active_connections();
    Health {
        workers: Some(running.workers),
        connections: Some(u64::try_from(connections).unwrap_or(0)),
        ..Health::default()
    }
}

/// Stops accepting and lets what was begun come to its end: for the drain time at most, or until it is told again.
async fn finish(running: &Running, signals: &mut Signals) {
    running.draining.set(true);
    running.discovery.listeners.end();
    let finished = async {
        while budget::arrivals() > 0 || running.telling.active_connections() > 0 {
            tokio::time::sleep(FINISH_INTERVAL).await;
        }
    };
    let limit = tokio::time::sleep(running.options.drain_time());
    tokio::select! {
        () = finished => {}
        () = limit => tracing::warn!("ends although connections are open: the drain time is over"),
        () = signals.wait(running) => tracing::warn!("ends although connections are open: told again"),
    }
}

/// What the system tells the process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reopen: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reopen: signal(SignalKind::user_defined1())?,
        })
    }

    /// Waits for a signal to end, or for the admin port to be told to quit.
    async fn wait(&mut self, running: &Running) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                () = running.quit.notified() => return,
                // As after a rotation of logs.
                _ = self.reopen.recv() => running.telling.reopen_logs(),
            }
        }
    }
}

/// Nine tenths of the file descriptors that the process may have, without those that it has already: the rest is for
/// logs, the control plane and connections to hosts.
fn connection_limit() -> usize {
    let Some(limit) = getrlimit(Resource::Nofile).current else {
        return usize::MAX;
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    (limit - limit / 10).saturating_sub(open).max(1)
}

/// The admin port's address.
fn admin_address(message: &Bootstrap) -> Option<String> {
    let address = message.admin.as_ref()?.address.as_ref()?.address.as_ref()?;
    let Address::SocketAddress(socket) = address else {
        return None;
    };
    let Some(PortSpecifier::PortValue(port)) = socket.port_specifier else {
        return None;
    };
    let ip = socket.address.parse().ok()?;
    Some(SocketAddr::new(ip, u16::try_from(port).ok()?).to_string())
}

/// As many workers as the control group lets run at once, rounded up.
fn available() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Who the process is in events.
const PROGRAM: Program = Program {
    component: "carbyne-proxy",
    role: "proxy",
    version: env!("CARGO_PKG_VERSION"),
    ships: false,
};
/// How often it is told how the process is, where that does not change.
const HEALTH_INTERVAL: Duration = Duration::from_secs(60);
/// How often that is looked at.
const HEALTH_LOOK: Duration = Duration::from_secs(1);
/// How often the end looks whether it has come.
const FINISH_INTERVAL: Duration = Duration::from_millis(10);
/// How long spans that wait may take to reach their collectors at the end: pilot-agent ends us after five seconds.
const LAST_WORDS: Duration = Duration::from_secs(1);
