//! The node itself: opens the store, binds, and serves until told to end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use carbyne_events::event::system_health::State;
use carbyne_events::source::{Health, Program, Source};

use carbyne_engine::runtime::background::{self, Priority};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::config::{explained, read};
use super::{Done, Failure};
use crate::admin::{Admin, Served};
use crate::conf::Conf;
use crate::declarative::{Document, Loaded};
use crate::entity::Entities;
use crate::error::Error;
use crate::log;
use crate::schema::{is_uuid, uuid};
use crate::server::Server;
use crate::shipping::Shipping;
use crate::store::{Embedded, Store, told};

/// Who the process is in events.
const PROGRAM: Program = Program {
    component: "carbyne-gateway",
    role: "gateway",
    version: env!("CARGO_PKG_VERSION"),
    ships: cfg!(feature = "kafka"),
};
/// How often it tells that it is well.
const HEALTH_INTERVAL: Duration = Duration::from_secs(60);

/// Serves a node. `started` is called once, when everything listens; `environment` is the file
/// that is read again on SIGHUP.
pub(super) fn run(conf: Conf, environment: &Path, started: impl FnOnce() -> Done) -> Done {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())?;
    runtime.block_on(serve(conf, environment, started))
}

async fn serve(conf: Conf, environment: &Path, started: impl FnOnce() -> Done) -> Done {
    // Before anything that takes its time: a signal that comes meanwhile is not lost.
    let mut signals = Signals::new()?;
    // The first random number of a process takes a tenth of a second of computing: no request and no write shall wait for
    // it, or stand beside it, so it is drawn while the configuration is read.
    let seed = tokio::task::spawn_local(background::run(Priority::Normal, || drop(uuid())));
    let variable = |name: &str| std::env::var(name).ok();
    let events = Source::open(PROGRAM, variable)?;
    let mut shipping = Shipping::start(events.as_ref(), variable).await?;
    let (store, declarative) = open(&conf, events.as_ref()).await?;
    let node_id = node_id(&conf)?;
    let mut listeners = Vec::new();
    for served in [Served::Admin, Served::Status] {
        listeners.extend(served.bind(&conf).await?);
    }
    let server = Server::start(&conf, store.clone(), &node_id, events.clone()).await?;
    let began = Instant::now();
    if let Some(events) = &events {
        events.health(State::Ready, &health(&server, began));
    }
    // Where there was no thread for it the first who needs a random number draws it.
    drop(seed.await);
    started()?;
    tracing::info!("the gateway serves");
    let entities = Entities::new(store.clone());
    let admin = Admin::new(entities, declarative.clone(), conf.clone(), &node_id);
    let node = server.node();
    let admin = admin
        .with_node(node.clone())
        .with_shipping(shipping.as_ref().map(Shipping::watch))
        .with_balancers(node.balancers.clone());
    let admin = Arc::new(admin);
    let mut servers = tokio::task::JoinSet::new();
    for listener in listeners {
        servers.spawn(Arc::clone(&admin).serve_on(listener));
    }
    let mut conf = conf;
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let mut told = Instant::now();
    let graceful = loop {
        tokio::select! {
            Some(ended) = servers.join_next() => return match ended {
                Ok(Err(error)) => Err(format!("the Admin API: {error}").into()),
                other => Err(format!("the Admin API ended: {other:?}").into()),
            },
            told = signals.next() => match told {
                Told::Quit => break true,
                Told::Reload => conf = reload(conf, environment, declarative.as_ref()).await,
                Told::Reopen => server.reopen_logs(),
                Told::Stop => break false,
            },
            _ = second.tick() => {
                log::tick();
                if let Some(shipping) = &mut shipping {
                    shipping.tell();
                }
                if let Some(events) = &events
                    && told.elapsed() >= HEALTH_INTERVAL
                {
                    told = Instant::now();
                    events.health(State::Ready, &health(&server, began));
                }
            }
        }
    };
    tracing::info!(graceful, "told to stop");
    admin.drain();
    if let Some(events) = &events {
        events.health(State::Draining, &health(&server, began));
    }
    server.finish(graceful, signals.stopped()).await;
    if let Some(events) = &events {
        // Else the next start would tell the last change once more.
        if let Err(error) = store.forget().await {
            tracing::warn!(%error, "the next start tells the last change once more");
        }
        events.health(State::Stopped, &Health::default());
        events.close();
    }
    if let Some(shipping) = shipping {
        shipping.finish(signals.stopped()).await;
    }
    Ok(())
}

/// What system-health says of the node.
fn health(server: &Server, began: Instant) -> Health<'static> {
    let connections = server.connections();
    Health {
        config_age_seconds: Some(began.elapsed().as_secs()),
        connections: Some(connections.active.value().try_into().unwrap_or(0)),
        requests: Some(connections.requests.value()),
        ..Health::default()
    }
}

/// What the process is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Told {
    Quit,
    Reload,
    Reopen,
    Stop,
}

struct Signals {
    hang_up: Signal,
    interrupt: Signal,
    quit: Signal,
    reopen: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            hang_up: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            reopen: signal(SignalKind::user_defined1())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.hang_up.recv() => Told::Reload,
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

/// Reads again what `reload` left, and applies what can be applied to a node that runs. What is
/// not sound changes nothing.
async fn reload(conf: Conf, environment: &Path, declarative: Option<&Loaded>) -> Conf {
    // What does not fit into a line of the file is only in the environment.
    let several_lines = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, value)| name.starts_with("KONG_") && value.contains('\n'));
    let new = match Conf::load(Some(environment), several_lines) {
        Ok((new, _)) => new,
        Err(error) => {
            tracing::error!(%error, "the configuration is not sound: what was in effect stays");
            return conf;
        }
    };
    log::configure(new.get("log_level").unwrap_or("notice"));
    if let Some(declarative) = declarative
        && let Err(error) = load(&new, declarative).await
    {
        tracing::error!(
            error,
            "the declarative configuration was not loaded: what was in effect stays"
        );
    }
    for key in new.changed_since(&conf) {
        if ![
            "log_level",
            "declarative_config",
            "declarative_config_string",
        ]
        .contains(&key)
        {
            tracing::warn!("{key} was changed: it takes effect when the node starts anew");
        }
    }
    tracing::info!("the configuration was read again");
    new
}

/// Who the node is: what it was told, or what it found out when it started first.
fn node_id(conf: &Conf) -> std::io::Result<String> {
    if let Some(id) = conf.get("node_id") {
        return Ok(id.to_owned());
    }
    let file = conf.prefix().join("kong.id");
    match std::fs::read_to_string(&file) {
        Ok(id) if is_uuid(id.trim()) => Ok(id.trim().to_owned()),
        _ => {
            let id = uuid();
            std::fs::write(&file, &id)?;
            Ok(id)
        }
    }
}

/// Opens the store that the configuration names.
async fn open(
    conf: &Conf,
    events: Option<&Arc<Source>>,
) -> Result<(Arc<dyn Store>, Option<Loaded>), Failure> {
    if !conf.is_dbless() {
        let store: Arc<dyn Store> = Arc::new(Embedded::open(&conf.store())?);
        let Some(events) = events else {
            return Ok((store, None));
        };
        let told = told::Told::new(store, events.clone());
        match told.catch_up().await? {
            0 => {}
            commits => tracing::info!(
                commits,
                "told the changes that an earlier process has made and not told"
            ),
        }
        return Ok((Arc::new(told), None));
    }
    let loaded = Loaded::telling(events.cloned());
    load(conf, &loaded).await?;
    Ok((loaded.store(), Some(loaded)))
}

/// Loads the file, or the text, that the configuration names.
async fn load(conf: &Conf, loaded: &Loaded) -> Result<(), String> {
    let file = conf.get("declarative_config").map(PathBuf::from);
    let text = conf.get("declarative_config_string").map(str::to_owned);
    if file.is_none() && text.is_none() {
        return Ok(());
    }
    let told = move |error: &Error, file: &Option<PathBuf>| match file {
        Some(file) => explained(file, error),
        None => error.message.clone(),
    };
    let path = file.clone();
    let since = loaded.since();
    let flat = background::run(Priority::Low, move || {
        let document = match &path {
            Some(file) => read(file)?,
            None => {
                Document::read(&text.unwrap_or_default(), None).map_err(|error| error.message)?
            }
        };
        let flat = document.flatten(since);
        flat.map_err(|error| told(&error, &path))
    });
    let flat = flat.await.map_err(|error| error.to_string())??;
    let done = loaded.load(flat).await;
    done.map_err(|error| told(&error, &file))
}
