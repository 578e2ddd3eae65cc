//! Log files, opened once however many listeners write to them.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use carbyne_engine::observe::log::{LogFile, LogSettings};
use rustc_hash::FxHashMap;

/// All log files of the process.
#[derive(Debug, Default)]
pub struct LogFiles {
    settings: LogSettings,
    open: Mutex<FxHashMap<PathBuf, LogFile>>,
}

impl LogFiles {
    /// None yet; files batch by `settings`.
    pub fn new(settings: LogSettings) -> Self {
        Self {
            settings,
            open: Mutex::default(),
        }
    }

    /// The file of a path.
    pub fn open(&self, path: &Path) -> std::io::Result<LogFile> {
        let mut open = self.lock();
        if let Some(file) = open.get(path) {
            return Ok(file.clone());
        }
        let file = LogFile::open(path, self.settings)?;
        open.insert(path.to_path_buf(), file.clone());
        Ok(file)
    }

    /// Opens all of them again, as after rotation (Envoy: `SIGUSR1`, `/reopen_logs`).
    pub fn reopen(&self) {
        for file in self.lock().values() {
            file.reopen();
        }
    }

    /// Lines written, lines dropped because a disk lagged, writes that failed.
    pub fn counts(&self) -> (u64, u64, u64) {
        self.lock()
            .values()
            .map(LogFile::counts)
            .fold((0, 0, 0), |sum, file| {
                (sum.0 + file.0, sum.1 + file.1, sum.2 + file.2)
            })
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Writes out everything; before the process ends.
    pub fn close(&self) {
        for (_, file) in self.lock().drain() {
            file.close();
        }
    }

    fn lock(&self) -> MutexGuard<'_, FxHashMap<PathBuf, LogFile>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
