//! What the data plane tells about itself.
//!
//! | file | what it holds |
//! |---|---|
//! | [`metrics`] | counters, gauges and histograms in per-worker cells |
//! | [`log`] | the one writer behind every access log |
//! | [`exposition`] | Prometheus' text format |
//! | [`process`] | what this process takes of the machine |

pub mod exposition;
pub mod log;
pub mod metrics;
pub mod process;
