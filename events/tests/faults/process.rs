//! A process of its own that emits, and is killed in the middle.

use std::env;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use carbyne_events::emit::{Options, Outlet};
use carbyne_events::samples::Calls;

/// Starts this program as a process that emits, kills it after about so many events, and gives the ids of those whose emission it
/// confirmed.
pub(crate) fn emit_until_killed(root: &Path, run: u64, events: u64) -> Vec<String> {
    let mut child = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "emitting_process",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(ROOT, root)
        .env(RUN, run.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut pipe = child.stdout.take().unwrap();
    let mut heard = Vec::new();
    let mut buffer = [0; 1 << 16];
    loop {
        let length = pipe.read(&mut buffer).unwrap();
        assert!(
            length > 0,
            "it ended by itself: {}",
            String::from_utf8_lossy(&heard)
        );
        heard.extend_from_slice(&buffer[..length]);
        if heard.len() as u64 / LINE > events {
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
        ..Options::new("process", "gateway")
    };
    let outlet = Outlet::open(Path::new(&root), options).unwrap();
    let emitter = outlet.emitter();
    let mut calls = Calls::new(run.wrapping_mul(0x1234_5678_9abc_def1));
    let mut out = std::io::stdout().lock();
    loop {
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
const RUN: &str = "CARBYNE_TEST_EMIT_RUN";
/// Bytes of a line.
const LINE: u64 = 36;
