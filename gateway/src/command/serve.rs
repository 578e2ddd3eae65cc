//! The node itself: opens the store, binds, and serves until told to end.

use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Done;
use super::config::{explained, read};
use crate::admin::Admin;
use crate::conf::Conf;
use crate::declarative::{Document, Loaded};
use crate::entity::Entities;
use crate::schema::uuid;
use crate::server::Server;
use crate::store::{Embedded, Store};

/// Serves a node. `started` is called once, when everything listens.
pub(super) async fn serve(conf: Conf, started: impl FnOnce() -> Done) -> Done {
    // Before anything that takes its time: a signal that comes meanwhile is not lost.
    let mut signals = Signals::new()?;
    let (store, declarative) = open(&conf).await?;
    let mut listeners = Vec::new();
    for listen in conf.admin_listen().map_err(|error| error.to_string())? {
        if listen.tls {
            tracing::warn!(address = %listen.address, "the Admin API is not served over TLS yet: this address is left out");
            continue;
        }
        let bound = TcpListener::bind(listen.address).await;
        let bound = bound.map_err(|error| format!("admin_listen {}: {error}", listen.address))?;
        let address = bound.local_addr().map_err(|error| error.to_string())?;
        tracing::info!(%address, "the Admin API listens");
        if listen.is_open() {
            tracing::warn!(%address, "everyone who reaches this address can change the whole configuration: the Admin API asks nobody who they are");
        }
        listeners.push(bound);
    }
    let node_id = conf.get("node_id").map_or_else(uuid, ToOwned::to_owned);
    let server = Server::start(&conf, store.clone(), &node_id);
    let server = server.await.map_err(|error| error.to_string())?;
    started()?;
    tracing::info!("the gateway serves");
    let entities = Entities::new(store);
    let admin = Admin::new(entities, declarative.clone(), conf.clone(), &node_id);
    let admin = Arc::new(admin);
    let mut servers = tokio::task::JoinSet::new();
    for listener in listeners {
        servers.spawn(Arc::clone(&admin).serve(listener));
    }
    let graceful = loop {
        tokio::select! {
            Some(ended) = servers.join_next() => return match ended {
                Ok(Err(error)) => Err(format!("the Admin API: {error}")),
                other => Err(format!("the Admin API ended: {other:?}")),
            },
            told = signals.next() => match told {
                Told::Quit => break true,
                Told::Reload => reload(&conf, declarative.as_ref()).await,
                Told::Reopen => server.reopen_logs(),
                Told::Stop => break false,
            }
        }
    };
    tracing::info!(graceful, "told to stop");
    server.finish(graceful, signals.stopped()).await;
    Ok(())
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
    fn new() -> Result<Self, String> {
        let of = |kind| signal(kind).map_err(|error| error.to_string());
        Ok(Self {
            hang_up: of(SignalKind::hangup())?,
            interrupt: of(SignalKind::interrupt())?,
            quit: of(SignalKind::quit())?,
            reopen: of(SignalKind::user_defined1())?,
            terminate: of(SignalKind::terminate())?,
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

/// Reads the file again. A bad one changes nothing.
async fn reload(conf: &Conf, declarative: Option<&Loaded>) {
    let Some(loaded) = declarative else {
        tracing::info!("told to reload: the configuration is in the store and live already");
        return;
    };
    match load(conf, loaded).await {
        Ok(()) => tracing::info!("the declarative configuration was read again"),
        Err(error) => tracing::error!(error, "the declarative configuration stays as it was"),
    }
}

/// Opens the store that the configuration names.
async fn open(conf: &Conf) -> Result<(Arc<dyn Store>, Option<Loaded>), String> {
    if !conf.is_dbless() {
        let folder = conf.prefix();
        std::fs::create_dir_all(&folder)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        let store =
            Embedded::open(&folder.join("carbyne.redb")).map_err(|error| error.to_string())?;
        return Ok((Arc::new(store), None));
    }
    let loaded = Loaded::default();
    load(conf, &loaded).await?;
    Ok((loaded.store(), Some(loaded)))
}

/// Loads the file, or the text, that the configuration names.
async fn load(conf: &Conf, loaded: &Loaded) -> Result<(), String> {
    let document = match (
        conf.get("declarative_config"),
        conf.get("declarative_config_string"),
    ) {
        (Some(file), _) => Some((read(Path::new(file))?, Some(file))),
        (None, Some(text)) => Some((
            Document::read(text, None).map_err(|error| error.message)?,
            None,
        )),
        (None, None) => None,
    };
    if let Some((document, file)) = document {
        let done = loaded.load(&document).await;
        done.map_err(|error| {
            file.map_or_else(
                || error.message.clone(),
                |file| explained(Path::new(file), &error),
            )
        })?;
    }
    Ok(())
}
