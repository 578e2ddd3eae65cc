//! The embedded control plane over a folder of Istio YAML, with the sockets of every pod.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, mpsc};

use carbyne_mesh::Mesh;
use carbyne_mesh::serve::Server;
use carbyne_mesh::serve::sds::Secrets;
use carbyne_mesh::serve::status::SyncState;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::support::interception::{Identity, Pod, SDS_SOCKET, XDS_SOCKET};
use crate::support::{PATIENCE, poll};

/// It runs on a thread of its own until this value is dropped.
#[derive(Debug)]
pub struct Plane {
    mesh: Mesh,
    folder: tempfile::TempDir,
    handle: Handle,
    _running: oneshot::Sender<()>,
    served: Mutex<BTreeMap<String, Served>>,
}

#[derive(Debug)]
struct Served {
    node: String,
    servers: Vec<Server>,
    secrets: Arc<Secrets>,
}

/// Which of an agent's two services a pod gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agent {
    Whole,
    /// Nobody answers for secrets.
    WithoutSecrets,
}

impl Plane {
    /// Reads these files.
    pub fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let mesh = Mesh::load(folder.path()).unwrap_or_else(|error| panic!("{error}"));
        let warnings = &mesh.snapshot().warnings;
        assert!(warnings.is_empty(), "{warnings:?}");
        let (running, ended) = oneshot::channel::<()>();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            sender.send(runtime.handle().clone()).unwrap();
            runtime.block_on(async {
                // Ends with the plane, whose half of the channel is dropped.
                ended.await.unwrap_or_default();
            });
        });
        Self {
            mesh,
            folder,
            handle: receiver.recv().unwrap(),
            _running: running,
            served: Mutex::default(),
        }
    }

    /// Opens a pod's sockets; its sidecar is started afterwards.
    pub fn serve(&self, pod: &Pod, agent: Agent) {
        let Identity {
            name,
            namespace,
            service_account,
            ..
        } = &pod.identity;
        let _inside = self.handle.enter();
        let secrets = self.mesh.secrets(namespace, service_account).unwrap();
        let ads = self.mesh.serve_ads_unix(&pod.socket(XDS_SOCKET)).unwrap();
        let served = Served {
            node: pod.identity.node_id(),
            servers: vec![ads],
            secrets,
        };
        self.served.lock().unwrap().insert(name.clone(), served);
        if agent == Agent::Whole {
            self.serve_secrets(pod);
        }
        pod.own_sockets();
    }

    /// Opens the socket for secrets, where that was left out.
    pub fn serve_secrets(&self, pod: &Pod) {
        let _inside = self.handle.enter();
        let mut all = self.served.lock().unwrap();
        let served = all.get_mut(&pod.identity.name).unwrap();
        let server = served.secrets.serve_unix(&pod.socket(SDS_SOCKET)).unwrap();
        served.servers.push(server);
        pod.own_sockets();
    }

    /// Writes a file of the folder and waits until every sidecar has accepted what that means.
    pub fn apply(&self, file: &str, text: &str) {
        std::fs::write(self.folder.path().join(file), text).unwrap();
        self.mesh.reload().unwrap_or_else(|error| panic!("{error}"));
        self.wait_until_settled();
    }

    /// Waits until every sidecar has answered for the live configuration, and refused nothing.
    pub fn wait_until_settled(&self) {
        let nodes: Vec<String> = self
            .served
            .lock()
            .unwrap()
            .values()
            .map(|served| served.node.clone())
            .collect();
        let version = self.mesh.version();
        let settled = poll(PATIENCE, || {
            let connections = self.mesh.status();
            for state in connections.iter().flat_map(|c| c.types.iter()) {
                if let (kind, (SyncState::Error(reason), _)) = state {
                    panic!("a sidecar refuses a {}: {reason}", kind.type_url());
                }
            }
            let synced = |node: &String| {
                connections.iter().any(|connection| {
                    connection.node == *node
                        && connection.version == version
                        && !connection.types.is_empty()
                        && connection
                            .types
                            .values()
                            .all(|(state, _)| *state == SyncState::Synced)
                })
            };
            nodes.iter().all(synced).then_some(())
        });
        assert!(
            settled.is_some(),
            "not every sidecar has {version}: {:#?}",
            self.mesh.status()
        );
    }

    /// Issues a pod's next certificate.
    pub fn rotate(&self, pod: &str) {
        self.served.lock().unwrap()[pod].secrets.rotate().unwrap();
    }

    /// Closes the sockets of one pod.
    pub fn forget(&self, pod: &str) {
        let served = self.served.lock().unwrap().remove(pod).unwrap();
        for server in served.servers {
            self.handle.block_on(server.stop());
        }
    }

    /// Closes every socket: nobody hears of changes any more.
    pub fn leave(&self) {
        let served = std::mem::take(&mut *self.served.lock().unwrap());
        for server in served.into_values().flat_map(|served| served.servers) {
            self.handle.block_on(server.stop());
        }
    }
}
