//! Proxying as Kong does it, around the engine's exchange.
//!
//! | file | what it holds |
//! |---|---|
//! | [`settings`] | what kong.conf says about it |
//! | [`listener`] | addresses, TLS, connections |
//! | [`context`] | what is kept for one request |
//! | [`arrival`] | who the client is and what it may say |
//! | [`handler`] | the way of a request through routes and plugins |
//! | `phases` | the plugins' phases |
//! | `departure` | header fields to the service and to the client |
//! | `limit` | bodies that may not become too large |
//! | [`upstream`] | where a try goes |
//! | [`error`] | Kong's errors in the form that the client accepts |
//! | [`access_log`] | one line a request |

pub mod access_log;
pub mod arrival;
pub mod context;
pub(crate) mod departure;
pub mod error;
mod events;
pub mod handler;
pub(crate) mod limit;
pub mod listener;
mod phases;
pub mod settings;
pub mod upstream;
