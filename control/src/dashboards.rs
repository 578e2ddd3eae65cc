//! `carbyne dashboards`: three Grafana dashboards out of one table of metrics.
//!
//! | file | what it does |
//! |---|---|
//! | [`metrics`] | the table of every metric: `deploy/monitoring/metrics.yaml` |
//! | [`panels`] | what the dashboards show: `deploy/monitoring/panels/*.yaml`, queries in short |
//! | [`promql`] | reads queries, and completes the short ones |
//! | [`generate`] | panels → Grafana's JSON |
//! | [`grafana`] | Grafana's JSON, as far as we write it |
//! | [`lint`] | what a dashboard and its queries must be, without a Grafana |
//! | [`preview`] | asks a Prometheus and draws the panels |
//! | [`plot`] | draws series as SVG |

pub mod generate;
pub mod grafana;
pub mod lint;
pub mod metrics;
pub mod panels;
pub mod plot;
pub mod preview;
pub mod promql;

use std::{
    fmt, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::Serialize;

use self::{grafana::Dashboard, metrics::Table};
use crate::output::{Finding, Findings, Options, Outcome, Text, Verdict, code};

/// Arguments of `carbyne dashboards`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What to do with them.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What can be done with dashboards.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Write the dashboards as Grafana's JSON
    Generate {
        /// Where to
        #[arg(long, value_name = "FOLDER", default_value = FOLDER)]
        to: PathBuf,
        /// Write nothing: exit with 2 if anything there differs
        #[arg(long)]
        check: bool,
    },
    /// Hold dashboards against the rules, without a Grafana or a Prometheus
    Lint {
        /// Files of Grafana's JSON [default: those that are generated]
        files: Vec<PathBuf>,
    },
    /// Ask a Prometheus every query, and draw what it answers as SVG
    Preview(preview::Arguments),
}

/// Does it.
///
/// # Errors
/// When a file or a Prometheus is not there.
pub fn run(arguments: &Arguments, options: &Options) -> Verdict {
    match &arguments.verb {
        Verb::Generate { to, check } => generate_files(to, *check, options),
        Verb::Lint { files } => lint_files(files, options),
        Verb::Preview(arguments) => preview::run(arguments, options),
    }
}

/// The dashboards with the names of their files.
///
/// # Errors
/// When the sources within this program do not fit together, which its tests rule out.
pub fn all() -> Result<Vec<(String, Dashboard)>, Finding> {
    let unmade =
        |error: &dyn fmt::Display| Finding::new(&code::DASHBOARD_UNMADE, error.to_string());
    let table = Table::built_in().map_err(|error| unmade(&error))?;
    let sources = panels::built_in().map_err(|error| unmade(&error))?;
    let made = sources.into_iter().map(|(name, source)| {
        let dashboard = generate::dashboard(&source, &table).map_err(|error| unmade(&error))?;
        Ok((format!("{name}.json"), dashboard))
    });
    made.collect()
}

/// Files that were written.
#[derive(Serialize)]
struct Written {
    files: Vec<PathBuf>,
}

/// Dashboards that were looked at.
#[derive(Serialize)]
struct Looked {
    dashboards: usize,
    panels: usize,
    queries: usize,
    #[serde(flatten)]
    findings: Findings,
}

fn generate_files(to: &Path, check: bool, options: &Options) -> Verdict {
    let mut files = Vec::new();
    let mut differs = Vec::new();
    for (name, dashboard) in all()? {
        let path = to.join(name);
        let text = dashboard.to_text();
        if check {
            if fs::read_to_string(&path).ok().as_deref() != Some(&text) {
                let finding = Finding::new(&code::DASHBOARD_DIFFERS, "it is not as generated");
                differs.push(finding.in_file(&path));
            }
            continue;
        }
        fs::create_dir_all(to)
            .and_then(|()| fs::write(&path, text))
            .map_err(|error| Finding::new(&code::NOT_WRITTEN, error.to_string()).in_file(&path))?;
        files.push(path);
    }
    if check {
        let findings = Findings::from(differs);
        options.show(&findings)?;
        return Ok(findings.outcome());
    }
    options.show(&Written { files })?;
    Ok(Outcome::Well)
}

fn lint_files(files: &[PathBuf], options: &Options) -> Verdict {
    let table = Table::built_in()
        .map_err(|error| Finding::new(&code::DASHBOARD_UNMADE, error.to_string()))?;
    let mut dashboards = Vec::new();
    for path in files {
        let refuse = |error: String| Finding::new(&code::UNREADABLE, error).in_file(path);
        let text = fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
        let dashboard = serde_json::from_str(&text).map_err(|error| refuse(error.to_string()))?;
        dashboards.push((path.clone(), dashboard));
    }
    if files.is_empty() {
        for (name, dashboard) in all()? {
            dashboards.push((PathBuf::from(name), dashboard.to_json()));
        }
    }
    let mut findings = Vec::new();
    let (mut panels, mut queries) = (0, 0);
    for (path, dashboard) in &dashboards {
        let counts = lint::counts(dashboard);
        (panels, queries) = (panels + counts.0, queries + counts.1);
        findings.extend(
            lint::dashboard(dashboard, &table)
                .into_iter()
                .map(|broken| {
                    let message = format!("{} ({})", broken.what, broken.rule);
                    let finding = Finding::new(&code::DASHBOARD_RULE, message);
                    finding.about(broken.place).in_file(path)
                }),
        );
    }
    let looked = Looked {
        dashboards: dashboards.len(),
        panels,
        queries,
        findings: Findings::from(findings),
    };
    options.show(&looked)?;
    Ok(looked.findings.outcome())
}

impl Text for Written {
    fn text(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let mut files = self.files.iter();
        files.try_for_each(|path| writeln!(out, "{}", path.display()))
    }
}

impl Text for Looked {
    fn text(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let Self {
            dashboards,
            panels,
            queries,
            findings,
        } = self;
        findings.text(out)?;
        let broken = findings.findings.len();
        writeln!(
            out,
            "{dashboards} dashboards, {panels} panels, {queries} queries: {broken} findings"
        )
    }
}

/// Where Prometheus is by default.
const PROMETHEUS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9090);
const FOLDER: &str = "deploy/monitoring/dashboards";
