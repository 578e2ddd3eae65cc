//! The plugins that run, one file each; [`crate::plugin::table`] lists them.

pub mod acl;
pub mod basic_auth;
pub mod correlation_id;
pub mod cors;
pub mod ip_restriction;
pub mod jwt;
pub mod key_auth;
pub mod request_termination;
