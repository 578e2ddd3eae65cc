//! Envoy's place in an Istio mesh: what arrives as bootstrap, xDS and SDS becomes a plan, the plan becomes
//! live listeners, routes and clusters on the engine.
//!
//! | room | what lives there |
//! |---|---|
//! | [`wire`] | bootstrap, xDS client (SotW and Delta), SDS: what arrives, tolerant |
//! | [`plan`] | wire → validated listeners, chains, routes, clusters; the only place that may refuse |
//! | [`live`] | compiled matchers and handlers, swapped while traffic flows |
//! | [`filter`] | one file a filter |
//! | [`observe`] | access logs, Envoy's and Istio's statistics, spans |
//! | [`admin`] | the admin port |
//! | [`context`] | what filters keep about one request |

pub mod admin;
pub mod cli;
pub mod context;
pub mod filter;
pub mod live;
pub mod observe;
pub mod plan;
pub mod server;
pub mod wire;
