//! The program in a prefix of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A prefix, and the program called as `kong`.
pub(crate) struct Program {
    folder: TempDir,
    kong: PathBuf,
}

/// What a verb ended with.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Program {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let kong = folder.path().join("kong");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_carbyne-gateway"), &kong).unwrap();
        Self { folder, kong }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn prefix(&self) -> PathBuf {
        self.path("prefix")
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The program, in an environment that says where and on which ports.
    pub(crate) fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("KONG_PREFIX", self.prefix())
            .env("KONG_ADMIN_LISTEN", "127.0.0.1:0")
            .env("KONG_PROXY_LISTEN", "127.0.0.1:0")
            .env("KONG_STATUS_LISTEN", "127.0.0.1:0")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn kong(&self, arguments: &[&str]) -> Ended {
        self.kong_with(arguments, &[])
    }

    pub(crate) fn kong_with(&self, arguments: &[&str], told: &[(&str, &str)]) -> Ended {
        let mut command = self.command(&self.kong, arguments);
        let output = command.envs(told.iter().copied()).output().unwrap();
        Ended {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The address at which a node in the background serves, by its log.
    pub(crate) fn address(&self, api: &str) -> String {
        let log = std::fs::read_to_string(self.prefix().join("logs/error.log")).unwrap();
        let line = format!("the {api} API listens ");
        address(log.lines().rev().find(|text| text.contains(&line)).unwrap())
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        let text = std::fs::read_to_string(self.prefix().join("pids/nginx.pid")).ok()?;
        text.trim().parse().ok()
    }
}

impl Drop for Program {
    /// A node in the background does not outlive its test.
    fn drop(&mut self) {
        drop(self.kong(&["quit", "--timeout", "1"]));
    }
}

fn address(line: &str) -> String {
    let (_, rest) = line.split_once("address=").unwrap();
    rest.split_whitespace().next().unwrap().to_owned()
}

/// A node in the foreground, until it is dropped.
pub(crate) struct Node {
    child: Child,
    /// Every address that it listens on, by the name of the API.
    pub(crate) addresses: Vec<(String, String)>,
    pub(crate) log: Vec<String>,
}

impl Node {
    pub(crate) fn start(program: &Program, arguments: &[&str], told: &[(&str, &str)]) -> Self {
        let mut command =
            program.command(Path::new(env!("CARGO_BIN_EXE_carbyne-gateway")), arguments);
        let mut child = command
            .envs(told.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut addresses = Vec::new();
        let mut log = Vec::new();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut lines = lines.map_while(Result::ok);
        loop {
            let line = lines.next().unwrap_or_else(|| panic!("it ended: {log:#?}"));
            log.push(line.clone());
            if let Some((before, _)) = line.split_once(" API listens ") {
                let name = before.rsplit_once("the ").unwrap().1;
                addresses.push((name.to_owned(), address(&line)));
            }
            if line.contains("the gateway serves") {
                break;
            }
        }
        // What it says later must not block it.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            addresses,
            log,
        }
    }

    pub(crate) fn address(&self, api: &str) -> &str {
        let found = self.addresses.iter().find(|(name, _)| name == api);
        &found.unwrap().1
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Calls curl, which has to be there: a client that is not ours.
pub(crate) fn curl(arguments: &[&str]) -> Ended {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20"])
        .args(arguments)
        .output()
        .expect("curl is missing: apt-get install curl");
    Ended {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}
