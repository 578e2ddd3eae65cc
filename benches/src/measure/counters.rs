//! Instructions in user and kernel mode by the hardware's counters, through `perf stat`.
//!
//! Most virtual machines have none; the report then says so and callgrind stands in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Watcher, comma_list};
use crate::error::BenchError;

/// Instructions counted in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instructions {
    /// In user mode.
    pub user: u64,
    /// In the kernel, on behalf of the process.
    pub kernel: u64,
}

/// A window over running processes.
#[derive(Debug)]
pub struct Counters {
    watcher: Watcher,
    file: PathBuf,
}

impl Counters {
    /// Whether this machine counts instructions.
    #[must_use]
    pub fn exist() -> bool {
        let answer = Command::new("perf")
            .args(["stat", "-x,", "-e", EVENTS, "true"])
            .output();
        answer.is_ok_and(|answer| parse(&String::from_utf8_lossy(&answer.stderr)).is_some())
    }

    /// Opens the window.
    ///
    /// # Errors
    /// When perf cannot be started.
    pub fn open(pids: &[u32], folder: &Path) -> Result<Self, BenchError> {
        let file = folder.join("perf.csv");
        let mut command = Command::new("perf");
        command
            .args(["stat", "-x,", "-e", EVENTS, "-p", &comma_list(pids), "-o"])
            .arg(&file);
        Ok(Self {
            watcher: Watcher::spawn("perf", &mut command)?,
            file,
        })
    }

    /// Closes it; `None` if the machine does not count after all.
    ///
    /// # Errors
    /// When perf left no table.
    pub fn close(self) -> Result<Option<Instructions>, BenchError> {
        self.watcher.finish()?;
        let text = fs::read_to_string(&self.file).map_err(BenchError::file(self.file))?;
        Ok(parse(&text))
    }
}

const EVENTS: &str = "instructions:u,instructions:k";

fn parse(text: &str) -> Option<Instructions> {
    let count = |event: &str| {
        let line = text.lines().find(|line| line.contains(event))?;
        line.split(',').next()?.parse().ok()
    };
    Some(Instructions {
        user: count("instructions:u")?,
        kernel: count("instructions:k")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_and_their_absence_is_seen() {
        let counted = "12,,instructions:u,400,100.00,,\n34,,instructions:k,400,100.00,,\n";
        let expected = Instructions {
            user: 12,
            kernel: 34,
        };
        assert_eq!(parse(counted), Some(expected));
        assert_eq!(parse("<not supported>,,instructions:u,0,100.00,,\n"), None);
        assert_eq!(parse(""), None);
    }
}
