//! The process that serves: workers with the proxy's addresses, and the Admin API on the control runtime.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use carbyne_engine::net::Address;
use carbyne_engine::net::listen::ListenOptions;
use carbyne_engine::observe::log::{LogFile, LogSettings};
use carbyne_engine::runtime::{Drain, Listening, Worker, Workers, budget};
use tokio::net::TcpListener;
use tokio::runtime::{LocalOptions, LocalRuntime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::admin::Admin;
use crate::conf::Conf;
use crate::declarative::{Document, Loaded};
use crate::entity::Entities;
use crate::live::local::Local;
use crate::live::update::Updater;
use crate::node::Node;
use crate::proxy::access_log::AccessLog;
use crate::proxy::listener::{Connections, Entrance, serve_settings};
use crate::proxy::settings::Settings;
use crate::schema::uuid;
use crate::store::{Embedded, Store};

mod certificates;

/// Why the gateway did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("{0}")]
    Configuration(String),
    #[error("{what}: {source}")]
    System {
        what: String,
        source: std::io::Error,
    },
}

type Result<T> = std::result::Result<T, ServerError>;

/// Serves until the process is told to end.
pub fn run(conf: Conf) -> Result<()> {
    let workers =
        Workers::start(worker_count(&conf)?).map_err(|source| system("workers", source))?;
    let workers = Arc::new(workers);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default());
    let runtime: LocalRuntime = runtime.map_err(|source| system("control runtime", source))?;
    runtime.block_on(serve(conf, workers))
}

async fn serve(conf: Conf, workers: Arc<Workers>) -> Result<()> {
    // Keeps the control runtime's own connections to hosts in order.
    let _worker = Worker::new(None);
    let settings = Settings::read(&conf).map_err(|errors| {
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        ServerError::Configuration(errors.join("\n"))
    })?;
    let (store, declarative) = open(&conf).await?;
    let node_id = conf.get("node_id").map_or_else(uuid, ToOwned::to_owned);
    let certificates = certificates::default(&conf)?;
    let node = Node::new(&node_id, settings, store.clone(), certificates);
    let told = (node.clone(), workers.clone());
    let mut updater = Updater::new(node.clone(), move || {
        let (node, workers) = &told;
        let node = node.clone();
        workers.on_each(move |_| Local::of(&node).refresh());
    });
    let version = updater
        .begin()
        .await
        .map_err(|error| ServerError::Configuration(error.to_string()))?;
    tokio::task::spawn_local(updater.run(version));
    let mut signals = Signals::new()?;
    let admin = Arc::new(Admin::new(
        Entities::new(store),
        declarative.clone(),
        conf.clone(),
        &node_id,
    ));
    let mut administration = administer(&conf, &admin).await?;
    let proxy = Proxy::listen(&conf, &node, &workers)?;
    budget::limit_connections(connection_limit());
    tracing::info!("the gateway serves");
    let graceful = loop {
        tokio::select! {
            Some(ended) = administration.join_next() => {
                return Err(ServerError::Configuration(format!("the Admin API ended: {ended:?}")));
            }
            told = signals.next() => match told {
                Told::Reload => reload(&conf, declarative.as_ref()).await,
                Told::Reopen => proxy.reopen_logs(),
                Told::Quit => break true,
                Told::Stop => break false,
            }
        }
    };
    tracing::info!(graceful, "told to stop");
    proxy.finish(graceful, &mut signals).await;
    Ok(())
}

/// The proxy's addresses.
struct Proxy {
    listening: Vec<Listening>,
    drain: Arc<Drain>,
    counts: Arc<Connections>,
    log: Option<LogFile>,
}

impl Proxy {
    fn listen(conf: &Conf, node: &Arc<Node>, workers: &Workers) -> Result<Self> {
        if conf
            .get("stream_listen")
            .is_some_and(|listen| listen != "off")
        {
            return Err(ServerError::Configuration(
                "stream_listen is not served: TCP and TLS streams are not proxied, set it to off"
                    .to_owned(),
            ));
        }
        let mut proxy = Self {
            listening: Vec::new(),
            drain: Arc::default(),
            counts: Arc::default(),
            log: access_log(conf)?,
        };
        let addresses = conf.proxy_listen();
        for listen in addresses.map_err(|error| ServerError::Configuration(error.to_string()))? {
            let address = listen.address;
            // One socket a worker also without `reuseport`: nginx's workers share one then, to the same end.
            let mut options = ListenOptions::default();
            options.backlog = listen.backlog.unwrap_or(options.backlog);
            let entrance = Entrance {
                node: node.clone(),
                settings: Arc::new(serve_settings(&listen)),
                log: proxy.log.clone().map(AccessLog::new),
                drain: proxy.drain.clone(),
                counts: proxy.counts.clone(),
                listen,
            };
            let listening = workers
                .listen(&Address::Tcp(address), options, Arc::new(entrance))
                .map_err(|source| system(&format!("proxy_listen {address}"), source))?;
            tracing::info!(address = %listening.address(), "the proxy listens");
            proxy.listening.push(listening);
        }
        Ok(proxy)
    }

    fn reopen_logs(&self) {
        if let Some(log) = &self.log {
            log.reopen();
        }
    }

    /// Stops accepting. A graceful end lets what was begun come to its end, unless it is told to hurry.
    async fn finish(mut self, graceful: bool, signals: &mut Signals) {
        self.listening.clear();
        self.drain.start();
        if graceful {
            self.drain.finish();
            let finished = async {
                while budget::arrivals() > 0 || self.counts.active.value() > 0 {
                    tokio::time::sleep(FINISH_INTERVAL).await;
                }
            };
            tokio::select! {
                () = finished => {}
                () = signals.stopped() => tracing::warn!("ends although connections are open: told again"),
            }
        }
        if let Some(log) = &self.log {
            log.close();
        }
    }
}

async fn administer(
    conf: &Conf,
    admin: &Arc<Admin>,
) -> Result<tokio::task::JoinSet<std::io::Result<()>>> {
    let mut servers = tokio::task::JoinSet::new();
    let addresses = conf.admin_listen();
    for listen in addresses.map_err(|error| ServerError::Configuration(error.to_string()))? {
        if listen.tls {
            tracing::warn!(address = %listen.address, "the Admin API is not served over TLS yet: this address is left out");
            continue;
        }
        let bound = TcpListener::bind(listen.address).await;
        let bound =
            bound.map_err(|source| system(&format!("admin_listen {}", listen.address), source))?;
        let address = bound
            .local_addr()
            .map_err(|source| system("admin_listen", source))?;
        tracing::info!(%address, "the Admin API listens");
        if listen.is_open() {
            tracing::warn!(%address, "everyone who reaches this address can change the whole configuration: the Admin API asks nobody who they are");
        }
        servers.spawn(Arc::clone(admin).serve(bound));
    }
    if servers.is_empty() {
        // Nothing that could end: `join_next` would say so at once.
        servers.spawn(std::future::pending());
    }
    Ok(servers)
}

/// Opens the store that the configuration names.
pub async fn open(conf: &Conf) -> Result<(Arc<dyn Store>, Option<Loaded>)> {
    if !conf.is_dbless() {
        let folder = conf.prefix();
        std::fs::create_dir_all(&folder)
            .map_err(|source| system(&folder.display().to_string(), source))?;
        let store = Embedded::open(&folder.join("carbyne.redb"))
            .map_err(|error| ServerError::Configuration(error.to_string()))?;
        return Ok((Arc::new(store), None));
    }
    let loaded = Loaded::default();
    load(conf, &loaded).await?;
    Ok((loaded.store(), Some(loaded)))
}

/// Reads the declarative configuration that the node was told of.
async fn load(conf: &Conf, loaded: &Loaded) -> Result<()> {
    let (text, file) = match (
        conf.get("declarative_config"),
        conf.get("declarative_config_string"),
    ) {
        (Some(file), _) => {
            let text = std::fs::read_to_string(file).map_err(|source| system(file, source))?;
            (text, Some(file))
        }
        (None, Some(text)) => (text.to_owned(), None),
        (None, None) => return Ok(()),
    };
    let explain = |error: crate::error::Error| {
        ServerError::Configuration(match file {
            Some(file) => crate::command::explained(Path::new(file), &error),
            None => error.message,
        })
    };
    let name = file.and_then(|file| Path::new(file).file_name()?.to_str());
    let document = Document::read(&text, name).map_err(&explain)?;
    loaded.load(&document).await.map_err(&explain)?;
    Ok(())
}

/// SIGHUP: the file is read again. A bad one changes nothing.
async fn reload(conf: &Conf, declarative: Option<&Loaded>) {
    let Some(loaded) = declarative else {
        tracing::info!("told to reload: the configuration is in the store and live already");
        return;
    };
    match load(conf, loaded).await {
        Ok(()) => tracing::info!("the declarative configuration was read again"),
        Err(error) => tracing::error!(%error, "the declarative configuration stays as it was"),
    }
}

fn access_log(conf: &Conf) -> Result<Option<LogFile>> {
    let path = conf.get("proxy_access_log").unwrap_or("logs/access.log");
    // A format behind the path is nginx's name of one; there is one format here.
    let path = path.split_whitespace().next().unwrap_or("off");
    if path == "off" {
        return Ok(None);
    }
    let path = conf.prefix().join(path);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|source| system(&folder.display().to_string(), source))?;
    }
    let opened = LogFile::open(&path, LogSettings::default());
    opened
        .map(Some)
        .map_err(|source| system(&path.display().to_string(), source))
}

/// `nginx_worker_processes`: a number, or as many as the machine lets run at once.
fn worker_count(conf: &Conf) -> Result<usize> {
    let told = ["nginx_main_worker_processes", "nginx_worker_processes"];
    let told = told
        .iter()
        .filter_map(|key| conf.get(key))
        .find(|value| *value != "auto");
    match told.map(str::parse) {
        None => Ok(std::thread::available_parallelism().map_or(1, std::num::NonZero::get)),
        Some(Ok(count @ 1..=1024)) => Ok(count),
        Some(_) => Err(ServerError::Configuration(
            "nginx_worker_processes is neither auto nor a number from 1 to 1024".to_owned(),
        )),
    }
}

/// Nine tenths of the file descriptors that the process may have: the rest is for logs, the store and hosts.
fn connection_limit() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let limit = limit.current.and_then(|limit| usize::try_from(limit).ok());
    limit.map_or(usize::MAX, |limit| (limit - limit / 10).max(1))
}

fn system(what: &str, source: std::io::Error) -> ServerError {
    ServerError::System {
        what: what.to_owned(),
        source,
    }
}

/// What the system tells the process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Told {
    Quit,
    Reload,
    Reopen,
    Stop,
}

struct Signals {
    hangup: Signal,
    interrupt: Signal,
    quit: Signal,
    reopen: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let of = |kind| signal(kind).map_err(|source| system("signals", source));
        Ok(Self {
            hangup: of(SignalKind::hangup())?,
            interrupt: of(SignalKind::interrupt())?,
            quit: of(SignalKind::quit())?,
            reopen: of(SignalKind::user_defined1())?,
            terminate: of(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.hangup.recv() => Told::Reload,
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.quit.recv() => Told::Quit,
            _ = self.reopen.recv() => Told::Reopen,
            _ = self.terminate.recv() => Told::Stop,
        }
    }

    /// Waits until it is told to end at once.
    async fn stopped(&mut self) {
        while self.next().await != Told::Stop {}
    }
}

/// How often the end looks whether it has come.
const FINISH_INTERVAL: Duration = Duration::from_millis(10);
