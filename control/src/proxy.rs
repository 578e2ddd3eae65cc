//! `carbyne proxy NAME …`: what one proxy has been told, and what it would do with a request.
//!
//! | file | what it does |
//! |---|---|
//! | [`tables`] | listeners, routes, clusters, endpoints, certificates |
//! | [`why`] | the way of one request through the configuration |

pub mod tables;
pub mod why;

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use crate::{
    admin::{Dump, Proxy},
    output::{Options, Outcome, Verdict},
    runtime,
};

/// Arguments of `carbyne proxy`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Workload of the sidecar, or the address of a proxy's admin port
    pub name: String,
    /// Runtime directory of `carbyne up` [default: the one that runs]
    #[arg(long, value_name = "DIR")]
    pub run: Option<PathBuf>,
    /// What to show
    #[command(subcommand)]
    pub view: View,
}

/// What to show of a proxy.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum View {
    /// Where it listens, and what for
    Listeners(Filter),
    /// Which requests go where
    Routes(Filter),
    /// Whom it can call, and how
    Clusters(Filter),
    /// Addresses behind clusters: health, connections, requests
    Endpoints(Filter),
    /// Its certificates: who it is, until when
    Certs(Filter),
    /// Walk a request through listener, filters, route, cluster and endpoints, and say where it ends
    Why(why::Arguments),
}

/// Which rows to show.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Filter {
    /// Only rows that contain this
    pub text: Option<String>,
}

/// Shows it.
///
/// # Errors
/// When the proxy is not there.
pub fn run(arguments: &Arguments, options: &Options) -> Verdict {
    let (proxy, running) = Proxy::find(&arguments.name, arguments.run.as_deref())?;
    if let View::Why(ask) = &arguments.view {
        let story = runtime::run(why::story(&proxy, running.as_ref(), ask))??;
        options.show(&story)?;
        return Ok(story.outcome());
    }
    let (filter, table) = match &arguments.view {
        View::Certs(filter) => {
            let page = runtime::run(proxy.page("/certs", LIMIT))??;
            (filter, tables::certificates(&page, SystemTime::now()))
        }
        View::Endpoints(filter) => {
            let page = runtime::run(proxy.page("/clusters?format=json", LIMIT))??;
            (filter, tables::endpoints(&page))
        }
        View::Listeners(filter) | View::Routes(filter) | View::Clusters(filter) => {
            let page = runtime::run(proxy.page("/config_dump?include_eds", LIMIT))??;
            let dump = Dump::read(&page);
            let table = match &arguments.view {
                View::Listeners(_) => tables::listeners(&dump),
                View::Routes(_) => tables::routes(&dump),
                _ => tables::clusters(&dump),
            };
            (filter, table)
        }
        View::Why(_) => return Ok(Outcome::Well),
    };
    options.show(&table.only(filter.text.as_deref()))?;
    Ok(Outcome::Well)
}

/// How long one answer may take.
const LIMIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
