//! `carbyne`: see [`carbyne_control`].

use std::process::ExitCode;

fn main() -> ExitCode {
    carbyne_control::main(std::env::args_os())
}
