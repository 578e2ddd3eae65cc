//! The program's verbs, as `kong`'s.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::conf::Conf;
use crate::declarative::{Document, Place};
use crate::error::KONG_VERSION;

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
        ["config", "parse", file] => parse(Path::new(file)),
        ["start", rest @ ..] => start(rest),
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
    Conf::load(file.as_deref(), environment).map_err(|error| error.to_string())
}

fn check(arguments: &[&str]) -> Done {
    let (_, notes) = conf(arguments)?;
    for note in notes {
        say(&note);
    }
    say("configuration is valid");
    Ok(())
}

fn parse(path: &Path) -> Done {
    let document = read(path)?;
    document
        .flatten()
        .map_err(|error| explained(path, &error))?;
    say("parse successful");
    Ok(())
}

fn read(path: &Path) -> Result<Document, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let name = path.file_name().and_then(|name| name.to_str());
    Document::read(&text, name).map_err(|error| explained(path, &error))
}

/// Every error of a file, with its line and column.
pub(crate) fn explained(path: &Path, error: &crate::error::Error) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let places = error
        .fields
        .as_ref()
        .map(|fields| Place::find(&text, fields))
        .unwrap_or_default();
    let lines: Vec<_> = places
        .iter()
        .map(|place| format!("{}:{place}", path.display()))
        .collect();
    format!(
        "error parsing declarative config file {}:\n{}",
        path.display(),
        lines.join("\n")
    )
}

fn start(arguments: &[&str]) -> Done {
    let (conf, notes) = conf(arguments)?;
    let level = match conf.get("log_level") {
        Some("debug") => "debug",
        Some("warn") => "warn",
        Some("error" | "crit" | "alert" | "emerg") => "error",
        _ => "info",
    };
    tracing_subscriber::fmt()
        .with_env_filter(level)
        .with_writer(std::io::stderr)
        .init();
    for note in notes {
        tracing::warn!("{note}");
    }
    crate::server::run(conf).map_err(|error| error.to_string())
}
