//! What a peer's processes spent: CPU time and memory from `/proc`, instructions by callgrind and by
//! the hardware's counters, system calls by strace.

pub mod counters;
pub mod instructions;
pub mod process;
pub mod syscalls;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::BenchError;

/// A program that looks at others until it is told to stop.
#[derive(Debug)]
struct Watcher {
    program: &'static str,
    child: Child,
}

impl Watcher {
    fn spawn(program: &'static str, command: &mut Command) -> Result<Self, BenchError> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| BenchError::Helper {
                program,
                what: error.to_string(),
            })?;
        Ok(Self { program, child })
    }

    /// Interrupts it as Ctrl-C would, and waits until it has written its table.
    fn finish(mut self) -> Result<(), BenchError> {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::INT).map_err(|error| self.fault(&error.to_string()))?;
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Err(self.fault("did not end when interrupted"))
    }

    fn fault(&self, what: &str) -> BenchError {
        BenchError::Helper {
            program: self.program,
            what: what.to_owned(),
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Nothing is left to do with an error here: the process is gone or unkillable.
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

fn comma_list(pids: &[u32]) -> String {
    pids.iter()
        .map(u32::to_string)
        .collect::<Vec<_>>()
        .join(",")
}
