//! The examples: each is served, and every command that it names shows what it says.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests"
)]

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "support/cases.rs"]
mod cases;
#[path = "support/gateway.rs"]
mod gateway;

use gateway::{Gateway, Start};

#[test]
fn every_command_shows_what_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/gateway");
    let files = std::fs::read_dir(&folder).expect("the examples");
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    let (mut run, mut failed) = (0, String::new());
    for file in &files {
        let steps = Step::read(&std::fs::read_to_string(file).unwrap());
        assert!(!steps.is_empty(), "{} shows nothing", file.display());
        run += steps.len();
        let mut example = Example::start(file);
        for step in steps {
            if let Err(why) = example.take(&step) {
                writeln!(failed, "{}: {}\n{why}", file.display(), step.command).unwrap();
            }
        }
    }
    assert!(failed.is_empty(), "{failed}");
    assert!(files.len() >= 6, "{files:?}");
    cases::report("examples", run, run);
}

#[test]
fn the_readme_names_every_example_and_only_commands_that_are_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    for file in std::fs::read_dir(root.join("deploy/examples/gateway")).unwrap() {
        let file = file.unwrap().path();
        let name = file.file_name().unwrap().to_str().unwrap();
        let row = readme.lines().find(|line| line.contains(name));
        let row = row.unwrap_or_else(|| panic!("the README does not name {name}"));
        let steps = Step::read(&std::fs::read_to_string(&file).unwrap());
        let named = |step: &Step| row.contains(&format!("`{}`", step.command));
        assert!(steps.iter().any(named), "{name} has no such command: {row}");
    }
}

/// A command of an example's first comment, and the line below it: `→ STATUS "TEXT"…`, or no status where the texts tell all.
struct Step {
    command: String,
    status: Option<String>,
    texts: Vec<String>,
}

impl Step {
    fn read(text: &str) -> Vec<Self> {
        let mut steps = Vec::new();
        let comments: Vec<_> = text
            .lines()
            .map_while(|line| line.strip_prefix('#'))
            .map(str::trim)
            .collect();
        for pair in comments.windows(2) {
            if !pair[0].starts_with("curl ") {
                continue;
            }
            let shown = pair[1].strip_prefix("→ ");
            let shown = shown.unwrap_or_else(|| panic!("{} is said to show nothing", pair[0]));
            let mut parts = shown.split('"');
            let status = parts.next().unwrap_or_default().trim();
            steps.push(Self {
                command: pair[0].to_owned(),
                status: (!status.is_empty()).then(|| status.to_owned()),
                texts: parts.step_by(2).map(str::to_owned).collect(),
            });
        }
        steps
    }
}

/// An example that is served on ports of its own.
struct Example {
    _gateway: Gateway,
    /// With a `.curlrc` that tells the status.
    home: tempfile::TempDir,
    ports: [(&'static str, String); 2],
}

impl Example {
    fn start(file: &Path) -> Self {
        // The example's services are behind the gateway itself: its ports have to be known before it starts.
        let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [plain, secure] = free.map(|listener| listener.local_addr().unwrap().port());
        let ports = [
            (":8000", format!(":{plain}")),
            (":8443", format!(":{secure}")),
        ];
        let listen = format!("127.0.0.1:{plain}, 127.0.0.1:{secure} ssl");
        let yaml = with(&ports, &std::fs::read_to_string(file).unwrap());
        let gateway = Gateway::start(Start {
            conf: vec![("proxy_listen", listen)],
            yaml: Some(yaml),
            ..Start::default()
        });
        let home = tempfile::tempdir().unwrap();
        let told = "write-out = \"%{stderr}status %{http_code}\\n\"\n";
        std::fs::write(home.path().join(".curlrc"), told).unwrap();
        Self {
            _gateway: gateway,
            home,
            ports,
        }
    }

    fn take(&mut self, step: &Step) -> Result<(), String> {
        let output = Command::new("sh")
            .args(["-c", &with(&self.ports, &step.command)])
            .env("CURL_HOME", self.home.path())
            .output()
            .map_err(|error| format!("sh: {error}"))?;
        let all = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        if all.contains("curl: not found") {
            return Err("curl is missing: install the Debian package curl".to_owned());
        }
        let status = step.status.as_ref();
        if let Some(status) = status
            && !all.contains(&format!("status {status}"))
        {
            return Err(format!("no status {status}: {all}"));
        }
        let lower = all.to_lowercase();
        for text in &step.texts {
            if !lower.contains(&text.to_lowercase()) {
                return Err(format!("no {text:?}: {all}"));
            }
        }
        Ok(())
    }
}

fn with(ports: &[(&str, String)], text: &str) -> String {
    ports.iter().fold(text.to_owned(), |text, (known, own)| {
        text.replace(known, own)
    })
}
