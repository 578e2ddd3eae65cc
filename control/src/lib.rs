//! `carbyne`, the tool: one file a verb.
//!
//! | room | what lives there |
//! |---|---|
//! | [`up`] | `carbyne up`: control plane, sample services and sidecars on this machine, from one folder of Istio YAML |
//! | [`dashboards`] | `carbyne dashboards`: Grafana's dashboards out of one table of metrics |
//! | [`sample_service`] | hidden verb: the small service that `up` starts |
//! | [`tethered`] | hidden verb: a program that cannot outlive the process that started it |
//! | [`broker`] | hidden verb: the Kafka node of `up --with-kafka` |
//! | [`status`] | `carbyne status`: what runs, in which version, in step or not |
//! | [`proxy`] | `carbyne proxy`: what one proxy was told, and what it would do with a request |
//! | [`verify`] | `carbyne verify`: real requests, and the answers that must come |
//! | [`traces`] | spans that the platform's sidecars send |
//! | [`lint`] | `carbyne lint`: what is wrong in configuration before anything runs it |
//! | [`topics`] | `carbyne topics`: the topics of a file, and a cluster that is made so |
//! | [`events`] | `carbyne events`: what spools and topics hold, and whether all of it is there; the shipper |
//! | [`graph`] | `carbyne graph`: who calls whom, how well, and whether by mutual TLS |
//! | [`doctor`] | `carbyne doctor`: everything that somebody needs who was not there, without secrets |
//! | [`explain`] | `carbyne explain`: what a code means |
//! | [`completions`] | `carbyne completions`: for bash, zsh and fish |
//! | [`output`] | what every verb hands back: text or JSON, findings with stable codes, exit codes |
//! | [`running`] | `running.json`: what runs, for every verb that looks at it |
//! | [`terminal`] | what is printed: notes, errors with hints, colours only where somebody looks |
//! | [`admin`] | what a proxy's admin port says |
//! | [`fetch`] | one HTTP request |
//! | [`duration`], [`moment`] | times as people and programs write them |
//! | [`runtime`] | one thread that does what a verb waits for |

pub mod admin;
pub mod broker;
pub mod completions;
pub mod dashboards;
pub mod doctor;
pub mod duration;
pub mod events;
pub mod explain;
pub mod fetch;
pub mod graph;
pub mod lint;
pub mod moment;
pub mod output;
pub mod proxy;
pub mod running;
pub mod runtime;
pub mod sample_service;
pub mod status;
pub mod terminal;
pub mod tethered;
pub mod topics;
pub mod traces;
pub mod up;
pub mod verify;

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand};

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "carbyne",
    version,
    about = "Runs and looks after the Carbyne data plane."
)]
#[command(
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Arguments {
    /// How to say it.
    #[command(flatten)]
    pub output: output::Options,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What `carbyne` can do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run a folder of Istio YAML on this machine: control plane, sample services, sidecars with mTLS
    Up(up::Arguments),
    /// Show what runs: ready, in step with the control plane, certificates' time left, missing sidecars
    Status(status::Arguments),
    /// Show what one proxy was told: listeners, routes, clusters, endpoints, certs, and why a request goes where it goes
    Proxy(proxy::Arguments),
    /// Check with real requests that what runs does what it is for
    Verify(verify::Arguments),
    /// Find fault with Istio YAML, kong.yml and topics.yaml, without a cluster
    Lint(lint::Arguments),
    /// Plan, make and check the topics of the events
    Topics(topics::Arguments),
    /// Follow events, prove that none is missing, look into spools, ship them
    Events(events::Arguments),
    /// Generate, check and preview the Grafana dashboards
    Dashboards(dashboards::Arguments),
    /// Draw who calls whom: rates, failures, p99, mTLS
    Graph(graph::Arguments),
    /// Collect what somebody needs who was not there, without secrets, into one file
    Doctor(doctor::Arguments),
    /// Say what a code such as CTL-0101 means, and what to do about it
    Explain(explain::Arguments),
    /// Print a script that completes command lines
    Completions(completions::Arguments),
    /// The service that `up` starts behind each sidecar
    #[command(hide = true)]
    SampleService(sample_service::Arguments),
    /// The Kafka node of `up --with-kafka`
    #[command(hide = true)]
    Broker(broker::Arguments),
    /// Run a program that ends when the process that started it ends
    #[command(hide = true)]
    Tethered(tethered::Arguments),
}

/// Reads the command line (the first argument is the program), does it, and says how it went:
/// see [`output`] for the exit codes.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nobody can be told when the terminal itself is gone.
            error.print().ok();
            // clap would say 2, which means differences here.
            return ExitCode::from(u8::from(error.exit_code() != 0));
        }
    };
    let output = arguments.output;
    output.apply();
    match arguments.verb {
        Verb::Up(arguments) => up::main(&arguments),
        Verb::Status(arguments) => output.end(status::run(&arguments, &output)),
        Verb::Proxy(arguments) => output.end(proxy::run(&arguments, &output)),
        Verb::Verify(arguments) => output.end(verify::run(&arguments, &output)),
        Verb::Lint(arguments) => output.end(lint::run(&arguments, &output)),
        Verb::Events(arguments) => output.end(events::run(&arguments, &output)),
        Verb::Topics(arguments) => output.end(topics::run(&arguments, &output)),
        Verb::Dashboards(arguments) => output.end(dashboards::run(&arguments, &output)),
        Verb::Graph(arguments) => output.end(graph::run(&arguments, &output)),
        Verb::Doctor(arguments) => output.end(doctor::run(&arguments, &output)),
        Verb::Explain(arguments) => output.end(explain::run(&arguments, &output)),
        Verb::Completions(arguments) => output.end(completions::run(&arguments)),
        Verb::SampleService(arguments) => sample_service::main(&arguments),
        Verb::Broker(arguments) => broker::main(&arguments),
        Verb::Tethered(arguments) => tethered::main(&arguments),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn help_shows_the_verbs_that_people_use() {
        let help = Arguments::command().render_long_help().to_string();
        assert!(help.contains("  up "), "{help}");
        assert!(
            !["sample-service", "tethered", "  broker"]
                .iter()
                .any(|hidden| help.contains(hidden)),
            "{help}"
        );
    }

    #[test]
    fn up_reads_its_arguments() {
        let line = [
            "carbyne",
            "up",
            "mesh",
            "--proxy",
            "/opt/proxy",
            "--base-dir",
            "/run/x",
            "--wait",
            "3",
        ];
        let Verb::Up(up) = Arguments::try_parse_from(line).unwrap().verb else {
            panic!("another verb");
        };
        assert_eq!(up.folder.to_str(), Some("mesh"));
        assert_eq!(
            up.proxy.as_deref().and_then(std::path::Path::to_str),
            Some("/opt/proxy")
        );
        assert_eq!(
            up.base_dir.as_deref().and_then(std::path::Path::to_str),
            Some("/run/x")
        );
        assert_eq!(up.wait, Some(3));
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            &["carbyne"][..],
            &["carbyne", "down"],
            &["carbyne", "up", "a", "b"],
            &["carbyne", "up", "--wait", "soon"],
            &["carbyne", "up", "--with-kafka", "--kafka", "broker:9092"],
            &["carbyne", "up", "--kafka-config", "file"],
        ] {
            assert!(Arguments::try_parse_from(line).is_err(), "{line:?}");
        }
    }
}
