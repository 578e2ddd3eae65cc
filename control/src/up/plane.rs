//! The control plane: ADS and SDS on Unix sockets in each workload's folder, as pilot-agent serves them there.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use carbyne_mesh::{
    LoadError, Mesh,
    certificate::CertificateError,
    generate::Kind,
    serve::{Server, status::SyncState},
    source::{Errors, Snapshot},
};
use tokio::{
    task::{JoinError, JoinHandle},
    time::Instant,
};

use super::{
    bootstrap::{SDS_SOCKET, XDS_SOCKET},
    directory::Directory,
    metrics,
    page::state::Sync,
    workloads::Workload,
};

/// The control plane; clones are the same one.
#[derive(Clone, Debug)]
pub struct Plane(Mesh);

/// The sockets of one workload.
#[derive(Debug)]
pub struct Served {
    servers: [Server; 2],
    renewal: JoinHandle<()>,
}

/// Why a workload has no sockets.
#[derive(Debug, thiserror::Error)]
pub enum PlaneError {
    /// No certificate could be made.
    #[error("{0}")]
    Certificate(#[from] CertificateError),
    /// A socket could not be made.
    #[error("cannot listen on {path}: {error}")]
    Socket {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

/// Why a saved folder is not live.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// It has faults.
    #[error("{0}")]
    Configuration(#[from] Errors),
    /// Reading it failed in itself.
    #[error("{0}")]
    Read(#[from] JoinError),
}

impl Plane {
    /// Reads the folder; certificates come from a root that lives as long as the control plane.
    ///
    /// # Errors
    /// All that is wrong in the folder.
    pub fn new(folder: &Path) -> Result<Self, LoadError> {
        Mesh::load(folder).map(Self)
    }

    /// What is live.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.snapshot()
    }

    /// What Prometheus is told of it.
    #[must_use]
    pub fn metrics(&self) -> String {
        metrics::page(
            &self.0.status(),
            &self.0.counts(),
            Instant::now().into_std(),
        )
    }

    /// Opens a workload's sockets in its folder. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// When no certificate or socket can be made.
    pub fn serve(&self, workload: &Workload, directory: &Directory) -> Result<Served, PlaneError> {
        let folder = directory.of(&workload.name);
        let secrets = self
            .0
            .secrets(&workload.namespace, &workload.service_account)?;
        let (xds, sds) = (folder.join(XDS_SOCKET), folder.join(SDS_SOCKET));
        let ads = self
            .0
            .serve_ads_unix(&xds)
            .map_err(|error| PlaneError::Socket { path: xds, error })?;
        let sds = secrets
            .serve_unix(&sds)
            .map_err(|error| PlaneError::Socket { path: sds, error })?;
        Ok(Served {
            servers: [ads, sds],
            renewal: secrets.keep_fresh(),
        })
    }

    /// Reads the folder again, off this thread. Good: every sidecar gets it. Bad: what is live stays. False if no file of it changed.
    ///
    /// # Errors
    /// All that is wrong in the folder.
    pub async fn reload(&self) -> Result<bool, ReloadError> {
        let mesh = self.0.clone();
        Ok(tokio::task::spawn_blocking(move || mesh.reload()).await??)
    }

    /// Waits until every connected sidecar has answered what it was sent, `limit` at most.
    pub async fn settled(&self, limit: Duration) {
        let end = Instant::now() + limit;
        let version = self.0.version();
        loop {
            let waiting = self.0.status().iter().any(|connection| {
                connection.version != version
                    || connection
                        .types
                        .values()
                        .any(|(sync, _)| *sync == SyncState::Stale)
            });
            if !waiting || Instant::now() >= end {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// How each connected sidecar stands, by `WORKLOAD.NAMESPACE`.
    #[must_use]
    pub fn sync(&self) -> BTreeMap<String, Sync> {
        let version = self.0.version();
        let connections = self.0.status();
        let connections = connections.iter().filter_map(|connection| {
            // `sidecar~ADDRESS~WORKLOAD.NAMESPACE~DOMAIN`
            let name = connection.node.split('~').nth(2)?;
            let mut waiting = connection.version != version;
            let mut refuses = Vec::new();
            for (kind, (sync, _)) in &connection.types {
                match sync {
                    SyncState::Error(reason) => refuses.push(format!("{}: {reason}", short(*kind))),
                    SyncState::Stale | SyncState::NotSent => {
                        waiting |= *sync == SyncState::Stale;
                    }
                    SyncState::Synced => {}
                }
            }
            let state = match (refuses.is_empty(), waiting) {
                (false, _) => "refused",
                (true, true) => "waiting",
                (true, false) => "synced",
            };
            Some((name.to_owned(), Sync { state, refuses }))
        });
        connections.collect()
    }

    /// Every connected sidecar by type: state, and the age of its last acknowledgement.
    #[must_use]
    pub fn proxies(&self) -> Vec<crate::status::sync::Sync> {
        crate::status::sync::of(&self.0.status())
    }

    /// What sidecars refuse at present: node, type, reason.
    #[must_use]
    pub fn refusals(&self) -> BTreeSet<String> {
        let connections = self.0.status();
        let refusals = connections.iter().flat_map(|connection| {
            connection
                .types
                .iter()
                .filter_map(|(kind, (sync, _))| match sync {
                    SyncState::Error(reason) => {
                        let kind = short(*kind);
                        Some(format!("{} refuses a {kind}: {reason}", connection.node))
                    }
                    _ => None,
                })
        });
        refusals.collect()
    }
}

impl Served {
    /// Closes the sockets.
    pub async fn stop(self) {
        self.renewal.abort();
        for server in self.servers {
            server.stop().await;
        }
    }
}

/// The last word of a type's URL.
fn short(kind: Kind) -> &'static str {
    kind.type_url().rsplit('.').next().unwrap_or_default()
}

const PAUSE: Duration = Duration::from_millis(2);
