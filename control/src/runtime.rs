//! One thread that does what a verb waits for.

use std::future::Future;

use crate::output::{Finding, code};

/// Runs a future to its end.
///
/// # Errors
/// When the system gives no runtime.
pub fn run<T>(future: impl Future<Output = T>) -> Result<T, Finding> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map(|runtime| runtime.block_on(future))
        .map_err(|error| Finding::new(&code::SYSTEM, format!("cannot start: {error}")))
}
