//! `carbyne up`: a mesh with a gateway in front on this machine, from one folder of Istio YAML and a kong.yml, without root and
//! without Kubernetes.
//!
//! | file | what it does |
//! |---|---|
//! | [`workloads`] | who runs here: endpoints on loopback addresses, and the listeners that Sidecar resources give them |
//! | [`directory`] | the run directory, laid out like pods, and who holds it |
//! | [`bootstrap`] | a sidecar's bootstrap, as pilot-agent writes it |
//! | [`plane`] | the embedded control plane on its sockets |
//! | [`process`] | child processes: kept running, ended with us |
//! | [`metrics`] | what Prometheus is told of the control plane |
//! | [`platform`] | all of the above for each workload, made to match the folder |
//! | [`gateway`] | the gateway in front, and its kong.yml |
//! | [`kafka`] | where events are shipped to, and the shipper |
//! | [`topics`] | the folder's topics.yaml, and a cluster made so |
//! | [`run`] | the life of it: start, wait, watch, report, stop |
//! | [`ready`] | waits for programs |
//! | [`tries`] | what to try, as the folder says |
//! | [`policy`] | what policies say about a call |
//! | [`guide`] | what is printed when all is ready |
//! | [`board`] | what is known of the programs, for who looks |
//! | [`page`] | the page |
//! | [`count`] | how many resources a folder holds |

pub mod board;
pub mod bootstrap;
pub mod count;
pub mod directory;
pub mod gateway;
pub mod guide;
pub mod kafka;
pub mod metrics;
pub mod page;
pub mod plane;
pub mod platform;
pub mod policy;
pub mod process;
pub mod ready;
pub mod run;
#[cfg(test)]
mod testing;
pub mod topics;
pub mod tries;
pub mod workloads;

use std::{
    env,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::ExitCode,
};

use carbyne_events::broker::BrokerError;
use carbyne_mesh::{LoadError, source::Errors, watch::WatchError};
use tracing_subscriber::EnvFilter;

use self::{
    directory::DirectoryError, gateway::GatewayError, platform::PlatformError, topics::TopicsError,
};
use crate::{events::ship::ValueForm, terminal};

/// Arguments of `carbyne up`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Folder of Istio YAML
    #[arg(default_value = "deploy/examples/platform")]
    pub folder: PathBuf,
    /// Program of the sidecars [default: $CARBYNE_PROXY, else carbyne-proxy beside this program, else on the PATH]
    #[arg(long, value_name = "FILE")]
    pub proxy: Option<PathBuf>,
    /// Program of the gateway [default: $CARBYNE_GATEWAY, else as --proxy]
    #[arg(long, value_name = "FILE")]
    pub gateway: Option<PathBuf>,
    /// Where the run directory is made [default: the folder of temporary files]
    #[arg(long, value_name = "FOLDER")]
    pub base_dir: Option<PathBuf>,
    /// Address of the page, on loopback
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:15080", value_parser = loopback)]
    pub page: SocketAddr,
    /// Seconds in which all must be ready [default: 10, with a broker of its own 60]
    #[arg(long, value_name = "SECONDS")]
    pub wait: Option<u64>,
    /// Ship events to these brokers, `HOST:PORT` with commas between several; their topics are made as topics.yaml says
    #[arg(long, value_name = "ADDRESSES", conflicts_with = "with_kafka")]
    pub kafka: Option<String>,
    /// File of lines NAME=VALUE, properties of librdkafka for these brokers: the place for sasl.password
    #[arg(long, value_name = "FILE", requires = "kafka")]
    pub kafka_config: Option<PathBuf>,
    /// Start a real Kafka and ship events to it (Java 17; the first time Maven fetches the broker)
    #[arg(long)]
    pub with_kafka: bool,
    /// How values are written to the brokers
    #[arg(long, value_enum, default_value_t)]
    pub kafka_form: ValueForm,
    /// Keep events, spooled and shipped, in this folder when all of it ends, and go on with them at the next start
    #[arg(long, value_name = "FOLDER")]
    pub keep: Option<PathBuf>,
}

/// Why `up` ended, or did not begin.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    /// The folder has faults, or the control plane no certificates.
    #[error("{0}")]
    Load(#[from] LoadError),
    /// The folder is about other machines.
    #[error("{0} names no workload on a loopback address")]
    NoWorkloads(PathBuf),
    /// There is nothing to start as sidecars, or as gateway.
    #[error("{program} is not found: looked for {looked}")]
    NoProgram {
        /// Which.
        program: &'static str,
        /// Where.
        looked: String,
    },
    /// A gateway that is nowhere.
    #[error("{0}: no workload on a loopback address is called `gateway`")]
    NoGatewayWorkload(PathBuf),
    /// The gateway's configuration is bad.
    #[error("{0}")]
    Gateway(#[from] GatewayError),
    /// The topics' file is bad.
    #[error("{0}")]
    Topics(#[from] TopicsError),
    /// A broker of our own cannot run here.
    #[error("{0}")]
    Broker(#[from] BrokerError),
    /// Somebody else listens there.
    #[error("in use: {0}")]
    Taken(String),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// No place for files, or some are left over.
    #[error("{0}")]
    Directory(#[from] DirectoryError),
    /// A workload does not start.
    #[error("{0}")]
    Platform(#[from] PlatformError),
    /// The folder cannot be watched.
    #[error("{0}")]
    Watch(#[from] WatchError),
    /// Something that the system would not give.
    #[error("{what}: {error}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// Why not.
        error: std::io::Error,
    },
    /// Sidecars that are not ready in time, each with the end of its log.
    #[error("not ready within {seconds} s: {names}\n{logs}")]
    NotReady {
        /// The time they had.
        seconds: u64,
        /// Whose.
        names: String,
        /// What they said last.
        logs: String,
    },
    /// A program that ends each time before it is ready.
    #[error("{title} does not start ({status}); its log ends with\n{log}")]
    NotStarting {
        /// Which.
        title: String,
        /// How it ended.
        status: String,
        /// What it said last.
        log: String,
    },
}

impl UpError {
    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoWorkloads(_) => Some(
                "give the endpoints of a ServiceEntry, or WorkloadEntries, addresses such as 127.0.10.1",
            ),
            Self::NoProgram { .. } => Some(
                "build it with `cargo build --bin carbyne-proxy --bin carbyne-gateway`, or name it with --proxy FILE, --gateway FILE",
            ),
            Self::NoGatewayWorkload(_) => Some(
                "give it a WorkloadEntry with `metadata: {name: gateway}` and a loopback address, or move the file away",
            ),
            Self::Taken(_) => Some(
                "another `carbyne up` may be running; or give the workloads of the folder other addresses",
            ),
            Self::Directory(DirectoryError::Runs { .. }) => {
                Some("use that one, or end it first: Ctrl-C there, or `kill` its process")
            }
            Self::Directory(DirectoryError::SocketName { .. }) => {
                Some("name a shorter folder with --base-dir")
            }
            Self::Watch(_) => Some(
                "`sysctl fs.inotify.max_user_instances fs.inotify.max_user_watches` shows the limits",
            ),
            Self::Broker(_) => Some(
                "or ship to brokers that are there already, with --kafka HOST:PORT; without either, events stay in the spool",
            ),
            Self::NotReady { .. } => Some("give them longer with --wait SECONDS"),
            _ => None,
        }
    }
}

/// Runs the platform until it is told to end.
pub fn main(arguments: &Arguments) -> ExitCode {
    // What the control plane has to say beyond answers to sidecars; more with RUST_LOG.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .compact();
    // Already set: somebody runs us inside a program of their own, which has a log.
    log.try_init().ok();
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| UpError::System {
            what: "cannot start",
            error,
        })
        .and_then(|runtime| {
            let ended = runtime.block_on(run::run(arguments));
            // A question to a broker that does not answer holds nothing up.
            runtime.shutdown_background();
            ended
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(UpError::Load(LoadError::Source(errors))) => {
            report(&errors);
            ExitCode::FAILURE
        }
        Err(UpError::Gateway(error)) => {
            report_lines(&error);
            ExitCode::FAILURE
        }
        Err(UpError::Topics(error)) => {
            report_lines(&error);
            ExitCode::FAILURE
        }
        Err(error) => {
            terminal::error(error.to_string().trim_end(), error.hint());
            ExitCode::FAILURE
        }
    }
}

/// The page shows what is nobody else's business.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text
        .parse()
        .map_err(|_| "expected ADDRESS:PORT".to_owned())?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err(format!("{} is not a loopback address", address.ip()))
    }
}

/// Every fault of a folder on its own line.
fn report(errors: &Errors) {
    for problem in &errors.0 {
        terminal::error(&problem.to_string(), None);
    }
}

fn report_lines(error: &dyn std::error::Error) {
    for line in error.to_string().lines() {
        terminal::error(line, None);
    }
}

/// A program: what was asked for, else beside this program, else on the PATH.
fn locate(program: &'static str, named: Option<PathBuf>) -> Result<PathBuf, UpError> {
    let candidates: Vec<PathBuf> = match named {
        Some(named) => vec![named],
        None => {
            let own = env::current_exe()
                .ok()
                .and_then(|own| own.parent().map(Path::to_owned));
            let path = env::var_os("PATH").unwrap_or_default();
            own.into_iter()
                .chain(env::split_paths(&path))
                .map(|folder| folder.join(program))
                .collect()
        }
    };
    let found = candidates.iter().find(|candidate| candidate.is_file());
    // It will run in a folder of its own.
    let found = found.and_then(|found| std::path::absolute(found).ok());
    found.ok_or_else(|| {
        let looked: Vec<String> = candidates
            .iter()
            .map(|candidate| candidate.display().to_string())
            .collect();
        UpError::NoProgram {
            program,
            looked: looked.join(", "),
        }
    })
}

/// Asks for every address once, so that a second platform is told at once and not by proxies that share ports (SO_REUSEPORT).
fn free(addresses: impl Iterator<Item = SocketAddr>) -> Result<(), UpError> {
    let mut taken = Vec::new();
    for address in addresses {
        match TcpListener::bind(address) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                taken.push(address.to_string())
            }
            Err(error) => return Err(UpError::Listen { address, error }),
        }
    }
    if taken.is_empty() {
        Ok(())
    } else {
        Err(UpError::Taken(taken.join(", ")))
    }
}

const PROXY: &str = "carbyne-proxy";
const GATEWAY: &str = "carbyne-gateway";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_that_was_asked_for_must_be_there() {
        let error = locate(PROXY, Some("/nonexistent/proxy".into())).unwrap_err();
        assert_eq!(
            error.to_string(),
            "carbyne-proxy is not found: looked for /nonexistent/proxy"
        );
        assert!(error.hint().is_some());
        let own = env::current_exe().unwrap();
        assert_eq!(locate(PROXY, Some(own.clone())).unwrap(), own);
    }

    #[test]
    fn taken_addresses_are_all_named() {
        let holders = [(), ()].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let addresses = holders
            .each_ref()
            .map(|holder| holder.local_addr().unwrap());
        let error = free(addresses.into_iter()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("in use: {}, {}", addresses[0], addresses[1])
        );
        drop(holders);
        free(addresses.into_iter()).unwrap();
    }
}
