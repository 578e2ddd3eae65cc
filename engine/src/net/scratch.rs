//! One read buffer a worker and a few to write to, so that a connection that waits holds none.

use std::cell::RefCell;

use bytes::BytesMut;

/// Lends [`SIZE`] bytes of the worker's buffer for the time of one poll.
///
/// Not to be nested: the buffer is lent once at a time.
pub(crate) fn with<T>(f: impl FnOnce(&mut [u8]) -> T) -> T {
    with_up_to(SIZE, f)
}

/// Lends as much of the worker's buffer as is asked for, at most [`BULK`] bytes.
///
/// Not to be nested.
pub(crate) fn with_up_to<T>(length: usize, f: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| f(&mut scratch[..length.min(BULK)]))
}

/// Lends room that nothing was written to, for sockets that need no zeros: at least [`LEAST`] bytes behind an empty buffer. What is left in
/// it is dropped; a large piece is taken out with `split` and shares the memory instead of being copied.
///
/// Not to be nested.
pub(crate) fn with_room<T>(f: impl FnOnce(&mut BytesMut) -> T) -> T {
    ROOM.with_borrow_mut(|room| {
        room.clear();
        if room.capacity() < LEAST {
            // The same memory again, where every piece that was taken is gone.
            room.reserve(SIZE);
        }
        f(room)
    })
}

/// A buffer to write to, with room for a head or two; [`give_back`] takes it again.
pub(crate) fn write_buffer() -> Vec<u8> {
    BUFFERS
        .with_borrow_mut(Vec::pop)
        .unwrap_or_else(|| Vec::with_capacity(BUFFER_SIZE))
}

/// Keeps a buffer whose bytes are written for the next connection that writes.
pub(crate) fn give_back(mut buffer: Vec<u8>) {
    buffer.clear();
    if (1..=2 * BUFFER_SIZE).contains(&buffer.capacity()) {
        BUFFERS.with_borrow_mut(|buffers| {
            if buffers.len() < BUFFERS_KEPT {
                buffers.push(buffer);
            }
        });
    }
}

/// Pieces from this size on are worth sharing: a copy costs more, and a piece holds on to at most eight times its size.
pub(crate) const LARGE: usize = 8 * 1024;
/// Less room than this would cut reads short.
const LEAST: usize = SIZE / 2;
/// A TLS record or four, and what a default socket buffer gives at once.
pub(crate) const SIZE: usize = 64 * 1024;
/// What bulk is read by: a call for 256 KiB costs a third of the kernel's time of four for 64. Pages that nobody asked for are never touched.
pub(crate) const BULK: usize = 4 * SIZE;
const BUFFER_SIZE: usize = 4096;
const BUFFERS_KEPT: usize = 64;

thread_local! {
    static BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static ROOM: RefCell<BytesMut> = RefCell::new(BytesMut::new());
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; BULK].into_boxed_slice());
}
