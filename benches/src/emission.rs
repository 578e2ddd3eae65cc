//! What the process that emits (`bench-events`) is asked, and what it says.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::BenchError;

/// What came of a load.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Loaded {
    /// Events that were taken.
    pub emitted: u64,
    /// Events for which there was no room.
    pub dropped: u64,
    /// Events that the broker has acknowledged, those of the emitting process's own included.
    pub acknowledged: u64,
    /// From the first emission until all was acknowledged.
    pub seconds: f64,
    /// CPU time that the process took, µs.
    pub cpu: f64,
    /// The most resident memory that it had, KiB.
    pub peak_kib: f64,
    /// How long a sync of the spool took, ms, in the mean.
    pub sync: f64,
}

/// What was spooled.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Filled {
    /// Bytes of the spool.
    pub bytes: u64,
}

/// Starts it for one task.
///
/// # Errors
/// When it cannot be started.
pub(crate) fn spawn(program: &Path, arguments: &[&str]) -> Result<Child, BenchError> {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(BenchError::file(program))
}

/// Waits for its end; what it said last, as JSON.
///
/// # Errors
/// When it failed, or said something else.
pub(crate) fn outcome<T: DeserializeOwned>(child: Child) -> Result<T, BenchError> {
    let output = child.wait_with_output().map_err(BenchError::file(NAME))?;
    if !output.status.success() {
        return Err(fault(output.status));
    }
    serde_json::from_slice(&output.stdout).map_err(fault)
}

/// Waits for its first line.
///
/// # Errors
/// When it ends without one.
pub(crate) fn said_something(mut child: Child) -> Result<(), BenchError> {
    let mut line = String::new();
    if let Some(out) = &mut child.stdout {
        BufReader::new(out)
            .read_line(&mut line)
            .map_err(BenchError::file(NAME))?;
    }
    // What it does afterwards is of no interest.
    drop(child.kill());
    drop(child.wait());
    if line.is_empty() {
        return Err(fault("ended without a word"));
    }
    Ok(())
}

/// Something that went wrong with it or with the broker.
pub fn fault(what: impl std::fmt::Display) -> BenchError {
    BenchError::Helper {
        program: NAME,
        what: what.to_string(),
    }
}

const NAME: &str = "bench-events";
