//! `carbyne status`: every program of a running platform: alive, ready, of which version, in step with the control plane, and how long
//! its certificate is good for; and workloads that should have a sidecar and do not.

pub mod sync;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::{Duration, SystemTime},
};

use carbyne_events::broker::jars::VERSION;
use serde::Serialize;
use tokio::task::JoinSet;

use self::sync::{State, Sync};
use crate::{
    admin::{Dump, Proxy, list, text},
    events::shipping::Shipping,
    fetch::get,
    moment,
    output::{Finding, Findings, Options, Text, Verdict, code, table::Table},
    running::{self, Kind, Member, Running},
    runtime,
    terminal::{BOLD, GREEN, RED, YELLOW},
    up::ready::broker_answers,
};

/// Arguments of `carbyne status`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Runtime directory of `carbyne up` [default: the one that runs]
    #[arg(long, value_name = "DIR")]
    pub run: Option<PathBuf>,
    /// Proxies to ask instead, by their admin ports
    #[arg(long, value_name = "ADDRESS", conflicts_with = "run")]
    pub address: Vec<SocketAddr>,
}

/// Everything that runs, and what is wrong with it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Status {
    /// Programs, in the order of their start.
    pub programs: Vec<Program>,
    /// What is wrong.
    #[serde(flatten)]
    pub findings: Findings,
}

/// One program.
#[derive(Clone, Debug, Serialize)]
pub struct Program {
    /// Its workload.
    pub name: String,
    /// What it is.
    pub kind: &'static str,
    /// Its process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// How it is.
    pub state: Condition,
    /// Its version.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Seconds that it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uptime: Option<u64>,
    /// Version of its configuration.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub configuration: String,
    /// What the control plane says of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync: Option<Sync>,
    /// Seconds until the first of its certificates ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<u64>,
    /// How it goes with shipping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shipping: Option<Shipping>,
}

/// How a program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// Answers, and has all that it waited for.
    Ready,
    /// Runs; of services nobody can ask more.
    Running,
    /// Answers, and waits for configuration.
    Starting,
    /// Its process is there and does not answer.
    Silent,
    /// There is no process.
    Gone,
}

/// Shows it.
///
/// # Errors
/// When nothing runs.
pub fn run(arguments: &Arguments, options: &Options) -> Verdict {
    let (running, found) = if arguments.address.is_empty() {
        let (_, running) = running::find(arguments.run.as_deref())?;
        let bare = without_sidecar(&running);
        (Some(running), bare)
    } else {
        (None, Vec::new())
    };
    let members = running.as_ref().map_or_else(
        || arguments.address.iter().copied().map(member).collect(),
        |running| running.members.clone(),
    );
    let page = running.as_ref().and_then(|running| running.control.page);
    let status = runtime::run(look(&members, page, found))?;
    let outcome = status.findings.outcome();
    options.show(&status)?;
    Ok(outcome)
}

/// Asks every program at once.
pub async fn look(members: &[Member], page: Option<SocketAddr>, mut found: Vec<Finding>) -> Status {
    let syncs: Vec<Sync> = match page {
        Some(page) => get(page, "/proxies", LIMIT)
            .await
            .ok()
            .and_then(|body| serde_json::from_slice(&body).ok())
            .unwrap_or_default(),
        None => Vec::new(),
    };
    let mut asked = JoinSet::new();
    for (index, member) in members.iter().cloned().enumerate() {
        asked.spawn(async move { (index, program(&member).await) });
    }
    let mut answers = Vec::new();
    while let Some(answer) = asked.join_next().await {
        // A task that panicked would be a bug of ours; its program is then missing from the list.
        answers.extend(answer.ok());
    }
    answers.sort_by_key(|(index, _)| *index);
    let mut programs = Vec::new();
    for (_, (mut program, mut findings)) in answers {
        if program.kind == SIDECAR {
            program.sync = syncs
                .iter()
                .find(|sync| sync.workload() == program.name)
                .cloned();
            if !syncs.is_empty() {
                findings.extend(judge(&program));
            }
        }
        found.append(&mut findings);
        programs.push(program);
    }
    Status {
        programs,
        findings: Findings::from(found),
    }
}

impl Program {
    /// What people call it.
    #[must_use]
    pub fn title(&self) -> String {
        title(&self.name, self.kind)
    }
}

fn title(name: &str, kind: &str) -> String {
    if name == kind {
        format!("the {kind}")
    } else {
        format!("{name}'s {kind}")
    }
}

/// What is wrong between a proxy and its control plane.
fn judge(program: &Program) -> Option<Finding> {
    let about = |code, message: String| Finding::new(code, message).about(program.title());
    let Some(sync) = &program.sync else {
        return (program.state != Condition::Gone).then(|| {
            about(
                &code::NOT_CONNECTED,
                "it is not connected to the control plane".to_owned(),
            )
        });
    };
    let refused = sync.types.iter().find(|kind| kind.state == State::Refused);
    if let Some(kind) = refused {
        return Some(about(
            &code::REFUSED_UPDATE,
            format!("it refuses a {}: {}", kind.name, kind.error),
        ));
    }
    let stale = sync.types.iter().find(|kind| kind.state == State::Stale)?;
    let age = stale.acknowledged.map_or_else(
        || "it never acknowledged one".to_owned(),
        |age| {
            format!(
                "the last acknowledgement is {} old",
                moment::long(Duration::from_secs(age))
            )
        },
    );
    Some(about(
        &code::STALE,
        format!("a {} was sent and is not answered; {age}", stale.name),
    ))
}

async fn program(member: &Member) -> (Program, Vec<Finding>) {
    let kind = member.kind.name();
    let mut program = Program {
        name: member.name.clone(),
        kind,
        pid: member.pid,
        state: Condition::Running,
        version: String::new(),
        uptime: None,
        configuration: String::new(),
        sync: None,
        certificate: None,
        shipping: None,
    };
    let title = title(&member.name, kind);
    if !alive(member) {
        program.state = Condition::Gone;
        let gone = Finding::new(&code::PROGRAM_GONE, "its process is gone").about(title);
        let gone = if matches!(member.kind, Kind::Shipper | Kind::Broker) {
            gone.fix(WAITING)
        } else {
            gone
        };
        return (program, vec![gone]);
    }
    let mut findings = match (member.kind, member.admin) {
        (Kind::Sidecar, Some(address)) => sidecar(&mut program, address).await,
        (Kind::Gateway, Some(address)) => gateway(&mut program, address).await,
        (Kind::Shipper, Some(address)) => shipper(&mut program, address).await,
        (Kind::Broker, _) => broker(&mut program, &member.addresses).await,
        _ => Vec::new(),
    };
    for finding in &mut findings {
        finding.place.object.clone_from(&title);
    }
    (program, findings)
}

async fn sidecar(program: &mut Program, address: SocketAddr) -> Vec<Finding> {
    let proxy = Proxy {
        name: program.name.clone(),
        address,
    };
    let info = match proxy.page("/server_info", LIMIT).await {
        Ok(info) => info,
        Err(finding) => {
            program.state = Condition::Silent;
            return vec![finding];
        }
    };
    // carbyne/0.1.0/Clean/RELEASE/aws-lc-rs, or Envoy's COMMIT/1.38.0/Clean/RELEASE/BoringSSL.
    program.version = text(&info, "/version")
        .split('/')
        .nth(1)
        .unwrap_or_default()
        .to_owned();
    program.uptime = text(&info, "/uptime_current_epoch")
        .trim_end_matches('s')
        .parse()
        .ok();
    let mut findings = Vec::new();
    program.state = if text(&info, "/state") == "LIVE" {
        Condition::Ready
    } else {
        findings.push(Finding::new(
            &code::NOT_READY,
            format!("it says {}", text(&info, "/state")),
        ));
        Condition::Starting
    };
    if let Ok(page) = proxy.page("/config_dump", LIMIT).await {
        let dump = Dump::read(&page);
        dump.version().clone_into(&mut program.configuration);
        findings.extend(dump.refused().map(|resource| {
            Finding::new(
                &code::REFUSED_UPDATE,
                format!("{}: {}", resource.name, resource.error),
            )
        }));
    }
    if let Ok(page) = proxy.page("/certs", LIMIT).await {
        let ends = list(&page, "/certificates")
            .flat_map(|pair| list(pair, "/cert_chain").chain(list(pair, "/ca_cert")))
            .filter_map(|certificate| moment::parse(text(certificate, "/expiration_time")));
        if let Some(end) = ends.min() {
            let left = end.duration_since(SystemTime::now()).unwrap_or_default();
            program.certificate = Some(left.as_secs());
            if left < SHORT {
                findings.push(Finding::new(
                    &code::CERTIFICATE_ENDS,
                    if left.is_zero() {
                        "a certificate has ended".to_owned()
                    } else {
                        format!("a certificate ends in {}", moment::long(left))
                    },
                ));
            }
        }
    }
    findings
}

async fn gateway(program: &mut Program, address: SocketAddr) -> Vec<Finding> {
    let node = match get(address, "/", LIMIT).await {
        Ok(body) => serde_json::from_slice::<serde_json::Value>(&body).unwrap_or_default(),
        Err(error) => {
            program.state = Condition::Silent;
            return vec![error.into()];
        }
    };
    program.state = Condition::Ready;
    text(&node, "/version").clone_into(&mut program.version);
    if let Ok(body) = get(address, "/status", LIMIT).await
        && let Ok(status) = serde_json::from_slice::<serde_json::Value>(&body)
    {
        let hash = text(&status, "/configuration_hash");
        hash.get(..8)
            .unwrap_or(hash)
            .clone_into(&mut program.configuration);
    }
    Vec::new()
}

async fn shipper(program: &mut Program, address: SocketAddr) -> Vec<Finding> {
    let answer = match get(address, "/status", LIMIT).await {
        Ok(body) => serde_json::from_slice::<Shipping>(&body)
            .map_err(|error| Finding::new(&code::UNREADABLE_ANSWER, format!("{address}: {error}"))),
        Err(error) => Err(error.into()),
    };
    let shipping = match answer {
        Ok(shipping) => shipping,
        Err(finding) => {
            program.state = Condition::Silent;
            return vec![finding.fix(WAITING)];
        }
    };
    program.state = Condition::Ready;
    program.version.clone_from(&shipping.version);
    let problems = shipping.problems.iter();
    let findings = problems.map(|problem| Finding::new(&code::SHIPPER_WAITS, problem));
    let findings = findings.collect();
    program.shipping = Some(shipping);
    findings
}

async fn broker(program: &mut Program, addresses: &[SocketAddr]) -> Vec<Finding> {
    VERSION.clone_into(&mut program.version);
    let Some(address) = addresses.first() else {
        return Vec::new();
    };
    if tokio::time::timeout(LIMIT, broker_answers(*address)).await == Ok(true) {
        program.state = Condition::Ready;
        return Vec::new();
    }
    program.state = Condition::Silent;
    let message = format!("no Kafka answers at {address}");
    vec![Finding::new(&code::NO_BROKER, message).fix(WAITING)]
}

/// Workloads of the folder that say they speak mesh mTLS, on addresses where no sidecar runs.
fn without_sidecar(running: &Running) -> Vec<Finding> {
    let Ok(snapshot) = carbyne_mesh::source::read_folder(&running.folder) else {
        // The folder has errors at present; `up` told, and `lint` tells.
        return Vec::new();
    };
    let has = |address: IpAddr| {
        running.members.iter().any(|member| {
            member.kind == Kind::Sidecar
                && (member.admin.is_some_and(|admin| admin.ip() == address)
                    || member.addresses.iter().any(|own| own.ip() == address))
        })
    };
    let mut findings: Vec<Finding> = Vec::new();
    for service in snapshot
        .registry
        .services
        .iter()
        .filter(|service| !service.external)
    {
        for instance in &service.instances {
            let Ok(address) = instance.address.parse::<IpAddr>() else {
                continue;
            };
            if !has(address) {
                let finding = Finding::new(
                    &code::NO_SIDECAR,
                    format!("{address} serves {} and has no sidecar", service.hostname),
                )
                .about(format!("workload {}", instance.workload));
                if !findings
                    .iter()
                    .any(|known| known.message == finding.message)
                {
                    findings.push(finding);
                }
            }
        }
    }
    findings
}

/// True if the process is there, or nobody knows which it is.
fn alive(member: &Member) -> bool {
    let Some(pid) = member.pid else {
        return member.admin.is_some() && member.kind == Kind::Sidecar && member.files.is_empty();
    };
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = state.rsplit(") ").next().unwrap_or_default();
    !state.is_empty() && !state.starts_with('Z')
}

/// A proxy of which only the address is known.
fn member(address: SocketAddr) -> Member {
    Member {
        name: address.to_string(),
        namespace: String::new(),
        app: String::new(),
        version: String::new(),
        kind: Kind::Sidecar,
        pid: None,
        admin: Some(address),
        metrics: None,
        addresses: Vec::new(),
        files: std::collections::BTreeMap::new(),
    }
}

impl Text for Status {
    fn text(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let mut table = Table::new([
            "name",
            "program",
            "process",
            "state",
            "version",
            "up",
            "configuration",
            "last ack",
            "certificate",
        ]);
        for program in &self.programs {
            let (style, word) = match program.state {
                Condition::Ready => (GREEN, "ready"),
                Condition::Running => (GREEN, "running"),
                Condition::Starting => (YELLOW, "starting"),
                Condition::Silent => (RED, "silent"),
                Condition::Gone => (RED, "gone"),
            };
            let seconds = |seconds: Option<u64>| {
                seconds
                    .map(|seconds| moment::long(Duration::from_secs(seconds)))
                    .unwrap_or_default()
            };
            let acknowledged = program.sync.as_ref().map_or_else(String::new, |sync| {
                let (state, age) = sync.worst();
                let age = age.map_or_else(
                    || "never".to_owned(),
                    |age| moment::long(Duration::from_secs(age)),
                );
                match state {
                    State::Synced | State::Unsent => age,
                    State::Stale => format!("{YELLOW}stale{YELLOW:#}, {age}"),
                    State::Refused => format!("{RED}refused{RED:#}, {age}"),
                }
            });
            table.row([
                program.name.clone(),
                program.kind.to_owned(),
                program.pid.map_or_else(String::new, |pid| pid.to_string()),
                format!("{style}{word}{style:#}"),
                program.version.clone(),
                seconds(program.uptime),
                program.configuration.clone(),
                acknowledged,
                seconds(program.certificate),
            ]);
        }
        table.write(out, "")?;
        let shipping = self
            .programs
            .iter()
            .find_map(|program| program.shipping.as_ref());
        if let Some(shipping) = shipping {
            writeln!(out, "\nevents: {}", shipping.words())?;
        }
        if self.findings.findings.is_empty() {
            return Ok(());
        }
        writeln!(out, "\n{BOLD}to look at{BOLD:#}")?;
        self.findings.text(out)
    }
}

/// What is lost while events cannot be shipped: nothing.
const WAITING: &str = "traffic goes on and events wait in the spool; `carbyne up` starts it again when it ends: its log in the runtime directory says why it did";
const SIDECAR: &str = "sidecar";
const LIMIT: Duration = Duration::from_secs(3);
/// Renewal comes at half of a certificate's life at the latest; of Istio's day that leaves hours.
const SHORT: Duration = Duration::from_secs(2 * 3600);

#[cfg(test)]
mod tests;
