//! One HTTP/1 connection, either side: a stream, what was read of it and not yet used, and what is still
//! to be written.
//!
//! A connection is shared by the body that reads it and the writer that answers on it, both on the
//! worker that owns it, so it lives in an `Rc<RefCell<…>>` that is borrowed inside polls only. Reads go
//! through one scratch buffer a worker, so that an idle connection holds none.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::chunked::{ChunkDecoder, ChunkEvent, ChunkLimits};
use super::framing::Framing;
use crate::http::body::{BodyError, Frame};
use crate::net::{Stream, scratch};

/// A connection shared between its reader and its writer.
pub(crate) type Shared = Rc<RefCell<Connection>>;

/// Stream, read-ahead and write-behind of one HTTP/1 connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    /// Bytes read and not yet used.
    pending: BytesMut,
    eof: bool,
    body: BodyState,
    out: WriteBuffer,
    /// To be written before the request body is first waited for: `100 Continue`.
    expect_continue: bool,
    /// Whether trailers pass, in and out.
    trailers: bool,
    bytes_read: u64,
    bytes_written: u64,
}

/// The body of the message that is being read from a [`Connection`].
#[derive(Debug)]
pub struct Incoming {
    connection: Shared,
}

#[derive(Debug)]
enum BodyState {
    /// No body, or all of it was read.
    End,
    Length(u64),
    Chunked(Box<ChunkDecoder>),
    /// Until the peer closes (responses only, RFC 9112 §6.3).
    UntilClose,
    /// The body broke; the connection cannot be used again.
    Failed,
}

/// Bytes on their way out: a flat buffer of heads and small pieces, then large pieces by reference.
#[derive(Debug, Default)]
struct WriteBuffer {
    flat: Vec<u8>,
    written: usize,
    queue: VecDeque<Bytes>,
}

impl Connection {
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            stream,
            pending: BytesMut::new(),
            eof: false,
            body: BodyState::End,
            out: WriteBuffer::default(),
            expect_continue: false,
            trailers: true,
            bytes_read: 0,
            bytes_written: 0,
        }
    }

    pub(crate) fn shared(stream: Stream) -> Shared {
        Rc::new(RefCell::new(Self::new(stream)))
    }

    pub(crate) const fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Takes what was read, as if the stream had been exchanged for an empty one. For upgrades, where
    /// other handles to the connection may still exist.
    pub(crate) fn take_pending(&mut self) -> Bytes {
        self.pending.split().freeze()
    }

    /// Bytes read and written since the last call: the wire size of one exchange.
    pub(crate) const fn take_counts(&mut self) -> (u64, u64) {
        let counts = (self.bytes_read, self.bytes_written);
        self.bytes_read = 0;
        self.bytes_written = 0;
        counts
    }

    /// Bytes read and not yet used.
    pub(crate) fn pending(&self) -> &[u8] {
        &self.pending
    }

    /// Takes the first `length` bytes of what was read.
    pub(crate) fn take(&mut self, length: usize) -> Bytes {
        self.bytes_read += length as u64;
        if length == self.pending.len() {
            // With the allocation: holding it would keep it alive while the connection idles.
            return std::mem::take(&mut self.pending).freeze();
        }
        self.pending.split_to(length).freeze()
    }

    pub(crate) fn skip(&mut self, length: usize) {
        self.pending.advance(length);
        self.bytes_read += length as u64;
    }

    pub(crate) const fn is_eof(&self) -> bool {
        self.eof
    }

    /// Whether the peer is gone or sent bytes while the connection was idle.
    pub(crate) fn is_stale(&self) -> bool {
        self.eof || !self.pending.is_empty() || self.stream.is_stale()
    }

    /// Reads what is there, at most a scratch buffer full; `Ok(0)` is the end of the stream.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.eof {
            return Poll::Ready(Ok(0));
        }
        if self.stream.is_plain() {
            return self.poll_fill_plain(cx);
        }
        scratch::with(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            let filled = buffer.filled();
            self.eof = filled.is_empty();
            if self.pending.capacity() == 0 {
                // As nearly always: exactly what is needed, without asking how to grow.
                self.pending = BytesMut::from(filled);
            } else {
                self.pending.extend_from_slice(filled);
            }
            Poll::Ready(Ok(filled.len()))
        })
    }

    /// The same without TLS, where the kernel may write to memory as it is: a large piece stays where it was read to.
    fn poll_fill_plain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        scratch::with_room(|room| {
            let read = ready!(pin!(self.stream.read_buf(room)).poll(cx))?;
            self.eof = read == 0;
            if self.pending.capacity() > 0 {
                self.pending.extend_from_slice(room);
            } else if read < scratch::LARGE {
                self.pending = BytesMut::from(&room[..]);
            } else {
                self.pending = room.split();
            }
            Poll::Ready(Ok(read))
        })
    }

    /// Prepares for the body that follows the head just taken.
    pub(crate) fn begin_body(&mut self, framing: Framing, expect_continue: bool) {
        self.expect_continue = expect_continue;
        self.body = match framing {
            Framing::None | Framing::Length(0) => BodyState::End,
            Framing::Length(length) => BodyState::Length(length),
            Framing::Chunked => {
                BodyState::Chunked(Box::new(ChunkDecoder::new(&ChunkLimits::default())))
            }
            Framing::UntilClose => BodyState::UntilClose,
        };
    }

    /// Says whether trailers pass, in and out; else they are dropped.
    pub(crate) const fn pass_trailers(&mut self, pass: bool) {
        self.trailers = pass;
    }

    /// Whether trailers pass.
    pub(crate) const fn passes_trailers(&self) -> bool {
        self.trailers
    }

    /// Whether the body of the current message was read to its end.
    pub(crate) const fn is_body_read(&self) -> bool {
        matches!(self.body, BodyState::End)
    }

    /// Forgets a `100 Continue` that was still owed: the final answer went first.
    pub(crate) const fn cancel_continue(&mut self) {
        self.expect_continue = false;
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        loop {
            match self.step() {
                Ok(Step::Frame(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(Step::End) => return Poll::Ready(None),
                Ok(Step::More) => {}
                Err(error) => {
                    self.body = BodyState::Failed;
                    return Poll::Ready(Some(Err(error)));
                }
            }
            if self.expect_continue {
                self.expect_continue = false;
                self.flat()
                    .extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                if let Poll::Ready(Err(error)) = self.poll_flush(cx) {
                    self.body = BodyState::Failed;
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
            match ready!(self.poll_fill(cx)) {
                Ok(0) if matches!(self.body, BodyState::UntilClose) => {
                    self.body = BodyState::End;
                    return Poll::Ready(None);
                }
                Ok(0) => {
                    self.body = BodyState::Failed;
                    return Poll::Ready(Some(Err(BodyError::Closed)));
                }
                Ok(_) => {}
                Err(error) => {
                    self.body = BodyState::Failed;
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
        }
    }

    /// Makes what can be made of the bytes that are here.
    fn step(&mut self) -> Result<Step, BodyError> {
        match &mut self.body {
            BodyState::End => Ok(Step::End),
            BodyState::Failed => Err(BodyError::Closed),
            _ if self.pending.is_empty() => Ok(Step::More),
            BodyState::Length(left) => {
                let length = (*left).min(self.pending.len() as u64);
                *left -= length;
                if *left == 0 {
                    self.body = BodyState::End;
                }
                // `length` is at most `pending.len()`, a usize.
                #[expect(clippy::cast_possible_truncation, reason = "bounded by a usize above")]
                Ok(Step::Frame(Frame::Data(self.take(length as usize))))
            }
            BodyState::UntilClose => {
                let length = self.pending.len();
                Ok(Step::Frame(Frame::Data(self.take(length))))
            }
            BodyState::Chunked(decoder) => {
                let (consumed, event) = decoder
                    .decode(&self.pending)
                    .map_err(|_| BodyError::Malformed("http1.invalid_chunk"))?;
                match event {
                    ChunkEvent::Data(range) => {
                        self.skip(range.start);
                        debug_assert_eq!(range.end, consumed);
                        Ok(Step::Frame(Frame::Data(self.take(range.len()))))
                    }
                    ChunkEvent::NeedMore => {
                        self.skip(consumed);
                        Ok(Step::More)
                    }
                    ChunkEvent::End(trailers) => {
                        self.skip(consumed);
                        self.body = BodyState::End;
                        if self.pending.is_empty() {
                            self.pending = BytesMut::new();
                        }
                        Ok(if trailers.is_empty() || !self.trailers {
                            Step::End
                        } else {
                            Step::Frame(Frame::Trailers(trailers))
                        })
                    }
                }
            }
        }
    }

    /// Where heads are encoded to. Call only while nothing is queued by reference.
    pub(crate) fn flat(&mut self) -> &mut Vec<u8> {
        debug_assert!(self.out.queue.is_empty());
        if self.out.flat.capacity() == 0 {
            self.out.flat = scratch::write_buffer();
        }
        &mut self.out.flat
    }

    /// Queues `bytes` after everything queued before: small pieces are copied, large ones kept.
    pub(crate) fn queue(&mut self, bytes: Bytes) {
        if self.out.queue.is_empty() && bytes.len() <= COPY_LIMIT {
            self.flat().extend_from_slice(&bytes);
        } else {
            self.out.queue.push_back(bytes);
        }
    }

    /// Bytes waiting to be written.
    pub(crate) fn queued(&self) -> usize {
        let large: usize = self.out.queue.iter().map(Bytes::len).sum();
        self.out.flat.len() - self.out.written + large
    }

    /// Writes everything out.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let out = &mut self.out;
        while out.written < out.flat.len() || !out.queue.is_empty() {
            let stream = Pin::new(&mut self.stream);
            let flat = &out.flat[out.written..];
            let written = if out.queue.is_empty() {
                ready!(stream.poll_write(cx, flat))?
            } else {
                let mut slices = [IoSlice::new(&[]); 8];
                let mut used = 0;
                for piece in std::iter::once(flat)
                    .chain(out.queue.iter().map(|bytes| &bytes[..]))
                    .filter(|piece| !piece.is_empty())
                    .take(slices.len())
                {
                    slices[used] = IoSlice::new(piece);
                    used += 1;
                }
                ready!(stream.poll_write_vectored(cx, &slices[..used]))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.bytes_written += written as u64;
            out.advance(written);
        }
        if out.flat.capacity() > 0 {
            out.written = 0;
            scratch::give_back(std::mem::take(&mut out.flat));
        }
        // A no-op on plain sockets; TLS writes its last record here.
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    /// Ready when the peer closed. Bytes that arrive before are kept, up to a bound, beyond which the
    /// peer is no longer watched (it pipelines without end: reading on would hold its memory for it).
    pub(crate) fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.pending.len() < PIPELINE_LIMIT {
            match ready!(self.poll_fill(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
        Poll::Pending
    }
}

impl Incoming {
    pub(crate) const fn new(connection: Shared) -> Self {
        Self { connection }
    }

    pub(crate) fn is_end(&self) -> bool {
        self.connection.borrow().is_body_read()
    }

    pub(crate) fn exact_length(&self) -> Option<u64> {
        match self.connection.borrow().body {
            BodyState::End => Some(0),
            BodyState::Length(length) => Some(length),
            _ => None,
        }
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame, BodyError>>> {
        self.connection.borrow_mut().poll_frame(cx)
    }
}

impl WriteBuffer {
    fn advance(&mut self, mut written: usize) {
        let flat = (self.flat.len() - self.written).min(written);
        self.written += flat;
        written -= flat;
        while written > 0 {
            // The kernel cannot have taken more than it was offered.
            let Some(front) = self.queue.front_mut() else {
                return;
            };
            if written < front.len() {
                front.advance(written);
                return;
            }
            written -= front.len();
            self.queue.pop_front();
        }
    }
}

enum Step {
    Frame(Frame),
    More,
    End,
}

/// Pieces up to this size are copied behind the head: one slice is cheaper than two.
const COPY_LIMIT: usize = 2048;
/// Requests that a peer may send ahead while its first one is being answered.
const PIPELINE_LIMIT: usize = 64 * 1024;
