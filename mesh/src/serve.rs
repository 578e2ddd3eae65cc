//! xDS and secrets on sockets, as istiod and pilot-agent serve them.
//!
//! [`protocol`] is what istiod's stream rules say, without any I/O; [`ads`] and [`sds`] move messages between it and gRPC.

pub mod ads;
mod grpc;
pub mod protocol;
pub mod sds;
pub mod status;

pub use self::grpc::Server;
