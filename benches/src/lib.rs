//! The side-by-side run: the same load through Carbyne's proxy and its peers, and what it cost each.
//!
//! One round starts every peer in turn on core 0, sends it the scenario's load from core 1, and reads
//! what the peer's processes spent. Rounds interleave the peers, so that a noisy neighbour hits all of
//! them; only ratios inside one run are comparable.
//!
//! | room | holds |
//! |---|---|
//! | [`scenario`] | the table of scenarios: which door, which request, how many |
//! | [`certificates`] | a CA and two identities for the length of one run |
//! | [`backend`] | the upstream behind every peer: HTTP/1.1, HTTP/2, TCP |
//! | [`load`] | the load generator: closed loop by count, open loop by intended send time |
//! | [`control_plane`] | ADS and SDS of what is published |
//! | [`gateway`] | the gateway's settings and its configurations of many routes |
//! | [`path`] | gateway and sidecars one behind the other |
//! | [`emission`] | what the process that emits is asked, and what it says |
//! | [`verbs`] | what the verbs of `carbyne` are given to read |
//! | [`platform`] | the recorded answers of an istiod |
//! | [`pinned`] | which cores this process and what it starts run on |
//! | [`peer`] | how each peer is found, configured, started, and ended |
//! | [`measure`] | CPU time, memory, instructions and system calls of a process tree |
//! | [`run`] | rounds and scenarios |
//! | [`report`] | figures to a table, JSON and Markdown |
//! | [`summary`] | the goals, and the table of the README |
//!
//! Everything listens on fixed ports of two loopback addresses, so the configuration files of the
//! peers are committed as they are used, without placeholders.

pub mod backend;
pub mod certificates;
pub mod control_plane;
pub mod emission;
pub mod error;
pub mod gateway;
pub mod load;
pub mod measure;
pub mod path;
pub mod peer;
pub mod pinned;
pub mod platform;
pub mod report;
pub mod run;
pub mod scenario;
pub mod summary;
pub mod verbs;
