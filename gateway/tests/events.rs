//! Events of a real gateway: every request that was answered is told exactly once, whatever ends the process; refusals are told
//! together; no secret is told at all; and what happens when there is no room.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests"
)]

#[path = "support/cases.rs"]
mod cases;
#[path = "support/gateway.rs"]
mod gateway;

#[path = "events/administration.rs"]
mod administration;
#[path = "events/full.rs"]
mod full;
#[path = "events/killed.rs"]
mod killed;
#[path = "events/requests.rs"]
mod requests;
#[path = "events/secrets.rs"]
mod secrets;
#[path = "events/spool.rs"]
mod spool;
