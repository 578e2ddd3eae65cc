//! `carbyne events ship`: what it says of how it goes, and at its end.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
};

use insta::assert_snapshot;
use regex::Regex;
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    Bench, Said,
    spooled::{spooled, spooled_at},
};

/// Before the topics are there.
pub(crate) fn topics_that_are_missing(at: &Bench) {
    let spool = spooled();
    for (name, form) in [
        ("ship_without_topics", "text"),
        ("ship_without_topics_in_json", "json"),
    ] {
        let said = told_to_stop(
            at,
            spool.path(),
            form,
            |line| line.contains(" is not there"),
            3,
        );
        assert_snapshot!(name, steady(&said));
    }
}

/// What lies there is shipped, once; a spool that somebody else has is theirs.
pub(crate) fn all_that_lies_there(at: &Bench) {
    let folder = at.folder.path();
    for (name, form) in [("ship", "text"), ("ship_in_json", "json")] {
        spooled_at(&folder.join(name));
        let root = folder.join(name).display().to_string();
        let mut line = vec!["events", "ship", &root, "--once", "-o", form];
        line.extend(at.cluster());
        assert_snapshot!(name, steady(&at.run(&line)));
        let again = at.run(&line);
        let nothing = ["0 events acknowledged", "\"acknowledged\": 0,"];
        let all = steady(&again);
        assert!(nothing.iter().any(|nothing| all.contains(nothing)), "{all}");
    }
    let spool = spooled();
    let directory = carbyne_events::spool::directories(&spool.path().join("events")).unwrap();
    let theirs = directory[0].lock_shipping().unwrap().unwrap();
    for (name, form) in [
        ("ship_what_is_taken", "text"),
        ("ship_what_is_taken_in_json", "json"),
    ] {
        let said = told_to_stop(
            at,
            spool.path(),
            form,
            |line| line.contains("another shipper"),
            1,
        );
        assert_snapshot!(name, steady(&said));
    }
    // It is not waited for, and neither is what is not there.
    let root = spool.path().join("events").display().to_string();
    let mut line = vec!["events", "ship", &root, "--once"];
    line.extend(at.cluster());
    let said = at.run(&line);
    assert_eq!(said.code, 2);
    assert!(said.stderr.contains("another shipper"), "{}", said.stderr);
    drop(theirs);
    let empty = tempfile::tempdir().unwrap();
    let root = empty.path().display().to_string();
    let mut line = vec!["events", "ship", &root, "--once"];
    line.extend(at.cluster());
    assert_eq!(at.run(&line).code, 0);
}

/// The client tells of its brokers every five seconds, and what is owed has the age that it has.
fn steady(said: &Said) -> String {
    let words = [
        (r#"("brokers": )[01],"#, "${1}BROKERS,"),
        (r#"("lag": )[0-9.e-]+"#, "${1}AGE"),
    ];
    words.iter().fold(said.all(), |text, (pattern, word)| {
        let pattern = Regex::new(pattern).unwrap();
        pattern.replace_all(&text, *word).into_owned()
    })
}

/// Runs until it has said so many such lines, and is told to stop then.
fn told_to_stop(
    at: &Bench,
    spool: &std::path::Path,
    form: &str,
    awaited: impl Fn(&str) -> bool,
    mut count: usize,
) -> Said {
    // Which hands the signal on.
    let mut command = Command::new("timeout");
    command.args(["100", env!("CARGO_BIN_EXE_carbyne")]);
    command.args(["events", "ship", "-o", form]);
    command.arg(spool.join("events")).args(at.cluster());
    let mut process = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut errors = BufReader::new(process.stderr.take().unwrap());
    let mut lines = Vec::new();
    while count > 0 {
        let mut line = String::new();
        assert!(
            errors.read_line(&mut line).unwrap() > 0,
            "it ended: {lines:?}"
        );
        count -= usize::from(awaited(&line));
        lines.push(line);
    }
    let pid = i32::try_from(process.id()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    let mut rest = String::new();
    errors.read_to_string(&mut rest).unwrap();
    let output = process.wait_with_output().unwrap();
    // Topics are asked for in no order.
    lines.sort();
    let said = Said {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: lines.concat() + &rest,
    };
    let spool = spool.to_str().unwrap();
    at.filtered(said).with(spool, "FOLDER")
}
