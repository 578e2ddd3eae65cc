//! What the verbs of `carbyne` cost, and `carbyne up` itself.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Turn, micros};
use crate::error::BenchError;
use crate::measure::process;
use crate::peer::Peer;
use crate::pinned::Everywhere;
use crate::report::{Figure, PeerReport};
use crate::verbs;

impl Turn<'_> {
    /// From start to end.
    pub(super) fn lint(&self, objects: usize, report: &mut PeerReport) -> Result<(), BenchError> {
        let folder = self.options.folder.join("objects");
        verbs::write_objects(&folder, objects)?;
        let mut command = self.carbyne()?;
        command.arg("lint").arg(&folder);
        report.add(Figure::Took, took(command)?);
        Ok(())
    }

    /// From start to end.
    pub(super) fn graph(&self, services: usize, report: &mut PeerReport) -> Result<(), BenchError> {
        let scrapes = verbs::write_scrapes(&self.options.folder.join("scrapes"), services)?;
        let mut command = self.carbyne()?;
        command.args(["graph", "-o", "svg"]);
        for file in &scrapes {
            command.arg("--file").arg(file);
        }
        report.add(Figure::Took, took(command)?);
        Ok(())
    }

    /// The process itself, without those that it starts, some seconds after all was ready.
    pub(super) fn up(&self, report: &mut PeerReport) -> Result<(), BenchError> {
        let _all = Everywhere::leave();
        let base = Base::make()?;
        let mut command = self.carbyne()?;
        let installation = &self.options.installation;
        command
            .arg("up")
            .arg(&installation.platform)
            .arg("--proxy")
            .arg(Peer::Ours.program(installation)?)
            .arg("--gateway")
            .arg(Peer::Gateway.program(installation)?)
            .arg("--base-dir")
            .arg(&base.0)
            .stdout(Stdio::piped());
        let child = command.spawn().map_err(BenchError::file("carbyne"))?;
        let mut up = Up(child);
        if !up.is_ready() {
            return Err(fault("`carbyne up` was not ready"));
        }
        std::thread::sleep(SETTLED);
        let memory = process::memory(&[up.0.id()]);
        report.add(Figure::Rss, memory.rss_kib / 1024.0);
        Ok(())
    }

    fn carbyne(&self) -> Result<Command, BenchError> {
        let program = self.peer.program(&self.options.installation)?;
        Ok(Command::new(program))
    }
}

/// Where the platform's run directory is. The names of its sockets are longer than the bench's own folder allows.
struct Base(PathBuf);

impl Base {
    fn make() -> Result<Self, BenchError> {
        let folder = std::env::temp_dir().join(format!("bench-{}", std::process::id()));
        fs::create_dir_all(&folder).map_err(BenchError::file(&folder))?;
        Ok(Self(folder))
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        // The platform takes its own files away; nobody is left to be told of others.
        fs::remove_dir_all(&self.0).ok();
    }
}

/// A running platform; told to end, and waited for, when dropped.
struct Up(Child);

impl Up {
    /// What it prints last when all is ready is how to end it.
    fn is_ready(&mut self) -> bool {
        let out = self.0.stdout.take();
        out.into_iter()
            .flat_map(|out| BufReader::new(out).lines().map_while(Result::ok))
            .any(|line| line.starts_with("Ctrl-C"))
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            // It may have ended by itself.
            kill_process(pid, Signal::INT).ok();
        }
        drop(self.0.wait());
    }
}

/// Milliseconds of a command that must go well.
fn took(mut command: Command) -> Result<f64, BenchError> {
    let started = Instant::now();
    let output = command.output().map_err(BenchError::file("carbyne"))?;
    let taken = micros(started.elapsed()) / 1000.0;
    if output.status.success() {
        return Ok(taken);
    }
    Err(fault(&String::from_utf8_lossy(&output.stderr)))
}

fn fault(what: &str) -> BenchError {
    BenchError::Helper {
        program: "carbyne",
        what: what.to_owned(),
    }
}

/// Until it has looked at the platform some times.
const SETTLED: Duration = Duration::from_secs(10);
