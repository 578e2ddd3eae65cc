//! `carbyne-proxy`, installed as `/usr/local/bin/envoy`.

use std::process::ExitCode;

use carbyne_proxy::cli::{self, Command};
use carbyne_proxy::server;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the terminal is where this is asked"
)]
fn main() -> ExitCode {
    // A heap of three megabytes on huge pages is sixteen. Where the kernel cannot be asked, memory is all that it costs.
    rustix::thread::disable_transparent_huge_pages(true).unwrap_or_default();
    match cli::parse(std::env::args_os()) {
        Ok(Command::Print(text)) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Ok(Command::Run(options)) => match server::run(*options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
        Err(text) => {
            eprint!("{text}");
            ExitCode::FAILURE
        }
    }
}
