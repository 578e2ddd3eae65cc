//! Programs of the Python environment as peers: they are not ours, so they show what others expect.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::network::Namespace;
use super::place::Place;
use super::process::Process;

/// Starts a script in a namespace; its output goes to a file that [`lines`] reads.
pub fn start(namespace: &Namespace, name: &str, script: &Path, arguments: &[&str]) -> Process {
    let mut command = Command::new(interpreter());
    command.arg("-u").arg(script).args(arguments);
    namespace.inside(|| Process::start(name, command, Place::new()))
}

/// Runs a script in a namespace to its end: what it printed, or what went wrong.
pub fn run(namespace: &Namespace, script: &Path, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(interpreter());
    command.arg(script).args(arguments);
    let output = namespace
        .inside(|| command.output())
        .map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stdout) + &text(&output.stderr))
    }
}

/// What a script printed so far.
pub fn lines(process: &Process) -> Vec<String> {
    process.log_lines("stdout", 0).0
}

fn interpreter() -> PathBuf {
    let cache = std::env::var_os("CARBYNE_CACHE").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/carbyne"),
        PathBuf::from,
    );
    let venv = std::env::var_os("CARBYNE_VENV").map_or_else(|| cache.join("venv"), PathBuf::from);
    let program = venv.join("bin/python");
    assert!(
        program.exists(),
        "no Python environment at {}: run `.ci/setup test`",
        venv.display()
    );
    program
}
