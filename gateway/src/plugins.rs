//! The plugins that run, one file each; [`crate::plugin::table`] lists them.

pub mod correlation_id;
pub mod key_auth;
pub mod rate_limiting;
pub mod request_termination;
