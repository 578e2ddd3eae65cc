//! What the verbs print that need no running platform, word for word: events of a recorded spool, explanations, dashboards, and what
//! is said where nothing runs. Text and JSON, with exit code. (`topics` is in topics.rs; status, verify, graph, proxy, lint and doctor
//! beside their code; all of them against a running platform in verbs.rs.)

#![expect(
    clippy::unwrap_used,
    reason = "a test, all of it; the configuration allows this only inside the test functions themselves"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use insta::assert_snapshot;
use regex::Regex;

#[path = "outputs/spooled.rs"]
mod spooled;

use spooled::spooled;

/// A verb as people run it, in a folder: exit code, then what it wrote where. What differs from run to run has a word instead.
fn output(folder: &Path, line: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_carbyne"))
        .args(line)
        .current_dir(folder)
        .env("TMPDIR", folder)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let all = format!(
        "exit code {}\n--- standard output\n{}--- standard error\n{}",
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr)
    );
    let all = all.replace(folder.to_str().unwrap(), "FOLDER");
    let words = [
        // Microseconds since 1970, and an epoch's seconds.
        (r"\b1[0-9]{15}\b", "TIME"),
        (r"\b1[0-9]{9}\b", "EPOCH"),
        (r#"("oldest_seconds": )[0-9.e-]+"#, "${1}AGE"),
        (r"[0-9]+ s\b", "AGE"),
        (r"carbyne-[0-9]+", "carbyne-UID"),
    ];
    words.iter().fold(all, |text, (pattern, word)| {
        let pattern = Regex::new(pattern).unwrap();
        pattern.replace_all(&text, *word).into_owned()
    })
}

/// The same as text and as JSON.
fn both(name: &str, folder: &Path, line: &[&str]) {
    assert_snapshot!(name, output(folder, line));
    let line = [line, &["-o", "json"]].concat();
    assert_snapshot!(format!("{name}_in_json"), output(folder, &line));
}

/// Files whose names end so, below a folder.
fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(files(&path, end));
        } else if path.to_str().unwrap().ends_with(end) {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn events() {
    let folder = spooled();
    both(
        "events_spool",
        folder.path(),
        &["events", "spool", "events"],
    );
    both("events_tail", folder.path(), &["events", "tail", "events"]);
    both(
        "events_verify",
        folder.path(),
        &["events", "verify", "events"],
    );
    assert_snapshot!(
        "events_tail_of_one_kind",
        output(
            folder.path(),
            &["events", "tail", "events", "--topic", "config-changes"]
        )
    );

    // A byte of the first block is another: the file's own head has 512.
    let segment = files(&folder.path().join("events"), ".segment");
    let mut bytes = fs::read(&segment[0]).unwrap();
    bytes[512 + 150] ^= 0x55;
    fs::write(&segment[0], bytes).unwrap();
    both(
        "events_spool_damaged",
        folder.path(),
        &["events", "spool", "events"],
    );
    both(
        "events_verify_damaged",
        folder.path(),
        &["events", "verify", "events"],
    );

    // So is a byte of the segment's head, which says whose events these are; then nobody knows.
    let mut bytes = fs::read(&segment[0]).unwrap();
    bytes[33] ^= 0x55;
    fs::write(&segment[0], bytes).unwrap();
    both(
        "events_spool_headless",
        folder.path(),
        &["events", "spool", "events"],
    );
    both(
        "events_verify_headless",
        folder.path(),
        &["events", "verify", "events"],
    );
    fs::remove_file(folder.path().join("events/gateway-0/ledger")).unwrap();
    both(
        "events_spool_nameless",
        folder.path(),
        &["events", "spool", "events"],
    );
    both(
        "events_verify_nameless",
        folder.path(),
        &["events", "verify", "events"],
    );
    both(
        "events_nowhere",
        folder.path(),
        &["events", "spool", "nowhere"],
    );
}

#[test]
fn explanations() {
    let folder = tempfile::tempdir().unwrap();
    both("explain", folder.path(), &["explain"]);
    both("explain_one", folder.path(), &["explain", "CTL-0301"]);
    both("explain_none", folder.path(), &["explain", "CTL-9999"]);
}

#[test]
fn dashboards() {
    let folder = tempfile::tempdir().unwrap();
    let generate = ["dashboards", "generate", "--to", "boards"];
    let check = [&generate[..], &["--check"]].concat();
    both("dashboards_that_are_not_there", folder.path(), &check);
    both("dashboards_generated", folder.path(), &generate);
    let board = folder.path().join("boards/event-system.json");
    let text = fs::read_to_string(&board).unwrap();
    fs::write(&board, text.replace("carbyne_events_gaps_total", "gaps")).unwrap();
    both("dashboards_that_differ", folder.path(), &check);
    both(
        "dashboards_with_a_fault",
        folder.path(),
        &["dashboards", "lint", "boards/event-system.json"],
    );
    both(
        "dashboards_preview_of_nothing",
        folder.path(),
        &["dashboards", "preview", "--prometheus", "127.0.0.1:1"],
    );
}

#[test]
fn nothing_runs() {
    let folder = tempfile::tempdir().unwrap();
    for (name, line) in [
        ("status", &["status"][..]),
        ("verify", &["verify"]),
        ("graph", &["graph"]),
        ("proxy", &["proxy", "portal", "routes"]),
        ("events", &["events", "tail"]),
    ] {
        both(&format!("nothing_runs_for_{name}"), folder.path(), line);
    }
    both(
        "lint_of_nothing",
        folder.path(),
        &["lint", "nowhere", "--gateway", "/bin/true"],
    );
}

#[test]
fn completions() {
    let folder = tempfile::tempdir().unwrap();
    // The scripts themselves are clap's; that they know our verbs is ours.
    for (shell, head) in [
        ("bash", "_carbyne() {"),
        ("zsh", "#compdef carbyne"),
        ("fish", "complete -c carbyne"),
    ] {
        let said = output(folder.path(), &["completions", shell]);
        assert!(
            said.starts_with("exit code 0") && said.contains(head),
            "{shell}: {said}"
        );
        for verb in ["status", "verify", "graph", "topics", "events", "lint"] {
            assert!(said.contains(verb), "{shell}: {verb}");
        }
    }
}
