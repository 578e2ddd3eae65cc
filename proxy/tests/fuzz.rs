//! The seeds of the fuzz targets, replayed: what was once found, and what the fuzzer begins with, is understood or
//! refused, and nothing panics.
//!
//! `CARBYNE_WRITE_SEEDS=1` writes the seeds that can be made anew; files that a fuzzer found stay beside them.

#[cfg(test)]
#[path = "support/parts.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "each suite uses a part of the support"
)]
mod support;

#[cfg(test)]
#[path = "fuzz/seeds.rs"]
mod seeds;
