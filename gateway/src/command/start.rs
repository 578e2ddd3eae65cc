//! `start`, `restart`, `prepare`, `reload` and the image's `docker-start`.

use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use super::lifecycle::gone_within;
use super::prefix::{Prefix, already_running};
use super::{Done, Failure, Name, Place, environment, say, say_conf, serve};
use crate::conf::Conf;
use crate::log;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Accepted, without effect: there is no nginx
    #[arg(long, value_name = "TEMPLATE")]
    nginx_conf: Option<String>,
    /// Accepted, without effect: there is no nginx
    #[arg(long, value_name = "FLAGS")]
    nginx_conf_flags: Option<String>,
    /// Accepted: there are no migrations
    #[arg(long)]
    run_migrations: bool,
    /// Accepted, without effect
    #[arg(long, value_name = "SECONDS")]
    db_timeout: Option<f64>,
    /// Accepted, without effect
    #[arg(long, value_name = "SECONDS")]
    lock_timeout: Option<f64>,
    /// What Kong's image hands on to `prepare`
    #[arg(hide = true)]
    rest: Vec<String>,
}

impl Arguments {
    /// What was asked for and changes nothing.
    fn notes(&self) -> Vec<String> {
        let one = |name: &str, given: bool| {
            given.then(|| format!("--{name} is known but has no effect here"))
        };
        [
            one("nginx-conf", self.nginx_conf.is_some()),
            one("nginx-conf-flags", self.nginx_conf_flags.is_some()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn load(&self) -> Result<(Conf, Vec<String>), Failure> {
        let (conf, mut notes) = self.place.conf()?;
        notes.extend(self.notes());
        Ok((conf, notes))
    }
}

pub(super) fn start(arguments: &Arguments, name: Name, debug: bool) -> Done {
    let (conf, notes) = arguments.load()?;
    if debug {
        say_conf(&conf);
    }
    // Kong's own default is to leave a node in the background. Under its own name the program
    // stays where it is seen, unless it was told to go there.
    let told = conf.is_told("nginx_daemon") || conf.is_told("nginx_main_daemon");
    if conf.is_daemon() && (name == Name::Kong || told) {
        return background(arguments, &conf);
    }
    foreground(conf, &notes)
}

pub(super) fn docker_start(arguments: &Arguments) -> Done {
    let (conf, notes) = arguments.load()?;
    foreground(conf, &notes)
}

pub(super) fn prepare(arguments: &Arguments) -> Done {
    let (conf, _) = arguments.load()?;
    Prefix::of(&conf).prepare(&conf)
}

pub(super) fn restart(arguments: &Arguments, name: Name) -> Done {
    let prefix = match &arguments.place.prefix {
        Some(folder) => Prefix::at(folder),
        None => Prefix::of(&arguments.load()?.0),
    };
    // One that does not run is as good as stopped.
    drop(prefix.signal(Signal::TERM));
    gone_within(&prefix, Duration::from_secs(5));
    start(arguments, name, false)
}

/// Checks the configuration, leaves it where the node looks, and tells the node.
pub(super) fn reload(arguments: &Arguments) -> Done {
    let (mut conf, _) = arguments.load()?;
    let prefix = Prefix::of(&conf);
    if !prefix.exists() {
        return Err(format!("no such prefix: {}", prefix.show()).into());
    }
    if arguments.place.conf.is_none() && prefix.environment().is_file() {
        let file = prefix.environment();
        let folder = arguments.place.prefix.as_deref();
        conf = Conf::load_at(Some(&file), environment(), folder)?.0;
    }
    if prefix.running().is_none() {
        return Err(format!("nginx not running in prefix: {}", prefix.show()).into());
    }
    prefix.prepare(&conf)?;
    prefix.signal(Signal::HUP)?;
    say("Kong reloaded");
    Ok(())
}

/// Serves until told to end.
fn foreground(conf: Conf, notes: &[String]) -> Done {
    let prefix = Prefix::of(&conf);
    if prefix.running().is_some() {
        return Err(already_running(&prefix));
    }
    prefix.prepare(&conf)?;
    let mut running = prefix.take()?;
    log::begin(conf.get("log_level").unwrap_or("notice"));
    for note in notes {
        tracing::warn!("{note}");
    }
    let started = || Ok(running.announce()?);
    serve::run(conf, &prefix.environment(), started)
}

/// Starts a process that serves, and returns when it does.
fn background(arguments: &Arguments, conf: &Conf) -> Done {
    let prefix = Prefix::of(conf);
    if prefix.running().is_some() {
        return Err(already_running(&prefix));
    }
    prefix.prepare(conf)?;
    let path = prefix.log();
    let named = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut log = OpenOptions::new()
        .append(true)
        .read(true)
        .create(true)
        .open(&path)
        .map_err(named)?;
    let before = log.seek(SeekFrom::End(0)).map_err(named)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("start");
    if let Some(file) = &arguments.place.conf {
        command.arg("--conf").arg(file);
    }
    if let Some(folder) = &arguments.place.prefix {
        command.arg("--prefix").arg(folder);
    }
    // A group of its own: what ends the terminal's does not end the node.
    let mut child = command
        .env("KONG_NGINX_DAEMON", "off")
        .env("KONG_NGINX_MAIN_DAEMON", "off")
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(named)?)
        .stderr(log.try_clone().map_err(named)?)
        .process_group(0)
        .spawn()?;
    loop {
        if let Some(pid) = prefix.running()
            && u32::try_from(pid.as_raw_nonzero().get()).ok() == Some(child.id())
        {
            say("Kong started");
            return Ok(());
        }
        if child.try_wait()?.is_some() {
            return Err(last_words(&path, before).into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a process that did not start said of it.
fn last_words(log: &Path, from: u64) -> String {
    let mut text = String::new();
    let read = std::fs::File::open(log).and_then(|mut file| {
        file.seek(SeekFrom::Start(from))?;
        file.read_to_string(&mut text)
    });
    let error = text.rsplit_once("Error: ").map(|(_, error)| error.trim());
    match (read, error) {
        (Ok(_), Some(error)) => error.to_owned(),
        _ => format!("the node did not start: see {}", log.display()),
    }
}
