//! Programs that are not ours, and say what others expect.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use super::message::Message;

/// A program that runs beside the test, ended with it.
#[derive(Debug)]
pub(crate) struct Peer {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Peer {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{command:?} is needed: run `.ci/setup test` ({error})")
            });
        let output = process.stdout.take().expect("a pipe");
        Self {
            process,
            output: BufReader::new(output),
        }
    }

    /// The next line that it prints.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.output.read_line(&mut line);
        assert!(read.is_ok_and(|read| read > 0), "the peer ended early");
        line.trim_end().to_owned()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Fails only where it has ended by itself.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Runs a program that must be there to its end: what it printed on both streams.
pub(crate) fn program(name: &str, arguments: &[&str]) -> String {
    let output = Command::new(name)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{name} is needed: run `.ci/setup test` ({error})"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text + &String::from_utf8_lossy(&output.stderr)
}

/// The Python of the environment that holds the peers written in it.
pub(crate) fn python() -> PathBuf {
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

/// What curl is answered, with these arguments.
pub(crate) fn curl(arguments: &[&str]) -> Message {
    let output = Command::new("curl")
        .args(["-sk", "-i", "--max-time", "30"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("curl is needed: run `.ci/setup test` ({error})"));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    // Interim answers come before the one that counts.
    let (mut head, mut body) = told
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("curl {arguments:?}: {:?} {told:?}", output.status));
    while head.starts_with("HTTP/1.1 1") {
        (head, body) = body.split_once("\r\n\r\n").unwrap_or((body, ""));
    }
    let mut lines = head.lines();
    let line = lines.next().unwrap_or_default().to_owned();
    let fields = lines.filter_map(|line| line.split_once(':'));
    Message {
        line,
        headers: fields
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect(),
        body: body.as_bytes().to_vec(),
    }
}
