//! The data path of a process: workers, the proxy's addresses, and what keeps them in step with the store.

use std::sync::Arc;
use std::time::Duration;

use carbyne_engine::net::Address;
use carbyne_engine::net::listen::ListenOptions;
use carbyne_engine::observe::log::{LogFile, LogSettings};
use carbyne_engine::runtime::{Drain, Listening, Workers, budget};
use carbyne_engine::tls::IdentitySlot;
use carbyne_events::source::Source;

use crate::balance::Balancers;
use crate::conf::{Conf, Interface};
use crate::dns::{self, Resolver};
use crate::live::local::Local;
use crate::live::update::Updater;
use crate::node::Node;
use crate::proxy::access_log::AccessLog;
use crate::proxy::listener::{Connections, Entrance, serve_settings};
use crate::proxy::settings::Settings;
use crate::store::Store;

/// Why the gateway does not proxy.
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

/// A data path that serves.
#[derive(Debug)]
pub struct Server {
    node: Arc<Node>,
    workers: Arc<Workers>,
    listening: Vec<Listening>,
    drain: Arc<Drain>,
    log: Option<LogFile>,
}

impl Server {
    /// Serves what the store holds, once it was read. For the control runtime, a local one.
    pub async fn start(
        conf: &Conf,
        store: Arc<dyn Store>,
        node_id: &str,
        events: Option<Arc<Source>>,
    ) -> Result<Self> {
        let workers =
            Workers::start(worker_count(conf)?).map_err(|source| system("workers", source))?;
        let workers = Arc::new(workers);
        let settings = Settings::read(conf).map_err(|errors| {
            let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
            ServerError::Configuration(errors.join("\n"))
        })?;
        let resolver = dns::Settings::read(conf)
            .map_err(|error| ServerError::Configuration(error.to_string()))?;
        let balancers = Balancers::new(Arc::new(Resolver::new(resolver)));
        let driven = balancers.clone();
        tokio::task::spawn_local(async move { driven.run().await });
        let certificates = default_certificates(conf)?;
        let node = Node::new(node_id, settings, store, balancers, certificates, events);
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
        let mut server = Self {
            node,
            workers: workers.clone(),
            listening: Vec::new(),
            drain: Arc::default(),
            log: access_log(conf)?,
        };
        server.listen(conf, &workers)?;
        budget::limit_connections(connection_limit());
        Ok(server)
    }

    /// The node that it serves.
    pub const fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Connections of clients.
    pub fn connections(&self) -> &Connections {
        &self.node.connections
    }

    /// The addresses that it listens on, with the ports that the kernel chose.
    pub fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.listening.iter().map(Listening::address)
    }

    fn listen(&mut self, conf: &Conf, workers: &Workers) -> Result<()> {
        let addresses = conf.proxy_listen();
        for listen in addresses.map_err(|error| ServerError::Configuration(error.to_string()))? {
            let address = listen.address;
            // One socket a worker also without `reuseport`: nginx's workers share one then, to the same end.
            let mut options = ListenOptions::default();
            options.backlog = listen.backlog.unwrap_or(options.backlog);
            let entrance = Entrance {
                node: self.node.clone(),
                settings: Arc::new(serve_settings(&listen, conf)),
                log: self.log.clone().map(AccessLog::new),
                drain: self.drain.clone(),
                listen,
            };
            let listening = workers
                .listen(&Address::Tcp(address), options, Arc::new(entrance))
                .map_err(|source| system(&format!("proxy_listen {address}"), source))?;
            tracing::info!(address = %listening.address(), "the proxy listens");
            self.listening.push(listening);
        }
        Ok(())
    }

    /// As after a rotation of logs.
    pub fn reopen_logs(&self) {
        if let Some(log) = &self.log {
            log.reopen();
        }
        self.node.shared.file_log().reopen();
    }

    /// Stops accepting. A graceful end lets what was begun come to its end, unless `hurry` comes first.
    pub async fn finish(mut self, graceful: bool, hurry: impl Future<Output = ()>) {
        self.listening.clear();
        self.drain.start();
        if graceful {
            self.drain.finish();
            let finished = async {
                while budget::arrivals() > 0 || self.node.connections.active.value() > 0 {
                    tokio::time::sleep(FINISH_INTERVAL).await;
                }
            };
            tokio::select! {
                () = finished => {}
                () = hurry => tracing::warn!("ends although connections are open: told again"),
            }
        }
        if self.node.events.is_some() {
            // Those who do not answer within the time hold back no more than a count.
            let (done, mut all) = tokio::sync::mpsc::unbounded_channel();
            let node = self.node.clone();
            self.workers.on_each(move |_| {
                Local::finish(&node);
                done.send(()).ok();
            });
            let all = async { while all.recv().await.is_some() {} };
            tokio::time::timeout(QUEUES_INTERVAL, all).await.ok();
        }
        if graceful {
            self.node.shared.http_log().finish(QUEUES_INTERVAL).await;
        }
        self.node.shared.file_log().close();
        if let Some(log) = &self.log {
            log.close();
        }
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

/// The certificates for names that no other is for.
fn default_certificates(conf: &Conf) -> Result<Vec<Arc<IdentitySlot>>> {
    let identities = conf.identities(Interface::Proxy);
    let identities = identities.map_err(|error| ServerError::Configuration(error.to_string()))?;
    let slot = |identity| IdentitySlot::filled("default certificate", identity);
    Ok(identities.into_iter().map(slot).collect())
}

/// `nginx_worker_processes`: a number, or as many as the machine lets run at once.
fn worker_count(conf: &Conf) -> Result<usize> {
    match conf.worker_processes() {
        None => Ok(std::thread::available_parallelism().map_or(1, std::num::NonZero::get)),
        Some(count @ 1..=1024) => Ok(count),
        Some(_) => Err(ServerError::Configuration(
            "nginx_worker_processes is more than 1024".to_owned(),
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

/// How often the end looks whether it has come.
const FINISH_INTERVAL: Duration = Duration::from_millis(10);
/// How long it waits for what plugins have still to send.
const QUEUES_INTERVAL: Duration = Duration::from_secs(5);
