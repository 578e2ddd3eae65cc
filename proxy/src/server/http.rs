//! HTTP connection managers.
//!
//! | file | what it holds |
//! |---|---|
//! | [`handler`] | one manager: Envoy's order of things around the engine's exchange |
//! | [`answer`] | answers that routes give themselves |
//! | [`arrival`] | what happens to a head on arrival |
//! | `target` | where a try goes, and how a host is reached |
//! | `departure` | what happens to a head on its way out |
//! | [`local_reply`] | how the proxy words its own answers |
//! | [`text`] | field values with operators |
//! | [`mirror`] | copies of requests for other clusters |
//! | [`names`] | field names of Envoy's protocol |

pub mod answer;
pub mod arrival;
mod departure;
pub mod handler;
pub mod local_reply;
pub mod mirror;
pub mod names;
mod target;
pub mod text;
