//! The schemas: what is generated from them is what is committed, and nothing that was written becomes unreadable.
//!
//! `CARBYNE_WRITE_SCHEMAS=1` writes anew what this suite compares: the code in `src/event/generated`, the history and the
//! vectors.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: failing loudly is the point"
)]

mod schemas {
    pub(crate) mod canonical;
    pub(crate) mod committed;
    pub(crate) mod compatible;
    pub(crate) mod generate;
    pub(crate) mod parse;
    pub(crate) mod vectors;
}
