//! Brokers, disks and loads.

use std::env;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use carbyne_events::broker::{self, Cluster};
use carbyne_events::emit::{Options, Outlet};
use carbyne_events::event::Topic;
use carbyne_events::samples::{Calls, change};
use carbyne_events::ship::{Settings, Shipper};
use carbyne_events::spool::{Directory, Position, Reader, Step};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;

use super::ledger::Ledger;

/// A cluster with the twelve topics, for one test at a time.
pub(crate) struct World {
    pub(crate) cluster: Arc<Cluster>,
    folder: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// Whether every case is wanted.
pub(crate) fn full() -> bool {
    env::var("FULL").is_ok_and(|full| !matches!(full.as_str(), "" | "0"))
}

pub(crate) fn seeded(name: &str) -> fastrand::Rng {
    let seed: u64 = env::var("CARBYNE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1);
    let of_name = name.bytes().fold(seed, |seed, byte| {
        seed.wrapping_mul(31).wrapping_add(u64::from(byte))
    });
    fastrand::Rng::with_seed(of_name)
}

/// Tells the suite how much of a table it ran.
pub(crate) fn cases(name: &str, run: u64, all: u64) {
    if let Some(path) = env::var_os("CARBYNE_CASES") {
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .unwrap();
        writeln!(file, "{} {run} {all}", name.replace(' ', "-")).unwrap();
    }
}

pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < Duration::from_secs(90), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.unwrap().block_on(future)
}

/// Loads share two cores with a broker: one at a time.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// The node that most tests share; each has a node's name of its own. Tests that wait for their turn keep it alive.
    pub(crate) fn one() -> Self {
        static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let cluster = shared.upgrade().unwrap_or_else(|| {
            let cluster = Arc::new(Cluster::start(&broker::Options::nodes(1)).unwrap());
            create(&Settings::new(cluster.bootstrap()), &[], 1);
            cluster
        });
        *shared = Arc::downgrade(&cluster);
        drop(shared);
        Self::over(cluster, turn())
    }

    pub(crate) fn three() -> Self {
        let turn = turn();
        let cluster = Cluster::start(&broker::Options::nodes(3)).unwrap();
        create(&Settings::new(cluster.bootstrap()), &[], 3);
        Self::over(Arc::new(cluster), turn)
    }

    pub(crate) fn with(options: broker::Options) -> Self {
        let turn = turn();
        Self::over(Arc::new(Cluster::start(&options).unwrap()), turn)
    }

    fn over(cluster: Arc<Cluster>, turn: MutexGuard<'static, ()>) -> Self {
        Self {
            cluster,
            folder: tempfile::tempdir().unwrap(),
            _turn: turn,
        }
    }

    pub(crate) fn root(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn ship(&self, name: &str) -> Shipper {
        self.ship_from(&self.root(name))
    }

    pub(crate) fn ship_from(&self, root: &Path) -> Shipper {
        Shipper::start(root, Settings::new(self.cluster.bootstrap())).unwrap()
    }

    /// Two shippers, one up to a segment that is gone and one from there on: neither sees the hole.
    pub(crate) fn ship_in_parts(&self, root: &Path, settings: &Settings, gone: u64) -> Shipper {
        let directory = carbyne_events::spool::directories(root).unwrap().remove(0);
        let aside = self.folder.path().join("aside");
        std::fs::create_dir_all(&aside).unwrap();
        let later = || {
            directory
                .segment_sizes()
                .unwrap()
                .into_iter()
                .filter(|(ordinal, _)| *ordinal > gone)
        };
        for (ordinal, _) in later() {
            std::fs::rename(
                segment(&directory, ordinal),
                aside.join(ordinal.to_string()),
            )
            .unwrap();
        }
        let first = Shipper::start(root, settings.clone()).unwrap();
        assert!(first.drain(Duration::from_secs(60)), "{:?}", first.status());
        drop(first);
        for entry in std::fs::read_dir(&aside).unwrap() {
            let entry = entry.unwrap();
            let ordinal: u64 = entry.file_name().to_str().unwrap().parse().unwrap();
            std::fs::rename(entry.path(), segment(&directory, ordinal)).unwrap();
        }
        Shipper::start(root, settings.clone()).unwrap()
    }

    pub(crate) fn settings_as(&self, name: &str, password: &str) -> Settings {
        let mut settings = Settings::new(self.cluster.bootstrap());
        let login = [
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanisms", "PLAIN"),
            ("sasl.username", name),
            ("sasl.password", password),
        ];
        settings
            .client
            .extend(login.map(|(name, value)| (name.to_owned(), value.to_owned())));
        settings
    }

    /// All topics but these.
    pub(crate) fn create_topics(&self, settings: &Settings, without: &[&str]) {
        create(settings, without, 1);
    }

    pub(crate) fn create_topic(&self, settings: &Settings, name: &str, config: &[(&str, &str)]) {
        let mut topic = NewTopic::new(name, 2, TopicReplication::Fixed(1));
        for (name, value) in config {
            topic = topic.set(name, value);
        }
        create_all(settings, &[topic]);
    }

    /// Of a node whose events lie in the root of its name.
    pub(crate) fn settle(
        &self,
        node: &str,
        fault: &str,
        confirmed: Vec<String>,
        shipper: Shipper,
    ) -> Ledger {
        self.settle_from(fault, node, &self.root(node), confirmed, shipper)
    }

    pub(crate) fn settle_from(
        &self,
        fault: &str,
        node: &str,
        root: &Path,
        confirmed: Vec<String>,
        shipper: Shipper,
    ) -> Ledger {
        let settings = Settings::new(self.cluster.bootstrap());
        self.settle_as(fault, node, &settings, root, confirmed, shipper)
    }

    /// Waits until all is shipped, reads it back and prints the ledger.
    pub(crate) fn settle_as(
        &self,
        fault: &str,
        node: &str,
        settings: &Settings,
        root: &Path,
        confirmed: Vec<String>,
        shipper: Shipper,
    ) -> Ledger {
        assert!(
            shipper.drain(Duration::from_secs(120)),
            "{:?}",
            shipper.status()
        );
        let status = shipper.stop();
        let ledger = Ledger::read(
            &settings.bootstrap,
            &settings.client,
            node,
            Some(root),
            confirmed,
        );
        ledger.print(fault, status.acknowledged.iter().sum());
        ledger
    }
}

fn create(settings: &Settings, without: &[&str], replicas: i32) {
    let names = Topic::ALL
        .into_iter()
        .map(Topic::name)
        .filter(|name| !without.contains(name));
    let topics: Vec<NewTopic<'_>> = names
        .map(|name| {
            let topic = NewTopic::new(name, 3, TopicReplication::Fixed(replicas));
            if replicas == 3 {
                topic.set("min.insync.replicas", "2")
            } else {
                topic
            }
        })
        .collect();
    create_all(settings, &topics);
}

fn create_all(settings: &Settings, topics: &[NewTopic<'_>]) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &settings.bootstrap);
    for (name, value) in &settings.client {
        config.set(name, value);
    }
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
    for result in block_on(admin.create_topics(topics, &options)).unwrap() {
        result.unwrap();
    }
}

/// Emits so many calls, to the end: the process is gone afterwards. Gives their ids.
pub(crate) fn emit(root: &Path, node: &str, count: u64) -> Vec<String> {
    emit_from(root, node, count, 1)
}

pub(crate) fn emit_from(root: &Path, node: &str, count: u64, seed: u64) -> Vec<String> {
    emit_with(root, Options::new(node, "gateway"), count, seed)
}

pub(crate) fn emit_with(root: &Path, options: Options, count: u64, seed: u64) -> Vec<String> {
    let outlet = Outlet::open(root, options).unwrap();
    let emitter = outlet.emitter();
    let mut calls = Calls::new(seed);
    let mut ids = Vec::new();
    for _ in 0..count {
        let call = calls.call();
        // What is not on disk yet fits the ring.
        emitter.emit(&call).unwrap();
        ids.push(call.request_id.to_owned());
        if ids.len() % 500 == 0 {
            // Into blocks of their own.
            block_on(emitter.emit_durably(&change("routes/1", ids.len() as u64))).unwrap();
        }
    }
    ids
}

/// A gateway that emits as fast as the pipeline takes it.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    thread: JoinHandle<Vec<String>>,
}

impl Load {
    pub(crate) fn start(root: PathBuf, node: &'static str) -> Self {
        let (stop, count) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&count));
        let thread = std::thread::spawn(move || {
            let outlet = Outlet::open(&root, Options::new(node, "gateway")).unwrap();
            let emitter = outlet.emitter();
            let mut calls = Calls::new(1);
            let mut ids = Vec::new();
            // Every event is read back and looked at: a slice of the suite emits fewer of them.
            let burst = if full() { 200 } else { 20 };
            while !stopped.load(Relaxed) {
                let call = calls.call();
                if emitter.emit(&call).is_ok() {
                    ids.push(call.request_id.to_owned());
                    counted.store(ids.len() as u64, Relaxed);
                }
                if ids.len() % burst == 0 {
                    let version = ids.len() as u64;
                    emitter
                        .emit(&change(&format!("routes/{}", version / 20 % 7), version))
                        .ok();
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
            ids
        });
        Self {
            stop,
            count,
            thread,
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    pub(crate) fn runs_until(&self, count: u64) {
        eventually("so many are emitted", || self.count() >= count);
    }

    /// Ends it as a process ends that is told to; gives the ids of what was confirmed.
    pub(crate) fn stop(self) -> Vec<String> {
        self.stop.store(true, Relaxed);
        self.thread.join().unwrap()
    }
}

fn segment(directory: &Directory, ordinal: u64) -> PathBuf {
    directory.segments().join(format!("{ordinal:020}.segment"))
}

pub(crate) fn remove(directory: &Directory, ordinal: u64) {
    std::fs::remove_file(segment(directory, ordinal)).unwrap();
}

/// The first and the last sequence in a segment, which holds one producer's blocks.
pub(crate) fn held(directory: &Directory, ordinal: u64) -> (u64, u64) {
    let start = Position {
        segment: ordinal,
        offset: 0,
    };
    let mut reader = Reader::new(directory, start);
    let (mut first, mut last) = (u64::MAX, 0);
    while reader.position().segment <= ordinal {
        match reader.step().unwrap() {
            Step::Block(_) if reader.position().segment > ordinal => break,
            Step::Block(block) => {
                first = first.min(block.header.first);
                last = last.max(block.header.last);
            }
            Step::Damage(damage) => panic!("{damage:?}"),
            Step::End => break,
        }
    }
    (first, last)
}

/// Flips a bit of a segment, so many bytes behind a position.
pub(crate) fn flip(directory: &Directory, at: Position, behind: u64) {
    let path = segment(directory, at.segment);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    // A position at the start of a segment is before its head.
    let offset = at.offset.max(512) + behind;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 4], offset).unwrap();
}

/// A small disk. Needs root.
pub(crate) struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    pub(crate) fn mount(bytes: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={bytes}");
        run(&[
            "mount",
            "-t",
            "tmpfs",
            "-o",
            &size,
            "tmpfs",
            folder.path().to_str().unwrap(),
        ]);
        let disk = Self { folder };
        std::fs::create_dir(disk.path()).unwrap();
        disk
    }

    pub(crate) fn path(&self) -> &Path {
        Box::leak(self.folder.path().join("events").into_boxed_path())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let folder = self.folder.path();
        Command::new("umount").arg("-l").arg(folder).status().ok();
    }
}

fn run(words: &[&str]) {
    let status = Command::new(words[0]).args(&words[1..]).status().unwrap();
    assert!(
        status.success(),
        "{words:?}: {status}; this suite needs root and mount(8)"
    );
}
