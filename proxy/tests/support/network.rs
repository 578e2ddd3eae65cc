//! Networks of a suite's own: namespaces on one bridge, in which addresses and ports are as free as on machines.
//!
//! A namespace has no name. A process that waits for the end of its input holds it, so it goes away with this program
//! however that ends, and two checkouts that run at the same time do not meet.

use std::fs::File;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace with its loopback interface up; clones are the same one.
#[derive(Clone, Debug)]
pub struct Namespace {
    pub name: String,
    held: Arc<Held>,
}

#[derive(Debug)]
struct Held {
    holder: Child,
    entrance: File,
}

/// Namespaces that reach each other over a bridge.
#[derive(Debug)]
pub struct Network {
    /// Where the bridge is: the machine on which the hosts are.
    pub node: Namespace,
    ports: AtomicU32,
}

impl Namespace {
    pub fn new(name: &str) -> Self {
        let mut holder = Command::new("unshare")
            .args([
                "--net",
                "sh",
                "-c",
                "ip link set lo up && echo up && exec cat",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("unshare (Debian package util-linux): {error}"));
        let mut word = [0; 3];
        let said = holder.stdout.as_mut().unwrap().read_exact(&mut word);
        assert!(
            said.is_ok() && &word == b"up\n",
            "no network namespace: this suite needs root and `ip` (run `.ci/setup test`)"
        );
        let entrance = File::open(format!("/proc/{}/ns/net", holder.id())).unwrap();
        Self {
            name: name.to_owned(),
            held: Arc::new(Held { holder, entrance }),
        }
    }

    /// Runs something on a thread in this namespace. Sockets and processes made there stay in it.
    pub fn inside<T: Send>(&self, run: impl FnOnce() -> T + Send) -> T {
        let outcome = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    self.enter();
                    run()
                })
                .join()
        });
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// The same, while the caller goes on.
    pub fn spawn<T: Send + 'static>(
        &self,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let namespace = self.clone();
        std::thread::spawn(move || {
            namespace.enter();
            run()
        })
    }

    /// Runs a program here with this input; it must succeed.
    pub fn run(&self, program: &str, arguments: &[&str], input: &str) {
        let output = self.inside(|| {
            let mut child = Command::new(program)
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap_or_else(|error| {
                    panic!("{program} does not start: {error} (run `.ci/setup test`)")
                });
            let mut stdin = child.stdin.take().unwrap();
            stdin.write_all(input.as_bytes()).unwrap();
            drop(stdin);
            child.wait_with_output().unwrap()
        });
        assert!(
            output.status.success(),
            "{program} {arguments:?} in {}: {}{}\n{input}",
            self.name,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
    }

    /// Makes the calling thread one of this namespace.
    fn enter(&self) {
        move_into_link_name_space(self.held.entrance.as_fd(), Some(LinkNameSpaceType::Network))
            .unwrap();
    }

    fn process(&self) -> u32 {
        self.held.holder.id()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // It may be gone already, with the process group of an interrupted suite.
        self.holder.kill().unwrap_or_default();
        self.holder.wait().map(drop).unwrap_or_default();
    }
}

impl Network {
    /// A bridge with an address for the node on it.
    pub fn new(node: Ipv4Addr) -> Self {
        let namespace = Namespace::new("node");
        namespace.run(
            "ip",
            &["-batch", "-"],
            &format!(
                "link add br0 type bridge\naddr add {node}/{PREFIX} dev br0\nlink set br0 up\n"
            ),
        );
        Self {
            node: namespace,
            ports: AtomicU32::new(0),
        }
    }

    /// A host on the bridge. What it has no route for leaves through the node, as addresses of services do.
    pub fn host(&self, name: &str, address: Ipv4Addr, gateway: Ipv4Addr) -> Namespace {
        let host = Namespace::new(name);
        let port = format!("port{}", self.ports.fetch_add(1, Ordering::Relaxed));
        let node = self.node.process();
        host.run(
            "ip",
            &["-batch", "-"],
            &format!(
                "link add eth0 type veth peer name {port} netns {node}\naddr add {address}/{PREFIX} dev eth0\nlink set eth0 up\n"
            ),
        );
        self.node.run(
            "ip",
            &["-batch", "-"],
            &format!("link set {port} master br0\nlink set {port} up\n"),
        );
        host.run(
            "ip",
            &["route", "add", "default", "via", &gateway.to_string()],
            "",
        );
        host
    }
}

/// Length of the network part of every address.
const PREFIX: u8 = 16;
