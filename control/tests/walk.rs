//! The walk in docs/operations.md, command by command, against a real platform with a real Kafka: what a page promises is what one sees.
//!
//! | in the document | here |
//! |---|---|
//! | a block `console` | lines that begin with `$ ` are run by bash, in a folder that has a copy of the example; what follows is what they print |
//! | a line `…` | any lines, or none |
//! | `…` in a line | any text |
//! | a block `text` | lines that the terminal of `make up` shows, in this order |
//!
//! Addresses are moved, so that tests (and a running `make up`) do not meet; nothing else is changed. Spaces may be more or fewer.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test, all of it; the configuration allows this only inside the test functions themselves"
)]

#[path = "up/running.rs"]
#[expect(dead_code, reason = "shared with the other suites, which use the rest")]
mod running;

use std::{
    env, fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use regex::Regex;
use running::{Up, carbyne, example, real};

/// What is behind an event, a scrape or a restart comes a little later than one types.
const PATIENCE: Duration = Duration::from_secs(60);
const PLACE: &str = "deploy/examples/platform";

#[test]
fn every_command_answers_as_the_document_says() {
    let folder = example(31);
    let own = {
        let text = fs::read_to_string(folder.path().join("services.yaml")).unwrap();
        let own = Regex::new(r"127\.\d+\.\d+\.").unwrap();
        own.find(&text).unwrap().as_str().to_owned()
    };
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let document = fs::read_to_string(document).unwrap();
    let steps = steps(&document.replace("127.0.10.", &own));
    assert!(steps.len() >= 20, "the walk is not found: {steps:#?}");
    let Some(Step::Run { command, shows }) = steps.first() else {
        panic!("the walk begins with make up");
    };
    let options = command
        .strip_prefix("make up UP=")
        .unwrap_or_else(|| panic!("the walk begins with {command}"));

    // As a checkout looks from its top.
    let checkout = tempfile::tempdir().unwrap();
    let platform = checkout.path().join(PLACE);
    fs::create_dir_all(platform.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(folder.path(), &platform).unwrap();
    let moved = folder.path().display().to_string();
    let mut up = Up::start_with(folder, &real(), &[options]);
    let printed = up.printed().join("\n").replace(&moved, PLACE);
    assert!(
        holds(&printed, shows),
        "make up prints\n{printed}\nand not\n{}",
        shows.join("\n")
    );
    let place = Place {
        checkout: checkout.path().to_owned(),
        base: up.base().to_owned(),
        page: up.running().control.page.unwrap().to_string(),
    };
    let mut count = 0;
    for step in &steps[1..] {
        match step {
            Step::Run { command, shows } => place.run(command, shows),
            Step::Says(line) => {
                let line = line.replace(PLACE, &moved);
                let part = line.split('…').max_by_key(|part| part.len()).unwrap();
                up.expect_error(part.trim());
            }
        }
        count += 1;
    }
    if let Some(file) = env::var_os("CARBYNE_CASES") {
        use std::io::Write;
        let mut file = fs::File::options()
            .append(true)
            .create(true)
            .open(file)
            .unwrap();
        writeln!(file, "walk {count} {count}").unwrap();
    }
    up.end();
}

#[derive(Debug)]
enum Step {
    Run { command: String, shows: Vec<String> },
    Says(String),
}

/// The walk's steps, from its heading to the next of its rank.
fn steps(document: &str) -> Vec<Step> {
    let walk = document
        .split("\n## ")
        .find(|part| part.starts_with(HEADING));
    let mut steps = Vec::new();
    let mut block = None;
    for line in walk.unwrap_or_default().lines() {
        match (block, line.strip_prefix("```")) {
            (None, Some(kind)) => block = Some(kind),
            (Some(_), Some(_)) => block = None,
            (Some("console"), None) => match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => steps.push(Step::Run {
                    command: command.to_owned(),
                    shows: Vec::new(),
                }),
                (None, Some(Step::Run { shows, .. })) => shows.push(line.to_owned()),
                (None, _) => panic!("{line} is the answer of nothing"),
            },
            (Some("text"), None) => steps.push(Step::Says(line.to_owned())),
            _ => {}
        }
    }
    steps
}

struct Place {
    checkout: PathBuf,
    base: PathBuf,
    page: String,
}

impl Place {
    /// Runs a command until it prints what it should: events and restarts take their time.
    fn run(&self, command: &str, shows: &[String]) {
        let end = Instant::now() + PATIENCE;
        let command = command.replace("127.0.0.1:15080", &self.page);
        loop {
            let (status, printed) = self.bash(&command);
            let printed = printed.replace(&self.page, "127.0.0.1:15080");
            if holds(&printed, shows) {
                return;
            }
            assert!(
                Instant::now() < end,
                "$ {command}\nends with {status} and prints\n{printed}\nand not\n{}",
                shows.join("\n")
            );
        }
    }

    fn bash(&self, command: &str) -> (i32, String) {
        let path = env::var("PATH").unwrap_or_default();
        let programs = carbyne().parent().unwrap().display();
        let real = real().gateway;
        let beside = real.parent().unwrap().display();
        let output = Command::new("timeout")
            .args(["100", "bash", "-c", &format!("{{ {command}\n}} 2>&1")])
            .current_dir(&self.checkout)
            .env("TMPDIR", &self.base)
            .env("PATH", format!("{programs}:{beside}:{path}"))
            .output()
            .unwrap();
        let status = output.status;
        let code = status
            .code()
            .or_else(|| status.signal())
            .unwrap_or_default();
        let printed = String::from_utf8_lossy(&output.stdout);
        // A terminal shows these only as long as they hold.
        let lines = printed
            .lines()
            .filter(|line| !line.starts_with("waiting for "));
        (code, lines.map(|line| format!("{line}\n")).collect())
    }
}

/// True if a text is what the document shows.
fn holds(printed: &str, shows: &[String]) -> bool {
    let words = |line: &str| {
        let parts: Vec<String> = line
            .split('…')
            .map(|part| {
                let words: Vec<String> = part.split_whitespace().map(regex::escape).collect();
                let (before, after) = (
                    if part.starts_with(char::is_whitespace) {
                        r"\s+"
                    } else {
                        ""
                    },
                    if part.ends_with(char::is_whitespace) && !words.is_empty() {
                        r"\s+"
                    } else {
                        ""
                    },
                );
                format!("{before}{}{after}", words.join(r"[^\S\n]+"))
            })
            .collect();
        parts.join("[^\n]*")
    };
    let mut pattern = String::from(r"\A");
    for line in shows {
        if line.trim() == "…" {
            pattern.push_str(r"(?:[^\n]*\n)*?");
        } else {
            pattern.push_str(&format!(r"[^\S\n]*{}[^\S\n]*\n", words(line)));
        }
    }
    pattern.push_str(r"\z");
    let printed = format!("{}\n", printed.trim_end_matches('\n'));
    let printed = if printed == "\n" {
        String::new()
    } else {
        printed
    };
    Regex::new(&pattern).unwrap().is_match(&printed)
}

const HEADING: &str = "Ten minutes with the platform";

#[test]
fn what_is_shown_is_compared() {
    let shows = |text: &str| -> Vec<String> { text.lines().map(str::to_owned).collect() };
    for (printed, shown, expected) in [
        ("", "", true),
        ("a\n", "", false),
        ("√ 12 checks: 12 passed\n", "√ … checks: … passed", true),
        ("√ 12 checks: 12 passed\n", "√ … checks: … failed", false),
        ("a   b\nx\ny\nz\n", "a b\n…\nz", true),
        ("a b\nz\n", "a b\n…\nz", true),
        ("a b\nx\n", "a b\n…\nz", false),
        ("a b\nx\n", "a b", false),
        ("  portal  ready\n", "portal ready", true),
    ] {
        assert_eq!(
            holds(printed, &shows(shown)),
            expected,
            "{printed:?} {shown:?}"
        );
    }
}
