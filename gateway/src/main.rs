//! carbyne-gateway: takes Kong Gateway's place.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    carbyne_gateway::command::run(&arguments)
}
