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
#[path = "plugins/dashboard.rs"]
mod dashboard;
#[path = "plugins/ip_restriction.rs"]
mod ip_restriction;
#[path = "plugins/jwt.rs"]
mod jwt;
#[path = "plugins/key_auth.rs"]
mod key_auth;
#[path = "plugins/logs.rs"]
mod logs;
#[path = "plugins/prometheus.rs"]
mod prometheus;
#[path = "plugins/rate_limiting.rs"]
mod rate_limiting;
#[path = "plugins/request_size_limiting.rs"]
mod request_size_limiting;
#[path = "plugins/request_termination.rs"]
mod request_termination;
#[path = "plugins/request_transformer.rs"]
mod request_transformer;
#[path = "plugins/response_transformer.rs"]
mod response_transformer;
