//! `bench-events`: the process that emits events, for `bench`, which measures it.
//!
//! ```text
//! bench-events make N                         makes N events
//! bench-events emit N FOLDER                  makes and emits them, on the main thread
//! bench-events load SECONDS RATE FOLDER ADDR  emits so many a second, and ships them to the broker
//! bench-events fill MIB FOLDER                spools so much
//! bench-events first FOLDER ADDR              ships what is spooled, and says when something was acknowledged
//! bench-events version                        what it ships to
//! ```
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a terminal"
)]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use carbyne_benches::emission::{Filled, Loaded, fault};
use carbyne_benches::error::BenchError;
use carbyne_benches::measure::process;
use carbyne_events::broker::jars;
use carbyne_events::emit::{Options, Outlet};
use carbyne_events::envelope::Form;
use carbyne_events::samples::Calls;
use carbyne_events::ship::{Settings, Shipper};
use clap::Parser;
use rustix::process::getppid;

/// A process that emits events.
#[derive(Debug, Parser)]
enum Task {
    /// Makes events.
    Make {
        count: u64,
        /// Not needed.
        folder: Option<PathBuf>,
    },
    /// Makes and emits events on the main thread.
    Emit { count: u64, folder: PathBuf },
    /// Emits events and ships them.
    Load {
        seconds: u64,
        /// Events a second.
        rate: f64,
        folder: PathBuf,
        bootstrap: String,
    },
    /// Fills a spool.
    Fill { mib: u64, folder: PathBuf },
    /// Ships what is spooled until something is acknowledged.
    First { folder: PathBuf, bootstrap: String },
    /// Says to what it ships.
    Version,
}

fn main() -> ExitCode {
    match run(Task::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-events: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<(), BenchError> {
    match task {
        Task::Make { count, .. } => {
            let mut calls = Calls::new(SEED);
            for _ in 0..count {
                black_box(calls.call());
            }
            Ok(())
        }
        Task::Emit { count, folder } => emit(count, &folder),
        Task::Load {
            seconds,
            rate,
            folder,
            bootstrap,
        } => say(&load(
            Duration::from_secs(seconds),
            rate,
            &folder,
            bootstrap,
        )?),
        Task::Fill { mib, folder } => say(&fill(mib << 20, &folder)?),
        Task::First { folder, bootstrap } => first(&folder, bootstrap),
        Task::Version => {
            let java = Command::new("java").arg("--version").output();
            let java = java.map_or_else(|error| error.to_string().into_bytes(), |java| java.stdout);
            let java = String::from_utf8_lossy(&java);
            let java = java.lines().next().unwrap_or_default();
            println!("Kafka {} on {java}", jars::VERSION);
            Ok(())
        }
    }
}

fn say(outcome: &impl serde::Serialize) -> Result<(), BenchError> {
    println!("{}", serde_json::to_string(outcome).map_err(fault)?);
    Ok(())
}

/// The main thread is the one that strace follows and that callgrind calls the first. Two calls of getppid(2) tell where emission begins
/// and ends.
fn emit(count: u64, folder: &Path) -> Result<(), BenchError> {
    let outlet = Outlet::open(folder, options(COUNTED_RING)).map_err(fault)?;
    let emitter = outlet.emitter();
    let mut calls = Calls::new(SEED);
    black_box(getppid());
    for _ in 0..count {
        // An emission for which there is no room costs less than one for which there is: none may be dropped.
        emitter.emit(&calls.call()).map_err(fault)?;
    }
    black_box(getppid());
    Ok(())
}

fn load(
    length: Duration,
    rate: f64,
    folder: &Path,
    bootstrap: String,
) -> Result<Loaded, BenchError> {
    let shipper = shipper(folder, bootstrap)?;
    let outlet = Outlet::open(folder, options(RING)).map_err(fault)?;
    let emitter = outlet.emitter();
    let mut calls = Calls::new(SEED);
    let started = Instant::now();
    let (mut emitted, mut dropped) = (0_u64, 0_u64);
    while started.elapsed() < length {
        for _ in 0..BURST {
            match emitter.emit(&calls.call()) {
                Ok(()) => emitted += 1,
                Err(_) => dropped += 1,
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let due = Duration::from_secs_f64((emitted + dropped) as f64 / rate);
        std::thread::sleep(due.saturating_sub(started.elapsed()));
    }
    drop(emitter);
    outlet.close();
    if !shipper.drain(PATIENCE) {
        return Err(fault(format!("{:?}", shipper.status())));
    }
    let taken = started.elapsed();
    let acknowledged = shipper.status().acknowledged.iter().sum();
    let spent = process::cpu(&[std::process::id()]);
    let syncs = outlet.status().syncs;
    let number: u64 = syncs.counts.iter().sum();
    Ok(Loaded {
        emitted,
        dropped,
        acknowledged,
        seconds: taken.as_secs_f64(),
        cpu: spent.total.as_secs_f64() * 1e6,
        peak_kib: peak_kib()?,
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        sync: syncs.sum.as_secs_f64() * 1e3 / number.max(1) as f64,
    })
}

fn fill(bytes: u64, folder: &Path) -> Result<Filled, BenchError> {
    let outlet = Outlet::open(folder, options(RING)).map_err(fault)?;
    let emitter = outlet.emitter();
    let mut calls = Calls::new(SEED);
    while outlet.status().spool_bytes < bytes {
        for _ in 0..BURST {
            let call = calls.call();
            while emitter.emit(&call).is_err() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
    drop(emitter);
    outlet.close();
    let bytes = outlet.status().spool_bytes;
    Ok(Filled { bytes })
}

fn first(folder: &Path, bootstrap: String) -> Result<(), BenchError> {
    let shipper = shipper(folder, bootstrap)?;
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if shipper.status().acknowledged.iter().any(|each| *each > 0) {
            println!("acknowledged");
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(fault(format!("{:?}", shipper.status())))
}

fn shipper(folder: &Path, bootstrap: String) -> Result<Shipper, BenchError> {
    let settings = Settings {
        form: Form::Avro,
        ..Settings::new(bootstrap)
    };
    Shipper::start(folder, settings).map_err(fault)
}

fn options(ring_bytes: usize) -> Options {
    Options {
        ring_bytes,
        ..Options::new("bench", "gateway")
    }
}

/// The most memory that this process has had.
fn peak_kib() -> Result<f64, BenchError> {
    let file = "/proc/self/status";
    let status = std::fs::read_to_string(file).map_err(BenchError::file(file))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.ok_or_else(|| fault("no VmHWM"))
}

const SEED: u64 = 1;
/// A worker's ring under load: a second's events.
const RING: usize = 32 << 20;
/// A ring that takes all that is counted, however slow the writer is under valgrind.
const COUNTED_RING: usize = 128 << 20;
/// Events between two looks at the clock.
const BURST: u32 = 200;
/// What ends a run that does not come to its end.
const PATIENCE: Duration = Duration::from_secs(120);
