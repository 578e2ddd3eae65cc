//! The control plane: ADS and SDS on Unix sockets in each workload's folder, as pilot-agent serves them there.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use carbyne_mesh::{
    certificate::{Authority, CertificateError, Identity},
    serve::{
        Server,
        ads::{Ads, Published},
        sds::Secrets,
        status::{Board, Sync},
    },
    source::Snapshot,
};
use tokio::{sync::watch, task::JoinHandle, time::Instant};

use super::{
    bootstrap::{SDS_SOCKET, XDS_SOCKET},
    directory::Directory,
    workloads::Workload,
};

/// The control plane.
#[derive(Debug)]
pub struct Plane {
    published: watch::Sender<Arc<Published>>,
    ads: Ads,
    board: Board,
    authority: Arc<Authority>,
    number: u64,
}

/// The sockets of one workload.
#[derive(Debug)]
pub struct Served {
    servers: [Server; 2],
    renewal: JoinHandle<()>,
}

/// Why a control plane could not be started.
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

impl Plane {
    /// A control plane with a root certificate of its own, which lives as long as it does.
    ///
    /// # Errors
    /// When no root can be made.
    pub fn new(snapshot: Arc<Snapshot>) -> Result<Self, PlaneError> {
        let authority = Authority::generate(&snapshot.mesh.trust_domain, LEAF_LIFE)?;
        let (published, receiver) = watch::channel(Arc::new(Published { snapshot, version: version(1) }));
        let board = Board::default();
        Ok(Self {
            published,
            ads: Ads::new(receiver, board.clone()),
            board,
            authority: Arc::new(authority),
            number: 1,
        })
    }

    /// Opens a workload's sockets in its folder.
    ///
    /// # Errors
    /// When no certificate or socket can be made.
    pub fn serve(&self, workload: &Workload, trust_domain: &str, directory: &Directory) -> Result<Served, PlaneError> {
        let folder = directory.of(&workload.name);
        let identity = Identity {
            trust_domain: trust_domain.to_owned(),
            namespace: workload.namespace.clone(),
            service_account: workload.service_account.clone(),
        };
        let secrets = Secrets::new(Arc::clone(&self.authority), identity)?;
        let (xds, sds) = (folder.join(XDS_SOCKET), folder.join(SDS_SOCKET));
        let ads = self.ads.serve_unix(&xds).map_err(|error| PlaneError::Socket { path: xds, error })?;
        let sds = secrets.serve_unix(&sds).map_err(|error| PlaneError::Socket { path: sds, error })?;
        Ok(Served {
            servers: [ads, sds],
            renewal: secrets.keep_fresh(),
        })
    }

    /// Lets every sidecar have a new configuration.
    pub fn publish(&mut self, snapshot: Arc<Snapshot>) {
        self.number += 1;
        let version = version(self.number);
        self.published.send_replace(Arc::new(Published { snapshot, version }));
    }

    /// Waits until every connected sidecar has answered what it was sent, `limit` at most.
    pub async fn settled(&self, limit: Duration) {
        let end = Instant::now() + limit;
        loop {
            // The streams see the new configuration while this sleeps.
            tokio::time::sleep(PAUSE).await;
            let connections = self.board.connections();
            let waiting = connections.iter().flat_map(|connection| connection.types.values()).any(|(sync, _)| *sync == Sync::Stale);
            if !waiting || Instant::now() >= end {
                return;
            }
        }
    }

    /// What sidecars refuse at present: node, type, reason.
    #[must_use]
    pub fn refusals(&self) -> BTreeSet<String> {
        let connections = self.board.connections();
        let refusals = connections.iter().flat_map(|connection| {
            connection.types.iter().filter_map(|(kind, (sync, _))| match sync {
                Sync::Error(reason) => {
                    let kind = kind.type_url().rsplit('.').next().unwrap_or_default();
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

/// As istiod writes it: a time and a number that only grows.
fn version(number: u64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{}/{number}", now.as_secs())
}

/// Life of a workload's certificate, Istio's default.
const LEAF_LIFE: Duration = Duration::from_secs(24 * 3600);
const PAUSE: Duration = Duration::from_millis(2);
