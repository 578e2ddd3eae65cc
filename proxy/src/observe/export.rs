//! From the workers to collectors: what was gathered on the way of requests is sent off it.
//!
//! | file | what it holds |
//! |---|---|
//! | [`queue`] | what waits, a shard for each worker, bounded |
//! | [`batcher`] | one task on the control runtime for each collector, through the proxy's own clusters |

pub mod batcher;
pub mod queue;

pub use self::batcher::{Batcher, Outcome, Source};
pub use self::queue::Queue;
