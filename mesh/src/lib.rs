//! The embedded control plane: Istio YAML in, xDS and certificates out, as istiod 1.29 answers.
//!
//! * [`model`] — Istio's resources, serde types
//! * [`source`] — a folder of YAML becomes a validated, indexed snapshot
//! * [`generate`] — a snapshot and a node become Envoy's resources

pub mod generate;
pub mod model;
pub mod source;
