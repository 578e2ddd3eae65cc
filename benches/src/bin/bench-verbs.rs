//! `bench-verbs`: what the verbs of `carbyne` cost, each against its goal: `lint` of 1,000 objects, `graph` of 200 services, and
//! `carbyne up` itself while the example platform runs. `make bench` runs it with the release programs.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a terminal"
)]

use std::fmt::Write;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use carbyne_benches::error::BenchError;
use clap::Parser;
use rustix::process::{Pid, Signal, kill_process};

/// What the verbs of `carbyne` cost.
#[derive(Debug, Parser)]
struct Arguments {
    /// Folder of the programs `carbyne`, `carbyne-proxy` and `carbyne-gateway`.
    #[arg(long)]
    programs: PathBuf,
    /// Folder of configuration that `carbyne up` runs.
    #[arg(long, default_value = "deploy/examples/platform")]
    platform: PathBuf,
    /// Runs of `lint` and `graph`; the median counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(rows) => {
            let mut held = true;
            for row in rows {
                held &= row.measured <= row.goal;
                let sign = if row.measured <= row.goal {
                    "√"
                } else {
                    "×"
                };
                println!(
                    "{sign} {:<44} {:>9.3} {:<4} goal ≤ {} {}",
                    row.what, row.measured, row.unit, row.goal, row.unit
                );
            }
            ExitCode::from(u8::from(!held))
        }
        Err(error) => {
            eprintln!("bench-verbs: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A figure and its goal.
struct Row {
    what: &'static str,
    measured: f64,
    unit: &'static str,
    goal: f64,
}

fn run(arguments: &Arguments) -> Result<Vec<Row>, BenchError> {
    let folder = std::env::temp_dir().join(format!("carbyne-bench-verbs-{}", std::process::id()));
    fs::create_dir_all(&folder).map_err(BenchError::file(&folder))?;
    let rows = measure(arguments, &folder);
    fs::remove_dir_all(&folder).map_err(BenchError::file(&folder))?;
    rows
}

fn measure(arguments: &Arguments, folder: &Path) -> Result<Vec<Row>, BenchError> {
    let carbyne = arguments.programs.join("carbyne");
    let objects = folder.join("objects");
    write_objects(&objects)?;
    let scrapes = write_scrapes(&folder.join("scrapes"))?;
    let lint = median(arguments.rounds, || {
        let mut command = Command::new(&carbyne);
        command.arg("lint").arg(&objects);
        command
    })?;
    let graph = median(arguments.rounds, || {
        let mut command = Command::new(&carbyne);
        command.args(["graph", "-o", "svg"]);
        for file in &scrapes {
            command.arg("--file").arg(file);
        }
        command
    })?;
    let resident = resident(&carbyne, arguments, folder)?;
    Ok(vec![
        Row {
            what: "lint of 1,000 objects",
            measured: lint.as_secs_f64(),
            unit: "s",
            goal: 1.0,
        },
        Row {
            what: "graph of 200 services, drawn",
            measured: graph.as_secs_f64(),
            unit: "s",
            goal: 1.0,
        },
        Row {
            what: "carbyne up, resident, example platform ready",
            measured: resident,
            unit: "MiB",
            goal: 60.0,
        },
    ])
}

/// The median time of a command that must go well.
fn median(rounds: usize, command: impl Fn() -> Command) -> Result<Duration, BenchError> {
    let mut times = Vec::new();
    for _ in 0..rounds.max(1) {
        let began = Instant::now();
        let output = command().output().map_err(BenchError::file("carbyne"))?;
        times.push(began.elapsed());
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            return Err(BenchError::file("carbyne")(std::io::Error::other(said)));
        }
    }
    times.sort();
    Ok(times[times.len() / 2])
}

/// Mebibytes of `carbyne up` when it has said that everything is ready.
fn resident(carbyne: &Path, arguments: &Arguments, folder: &Path) -> Result<f64, BenchError> {
    let fault = BenchError::file(carbyne);
    let mut child = Command::new(carbyne)
        .arg("up")
        .arg(&arguments.platform)
        .arg("--proxy")
        .arg(arguments.programs.join("carbyne-proxy"))
        .arg("--gateway")
        .arg(arguments.programs.join("carbyne-gateway"))
        .arg("--base-dir")
        .arg(folder)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(fault)?;
    let out = child.stdout.take();
    let lines = out
        .into_iter()
        .flat_map(|out| BufReader::new(out).lines().map_while(Result::ok));
    let mut ready = false;
    for line in lines {
        if line.starts_with("Ctrl-C") {
            ready = true;
            break;
        }
    }
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let kibibytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<f64>().ok());
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It may have ended by itself: then there is no figure either.
        kill_process(pid, Signal::INT).ok();
    }
    child.wait().map_err(BenchError::file(carbyne))?;
    match kibibytes.filter(|_| ready) {
        Some(kibibytes) => Ok(kibibytes / 1024.0),
        None => Err(BenchError::file(carbyne)(std::io::Error::other(
            "`carbyne up` was not ready",
        ))),
    }
}

/// 250 services with a workload, a rule and routes each: 1,000 objects without a fault.
fn write_objects(folder: &Path) -> Result<(), BenchError> {
    fs::create_dir_all(folder).map_err(BenchError::file(folder))?;
    for group in 0..25 {
        let mut text = String::new();
        for index in group * 10..group * 10 + 10 {
            // Writing to a string does not fail.
            write!(
                text,
                "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: s{index}, namespace: shop}}\nspec:\n  \
                 hosts: [s{index}.shop.svc.cluster.local]\n  location: MESH_INTERNAL\n  resolution: STATIC\n  \
                 ports: [{{number: 80, name: http, protocol: HTTP}}]\n  workloadSelector: {{labels: {{app: s{index}}}}}\n---\n\
                 apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: s{index}, namespace: shop}}\n\
                 spec: {{address: 10.0.{group}.{}, labels: {{app: s{index}, version: v1, security.istio.io/tlsMode: istio}}, serviceAccount: s{index}}}\n---\n\
                 apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: s{index}, namespace: shop}}\n\
                 spec: {{host: s{index}, subsets: [{{name: v1, labels: {{version: v1}}}}]}}\n---\n\
                 apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: s{index}, namespace: shop}}\n\
                 spec: {{hosts: [s{index}], http: [{{route: [{{destination: {{host: s{index}, subset: v1}}}}]}}]}}\n---\n",
                index % 250
            )
            .ok();
        }
        let file = folder.join(format!("{group:02}.yaml"));
        fs::write(&file, text).map_err(BenchError::file(&file))?;
    }
    Ok(())
}

/// What 200 sidecars would answer: each calls three others, with twenty buckets a histogram.
fn write_scrapes(folder: &Path) -> Result<Vec<PathBuf>, BenchError> {
    fs::create_dir_all(folder).map_err(BenchError::file(folder))?;
    let labels = |reporter: &str, from: usize, to: usize, rest: &str| {
        format!(
            "reporter=\"{reporter}\",source_workload=\"s{from}\",source_workload_namespace=\"shop\",source_version=\"v1\",\
             destination_workload=\"s{to}\",destination_workload_namespace=\"shop\",destination_service_name=\"s{to}\",{rest}"
        )
    };
    let callees = |from: usize| {
        [from * 2 + 1, from * 2 + 2, from + 7]
            .into_iter()
            .filter(|to| *to < SERVICES)
    };
    let mut files = Vec::new();
    for own in 0..SERVICES {
        let mut text = String::new();
        let mut add = |name: &str, labels: &str| {
            // Writing to a string does not fail.
            writeln!(text, "istio_{name}{{{labels}}} 100").ok();
        };
        for to in callees(own) {
            add(
                "requests_total",
                &labels(
                    "source",
                    own,
                    to,
                    "response_code=\"200\",response_flags=\"-\"",
                ),
            );
            for bucket in 0..20 {
                let bucket = format!("le=\"{}\"", 1 << bucket);
                add(
                    "request_duration_milliseconds_bucket",
                    &labels("source", own, to, &bucket),
                );
            }
        }
        for from in (0..SERVICES).filter(|from| callees(*from).any(|to| to == own)) {
            let rest = "response_code=\"200\",connection_security_policy=\"mutual_tls\"";
            add("requests_total", &labels("destination", from, own, rest));
        }
        let file = folder.join(format!("{own:03}.txt"));
        fs::write(&file, text).map_err(BenchError::file(&file))?;
        files.push(file);
    }
    Ok(files)
}

const SERVICES: usize = 200;
