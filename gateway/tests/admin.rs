//! The Admin API over HTTP: cases generated for every kind of entity from its schema, and a client
//! that makes decK's calls.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test: failing loudly is the point"
)]

#[path = "support/cases.rs"]
mod cases;
#[path = "admin/catalogue.rs"]
mod catalogue;
#[path = "admin/client.rs"]
mod client;
#[path = "admin/dbless.rs"]
mod dbless;
#[path = "admin/deck.rs"]
mod deck;
#[path = "admin/endpoints.rs"]
mod endpoints;
#[path = "admin/generated.rs"]
mod generated;
#[path = "admin/health.rs"]
mod health;
#[path = "admin/paths.rs"]
mod paths;
#[path = "admin/samples.rs"]
mod samples;
#[path = "admin/secrets.rs"]
mod secrets;
