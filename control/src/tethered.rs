//! `carbyne tethered`: becomes another program, one that the kernel ends with the process that started it.
//!
//! `up` stops its children itself; this holds when it cannot, because it was killed with SIGKILL or by the out-of-memory killer. The
//! death signal belongs to a process and survives `execve`, so asking for it here, between `fork` and `execve`, needs no code in the
//! child of a `fork` (which Rust allows only as `unsafe`).

use std::{ffi::OsString, os::unix::process::CommandExt, process::Command, process::ExitCode};

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use crate::terminal;

/// Arguments of `carbyne tethered`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Process that must be alive
    #[arg(long, value_name = "PID")]
    to: i32,
    /// Program and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Becomes the program; returns only if that failed (126, as shells say).
pub fn main(arguments: &Arguments) -> ExitCode {
    let Some((program, rest)) = arguments.command.split_first() else {
        return ExitCode::from(2);
    };
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        terminal::error(
            &format!("cannot ask to end with process {}: {error}", arguments.to),
            None,
        );
        return ExitCode::from(126);
    }
    // The parent may have ended before the line above: then nobody will signal us.
    if getppid().map(|parent| parent.as_raw_nonzero().get()) != Some(arguments.to) {
        return ExitCode::from(126);
    }
    let error = Command::new(program).args(rest).exec();
    terminal::error(&format!("cannot run {}: {error}", program.display()), None);
    ExitCode::from(126)
}
