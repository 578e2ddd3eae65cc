//! `running.json`: what runs, for everybody else. `up` writes it into its run directory; other verbs find it there.
//!
//! ```text
//! /tmp/carbyne-UID/                 nobody else's
//!   platform-fe00.1a2b3c/           one run directory a folder of configuration (its name, device and inode)
//!     lock                          held by `up` as long as it lives
//!     running.json
//! ```
//!
//! That a run directory is alive is known by its lock alone: process numbers are given out again, locks end with their process.

use std::{
    collections::BTreeMap,
    fs::{File, TryLockError},
    io::{self, ErrorKind, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// What runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Of this form: [`VERSION`].
    pub version: u32,
    /// Folder of configuration.
    pub folder: PathBuf,
    /// The process that holds everything together.
    pub control: Control,
    /// Everything that it started, in the order of its start.
    pub members: Vec<Member>,
    /// Where events are spooled.
    pub events: Option<Events>,
    /// Where events are shipped to.
    pub kafka: Option<Kafka>,
}

/// The process that holds everything together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// Its number.
    pub pid: u32,
    /// Address of the page, and of what else `up` tells over HTTP.
    pub page: Option<SocketAddr>,
}

/// One program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The workload that it belongs to; `kind` tells its programs apart.
    pub name: String,
    /// Namespace of the workload; empty for what belongs to none.
    pub namespace: String,
    /// The app and the version of the workload, by its labels; empty where it has none.
    #[serde(default)]
    pub app: String,
    /// See `app`.
    #[serde(default)]
    pub version: String,
    /// What it is.
    pub kind: Kind,
    /// Its process, while there is one.
    pub pid: Option<u32>,
    /// Envoy's admin interface, or Kong's Admin API.
    pub admin: Option<SocketAddr>,
    /// Where `/stats/prometheus` (sidecar) or `/metrics` is answered.
    pub metrics: Option<SocketAddr>,
    /// Where it takes traffic.
    pub addresses: Vec<SocketAddr>,
    /// Files by what is in them: `log`, `access_log`.
    pub files: BTreeMap<String, PathBuf>,
}

/// What a program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `carbyne-proxy`.
    Sidecar,
    /// The application behind it.
    Service,
    /// `carbyne-gateway`, the application of its workload.
    Gateway,
    /// Takes events to the broker.
    Shipper,
    /// A Kafka of our own.
    Broker,
}

impl Kind {
    /// In one word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sidecar => "sidecar",
            Self::Service => "service",
            Self::Gateway => "gateway",
            Self::Shipper => "shipper",
            Self::Broker => "broker",
        }
    }

    /// What people call a program of this kind that belongs to this workload.
    #[must_use]
    pub fn title(self, workload: &str) -> String {
        match self {
            Self::Sidecar => format!("{workload}'s sidecar"),
            Self::Service => format!("{workload}'s service"),
            Self::Gateway => "the gateway".to_owned(),
            Self::Shipper => "the shipper".to_owned(),
            Self::Broker => "the broker".to_owned(),
        }
    }
}

/// Where events are spooled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// What members are told by `CARBYNE_EVENTS_DIR`.
    pub directory: PathBuf,
}

/// Where events are shipped to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kafka {
    /// `host:port`, with commas between several.
    pub bootstrap: String,
    /// File of the client's properties, such as a name and a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<PathBuf>,
}

/// Why nothing was found.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// The default place holds no live run directory.
    #[error("nothing runs: no run directory in {base} is alive")]
    Nothing {
        /// Where they would be.
        base: PathBuf,
    },
    /// The default place holds several.
    #[error("several run: {}", show(.directories))]
    Several {
        /// Which.
        directories: Vec<PathBuf>,
    },
    /// What was asked for does not run any more.
    #[error("{directory} is left over: what ran there has ended")]
    Stale {
        /// Which.
        directory: PathBuf,
    },
    /// It starts at this moment, or is not ours.
    #[error("{path}: {error}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Another version of `carbyne` wrote it.
    #[error("{path} is of version {found}, this program reads {VERSION}")]
    Version {
        /// Which file.
        path: PathBuf,
        /// What it says.
        found: u32,
    },
}

impl FindError {
    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Nothing { .. } | Self::Stale { .. } => Some("start one with `carbyne up`"),
            Self::Several { .. } => Some("say which with --run FOLDER"),
            Self::Version { .. } => {
                Some("use the `carbyne` that started it, or start it again with this one")
            }
            Self::Read { .. } => None,
        }
    }
}

/// What runs in `directory`, else the only one that runs in the default place; and where that is.
///
/// # Errors
/// When nothing runs there, or several do.
pub fn find(directory: Option<&Path>) -> Result<(PathBuf, Running), FindError> {
    if let Some(directory) = directory {
        return match alive(directory) {
            Ok(true) => read(directory).map(|running| (directory.to_owned(), running)),
            Ok(false) => Err(FindError::Stale {
                directory: directory.to_owned(),
            }),
            Err(error) => Err(FindError::Read {
                path: directory.join(LOCK),
                error,
            }),
        };
    }
    let base = base(&std::env::temp_dir());
    let mut directories: Vec<PathBuf> = std::fs::read_dir(&base)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| alive(path).unwrap_or(false))
        .collect();
    directories.sort();
    match directories.as_slice() {
        [] => Err(FindError::Nothing { base }),
        [one] => read(one).map(|running| (one.clone(), running)),
        _ => Err(FindError::Several { directories }),
    }
}

/// Reads what runs in a directory, whether or not it still does.
///
/// # Errors
/// When there is no such file, or another version wrote it.
pub fn read(directory: &Path) -> Result<Running, FindError> {
    let path = directory.join(FILE);
    let parsed = std::fs::read(&path).and_then(|bytes| {
        serde_json::from_slice(&bytes)
            .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
    });
    let running: Running = match parsed {
        Ok(running) => running,
        Err(error) => return Err(FindError::Read { path, error }),
    };
    if running.version == VERSION {
        Ok(running)
    } else {
        let found = running.version;
        Err(FindError::Version { path, found })
    }
}

/// Writes it so that readers see the old one or the new one.
///
/// # Errors
/// When it cannot be written.
pub fn write(directory: &Path, running: &Running) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    serde_json::to_writer_pretty(&mut file, running)?;
    file.write_all(b"\n")?;
    file.persist(directory.join(FILE))?;
    Ok(())
}

/// True while somebody holds the lock of a run directory.
///
/// # Errors
/// When there is no lock to look at.
pub fn alive(directory: &Path) -> io::Result<bool> {
    let file = File::open(directory.join(LOCK))?;
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Where run directories are, below the folder of temporary files.
#[must_use]
pub fn base(temporary: &Path) -> PathBuf {
    temporary.join(format!("carbyne-{}", rustix::process::getuid().as_raw()))
}

fn show(directories: &[PathBuf]) -> String {
    let all: Vec<String> = directories
        .iter()
        .map(|directory| directory.display().to_string())
        .collect();
    all.join(", ")
}

/// Of the form that this program reads and writes.
pub const VERSION: u32 = 1;
/// Name of the file in a run directory.
pub const FILE: &str = "running.json";
/// Name of the file that `up` holds locked.
pub const LOCK: &str = "lock";

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Running {
        Running {
            version: VERSION,
            folder: "/etc/platform".into(),
            control: Control {
                pid: 7,
                page: Some("127.0.0.1:15080".parse().unwrap()),
            },
            members: vec![Member {
                name: "portal".to_owned(),
                namespace: "platform".to_owned(),
                app: "portal".to_owned(),
                version: "v1".to_owned(),
                kind: Kind::Sidecar,
                pid: None,
                admin: Some("127.0.10.1:15000".parse().unwrap()),
                metrics: None,
                addresses: Vec::new(),
                files: BTreeMap::new(),
            }],
            events: Some(Events {
                directory: "/tmp/x/events".into(),
            }),
            kafka: None,
        }
    }

    #[test]
    fn is_found_only_while_its_lock_is_held() {
        let folder = tempfile::tempdir().unwrap();
        let lock = File::create(folder.path().join(LOCK)).unwrap();
        lock.lock().unwrap();
        write(folder.path(), &sample()).unwrap();
        assert_eq!(find(Some(folder.path())).unwrap().1, sample());
        drop(lock);
        let error = find(Some(folder.path())).unwrap_err();
        assert!(matches!(error, FindError::Stale { .. }), "{error}");
        assert_eq!(read(folder.path()).unwrap(), sample());
    }

    #[test]
    fn other_versions_are_told() {
        let folder = tempfile::tempdir().unwrap();
        write(
            folder.path(),
            &Running {
                version: 9,
                ..sample()
            },
        )
        .unwrap();
        let error = read(folder.path()).unwrap_err();
        assert!(
            matches!(error, FindError::Version { found: 9, .. }),
            "{error}"
        );
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        assert!(matches!(
            read(folder.path()).unwrap_err(),
            FindError::Read { .. }
        ));
    }
}
