//! Where a process's events come from: its outlet, its name, its rules. Opened where `CARBYNE_EVENTS_DIR` is set, and nowhere
//! else: without it nothing is emitted and nothing is paid.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::emit::{Emitter, Full, OnDisk, Options, Outlet, OutletError, Status, now};
use crate::event::{Event, SystemHealth, system_health};
use crate::redact::{Redaction, RuleError};
use crate::teller::Teller;

/// The folder below which processes keep their spools.
pub const DIRECTORY: &str = "CARBYNE_EVENTS_DIR";
/// The node's name in events; else `POD_NAME`, else the machine's.
pub const NODE: &str = "CARBYNE_EVENTS_NODE";
/// Mebibytes of spool from which on it counts as full.
pub const LIMIT: &str = "CARBYNE_EVENTS_LIMIT_MIB";
/// Brokers to which the process ships its own spool, `host:port` with commas between several.
pub const KAFKA: &str = "CARBYNE_EVENTS_KAFKA";

/// A process, as far as its events go.
#[derive(Debug)]
pub struct Source {
    // Before the outlet: it ends when its emitters have.
    control: Mutex<Emitter>,
    outlet: Outlet,
    redaction: Redaction,
    node: Box<str>,
    component: &'static str,
    instance: Box<str>,
    version: &'static str,
    started: u64,
}

/// What a process is.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// `carbyne-gateway`.
    pub component: &'static str,
    /// `gateway`: part of the producer's name.
    pub role: &'static str,
    pub version: &'static str,
    /// Whether it has a Kafka client, and ships its own spool where it is told to.
    pub ships: bool,
}

/// How a process is, besides who it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Health<'a> {
    pub reason: Option<&'a str>,
    pub config_version: Option<&'a str>,
    pub config_error: Option<&'a str>,
    pub config_age_seconds: Option<u64>,
    pub workers: Option<u32>,
    pub memory_bytes: Option<u64>,
    pub connections: Option<u64>,
    pub requests: Option<u64>,
}

/// Why events cannot be emitted although they were asked for.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error(transparent)]
    Outlet(#[from] OutletError),
    #[error(transparent)]
    Rule(#[from] RuleError),
    #[error("{LIMIT} is a number of mebibytes above zero, not {0}")]
    Limit(String),
    #[error(
        "{KAFKA} ships what is spooled, and nothing is: set {DIRECTORY} to the spool's folder, too"
    )]
    NothingToShip,
    #[error(
        "{KAFKA} is set, and this {component} has no Kafka client (only a carbyne-gateway with the feature kafka has, as \
         `make release` builds it): unset it, and run `carbyne events ship {directory} --bootstrap {brokers}` beside it"
    )]
    NoClient {
        component: &'static str,
        directory: String,
        brokers: String,
    },
}

impl Source {
    /// Opens what the environment asks for; nothing where it asks for nothing.
    pub fn open(
        program: Program,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Arc<Self>>, SourceError> {
        let told = |name| variable(name).filter(|value| !value.is_empty());
        let directory = told(DIRECTORY);
        if let Some(brokers) = told(KAFKA) {
            let directory = directory.clone().ok_or(SourceError::NothingToShip)?;
            if !program.ships {
                return Err(SourceError::NoClient {
                    component: program.component,
                    directory,
                    brokers,
                });
            }
        }
        let Some(directory) = directory else {
            return Ok(None);
        };
        let redaction = Redaction::read(&variable)?;
        let node = node_name(&variable);
        let mut options = Options::new(node.clone(), program.role);
        if let Some(limit) = variable(LIMIT) {
            match limit.parse::<u64>() {
                Ok(mebibytes @ 1..=0xfff_ffff) => options.spool_limit = mebibytes << 20,
                _ => return Err(SourceError::Limit(limit)),
            }
        }
        let outlet = Outlet::open(Path::new(&directory), options)?;
        Ok(Some(Arc::new(Self {
            control: Mutex::new(outlet.emitter()),
            outlet,
            redaction,
            instance: format!("{}/{node}", program.component).into(),
            node: node.into(),
            component: program.component,
            version: program.version,
            started: now(),
        })))
    }

    /// A worker's own way to tell, to be kept on its thread.
    pub fn teller(self: &Arc<Self>) -> Teller {
        Teller::new(self.outlet.emitter(), self.clone())
    }

    /// Emits from a thread that is no worker.
    pub fn emit<E: Event>(&self, event: &E) -> Result<(), Full> {
        self.control().emit(event)
    }

    /// The same, and ends when the event is on disk.
    pub fn emit_durably<E: Event>(&self, event: &E) -> OnDisk {
        self.control().emit_durably(event)
    }

    /// Tells how the process is.
    pub fn health(&self, state: system_health::State, health: &Health<'_>) {
        let event = SystemHealth {
            time: now(),
            instance: &self.instance,
            component: self.component,
            node: &self.node,
            state,
            reason: health.reason,
            version: self.version,
            started: self.started,
            config_version: health.config_version,
            config_error: health.config_error,
            config_age_seconds: health.config_age_seconds,
            workers: health.workers,
            memory_bytes: health.memory_bytes,
            connections: health.connections,
            requests: health.requests,
        };
        // What has no room is counted.
        self.emit(&event).ok();
    }

    pub const fn redaction(&self) -> &Redaction {
        &self.redaction
    }

    pub const fn node(&self) -> &str {
        &self.node
    }

    pub const fn component(&self) -> &'static str {
        self.component
    }

    /// The process's own directory below the folder.
    pub fn directory(&self) -> &Path {
        self.outlet.directory().path()
    }

    pub fn status(&self) -> Status {
        self.outlet.status()
    }

    /// Puts on disk what was emitted. What comes later is found by the next start.
    pub fn close(&self) {
        self.outlet.close();
    }

    fn control(&self) -> std::sync::MutexGuard<'_, Emitter> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names stand in producers' names, between slashes.
fn node_name(variable: &impl Fn(&str) -> Option<String>) -> String {
    let told = |name| variable(name).filter(|name: &String| !name.is_empty());
    let name = told(NODE).or_else(|| told("POD_NAME"));
    let name = name.unwrap_or_else(|| {
        let system = rustix::system::uname();
        system.nodename().to_string_lossy().into_owned()
    });
    let plain = |letter: char| match letter {
        letter if letter.is_ascii_graphic() && letter != '/' => letter,
        _ => '_',
    };
    name.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: Program = Program {
        component: "carbyne-gateway",
        role: "gateway",
        version: "0",
        ships: false,
    };

    #[test]
    fn without_a_directory_there_is_nothing() {
        for directory in [None, Some(String::new())] {
            let opened = Source::open(PROGRAM, |name| {
                directory.clone().filter(|_| name == DIRECTORY)
            });
            assert!(opened.unwrap().is_none());
        }
    }

    #[test]
    fn what_was_asked_for_and_cannot_be_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let (folder, file) = (folder.path().to_str().unwrap(), file.to_str().unwrap());
        for (directory, name, value, why) in [
            (file, NODE, "a", "cannot be used"),
            (folder, LIMIT, "0", "mebibytes above zero"),
            (folder, LIMIT, "1 GiB", "mebibytes above zero"),
            (folder, crate::redact::PATHS, "yes", "is on or off"),
        ] {
            let opened = Source::open(PROGRAM, |asked| match asked {
                DIRECTORY => Some(directory.to_owned()),
                _ => (asked == name).then(|| value.to_owned()),
            });
            let error = opened.unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn who_cannot_ship_says_who_can() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().to_str().unwrap();
        let open = |program, directory: Option<&str>| {
            Source::open(program, |asked| match asked {
                DIRECTORY => directory.map(str::to_owned),
                KAFKA => Some("kafka:9092".to_owned()),
                _ => None,
            })
        };
        let ships = Program {
            ships: true,
            ..PROGRAM
        };
        for program in [PROGRAM, ships] {
            let error = open(program, None).unwrap_err().to_string();
            assert!(error.contains("set CARBYNE_EVENTS_DIR"), "{error}");
        }
        let error = open(PROGRAM, Some(folder)).unwrap_err().to_string();
        let instead = format!("run `carbyne events ship {folder} --bootstrap kafka:9092`");
        assert!(error.contains(&instead), "{error}");
        assert!(open(ships, Some(folder)).unwrap().is_some());
    }

    #[test]
    fn names_hold_no_slash() {
        let named =
            |name: &'static str| node_name(&|asked: &str| (asked == NODE).then(|| name.to_owned()));
        assert_eq!(named("a/b c\u{e9}.d"), "a_b_c_.d");
        assert!(!named("").is_empty(), "a machine has a name");
    }
}
