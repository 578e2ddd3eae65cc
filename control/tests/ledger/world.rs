//! A broker, a gateway and the folder between them.

use std::{
    env,
    fs::OpenOptions,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

use carbyne_events::broker::{Cluster, Options};

use super::{
    gateway::Gateway,
    load::{Address, Load},
    service,
    shipper::{self, Shipper},
    trail::Trail,
};

/// How long anything may take before a test fails: far longer than it takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Whose settings are changed while requests go on.
pub(crate) const SERVICES: [&str; 3] = ["first", "second", "third"];

/// One row of the table: a gateway of its own before a cluster that all share.
pub(crate) struct World {
    pub(crate) cluster: Arc<Cluster>,
    /// Where the gateway of the moment listens.
    pub(crate) address: Address,
    gateway: Option<Gateway>,
    node: &'static str,
    folder: tempfile::TempDir,
    /// Loads share the machine with a broker: one at a time.
    _turn: MutexGuard<'static, ()>,
}

impl World {
    /// With a node's name of its own.
    pub(crate) fn start(node: &'static str) -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        // Tests that wait for their turn keep it alive.
        let cluster = shared.upgrade().unwrap_or_else(|| {
            let cluster = Arc::new(Cluster::start(&Options::default()).unwrap());
            shipper::apply_topics(&cluster.bootstrap());
            cluster
        });
        *shared = Arc::downgrade(&cluster);
        drop(shared);
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        let gateway = Gateway::start(
            &folder.path().join("prefix"),
            &folder.path().join("events"),
            node,
        );
        let addresses = gateway.addresses;
        configure(addresses.admin, service::start());
        Self {
            cluster,
            address: Arc::new(Mutex::new(addresses)),
            gateway: Some(gateway),
            node,
            folder,
            _turn: turn,
        }
    }

    pub(crate) fn ship(&self) -> Shipper {
        Shipper::start(&self.events(), &self.cluster.bootstrap())
    }

    pub(crate) fn kill_gateway(&mut self) {
        self.gateway = None;
    }

    pub(crate) fn start_gateway(&mut self) {
        let gateway = Gateway::start(
            &self.folder.path().join("prefix"),
            &self.events(),
            self.node,
        );
        *self.address.lock().unwrap() = gateway.addresses;
        self.gateway = Some(gateway);
    }

    /// Ends clients, gateway and shipper in this order, reads back what the topics hold and prints the row.
    pub(crate) fn settle(mut self, row: &str, load: Load, shipper: Shipper) -> Trail {
        let answered = load.stop();
        let ended = self.gateway.take().unwrap().terminate();
        assert!(ended.success(), "{ended}");
        let (events, bootstrap) = (self.events(), self.cluster.bootstrap());
        let acknowledged = shipper.terminate() + shipper::ship_the_rest(&events, &bootstrap);
        let trail = Trail::read(self.node, &events, &bootstrap, answered);
        trail.print(row, acknowledged);
        trail
    }

    fn events(&self) -> PathBuf {
        self.folder.path().join("events")
    }
}

/// Services, routes and a key, as an administrator makes them.
fn configure(admin: SocketAddr, service: SocketAddr) {
    let mut calls = Vec::new();
    for name in SERVICES {
        let service = format!(r#"{{"url": "http://{service}"}}"#);
        calls.push((format!("/services/{name}"), service));
    }
    for (name, plugins) in [("open", None), ("keyed", Some("key-auth"))] {
        let route = format!(r#"{{"paths": ["/{name}"]}}"#);
        calls.push((format!("/services/first/routes/{name}"), route));
        if let Some(plugin) = plugins {
            let plugin = format!(r#"{{"name": "{plugin}"}}"#);
            calls.push((
                format!("/routes/{name}/plugins/8b6bd4a2-6d3a-4e9b-8f0e-3f0f0a4fbb10"),
                plugin,
            ));
        }
    }
    for (path, body) in calls {
        let mut stream = TcpStream::connect(admin).unwrap();
        write!(
            stream,
            "PUT {path} HTTP/1.1\r\nHost: admin.example\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    }
}

/// Whether every case is wanted.
pub(crate) fn full() -> bool {
    env::var("FULL").is_ok_and(|full| !matches!(full.as_str(), "" | "0"))
}

pub(crate) fn seeded(name: &str) -> fastrand::Rng {
    let seed = env::var("CARBYNE_SEED").ok();
    let seed: u64 = seed.and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let of_name = name.bytes().fold(seed, |seed, byte| {
        seed.wrapping_mul(31).wrapping_add(u64::from(byte))
    });
    fastrand::Rng::with_seed(of_name)
}

/// Tells the suite how much of a table it ran.
pub(crate) fn cases(name: &str, run: u64, all: u64) {
    if let Some(path) = env::var_os("CARBYNE_CASES") {
        let mut file = OpenOptions::new();
        let mut file = file.append(true).create(true).open(path).unwrap();
        writeln!(file, "{} {run} {all}", name.replace(' ', "-")).unwrap();
    }
}

pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < PATIENCE, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
