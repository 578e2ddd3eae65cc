//! A real gateway on free ports, an upstream that records what it saw, and a client: everything in plain blocking sockets, so that
//! a table of cases reads as what happens.

#![allow(
    dead_code,
    unused_imports,
    reason = "shared by several suites: none needs all of it"
)]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

mod client;
mod message;
mod peer;
mod table;
mod upstream;

pub(crate) use self::client::Client;
pub(crate) use self::message::{Ask, Message, ask, get};
pub(crate) use self::peer::{Peer, curl, program, python};
pub(crate) use self::table::{Body, Case, SEEN, Seen, run, run_with};
pub(crate) use self::upstream::{Reply, Upstream, reply};

/// How long anything may take before a test fails: far longer than it takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A running gateway, ended with the test.
#[derive(Debug)]
pub(crate) struct Gateway {
    process: Child,
    folder: tempfile::TempDir,
    pub(crate) proxy: Vec<SocketAddr>,
    pub(crate) admin: Option<SocketAddr>,
    log: Arc<Mutex<Vec<String>>>,
}

/// How a gateway is started.
#[derive(Debug, Default)]
pub(crate) struct Start {
    /// `KONG_*` without the prefix, lower-case.
    pub(crate) conf: Vec<(&'static str, String)>,
    /// Other variables of its environment.
    pub(crate) variables: Vec<(&'static str, String)>,
    /// kong.yml; nothing is the embedded store.
    pub(crate) yaml: Option<String>,
}

impl Gateway {
    /// Without a database, serving this kong.yml.
    pub(crate) fn declarative(yaml: &str) -> Self {
        Self::start(Start {
            yaml: Some(yaml.to_owned()),
            ..Start::default()
        })
    }

    /// With the embedded store and nothing in it.
    pub(crate) fn embedded() -> Self {
        Self::start(Start::default())
    }

    pub(crate) fn start(start: Start) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new(env!("CARGO_BIN_EXE_carbyne-gateway"));
        command
            .arg("start")
            .env_clear()
            .env("KONG_PREFIX", folder.path())
            .env("KONG_PROXY_LISTEN", "127.0.0.1:0")
            .env("KONG_ADMIN_LISTEN", "127.0.0.1:0")
            .env("KONG_STATUS_LISTEN", "off")
            .env("KONG_NGINX_WORKER_PROCESSES", "2")
            .env("KONG_LOG_LEVEL", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let file = folder.path().join("kong.yml");
        if let Some(yaml) = &start.yaml {
            std::fs::write(&file, yaml).expect("a file in the folder");
            command.env("KONG_DATABASE", "off");
            command.env("KONG_DECLARATIVE_CONFIG", &file);
        }
        for (key, value) in &start.conf {
            command.env(format!("KONG_{}", key.to_ascii_uppercase()), value);
        }
        command.envs(start.variables);
        let mut process = command.spawn().expect("the gateway's program");
        let stderr = process.stderr.take().expect("a pipe");
        let log = Arc::<Mutex<Vec<String>>>::default();
        let (tell, told) = mpsc::channel();
        let record = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                // Nobody listens any more once it runs.
                drop(tell.send(line.clone()));
                record.lock().expect("nobody panics with it").push(line);
            }
        });
        let mut gateway = Self {
            process,
            folder,
            proxy: Vec::new(),
            admin: None,
            log,
        };
        loop {
            let Ok(line) = told.recv_timeout(PATIENCE) else {
                panic!("the gateway did not start:\n{}", gateway.log());
            };
            let line = without_colours(&line);
            let address = line
                .split("address=")
                .nth(1)
                .and_then(|address| address.split_whitespace().next()?.parse().ok());
            if line.contains("the proxy listens") {
                gateway.proxy.extend(address);
            } else if line.contains("the Admin API listens") {
                gateway.admin = address;
            } else if line.contains("the gateway serves") {
                return gateway;
            }
        }
    }

    /// The folder that it keeps things in.
    pub(crate) fn prefix(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What it has told on stderr.
    pub(crate) fn log(&self) -> String {
        without_colours(&self.log.lock().expect("nobody panics with it").join("\n"))
    }

    /// A connection to the first address of the proxy.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.proxy[0])
    }

    /// One request over a connection of its own.
    pub(crate) fn send(&self, ask: &Ask) -> Message {
        self.client().send(ask)
    }

    /// One request to the Admin API; the answer must be a success.
    pub(crate) fn administer(
        &self,
        method: &'static str,
        path: &str,
        body: &str,
    ) -> serde_json::Value {
        let answer = self.ask_admin(&ask(method, path).json(body));
        assert!(
            answer.status() < 300,
            "{method} {path}: {} {}",
            answer.line,
            answer.text()
        );
        if answer.body.is_empty() {
            return serde_json::Value::Null;
        }
        answer.json()
    }

    pub(crate) fn ask_admin(&self, ask: &Ask) -> Message {
        Client::connect(self.admin.expect("an Admin API")).send(ask)
    }

    /// Sends until the answer is the wanted one: what was just written goes live in a moment.
    pub(crate) fn until(&self, ask: &Ask, wanted: impl Fn(&Message) -> bool) -> Message {
        let began = std::time::Instant::now();
        loop {
            let answer = self.send(ask);
            if wanted(&answer) {
                return answer;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "{ask:?} stays {answer:?}\n{}",
                self.log()
            );
            std::thread::yield_now();
        }
    }

    /// Replaces kong.yml and tells the gateway.
    pub(crate) fn reload(&self, yaml: &str) {
        std::fs::write(self.kong_yml(), yaml).expect("a file in the folder");
        self.signal("HUP");
    }

    pub(crate) fn kong_yml(&self) -> PathBuf {
        self.prefix().join("kong.yml")
    }

    pub(crate) fn signal(&self, name: &str) {
        let told = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.pid().to_string())
            .status();
        assert!(told.is_ok_and(|told| told.success()), "kill -{name}");
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> std::process::ExitStatus {
        self.process.wait().expect("a child")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Fails only where it has ended by itself.
        drop(self.process.kill());
        drop(self.process.wait());
        if std::thread::panicking() {
            eprintln!("the gateway said:\n{}", self.log());
        }
    }
}

/// The log colours what it writes, also into a pipe.
fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, behind)| behind);
    }
    plain + rest
}
