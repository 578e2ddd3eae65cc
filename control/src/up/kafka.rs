//! Where events are shipped to: brokers that are there already, or one of our own; and the shipper that takes them there.

use std::{
    ffi::OsString,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use carbyne_events::broker::{BrokerError, alone};

use super::{
    Arguments,
    directory::Directory,
    process::{Probe, Program},
    workloads::Workload,
};
use crate::{
    events::ship::ValueForm,
    running::{self, Kind, Member},
    terminal,
};

/// Where to, and how the programs that it takes are started.
#[derive(Clone, Debug)]
pub struct Kafka {
    told: running::Kafka,
    /// Addresses of a node of our own: for clients, for brokers, for the controller.
    own: Option<[SocketAddr; 3]>,
    /// Where the shipper says how it goes.
    shipper: SocketAddr,
    form: ValueForm,
}

impl Kafka {
    /// What the command line asks for; none where it asks for nothing. Ours listens at the gateway's address, else at the first.
    ///
    /// # Errors
    /// When a broker of our own cannot run here.
    pub fn choose(
        arguments: &Arguments,
        workloads: &[Workload],
    ) -> Result<Option<Self>, BrokerError> {
        let Some(home) = workloads.first().map(|workload| workload.address) else {
            return Ok(None);
        };
        let own = arguments
            .with_kafka
            .then(|| PORTS.map(|port| at(home, port)));
        let bootstrap = match (&arguments.kafka, own) {
            (Some(named), _) => named.clone(),
            (None, Some([clients, ..])) => clients.to_string(),
            (None, None) => return Ok(None),
        };
        if own.is_some() {
            alone::prepare(terminal::note)?;
        }
        let config = arguments.kafka_config.as_ref();
        // Its readers run elsewhere.
        let config = config.map(|file| std::path::absolute(file).unwrap_or_else(|_| file.clone()));
        Ok(Some(Self {
            told: running::Kafka { bootstrap, config },
            own,
            shipper: at(home, SHIPPER_PORT),
            form: arguments.kafka_form,
        }))
    }

    /// As others are told of it.
    #[must_use]
    pub const fn told(&self) -> &running::Kafka {
        &self.told
    }

    /// True where the broker is ours.
    #[must_use]
    pub const fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Every address that its programs will bind.
    pub fn listens(&self) -> impl Iterator<Item = SocketAddr> {
        self.own.into_iter().flatten().chain([self.shipper])
    }

    /// The broker, where it is ours.
    #[must_use]
    pub fn broker(&self, directory: &Directory) -> Option<Program> {
        let own = self.own?;
        let mut command = words(&["/proc/self/exe", "broker", "--directory"]);
        command.push(directory.kafka().into());
        command.push("--listen".into());
        command.extend(own.map(|address| address.to_string().into()));
        let probe = Probe::Kafka { address: own[0] };
        Some(program(Kind::Broker, command, directory.path(), probe))
    }

    /// The shipper.
    #[must_use]
    pub fn shipper(&self, directory: &Directory) -> Program {
        let mut command = words(&["/proc/self/exe", "events", "ship"]);
        command.push(directory.events().into());
        command.extend(words(&["--bootstrap", &self.told.bootstrap]));
        if let Some(config) = &self.told.config {
            command.extend(["--kafka-config".into(), config.into()]);
        }
        command.extend(words(&["--metrics", &self.shipper.to_string()]));
        command.extend(words(&["--form", self.form.word(), "--grace", GRACE]));
        let probe = Probe::Http {
            address: self.shipper,
            path: "/status",
        };
        program(Kind::Shipper, command, directory.path(), probe)
    }

    /// What others are told of one of its programs.
    #[must_use]
    pub fn member(&self, program: &Program, pid: Option<u32>) -> Member {
        let shipper = (program.kind == Kind::Shipper).then_some(self.shipper);
        let broker = self.own.filter(|_| program.kind == Kind::Broker);
        Member {
            name: program.workload.clone(),
            namespace: String::new(),
            app: String::new(),
            version: String::new(),
            kind: program.kind,
            pid,
            admin: shipper,
            metrics: shipper,
            addresses: broker.map(|[clients, ..]| clients).into_iter().collect(),
            files: [("log".to_owned(), program.stderr.clone())].into(),
        }
    }
}

fn program(kind: Kind, command: Vec<OsString>, folder: &Path, probe: Probe) -> Program {
    let name = kind.name();
    let log: PathBuf = folder.join(format!("{name}.log"));
    Program {
        workload: name.to_owned(),
        kind,
        command,
        environment: Vec::new(),
        folder: folder.to_owned(),
        stdout: log.clone(),
        stderr: log,
        probe: Some(probe),
    }
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

const fn at(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address, port)
}

/// Kafka's own, and the two behind it.
const PORTS: [u16; 3] = [9092, 9093, 9094];
/// Where the shipper answers `/status` and `/metrics`.
const SHIPPER_PORT: u16 = 9465;
/// How long it goes on when it is told to end: less than what it is given before it is killed.
const GRACE: &str = "1500ms";

#[cfg(test)]
mod tests {
    use super::super::{testing, workloads};
    use super::*;

    #[test]
    fn programs_are_told_where_everything_is() {
        let base = tempfile::tempdir().unwrap();
        let directory = Directory::new(base.path(), Some(base.path()), None).unwrap();
        let found = workloads::find(&testing::snapshot(""), false).workloads;
        let home = found[0].address;
        let kafka = Kafka {
            told: running::Kafka {
                bootstrap: "broker:9092".to_owned(),
                config: Some("/etc/kafka.properties".into()),
            },
            own: Some(PORTS.map(|port| at(home, port))),
            shipper: at(home, SHIPPER_PORT),
            form: ValueForm::Avro,
        };
        let line = |program: &Program| {
            let words = program.command.iter().map(|word| word.to_string_lossy());
            words.collect::<Vec<_>>().join(" ")
        };
        let run = directory.path().display();
        assert_eq!(
            line(&kafka.broker(&directory).unwrap()),
            format!(
                "/proc/self/exe broker --directory {run}/kafka --listen 127.0.10.1:9092 127.0.10.1:9093 127.0.10.1:9094"
            )
        );
        let shipper = kafka.shipper(&directory);
        assert_eq!(
            line(&shipper),
            format!(
                "/proc/self/exe events ship {run}/events --bootstrap broker:9092 --kafka-config /etc/kafka.properties \
                 --metrics 127.0.10.1:9465 --form avro --grace 1500ms"
            )
        );
        assert_eq!(shipper.title(), "the shipper");
        assert_eq!(kafka.listens().count(), 4);
        directory.remove().unwrap();
    }
}
