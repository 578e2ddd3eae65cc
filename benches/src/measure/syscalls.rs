//! System calls in a window, counted by `strace -c -f`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::{Watcher, comma_list, process};
use crate::error::BenchError;

/// A window over running processes.
#[derive(Debug)]
pub struct Syscalls {
    watcher: Watcher,
    file: PathBuf,
}

impl Syscalls {
    /// Attaches to every thread, and returns when the kernel says that all of them are traced.
    ///
    /// # Errors
    /// When strace cannot be started or may not attach.
    pub fn open(pids: &[u32], folder: &Path) -> Result<Self, BenchError> {
        let file = folder.join("strace.table");
        let mut command = Command::new("strace");
        command
            .args(["-c", "-f", "-p", &comma_list(pids), "-o"])
            .arg(&file);
        let watcher = Watcher::spawn("strace", &mut command)?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while !pids.iter().all(|pid| traced(*pid)) {
            if Instant::now() > deadline {
                return Err(watcher.fault("could not attach: is tracing allowed to this user?"));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(Self { watcher, file })
    }

    /// Detaches; returns the calls by name.
    ///
    /// # Errors
    /// When strace left no table.
    pub fn close(self) -> Result<BTreeMap<String, u64>, BenchError> {
        self.watcher.finish()?;
        let text = fs::read_to_string(&self.file).map_err(BenchError::file(self.file))?;
        Ok(parse(&text))
    }
}

fn traced(pid: u32) -> bool {
    let threads = process::threads(pid);
    !threads.is_empty()
        && threads.iter().all(|thread| {
            fs::read_to_string(format!("/proc/{pid}/task/{thread}/status")).is_ok_and(|status| {
                status.lines().any(|line| {
                    line.strip_prefix("TracerPid:")
                        .is_some_and(|pid| pid.trim() != "0")
                })
            })
        })
}

/// Rows are `% time, seconds, usecs/call, calls, [errors], name`.
fn parse(text: &str) -> BTreeMap<String, u64> {
    let mut calls = BTreeMap::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (Some(count), Some(name)) = (fields.get(3), fields.last()) else {
            continue;
        };
        if let Ok(count) = count.parse()
            && fields.len() >= 5
            && *name != "total"
        {
            calls.insert((*name).to_owned(), count);
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read_with_and_without_errors() {
        let table = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.000300           1       200           writev
 40.00    0.000200           1       150        50 recvfrom
------ ----------- ----------- --------- --------- ----------------
100.00    0.000500           1       350        50 total
";
        let calls = parse(table);
        assert_eq!(calls.get("writev"), Some(&200));
        assert_eq!(calls.get("recvfrom"), Some(&150));
        assert_eq!(calls.values().sum::<u64>(), 350);
    }
}
