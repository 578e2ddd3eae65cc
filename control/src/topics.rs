//! `carbyne topics`: the topics of a file, and a cluster that is made so.
//!
//! | file | what it does |
//! |---|---|
//! | [`access`] | which file, which cluster, as whom |
//! | [`plan`] | `plan`: what `apply` would do |
//! | [`apply`] | `apply`: does it, after a question |
//! | [`check`] | `check`: whether a cluster is as declared, and well |
//! | [`describe`] | `describe`: what a cluster has |
//! | `show` | plans in words |

pub mod access;
pub mod apply;
pub mod check;
pub mod describe;
pub mod plan;
mod show;

use crate::output::{Options, Verdict};

/// Arguments of `carbyne topics`.
#[derive(Clone, Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Arguments {
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

/// What can be done with topics.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Verb {
    /// Show what `apply` would change; nothing is changed (exit code 2: something would)
    Plan(plan::Arguments),
    /// Make the cluster as the file declares
    Apply(apply::Arguments),
    /// Say whether the cluster is as declared, and whether its topics are well (exit code 2: it differs)
    Check(check::Arguments),
    /// Show the topics that a cluster has
    Describe(describe::Arguments),
}

/// Does one of them.
///
/// # Errors
/// When the file or the cluster cannot be read.
pub fn run(arguments: &Arguments, options: &Options) -> Verdict {
    let done = match &arguments.verb {
        Verb::Plan(arguments) => plan::run(arguments, options),
        Verb::Apply(arguments) => apply::run(arguments, options),
        Verb::Check(arguments) => check::run(arguments, options),
        Verb::Describe(arguments) => describe::run(arguments, options),
    };
    done.or_else(|stop| stop.end(options))
}
