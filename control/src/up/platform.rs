//! What runs: for each workload its sockets, its sidecar, its sample services; made to match what the folder says.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use carbyne_mesh::source::Snapshot;
use tokio::sync::mpsc;

use super::{
    bootstrap::{self, BOOTSTRAP_FILE, CONCURRENCY, Mesh},
    directory::{ACCESS_LOG, Directory, DirectoryError, PROXY_LOG, SERVICE_LOG},
    gateway::{self, EVENTS_DIR, Gateway, GatewayError, POD_NAME},
    kafka::Kafka,
    plane::{Plane, PlaneError, Served},
    process::{Event, Kept, Probe, Program},
    workloads::{PROMETHEUS_PORT, Workload},
};
use crate::running::{Kind, Member};

/// Everything that runs.
#[derive(Debug)]
pub struct Platform {
    directory: Directory,
    plane: Plane,
    proxy: PathBuf,
    events: mpsc::UnboundedSender<Event>,
    running: Vec<Running>,
    /// Programs that belong to no workload, in the order of their start.
    apart: Vec<Kept>,
}

/// One workload and what was started for it.
#[derive(Debug)]
struct Running {
    workload: Workload,
    trust_domain: String,
    served: Served,
    sidecar: Kept,
    /// Sample services, or the gateway.
    applications: Vec<Kept>,
}

/// Why a workload could not be started.
#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    /// No place for its files.
    #[error("{0}")]
    Directory(#[from] DirectoryError),
    /// No sockets for its sidecar.
    #[error("{0}")]
    Plane(#[from] PlaneError),
    /// No configuration for the gateway.
    #[error("{0}")]
    Gateway(#[from] GatewayError),
}

impl Platform {
    /// Nothing runs yet; `proxy` is the program of the sidecars, what happens to programs is told to `events`.
    #[must_use]
    pub const fn new(
        directory: Directory,
        plane: Plane,
        proxy: PathBuf,
        events: mpsc::UnboundedSender<Event>,
    ) -> Self {
        Self {
            directory,
            plane,
            proxy,
            events,
            running: Vec::new(),
            apart: Vec::new(),
        }
    }

    /// Where the files are.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where the files are, for who writes into them.
    #[must_use]
    pub const fn directory(&self) -> &Directory {
        &self.directory
    }

    /// How many programs say themselves that they are ready.
    #[must_use]
    pub fn probed(&self) -> usize {
        let programs = self.programs();
        programs.filter(|program| program.probe.is_some()).count()
    }

    /// What people call the programs.
    pub fn titles(&self) -> impl Iterator<Item = String> {
        self.programs().map(|program| program.title())
    }

    fn programs(&self) -> impl Iterator<Item = &Arc<Program>> {
        let apart = self.apart.iter().map(Kept::program);
        self.running.iter().flat_map(Running::programs).chain(apart)
    }

    /// Every program, as others are told of it.
    #[must_use]
    pub fn members(&self, kafka: Option<&Kafka>) -> Vec<Member> {
        let apart = self.apart.iter().filter_map(|kept| {
            let kafka = kafka?;
            Some(kafka.member(kept.program(), kept.pid()))
        });
        self.running
            .iter()
            .flat_map(Running::members)
            .chain(apart)
            .collect()
    }

    /// Starts a program that belongs to no workload and has to become ready.
    pub fn keep(&mut self, program: Program) -> Arc<Program> {
        let kept = Kept::start(program, self.events.clone());
        let program = Arc::clone(kept.program());
        self.apart.push(kept);
        program
    }

    /// The control plane.
    #[must_use]
    pub const fn plane(&self) -> &Plane {
        &self.plane
    }

    /// Starts what is new, ends what is gone, restarts what became another, leaves the rest alone. Gives back what was started and has to
    /// become ready.
    ///
    /// # Errors
    /// When a workload cannot be started; those after it are not.
    pub async fn adjust(
        &mut self,
        snapshot: &Arc<Snapshot>,
        workloads: &[Workload],
        gateway: Option<&Gateway>,
    ) -> Result<Vec<Arc<Program>>, PlatformError> {
        let mesh = &snapshot.mesh;
        let mut keep = Vec::new();
        let mut gone = Vec::new();
        for running in self.running.drain(..) {
            let same = workloads.iter().any(|workload| {
                running.trust_domain == mesh.trust_domain
                    && same_sidecar(&running.workload, workload)
            });
            if same {
                keep.push(running)
            } else {
                gone.push(running)
            }
        }
        self.running = keep;
        for running in gone {
            let name = running.workload.name.clone();
            running.stop().await;
            self.directory.clear(&name)?;
        }
        let mut started = Vec::new();
        for workload in workloads {
            let folder = self.directory.of(&workload.name);
            let at = self
                .running
                .iter()
                .position(|running| running.workload.name == workload.name);
            let at = match at {
                Some(at) => at,
                None => {
                    let bootstrap = bootstrap::bootstrap(
                        workload,
                        &Mesh {
                            domain: mesh.domain.clone(),
                            stats: mesh.default_config.proxy_stats_matcher.clone(),
                        },
                    );
                    self.directory.furnish(&workload.name, &bootstrap)?;
                    let served = self.plane.serve(workload, &self.directory)?;
                    let sidecar =
                        sidecar_program(workload, &self.proxy, &folder, &self.directory.events());
                    let sidecar = Kept::start(sidecar, self.events.clone());
                    started.push(Arc::clone(sidecar.program()));
                    self.running.push(Running {
                        workload: workload.clone(),
                        trust_domain: mesh.trust_domain.clone(),
                        served,
                        sidecar,
                        applications: Vec::new(),
                    });
                    self.running.len() - 1
                }
            };
            let programs = match gateway.filter(|_| workload.gateway) {
                Some(gateway) => {
                    vec![gateway.program(workload, &folder, &self.directory.events())?]
                }
                None => service_programs(workload, workloads, &folder),
            };
            if let Some(running) = self.running.get_mut(at) {
                running.workload = workload.clone();
                started.extend(running.apply(programs, &self.events).await);
            }
        }
        Ok(started)
    }

    /// Ends everything; gives back the directory, whose files are still there.
    pub async fn stop(self) -> Directory {
        for running in &self.running {
            running.ask();
        }
        for running in self.running {
            running.stop().await;
        }
        // The shipper after those whose events it takes, the broker after the shipper.
        for kept in self.apart.into_iter().rev() {
            kept.stop().await;
        }
        self.directory
    }
}

impl Running {
    fn programs(&self) -> impl Iterator<Item = &Arc<Program>> {
        std::iter::once(&self.sidecar)
            .chain(&self.applications)
            .map(Kept::program)
    }

    fn members(&self) -> impl Iterator<Item = Member> {
        let workload = &self.workload;
        let member = |kept: &Kept| {
            let Program {
                kind,
                stdout,
                stderr,
                ..
            } = &**kept.program();
            Member {
                name: workload.name.clone(),
                namespace: workload.namespace.clone(),
                app: workload.app().to_owned(),
                version: workload.version().to_owned(),
                kind: *kind,
                pid: kept.pid(),
                admin: None,
                metrics: None,
                addresses: Vec::new(),
                files: BTreeMap::from([
                    ("access_log".to_owned(), stdout.clone()),
                    ("log".to_owned(), stderr.clone()),
                ]),
            }
        };
        let listens = workload.inbound.iter().map(|inbound| inbound.listen);
        let through = workload.outbound.iter().map(|outbound| outbound.through);
        let sidecar = Member {
            admin: Some(workload.admin()),
            metrics: Some(SocketAddr::new(workload.address, PROMETHEUS_PORT)),
            addresses: distinct(listens.chain(through)),
            ..member(&self.sidecar)
        };
        let addresses = distinct(workload.inbound.iter().map(|inbound| inbound.application));
        let applications = self.applications.iter().map(move |application| {
            let mut told = member(application);
            if told.kind == Kind::Gateway {
                told.admin = Some(gateway::admin(workload));
                told.metrics = Some(gateway::status(workload));
                told.addresses = vec![gateway::proxy(workload)];
                let log = application.program().folder.join(gateway::ACCESS_LOG);
                told.files.insert("access_log".to_owned(), log);
            } else {
                told.addresses.clone_from(&addresses);
            }
            told
        });
        std::iter::once(sidecar).chain(applications)
    }

    /// Runs exactly these applications; gives back those that were started and have to become ready.
    async fn apply(
        &mut self,
        programs: Vec<Program>,
        events: &mpsc::UnboundedSender<Event>,
    ) -> Vec<Arc<Program>> {
        let (keep, gone): (Vec<Kept>, Vec<Kept>) = self
            .applications
            .drain(..)
            .partition(|kept| programs.contains(kept.program()));
        self.applications = keep;
        for kept in gone {
            kept.stop().await;
        }
        let mut started = Vec::new();
        for program in programs {
            if !self
                .applications
                .iter()
                .any(|kept| **kept.program() == program)
            {
                let kept = Kept::start(program, events.clone());
                if kept.program().probe.is_some() {
                    started.push(Arc::clone(kept.program()));
                }
                self.applications.push(kept);
            }
        }
        started
    }

    fn ask(&self) {
        self.sidecar.ask();
        self.applications.iter().for_each(Kept::ask);
    }

    async fn stop(self) {
        self.ask();
        self.sidecar.stop().await;
        for application in self.applications {
            application.stop().await;
        }
        self.served.stop().await;
    }
}

fn distinct(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    addresses.collect::<BTreeSet<_>>().into_iter().collect()
}

/// True when a workload is to have the sidecar that another has: who it is, is in the bootstrap and in the certificate.
fn same_sidecar(one: &Workload, other: &Workload) -> bool {
    let identity = |workload: &Workload| {
        (
            workload.name.clone(),
            workload.namespace.clone(),
            workload.address,
            workload.labels.clone(),
            workload.service_account.clone(),
        )
    };
    identity(one) == identity(other)
}

/// Envoy's command line as pilot-agent writes it (istio.md 1.2); only logs are flushed sooner, because somebody is looking.
fn sidecar_program(workload: &Workload, proxy: &Path, folder: &Path, events: &Path) -> Program {
    let family = if workload.address.is_ipv6() {
        "v6"
    } else {
        "v4"
    };
    let concurrency = CONCURRENCY.to_string();
    let arguments = [
        "-c",
        BOOTSTRAP_FILE,
        "--drain-time-s",
        "45",
        "--drain-strategy",
        "immediate",
        "--local-address-ip-version",
        family,
        "--file-flush-interval-msec",
        "100",
        "--disable-hot-restart",
        "--allow-unknown-static-fields",
        "-l",
        "warning",
        "--component-log-level",
        "misc:error",
        "--concurrency",
        &concurrency,
    ];
    Program {
        workload: workload.name.clone(),
        kind: Kind::Sidecar,
        command: std::iter::once(proxy.into())
            .chain(arguments.map(OsString::from))
            .collect(),
        // The name of the pod, by which events tell it from the others on this machine.
        environment: vec![
            (EVENTS_DIR.into(), events.into()),
            (POD_NAME.into(), workload.name.clone().into()),
        ],
        folder: folder.to_owned(),
        stdout: folder.join(ACCESS_LOG),
        stderr: folder.join(PROXY_LOG),
        probe: Some(Probe::Http {
            address: workload.admin(),
            path: "/ready",
        }),
    }
}

/// One sample service for each address that the inbound listeners hand on to.
fn service_programs(workload: &Workload, all: &[Workload], folder: &Path) -> Vec<Program> {
    let addresses: BTreeSet<SocketAddr> = workload
        .inbound
        .iter()
        .map(|inbound| inbound.application)
        .collect();
    let program = |address: SocketAddr| {
        let mut command: Vec<OsString> = ["/proc/self/exe", "sample-service", "--name"]
            .map(OsString::from)
            .into();
        command.extend(
            [
                workload.name.clone(),
                "--version".to_owned(),
                workload.version().to_owned(),
            ]
            .map(OsString::from),
        );
        command.extend(["--listen".into(), address.to_string().into()]);
        for callee in workload.callees(all) {
            command.extend(["--call".into(), callee.to_argument().into()]);
        }
        Program {
            workload: workload.name.clone(),
            kind: Kind::Service,
            command,
            environment: Vec::new(),
            folder: folder.to_owned(),
            stdout: folder.join(SERVICE_LOG),
            stderr: folder.join(SERVICE_LOG),
            probe: None,
        }
    };
    addresses.into_iter().map(program).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{testing, workloads};
    use super::*;

    #[test]
    fn sidecars_are_started_as_pilot_agent_starts_envoy() {
        let found = workloads::find(&testing::snapshot(""), false).workloads;
        let program = sidecar_program(
            &found[0],
            Path::new("/opt/carbyne-proxy"),
            Path::new("/run/portal"),
            Path::new("/run/events"),
        );
        let line: Vec<String> = program
            .command
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        assert_eq!(
            line.join(" "),
            "/opt/carbyne-proxy -c etc/istio/proxy/envoy-rev.json --drain-time-s 45 --drain-strategy immediate \
             --local-address-ip-version v4 --file-flush-interval-msec 100 --disable-hot-restart --allow-unknown-static-fields \
             -l warning --component-log-level misc:error --concurrency 1"
        );
        assert_eq!(program.title(), "portal's sidecar");
    }

    #[test]
    fn services_know_whom_they_may_call() {
        let found = workloads::find(&testing::snapshot(""), false).workloads;
        let programs = service_programs(&found[0], &found, Path::new("/run/portal"));
        let line: Vec<String> = programs[0]
            .command
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        assert_eq!(
            line.join(" "),
            "/proc/self/exe sample-service --name portal --version v1 --listen 127.0.10.1:9080 \
             --call billing=billing.shop.svc.cluster.local@127.0.10.1:8080 \
             --call catalogue=catalogue.shop.svc.cluster.local@127.0.10.1:8080"
        );
    }

    #[test]
    fn only_who_it_is_makes_another_sidecar() {
        let found = workloads::find(&testing::snapshot(""), false).workloads;
        let portal = found[0].clone();
        let mut moved = portal.clone();
        moved.outbound.clear();
        assert!(same_sidecar(&portal, &moved));
        moved.labels.insert("version".to_owned(), "v2".to_owned());
        assert!(!same_sidecar(&portal, &moved));
    }
}
