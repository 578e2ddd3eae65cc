//! The node itself: opens the store, binds, and serves until told to end.

use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpListener;

use super::Done;
use super::config::{explained, read};
use crate::admin::Admin;
use crate::conf::Conf;
use crate::declarative::{Document, Loaded};
use crate::entity::Entities;
use crate::store::{Embedded, Store};

/// Serves a node. `started` is called once, when everything listens.
pub(super) async fn serve(conf: Conf, started: impl FnOnce() -> Done) -> Done {
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
    tracing::warn!(
        "there is no data path yet: nothing listens on proxy_listen, and no request is proxied"
    );
    started()?;
    let admin = Arc::new(Admin::new(Entities::new(store), declarative, conf));
    let mut servers = tokio::task::JoinSet::new();
    for listener in listeners {
        servers.spawn(Arc::clone(&admin).serve(listener));
    }
    tokio::select! {
        Some(ended) = servers.join_next() => match ended {
            Ok(Err(error)) => Err(format!("the Admin API: {error}")),
            other => Err(format!("the Admin API ended: {other:?}")),
        },
        signal = stopped() => signal,
    }
}

/// Waits until the process is told to end.
async fn stopped() -> Done {
    use tokio::signal::unix::{SignalKind, signal};
    let of = |kind| signal(kind).map_err(|error| error.to_string());
    let (mut interrupt, mut quit) = (of(SignalKind::interrupt())?, of(SignalKind::quit())?);
    let mut terminate = of(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = quit.recv() => {}
        _ = terminate.recv() => {}
    }
    tracing::info!("told to stop");
    Ok(())
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
    Ok((loaded.store(), Some(loaded)))
}
