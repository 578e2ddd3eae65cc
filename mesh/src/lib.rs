//! The embedded control plane: Istio YAML in, xDS and certificates out, as istiod 1.29 answers.
//!
//! * [`model`] — Istio's resources, serde types
//! * [`source`] — a folder of YAML becomes a validated, indexed snapshot
//! * [`generate`] — a snapshot and a node become Envoy's resources
//! * [`certificate`] — the certificate authority
//! * [`serve`] — ADS and SDS on sockets, the stream protocol without I/O
//! * [`watch`] — a changed file is a new snapshot, a bad one changes nothing
//! * [`Mesh`] — all of it over one folder

pub mod certificate;
pub mod generate;
mod mesh;
pub mod model;
pub mod serve;
pub mod source;
pub mod watch;

pub use mesh::{ISTIO_VERSION, LoadError, Mesh, Workload};
