//! The directory of one process, and whose it is.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::{Position, segment};

/// A process's directory below `CARBYNE_EVENTS_DIR`.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Directory {
    path: PathBuf,
}

/// A directory that is this process's as long as this lives. The kernel ends it with the process: no number of a process is written
/// anywhere, so none can be taken for another's.
///
/// Who emits has its lock alone. Who drains what a process has left, or looks whether it lives, shares the lock for a moment: a process that
/// starts just then waits, and does not take the next directory, because what it emits by a key would overtake what the last one did.
#[derive(Debug)]
pub struct Claim {
    directory: Directory,
    _locks: Vec<File>,
}

/// With whom a lock is held.
#[derive(Clone, Copy, Debug)]
enum Hold {
    Alone,
    Shared,
}

impl Directory {
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of the process: `gateway-0`.
    pub fn name(&self) -> &str {
        self.path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or("")
    }

    /// The first directory of the role that no living process has, made where need be.
    pub fn claim(root: &Path, role: &str) -> io::Result<Claim> {
        for number in 0..PROCESSES {
            let directory = Self::new(root.join(format!("{role}-{number}")));
            directory.make()?;
            if let Some(claim) = directory.own()? {
                return Ok(claim);
            }
        }
        Err(io::Error::other(format!(
            "{PROCESSES} processes of the role {role} use {} already",
            root.display()
        )))
    }

    /// What stands in the place of `NODE/ROLE-N` where nobody knows the node any more.
    pub fn nameless(&self) -> String {
        format!("?/{}", self.name())
    }

    /// Claims it for who emits; none where a process that lives has it.
    fn own(&self) -> io::Result<Option<Claim>> {
        let until = Instant::now() + LONGEST_DRAIN;
        loop {
            if let Some(lock) = self.lock("lock", Hold::Alone)? {
                return Ok(Some(self.claimed(vec![lock])));
            }
            if Instant::now() >= until || self.is_taken()? {
                return Ok(None);
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Claims a directory whose process is gone, to drain it; none while it lives, or somebody else drains it.
    pub fn seize(&self) -> io::Result<Option<Claim>> {
        let Some(drain) = self.lock("drain.lock", Hold::Alone)? else {
            return Ok(None);
        };
        let lock = self.lock("lock", Hold::Shared)?;
        Ok(lock.map(|lock| self.claimed(vec![drain, lock])))
    }

    fn claimed(&self, locks: Vec<File>) -> Claim {
        Claim {
            directory: self.clone(),
            _locks: locks,
        }
    }

    /// Whether a living process has it. Writes nothing.
    pub fn is_taken(&self) -> io::Result<bool> {
        let file = match File::open(self.path.join("lock")) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(false),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Claims the right to ship it; none where another has it.
    pub fn lock_shipping(&self) -> io::Result<Option<File>> {
        self.lock("ship.lock", Hold::Alone)
    }

    /// What can never be sent, in a directory of its own.
    pub fn dead_letters(&self) -> io::Result<Self> {
        let directory = Self::new(self.path.join("dead-letters"));
        directory.make()?;
        Ok(directory)
    }

    fn lock(&self, name: &str, hold: Hold) -> io::Result<Option<File>> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o640)
            .open(self.path.join(name))?;
        let operation = match hold {
            Hold::Alone => FlockOperation::NonBlockingLockExclusive,
            Hold::Shared => FlockOperation::NonBlockingLockShared,
        };
        match flock(&file, operation) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn make(&self) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o750);
        builder.create(&self.path)?;
        builder.create(self.rings())?;
        builder.create(self.segments())
    }

    pub fn rings(&self) -> PathBuf {
        self.path.join("rings")
    }

    pub fn segments(&self) -> PathBuf {
        self.path.join("segments")
    }

    /// Where a producer's ring lies.
    pub fn ring(&self, epoch: u64, worker: u64) -> PathBuf {
        self.rings().join(format!("{epoch}-{worker}.ring"))
    }

    /// The rings that lie there, of living producers and of dead ones.
    pub fn ring_files(&self) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        match std::fs::read_dir(self.rings()) {
            Ok(entries) => {
                for entry in entries {
                    let path = entry?.path();
                    if path
                        .extension()
                        .is_some_and(|extension| extension == "ring")
                    {
                        found.push(path);
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        found.sort();
        Ok(found)
    }

    /// Ordinals and sizes of its segments, in order.
    pub fn segment_sizes(&self) -> io::Result<Vec<(u64, u64)>> {
        segment::list(&self.segments())
    }

    /// Deletes the segments all of which lies before the position; says how many.
    pub fn trim(&self, acknowledged: Position) -> io::Result<usize> {
        let mut deleted = 0;
        for (ordinal, _) in self.segment_sizes()? {
            if ordinal >= acknowledged.segment {
                break;
            }
            std::fs::remove_file(segment::path(&self.segments(), ordinal))?;
            deleted += 1;
        }
        Ok(deleted)
    }
}

impl Claim {
    pub fn directory(&self) -> &Directory {
        &self.directory
    }
}

/// The directories of processes below a root, in order of their names; or the root itself where it is one.
pub fn directories(root: &Path) -> io::Result<Vec<Directory>> {
    let is_one = |path: &Path| path.join("segments").is_dir();
    if is_one(root) {
        return Ok(vec![Directory::new(root.to_path_buf())]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root)? {
        let path = entry?.path();
        if is_one(&path) {
            found.push(Directory::new(path));
        }
    }
    found.sort();
    Ok(found)
}

/// How long a process that starts waits for who drains its directory: far longer than a few rings take.
const LONGEST_DRAIN: Duration = Duration::from_secs(10);
/// As many processes of a role may share a root.
const PROCESSES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_processes_never_share_a_directory() {
        let root = tempfile::tempdir().unwrap();
        let first = Directory::claim(root.path(), "proxy").unwrap();
        let second = Directory::claim(root.path(), "proxy").unwrap();
        let other = Directory::claim(root.path(), "gateway").unwrap();
        assert_eq!(first.directory().name(), "proxy-0");
        assert_eq!(second.directory().name(), "proxy-1");
        assert_eq!(other.directory().name(), "gateway-0");
        assert!(first.directory().seize().unwrap().is_none());
        let directory = first.directory().clone();
        assert!(directory.is_taken().unwrap());
        drop(first);
        assert!(!directory.is_taken().unwrap());
        let seized = directory.seize().unwrap();
        assert!(seized.is_some());
        let names: Vec<Directory> = directories(root.path()).unwrap();
        let names: Vec<&str> = names.iter().map(Directory::name).collect();
        assert_eq!(names, ["gateway-0", "proxy-0", "proxy-1"]);
    }

    #[test]
    fn a_process_that_starts_waits_for_who_drains() {
        let root = tempfile::tempdir().unwrap();
        drop(Directory::claim(root.path(), "proxy").unwrap());
        let directory = directories(root.path()).unwrap().remove(0);
        let draining = directory.seize().unwrap().unwrap();
        assert!(directory.seize().unwrap().is_none());
        assert!(!directory.is_taken().unwrap());
        let path = root.path().to_owned();
        let starting = thread::spawn(move || Directory::claim(&path, "proxy").unwrap());
        // It may have begun to wait or not: it gets the same directory either way.
        thread::sleep(Duration::from_millis(5));
        drop(draining);
        assert_eq!(starting.join().unwrap().directory().name(), "proxy-0");
    }
}
