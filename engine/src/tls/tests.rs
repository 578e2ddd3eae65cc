//! Tests of the whole room: both sides against each other over an in-memory pipe.

mod admission;
mod agreement;
mod lifetime;
pub(super) mod pki;
mod secrets;
