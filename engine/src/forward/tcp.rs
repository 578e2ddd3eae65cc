//! One TCP stream through: bytes both ways, half-close both ways.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::{Stream, scratch};

/// Bytes that went through, to be read while they do.
#[derive(Debug, Default)]
pub struct Progress {
    /// From the client.
    pub received: Cell<u64>,
    /// To the client.
    pub sent: Cell<u64>,
}

/// How a stream ended.
#[derive(Debug)]
pub enum End {
    /// Both sides closed.
    Closed,
    /// Nothing moved for the idle time.
    Idle,
    /// The stream's longest duration was reached.
    MaxDuration,
    /// The client's side failed.
    Client(io::Error),
    /// The host's side failed.
    Host(io::Error),
}

/// Takes something off the head of one way of a stream, such as a peer's metadata.
pub trait Head {
    /// Looks at everything that arrived so far; `end` where nothing follows.
    fn take(&mut self, arrived: &[u8], end: bool) -> Taken;
}

/// What becomes of the bytes that [`Head::take`] saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// More have to come before anything can be said.
    More,
    /// The first so many are taken off; all others go on.
    Off(usize),
    /// They are nothing that may go on.
    Refuse,
}

/// What is taken off the two ways before bytes go through.
#[derive(Default)]
pub struct Heads<'a> {
    /// From the client.
    pub client: Option<&'a mut dyn Head>,
    /// From the host.
    pub host: Option<&'a mut dyn Head>,
}

/// Limits of a stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Longest silence; `None` is no limit.
    pub idle: Option<Duration>,
    /// Longest duration; `None` is no limit.
    pub max_duration: Option<Duration>,
}

/// One way of a stream.
struct Way<'a> {
    /// Read and not yet written.
    pending: Bytes,
    state: State,
    /// Looks at the first bytes, which are held until it is done.
    head: Option<&'a mut dyn Head>,
    held: BytesMut,
    /// How much to ask for at once: more where bulk flows, less where the other side takes its time, since what it does not take is kept.
    appetite: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// The reading side ended; what is pending and the end itself are still to be written.
    Ending,
    Ended,
}

/// Which side of a way failed.
enum Failure {
    Read(io::Error),
    Write(io::Error),
}

/// Carries bytes between the two until both ways ended, one failed, or a limit was reached.
pub async fn relay(
    client: &mut Stream,
    host: &mut Stream,
    limits: Limits,
    progress: &Progress,
    heads: Heads<'_>,
) -> End {
    let start = Instant::now();
    let mut moved = start;
    let mut up = Way::new(heads.client);
    let mut down = Way::new(heads.host);
    let mut timer = std::pin::pin!(tokio::time::sleep(Duration::ZERO));
    let mut armed = false;
    poll_fn(|cx| {
        let before = (progress.received.get(), progress.sent.get());
        let up_done = match up.poll(client, host, &progress.received, cx) {
            Poll::Ready(Err(Failure::Read(error))) => return Poll::Ready(End::Client(error)),
            Poll::Ready(Err(Failure::Write(error))) => return Poll::Ready(End::Host(error)),
            other => other.is_ready(),
        };
        let down_done = match down.poll(host, client, &progress.sent, cx) {
            Poll::Ready(Err(Failure::Read(error))) => return Poll::Ready(End::Host(error)),
            Poll::Ready(Err(Failure::Write(error))) => return Poll::Ready(End::Client(error)),
            other => other.is_ready(),
        };
        if up_done && down_done {
            return Poll::Ready(End::Closed);
        }
        if limits.idle.is_none() && limits.max_duration.is_none() {
            return Poll::Pending;
        }
        if before != (progress.received.get(), progress.sent.get()) {
            moved = Instant::now();
        }
        let idle = limits.idle.map(|idle| (moved + idle, End::Idle));
        let max = limits
            .max_duration
            .map(|max| (start + max, End::MaxDuration));
        let Some((due, end)) = idle.into_iter().chain(max).min_by_key(|(due, _)| *due) else {
            return Poll::Pending;
        };
        // Re-armed only when it fires too early: moving bytes costs no timer.
        if !armed {
            armed = true;
            timer.as_mut().reset(due.into());
        }
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= due {
                return Poll::Ready(end);
            }
            timer.as_mut().reset(due.into());
        }
        Poll::Pending
    })
    .await
}

impl<'a> Way<'a> {
    fn new(head: Option<&'a mut dyn Head>) -> Self {
        Self {
            pending: Bytes::new(),
            state: State::Open,
            head,
            held: BytesMut::new(),
            appetite: scratch::SIZE,
        }
    }

    fn poll(
        &mut self,
        from: &mut Stream,
        to: &mut Stream,
        count: &Cell<u64>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Failure>> {
        loop {
            while !self.pending.is_empty() {
                let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.pending))
                    .map_err(Failure::Write)?;
                self.pending.advance(written);
            }
            match self.state {
                State::Open => {}
                State::Ending => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx)).map_err(Failure::Write)?;
                    self.state = State::Ended;
                }
                State::Ended => return Poll::Ready(Ok(())),
            }
            if self.state == State::Ended {
                continue;
            }
            let read = ready!(self.poll_copy(from, to, cx))?;
            count.set(count.get() + read as u64);
            if read == 0 {
                // What was held back goes on before the end does.
                self.state = State::Ending;
            }
        }
    }

    /// Reads into the worker's buffer and writes from it; what the other side does not take is kept.
    fn poll_copy(
        &mut self,
        from: &mut Stream,
        to: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, Failure>> {
        scratch::with_up_to(self.appetite, |buffer| {
            let mut buffer = ReadBuf::new(buffer);
            match Pin::new(from).poll_read(cx, &mut buffer) {
                Poll::Ready(result) => result.map_err(Failure::Read)?,
                Poll::Pending => {
                    // TLS keeps the last record until it is asked to send it.
                    if let Poll::Ready(Err(error)) = Pin::new(to).poll_flush(cx) {
                        return Poll::Ready(Err(Failure::Write(error)));
                    }
                    return Poll::Pending;
                }
            }
            let whole = buffer.remaining() == 0;
            let filled = buffer.filled();
            if let Some(head) = &mut self.head {
                self.held.extend_from_slice(filled);
                match head.take(&self.held, filled.is_empty()) {
                    Taken::More => return Poll::Ready(Ok(filled.len())),
                    Taken::Off(length) => {
                        self.head = None;
                        self.held.advance(length.min(self.held.len()));
                        self.pending = self.held.split().freeze();
                        return Poll::Ready(Ok(filled.len()));
                    }
                    Taken::Refuse => {
                        let error = io::Error::from(io::ErrorKind::InvalidData);
                        return Poll::Ready(Err(Failure::Read(error)));
                    }
                }
            }
            let written = match Pin::new(to).poll_write(cx, filled) {
                Poll::Ready(written) if !filled.is_empty() => written.map_err(Failure::Write)?,
                _ => 0,
            };
            self.pending = Bytes::copy_from_slice(&filled[written..]);
            if !self.pending.is_empty() {
                self.appetite = scratch::SIZE;
            } else if whole {
                self.appetite = scratch::BULK;
            }
            Poll::Ready(Ok(filled.len()))
        })
    }
}

impl std::fmt::Debug for Heads<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Heads")
            .field("client", &self.client.is_some())
            .field("host", &self.host.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests;
