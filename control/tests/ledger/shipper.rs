//! `carbyne events ship` and `carbyne events verify`, as people run them.

use std::{
    io::Read,
    path::Path,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A shipper of its own process, ended with this.
#[derive(Debug)]
pub(crate) struct Shipper(Child);

impl Shipper {
    pub(crate) fn start(events: &Path, bootstrap: &str) -> Self {
        // What it says is little, and read when it ends.
        let child = Command::new(env!("CARGO_BIN_EXE_carbyne"))
            .args(["events", "ship"])
            .arg(events)
            .args(["--bootstrap", bootstrap])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        Self(child.unwrap())
    }

    /// Ends it as an operator does; says how many events were acknowledged to it.
    pub(crate) fn terminate(mut self) -> u64 {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let mut said = String::new();
        let mut stderr = self.0.stderr.take().unwrap();
        stderr.read_to_string(&mut said).unwrap();
        self.0.wait().unwrap();
        acknowledged(&said)
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Shipper {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Ships what is left, and says how many events that were.
pub(crate) fn ship_the_rest(events: &Path, bootstrap: &str) -> u64 {
    let output = carbyne()
        .args(["events", "ship", "--once"])
        .arg(events)
        .args(["--bootstrap", bootstrap])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    acknowledged(&said)
}

fn acknowledged(said: &str) -> u64 {
    let line = said
        .lines()
        .find_map(|line| line.strip_suffix(" events acknowledged"));
    let number = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
    number.unwrap_or_else(|| panic!("it does not say what it shipped: {said}"))
}

/// What the proof says of spools and topics.
pub(crate) fn verify(events: &Path, bootstrap: &str) -> Value {
    let output = carbyne()
        .args(["events", "verify", "-o", "json"])
        .arg(events)
        .args(["--bootstrap", bootstrap])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// Makes the twelve topics.
pub(crate) fn apply_topics(bootstrap: &str) {
    let output = carbyne()
        .args(["topics", "apply", "--yes", "--bootstrap", bootstrap])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

fn carbyne() -> Command {
    let mut command = Command::new("timeout");
    command.args(["--foreground", "600", env!("CARGO_BIN_EXE_carbyne")]);
    command.stdin(Stdio::null());
    command
}
