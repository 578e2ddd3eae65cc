//! One node: its properties, its process, what it said last.

use std::{
    fmt::Write,
    fs::{self, File},
    io,
    net::{Ipv4Addr, SocketAddr},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{BrokerError, Options, free_ports, keeper::Keeper, probe, tethered};

/// A node, running or not.
#[derive(Debug)]
pub(super) struct Node {
    number: usize,
    /// Where clients find it.
    pub(super) address: SocketAddr,
    directory: PathBuf,
    jars: PathBuf,
    heap_mib: u32,
    process: Option<Child>,
}

/// Chooses addresses and writes the properties of all nodes.
pub(super) fn plan(
    options: &Options,
    directory: &Path,
    jars: &Path,
) -> Result<Vec<Node>, BrokerError> {
    // Each has a port for clients, one for its fellow brokers and one for controllers.
    let ports = free_ports(3 * options.nodes)?;
    let ports: Vec<&[u16]> = ports.chunks_exact(3).collect();
    let mut nodes = Vec::new();
    for number in 0..options.nodes {
        let node = Node {
            number,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, ports[number][CLIENT])),
            directory: directory.to_owned(),
            jars: jars.to_owned(),
            heap_mib: options.heap_mib,
            process: None,
        };
        let text = properties(options, number, &ports, &node.file("data"));
        write(&node.file("properties"), &text)?;
        nodes.push(node);
    }
    Ok(nodes)
}

/// Formats the storage of all nodes at once.
pub(super) fn format(nodes: &[Node], cluster: &str, keeper: &Keeper) -> Result<(), BrokerError> {
    let mut running = Vec::new();
    for node in nodes {
        let mut command = node.java("format.log", &["-XX:TieredStopAtLevel=1"])?;
        command
            .args(["kafka.tools.StorageTool", "format", "-t", cluster, "-c"])
            .arg(node.file("properties"));
        let child = keeper.spawn(command).map_err(BrokerError::Java)?;
        running.push((node, child));
    }
    for (node, mut child) in running {
        if !child.wait().is_ok_and(|status| status.success()) {
            return Err(BrokerError::Format {
                node: node.number,
                said: node.said("format.log"),
            });
        }
    }
    Ok(())
}

impl Node {
    pub(super) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Starts its process; does nothing where it runs.
    pub(super) fn start(&mut self, keeper: &Keeper) -> Result<(), BrokerError> {
        if self.process.is_some() {
            return Ok(());
        }
        let heap = format!("-Xmx{}m", self.heap_mib);
        let mut command = self.java("log", &["-Xms128m", &heap])?;
        command.arg("kafka.Kafka").arg(self.file("properties"));
        self.process = Some(keeper.spawn(command).map_err(BrokerError::Java)?);
        Ok(())
    }

    pub(super) fn wait_until_it_answers(
        &mut self,
        deadline: Instant,
        limit: Duration,
    ) -> Result<(), BrokerError> {
        while probe::answers(self.address).is_err() {
            let ended = self
                .process
                .as_mut()
                .and_then(|process| process.try_wait().ok().flatten());
            if let Some(status) = ended {
                self.process = None;
                return Err(BrokerError::Ended {
                    node: self.number,
                    status: status.to_string(),
                    said: self.said("log"),
                });
            }
            if Instant::now() > deadline {
                return Err(BrokerError::Late {
                    node: self.number,
                    limit,
                    said: self.said("log"),
                });
            }
            // A refused connection comes back at once.
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<(), BrokerError> {
        let pid = self
            .pid()
            .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        pid.map_or(Ok(()), |pid| kill_process(pid, signal))
            .map_err(|error| BrokerError::System {
                what: format!("cannot send {signal:?} to Kafka's node {}", self.number),
                error: error.into(),
            })
    }

    /// Sends a signal that ends it, and waits until it is gone.
    pub(super) fn end(&mut self, signal: Signal) -> Result<(), BrokerError> {
        self.signal(signal)?;
        if let Some(mut process) = self.process.take() {
            process.wait().map_err(|error| BrokerError::System {
                what: format!("cannot wait for Kafka's node {}", self.number),
                error,
            })?;
        }
        Ok(())
    }

    fn java(&self, log: &str, options: &[&str]) -> Result<Command, BrokerError> {
        let path = self.file(log);
        let open = || {
            let out = File::options().create(true).append(true).open(&path)?;
            Ok((out.try_clone()?, out))
        };
        let (out, err) = open().map_err(|error: io::Error| BrokerError::System {
            what: format!("cannot write {}", path.display()),
            error,
        })?;
        let mut command = tethered("java");
        command
            .args(options)
            // The collector with the fewest threads: the machine has other things to do.
            .args([
                "-XX:+UseSerialGC",
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            ])
            .args(["-Dorg.slf4j.simpleLogger.showDateTime=true"])
            .args([
                "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
                "-cp",
            ])
            .arg(self.jars.join("*"))
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            // Ctrl-C is for the one who started us, who ends us in turn.
            .process_group(0);
        Ok(command)
    }

    fn file(&self, kind: &str) -> PathBuf {
        self.directory.join(format!("{}.{kind}", self.number))
    }

    /// The last lines of a log.
    fn said(&self, log: &str) -> String {
        let text = fs::read_to_string(self.file(log)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

fn properties(options: &Options, number: usize, ports: &[&[u16]], data: &Path) -> String {
    let voters: Vec<String> = (0..options.nodes)
        .map(|voter| format!("{}@127.0.0.1:{}", voter + 1, ports[voter][CONTROLLER]))
        .collect();
    let listeners = |names: &[&str]| {
        let named = names.iter().zip(ports[number]);
        let named: Vec<String> = named
            .map(|(name, port)| format!("{name}://127.0.0.1:{port}"))
            .collect();
        named.join(",")
    };
    let copies = if options.nodes >= 3 { 3 } else { 1 };
    let in_sync = if options.nodes >= 3 { 2 } else { 1 };
    let clients = if options.user.is_some() {
        "SASL_PLAINTEXT"
    } else {
        "PLAINTEXT"
    };
    let mut text = format!(
        "process.roles=broker,controller\n\
         node.id={id}\n\
         controller.quorum.voters={voters}\n\
         listeners={all}\n\
         advertised.listeners={advertised}\n\
         inter.broker.listener.name=BROKERS\n\
         controller.listener.names=CONTROLLERS\n\
         listener.security.protocol.map=CLIENTS:{clients},BROKERS:PLAINTEXT,CONTROLLERS:PLAINTEXT\n\
         log.dirs={data}\n\
         offsets.topic.replication.factor={copies}\n\
         offsets.topic.num.partitions=8\n\
         transaction.state.log.replication.factor={copies}\n\
         transaction.state.log.min.isr={in_sync}\n\
         transaction.state.log.num.partitions=4\n\
         share.coordinator.state.topic.replication.factor={copies}\n\
         share.coordinator.state.topic.min.isr={in_sync}\n\
         group.initial.rebalance.delay.ms=0\n\
         auto.create.topics.enable=false\n\
         # A node that was killed may register again when its old session is over.\n\
         broker.session.timeout.ms=3000\n\
         broker.heartbeat.interval.ms=500\n",
        id = number + 1,
        voters = voters.join(","),
        all = listeners(&["CLIENTS", "BROKERS", "CONTROLLERS"]),
        advertised = listeners(&["CLIENTS", "BROKERS"]),
        data = data.display(),
    );
    if let Some((name, password)) = &options.user {
        let (name, password) = (quoted(name), quoted(password));
        text.push_str("listener.name.clients.sasl.enabled.mechanisms=PLAIN\n");
        // Java's properties know the backslash, JAAS does again.
        let entry = format!(
            "org.apache.kafka.common.security.plain.PlainLoginModule required user_{name}=\"{password}\";"
        );
        push(
            &mut text,
            "listener.name.clients.plain.sasl.jaas.config",
            &entry,
        );
    }
    for (key, value) in &options.settings {
        push(&mut text, key, value);
    }
    text
}

fn push(text: &mut String, key: &str, value: &str) {
    // Writing to a string cannot fail.
    writeln!(text, "{key}={}", value.replace('\\', "\\\\")).ok();
}

fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

fn write(path: &Path, text: &str) -> Result<(), BrokerError> {
    fs::write(path, text).map_err(|error| BrokerError::System {
        what: format!("cannot write {}", path.display()),
        error,
    })
}

const CLIENT: usize = 0;
const CONTROLLER: usize = 2;
