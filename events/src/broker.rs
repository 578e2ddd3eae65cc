//! A real Kafka on this machine: one node or three, in KRaft mode, on free loopback ports, from the published jars.
//!
//! For tests, benches and `carbyne up --with-kafka`. Nodes die with the process that started them, however that ends, and their
//! files go when the [`Cluster`] is dropped (or, after a SIGKILL, when the next one starts).
//!
//! | file | what it does |
//! |---|---|
//! | [`jars`] | finds or fetches the broker |
//! | [`alone`] | one node that somebody else keeps running, at addresses of their choice |
//! | `node` | one node: its properties, its process, what it said last |
//! | `keeper` | the thread that starts processes, so that they live as long as the cluster |
//! | `probe` | asks a port for ApiVersions |

pub mod alone;
pub mod jars;
mod keeper;
mod node;
mod probe;

use std::{
    collections::hash_map::RandomState,
    fs,
    hash::{BuildHasher, Hasher},
    io,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::process::Signal;

use self::{jars::JarsError, keeper::Keeper, node::Node};

/// What to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many nodes; each is broker and controller. One or three make sense.
    pub nodes: usize,
    /// Name and password that clients must give (SASL/PLAIN); `None`: anybody may come.
    pub user: Option<(String, String)>,
    /// Largest heap of a node, in MiB.
    pub heap_mib: u32,
    /// Where the folder of the cluster is made; `None`: the folder of temporary files.
    pub directory: Option<PathBuf>,
    /// Further lines of `server.properties`.
    pub settings: Vec<(String, String)>,
    /// How long the nodes may take to answer.
    pub wait: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nodes: 1,
            user: None,
            heap_mib: 512,
            directory: None,
            settings: Vec::new(),
            wait: Duration::from_secs(120),
        }
    }
}

impl Options {
    /// So many nodes, and the rest as it is by default.
    #[must_use]
    pub fn nodes(nodes: usize) -> Self {
        Self {
            nodes,
            ..Self::default()
        }
    }
}

/// Why there is no broker.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The broker's jars are not on this machine.
    #[error("{0}")]
    Jars(#[from] JarsError),
    /// Java is missing, or will not start.
    #[error("cannot run java: {0}; install openjdk-17-jre-headless")]
    Java(io::Error),
    /// Java is there, and too old.
    #[error(
        "Kafka {} needs Java 17, this one is {version}; install openjdk-17-jre-headless",
        jars::VERSION
    )]
    OldJava {
        /// Which.
        version: u32,
    },
    /// Something that the system would not give.
    #[error("{what}: {error}")]
    System {
        /// What was asked for.
        what: String,
        /// Why not.
        error: io::Error,
    },
    /// The folder of a node cannot be made ready.
    #[error("Kafka's storage of node {node} was not formatted:\n{said}")]
    Format {
        /// Which, from 0.
        node: usize,
        /// What the tool said last.
        said: String,
    },
    /// A node that ended before it answered.
    #[error("Kafka's node {node} ended ({status}); its log ends with\n{said}")]
    Ended {
        /// Which, from 0.
        node: usize,
        /// How.
        status: String,
        /// What it said last.
        said: String,
    },
    /// A node that does not answer in time.
    #[error("Kafka's node {node} did not answer within {limit:?}; its log ends with\n{said}")]
    Late {
        /// Which, from 0.
        node: usize,
        /// The time it had.
        limit: Duration,
        /// What it said last.
        said: String,
    },
}

/// A Kafka that runs until this is dropped.
#[derive(Debug)]
pub struct Cluster {
    directory: PathBuf,
    id: String,
    wait: Duration,
    keeper: Keeper,
    nodes: Mutex<Vec<Node>>,
}

impl Cluster {
    /// Starts the nodes and waits until each answers.
    ///
    /// # Errors
    /// When Java or the jars are missing, or a node does not come up.
    pub fn start(options: &Options) -> Result<Self, BrokerError> {
        let jars = jars::locate()?;
        let directory = make_directory(options.directory.as_deref())?;
        let cluster = Self {
            id: cluster_id(),
            wait: options.wait,
            keeper: Keeper::start(),
            nodes: Mutex::new(node::plan(options, &directory, &jars)?),
            directory,
        };
        // From here on dropping `cluster` takes everything away again.
        let mut nodes = cluster.lock();
        node::format(&nodes, &cluster.id, &cluster.keeper)?;
        for node in nodes.iter_mut() {
            node.start(&cluster.keeper)?;
        }
        let deadline = Instant::now() + cluster.wait;
        for node in nodes.iter_mut() {
            node.wait_until_it_answers(deadline, cluster.wait)?;
        }
        drop(nodes);
        Ok(cluster)
    }

    /// The addresses of all nodes, as `bootstrap.servers` wants them.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        let nodes = self.lock();
        let addresses: Vec<String> = nodes.iter().map(|node| node.address.to_string()).collect();
        addresses.join(",")
    }

    /// The id that the cluster calls itself.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The folder with a log, a properties file and the data of each node.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The process of each node that runs.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.lock().iter().filter_map(Node::pid).collect()
    }

    /// SIGKILL to a node, and back when it is gone. What it had written is in the page cache, so this is no power cut.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn kill(&self, node: usize) -> Result<(), BrokerError> {
        self.end(node, Signal::KILL)
    }

    /// SIGTERM to a node: it hands its leaderships over, and this is back when it is gone.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn terminate(&self, node: usize) -> Result<(), BrokerError> {
        self.end(node, Signal::TERM)
    }

    /// Stops a node without ending it, as a machine that hangs: connections stay, nothing answers.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn pause(&self, node: usize) -> Result<(), BrokerError> {
        self.lock()[node].signal(Signal::STOP)
    }

    /// Lets a node that was paused go on.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn resume(&self, node: usize) -> Result<(), BrokerError> {
        self.lock()[node].signal(Signal::CONT)
    }

    /// Starts a node again at its old address, with what it had, and waits until it answers.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn revive(&self, node: usize) -> Result<(), BrokerError> {
        let mut nodes = self.lock();
        nodes[node].start(&self.keeper)?;
        nodes[node].wait_until_it_answers(Instant::now() + self.wait, self.wait)
    }

    fn end(&self, node: usize, signal: Signal) -> Result<(), BrokerError> {
        self.lock()[node].end(signal)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Node>> {
        // A node's state is whole between any two lines that may panic.
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in self.lock().iter_mut() {
            // Nobody needs its data: SIGKILL is enough, and quick. Nobody is left to be told of an error.
            node.end(Signal::KILL).ok();
        }
        fs::remove_dir_all(&self.directory).ok();
    }
}

/// A folder named after this process, so that a later one sees whether it is still needed.
fn make_directory(parent: Option<&Path>) -> Result<PathBuf, BrokerError> {
    let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
    sweep(&parent);
    let directory = parent.join(format!("{PREFIX}{}-{:08x}", std::process::id(), random()));
    fs::create_dir_all(&directory)
        .and_then(|()| directory.canonicalize())
        .map_err(|error| BrokerError::System {
            what: format!("cannot make {}", directory.display()),
            error,
        })
}

/// Removes what processes left that were killed before they could.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.split('-').next())
            .and_then(|pid| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Another process may be sweeping the same folder.
            fs::remove_dir_all(entry.path()).ok();
        }
    }
}

/// Ports that nobody listens on, below those that the kernel gives to outgoing connections: a node that is down keeps its port.
fn free_ports(count: usize) -> Result<Vec<u16>, BrokerError> {
    let mut held = Vec::new();
    for _ in 0..20 * count {
        let port = 12_000 + (random() % 20_000) as u16;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            held.push((port, listener));
        }
        if held.len() == count {
            return Ok(held.into_iter().map(|(port, _)| port).collect());
        }
    }
    Err(BrokerError::System {
        what: "no free ports between 12000 and 32000".to_owned(),
        error: io::ErrorKind::AddrInUse.into(),
    })
}

/// 16 bytes in URL-safe base64, as Kafka writes its ids: hexadecimal digits and `A` at the end happen to be such a text.
fn cluster_id() -> String {
    let digits = format!("{:016x}{:08x}", random(), random() as u32);
    format!("{}A", &digits[..21])
}

/// Random enough for names and ports: the standard library seeds each of these anew.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The start of a command that the kernel ends with the thread that starts it: see [`keeper`].
fn tethered() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    command
}

const PREFIX: &str = "carbyne-kafka-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_kafkas() {
        let (one, other) = (cluster_id(), cluster_id());
        assert_eq!(one.len(), 22);
        assert!(!one.starts_with('-'));
        assert_ne!(one, other);
    }

    #[test]
    fn ports_are_free_and_all_different() {
        let mut ports = free_ports(6).unwrap();
        for &port in &ports {
            TcpListener::bind(("127.0.0.1", port)).unwrap();
        }
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 6);
    }

    #[test]
    fn what_dead_processes_left_is_swept() {
        let parent =
            std::env::temp_dir().join(format!("sweep-{}-{:x}", std::process::id(), random()));
        let mut gone = Command::new("true").spawn().unwrap();
        let left = parent.join(format!("{PREFIX}{}-1", gone.id()));
        gone.wait().unwrap();
        fs::create_dir_all(&left).unwrap();
        let other = parent.join("carbyne-kafka-notes");
        fs::create_dir_all(&other).unwrap();
        let own = make_directory(Some(&parent)).unwrap();
        assert!(!left.exists());
        sweep(&parent);
        assert!(own.exists() && other.exists());
        fs::remove_dir_all(parent).unwrap();
    }
}
