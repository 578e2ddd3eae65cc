//! A folder of Istio YAML becomes a [`Snapshot`]: documents with positions, typed resources, indexes, validation.
//!
//! Reading is tolerant (unknown fields are warnings), refusing is complete (all errors of all files at once, each with file, line and
//! column), and a snapshot is only made when there is no error at all.

mod document;
mod index;
mod problem;
mod read;
mod service;
mod validate;

pub(crate) use self::index::MESH_GATEWAY;
pub(crate) use self::validate::METRICS;
pub use self::{
    index::{Registry, Snapshot, exported},
    problem::{Errors, Kind as ProblemKind, Problem},
    read::{Examined, OTHERS, examine, read_files, read_folder},
    service::{Family, Instance, Protocol, Service, ServicePort, TLS_MODE_LABEL, UNSPECIFIED},
};
