//! One read buffer a worker, so that a connection that waits holds none.

use std::cell::RefCell;

/// Lends the worker's buffer for the time of one poll.
///
/// Not to be nested: the buffer is lent once at a time.
pub(crate) fn with<T>(f: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| f(scratch))
}

/// A TLS record or four, and what a default socket buffer gives at once.
const SIZE: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SIZE].into_boxed_slice());
}
