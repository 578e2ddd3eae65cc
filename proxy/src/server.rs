//! The running proxy: listeners, clusters and discovery put together.
//!
//! | file | what it holds |
//! |---|---|
//! | [`connection`] | one accepted connection: original destination, inspection, chain, TLS, filters |
//! | [`listener`] | what an accepted connection meets |
//! | [`http`] | HTTP connection managers |
//! | [`tcp`] | one TCP stream through |
//! | [`clusters`], [`listeners`] | resources as they arrive: planned, warmed, served, updated |
//! | [`sockets`] | listening sockets, by address |
//! | [`compile`] | plans of listeners made live |
//! | [`discovery`] | ADS and SDS over the proxy's own clusters |
//! | [`call`] | gRPC calls of the proxy itself |
//! | [`telemetry`] | what is told about requests and streams |
//! | [`admin`], [`state`] | the admin port, and what its pages read |
//! | [`run`] | from the command line to the end of the process |

pub mod admin;
pub mod call;
pub mod clusters;
pub mod compile;
pub mod connection;
pub mod discovery;
pub mod http;
pub mod listener;
pub mod listeners;
pub mod run;
pub mod sockets;
pub mod state;
pub mod tcp;
pub mod telemetry;

pub use self::run::run;
