//! `carbyne graph`: who calls whom, how often, how well, and whether by mutual TLS.
//!
//! | file | what it does |
//! |---|---|
//! | [`model`] | the graph |
//! | [`samples`] | Istio's metrics in Prometheus' text format |
//! | [`build`] | samples become a graph |
//! | [`collect`] | from running sidecars |
//! | [`prometheus`] | from a Prometheus, with Kiali's queries |
//! | `write` | text, Mermaid, Graphviz |
//! | [`svg`], [`layout`] | a picture |

pub mod build;
pub mod collect;
pub mod layout;
pub mod model;
pub mod prometheus;
pub mod samples;
pub mod svg;
mod write;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use self::{
    build::Builder,
    collect::{Target, scrape, targets},
};
pub use self::{model::Graph, svg::svg};
use crate::{
    duration,
    output::{self, Finding, Format, Options, Outcome, Verdict},
    running, runtime,
    terminal::{self, Progress},
};

/// Arguments of `carbyne graph`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Runtime directory of `carbyne up` [default: the one that runs]
    #[arg(long, value_name = "DIR")]
    pub run: Option<PathBuf>,
    /// Sidecars to ask, instead: their admin ports, or the ports for Prometheus
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["run", "prometheus", "file"])]
    pub address: Vec<SocketAddr>,
    /// A Prometheus to ask, instead
    #[arg(long, value_name = "URL", conflicts_with_all = ["run", "file"])]
    pub prometheus: Option<String>,
    /// Saved answers of `/stats/prometheus`, one a sidecar, instead; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "run")]
    pub file: Vec<PathBuf>,
    /// Time to look at, such as 10s or 5m [default: since the sidecars began; of a Prometheus 1m]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub window: Option<Duration>,
    /// Only what begins or ends in this namespace
    #[arg(short, long)]
    pub namespace: Option<String>,
}

/// Draws the graph.
///
/// # Errors
/// When nothing can be asked.
pub fn run(arguments: &Arguments, options: &Options) -> Verdict {
    let mut graph = graph(arguments)?;
    if let Some(namespace) = &arguments.namespace {
        graph = graph.of_namespace(namespace);
    }
    match options.format {
        Format::Mermaid => terminal::print(&graph.mermaid()),
        Format::Dot => terminal::print(&graph.dot()),
        Format::Svg => terminal::print(&svg(&graph)),
        Format::Text | Format::Json | Format::Yaml => options.show(&graph)?,
    }
    Ok(if graph.missing.is_empty() {
        Outcome::Well
    } else {
        Outcome::Differs
    })
}

fn graph(arguments: &Arguments) -> Result<Graph, Finding> {
    if !arguments.file.is_empty() {
        let mut builder = Builder::default();
        for file in &arguments.file {
            builder.add(&samples::parse(&output::read(file)?));
        }
        return Ok(builder.build(None, Vec::new()));
    }
    if let Some(url) = &arguments.prometheus {
        let window = arguments.window.unwrap_or(Duration::from_secs(60));
        return runtime::run(prometheus::graph(url, window, LIMIT))?;
    }
    let targets = if arguments.address.is_empty() {
        let (_, running) = running::find(arguments.run.as_deref())?;
        targets(&running)
    } else {
        let target = |address: &SocketAddr| Target {
            name: String::new(),
            namespace: String::new(),
            app: String::new(),
            version: String::new(),
            address: *address,
        };
        arguments.address.iter().map(target).collect()
    };
    runtime::run(async {
        let first = scrape(&targets, LIMIT).await;
        let Some(window) = arguments.window else {
            return first.graph();
        };
        let mut progress = Progress::new();
        let end = tokio::time::Instant::now() + window;
        while tokio::time::Instant::now() < end {
            let left = end.saturating_duration_since(tokio::time::Instant::now());
            progress.wait(
                "traffic",
                &format!("counting for {} s", window.as_secs_f64()),
            );
            tokio::time::sleep(left.min(Duration::from_secs(1))).await;
        }
        progress.clear();
        scrape(&targets, LIMIT).await.since(&first)
    })
}

/// How long one answer may take.
const LIMIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
