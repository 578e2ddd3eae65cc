//! From the command line to the end of the process.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use carbyne_engine::runtime::{Worker, Workers, budget};
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
use super::state::Running;
use super::telemetry::Telling;
use crate::admin::loggers::{LogError, Loggers};
use crate::cli::{Mode, Options};
use crate::plan::Environment;
use crate::plan::error::Rejection;
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
    if errors.is_empty() {
        Ok(())
    } else {
        Err(RunError::Resources(errors))
    }
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
    let environment = Environment::default();
    let telling = Telling::new(&options, &message, environment.clone())
        .map_err(|error| RunError::Resources(vec![format!("stats_config.{error}")]))?;
    let compiler = Compiler {
        environment: environment.clone(),
        telling: telling.clone(),
    };
    let collectors = environment.clusters.clone();
    let clusters = Rc::new(ClusterManager::new(environment.clone()));
    let listeners = ListenerManager::new(
        environment.clone(),
        workers.clone(),
        compiler,
        options.drain_time(),
    );
    let node = bootstrap::node(&message);
    // As Envoy dumps it, with the version that istioctl prints.
    message.node = Some(node.clone());
    let discovery = Discovery {
        environment,
        clusters,
        listeners: Rc::new(listeners),
        ads: Rc::default(),
        secrets: Rc::default(),
        node: node.clone(),
    };
    let mut errors = Vec::new();
    let statics = message.static_resources.clone().unwrap_or_default();
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
        started: Instant::now(),
        started_time: SystemTime::now(),
        failing: Cell::new(false),
        draining: Cell::new(false),
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
    let batcher = running.telling.batcher.clone();
    let (teller, told) = (batcher.clone(), collectors.clone());
    let sender = worker.clone();
    tokio::task::spawn_local(async move { teller.run(sender, told).await });
    let mut signals = Signals::new()?;
    discovery.start(&worker, source.as_ref());
    signals.wait(&running).await;
    finish(&running, &mut signals).await;
    batcher.flush(&worker, &collectors, LAST_WORDS).await;
    running.telling.close();
    Ok(())
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

/// How often the end looks whether it has come.
const FINISH_INTERVAL: Duration = Duration::from_millis(10);
/// How long spans that wait may take to reach their collectors at the end: pilot-agent ends us after five seconds.
const LAST_WORDS: Duration = Duration::from_secs(1);
