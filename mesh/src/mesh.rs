//! The whole control plane over one folder.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    certificate::{Authority, CertificateError, Identity},
    generate::Kind,
    model::Labels,
    serve::{
        Server,
        ads::{Ads, Published},
        sds::Secrets,
        status::{Board, Connection, Counts},
    },
    source::{self, Errors, Snapshot},
    watch::{Watch, WatchError},
};

/// A loaded folder and everything that serves it; clones share it.
#[derive(Clone, Debug)]
pub struct Mesh {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    published: watch::Sender<Arc<Published>>,
    pushes: AtomicU64,
    board: Board,
    authority: Arc<Authority>,
}

/// Why a mesh cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The YAML is wrong: every error with file, line and column.
    #[error(transparent)]
    Source(#[from] Errors),
    /// No certificate authority.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// A workload that wants a proxy: a WorkloadEntry with a service account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Name of the WorkloadEntry.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its address.
    pub address: String,
    /// Its labels.
    pub labels: Labels,
    /// Its service account.
    pub service_account: String,
}

impl Workload {
    /// The xDS node of the workload's proxy without interception, in proto3-JSON, as a bootstrap's `node` wants it.
    #[must_use]
    pub fn node(&self) -> Value {
        let (name, namespace) = (&self.name, &self.namespace);
        let app = self.labels.get("app").unwrap_or(name);
        let mut labels = self.labels.clone();
        labels
            .entry("service.istio.io/canonical-name".to_owned())
            .or_insert_with(|| app.clone());
        let version = self
            .labels
            .get("version")
            .map_or("latest", String::as_str)
            .to_owned();
        labels
            .entry("service.istio.io/canonical-revision".to_owned())
            .or_insert(version);
        json!({
            "id": format!("sidecar~{}~{name}.{namespace}~{namespace}.svc.cluster.local", self.address),
            "cluster": format!("{app}.{namespace}"),
            "metadata": {
                "NAME": name,
                "NAMESPACE": namespace,
                "WORKLOAD_NAME": name,
                "APP_CONTAINERS": app,
                "SERVICE_ACCOUNT": self.service_account,
                "CLUSTER_ID": "Kubernetes",
                "MESH_ID": "cluster.local",
                "INSTANCE_IPS": self.address,
                "INTERCEPTION_MODE": "NONE",
                "ISTIO_VERSION": ISTIO_VERSION,
                "LABELS": labels,
                "PROXY_CONFIG": {},
            },
        })
    }
}

impl Mesh {
    /// Reads a folder of Istio YAML; certificates come from a new root that is forgotten with the process.
    ///
    /// # Errors
    /// All that is wrong in the folder.
    pub fn load(folder: &Path) -> Result<Self, LoadError> {
        let snapshot = source::read_folder(folder)?;
        let authority = Authority::generate(&snapshot.mesh.trust_domain, LEAF_LIFE)?;
        Ok(Self::with_authority(folder, snapshot, authority))
    }

    /// The same with an authority of the caller's (see [`Authority::open`]).
    #[must_use]
    pub fn with_authority(folder: &Path, snapshot: Snapshot, authority: Authority) -> Self {
        let first = Arc::new(Published {
            snapshot: Arc::new(snapshot),
            version: version(1),
        });
        Self {
            inner: Arc::new(Inner {
                folder: folder.to_owned(),
                published: watch::channel(first).0,
                pushes: AtomicU64::new(1),
                board: Board::default(),
                authority: Arc::new(authority),
            }),
        }
    }

    /// Reads the folder again. Good: it is live on all streams. Bad: the old snapshot stays. False if nothing was changed, which touches
    /// nothing.
    ///
    /// # Errors
    /// All that is wrong in the folder.
    pub fn reload(&self) -> Result<bool, Errors> {
        let snapshot = Arc::new(source::read_folder(&self.inner.folder)?);
        if snapshot.digest == self.snapshot().digest {
            return Ok(false);
        }
        let number = self.inner.pushes.fetch_add(1, Ordering::Relaxed) + 1;
        let next = Arc::new(Published {
            snapshot,
            version: version(number),
        });
        self.inner
            .published
            .send_modify(|published| *published = next);
        Ok(true)
    }

    /// Reloads whenever a file of the folder changes, and tells `outcome` how each reload went.
    ///
    /// # Errors
    /// When the folder cannot be watched.
    pub fn watch(
        &self,
        outcome: impl Fn(Result<bool, Errors>) + Send + 'static,
    ) -> Result<Watch, WatchError> {
        let mesh = self.clone();
        crate::watch::watch(&self.inner.folder, move || outcome(mesh.reload()))
    }

    /// The snapshot that is live.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.inner.published.borrow().snapshot)
    }

    /// The version that is live.
    #[must_use]
    pub fn version(&self) -> String {
        self.inner.published.borrow().version.clone()
    }

    /// Who is connected, and what each has acknowledged or refused.
    #[must_use]
    pub fn status(&self) -> Vec<Connection> {
        self.inner.board.connections()
    }

    /// What was sent so far, by type.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<Kind, Counts> {
        self.inner.board.counts()
    }

    /// Workloads with a service account, in name order.
    #[must_use]
    pub fn workloads(&self) -> Vec<Workload> {
        let snapshot = self.snapshot();
        let entries = snapshot
            .workload_entries
            .iter()
            .filter(|entry| !entry.spec.service_account.is_empty());
        entries
            .map(|entry| Workload {
                name: entry.meta.name.clone(),
                namespace: entry.meta.namespace.clone(),
                address: entry.spec.address.clone(),
                labels: entry.spec.labels.clone(),
                service_account: entry.spec.service_account.clone(),
            })
            .collect()
    }

    /// ADS on a Unix socket. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn serve_ads_unix(&self, path: &Path) -> io::Result<Server> {
        self.ads().serve_unix(path)
    }

    /// ADS on a TCP address, plaintext: for 127.0.0.1.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn serve_ads_tcp(&self, address: SocketAddr) -> io::Result<Server> {
        self.ads().serve_tcp(address).await
    }

    /// Certificates of a workload; serve them with [`Secrets::serve_unix`] and keep them fresh with [`Secrets::keep_fresh`].
    ///
    /// # Errors
    /// When no certificate can be made.
    pub fn secrets(
        &self,
        namespace: &str,
        service_account: &str,
    ) -> Result<Arc<Secrets>, CertificateError> {
        let identity = Identity {
            trust_domain: self.snapshot().mesh.trust_domain.clone(),
            namespace: namespace.to_owned(),
            service_account: service_account.to_owned(),
        };
        Secrets::new(Arc::clone(&self.inner.authority), identity)
    }

    /// PEM of the mesh's root certificate.
    #[must_use]
    pub fn root_pem(&self) -> &str {
        self.inner.authority.root_pem()
    }

    fn ads(&self) -> Ads {
        Ads::new(self.inner.published.subscribe(), self.inner.board.clone())
    }
}

/// istiod's push version: when, and which one.
fn version(number: u64) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    format!("{}/{number}", now.as_secs())
}

/// Whose answers are given.
pub const ISTIO_VERSION: &str = "1.29.2";
/// Istio's SECRET_TTL.
const LEAF_LIFE: Duration = Duration::from_secs(86_400);
