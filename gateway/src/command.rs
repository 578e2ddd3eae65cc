//! The program's verbs, as `kong`'s.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use tokio::net::TcpListener;

use crate::admin::Admin;
use crate::conf::Conf;
use crate::declarative::{Document, Loaded, Place};
use crate::entity::Entities;
use crate::error::KONG_VERSION;
use crate::store::{Embedded, Store};

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

  start [-c FILE]      serve the Admin API (there is no data path yet: nothing is proxied)
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
fn explained(path: &Path, error: &crate::error::Error) -> String {
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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime
        .map_err(|error| error.to_string())?
        .block_on(serve(conf))
}

async fn serve(conf: Conf) -> Done {
    let (store, declarative) = open(&conf).await?;
    let mut listeners = Vec::new();
    for listen in conf.admin_listen().map_err(|error| error.to_string())? {
        if listen.tls {
            tracing::warn!(address = %listen.address, "the Admin API is not served over TLS yet: this address is left out");
            continue;
        }
        let bound = TcpListener::bind(listen.address).await;
        let bound = bound.map_err(|error| format!("admin_listen {}: {error}", listen.address))?;
        let address = bound.local_addr().map_err(|error| error.to_string())?;
        tracing::info!(%address, "the Admin API listens");
        if listen.is_open() {
            tracing::warn!(%address, "everyone who reaches this address can change the whole configuration: the Admin API asks nobody who they are");
        }
        listeners.push(bound);
    }
    tracing::warn!(
        "there is no data path yet: nothing listens on proxy_listen, and no request is proxied"
    );
    let admin = Arc::new(Admin::new(Entities::new(store), declarative, conf));
    let mut servers = tokio::task::JoinSet::new();
    for listener in listeners {
        servers.spawn(Arc::clone(&admin).serve(listener));
    }
    tokio::select! {
        Some(ended) = servers.join_next() => match ended {
            Ok(Err(error)) => Err(format!("the Admin API: {error}")),
            other => Err(format!("the Admin API ended: {other:?}")),
        },
        signal = stopped() => signal,
    }
}

/// Waits until the process is told to end.
async fn stopped() -> Done {
    use tokio::signal::unix::{SignalKind, signal};
    let of = |kind| signal(kind).map_err(|error| error.to_string());
    let (mut interrupt, mut quit) = (of(SignalKind::interrupt())?, of(SignalKind::quit())?);
    let mut terminate = of(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = quit.recv() => {}
        _ = terminate.recv() => {}
    }
    tracing::info!("told to stop");
    Ok(())
}

/// Opens the store that the configuration names.
async fn open(conf: &Conf) -> Result<(Arc<dyn Store>, Option<Loaded>), String> {
    if !conf.is_dbless() {
        let folder = conf.prefix();
        std::fs::create_dir_all(&folder)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        let store =
            Embedded::open(&folder.join("carbyne.redb")).map_err(|error| error.to_string())?;
        return Ok((Arc::new(store), None));
    }
    let loaded = Loaded::default();
    let document = match (
        conf.get("declarative_config"),
        conf.get("declarative_config_string"),
    ) {
        (Some(file), _) => Some((read(Path::new(file))?, Some(file))),
        (None, Some(text)) => Some((
            Document::read(text, None).map_err(|error| error.message)?,
            None,
        )),
        (None, None) => None,
    };
    if let Some((document, file)) = document {
        let done = loaded.load(&document).await;
        done.map_err(|error| {
            file.map_or_else(
                || error.message.clone(),
                |file| explained(Path::new(file), &error),
            )
        })?;
    }
    Ok((loaded.store(), Some(loaded)))
}
