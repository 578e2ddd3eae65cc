//! HTTP connection managers.
//!
//! | file | what it holds |
//! |---|---|
//! | [`handler`] | one manager: Envoy's order of things around the engine's exchange |
//! | [`arrival`] | what happens to a head on arrival |
//! | [`local_reply`] | how the proxy words its own answers |
//! | [`text`] | field values with operators |
//! | [`names`] | field names of Envoy's protocol |

pub mod arrival;
pub mod handler;
pub mod local_reply;
pub mod names;
pub mod text;
