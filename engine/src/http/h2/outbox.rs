//! Bytes on their way out: frames in one buffer, large pieces of bodies between them by reference.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

use super::frame;
use crate::net::scratch;

/// What is to be written, in order.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    flat: Vec<u8>,
    /// Bytes of `flat` that are out.
    written: usize,
    pieces: VecDeque<Piece>,
    /// Bytes of all pieces.
    large: usize,
    /// The last frame that may still end its stream.
    last: Option<Last>,
}

#[derive(Debug)]
struct Piece {
    /// How much of `flat` comes before it.
    at: usize,
    bytes: Bytes,
}

#[derive(Debug)]
struct Last {
    stream: u32,
    flags: usize,
}

impl Outbox {
    /// Bytes waiting to be written.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.flat.len() - self.written + self.large
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where frames are written to.
    #[inline]
    pub(super) fn flat(&mut self) -> &mut Vec<u8> {
        if self.flat.capacity() == 0 {
            self.flat = scratch::write_buffer();
        }
        self.last = None;
        &mut self.flat
    }

    /// Remembers that the frame whose header begins at `start` of the flat bytes may still end `stream`.
    #[inline]
    pub(super) const fn may_end(&mut self, stream: u32, start: usize) {
        self.last = Some(Last {
            stream,
            flags: start + 4,
        });
    }

    /// Ends the stream with the frame that is last in the buffer; false where that is another one's.
    #[inline]
    pub(super) fn end_with_last(&mut self, stream: u32) -> bool {
        let Some(last) = &self.last else {
            return false;
        };
        if last.stream != stream || last.flags < self.written {
            return false;
        }
        self.flat[last.flags] |= frame::END_STREAM;
        self.last = None;
        true
    }

    /// Queues a DATA frame.
    pub(super) fn data(&mut self, stream: u32, bytes: Bytes, end: bool) {
        let flags = if end { frame::END_STREAM } else { 0 };
        let flat = self.flat();
        let start = flat.len();
        frame::put_head(flat, bytes.len(), frame::DATA, flags, stream);
        if bytes.len() <= COPY_LIMIT {
            flat.extend_from_slice(&bytes);
        } else {
            let at = flat.len();
            self.large += bytes.len();
            self.pieces.push_back(Piece { at, bytes });
        }
        if !end {
            self.may_end(stream, start);
        }
    }

    /// Writes everything out.
    pub(super) fn poll_write(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let stream = Pin::new(&mut *stream);
            let written = if self.pieces.is_empty() {
                ready!(stream.poll_write(cx, &self.flat[self.written..]))?
            } else {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let used = self.gather(&mut slices);
                ready!(stream.poll_write_vectored(cx, &slices[..used]))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn gather<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES]) -> usize {
        let mut used = 0;
        let mut from = self.written;
        for piece in self.pieces.iter().take(SLICES / 2) {
            if from < piece.at {
                slices[used] = IoSlice::new(&self.flat[from..piece.at]);
                used += 1;
                from = piece.at;
            }
            slices[used] = IoSlice::new(&piece.bytes);
            used += 1;
        }
        if used < SLICES && self.pieces.len() <= SLICES / 2 && from < self.flat.len() {
            slices[used] = IoSlice::new(&self.flat[from..]);
            used += 1;
        }
        used
    }

    fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let next = self
                .pieces
                .front()
                .map_or(self.flat.len(), |piece| piece.at);
            let flat = (next - self.written).min(count);
            self.written += flat;
            count -= flat;
            if count == 0 {
                break;
            }
            // The transport cannot have taken more than it was offered.
            let Some(piece) = self.pieces.front_mut() else {
                break;
            };
            let taken = piece.bytes.len().min(count);
            piece.bytes.advance(taken);
            self.large -= taken;
            count -= taken;
            if piece.bytes.is_empty() {
                self.pieces.pop_front();
            }
        }
        if self.is_empty() {
            self.reset();
        } else if self.written >= COMPACT_FROM {
            self.compact();
        }
    }

    /// Gives the buffer back: a connection that waits holds none.
    fn reset(&mut self) {
        self.last = None;
        self.written = 0;
        scratch::give_back(std::mem::take(&mut self.flat));
        if self.pieces.capacity() > SLICES {
            self.pieces = VecDeque::new();
        }
    }

    /// Drops what is out, where a slow peer never lets the buffer become empty.
    fn compact(&mut self) {
        let written = std::mem::take(&mut self.written);
        self.flat.drain(..written);
        for piece in &mut self.pieces {
            piece.at -= written;
        }
        self.last = None;
    }
}

/// Pieces up to this size are copied behind their header: one slice is cheaper than two.
const COPY_LIMIT: usize = 2048;
/// Slices of one system call.
const SLICES: usize = 32;
const COMPACT_FROM: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use proptest::prelude::*;

    use super::*;

    /// Takes a few bytes at a time.
    struct Slow {
        took: Vec<u8>,
        steps: Vec<usize>,
    }

    impl AsyncWrite for Slow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            match self.steps.pop() {
                None => Poll::Pending,
                Some(step) => {
                    let count = step.clamp(1, bytes.len());
                    self.took.extend_from_slice(&bytes[..count]);
                    Poll::Ready(Ok(count))
                }
            }
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all = slices.iter().flat_map(|slice| slice.iter().copied());
            self.poll_write(cx, &all.collect::<Vec<u8>>())
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    proptest! {
        #[test]
        fn what_is_queued_is_what_is_written(
            frames in prop::collection::vec((0_usize..6000, any::<bool>(), any::<bool>()), 1..60),
            steps in prop::collection::vec(1_usize..20_000, 0..100),
        ) {
            let mut outbox = Outbox::default();
            let mut slow = Slow { took: Vec::new(), steps: Vec::new() };
            let mut expected = Vec::new();
            let mut cx = Context::from_waker(Waker::noop());
            let mut steps = steps.into_iter();
            for (number, (length, end, write)) in frames.into_iter().enumerate() {
                let stream = u32::try_from(number).unwrap();
                let bytes = Bytes::from(vec![b'x'; length]);
                outbox.data(stream, bytes.clone(), false);
                // What is still here ends the stream, what is out does not.
                if write {
                    slow.steps.extend(steps.next());
                    outbox.poll_write(&mut slow, &mut cx).map_err(drop).is_ready();
                }
                let start = expected.len();
                let ended = end && outbox.end_with_last(stream);
                prop_assert!(!ended || slow.took.len() <= start + 4);
                let flags = if ended { frame::END_STREAM } else { 0 };
                frame::put_head(&mut expected, length, frame::DATA, flags, stream);
                expected.extend_from_slice(&bytes);
                prop_assert_eq!(outbox.len(), expected.len() - slow.took.len());
            }
            slow.steps = vec![usize::MAX; 1000];
            prop_assert!(outbox.poll_write(&mut slow, &mut cx).is_ready());
            prop_assert_eq!(slow.took, expected);
            prop_assert_eq!(outbox.flat.capacity(), 0);
        }
    }
}
