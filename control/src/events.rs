//! `carbyne events`: what spools and topics hold, and whether all of it is there.
//!
//! | file | what it does |
//! |---|---|
//! | [`ship`] | `ship`: spools to brokers, until it is told to stop |
//! | [`shipping`] | how a shipper says that it goes |
//! | [`spool`] | `spool`: what lies in the spools |
//! | [`tail`] | `tail`: events as they come |
//! | [`verify`] | `verify`: the proof that none is missing |

pub mod ship;
pub mod shipping;
pub mod spool;
pub mod tail;
pub mod verify;

use std::path::{Path, PathBuf};

use carbyne_events::spool::{Directory, directories};

use crate::{
    output::{Finding, Options, Verdict, code},
    running,
};

/// Arguments of `carbyne events`.
#[derive(Clone, Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Arguments {
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

/// What can be done with events.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Verb {
    /// Print the events of spools, and those that come
    Tail(tail::Arguments),
    /// Say whether every event that was emitted is in the topics or the spools (exit code 1: some are lost)
    Verify(verify::Arguments),
    /// Show what lies in the spools, and since when
    Spool(spool::Arguments),
    /// Ship spools to Kafka until told to stop
    Ship(ship::Arguments),
}

/// Whose events.
#[derive(Clone, Debug, clap::Args)]
pub struct Folder {
    /// What the processes have as CARBYNE_EVENTS_DIR [default: that of the platform that `carbyne up` runs]
    pub folder: Option<PathBuf>,
}

/// Does one of them.
///
/// # Errors
/// When a folder or a cluster cannot be read.
pub fn run(arguments: &Arguments, options: &Options) -> Verdict {
    match &arguments.verb {
        Verb::Tail(arguments) => tail::run(arguments, options),
        Verb::Verify(arguments) => verify::run(arguments, options),
        Verb::Spool(arguments) => spool::run(arguments, options),
        Verb::Ship(arguments) => ship::run(arguments, options),
    }
}

impl Folder {
    /// The folder that is meant.
    ///
    /// # Errors
    /// When none is named and no platform runs that has one.
    pub fn path(&self, run: Option<&Path>) -> Result<PathBuf, Finding> {
        if let Some(folder) = &self.folder {
            return Ok(folder.clone());
        }
        let (_, running) = running::find(run)?;
        let events = running.events;
        let none = || Finding::new(&code::NO_SPOOL, "the platform that runs keeps no events");
        Ok(events.ok_or_else(none)?.directory)
    }

    /// The spools in it, one at least.
    ///
    /// # Errors
    /// As [`Folder::path`], and when there is none.
    pub fn spools(&self, run: Option<&Path>) -> Result<Vec<Directory>, Finding> {
        let path = self.path(run)?;
        let found = directories(&path).map_err(|error| unreadable(&path, &error))?;
        if found.is_empty() {
            return Err(Finding::new(&code::NO_SPOOL, "holds no process's spool").in_file(&path));
        }
        Ok(found)
    }
}

/// That the heads of so many segments cannot be read, so that so many events are of nobody.
fn damaged_heads(heads: u64, nameless: u64) -> String {
    let of = if heads == 1 { "segment" } else { "segments" };
    match nameless {
        0 => format!("{heads} {of}: the ledger says whose events follow, none is lost by it"),
        _ => format!(
            "{heads} {of}, and the ledger does not say whose events follow: {nameless} are kept, under the node's name `?`"
        ),
    }
}

/// A folder that cannot be read.
fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> Finding {
    Finding::new(&code::NO_SPOOL, error.to_string()).in_file(path)
}
