//! The one writer behind every access log.
//!
//! Workers append finished lines to a buffer; a thread writes it out when it is large or a flush interval
//! has passed. A slow disk never blocks a request: beyond a bound lines are dropped and counted.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::metrics::Counter;

/// A log file shared by all workers.
#[derive(Clone, Debug)]
pub struct LogFile {
    shared: Arc<Shared>,
}

/// How a [`LogFile`] batches.
#[derive(Clone, Copy, Debug)]
pub struct LogSettings {
    /// Longest time that a line waits before it is written (Envoy's `--file-flush-interval-msec`).
    pub flush_interval: Duration,
    /// Buffered bytes that wake the writer early (Envoy's `--file-flush-min-size-kb`).
    pub flush_size: usize,
    /// Buffered bytes beyond which lines are dropped.
    pub limit: usize,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    settings: LogSettings,
    buffer: Mutex<Buffer>,
    wake: Condvar,
    written: Counter,
    dropped: Counter,
    failed: Counter,
}

#[derive(Debug, Default)]
struct Buffer {
    lines: Vec<u8>,
    reopen: bool,
    closed: bool,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            flush_interval: Duration::from_secs(1),
            flush_size: 64 * 1024,
            limit: 8 * 1024 * 1024,
        }
    }
}

impl LogFile {
    /// Opens `path` for appending and starts its writer. `/dev/stdout` and the like work as paths.
    pub fn open(path: &Path, settings: LogSettings) -> std::io::Result<Self> {
        let file = open(path)?;
        let shared = Arc::new(Shared {
            path: path.to_path_buf(),
            settings,
            buffer: Mutex::default(),
            wake: Condvar::new(),
            written: Counter::new(),
            dropped: Counter::new(),
            failed: Counter::new(),
        });
        let writer = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || writer.run(file))?;
        Ok(Self { shared })
    }

    /// Appends what `line` writes, which must end with the line's own newline if it has one.
    pub fn append(&self, line: &[u8]) {
        let shared = &*self.shared;
        // The lock is held for a copy of some hundred bytes; the writer swaps the buffer out before it
        // touches the disk.
        let mut buffer = shared.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        if buffer.lines.len() + line.len() > shared.settings.limit {
            shared.dropped.increment();
            return;
        }
        let before = buffer.lines.len();
        buffer.lines.extend_from_slice(line);
        shared.written.increment();
        let due = shared.settings.flush_size;
        if before < due && buffer.lines.len() >= due {
            shared.wake.notify_one();
        }
    }

    /// Asks the writer to close and open the file again, as after log rotation (Envoy: `SIGUSR1`).
    pub fn reopen(&self) {
        self.shared
            .buffer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .reopen = true;
        self.shared.wake.notify_one();
    }

    /// Lines taken, lines dropped because the writer lagged, and writes that failed.
    pub fn counts(&self) -> (u64, u64, u64) {
        let shared = &*self.shared;
        (
            shared.written.value(),
            shared.dropped.value(),
            shared.failed.value(),
        )
    }

    /// Writes out everything and ends the writer.
    pub fn close(&self) {
        let mut buffer = self
            .shared
            .buffer
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        buffer.closed = true;
        self.shared.wake.notify_one();
        while !buffer.lines.is_empty() {
            let (next, timeout) = self
                .shared
                .wake
                .wait_timeout(buffer, Duration::from_millis(200))
                .unwrap_or_else(PoisonError::into_inner);
            buffer = next;
            if timeout.timed_out() {
                return;
            }
        }
    }
}

impl Shared {
    fn run(&self, mut file: File) {
        let mut lines = Vec::new();
        loop {
            let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
            if buffer.lines.len() < self.settings.flush_size && !buffer.closed && !buffer.reopen {
                (buffer, _) = self
                    .wake
                    .wait_timeout(buffer, self.settings.flush_interval)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            std::mem::swap(&mut buffer.lines, &mut lines);
            let reopen = std::mem::take(&mut buffer.reopen);
            let closed = buffer.closed;
            drop(buffer);
            if !lines.is_empty() && file.write_all(&lines).is_err() {
                // A full disk or a closed pipe: counted, and tried again with the next batch.
                self.failed.increment();
            }
            lines.clear();
            lines.shrink_to(self.settings.flush_size * 2);
            if reopen && let Ok(opened) = open(&self.path) {
                file = opened;
            }
            self.wake.notify_all();
            if closed {
                return;
            }
        }
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_reach_the_file_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let log = LogFile::open(&path, LogSettings::default()).unwrap();
        for line in ["one\n", "two\n"] {
            log.append(line.as_bytes());
        }
        log.close();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        assert_eq!(log.counts(), (2, 0, 0));
    }

    #[test]
    fn beyond_the_limit_lines_are_dropped_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let settings = LogSettings {
            limit: 4,
            ..LogSettings::default()
        };
        let log = LogFile::open(&folder.path().join("access.log"), settings).unwrap();
        log.append(b"12345");
        log.append(b"1234");
        assert_eq!(log.counts().1, 1);
    }
}
