//! A process of its own that emits, and is killed in the middle.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use carbyne_events::emit::{Options, Outlet};
use carbyne_events::samples::{Calls, change};

/// The clock of such a process: libfaketime's, which reads how far it is off from a file.
pub(crate) struct Clock(PathBuf);

impl Clock {
    pub(crate) fn new(file: &Path) -> Self {
        let clock = Self(file.to_owned());
        clock.set("+0");
        clock
    }

    /// At once, also for a process that runs.
    pub(crate) fn set(&self, offset: &str) {
        let next = self.0.with_extension("next");
        fs::write(&next, format!("{offset}\n")).unwrap();
        fs::rename(next, &self.0).unwrap();
    }

    fn variables(&self) -> [(&'static str, OsString); 4] {
        [
            // What faketime(1) sets; the loader knows what $LIB is.
            ("LD_PRELOAD", "/usr/$LIB/faketime/libfaketime.so.1".into()),
            ("FAKETIME_TIMESTAMP_FILE", self.0.clone().into()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ]
    }
}

/// Starts this program as a process that emits, kills it after about so many events, and gives the ids of those whose emission it
/// confirmed.
pub(crate) fn emit_until_killed(root: &Path, node: &str, run: u64, events: u64) -> Vec<String> {
    until_killed(command(root, node, run), events, || {})
}

/// The same by another clock; in the middle, something happens.
pub(crate) fn emit_until_killed_by(
    clock: &Clock,
    root: &Path,
    node: &str,
    run: u64,
    events: u64,
    halfway: impl FnOnce(),
) -> Vec<String> {
    let mut command = command(root, node, run);
    command.envs(clock.variables());
    until_killed(command, events, halfway)
}

fn command(root: &Path, node: &str, run: u64) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "emitting_process",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(ROOT, root)
        .env(NODE, node)
        .env(RUN, run.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    command
}

fn until_killed(mut command: Command, events: u64, halfway: impl FnOnce()) -> Vec<String> {
    let mut child = command.spawn().unwrap();
    let mut pipe = child.stdout.take().unwrap();
    let mut heard = Vec::new();
    let mut buffer = [0; 1 << 16];
    let mut halfway = Some(halfway);
    loop {
        let length = pipe.read(&mut buffer).unwrap();
        assert!(
            length > 0,
            "it ended by itself: {}",
            String::from_utf8_lossy(&heard)
        );
        heard.extend_from_slice(&buffer[..length]);
        let count = heard.len() as u64 / LINE;
        if count > events / 2
            && let Some(halfway) = halfway.take()
        {
            halfway();
        }
        if count > events {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What it had confirmed and nobody had read yet counts.
    pipe.read_to_end(&mut heard).unwrap();
    let text = String::from_utf8(heard).unwrap();
    let lines = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    let ids = lines.filter_map(|line| line.trim_end().strip_prefix("id "));
    ids.map(str::to_owned).collect()
}

/// What such a process does.
pub(crate) fn main() {
    let Some(root) = env::var_os(ROOT) else {
        return;
    };
    let run: u64 = env::var(RUN).unwrap().parse().unwrap();
    let options = Options {
        ring_bytes: 256 << 10,
        segment_bytes: 1 << 20,
        ..Options::new(env::var(NODE).unwrap(), "gateway")
    };
    let outlet = Outlet::open(Path::new(&root), options).unwrap();
    let emitter = outlet.emitter();
    let mut calls = Calls::new(run.wrapping_mul(0x1234_5678_9abc_def1));
    let mut out = std::io::stdout().lock();
    for turn in run << 32.. {
        if turn % 50 == 0 {
            // Versions grow from process to process: what a key's order is seen by.
            emitter
                .emit(&change(&format!("routes/{}", turn / 50 % 7), turn))
                .ok();
        }
        let call = calls.call();
        if emitter.emit(&call).is_ok() {
            // One system call: a line is there whole, or not at all.
            let line = format!("id {}\n", call.request_id);
            out.write_all(line.as_bytes()).unwrap();
            out.flush().unwrap();
        } else {
            std::thread::yield_now();
        }
    }
}

const ROOT: &str = "CARBYNE_TEST_EMIT_ROOT";
const NODE: &str = "CARBYNE_TEST_EMIT_NODE";
const RUN: &str = "CARBYNE_TEST_EMIT_RUN";
/// Bytes of a line.
const LINE: u64 = 36;
