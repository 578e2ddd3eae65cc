//! The topics as data, and the reconciler that makes a cluster so.
//!
//! | file | what lives there |
//! |---|---|
//! | [`file`] | `topics.yaml` read, every fault with its place |
//! | [`desired`] | what a file declares for one profile |
//! | [`admin`] | a cluster's administration, asked with an end to every wait |
//! | [`state`] | what a cluster tells of itself |
//! | [`plan`] | what must change, and what cannot |
//! | [`apply`] | changes it, and sees that nothing is left to change |
//! | `incremental` | IncrementalAlterConfigs, called in librdkafka itself |
//! | `tree` | YAML with places |

pub mod admin;
pub mod apply;
pub mod desired;
pub mod file;
mod incremental;
pub mod plan;
pub mod state;
mod tree;

pub use self::{
    admin::{Access, Admin, AdminError},
    apply::{ApplyError, Progress},
    desired::{Cleanup, Desired, Retention, Topic},
    file::{Fault, File, Problem},
    plan::{Alteration, Change, Permission, Plan, Refusal, Setting},
    state::{Actual, Partition, State},
    tree::Place,
};

/// The topics of Carbyne's own events: `topics.yaml` as it was when this was built.
pub const BUILT_IN: &str = include_str!("../topics.yaml");
