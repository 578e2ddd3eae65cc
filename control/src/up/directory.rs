//! The run directory: a folder for each workload, laid out like a pod, and what tells others of it; removed at the end.
//!
//! ```text
//! /tmp/carbyne-UID/platform-fe00.1a2b3c/
//!   lock running.json                           see [`crate::running`]
//!   events/                                     what members spool, unless it is kept elsewhere
//!   kafka/                                      what a broker of ours holds, the same
//!   broker.log shipper.log
//!   portal/
//!     access.log proxy.log service.log
//!     etc/istio/proxy/envoy-rev.json  XDS
//!     var/run/secrets/workload-spiffe-uds/socket
//! ```
//!
//! It has the same name each time, so that a second `up` on a folder is told of the first. What a killed one left is taken over: its
//! events are kept, spooled and shipped; the rest is removed.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::bootstrap::{BOOTSTRAP_FILE, SDS_SOCKET, XDS_SOCKET};
use crate::running::{self, Running};

/// The run directory, held as long as this lives.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// A killed `up` left it.
    taken_over: bool,
    /// Where events are kept that outlive it.
    keep: Option<PathBuf>,
    _lock: File,
}

/// The directory could not be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// A file or folder could not be made.
    #[error("cannot make {path}: {error}")]
    Make {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The kernel takes no longer names of Unix sockets.
    #[error(
        "{path}: the name of a Unix socket may have {LONGEST_SOCKET_NAME} bytes, this one has {length}"
    )]
    SocketName {
        /// Which.
        path: PathBuf,
        /// How long it is.
        length: usize,
    },
    /// Somebody else's folder is where ours would be.
    #[error("{path} belongs to user {owner}, or others may write to it")]
    NotOurs {
        /// Which.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Another `up` runs on the same folder.
    #[error("{folder} runs already: process {pid}, run directory {path}")]
    Runs {
        /// Folder of configuration.
        folder: PathBuf,
        /// Its process.
        pid: String,
        /// Its run directory.
        path: PathBuf,
    },
    /// Something is left over.
    #[error("cannot remove {path}: {error}")]
    Remove {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl Directory {
    /// Makes it, for a folder of configuration, below `base` or where temporary files belong; nobody else can look into it. Events are in
    /// it, or in `keep`, which stays.
    ///
    /// # Errors
    /// When it cannot be made, or one runs on that folder.
    pub fn new(
        folder: &Path,
        base: Option<&Path>,
        keep: Option<&Path>,
    ) -> Result<Self, DirectoryError> {
        let temporary = base.map_or_else(std::env::temp_dir, Path::to_owned);
        // Whole names: the sidecars run in folders of their own.
        let temporary = make(&temporary, |path| std::path::absolute(path))?;
        let base = running::base(&temporary);
        own(&base)?;
        let path = base.join(name(folder)?);
        let lock = lock(folder, &path)?;
        let taken_over = path.join(running::FILE).exists();
        let keep = keep
            .map(|keep| make(keep, |path| std::path::absolute(path)))
            .transpose()?;
        let directory = Self {
            path,
            taken_over,
            keep,
            _lock: lock,
        };
        directory.sweep()?;
        if let Some(keep) = &directory.keep {
            make(keep, |keep| std::fs::create_dir_all(keep))?;
        }
        make(&directory.events(), own_folder)?;
        Ok(directory)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// True if a killed `up` left it.
    #[must_use]
    pub const fn is_taken_over(&self) -> bool {
        self.taken_over
    }

    /// Where members spool events.
    #[must_use]
    pub fn events(&self) -> PathBuf {
        self.kept().join(EVENTS)
    }

    /// Where a broker of ours has its data.
    #[must_use]
    pub fn kafka(&self) -> PathBuf {
        self.kept().join(KAFKA)
    }

    /// True if events outlive it.
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        self.keep.is_some()
    }

    fn kept(&self) -> &Path {
        self.keep.as_ref().unwrap_or(&self.path)
    }

    /// Tells others what runs.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn publish(&self, running: &Running) -> Result<(), DirectoryError> {
        make(&self.path.join(running::FILE), |_| {
            running::write(&self.path, running)
        })
    }

    /// Removes everything but the lock and the events.
    fn sweep(&self) -> Result<(), DirectoryError> {
        let entries = make(&self.path, |path| std::fs::read_dir(path))?;
        for entry in entries.flatten() {
            let path = entry.path();
            if [running::LOCK, EVENTS, KAFKA]
                .iter()
                .any(|kept| entry.file_name() == *kept)
            {
                continue;
            }
            let removed = if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                std::fs::remove_dir_all(&path)
            } else {
                std::fs::remove_file(&path)
            };
            removed.map_err(|error| DirectoryError::Remove { path, error })?;
        }
        Ok(())
    }

    /// Where a workload's files are.
    #[must_use]
    pub fn of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes a workload's folders and writes its bootstrap.
    ///
    /// # Errors
    /// When one of them cannot be written, or a socket's name would be too long.
    pub fn furnish(&self, name: &str, bootstrap: &Value) -> Result<(), DirectoryError> {
        let folder = self.of(name);
        for socket in [XDS_SOCKET, SDS_SOCKET] {
            let path = folder.join(socket);
            let length = path.as_os_str().len();
            if length > LONGEST_SOCKET_NAME {
                return Err(DirectoryError::SocketName { path, length });
            }
            if let Some(parent) = path.parent() {
                make(parent, |parent| std::fs::create_dir_all(parent))?;
            }
        }
        make(&folder.join(BOOTSTRAP_FILE), |path| {
            std::fs::write(path, format!("{bootstrap:#}\n"))
        })
    }

    /// Removes a workload's files.
    ///
    /// # Errors
    /// When something is left over.
    pub fn clear(&self, name: &str) -> Result<(), DirectoryError> {
        let path = self.of(name);
        std::fs::remove_dir_all(&path).map_err(|error| DirectoryError::Remove { path, error })
    }

    /// Removes everything.
    ///
    /// # Errors
    /// When something is left over.
    pub fn remove(self) -> Result<(), DirectoryError> {
        // The lock goes with the directory: who waits for it sees that its file is gone.
        let path = self.path;
        std::fs::remove_dir_all(&path).map_err(|error| DirectoryError::Remove {
            path: path.clone(),
            error,
        })?;
        if let Some(base) = path.parent() {
            // Others may have theirs in it.
            std::fs::remove_dir(base).ok();
        }
        Ok(())
    }
}

/// What a run directory is called: the folder's name, for people, and what the system knows the folder by.
fn name(folder: &Path) -> Result<String, DirectoryError> {
    let known = make(folder, |folder| {
        Ok((std::fs::metadata(folder)?, std::fs::canonicalize(folder)?))
    })?;
    let (metadata, folder) = known;
    let letters = folder
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let plain: String = letters
        .chars()
        .filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-')
        .take(LONGEST_NAME)
        .collect();
    Ok(format!("{plain}-{:x}.{:x}", metadata.dev(), metadata.ino()))
}

/// Makes a folder that is ours alone, or finds that it is.
fn own(path: &Path) -> Result<(), DirectoryError> {
    make(path, own_folder)?;
    let metadata = make(path, |path| std::fs::symlink_metadata(path))?;
    let ours = metadata.is_dir()
        && metadata.uid() == rustix::process::geteuid().as_raw()
        && metadata.mode() & 0o022 == 0;
    if ours {
        Ok(())
    } else {
        Err(DirectoryError::NotOurs {
            path: path.to_owned(),
            owner: metadata.uid(),
        })
    }
}

fn own_folder(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Takes the lock of a run directory. Others hold it for a moment when they look whether it is held.
fn lock(folder: &Path, path: &Path) -> Result<File, DirectoryError> {
    let file = path.join(running::LOCK);
    let give_up = Instant::now() + LOOKING;
    loop {
        own(path)?;
        let opened = make(&file, |file| {
            OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(file)
        })?;
        match opened.try_lock() {
            // One that ended meanwhile took the file with it: then the lock is worth nothing.
            Ok(()) if same_file(&opened, &file) => return Ok(opened),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) if Instant::now() < give_up => {
                std::thread::sleep(LOOKING / 20);
            }
            Err(TryLockError::WouldBlock) => {
                let pid = running::read(path).map_or_else(
                    |_| "unknown".to_owned(),
                    |running| running.control.pid.to_string(),
                );
                return Err(DirectoryError::Runs {
                    folder: folder.to_owned(),
                    pid,
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => {
                return Err(DirectoryError::Make { path: file, error });
            }
        }
    }
}

fn same_file(opened: &File, path: &Path) -> bool {
    let known = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    let opened = opened.metadata().map(known).ok();
    opened.is_some() && opened == std::fs::metadata(path).map(known).ok()
}

fn make<T>(path: &Path, act: impl FnOnce(&Path) -> io::Result<T>) -> Result<T, DirectoryError> {
    act(path).map_err(|error| DirectoryError::Make {
        path: path.to_owned(),
        error,
    })
}

/// Standard output of a sidecar: its access log.
pub const ACCESS_LOG: &str = "access.log";
/// Standard error of a sidecar.
pub const PROXY_LOG: &str = "proxy.log";
/// Output of a sample service.
pub const SERVICE_LOG: &str = "service.log";
/// Folder of the events.
const EVENTS: &str = "events";
/// Folder of the broker's data.
const KAFKA: &str = "kafka";
/// Letters of the folder's name in the run directory's, for socket names are short.
const LONGEST_NAME: usize = 16;
/// Longer than anybody looks whether a lock is held.
const LOOKING: Duration = Duration::from_millis(200);
/// `sockaddr_un` has 108 bytes, the last of them a zero.
const LONGEST_SOCKET_NAME: usize = 107;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::running::Control;

    fn running(folder: &Path) -> Running {
        Running {
            version: running::VERSION,
            folder: folder.to_owned(),
            control: Control {
                pid: 42,
                page: None,
            },
            members: Vec::new(),
            events: None,
            kafka: None,
        }
    }

    #[test]
    fn is_furnished_and_leaves_nothing() {
        let base = tempfile::tempdir().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::new(folder.path(), Some(base.path()), None).unwrap();
        directory
            .furnish("portal", &serde_json::json!({"node": {}}))
            .unwrap();
        assert!(directory.of("portal").join(BOOTSTRAP_FILE).is_file());
        assert!(
            directory
                .of("portal")
                .join(SDS_SOCKET)
                .parent()
                .unwrap()
                .is_dir()
        );
        directory.clear("portal").unwrap();
        assert!(!directory.of("portal").exists());
        directory.remove().unwrap();
        assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 0);
    }

    #[test]
    fn one_folder_has_one_and_a_killed_one_is_taken_over() {
        let base = tempfile::tempdir().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let first = Directory::new(folder.path(), Some(base.path()), None).unwrap();
        assert!(!first.is_taken_over());
        first.publish(&running(folder.path())).unwrap();
        std::fs::write(first.events().join("spool"), "owed").unwrap();
        first.furnish("portal", &Value::Null).unwrap();

        let error = Directory::new(folder.path(), Some(base.path()), None).unwrap_err();
        let said = error.to_string();
        assert!(
            said.contains("runs already: process 42, run directory "),
            "{said}"
        );
        let other = tempfile::tempdir().unwrap();
        let beside = Directory::new(other.path(), Some(base.path()), None).unwrap();

        // As SIGKILL leaves it: nothing is removed, the lock is free.
        drop(first);
        let second = Directory::new(folder.path(), Some(base.path()), None).unwrap();
        assert!(second.is_taken_over());
        assert!(!second.of("portal").exists());
        assert_eq!(
            std::fs::read_to_string(second.events().join("spool")).unwrap(),
            "owed"
        );
        second.remove().unwrap();
        beside.remove().unwrap();
        assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_to_be_kept_is_kept() {
        let base = tempfile::tempdir().unwrap();
        let keep = base.path().join("trail");
        let directory = Directory::new(base.path(), Some(base.path()), Some(&keep)).unwrap();
        assert!(directory.is_kept());
        std::fs::write(directory.events().join("spool"), "kept").unwrap();
        directory.remove().unwrap();
        let kept = std::fs::read_to_string(keep.join("events/spool")).unwrap();
        assert_eq!(kept, "kept");
    }

    #[test]
    fn what_others_may_write_to_is_not_used() {
        use std::os::unix::fs::PermissionsExt;
        let base = tempfile::tempdir().unwrap();
        let ours = running::base(base.path());
        std::fs::create_dir(&ours).unwrap();
        std::fs::set_permissions(&ours, std::fs::Permissions::from_mode(0o777)).unwrap();
        let error = Directory::new(base.path(), Some(base.path()), None).unwrap_err();
        assert!(matches!(error, DirectoryError::NotOurs { .. }), "{error}");
    }

    #[test]
    fn long_names_are_refused_with_their_length() {
        let base = tempfile::tempdir().unwrap();
        let directory = Directory::new(base.path(), Some(base.path()), None).unwrap();
        let error = directory
            .furnish(&"x".repeat(80), &Value::Null)
            .unwrap_err();
        assert!(
            matches!(error, DirectoryError::SocketName { .. }),
            "{error}"
        );
        assert!(Directory::new(base.path(), Some(Path::new("/nonexistent")), None).is_err());
    }
}
