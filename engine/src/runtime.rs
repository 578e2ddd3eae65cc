//! Threads and what runs on them.
//!
//! | file | what it holds |
//! |---|---|
//! | [`worker`] | one worker: its pools, its place among the others |
//! | [`workers`] | starting workers, giving them listening sockets and work |
//! | [`background`] | long work beside them, at low priority |
//! | [`budget`] | how many connections may be open |
//! | [`drain`] | telling connections to finish |
//! | [`timer`] | all deadlines of one task on one timer |
//! | [`clock`] | the `date` field, formatted once a second |

pub mod background;
pub mod budget;
pub mod clock;
pub mod drain;
pub mod timer;
pub mod worker;
pub mod workers;

pub use self::drain::{Drain, DrainSignal};
pub use self::timer::Timer;
pub use self::worker::Worker;
pub use self::workers::{Accept, Accepted, Bound, Listening, Workers};
