//! `bench-events`: what an event costs, and how many a second reach a real broker on the same cores.
//!
//! ```text
//! bench-events                    all rows; --seconds 60
//! bench-events emit N             (child) emits N events on the main thread
//! bench-events make N             (child) makes N events and emits none
//! bench-events load SECONDS ...   (child) emits and ships
//! ```
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a terminal"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use carbyne_benches::error::BenchError;
use carbyne_benches::measure::instructions;
use carbyne_events::broker::{self, Cluster};
use carbyne_events::emit::{Options, Outlet};
use carbyne_events::envelope::Form;
use carbyne_events::event::Event;
use carbyne_events::samples::Calls;
use carbyne_events::ship::{Settings, Shipper};
use carbyne_events::topics::{Access, Admin, BUILT_IN, File, Permission, Plan};
use clap::{Parser, Subcommand};

/// What events cost.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    /// How long the load lasts.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Where the file of figures is written.
    #[arg(long, default_value = "benches/results")]
    results: PathBuf,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Part {
    /// Emit so many events.
    Emit { count: u64 },
    /// Make so many events.
    Make { count: u64 },
    /// Emit and ship for so long, or ship what lies there.
    Load,
    /// Spool so many MiB.
    Fill { mib: u64 },
    /// Ship what was spooled, and say when the first was acknowledged.
    First,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.part {
        None => rows(&arguments),
        Some(Part::Emit { count }) => emit(count),
        Some(Part::Make { count }) => {
            let mut calls = Calls::new(1);
            let mut body = Vec::with_capacity(1024);
            for _ in 0..count {
                body.clear();
                calls.call().encode(&mut body);
                std::hint::black_box(&body);
            }
            Ok(())
        }
        Some(Part::Load) => load(Duration::from_secs(arguments.seconds)),
        Some(Part::Fill { mib }) => fill(mib),
        Some(Part::First) => first(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-events: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Every row, one process each.
fn rows(arguments: &Arguments) -> Result<(), BenchError> {
    let program = std::env::current_exe().map_err(BenchError::file("this program"))?;
    let folder = std::env::temp_dir().join(format!("carbyne-bench-events-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(BenchError::file(&folder))?;
    let cost = cost(&program, &folder)?;
    println!("emit                 {cost} user instructions an event (goal ≤ 3000)");
    let calls = system_calls(&program, &folder)?;
    println!("emit                 {calls} system calls for 100,000 events more (goal 0)");

    let cluster = Cluster::start(&broker::Options::nodes(1)).map_err(failed)?;
    topics(&cluster)?;
    let child = |part: &[&str], root: &str| -> Result<String, BenchError> {
        let output = Command::new(&program)
            .args(["--seconds", &arguments.seconds.to_string()])
            .args(part)
            .env(ROOT, folder.join(root))
            .env(BOOTSTRAP, cluster.bootstrap())
            .stderr(std::process::Stdio::inherit())
            .output()
            .map_err(BenchError::file(&program))?;
        if !output.status.success() {
            return Err(failed(format!("{part:?}: {}", output.status)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let load = child(&["load"], "load")?;
    println!("into a broker        {load} (goal ≥ 100,000/s, RSS ≤ 128 MiB)");
    let fill = child(&["fill", "1024"], "backlog")?;
    let first = child(&["first"], "backlog")?;
    println!("a spool of {fill}: {first} (goal ≤ 1 s)");
    let figures = serde_json::json!({
        "emit_user_instructions": cost,
        "emit_system_calls": calls,
        "load": load,
        "backlog": fill,
        "backlog_first": first,
    });
    let path = arguments.results.join("events.json");
    let text = format!("{figures:#}\n");
    std::fs::write(&path, text).map_err(BenchError::file(&path))?;
    std::fs::remove_dir_all(&folder).map_err(BenchError::file(&folder))
}

/// User instructions of one emission: what N events more cost, less what it costs to make and encode them.
fn cost(program: &Path, folder: &Path) -> Result<u64, BenchError> {
    let count = |part: &str, events: u64| -> Result<u64, BenchError> {
        let traces = folder.join("callgrind");
        std::fs::create_dir_all(&traces).map_err(BenchError::file(&traces))?;
        instructions::clear(&traces)?;
        let status = Command::new("valgrind")
            .args(["--tool=callgrind", "-q"])
            .arg(format!(
                "--callgrind-out-file={}/callgrind.out.%p",
                traces.display()
            ))
            .arg(program)
            .args([part, &events.to_string()])
            .env(ROOT, folder.join("cost"))
            .status()
            .map_err(BenchError::file("valgrind"))?;
        if !status.success() {
            return Err(failed(format!("valgrind: {status}")));
        }
        instructions::total(&traces)
    };
    let of = |part: &str| {
        Ok::<_, BenchError>(
            count(part, 2 * COUNTED)?.saturating_sub(count(part, COUNTED)?) / COUNTED,
        )
    };
    Ok(of("emit")?.saturating_sub(of("make")?))
}

/// System calls of the emitting thread for as many events more.
fn system_calls(program: &Path, folder: &Path) -> Result<i64, BenchError> {
    let count = |events: u64| -> Result<i64, BenchError> {
        let trace = folder.join("strace");
        let status = Command::new("strace")
            .arg("-o")
            .arg(&trace)
            .arg(program)
            .args(["emit", &events.to_string()])
            .env(ROOT, folder.join("cost"))
            .status()
            .map_err(BenchError::file("strace"))?;
        if !status.success() {
            return Err(failed(format!("strace: {status}")));
        }
        let text = std::fs::read_to_string(&trace).map_err(BenchError::file(&trace))?;
        // Without -f only the main thread, which emits, is traced.
        Ok(i64::try_from(text.lines().count()).unwrap_or(i64::MAX))
    };
    Ok(count(200_000)? - count(100_000)?)
}

fn topics(cluster: &Cluster) -> Result<(), BenchError> {
    let access = Access {
        bootstrap: cluster.bootstrap(),
        properties: Vec::new(),
        limit: Duration::from_secs(30),
    };
    let file = File::read(BUILT_IN).map_err(|_| failed("the built-in topics"))?;
    let desired = file
        .desired(Some("single"))
        .ok_or_else(|| failed("no profile"))?;
    let admin = Admin::new(access).map_err(failed)?;
    let state = admin.state(|_| true).map_err(failed)?;
    let plan = Plan::new(&desired, &state, &Permission::default());
    plan.apply(&admin, &desired, Duration::from_secs(30), |_| {})
        .map_err(failed)?;
    Ok(())
}

/// On the main thread, which strace follows.
fn emit(count: u64) -> Result<(), BenchError> {
    let outlet = Outlet::open(&root(), options()).map_err(failed)?;
    let emitter = outlet.emitter();
    let mut calls = Calls::new(1);
    for _ in 0..count {
        // A ring that is full costs less than one that has room: it must not be.
        emitter.emit(&calls.call()).map_err(failed)?;
    }
    Ok(())
}

fn load(time: Duration) -> Result<(), BenchError> {
    let shipper = shipper()?;
    let outlet = Outlet::open(&root(), options()).map_err(failed)?;
    let emitter = outlet.emitter();
    let mut calls = Calls::new(1);
    let started = Instant::now();
    let mut emitted = 0_u64;
    while started.elapsed() < time {
        for _ in 0..200 {
            if emitter.emit(&calls.call()).is_ok() {
                emitted += 1;
            }
        }
        // No faster than a little over the goal: what matters is that the broker has it.
        let due = Duration::from_secs_f64(emitted as f64 / RATE);
        std::thread::sleep(due.saturating_sub(started.elapsed()));
    }
    drop(emitter);
    outlet.close();
    let drained = shipper.drain(Duration::from_secs(120));
    let took = started.elapsed();
    let status = shipper.status();
    let acknowledged: u64 = status.acknowledged.iter().sum();
    println!(
        "{:.0} events/s acknowledged over {:.1} s, {emitted} emitted, {acknowledged} acknowledged, all: {drained}, RSS at most {} MiB",
        acknowledged as f64 / took.as_secs_f64(),
        took.as_secs_f64(),
        peak()?
    );
    Ok(())
}

fn fill(mib: u64) -> Result<(), BenchError> {
    let outlet = Outlet::open(&root(), options()).map_err(failed)?;
    let emitter = outlet.emitter();
    let mut calls = Calls::new(9);
    let mut full = 0_u32;
    while outlet.status().spool_bytes < mib << 20 {
        for _ in 0..1000 {
            if emitter.emit(&calls.call()).is_err() {
                full += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
    drop(emitter);
    outlet.close();
    println!("{mib} MiB ({full} dropped while it was filled)");
    Ok(())
}

fn first() -> Result<(), BenchError> {
    let started = Instant::now();
    let shipper = shipper()?;
    loop {
        if shipper.status().acknowledged.iter().sum::<u64>() > 0 {
            println!(
                "first acknowledgement after {} ms",
                started.elapsed().as_millis()
            );
            return Ok(());
        }
        if started.elapsed() > Duration::from_secs(60) {
            return Err(failed("nothing was acknowledged"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn shipper() -> Result<Shipper, BenchError> {
    let bootstrap = std::env::var(BOOTSTRAP).map_err(failed)?;
    let settings = Settings {
        form: Form::Avro,
        ..Settings::new(bootstrap)
    };
    Shipper::start(&root(), settings).map_err(failed)
}

fn options() -> Options {
    Options {
        ring_bytes: 16 << 20,
        ..Options::new("bench", "gateway")
    }
}

/// The most memory that this process has had, in MiB.
fn peak() -> Result<u64, BenchError> {
    let status = std::fs::read_to_string("/proc/self/status")
        .map_err(BenchError::file("/proc/self/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib / 1024).ok_or_else(|| failed("no VmHWM"))
}

fn root() -> PathBuf {
    std::env::var_os(ROOT).map_or_else(|| PathBuf::from("events"), PathBuf::from)
}

fn failed(what: impl std::fmt::Display) -> BenchError {
    BenchError::Helper {
        program: "bench-events",
        what: what.to_string(),
    }
}

const ROOT: &str = "CARBYNE_BENCH_EVENTS_ROOT";
const BOOTSTRAP: &str = "CARBYNE_BENCH_BOOTSTRAP";
/// Events by which callgrind's two runs differ.
const COUNTED: u64 = 5000;
/// Events a second that are offered.
const RATE: f64 = 105_000.0;
