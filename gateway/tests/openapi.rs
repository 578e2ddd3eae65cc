//! The Admin API, fuzzed by schemathesis against the description that is made from the schemas.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test: failing loudly is the point"
)]

#[path = "support/cases.rs"]
mod cases;
#[allow(dead_code, reason = "part of it is for others")]
#[path = "command/program.rs"]
mod program;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use program::{Node, Program};

/// No request that the description allows, and none that it does not, is answered with 500.
#[test]
fn no_request_breaks_the_admin_api() {
    let full = std::env::var("FULL").is_ok_and(|full| !["", "0"].contains(&full.as_str()));
    let seed = std::env::var("CARBYNE_SEED").unwrap_or_else(|_| "1".into());
    let home = std::env::var("HOME").unwrap_or_default();
    let environment = std::env::var("CARBYNE_VENV").map_or_else(
        |_| PathBuf::from(home).join(".cache/carbyne/venv"),
        PathBuf::from,
    );
    let tool = environment.join("bin/schemathesis");
    assert!(
        tool.is_file(),
        "{} is missing: .ci/setup test installs it from PyPI",
        tool.display()
    );
    let program = Program::new();
    let described = program.kong(&["schema", "openapi"]);
    assert_eq!(described.code, 0, "{}", described.err);
    program.write("openapi.json", &described.out);
    // What the node cannot do is said with 501, which is no fault.
    let node = Node::start(&program, &["start"], &[]);
    let url = format!("http://{}", node.address("Admin"));
    let examples = if full { "60" } else { "2" };
    let output = Command::new(&tool)
        .current_dir(program.path(""))
        .args(["run", "openapi.json", "--url", &url])
        .args([
            "--checks",
            "not_a_server_error",
            "--exclude-path",
            "/status/dns",
        ])
        .args([
            "--phases",
            if full { "coverage,fuzzing" } else { "fuzzing" },
        ])
        .args(["--mode", "all", "--max-examples", examples, "--seed", &seed])
        .args(["--workers", "2", "--no-color"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "seed {seed}\n{text}\n{errors}");
    // The node lives, and a run that tested nothing has not passed.
    let root = program::curl(&[&format!("{url}/")]);
    assert!(root.out.contains("\"version\":\"3.9.3\""), "{root:?}");
    let count = generated(&text).unwrap_or_else(|| panic!("no count in {text}"));
    assert!(count > 300, "{count} cases: {text}");
    cases::report("admin fuzz", count, count.max(10_000));
}

/// How many requests were made, by the tool's own summary.
fn generated(text: &str) -> Option<usize> {
    let line = text.lines().find(|line| line.contains(" generated,"))?;
    let before = line.split(" generated,").next()?;
    before
        .rsplit([' ', ','])
        .find_map(|word| word.trim().parse().ok())
}
