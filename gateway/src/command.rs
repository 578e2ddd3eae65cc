//! The program's verbs, as `kong`'s.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::conf::Conf;
use crate::error::KONG_VERSION;
use crate::schema::library;

mod config;
mod serve;
mod start;

/// Runs the program with its arguments.
pub fn run(arguments: &[String]) -> ExitCode {
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["version" | "--version"] => {
            say(&format!(
                "carbyne-gateway {} (Kong {KONG_VERSION})",
                env!("CARGO_PKG_VERSION")
            ));
            Ok(())
        }
        ["check", rest @ ..] => check(rest),
        ["config", "parse", file] => config::parse(Path::new(file)),
        ["start", rest @ ..] => start::start(rest),
        [] | ["help" | "--help" | "-h", ..] => {
            say(USAGE);
            Ok(())
        }
        other => Err(format!(
            "there is no command `{}`\n\n{USAGE}",
            other.join(" ")
        )),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            drop(writeln!(std::io::stderr(), "Error: {why}"));
            ExitCode::FAILURE
        }
    }
}

const USAGE: &str = "\
Usage: carbyne-gateway COMMAND

  start [-c FILE]      serve the proxy and the Admin API
  check [-c FILE]      check kong.conf and the KONG_* variables
  config parse FILE    check a declarative configuration
  version              print the version

Without -c, /etc/kong/kong.conf and /etc/kong.conf are looked for.";

type Done = Result<(), String>;

fn say(text: &str) {
    // A closed pipe is nobody who listens.
    drop(writeln!(std::io::stdout(), "{text}"));
}

fn conf(arguments: &[&str]) -> Result<(Conf, Vec<String>), String> {
    let file = match arguments {
        [] => None,
        ["-c" | "--conf", file] | [file] if !file.starts_with('-') => Some(PathBuf::from(file)),
        other => return Err(format!("unknown arguments: {}", other.join(" "))),
    };
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let (conf, notes) =
        Conf::load(file.as_deref(), environment).map_err(|error| error.to_string())?;
    // Nothing has asked for a schema yet.
    library::choose(conf.router().flavor);
    Ok((conf, notes))
}

fn check(arguments: &[&str]) -> Done {
    let (_, notes) = conf(arguments)?;
    for note in notes {
        say(&note);
    }
    say("configuration is valid");
    Ok(())
}
