//! `carbyne verify`: does a running platform do what it is for? Real requests, each with an answer that must come: keys refused and
//! accepted, mutual TLS between sidecars, what a policy denies denied, plaintext refused, metrics answered, events found, spans received.
//! Every check that fails says what to do.
//!
//! | file | what it does |
//! |---|---|
//! | [`report`] | checks in categories: √ ‼ × |
//! | [`gateway`] | keys that the folder's kong.yml asks for |
//! | [`mesh`] | calls between workloads, by the folder's policies |
//! | [`evidence`] | what must be found afterwards: metrics, events |
//! | [`traces`] | a request whose spans must come from every sidecar that it passed |

pub mod evidence;
pub mod gateway;
pub mod mesh;
pub mod report;
pub mod traces;

use std::{
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use carbyne_mesh::source::read_folder;
use http::{Request, Response};
use http_body_util::Empty;

use self::report::{Category, Check, Report};
use crate::{
    duration,
    fetch::{FetchError, fetch},
    graph::collect::{scrape, targets},
    output::{Options, Severity, Verdict},
    running::{self, Running},
    runtime, status,
    terminal::Progress,
    up::workloads,
};

/// Arguments of `carbyne verify`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Runtime directory of `carbyne up` [default: the one that runs]
    #[arg(long, value_name = "DIR")]
    pub run: Option<PathBuf>,
    /// How long a check may wait for what comes with a delay, such as an event
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration::parse)]
    pub wait: Duration,
}

/// Checks what runs.
///
/// # Errors
/// When nothing runs.
pub fn run(arguments: &Arguments, options: &Options) -> Verdict {
    let (_, running) = running::find(arguments.run.as_deref())?;
    let report = runtime::run(check(&running, arguments.wait))?;
    options.show(&report)?;
    Ok(report.outcome())
}

/// All checks, in an order in which the later ones find what the earlier ones left.
pub async fn check(running: &Running, wait: Duration) -> Report {
    let mut progress = Progress::new();
    let mut say = |what: &str| progress.wait("checks", what);
    let mut categories = Vec::new();
    let mut spans = None;
    say("programs");
    categories.push(programs(running).await);
    let sidecars = targets(running);
    let began = SystemTime::now();
    let before = scrape(&sidecars, LIMIT).await;
    say("keys at the gateway");
    let (keys, accepted) = gateway::check(running).await;
    categories.extend(keys);
    say("calls between workloads");
    match read_folder(&running.folder) {
        Ok(snapshot) => {
            let found = workloads::find(&snapshot, gateway::member(running).is_some()).workloads;
            categories.push(mesh::check(&snapshot, &found).await);
            say("traces");
            let here = traces::Here {
                running,
                snapshot: &snapshot,
                workloads: &found,
            };
            spans = Some(here.check(accepted.as_ref(), wait).await);
            let after = scrape(&sidecars, LIMIT).await;
            categories.push(mesh::mutual_tls(&after.since(&before)));
        }
        Err(errors) => {
            let mut category = Category::new("calls between workloads");
            let first = errors
                .0
                .first()
                .map(ToString::to_string)
                .unwrap_or_default();
            category.checks.push(Check::failed(
                "the folder's configuration can be read",
                first,
                "`carbyne lint` names every fault; what was live before stays live",
            ));
            categories.push(category);
        }
    }
    categories.extend(spans);
    say("metrics");
    categories.push(evidence::metrics(running).await);
    say("events");
    categories.push(evidence::events(running, accepted.as_ref(), began, wait).await);
    progress.clear();
    Report::from(categories)
}

/// Every program is alive and ready; what is not is named.
async fn programs(running: &Running) -> Category {
    let status = status::look(&running.members, running.control.page, Vec::new()).await;
    let mut category = Category::new("programs");
    for program in &status.programs {
        let title = program.title();
        let finding = status
            .findings
            .findings
            .iter()
            .find(|finding| finding.place.object == title);
        category.checks.push(match finding {
            None => Check::passed(format!("{title} runs")),
            Some(finding) if finding.severity == Severity::Error => Check::failed(
                format!("{title} runs"),
                finding.message.clone(),
                finding.fix.clone(),
            ),
            Some(finding) => Check::warned(
                format!("{title} runs"),
                finding.message.clone(),
                finding.fix.clone(),
            ),
        });
    }
    category
}

/// One request with a method, a host and more fields.
async fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
) -> Result<Response<Bytes>, FetchError> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request = request
        .body(Empty::new())
        .map_err(|error| FetchError::Url {
            url: format!("{address}{path}"),
            message: error.to_string(),
        })?;
    fetch(address, request, LIMIT).await
}

/// How long one answer may take.
const LIMIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
