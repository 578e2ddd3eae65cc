//! Brokers, disks and loads.

use std::env;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
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
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::ledger::Ledger;

/// A cluster with the twelve topics.
pub(crate) struct World {
    pub(crate) cluster: Arc<Cluster>,
    folder: tempfile::TempDir,
    _turn: Turn,
}

/// Whose turn it is on the cluster that most tests share.
enum Turn {
    /// Of one whose faults are the broker's.
    Alone(#[expect(dead_code, reason = "held")] RwLockWriteGuard<'static, ()>),
    /// Of those whose faults are elsewhere.
    Beside(#[expect(dead_code, reason = "held")] RwLockReadGuard<'static, ()>),
}

static TURNS: RwLock<()> = RwLock::new(());

fn alone() -> Turn {
    Turn::Alone(TURNS.write().unwrap_or_else(PoisonError::into_inner))
}

fn beside() -> Turn {
    Turn::Beside(TURNS.read().unwrap_or_else(PoisonError::into_inner))
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

impl World {
    /// The node that most tests share, for one that does something to it.
    pub(crate) fn one() -> Self {
        Self::over(Self::shared(), alone())
    }

    /// The same, for one that leaves it alone.
    pub(crate) fn quiet() -> Self {
        Self::over(Self::shared(), beside())
    }

    /// Each test has a node's name of its own. Tests that wait for their turn keep it alive.
    fn shared() -> Arc<Cluster> {
        static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let cluster = shared.upgrade().unwrap_or_else(|| {
            let cluster = Arc::new(Cluster::start(&broker::Options::nodes(1)).unwrap());
            create(&Settings::new(cluster.bootstrap()), &[], 1);
            cluster
        });
        *shared = Arc::downgrade(&cluster);
        cluster
    }

    pub(crate) fn three() -> Self {
        let turn = alone();
        let cluster = Cluster::start(&broker::Options::nodes(3)).unwrap();
        create(&Settings::new(cluster.bootstrap()), &[], 3);
        Self::over(Arc::new(cluster), turn)
    }

    pub(crate) fn with(options: broker::Options) -> Self {
        let turn = beside();
        Self::over(Arc::new(Cluster::start(&options).unwrap()), turn)
    }

    fn over(cluster: Arc<Cluster>, turn: Turn) -> Self {
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
        self.ship_up_to(root, settings, gone);
        Shipper::start(root, settings.clone()).unwrap()
    }

    /// Ships what lies before a segment, and nothing else.
    pub(crate) fn ship_up_to(&self, root: &Path, settings: &Settings, end: u64) {
        let directory = carbyne_events::spool::directories(root).unwrap().remove(0);
        let aside = tempfile::tempdir_in(self.folder.path()).unwrap();
        for (ordinal, _) in directory.segment_sizes().unwrap() {
            if ordinal >= end {
                let place = aside.path().join(ordinal.to_string());
                std::fs::rename(segment(&directory, ordinal), place).unwrap();
            }
        }
        let shipper = Shipper::start(root, settings.clone()).unwrap();
        assert!(
            shipper.drain(Duration::from_secs(60)),
            "{:?}",
            shipper.status()
        );
        drop(shipper);
        for entry in std::fs::read_dir(aside.path()).unwrap() {
            let entry = entry.unwrap();
            let ordinal: u64 = entry.file_name().to_str().unwrap().parse().unwrap();
            std::fs::rename(entry.path(), segment(&directory, ordinal)).unwrap();
        }
    }

    /// Sends so many messages of a node's once more, as they are.
    pub(crate) fn repeat(&self, topic: &str, node: &str, count: usize) {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.cluster.bootstrap())
            .set("group.id", "repeats")
            .set("auto.offset.reset", "earliest");
        let consumer: BaseConsumer = config.create().unwrap();
        let producer: BaseProducer = config.create().unwrap();
        consumer.subscribe(&[topic]).unwrap();
        let prefix = format!("{node}/");
        let mut sent = 0;
        let since = Instant::now();
        while sent < count {
            assert!(since.elapsed() < Duration::from_secs(60), "{sent} repeated");
            let Some(Ok(message)) = consumer.poll(Duration::from_millis(200)) else {
                continue;
            };
            let headers = message.headers().unwrap().detach();
            let of_node = headers.iter().any(|header| {
                let value = header
                    .value
                    .and_then(|value| std::str::from_utf8(value).ok());
                header.key == "producer" && value.is_some_and(|value| value.starts_with(&prefix))
            });
            if of_node {
                let record = BaseRecord::<[u8], [u8]>::to(topic)
                    .payload(message.payload().unwrap())
                    .headers(headers);
                producer.send(record).map_err(|(error, _)| error).unwrap();
                sent += 1;
            }
        }
        producer.flush(Duration::from_secs(30)).unwrap();
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
            let burst = if full() { 200 } else { 8 };
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

    /// Waits until so many more are emitted that what was done meanwhile met some of them.
    pub(crate) fn goes_on(&self) {
        let more = if full() { 4_000 } else { 800 };
        let until = self.count.load(Relaxed) + more;
        eventually("more is emitted", || self.count.load(Relaxed) >= until);
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
    // A position at the start of a segment is before its head.
    flip_at(directory, at.segment, at.offset.max(512) + behind);
}

/// Flips a bit of a segment's head.
pub(crate) fn flip_head(directory: &Directory, ordinal: u64) {
    flip_at(directory, ordinal, 34);
}

fn flip_at(directory: &Directory, ordinal: u64, offset: u64) {
    let path = segment(directory, ordinal);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 4], offset).unwrap();
}

/// A small disk. Needs root.
pub(crate) struct Disk {
    folder: tempfile::TempDir,
    _image: Option<tempfile::NamedTempFile>,
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
        Self::mounted(folder, None)
    }

    /// One that turns read-only when it breaks, as most systems' do.
    pub(crate) fn that_breaks(bytes: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(bytes).unwrap();
        let file = image.path().to_str().unwrap();
        run(&["mkfs.ext4", "-q", "-F", file]);
        let at = folder.path().to_str().unwrap();
        run(&["mount", "-o", "loop,errors=remount-ro", file, at]);
        Self::mounted(folder, Some(image))
    }

    fn mounted(folder: tempfile::TempDir, image: Option<tempfile::NamedTempFile>) -> Self {
        let disk = Self {
            folder,
            _image: image,
        };
        std::fs::create_dir(disk.path()).unwrap();
        disk
    }

    /// Has the kernel find an error on it, while files are open and mapped: nobody could remount it by hand then.
    pub(crate) fn breaks(&self) {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let device = mounts.lines().find_map(|line| {
            let (device, rest) = line.split_once(' ')?;
            let (at, _) = rest.split_once(' ')?;
            (Path::new(at) == self.folder.path()).then_some(device)
        });
        let device = device.unwrap().trim_start_matches("/dev/");
        let trigger = format!("/sys/fs/ext4/{device}/trigger_fs_error");
        std::fs::write(trigger, "a test").unwrap();
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
        "{words:?}: {status}; this suite needs root, mount(8), loop devices and e2fsprogs"
    );
}
