//! What is emitted, on disk, in order, until a broker has it.
//!
//! Every process has a directory of its own below `CARBYNE_EVENTS_DIR`; one shipper takes them all.
//!
//! ```text
//! gateway-0/
//!   lock         held by the living process: a lock of the kernel's, which ends with it; `drain.lock` by who drains a dead one's rings
//!   rings/       EPOCH-WORKER.ring: what is emitted and not yet below (`ring`)
//!   segments/    ORDINAL.segment: blocks of records (`segment`, `block`)
//!   ledger       where each producer's count ended (`ledger`)
//!   cursor       up to here all is acknowledged (`cursor`); `ship.lock` is held by who moves it
//! ```
//!
//! A segment is written by one process and never again: the next start begins a new one. So whatever a crash leaves torn is at the
//! end of a segment, is skipped, and is counted. Segments are deleted when all in them is acknowledged.

pub(crate) mod append;
pub(crate) mod block;
mod cursor;
mod directory;
mod ledger;
mod read;
mod segment;

pub use block::{Block, Header, Records};
pub use cursor::{Cursor, Position};
pub use directory::{Claim, Directory, directories};
pub use ledger::{End, Ledger};
pub use read::{Damage, Reader, Step, oldest};
