//! The folder of a node: what `prepare` makes, what a running node leaves there for other verbs.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use rustix::process::{Pid, Signal};

use super::{Failure, warn};
use crate::conf::{Conf, Interface, create_default};

/// The prefix of a node.
#[derive(Clone, Debug)]
pub(super) struct Prefix(PathBuf);

/// Held by a running node; given back when it ends, however it ends.
#[derive(Debug)]
pub(super) struct Running {
    path: PathBuf,
    file: File,
}

impl Prefix {
    pub(super) fn of(conf: &Conf) -> Self {
        Self(conf.prefix())
    }

    pub(super) fn at(folder: &str) -> Self {
        Self(folder.into())
    }

    pub(super) fn exists(&self) -> bool {
        self.0.is_dir()
    }

    pub(super) fn show(&self) -> std::path::Display<'_> {
        self.0.display()
    }

    /// What the node that was started last was told.
    pub(super) fn environment(&self) -> PathBuf {
        self.0.join(".kong_env")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.0.join("logs").join("error.log")
    }

    fn pid_file(&self) -> PathBuf {
        self.0.join("pids").join("nginx.pid")
    }

    /// Makes what a node needs there.
    pub(super) fn prepare(&self, conf: &Conf) -> Result<(), Failure> {
        let failed = |error: std::io::Error| {
            Failure::from(format!(
                "could not prepare Kong prefix at {}: {error}",
                self.show()
            ))
        };
        if !self.exists() {
            warn(&format!(
                "prefix directory {} not found, trying to create it",
                self.show()
            ));
        }
        for folder in ["logs", "pids", "ssl"] {
            std::fs::create_dir_all(self.0.join(folder)).map_err(failed)?;
        }
        for (interface, listen) in [
            (Interface::Admin, conf.admin_listen()?),
            (Interface::Status, conf.status_listen()?),
        ] {
            if listen.iter().any(|listen| listen.tls) {
                create_default(&self.0, interface).map_err(failed)?;
            }
        }
        self.write_environment(conf).map_err(failed)
    }

    /// What was told, for verbs that are run without it. References stay references.
    fn write_environment(&self, conf: &Conf) -> std::io::Result<()> {
        let path = self.environment();
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        writeln!(
            file,
            "# Written when the node starts. Change kong.conf or KONG_* instead of this file."
        )?;
        for line in conf.told_lines() {
            writeln!(file, "{line}")?;
        }
        file.sync_all()
    }

    /// Takes the place of the running node, if there is none.
    pub(super) fn take(&self) -> Result<Running, Failure> {
        let path = self.pid_file();
        let explained =
            |error: std::io::Error| Failure::from(format!("{}: {error}", path.display()));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(explained)?;
        match file.try_lock() {
            Ok(()) => Ok(Running { path, file }),
            Err(TryLockError::WouldBlock) => Err(already_running(self)),
            Err(TryLockError::Error(error)) => Err(explained(error)),
        }
    }

    /// The process of the running node. A file that nobody holds is left from one that is gone,
    /// whose number may be another program's by now.
    pub(super) fn running(&self) -> Option<Pid> {
        let mut file = File::open(self.pid_file()).ok()?;
        if !matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)) {
            return None;
        }
        let mut text = String::new();
        file.read_to_string(&mut text).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<(), Failure> {
        let Some(pid) = self.running() else {
            return Err(format!("nginx not running in prefix: {}", self.show()).into());
        };
        rustix::process::kill_process(pid, signal)
            .map_err(|error| format!("could not send signal: {error}").into())
    }
}

pub(super) fn already_running(prefix: &Prefix) -> Failure {
    format!("Kong is already running in {}", prefix.show()).into()
}

impl Running {
    /// Writes down who runs: from now on others find the node.
    pub(super) fn announce(&mut self) -> std::io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        writeln!(self.file, "{}", std::process::id())?;
        self.file.flush()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.path));
    }
}
