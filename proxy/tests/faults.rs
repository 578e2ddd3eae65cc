//! The program as a whole where things go wrong: a control plane that cuts its streams, contradicts itself or is gone,
//! peers that reset at any byte, a process without file descriptors, a disk without room, an end in the middle of
//! traffic. Each test starts the program, lets traffic go through it and breaks something beside that.
//!
//! | variable | effect |
//! |---|---|
//! | `FULL=1` | every byte and every message; a seeded slice otherwise |
//! | `CARBYNE_SEED` | which slice |

#[cfg(test)]
#[path = "support/parts.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "each suite uses a part of the support"
)]
mod support;

#[cfg(test)]
#[path = "faults/tables.rs"]
#[allow(unreachable_pub, reason = "a test program has no users")]
mod tables;
