//! Spool to broker.
//!
//! One thread takes every process's spool below a folder, in the order of its blocks, and hands the records to an idempotent producer.
//! What is still owed stands in the spool alone, never in the client's queue: a record counts as shipped when its delivery report says
//! so, the cursor passes a block when all of it is, and whatever becomes of the client (a fatal error, a purge, the process) is made
//! good by reading the spool from the cursor once more. Delivery is at least once; who reads drops what it has seen by `ce_id`.
//!
//! Records keep their order by key: they go to one client in the order of the spool, and what failed goes before what comes after it.
//!
//! | what the broker says | what happens |
//! |---|---|
//! | nothing | waits for ever; no message has a time to live |
//! | a fatal error | a new client; all that is not reported goes to it |
//! | no such topic, not allowed | the topic's records wait and are tried again; others go on as far as the window reaches |
//! | too large | batches are made as small as the topic takes; a record that is too large by itself goes to `dead-letters/`, and an `AuditGap` with its sequence to the topic |
//! | wrong password | said in the status; the client goes on trying |
//!
//! Of processes that are gone it also drains the rings.

mod environment;
mod flight;
mod limits;
mod link;
mod properties;
mod run;
mod source;
mod status;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::thread::JoinHandle;
use std::time::Duration;

pub use environment::{Asked, EnvironmentError};
pub(crate) use properties::refusal;
pub use properties::{BadLine, properties, property};
pub use status::{Problem, ShipStatus, SpoolStatus};

use crate::envelope::Form;
use run::Run;
use status::Board;

/// Ships the spools below a folder until it is dropped.
#[derive(Debug)]
pub struct Shipper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// How it goes with a shipper, for those who are asked for it; it keeps none running.
#[derive(Clone, Debug)]
pub struct Watch(Arc<Shared>);

/// Where to, and how.
#[derive(Clone)]
pub struct Settings {
    /// `host:port`, comma-separated.
    pub bootstrap: String,
    /// Further settings of the client, by librdkafka's names: `security.protocol`, `sasl.password`, …
    pub client: Vec<(String, String)>,
    pub form: Form,
    /// Records that may be on their way at once: with what the client keeps of each, some 40 MiB for 15,000.
    pub window: usize,
}

/// Why shipping cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    #[error("the events' folder {path} cannot be read: {source}")]
    Folder { path: PathBuf, source: io::Error },
    #[error("the Kafka client does not take its settings: {}", refusal(.0))]
    Client(#[from] rdkafka::error::KafkaError),
    #[error("the shipper cannot be started: {0}")]
    Thread(#[source] io::Error),
}

#[derive(Debug)]
struct Shared {
    board: Board,
    stopping: AtomicBool,
    /// Somebody wants the folder looked at now.
    look: AtomicBool,
}

impl Settings {
    pub fn new(bootstrap: impl Into<String>) -> Self {
        Self {
            bootstrap: bootstrap.into(),
            client: Vec::new(),
            form: Form::default(),
            window: 15_000,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Their values may be secrets.
        let names: Vec<&str> = self.client.iter().map(|(name, _)| name.as_str()).collect();
        formatter
            .debug_struct("Settings")
            .field("bootstrap", &self.bootstrap)
            .field("client", &names)
            .field("form", &self.form)
            .field("window", &self.window)
            .finish()
    }
}

impl Shipper {
    /// Begins to ship what lies below `root`, which may still be empty.
    pub fn start(root: &Path, settings: Settings) -> Result<Self, ShipError> {
        let folder = |source| ShipError::Folder {
            path: root.to_path_buf(),
            source,
        };
        std::fs::create_dir_all(root).map_err(folder)?;
        let shared = Arc::new(Shared {
            board: Board::default(),
            stopping: AtomicBool::new(false),
            look: AtomicBool::new(false),
        });
        let run = Run::new(root, settings, Arc::clone(&shared))?;
        // A thread of its own: the client's end blocks, and its callbacks run where it is polled.
        let thread = std::thread::Builder::new()
            .name("events-shipper".to_owned())
            .spawn(move || run.run())
            .map_err(ShipError::Thread)?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// How it goes.
    pub fn status(&self) -> ShipStatus {
        self.shared.board.read()
    }

    /// How it goes, also for who does not hold it.
    pub fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.shared))
    }

    /// Waits until all that is spooled is acknowledged, with what processes that are gone have left in their rings; false where that takes
    /// longer than the limit.
    pub fn drain(&self, limit: Duration) -> bool {
        let until = std::time::Instant::now() + limit;
        self.shared.look.store(true, Release);
        let seen = self.shared.board.round();
        loop {
            // Two rounds: the first may have begun before this call.
            if self.shared.board.idle_since(seen + 2) {
                return true;
            }
            let left = until.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() || self.shared.stopping.load(Acquire) {
                return false;
            }
            // Nobody writes any more once it has stopped.
            self.shared.board.wait(left.min(run::SETTLE));
        }
    }

    /// Stops; what is not acknowledged is shipped by the next.
    pub fn stop(mut self) -> ShipStatus {
        self.end();
        self.status()
    }

    fn end(&mut self) {
        self.shared.stopping.store(true, Release);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so.
            thread.join().ok();
        }
    }
}

impl Watch {
    /// How it goes, or went.
    pub fn status(&self) -> ShipStatus {
        self.0.board.read()
    }

    /// Has it stop now, also where somebody waits for it to drain.
    pub fn stop(&self) {
        self.0.stopping.store(true, Release);
    }
}

impl Drop for Shipper {
    fn drop(&mut self) {
        self.end();
    }
}
