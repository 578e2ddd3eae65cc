//! The gateway in front: `carbyne-gateway` with the folder's kong.yml, as the application of the workload `gateway`.
//!
//! The node does not read the folder itself: it starts with a copy of what was last found good, so that it also comes back with that
//! when it is killed while the file is bad.

use std::{
    ffi::OsString,
    io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use tokio::process::Command;

use super::{
    process::{Probe, Program},
    workloads::Workload,
};
use crate::{fetch::fetch, running::Kind};

/// The gateway's program and its configuration.
#[derive(Clone, Debug)]
pub struct Gateway {
    program: PathBuf,
    file: PathBuf,
    /// What is live.
    text: String,
}

/// What is wrong with the gateway's configuration.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The file cannot be read.
    #[error("{path}: {error}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The program that checks files does not run.
    #[error("{program} does not run: {error}")]
    Program {
        /// Which.
        program: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Every fault of the file on its own line, with line and column.
    #[error("{0}")]
    Faults(String),
    /// The node would not have it.
    #[error("{path}: the gateway refuses it: {said}")]
    Refused {
        /// The file.
        path: PathBuf,
        /// What it answered.
        said: String,
    },
    /// The copy cannot be written.
    #[error("cannot write {path}: {error}")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl Gateway {
    /// Reads the folder's kong.yml; none without one.
    ///
    /// # Errors
    /// Everything that is wrong in it.
    pub async fn open(program: PathBuf, folder: &Path) -> Result<Option<Self>, GatewayError> {
        let Some(file) = find(folder) else {
            return Ok(None);
        };
        let mut gateway = Self {
            program,
            file,
            text: String::new(),
        };
        gateway.text = gateway.checked().await?;
        Ok(Some(gateway))
    }

    /// The file as it is live.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Makes a saved file live in the node; false if nothing changed.
    ///
    /// # Errors
    /// Everything that is wrong in it; then what was live before stays.
    pub async fn reload(
        &mut self,
        workload: &Workload,
        folder: &Path,
    ) -> Result<bool, GatewayError> {
        let saved = read(&self.file)?;
        if saved == self.text {
            return Ok(false);
        }
        let text = self.checked().await?;
        let mut request = Request::post("/config")
            .header(header::HOST, admin(workload).to_string())
            .header(header::CONTENT_TYPE, "text/yaml");
        request = request.header(header::ACCEPT, "application/json");
        let request = request.body(Full::new(Bytes::from(text.clone())));
        if let Ok(request) = request {
            match fetch(admin(workload), request, APPLYING).await {
                Ok(answer) if answer.status() == StatusCode::CREATED => {}
                Ok(answer) => {
                    return Err(GatewayError::Refused {
                        path: self.file.clone(),
                        said: String::from_utf8_lossy(answer.body()).trim().to_owned(),
                    });
                }
                // It is being started again, and will read the copy.
                Err(error) => tracing::debug!(%error, "the gateway is not there to be told"),
            }
        }
        self.text = text;
        self.furnish(folder)?;
        Ok(true)
    }

    /// Writes what the node starts with into its workload's folder.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn furnish(&self, folder: &Path) -> Result<(), GatewayError> {
        let path = folder.join(COPY);
        // Whole or not at all: a node that starts at this moment reads it.
        let written = tempfile::NamedTempFile::new_in(folder).and_then(|mut file| {
            io::Write::write_all(&mut file, self.text.as_bytes())?;
            file.persist(&path)?;
            Ok(())
        });
        written.map_err(|error| GatewayError::Write { path, error })
    }

    /// The node, with its configuration written beside it.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn program(
        &self,
        workload: &Workload,
        folder: &Path,
        events: &Path,
    ) -> Result<Program, GatewayError> {
        self.furnish(folder)?;
        let conf = folder.join(CONF);
        std::fs::write(&conf, settings(workload, folder)).map_err(|error| GatewayError::Write {
            path: conf.clone(),
            error,
        })?;
        Ok(Program {
            workload: workload.name.clone(),
            kind: Kind::Gateway,
            command: vec![
                self.program.clone().into(),
                "start".into(),
                "-c".into(),
                conf.into(),
            ],
            environment: vec![
                (EVENTS_DIR.into(), events.into()),
                (POD_NAME.into(), workload.name.clone().into()),
            ],
            folder: folder.to_owned(),
            stdout: folder.join(LOG),
            stderr: folder.join(LOG),
            probe: Some(Probe::Http {
                address: status(workload),
                path: "/status/ready",
            }),
        })
    }

    /// The text of the file if the program finds nothing wrong in it.
    async fn checked(&self) -> Result<String, GatewayError> {
        let text = read(&self.file)?;
        // Else the machine's own would be read, if there is one.
        let nothing = tempfile::NamedTempFile::new().map_err(|error| GatewayError::Write {
            path: std::env::temp_dir(),
            error,
        })?;
        let mut command = Command::new(&self.program);
        command
            .args(["config", "parse", "-c"])
            .arg(nothing.path())
            .arg(&self.file)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        for name in foreign() {
            command.env_remove(name);
        }
        let output = command
            .output()
            .await
            .map_err(|error| GatewayError::Program {
                program: self.program.clone(),
                error,
            })?;
        if output.status.success() {
            return Ok(text);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let place = format!("{}:", self.file.display());
        let faults: Vec<&str> = said
            .lines()
            .filter(|line| line.starts_with(&place))
            .collect();
        Err(GatewayError::Faults(if faults.is_empty() {
            said.trim().to_owned()
        } else {
            faults.join("\n")
        }))
    }
}

/// Where clients come to it.
#[must_use]
pub const fn proxy(workload: &Workload) -> SocketAddr {
    at(workload.address, 8000)
}

/// Its Admin API.
#[must_use]
pub const fn admin(workload: &Workload) -> SocketAddr {
    at(workload.address, 8001)
}

/// Its Status API.
#[must_use]
pub const fn status(workload: &Workload) -> SocketAddr {
    at(workload.address, 8007)
}

/// Variables of the environment that would change what the node does.
pub fn foreign() -> impl Iterator<Item = OsString> {
    std::env::vars_os().map(|(name, _)| name).filter(|name| {
        let name = name.as_encoded_bytes();
        // Nor does a program of the platform ship by itself: its shipper does that for all.
        FOREIGN.iter().any(|prefix| name.starts_with(prefix))
    })
}

/// The node's own configuration: everything below its workload's folder and on its workload's address.
fn settings(workload: &Workload, folder: &Path) -> String {
    let show = |name: &str| folder.join(name).display().to_string();
    let (proxy, admin, status) = (proxy(workload), admin(workload), status(workload));
    format!(
        "prefix = {}\ndatabase = off\ndeclarative_config = {}\nproxy_listen = {proxy}\nadmin_listen = {admin}\n\
         status_listen = {status}\nproxy_access_log = {}\nnginx_worker_processes = 1\nlog_level = warn\n",
        show("kong"),
        show(COPY),
        show(ACCESS_LOG),
    )
}

fn find(folder: &Path) -> Option<PathBuf> {
    FILES
        .iter()
        .map(|name| folder.join(name))
        .find(|path| path.is_file())
}

fn read(path: &Path) -> Result<String, GatewayError> {
    std::fs::read_to_string(path).map_err(|error| GatewayError::Read {
        path: path.to_owned(),
        error,
    })
}

const fn at(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address, port)
}

/// Name of the workload whose application the gateway is.
pub const NAME: &str = "gateway";
/// Names of its file in the folder.
pub const FILES: [&str; 2] = ["kong.yml", "kong.yaml"];
/// Where gateway and sidecars spool events.
pub const EVENTS_DIR: &str = "CARBYNE_EVENTS_DIR";
const FOREIGN: [&[u8]; 2] = [b"KONG_", b"CARBYNE_EVENTS_KAFKA"];
/// Name of a pod, as the downward API gives it.
pub const POD_NAME: &str = "POD_NAME";
/// Log of the node, in its workload's folder.
pub const LOG: &str = "gateway.log";
/// Its access log there.
pub const ACCESS_LOG: &str = "gateway-access.log";
const CONF: &str = "kong.conf";
const COPY: &str = "kong.yml";
/// How long the node may take with a configuration.
const APPLYING: Duration = Duration::from_secs(10);
