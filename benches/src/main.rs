//! `bench`: the side-by-side run. `make bench` builds the programs and starts it.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a terminal"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use carbyne_benches::control_plane::ControlPlane;
use carbyne_benches::error::BenchError;
use carbyne_benches::peer::{Installation, Peer};
use carbyne_benches::report::{Machine, ScenarioReport};
use carbyne_benches::run::{Options, scenario};
use carbyne_benches::scenario::{SCENARIOS, Scenario};
use carbyne_benches::{backend, certificates, pinned, summary};
use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::LocalSet;

/// The same load through Carbyne's proxy and its peers, interleaved in one run.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only these scenarios (repeat or separate by commas); `--list` names them.
    #[arg(long, value_delimiter = ',')]
    scenario: Vec<String>,
    /// Only these peers.
    #[arg(long, value_enum, value_delimiter = ',')]
    peers: Vec<Peer>,
    /// Turns of each peer.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Also count user instructions under valgrind (minutes): of all peers, or `--callgrind=ours,envoy`.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        num_args = 0..,
        require_equals = true,
        default_missing_values = ["ours", "gateway", "envoy", "nginx", "haproxy", "pingora"]
    )]
    callgrind: Vec<Peer>,
    /// Do not count system calls.
    #[arg(long)]
    no_syscalls: bool,
    /// A tenth of the load, nothing written: shows that all works.
    #[arg(long)]
    quick: bool,
    /// Keep the folder of the run: logs, configurations, callgrind's last file.
    #[arg(long)]
    keep: bool,
    /// Another build of carbyne-proxy than the release build; nothing is written then.
    #[arg(long)]
    proxy: Option<PathBuf>,
    /// Another build of carbyne-gateway than the release build; nothing is written then.
    #[arg(long)]
    gateway: Option<PathBuf>,
    /// Cargo's target folder.
    #[arg(long, env = "CARGO_TARGET_DIR", default_value = "target")]
    target_dir: PathBuf,
    /// The profile of our programs; nothing is written for another than this.
    #[arg(long, default_value = RELEASE)]
    profile: String,
    /// The folder of configuration that `carbyne up` runs.
    #[arg(long, default_value = "deploy/examples/platform")]
    platform: PathBuf,
    /// The Python environment that holds Envoy; by default `venv` in `$CARBYNE_CACHE`.
    #[arg(long, env = "CARBYNE_VENV")]
    venv: Option<PathBuf>,
    /// Where figures are written.
    #[arg(long, default_value = "benches/results")]
    results: PathBuf,
    /// Names the scenarios and ends.
    #[arg(long)]
    list: bool,
}

impl Arguments {
    /// Whether what comes out of it is worth keeping.
    fn is_measurement(&self) -> bool {
        let ours = self.proxy.is_none() && self.gateway.is_none() && self.profile == RELEASE;
        ours && !self.quick
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        for scenario in SCENARIOS {
            println!("{:<22} {}", scenario.name, scenario.title);
        }
        return ExitCode::SUCCESS;
    }
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `false` if a peer failed.
fn run(arguments: &Arguments) -> Result<bool, BenchError> {
    let scenarios = chosen(&arguments.scenario)?;
    let proxy = arguments.proxy.as_deref().map(absolute).transpose()?;
    let target = absolute(&arguments.target_dir)?;
    let installation = Installation {
        proxy,
        gateway: arguments.gateway.as_deref().map(absolute).transpose()?,
        programs: target.join(&arguments.profile),
        target,
        platform: absolute(&arguments.platform)?,
        venv: absolute(&arguments.venv.clone().unwrap_or_else(default_venv))?,
    };
    let (peers, versions) = installed(&arguments.peers, &installation);
    let cores = pinned::pin();
    if cores < 2 {
        println!(
            "Only one core: peer and load share it, and no figure of this run is worth keeping."
        );
    }
    raise_files();

    let folder = installation.target.join("bench-run");
    fs::create_dir_all(&folder).map_err(BenchError::file(&folder))?;
    let tls = certificates::write(&folder)?;
    let machine = Machine::here(cores);
    if !machine.counters {
        println!(
            "This machine has no hardware counters: callgrind (--callgrind) counts user instructions instead."
        );
    }
    let plane = ControlPlane::default();
    let options = Options {
        peers,
        rounds: arguments.rounds.max(1),
        quick: arguments.quick,
        callgrind: arguments.callgrind.clone(),
        syscalls: !arguments.no_syscalls,
        installation,
        folder: folder.clone(),
        plane: plane.clone(),
        tls,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(BenchError::file("runtime"))?;
    let all_right = LocalSet::new().block_on(&runtime, async {
        backend::start().await?;
        plane.serve(&options.folder)?;
        let mut all_right = true;
        for chosen in scenarios {
            let mut peers = scenario(chosen, &options).await;
            ScenarioReport::compare(&mut peers);
            let report = ScenarioReport {
                scenario: chosen.name.to_owned(),
                title: chosen.title.to_owned(),
                rounds: chosen.question.rounds(options.rounds),
                quick: options.quick,
                command: command_line(chosen, arguments),
                machine: machine.clone(),
                versions: versions.clone(),
                peers: peers
                    .into_iter()
                    .map(|(peer, report)| (peer.name().to_owned(), report))
                    .collect(),
            };
            print!("{}", report.table());
            all_right &= report.peers.values().all(|peer| peer.failure.is_none());
            if arguments.is_measurement() {
                report.store(&arguments.results)?;
                summary::publish(&arguments.results)?;
            }
        }
        Ok::<_, BenchError>(all_right)
    })?;
    if all_right && !arguments.keep {
        // Logs of some hundred MB; after a failure they tell what happened.
        fs::remove_dir_all(&folder).map_err(BenchError::file(folder))?;
    }
    Ok(all_right)
}

fn chosen(names: &[String]) -> Result<Vec<&'static Scenario>, BenchError> {
    if names.is_empty() {
        return Ok(SCENARIOS.iter().collect());
    }
    names
        .iter()
        .map(|name| {
            SCENARIOS
                .iter()
                .find(|scenario| scenario.name == name)
                .ok_or_else(|| BenchError::Helper {
                    program: "bench",
                    what: format!("there is no scenario {name}; --list names them"),
                })
        })
        .collect()
}

/// The peers that are here, with their versions; says which are not.
fn installed(
    wanted: &[Peer],
    installation: &Installation,
) -> (Vec<Peer>, BTreeMap<String, String>) {
    let all = [
        Peer::Ours,
        Peer::Gateway,
        Peer::Events,
        Peer::Carbyne,
        Peer::Envoy,
        Peer::Nginx,
        Peer::Haproxy,
        Peer::Pingora,
    ];
    let wanted = if wanted.is_empty() { &all } else { wanted };
    let mut peers = Vec::new();
    let mut versions = BTreeMap::new();
    for peer in wanted {
        match peer.program(installation) {
            Ok(_) => {
                peers.push(*peer);
                versions.insert(peer.name().to_owned(), peer.version(installation));
            }
            Err(error) => println!("left out: {error}"),
        }
    }
    (peers, versions)
}

/// Ten thousand connections need as many descriptors, here and in the peer, which inherits the limit.
fn raise_files() {
    const ENOUGH: u64 = 65_536;
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: Some(ENOUGH),
        maximum: Some(limit.maximum.unwrap_or(ENOUGH).max(ENOUGH)),
    };
    if setrlimit(Resource::Nofile, wanted).is_err() {
        // Not allowed to raise the ceiling: go up to it. 10,000 connections fit below 20,000.
        let up = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        if setrlimit(Resource::Nofile, up).is_err() {
            println!("The limit of open files could not be raised.");
        }
    }
}

/// The profile that is measured.
const RELEASE: &str = "release";

fn default_venv() -> PathBuf {
    let cache = std::env::var_os("CARBYNE_CACHE").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/carbyne"),
        PathBuf::from,
    );
    cache.join("venv")
}

/// Peers run in a folder of their own, where a relative path would mean something else.
fn absolute(path: &Path) -> Result<PathBuf, BenchError> {
    std::path::absolute(path).map_err(BenchError::file(path))
}

fn command_line(scenario: &Scenario, arguments: &Arguments) -> String {
    let mut options = format!("--scenario {} --rounds {}", scenario.name, arguments.rounds);
    for (peers, option) in [
        (&arguments.peers, "--peers"),
        (&arguments.callgrind, "--callgrind"),
    ] {
        if !peers.is_empty() {
            let names: Vec<&str> = peers.iter().map(|peer| peer.name()).collect();
            options += &format!(" {option}={}", names.join(","));
        }
    }
    for (given, option) in [
        (arguments.no_syscalls, " --no-syscalls"),
        (arguments.quick, " --quick"),
    ] {
        if given {
            options += option;
        }
    }
    format!("make bench BENCH='{options}'")
}
