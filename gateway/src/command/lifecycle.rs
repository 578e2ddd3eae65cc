//! `stop`, `quit`, `health`: what is done to a node that runs.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::prefix::Prefix;
use super::{Done, Failure, Place, say};

/// Which node.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The prefix at which the node runs
    #[arg(short, long, value_name = "FOLDER")]
    pub(super) prefix: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Quit {
    #[command(flatten)]
    node: Arguments,
    /// Seconds until it is stopped whatever it does
    #[arg(short, long, value_name = "SECONDS", default_value_t = 10)]
    timeout: u64,
    /// Seconds to wait before
    #[arg(short, long, value_name = "SECONDS", default_value_t = 0)]
    wait: u64,
}

/// How often it is asked whether a process is still there.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

pub(super) fn stop(arguments: &Arguments) -> Done {
    let prefix = existing(arguments)?;
    prefix.signal(Signal::TERM)?;
    say("Kong stopped");
    Ok(())
}

pub(super) fn quit(arguments: &Quit) -> Done {
    let prefix = existing(&arguments.node)?;
    if gone_within(&prefix, Duration::from_secs(arguments.wait)) && arguments.wait > 0 {
        super::warn("Kong stopped while waiting (unexpected)");
        return Ok(());
    }
    prefix.signal(Signal::QUIT)?;
    if gone_within(&prefix, Duration::from_secs(arguments.timeout.max(1))) {
        say("Kong stopped (gracefully)");
        return Ok(());
    }
    prefix.signal(Signal::TERM)?;
    say("Timeout, Kong stopped forcefully");
    Ok(())
}

pub(super) fn health(arguments: &Arguments) -> Done {
    let prefix = existing(arguments)?;
    let not_running = || Failure::from(format!("Kong is not running at {}", prefix.show()));
    if !prefix.environment().is_file() {
        return Err(not_running());
    }
    let is_running = prefix.running().is_some();
    let word = if is_running { "running" } else { "not running" };
    say(&format!("nginx.......{word}\n"));
    if !is_running {
        return Err(not_running());
    }
    say(&format!("Kong is healthy at {}", prefix.show()));
    Ok(())
}

/// Waits for the end of a node.
pub(super) fn gone_within(prefix: &Prefix, time: Duration) -> bool {
    let end = Instant::now() + time;
    loop {
        if prefix.running().is_none() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// The prefix that is meant, which has to be there.
fn existing(arguments: &Arguments) -> Result<Prefix, Failure> {
    // To stop a node, its configuration need not be sound, only to say where it is.
    let prefix = match &arguments.prefix {
        Some(folder) => Prefix::at(folder),
        None => Prefix::of(&Place::default().conf()?.0),
    };
    if !prefix.exists() {
        return Err(format!("no such prefix: {}", prefix.show()).into());
    }
    Ok(prefix)
}
