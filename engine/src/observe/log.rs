//! The one writer behind every access log.
//!
//! Workers append finished lines to a buffer; a thread writes it out when it is large or a flush interval
//! has passed. A slow disk never blocks a request: beyond a bound lines are dropped and counted.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

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
    taken: Counter,
    dropped: Counter,
    failed: Counter,
}

#[derive(Debug, Default)]
struct Buffer {
    lines: Vec<u8>,
    /// Where among them the file is to be opened anew.
    reopen: Option<usize>,
    /// Write out what is here and end.
    closed: bool,
    /// The writer has ended.
    ended: bool,
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
    pub fn open(path: &Path, settings: LogSettings) -> io::Result<Self> {
        let file = open(path)?;
        let shared = Arc::new(Shared {
            path: path.to_path_buf(),
            settings,
            buffer: Mutex::default(),
            wake: Condvar::new(),
            taken: Counter::new(),
            dropped: Counter::new(),
            failed: Counter::new(),
        });
        let writer = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || writer.run(file))?;
        Ok(Self { shared })
    }

    /// Appends what `line` writes, which must end with the line's own newline if it has one. False where it was dropped.
    pub fn append(&self, line: &[u8]) -> bool {
        let shared = &*self.shared;
        // The lock is held for a copy of some hundred bytes; the writer swaps the buffer out before it
        // touches the disk.
        let mut buffer = shared.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        if buffer.lines.len() + line.len() > shared.settings.limit {
            shared.dropped.increment();
            return false;
        }
        let before = buffer.lines.len();
        buffer.lines.extend_from_slice(line);
        shared.taken.increment();
        let due = shared.settings.flush_size;
        if before < due && buffer.lines.len() >= due {
            shared.wake.notify_one();
        }
        true
    }

    /// Asks the writer to close and open the file again, as after log rotation (Envoy: `SIGUSR1`). Lines appended before this
    /// go where they would have gone.
    pub fn reopen(&self) {
        let shared = &*self.shared;
        let mut buffer = shared.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        let before = buffer.lines.len();
        buffer.reopen.get_or_insert(before);
        shared.wake.notify_one();
    }

    /// Lines taken; lines dropped, because the writer lagged or the disk was full; and writes that failed.
    pub fn counts(&self) -> (u64, u64, u64) {
        let shared = &*self.shared;
        (
            shared.taken.value(),
            shared.dropped.value(),
            shared.failed.value(),
        )
    }

    /// Writes out everything and ends the writer; gives up where the disk does not take it in a while.
    pub fn close(&self) {
        let shared = &*self.shared;
        let mut buffer = shared.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        buffer.closed = true;
        shared.wake.notify_all();
        let until = Instant::now() + CLOSE_LIMIT;
        while !buffer.ended {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            (buffer, _) = shared
                .wake
                .wait_timeout(buffer, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Shared {
    fn run(&self, file: File) {
        let mut output = Output {
            file,
            torn: Vec::new(),
        };
        let mut lines = Vec::new();
        loop {
            let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
            if buffer.lines.len() < self.settings.flush_size
                && !buffer.closed
                && buffer.reopen.is_none()
            {
                (buffer, _) = self
                    .wake
                    .wait_timeout(buffer, self.settings.flush_interval)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            std::mem::swap(&mut buffer.lines, &mut lines);
            let reopen = buffer.reopen.take();
            let closed = buffer.closed;
            drop(buffer);
            let (before, behind) = lines.split_at(reopen.unwrap_or(lines.len()));
            self.write(&mut output, before);
            if reopen.is_some()
                && let Ok(file) = open(&self.path)
            {
                // What was torn ended in the old file.
                output = Output {
                    file,
                    torn: Vec::new(),
                };
            }
            if !behind.is_empty() {
                self.write(&mut output, behind);
            }
            lines.clear();
            lines.shrink_to(self.settings.flush_size * 2);
            if closed {
                self.buffer
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .ended = true;
                self.wake.notify_all();
                return;
            }
        }
    }

    fn write(&self, output: &mut Output, lines: &[u8]) {
        if let Err(lost) = output.write(lines) {
            self.failed.increment();
            self.dropped.add(lost);
        }
    }
}

/// A file, and the rest of the line that a full disk has torn: it goes first when there is room again, so that no line
/// runs into another.
#[derive(Debug)]
struct Output {
    file: File,
    torn: Vec<u8>,
}

impl Output {
    /// Writes lines; where that fails, how many are lost.
    fn write(&mut self, lines: &[u8]) -> Result<(), u64> {
        let mut torn = std::mem::take(&mut self.torn);
        if let Err(written) = self.write_all(&torn) {
            torn.drain(..written);
            self.torn = torn;
            return Err(count(lines));
        }
        let Err(written) = self.write_all(lines) else {
            return Ok(());
        };
        let (before, rest) = lines.split_at(written);
        if matches!(before.last(), None | Some(b'\n')) {
            return Err(count(rest));
        }
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        let (torn, lost) = rest.split_at(end);
        self.torn = torn.to_vec();
        Err(count(lost))
    }

    /// Writes all, or tells how much it could.
    fn write_all(&mut self, bytes: &[u8]) -> Result<(), usize> {
        let mut written = 0;
        while written < bytes.len() {
            match self.file.write(&bytes[written..]) {
                Ok(0) => return Err(written),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(written),
            }
        }
        Ok(())
    }
}

fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// How long the end of the process waits for a disk.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

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
    fn lines_go_to_the_file_of_their_time() {
        let folder = tempfile::tempdir().unwrap();
        let (path, rotated) = (folder.path().join("a.log"), folder.path().join("a.log.1"));
        let log = LogFile::open(&path, LogSettings::default()).unwrap();
        log.append(b"before\n");
        std::fs::rename(&path, &rotated).unwrap();
        log.reopen();
        log.append(b"behind\n");
        log.close();
        assert_eq!(std::fs::read_to_string(&rotated).unwrap(), "before\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "behind\n");
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
