//! The program's verbs, as `kong`'s: with its arguments, its words and its exit codes.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::conf::{Conf, dereference};
use crate::error::KONG_VERSION;
use crate::schema::library;

mod config;
mod lifecycle;
mod migrations;
mod prefix;
mod serve;
mod start;

/// Runs the program with its arguments, the first of which is its own name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let name = Name::of(arguments.first().map(OsString::as_os_str));
    let command = Arguments::command()
        .name(name.as_str())
        .bin_name(name.as_str());
    let parsed = command
        .try_get_matches_from(arguments)
        .and_then(|matches| Arguments::from_arg_matches(&matches));
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help that was asked for is no error; all else is Kong's exit code, not clap's.
            let asked = !error.use_stderr();
            drop(error.print());
            return if asked {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            };
        }
    };
    match parsed.run(name) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(why) = failure.why {
                drop(writeln!(std::io::stderr(), "Error: {why}"));
            }
            ExitCode::from(failure.code)
        }
    }
}

/// What the program was called as.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Name {
    Carbyne,
    Kong,
}

impl Name {
    fn of(program: Option<&std::ffi::OsStr>) -> Self {
        match program.and_then(|program| Path::new(program).file_name()) {
            Some(name) if name == "kong" => Self::Kong,
            _ => Self::Carbyne,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Carbyne => "carbyne-gateway",
            Self::Kong => "kong",
        }
    }
}

/// A gateway that takes Kong's place.
#[derive(Debug, Parser)]
#[command(disable_version_flag = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    /// Say more
    #[arg(long = "v", global = true)]
    verbose: bool,
    /// Say every key in effect
    #[arg(long = "vv", global = true)]
    debug: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Check a configuration file
    Check {
        #[arg(value_name = "CONF")]
        file: Option<PathBuf>,
        #[arg(short, long, value_name = "CONF", conflicts_with = "file")]
        conf: Option<PathBuf>,
    },
    /// Use declarative configuration files
    Config {
        #[command(subcommand)]
        verb: config::Verb,
        #[command(flatten)]
        place: Place,
    },
    /// Prepare the prefix and serve in the foreground, as Kong's image does
    DockerStart(start::Arguments),
    /// Check whether a node runs
    Health(lifecycle::Arguments),
    /// Manage database migrations
    Migrations(migrations::Arguments),
    /// Prepare the prefix
    Prepare(start::Arguments),
    /// Stop a node when its requests are done
    Quit(lifecycle::Quit),
    /// Read the configuration again
    Reload(start::Arguments),
    /// Stop a node and start it again
    Restart(start::Arguments),
    /// Start a node
    Start(start::Arguments),
    /// Stop a node
    Stop(lifecycle::Arguments),
    /// Look at vaults
    Vault {
        #[command(subcommand)]
        verb: VaultVerb,
        #[command(flatten)]
        place: Place,
    },
    /// Print the version
    #[command(alias = "--version")]
    Version {
        /// Print the versions of what it is made of
        #[arg(short, long)]
        all: bool,
    },
}

#[derive(Debug, Subcommand)]
enum VaultVerb {
    /// Print what a reference stands for
    Get { reference: String },
}

/// Which node is meant.
#[derive(Clone, Debug, Default, clap::Args)]
struct Place {
    /// Configuration file
    #[arg(short, long, value_name = "FILE", global = true)]
    conf: Option<PathBuf>,
    /// In place of the configured prefix
    #[arg(short, long, value_name = "FOLDER", global = true)]
    prefix: Option<String>,
}

impl Place {
    /// The configuration, and what is to be said of it.
    fn conf(&self) -> Result<(Conf, Vec<String>), Failure> {
        let told = Conf::load_at(self.conf.as_deref(), environment(), self.prefix.as_deref())?;
        // Nothing has asked for a schema yet.
        library::choose(told.0.router().flavor);
        Ok(told)
    }
}

fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

impl Arguments {
    fn run(self, name: Name) -> Done {
        let debug = self.debug;
        match self.verb {
            Verb::Check { file, conf } => check(file.or(conf).as_deref(), debug),
            Verb::Config { verb, place } => config::run(verb, &place),
            Verb::DockerStart(arguments) => start::docker_start(&arguments),
            Verb::Health(arguments) => lifecycle::health(&arguments),
            Verb::Migrations(arguments) => migrations::run(&arguments),
            Verb::Prepare(arguments) => start::prepare(&arguments),
            Verb::Quit(arguments) => lifecycle::quit(&arguments),
            Verb::Reload(arguments) => start::reload(&arguments),
            Verb::Restart(arguments) => start::restart(&arguments, name),
            Verb::Start(arguments) => start::start(&arguments, name, debug),
            Verb::Stop(arguments) => lifecycle::stop(&arguments),
            Verb::Vault {
                verb: VaultVerb::Get { reference },
                ..
            } => vault_get(&reference),
            Verb::Version { all } => {
                version(all);
                Ok(())
            }
        }
    }
}

/// Why a verb failed, and the exit code that says so.
#[derive(Debug)]
struct Failure {
    why: Option<String>,
    code: u8,
}

impl Failure {
    fn code(code: u8) -> Self {
        Self { why: None, code }
    }
}

impl<T: std::fmt::Display> From<T> for Failure {
    fn from(why: T) -> Self {
        Self {
            why: Some(why.to_string()),
            code: 1,
        }
    }
}

type Done = Result<(), Failure>;

fn say(text: &str) {
    // A closed pipe is nobody who listens.
    drop(writeln!(std::io::stdout(), "{text}"));
}

fn warn(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}

/// Every key in effect, secrets blotted out.
fn say_conf(conf: &Conf) {
    for (key, value) in conf.print() {
        let text = value
            .as_str()
            .map_or_else(|| value.to_json(), ToOwned::to_owned);
        warn(&format!("[debug] {key} = {text}"));
    }
}

fn check(file: Option<&Path>, debug: bool) -> Done {
    let file = file.unwrap_or_else(|| Path::new("/etc/kong/kong.conf"));
    let (conf, notes) = Conf::load(Some(file), environment())?;
    if debug {
        say_conf(&conf);
    }
    for note in notes {
        warn(&format!("[warn] {note}"));
    }
    say(&format!("configuration at {} is valid", file.display()));
    Ok(())
}

fn vault_get(reference: &str) -> Done {
    let whole = if reference.starts_with('{') {
        reference.to_owned()
    } else {
        format!("{{vault://{reference}}}")
    };
    let variables = environment().collect();
    let found = dereference(&whole, &variables)
        .ok_or_else(|| Failure::from(format!("{reference} is no reference")))?;
    say(&found?);
    Ok(())
}

fn version(all: bool) {
    if all {
        say(&format!(
            "Kong: {KONG_VERSION}\ncarbyne-gateway: {}",
            env!("CARGO_PKG_VERSION")
        ));
    } else {
        say(KONG_VERSION);
    }
}
