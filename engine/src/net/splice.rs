//! Bytes from socket to socket inside the kernel: no copy into the process and none back (splice(2)).
//!
//! A pipe lies between the two. It is a worker's, lent while bytes move and given back when it is empty, so that a
//! stream that waits holds none.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll, ready};

use rustix::pipe::{PipeFlags, SpliceFlags};
use tokio::io::Interest;

use super::Stream;

/// What one call may move. More than a pipe holds: the kernel stops where it is full.
const MOST: usize = 1024 * 1024;
/// Room of a pipe in bytes, where the kernel grants it; its default is 64 KiB.
const SIZE: usize = 256 * 1024;
/// Pipes that a worker has at once. Who gets none copies: slow readers must not take every descriptor.
const LIMIT: usize = 64;

/// A pipe lent by the worker.
#[derive(Debug)]
pub(crate) struct Pipe {
    /// `None` only while it is dropped.
    ends: Option<Ends>,
    /// Bytes in it.
    held: usize,
}

#[derive(Debug)]
struct Ends {
    out: OwnedFd,
    into: OwnedFd,
}

impl Pipe {
    /// A pipe, or none where the worker has lent all of its, or the kernel gives none.
    pub(crate) fn take() -> Option<Self> {
        if LENT.get() >= LIMIT {
            return None;
        }
        let ends = FREE.with_borrow_mut(Vec::pop).or_else(Ends::open)?;
        LENT.set(LENT.get() + 1);
        Some(Self {
            ends: Some(ends),
            held: 0,
        })
    }

    /// Pipes that lie ready on this worker.
    #[cfg(test)]
    pub(crate) fn ready() -> usize {
        FREE.with_borrow(Vec::len)
    }

    /// Whether bytes can go this way: two TCP sockets, and nothing between.
    pub(crate) const fn leads(from: &Stream, to: &Stream) -> bool {
        from.bare().is_some() && to.bare().is_some()
    }

    /// Moves what arrived into the pipe, which must be empty; 0 is the end of the stream.
    pub(crate) fn poll_fill(
        &mut self,
        from: &Stream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        debug_assert_eq!(self.held, 0);
        let (Some(ends), Some(socket)) = (&self.ends, from.bare()) else {
            return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
        };
        loop {
            ready!(socket.poll_read_ready(cx))?;
            // An empty pipe has room: the call would wait only for the socket, as `try_io` takes it.
            match socket.try_io(Interest::READABLE, || splice(socket, &ends.into)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                moved => {
                    self.held = *moved.as_ref().unwrap_or(&0);
                    return Poll::Ready(moved);
                }
            }
        }
    }

    /// Moves what is in the pipe out, until it is empty.
    pub(crate) fn poll_drain(&mut self, to: &Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (Some(ends), Some(socket)) = (&self.ends, to.bare()) else {
            return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
        };
        while self.held > 0 {
            ready!(socket.poll_write_ready(cx))?;
            match socket.try_io(Interest::WRITABLE, || splice(&ends.out, socket)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                moved => self.held = self.held.saturating_sub(moved?),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        LENT.set(LENT.get().saturating_sub(1));
        // One that still holds bytes of a stream must never be another's.
        if self.held == 0
            && let Some(ends) = self.ends.take()
        {
            FREE.with_borrow_mut(|free| free.push(ends));
        }
    }
}

impl Ends {
    fn open() -> Option<Self> {
        let (out, into) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        // A user's pipes have a quota (pipe(7)): beyond it the size stays what it is.
        rustix::pipe::fcntl_setpipe_size(&into, SIZE).ok();
        Some(Self { out, into })
    }
}

fn splice(from: impl AsFd, to: impl AsFd) -> io::Result<usize> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    Ok(rustix::pipe::splice(from, None, to, None, MOST, flags)?)
}

thread_local! {
    static FREE: RefCell<Vec<Ends>> = const { RefCell::new(Vec::new()) };
    static LENT: Cell<usize> = const { Cell::new(0) };
}
