//! `carbyne broker`: becomes a Kafka node, whose folder it makes ready first. `up --with-kafka` keeps it running as it keeps the others.

use std::{
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, ExitCode},
};

use carbyne_events::broker::{BrokerError, Options, alone};

use crate::terminal;

/// Arguments of `carbyne broker`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Folder of its data
    #[arg(long, value_name = "FOLDER")]
    directory: PathBuf,
    /// Addresses for clients, for brokers and for the controller
    #[arg(long, value_name = "ADDRESS", num_args = 3, required = true)]
    listen: Vec<SocketAddr>,
}

/// Becomes the node; returns only if that failed.
pub fn main(arguments: &Arguments) -> ExitCode {
    let &[clients, brokers, controller] = arguments.listen.as_slice() else {
        return ExitCode::FAILURE;
    };
    let addresses = [clients, brokers, controller];
    let line = match alone::command(&Options::default(), &arguments.directory, addresses) {
        Ok(line) => line,
        Err(error) => {
            terminal::error(&error.to_string(), None);
            return ExitCode::FAILURE;
        }
    };
    let Some((program, rest)) = line.split_first() else {
        return ExitCode::FAILURE;
    };
    let error = Command::new(program).args(rest).exec();
    terminal::error(&BrokerError::Java(error).to_string(), None);
    ExitCode::FAILURE
}
