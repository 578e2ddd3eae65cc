//! The runtime directory: a folder for each workload, laid out like a pod; removed at the end.
//!
//! ```text
//! carbyne-up-XXXXXX/
//!   portal/
//!     access.log proxy.log service.log
//!     etc/istio/proxy/envoy-rev.json  XDS
//!     var/run/secrets/workload-spiffe-uds/socket
//! ```

use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use super::bootstrap::{BOOTSTRAP_FILE, SDS_SOCKET, XDS_SOCKET};

/// The runtime directory.
#[derive(Debug)]
pub struct Directory(TempDir);

/// The directory could not be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// A file or folder could not be made.
    #[error("cannot make {path}: {error}")]
    Make {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
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
    /// Something is left over.
    #[error("cannot remove {path}: {error}")]
    Remove {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

impl Directory {
    /// Makes it, readable by nobody else, in `base` or where temporary files belong.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(base: Option<&Path>) -> Result<Self, DirectoryError> {
        let base = base.map_or_else(std::env::temp_dir, Path::to_owned);
        // Whole names: the sidecars run in folders of their own.
        let made = std::path::absolute(&base).and_then(|base| {
            tempfile::Builder::new()
                .prefix("carbyne-up-")
                .tempdir_in(base)
        });
        made.map(Self)
            .map_err(|error| DirectoryError::Make { path: base, error })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Where a workload's files are.
    #[must_use]
    pub fn of(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
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
        let path = self.0.path().to_owned();
        self.0
            .close()
            .map_err(|error| DirectoryError::Remove { path, error })
    }
}

fn make(path: &Path, act: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<(), DirectoryError> {
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
/// `sockaddr_un` has 108 bytes, the last of them a zero.
const LONGEST_SOCKET_NAME: usize = 107;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_furnished_and_leaves_nothing() {
        let base = tempfile::tempdir().unwrap();
        let directory = Directory::new(Some(base.path())).unwrap();
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
    fn long_names_are_refused_with_their_length() {
        let base = tempfile::tempdir().unwrap();
        let directory = Directory::new(Some(base.path())).unwrap();
        let error = directory
            .furnish(&"x".repeat(80), &Value::Null)
            .unwrap_err();
        assert!(
            matches!(error, DirectoryError::SocketName { .. }),
            "{error}"
        );
        assert!(Directory::new(Some(Path::new("/nonexistent"))).is_err());
    }
}
