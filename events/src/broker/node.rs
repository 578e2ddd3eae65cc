//! One node: its properties, its process, what it said last.

use std::{
    ffi::OsString,
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
    let ports = free_ports(3 * options.nodes)?;
    let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let addresses: Vec<Addresses> = ports
        .chunks_exact(3)
        .map(|ports| [at(ports[0]), at(ports[1]), at(ports[2])])
        .collect();
    let nodes = (0..options.nodes).map(|number| {
        let node = Node {
            number,
            address: addresses[number][CLIENT],
            directory: directory.to_owned(),
            jars: jars.to_owned(),
            heap_mib: options.heap_mib,
            process: None,
        };
        node.configure(options, &addresses)?;
        Ok(node)
    });
    nodes.collect()
}

/// The only node of its cluster, at addresses that somebody chose.
pub(super) fn alone(
    options: &Options,
    directory: &Path,
    jars: PathBuf,
    addresses: Addresses,
) -> Result<Node, BrokerError> {
    let node = Node {
        number: 0,
        address: addresses[CLIENT],
        directory: directory.to_owned(),
        jars,
        heap_mib: options.heap_mib,
        process: None,
    };
    node.configure(options, &[addresses])?;
    Ok(node)
}

/// Formats the storage of all nodes at once.
pub(super) fn format(nodes: &[Node], cluster: &str, keeper: &Keeper) -> Result<(), BrokerError> {
    let mut running = Vec::new();
    for node in nodes {
        let mut line = node.java(&["-XX:TieredStopAtLevel=1"]);
        line.extend(["kafka.tools.StorageTool", "format", "-t", cluster, "-c"].map(OsString::from));
        line.push(node.file("properties").into());
        let command = node.command("format.log", &line)?;
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
        let command = self.command("log", &self.line())?;
        self.process = Some(keeper.spawn(command).map_err(BrokerError::Java)?);
        Ok(())
    }

    /// The command line of its process.
    pub(super) fn line(&self) -> Vec<OsString> {
        let heap = format!("-Xmx{}m", self.heap_mib);
        let mut line = self.java(&["-Xms128m", &heap]);
        line.extend(["kafka.Kafka".into(), self.file("properties").into()]);
        line
    }

    /// True if its storage was formatted.
    pub(super) fn is_formatted(&self) -> bool {
        self.file("data").join("meta.properties").exists()
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

    /// Java with the broker's jars.
    fn java(&self, options: &[&str]) -> Vec<OsString> {
        let mut line: Vec<OsString> = vec!["java".into()];
        line.extend(options.iter().map(OsString::from));
        // The collector with the fewest threads: the machine has other things to do.
        let always = [
            "-XX:+UseSerialGC",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
            "-cp",
        ];
        line.extend(always.map(OsString::from));
        line.push(self.jars.join("*").into());
        line
    }

    /// A process that ends with ours and writes to a log of the node.
    fn command(&self, log: &str, line: &[OsString]) -> Result<Command, BrokerError> {
        let path = self.file(log);
        let open = || {
            let out = File::options().create(true).append(true).open(&path)?;
            Ok((out.try_clone()?, out))
        };
        let (out, err) = open().map_err(|error: io::Error| BrokerError::System {
            what: format!("cannot write {}", path.display()),
            error,
        })?;
        let mut command = tethered();
        command
            .args(line)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            // Ctrl-C is for the one who started us, who ends us in turn.
            .process_group(0);
        Ok(command)
    }

    /// Writes its properties.
    fn configure(&self, options: &Options, all: &[Addresses]) -> Result<(), BrokerError> {
        let text = properties(options, self.number, all, &self.file("data"));
        write(&self.file("properties"), &text)
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

fn properties(options: &Options, number: usize, all: &[Addresses], data: &Path) -> String {
    let voters: Vec<String> = (1..)
        .zip(all)
        .map(|(voter, addresses)| format!("{voter}@{}", addresses[CONTROLLER]))
        .collect();
    let listeners = |names: &[&str]| {
        let named = names.iter().zip(all[number]);
        let named: Vec<String> = named
            .map(|(name, address)| format!("{name}://{address}"))
            .collect();
        named.join(",")
    };
    let nodes = all.len();
    let copies = if nodes >= 3 { 3 } else { 1 };
    let in_sync = if nodes >= 3 { 2 } else { 1 };
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

/// Where a node listens: for clients, for its fellow brokers, as a controller.
pub(super) type Addresses = [SocketAddr; 3];

const CLIENT: usize = 0;
const CONTROLLER: usize = 2;
