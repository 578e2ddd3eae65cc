//! Proxying: what clients get and what services see, against the real program.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test: failing loudly is the point"
)]

#[path = "support/cases.rs"]
mod cases;
#[path = "support/gateway.rs"]
mod gateway;

#[path = "proxy/errors.rs"]
mod errors;
#[path = "proxy/grpc.rs"]
mod grpc;
#[path = "proxy/headers.rs"]
mod headers;
#[path = "proxy/paths.rs"]
mod paths;
#[path = "proxy/protocol.rs"]
mod protocol;
#[path = "proxy/reload.rs"]
mod reload;
#[path = "proxy/scopes.rs"]
mod scopes;
#[path = "proxy/tls.rs"]
mod tls;
#[path = "proxy/trailers.rs"]
mod trailers;
#[path = "proxy/upstream_tls.rs"]
mod upstream_tls;
#[path = "proxy/upstreams.rs"]
mod upstreams;
#[path = "proxy/vaults.rs"]
mod vaults;
#[path = "proxy/websockets.rs"]
mod websockets;
