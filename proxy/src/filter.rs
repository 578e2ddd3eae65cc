//! One file a filter: each turns its message into a compiled filter and runs it on an exchange.

pub mod alpn;
mod body;
pub mod buffer;
pub mod cors;
pub mod fault;
pub mod grpc_stats;
pub mod header_mutation;
pub mod http;
pub mod jwt_authn;
pub mod local_ratelimit;
pub mod metadata_exchange;
pub mod network;
pub mod planned;
mod query;
pub mod rbac;
mod reading;
pub mod refuse;
pub mod reply;
pub mod stats;
pub mod upstream;
