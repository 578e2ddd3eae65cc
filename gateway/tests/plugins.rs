//! Plugins: tables of configuration, request, answer and what the upstream saw, against the real program.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests"
)]

#[path = "support/cases.rs"]
mod cases;
#[path = "support/gateway.rs"]
#[expect(dead_code, reason = "shared by several suites")]
mod gateway;

#[path = "plugins/acl.rs"]
mod acl;
#[path = "plugins/authentication.rs"]
mod authentication;
#[path = "plugins/basic_auth.rs"]
mod basic_auth;
#[path = "plugins/correlation_id.rs"]
mod correlation_id;
#[path = "plugins/cors.rs"]
mod cors;
#[path = "plugins/ip_restriction.rs"]
mod ip_restriction;
#[path = "plugins/jwt.rs"]
mod jwt;
#[path = "plugins/key_auth.rs"]
mod key_auth;
#[path = "plugins/request_termination.rs"]
mod request_termination;
