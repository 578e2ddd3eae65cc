//! A process's events: its directory, its rings, its writer.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use tokio::sync::watch;

use super::status::{Totals, status};
use super::writer::{Drain, Writer, recover_rings};
use super::{Emitter, Status, now};
use crate::event::Heartbeat;
use crate::ring::{self, Gauge, Owner};
use crate::spool::append::{Appender, Disk, Storage};
use crate::spool::{Claim, Directory, Ledger};

/// A process's way out for events. When it goes, everything that was emitted is put on disk.
pub struct Outlet {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// Who a process is, and what its events may take.
#[derive(Clone, Debug)]
pub struct Options {
    /// The node's name: of a pod or of a machine.
    pub node: String,
    /// What the process is: `gateway`, `proxy`.
    pub role: String,
    /// Bytes of a worker's ring; rounded up to a power of two.
    pub ring_bytes: usize,
    /// Bytes of the spool from which on it counts as full.
    pub spool_limit: u64,
    /// Bytes beyond the limit for events that are rare and may not be missed.
    pub reserve: u64,
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// Bytes of records that make a block.
    pub block_bytes: usize,
    /// How long an event of class `Durable` may wait for the disk: what a power cut may cost.
    pub commit_interval: Duration,
    /// Bytes that are put on disk before that time is over. The writer waits for a sync: where the disk is slow, few large ones keep up
    /// and many small ones do not.
    pub commit_bytes: usize,
}

/// Why a directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum OutletError {
    #[error("the events' directory {path} cannot be used: {source}")]
    Directory { path: PathBuf, source: io::Error },
    #[error("the events' writer cannot be started: {0}")]
    Thread(#[source] io::Error),
}

/// What the ends of an outlet share.
pub(super) struct Shared {
    pub(super) name: String,
    pub(super) epoch: u64,
    pub(super) options: Options,
    pub(super) claim: Claim,
    /// [`LIMIT`] and [`STUCK`].
    pub(super) pressure: AtomicU8,
    pub(super) closing: AtomicBool,
    pub(super) totals: Totals,
    ledger: Mutex<Ledger>,
    newcomers: Mutex<Vec<Drain>>,
    gauges: Mutex<Vec<Gauge>>,
    workers: AtomicU64,
    writer: OnceLock<Thread>,
}

/// The spool has reached its limit.
pub(super) const LIMIT: u8 = 1;
/// The disk takes nothing, or the reserve is used up too.
pub(super) const STUCK: u8 = 2;

impl Options {
    pub fn new(node: impl Into<String>, role: impl Into<String>) -> Self {
        Self {
            node: node.into(),
            role: role.into(),
            ring_bytes: 4 << 20,
            spool_limit: 4 << 30,
            reserve: 64 << 20,
            segment_bytes: 64 << 20,
            block_bytes: 256 << 10,
            commit_interval: Duration::from_millis(50),
            commit_bytes: 8 << 20,
        }
    }
}

impl Outlet {
    /// Takes a directory below `root`, puts into its spool what a dead predecessor has left, and starts the writer.
    pub fn open(root: &Path, options: Options) -> Result<Self, OutletError> {
        Self::open_on(root, options, || Box::new(Disk))
    }

    pub(crate) fn open_on(
        root: &Path,
        options: Options,
        storage: impl Fn() -> Box<dyn Storage>,
    ) -> Result<Self, OutletError> {
        let (shared, writer) = prepare(root, options, storage)?;
        let thread = std::thread::Builder::new()
            .name("events-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(OutletError::Thread)?;
        // Set once, here.
        shared.writer.set(thread.thread().clone()).ok();
        Ok(Self {
            shared,
            writer: Mutex::new(Some(thread)),
        })
    }

    /// A way to emit for one worker, to be kept on its thread.
    pub fn emitter(&self) -> Emitter {
        emitter(&self.shared)
    }

    /// How it goes.
    pub fn status(&self) -> Status {
        status(&self.shared, &lock(&self.shared.gauges))
    }

    /// The directory that this process has taken.
    pub fn directory(&self) -> &Directory {
        self.shared.claim.directory()
    }

    /// Puts all that was emitted on disk and ends the writer. What is emitted later stays in the rings, for the next start.
    pub fn close(&self) {
        self.shared.closing.store(true, Release);
        self.shared.wake();
        let writer = lock(&self.writer).take();
        if let Some(writer) = writer {
            // A writer that panicked has said so.
            writer.join().ok();
        }
    }
}

/// Takes a directory and drains what is left in it: all but the thread.
pub(super) fn prepare(
    root: &Path,
    options: Options,
    storage: impl Fn() -> Box<dyn Storage>,
) -> Result<(Arc<Shared>, Writer), OutletError> {
    let failed = |source| OutletError::Directory {
        path: root.to_path_buf(),
        source,
    };
    let claim = Directory::claim(root, &options.role).map_err(failed)?;
    let totals = Totals::default();
    // What a full disk does not take stays in the rings for the next start.
    if let Err(error) = recover_rings(&claim, &storage, &totals) {
        totals.fail(&error);
    }
    let directory = claim.directory();
    let name = format!("{}/{}", options.node, directory.name());
    let mut ledger = Ledger::load(directory.path());
    let epoch = next_epoch(directory, &ledger).map_err(failed)?;
    if let Err(error) = ledger.begin(&name, epoch) {
        totals.fail(&error);
    }
    let segment_bytes = options.segment_bytes.min(options.spool_limit / 8);
    let appender =
        Appender::new(storage(), directory, &name, segment_bytes.max(1 << 16)).map_err(failed)?;
    let shared = Arc::new(Shared {
        name,
        epoch,
        options,
        claim,
        pressure: AtomicU8::new(0),
        closing: AtomicBool::new(false),
        totals,
        ledger: Mutex::new(ledger),
        newcomers: Mutex::default(),
        gauges: Mutex::default(),
        workers: AtomicU64::new(0),
        writer: OnceLock::new(),
    });
    let writer = Writer::new(Arc::clone(&shared), appender);
    Ok((shared, writer))
}

pub(super) fn emitter(shared: &Arc<Shared>) -> Emitter {
    let worker = shared.workers.fetch_add(1, Relaxed);
    let owner = Owner {
        epoch: shared.epoch,
        worker,
    };
    let path = shared.claim.directory().ring(owner.epoch, worker);
    let size = shared.options.ring_bytes;
    let (producer, consumer, path) = match ring::create(&path, size, owner) {
        Ok((producer, consumer)) => (producer, consumer, Some(path)),
        Err(error) => {
            // A full disk: what lies in this ring ends with the process.
            shared.totals.fail(&error);
            let (producer, consumer) = ring::in_memory(size, owner);
            (producer, consumer, None)
        }
    };
    let (sender, kept) = watch::channel(super::Kept::default());
    let name = format!("{}/{worker}", shared.name);
    lock(&shared.gauges).push(producer.gauge());
    lock(&shared.newcomers).push(Drain::new(consumer, owner, &shared.name, path, sender));
    let emitter = Emitter::new(producer, Arc::clone(shared), kept, name, owner.epoch);
    // The first thing that is said is where the worker's last producer ended: whoever reads the topics alone sees a lost tail.
    // That may have been another node's: the directory is whose who takes it first.
    let ledger = lock(&shared.ledger);
    let last = ledger
        .last_end(worker)
        .and_then(|end| Some((end, ledger.name(end.epoch)?)));
    if let Some((end, process)) = last {
        let producer = format!("{process}/{worker}");
        let heartbeat = Heartbeat {
            time: now(),
            stream: &format!("{producer}/{}", end.epoch),
            producer: &producer,
            epoch: end.epoch,
            sequence: end.last,
            lost: 0,
        };
        // An empty ring has room.
        emitter.emit(&heartbeat).ok();
    }
    drop(ledger);
    emitter
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Outlet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Outlet")
            .field("name", &self.shared.name)
            .field("epoch", &self.shared.epoch)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Makes the writer look at the rings now.
    pub(super) fn wake(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Acquire)
    }

    pub(super) fn take_newcomers(&self) -> Vec<Drain> {
        std::mem::take(&mut *lock(&self.newcomers))
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    /// Takes what a ring has counted over into the totals: it is gone.
    pub(super) fn retire(&self, gauge: &Gauge) {
        let mut gauges = lock(&self.gauges);
        self.totals.add(gauge);
        gauges.retain(|other| !other.is(gauge));
    }
}

/// Puts into the spool what the rings of a dead process hold: what its next start would do. Says how many records that were.
pub fn recover(claim: &Claim) -> io::Result<u64> {
    recover_rings(claim, || Box::new(Disk), &Totals::default())
}

/// Greater than every epoch before it, and of its own even where the directory is new: a clock that goes back changes nothing.
fn next_epoch(directory: &Directory, ledger: &Ledger) -> io::Result<u64> {
    let of_file = |path: &PathBuf| {
        let (epoch, _) = path.file_stem()?.to_str()?.split_once('-')?;
        epoch.parse::<u64>().ok()
    };
    let rings = directory.ring_files()?;
    let of_rings = rings.iter().filter_map(of_file).max().unwrap_or(0);
    let last = ledger.epoch().max(of_rings);
    Ok((last + 1).max(now() / 1_000_000))
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
