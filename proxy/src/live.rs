//! Plan → live: compiled matchers and handlers, swapped while traffic flows.
//!
//! | file | what it holds |
//! |---|---|
//! | [`matcher`] | compiled matchers over texts, headers, paths, addresses, metadata |
//! | [`chain`] | which filter chain serves a connection |
//! | [`route`] | which route serves a request, and what it does to it |
//! | [`clusters`] | clusters by name, in handles that outlive their updates |
//! | [`extensions`] | filters by discovery, by name |
//! | [`secrets`] | secrets by name and source, in slots that rotate |
//! | [`warming`] | what a listener or a cluster waits for before it serves |

pub mod chain;
pub mod clusters;
pub mod extensions;
pub mod matcher;
pub mod route;
pub mod secrets;
pub mod warming;
