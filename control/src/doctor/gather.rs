//! The parts of a bundle: what programs answer, the ends of their logs, the configuration, the machine. Every part is asked for at the
//! same time and is there or not; none is waited for beyond the time that was given.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{task::JoinSet, time::Instant};

use crate::{
    fetch::get,
    graph::collect::{scrape, targets},
    lint,
    output::{self, Finding},
    running::{Kind, Member, Running},
    status,
};

/// What is in a bundle.
#[derive(Debug, Default)]
pub struct Parts {
    /// Names and texts.
    pub files: Vec<(String, String)>,
    /// What could not be had, and why.
    pub missing: Vec<String>,
    /// What is wrong at first sight.
    pub findings: Vec<Finding>,
}

/// Gathers what there is of what runs and of a folder.
pub async fn gather(
    parts: &mut Parts,
    running: Option<&Running>,
    folder: Option<&Path>,
    within: Duration,
) {
    let end = Instant::now() + within;
    parts.add(
        "version.txt",
        format!("carbyne {}\n", env!("CARGO_PKG_VERSION")),
    );
    machine(parts);
    if let Some(folder) = folder {
        configuration(parts, folder);
    }
    let Some(running) = running else {
        return;
    };
    if let Ok(text) = output::json(running) {
        parts.add("running.json", text);
    }
    for member in &running.members {
        logs(parts, member);
    }
    let mut asked = JoinSet::new();
    for (name, address, path) in pages(running) {
        asked.spawn(async move {
            let answer = get(address, &path, LIMIT).await;
            (
                name,
                answer.map(|body| String::from_utf8_lossy(&body).into_owned()),
            )
        });
    }
    let mut waiting: Vec<String> = pages(running).into_iter().map(|(name, ..)| name).collect();
    while let Ok(Some(answer)) = tokio::time::timeout_at(end, asked.join_next()).await {
        let Ok((name, answer)) = answer else {
            continue;
        };
        waiting.retain(|waiting| *waiting != name);
        match answer {
            Ok(text) => parts.add(&name, text),
            Err(error) => parts.missing.push(format!("{name}: {error}")),
        }
    }
    for name in waiting {
        parts.missing.push(format!("{name}: not within {within:?}"));
    }
    let status = tokio::time::timeout_at(
        end,
        status::look(&running.members, running.control.page, Vec::new()),
    )
    .await;
    match status {
        Ok(status) => {
            parts
                .findings
                .extend(status.findings.findings.iter().cloned());
            if let Ok(text) = output::json(&status) {
                parts.add("status.json", text);
            }
        }
        Err(_) => parts
            .missing
            .push(format!("status.json: not within {within:?}")),
    }
    match tokio::time::timeout_at(end, scrape(&targets(running), LIMIT)).await {
        Ok(scrape) => {
            if let Ok(text) = output::json(&scrape.graph()) {
                parts.add("graph.json", text);
            }
        }
        Err(_) => parts
            .missing
            .push(format!("graph.json: not within {within:?}")),
    }
    parts.files.sort();
}

impl Parts {
    /// One more.
    pub fn add(&mut self, name: &str, text: String) {
        self.files.push((name.to_owned(), text));
    }
}

/// Pages of programs: name in the bundle, address, path.
fn pages(running: &Running) -> Vec<(String, SocketAddr, String)> {
    let mut pages = Vec::new();
    for member in &running.members {
        let list: &[(&str, &str)] = match member.kind {
            Kind::Sidecar => &[
                ("server_info.json", "/server_info"),
                ("config_dump.json", "/config_dump?include_eds"),
                ("clusters.txt", "/clusters"),
                ("listeners.txt", "/listeners"),
                ("certs.json", "/certs"),
                ("stats.txt", "/stats"),
                ("init_dump.json", "/init_dump"),
                ("memory.json", "/memory"),
            ],
            // Entities hold keys; what the node is and how it does is enough.
            Kind::Gateway => &[("node.json", "/"), ("status.json", "/status")],
            Kind::Shipper => &[("status.json", "/status")],
            Kind::Service | Kind::Broker => &[],
        };
        if let Some(admin) = member.admin {
            let folder = folder(member);
            pages.extend(
                list.iter()
                    .map(|(name, path)| (format!("{folder}/{name}"), admin, (*path).to_owned())),
            );
        }
        if let (Kind::Gateway | Kind::Shipper, Some(metrics)) = (member.kind, member.metrics) {
            pages.push((
                format!("{}/metrics.txt", folder(member)),
                metrics,
                "/metrics".to_owned(),
            ));
        }
    }
    if let Some(page) = running.control.page {
        for (name, path) in [
            ("control/proxies.json", "/proxies"),
            ("control/state.json", "/state"),
            ("control/metrics.txt", "/metrics"),
        ] {
            pages.push((name.to_owned(), page, path.to_owned()));
        }
    }
    pages
}

/// The ends of a program's files.
fn logs(parts: &mut Parts, member: &Member) {
    for (what, path) in &member.files {
        let name = format!("{}/{what}.log", folder(member));
        match tail(path) {
            Ok(text) => parts.add(&name, text),
            Err(error) => parts
                .missing
                .push(format!("{name}: {}: {error}", path.display())),
        }
    }
}

fn folder(member: &Member) -> String {
    format!("programs/{}-{}", member.name, member.kind.name())
}

/// The configuration as it is written, and what `lint` says of it.
fn configuration(parts: &mut Parts, folder: &Path) {
    match lint::files::gather(&[folder.to_owned()]) {
        Ok(files) => {
            for (path, text) in files.istio.iter().chain(&files.kong).chain(&files.topics) {
                let name = path.strip_prefix(folder).unwrap_or(path);
                parts.add(&format!("folder/{}", name.display()), text.clone());
            }
            let findings = lint::look(files, None);
            if let Ok(text) = output::json(&findings) {
                parts.add("lint.json", text);
            }
            parts.findings.extend(findings.findings);
        }
        Err(finding) => parts.missing.push(finding.to_string()),
    }
}

fn machine(parts: &mut Parts) {
    for (name, path) in [
        ("machine/kernel.txt", "/proc/version"),
        ("machine/memory.txt", "/proc/meminfo"),
        ("machine/load.txt", "/proc/loadavg"),
        ("machine/limits.txt", "/proc/self/limits"),
        ("machine/sockets.txt", "/proc/net/sockstat"),
    ] {
        match std::fs::read_to_string(path) {
            Ok(text) => parts.add(name, text),
            Err(error) => parts.missing.push(format!("{name}: {error}")),
        }
    }
}

/// The last 256 KiB, from the start of a line.
fn tail(path: &PathBuf) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LONGEST_LOG)))?;
    let mut bytes = Vec::new();
    file.take(LONGEST_LOG).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(if length > LONGEST_LOG {
        text.split_once('\n')
            .map_or("", |(_, rest)| rest)
            .to_owned()
    } else {
        text.into_owned()
    })
}

/// How long one answer may take.
const LIMIT: Duration = Duration::from_secs(5);
const LONGEST_LOG: u64 = 256 << 10;
