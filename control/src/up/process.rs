//! Child processes: each in a process group of its own, its output in files, started again with back-off when it ends by itself,
//! and gone when we are.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    process::{Child, Command},
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};

use super::gateway::foreign;
use crate::running::Kind;

/// What to run and where its output goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Workload that it belongs to.
    pub workload: String,
    /// What it is there.
    pub kind: Kind,
    /// Program and arguments.
    pub command: Vec<OsString>,
    /// Variables of its environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Folder that it runs in.
    pub folder: PathBuf,
    /// File that standard output is appended to.
    pub stdout: PathBuf,
    /// File that standard error is appended to.
    pub stderr: PathBuf,
    /// Where it says that it is ready; none: it is as soon as it runs.
    pub probe: Option<Probe>,
}

/// A question that a program answers once it is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// By HTTP, with 200.
    Http {
        /// Where.
        address: SocketAddr,
        /// Path.
        path: &'static str,
    },
    /// As a Kafka broker does.
    Kafka {
        /// Where.
        address: SocketAddr,
    },
}

/// What happened to a program.
#[derive(Debug)]
pub struct Event {
    /// Which.
    pub program: Arc<Program>,
    /// What.
    pub what: What,
}

/// What can happen to a program.
#[derive(Debug)]
pub enum What {
    /// It runs.
    Started {
        /// Its process.
        pid: u32,
    },
    /// It ended by itself.
    Ended {
        /// How.
        status: ExitStatus,
        /// When it is started again.
        pause: Duration,
    },
    /// It could not be started; it is tried again.
    Failed {
        /// Why.
        error: std::io::Error,
        /// When it is started again.
        pause: Duration,
    },
}

/// A program that is kept running until this is stopped or dropped.
#[derive(Debug)]
pub struct Kept {
    program: Arc<Program>,
    /// 0 while there is no process.
    pid: Arc<AtomicU32>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Program {
    /// What people call it.
    #[must_use]
    pub fn title(&self) -> String {
        self.kind.title(&self.workload)
    }
}

impl Kept {
    /// Starts a program and keeps it running; what happens is told to `events`. Must be called in a tokio runtime.
    #[must_use]
    pub fn start(program: Program, events: mpsc::UnboundedSender<Event>) -> Self {
        let program = Arc::new(program);
        let stop = watch::Sender::new(false);
        let pid = Arc::default();
        let task = tokio::spawn(keep(
            Arc::clone(&program),
            Arc::clone(&pid),
            stop.subscribe(),
            events,
        ));
        Self {
            program,
            pid,
            stop,
            task,
        }
    }

    /// What is kept running.
    #[must_use]
    pub const fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// Its process, while there is one.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        Some(self.pid.load(Ordering::Relaxed)).filter(|pid| *pid != 0)
    }

    /// Asks it to end; several can be asked before one waits for them.
    pub fn ask(&self) {
        self.stop.send_replace(true);
    }

    /// Ends it, with SIGKILL if it does not listen, and waits until it is gone.
    pub async fn stop(self) {
        self.ask();
        // A task that panicked has dropped its child, which kills it.
        self.task.await.ok();
    }
}

async fn keep(
    program: Arc<Program>,
    running: Arc<AtomicU32>,
    mut stop: watch::Receiver<bool>,
    events: mpsc::UnboundedSender<Event>,
) {
    let mut pause = SHORTEST_PAUSE;
    // Nobody listens any more only when everything is being torn down.
    let tell = |what| {
        events
            .send(Event {
                program: Arc::clone(&program),
                what,
            })
            .is_ok()
    };
    loop {
        let started = Instant::now();
        let ended = match spawn(&program) {
            Ok(mut child) => {
                let pid = child.id().unwrap_or_default();
                running.store(pid, Ordering::Relaxed);
                tell(What::Started { pid });
                let ended = tokio::select! {
                    ended = child.wait() => Some(ended),
                    _ = stop.wait_for(|stop| *stop) => None,
                };
                running.store(0, Ordering::Relaxed);
                let Some(ended) = ended else {
                    return end(child, pid).await;
                };
                // What it started must not live on without it.
                signal_group(pid, Signal::KILL);
                ended
            }
            Err(error) => Err(error),
        };
        if started.elapsed() > STEADY {
            pause = SHORTEST_PAUSE;
        }
        match ended {
            Ok(status) => tell(What::Ended { status, pause }),
            Err(error) => tell(What::Failed { error, pause }),
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

fn spawn(program: &Program) -> std::io::Result<Child> {
    // Ourselves even if the file was replaced by a newer build meanwhile.
    let mut command = Command::new("/proc/self/exe");
    for name in foreign() {
        command.env_remove(name);
    }
    command
        .arg0("carbyne")
        .args(["tethered", "--to", &std::process::id().to_string(), "--"])
        .args(&program.command)
        .envs(
            program
                .environment
                .iter()
                .map(|(name, value)| (name, value)),
        )
        .current_dir(&program.folder)
        .stdin(Stdio::null())
        .stdout(append(&program.stdout)?)
        .stderr(append(&program.stderr)?)
        // Ctrl-C reaches us alone; we end the others in order.
        .process_group(0)
        .kill_on_drop(true);
    command.spawn()
}

async fn end(mut child: Child, pid: u32) {
    signal_group(pid, Signal::TERM);
    if tokio::time::timeout(PATIENCE, child.wait()).await.is_err() {
        signal_group(pid, Signal::KILL);
        // Only a process stuck in the kernel would not end now.
        tokio::time::timeout(PATIENCE, child.wait()).await.ok();
    }
    signal_group(pid, Signal::KILL);
}

fn signal_group(pid: u32, signal: Signal) {
    if let Some(group) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // No such group: all of it has ended, as wished.
        kill_process_group(group, signal).ok();
    }
}

fn append(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// The last lines of a file, each indented, for people who ask why.
#[must_use]
pub fn tail(path: &Path, lines: usize) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    // A log that is not there has nothing to tell.
    let text = read().unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    let last = &all[all.len().saturating_sub(lines)..];
    last.iter().map(|line| format!("    {line}\n")).collect()
}

/// A program that ran this long had started well: its next end is a first one.
const STEADY: Duration = Duration::from_secs(10);
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Time between SIGTERM and SIGKILL.
const PATIENCE: Duration = Duration::from_secs(2);
const TAIL_BYTES: u64 = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_are_the_last_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        assert_eq!(tail(&path, 3), "");
        std::fs::write(&path, "a\nb\nc\nd\n").unwrap();
        assert_eq!(tail(&path, 2), "    c\n    d\n");
        assert_eq!(tail(&path, 9), "    a\n    b\n    c\n    d\n");
    }
}
