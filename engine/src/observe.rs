//! What the data plane tells about itself.
//!
//! | file | what it holds |
//! |---|---|
//! | [`metrics`] | counters, gauges and histograms in per-worker cells |
//! | [`log`] | the one writer behind every access log |

pub mod log;
pub mod metrics;
