//! carbyne-gateway: takes Kong Gateway's place.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    carbyne_gateway::command::run(std::env::args_os())
}
