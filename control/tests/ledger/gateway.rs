//! A gateway of its own process, whose store and events outlive it.

use std::{
    env,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
};

use rustix::process::{Pid, Signal, kill_process};

use super::world::PATIENCE;

#[derive(Debug)]
pub(crate) struct Gateway {
    process: Child,
    pub(crate) addresses: Addresses,
}

/// Where a gateway listens; every start takes free ports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub(crate) proxy: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Gateway {
    /// Starts one on the store in `prefix`, and waits until it serves.
    pub(crate) fn start(prefix: &Path, events: &Path, node: &str) -> Self {
        let mut process = Command::new(program())
            .arg("start")
            .env_clear()
            .env("KONG_PREFIX", prefix)
            .env("KONG_PROXY_LISTEN", "127.0.0.1:0")
            .env("KONG_ADMIN_LISTEN", "127.0.0.1:0")
            .env("KONG_STATUS_LISTEN", "off")
            .env("KONG_NGINX_WORKER_PROCESSES", "2")
            .env("CARBYNE_EVENTS_DIR", events)
            .env("CARBYNE_EVENTS_NODE", node)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = process.stderr.take().unwrap();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                // Nobody listens any more once it runs.
                tell.send(line).ok();
            }
        });
        let (mut proxy, mut admin, mut said) = (None, None, Vec::new());
        loop {
            let Ok(line) = told.recv_timeout(PATIENCE) else {
                process.kill().ok();
                panic!("the gateway did not start; it said:\n{}", said.join("\n"));
            };
            let line = without_colours(&line);
            let address = line
                .split("address=")
                .nth(1)
                .and_then(|address| address.split_whitespace().next()?.parse().ok());
            if line.contains("the proxy listens") {
                proxy = address;
            } else if line.contains("the Admin API listens") {
                admin = address;
            } else if line.contains("the gateway serves") {
                break;
            }
            said.push(line);
        }
        let addresses = Addresses {
            proxy: proxy.unwrap(),
            admin: admin.unwrap(),
        };
        Self { process, addresses }
    }

    /// Ends it as an operator does.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        let pid = Pid::from_raw(i32::try_from(self.process.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        self.process.wait().unwrap()
    }
}

impl Drop for Gateway {
    /// SIGKILL; fails only where it has ended.
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// The real program; without it these tests mean nothing.
fn program() -> PathBuf {
    const PROGRAM: &str = "carbyne-gateway";
    let named = env::var_os("CARBYNE_GATEWAY").map(PathBuf::from);
    let built = env::var_os("CARBYNE_BIN_DIR").map(|folder| PathBuf::from(folder).join(PROGRAM));
    let path = named
        .or(built)
        .unwrap_or_else(|| Path::new(env!("CARGO_BIN_EXE_carbyne")).with_file_name(PROGRAM));
    assert!(
        path.is_file(),
        "{} is missing: build it with `cargo build --bin {PROGRAM}`, or name another with CARBYNE_GATEWAY",
        path.display()
    );
    path
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
