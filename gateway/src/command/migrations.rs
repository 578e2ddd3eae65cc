//! `migrations`: of the embedded store there are none, and what waits for them goes on.

use std::io::{BufRead, IsTerminal, Write};

use super::prefix::{Prefix, already_running};
use super::{Done, Failure, Place, say};
use crate::conf::Conf;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[arg(value_enum)]
    verb: Verb,
    #[command(flatten)]
    place: Place,
    /// Assume "yes" to prompts and run non-interactively
    #[arg(short, long)]
    yes: bool,
    /// Suppress all output
    #[arg(short, long)]
    quiet: bool,
    /// Run migrations even if they have been run; `bootstrap` resets before
    #[arg(short, long)]
    force: bool,
    /// Accepted: no operation takes that long
    #[arg(long, value_name = "SECONDS")]
    db_timeout: Option<f64>,
    /// Accepted: no other node runs migrations
    #[arg(long, value_name = "SECONDS")]
    lock_timeout: Option<f64>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Verb {
    Bootstrap,
    Finish,
    List,
    Reset,
    Status,
    Up,
}

const NOTHING: &str = "the embedded store needs no migrations: there is nothing to do";

pub(super) fn run(arguments: &Arguments) -> Done {
    let (conf, _) = arguments.place.conf()?;
    let tell = |text: &str| {
        if !arguments.quiet {
            say(text);
        }
    };
    match arguments.verb {
        Verb::Bootstrap => {
            if arguments.force {
                reset(&conf, &tell)?;
            }
            tell("Database already bootstrapped");
            tell(NOTHING);
        }
        Verb::Finish => {
            tell("No pending migrations to finish");
            tell(NOTHING);
        }
        Verb::List => tell(NOTHING),
        Verb::Reset => {
            if !arguments.yes {
                if !std::io::stdin().is_terminal() {
                    return Err(
                        "not a tty: invoke 'reset' non-interactively with the --yes flag".into(),
                    );
                }
                if !confirmed("Are you sure? This operation is irreversible.") {
                    tell("cancelled");
                    return Ok(());
                }
            }
            if !reset(&conf, &tell)? {
                return Err(Failure::code(1));
            }
        }
        // What Kong prints here is for programs.
        Verb::Status => say(r#"{"executed_migrations":[],"needs_bootstrap":false}"#),
        Verb::Up => {
            tell("Database is already up-to-date");
            tell(NOTHING);
        }
    }
    Ok(())
}

/// Removes everything that is stored, and says whether there was anything.
fn reset(conf: &Conf, tell: &dyn Fn(&str)) -> Result<bool, Failure> {
    let path = conf.store();
    if conf.is_dbless() || !path.is_file() {
        tell("Database not bootstrapped, nothing to reset");
        return Ok(false);
    }
    let prefix = Prefix::of(conf);
    if prefix.running().is_some() {
        return Err(already_running(&prefix));
    }
    tell("Resetting database...");
    std::fs::remove_file(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    tell("Database successfully reset");
    Ok(true)
}

/// Asks three times at most.
fn confirmed(question: &str) -> bool {
    for _ in 0..3 {
        let mut out = std::io::stdout();
        drop(write!(out, "> {question} [y/n] ").and_then(|()| out.flush()));
        let mut answer = String::new();
        if std::io::stdin().lock().read_line(&mut answer).is_err() {
            return false;
        }
        match answer.trim() {
            "y" | "Y" | "yes" | "YES" => return true,
            "n" | "N" | "no" | "NO" => return false,
            _ => {}
        }
    }
    false
}
