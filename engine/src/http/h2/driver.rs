//! Moves the bytes of a connection: reads what is there, writes what is queued.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::Settings;
use super::connection::{Connection, Read, Shared};
use super::frame;
use crate::net::{Stream, scratch};
use crate::runtime::Timer;

/// The transport of a connection.
#[derive(Debug)]
pub(super) struct Driver {
    io: Stream,
    connection: Shared,
    /// Whether something was written that the transport may still hold.
    unflushed: bool,
    ended: bool,
    /// Whether a connection that is over is read on for a while.
    lingers: bool,
    keepalive: Option<Keepalive>,
    /// What is waited for while the connection goes away.
    timer: Timer,
    left_at: Option<Instant>,
    closing: Closing,
}

/// PING frames that tell whether the peer is alive.
#[derive(Debug)]
struct Keepalive {
    interval: Duration,
    timeout: Duration,
    due: Instant,
    /// How many answers there will have been, and until when; `None` while none is waited for.
    waiting: Option<(u32, Instant)>,
    timer: Timer,
}

#[derive(Clone, Copy, Debug)]
enum Closing {
    No,
    Shutdown,
    /// Reads and drops what comes, so that the kernel does not reset what the peer has not read (RFC 9112 §9.6).
    Linger {
        until: Instant,
        dropped: usize,
    },
    Done,
}

impl Driver {
    pub(super) fn new(io: Stream, connection: Shared, settings: &Settings) -> Self {
        let lingers = connection.borrow().serves();
        let keepalive = settings.keepalive_interval.map(|interval| Keepalive {
            interval,
            timeout: settings.keepalive_timeout,
            due: Instant::now() + interval,
            waiting: None,
            timer: Timer::default(),
        });
        Self {
            io,
            connection,
            unflushed: false,
            ended: false,
            lingers,
            keepalive,
            timer: Timer::default(),
            left_at: None,
            closing: Closing::No,
        }
    }

    pub(super) const fn connection(&self) -> &Shared {
        &self.connection
    }

    /// Waits for the peer's preface and first frame; false where something else came, or nothing.
    pub(super) async fn greeted(&mut self) -> bool {
        poll_fn(|cx| {
            let over = self.poll(cx).is_ready();
            if self.connection.borrow().is_greeted() {
                return Poll::Ready(true);
            }
            if over {
                Poll::Ready(false)
            } else {
                Poll::Pending
            }
        })
        .await
    }

    /// Moves what can be moved; ready when the connection is over.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !matches!(self.closing, Closing::No) {
            return self.poll_close(cx);
        }
        {
            let mut connection = self.connection.borrow_mut();
            connection.register_driver(cx);
        }
        while let Poll::Ready(more) = self.poll_read(cx) {
            if !more {
                break;
            }
        }
        self.poll_limits(cx);
        let written = self.poll_write(cx);
        let mut connection = self.connection.borrow_mut();
        if let Err(error) = &written {
            connection.lose(error.kind());
        }
        if connection.over().is_none() && connection.is_done() {
            connection.finish();
        }
        if connection.over().is_none() {
            return Poll::Pending;
        }
        drop(connection);
        self.closing = match written {
            Ok(_) => Closing::Shutdown,
            Err(_) => Closing::Done,
        };
        self.poll_close(cx)
    }

    /// Reads once; false where no more is to be read.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut connection = self.connection.borrow_mut();
        if self.ended || connection.over().is_some() || connection.out().len() > MOST_ANSWERS {
            return Poll::Ready(false);
        }
        let io = &mut self.io;
        let read = if io.is_plain() {
            scratch::with_room(|room| {
                let read = ready!(pin!(io.read_buf(room)).poll(cx));
                if matches!(read, Ok(1..)) {
                    take(&mut connection, room);
                }
                Poll::Ready(read)
            })
        } else {
            scratch::with(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                ready!(Pin::new(io).poll_read(cx, &mut buffer))?;
                let bytes = buffer.filled();
                if !bytes.is_empty() {
                    let shared = None;
                    connection.receive(Read { bytes, shared }, Instant::now());
                }
                Poll::Ready(Ok(bytes.len()))
            })
        };
        Poll::Ready(match ready!(read) {
            Ok(0) => {
                self.ended = true;
                connection.lose(io::ErrorKind::UnexpectedEof);
                false
            }
            Ok(_) => connection.over().is_none(),
            Err(error) => {
                self.ended = true;
                connection.lose(error.kind());
                false
            }
        })
    }

    /// Writes what is queued; whether all of it is out.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut connection = self.connection.borrow_mut();
        loop {
            connection.fill();
            if connection.out().is_empty() {
                break;
            }
            self.unflushed = true;
            if connection.out().poll_write(&mut self.io, cx)?.is_pending() {
                return Ok(false);
            }
        }
        if self.unflushed {
            // A no-op on plain sockets; TLS writes its last record here.
            if Pin::new(&mut self.io).poll_flush(cx)?.is_pending() {
                return Ok(false);
            }
            self.unflushed = false;
        }
        Ok(true)
    }

    /// What time brings.
    fn poll_limits(&mut self, cx: &mut Context<'_>) {
        let mut connection = self.connection.borrow_mut();
        if connection.over().is_some() {
            return;
        }
        if connection.is_leaving() {
            let left_at = *self.left_at.get_or_insert_with(Instant::now);
            if self.timer.poll(cx, left_at + LEAVE_WITHIN).is_ready() {
                connection.leave_now();
            }
        }
        if let Some(keepalive) = &mut self.keepalive {
            keepalive.poll(&mut connection, cx);
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.closing {
                Closing::No | Closing::Done => return Poll::Ready(()),
                Closing::Shutdown => {
                    if matches!(self.poll_write(cx), Ok(false)) {
                        // A peer that reads nothing is not waited for longer than one that says nothing.
                        let since = *self.left_at.get_or_insert_with(Instant::now);
                        ready!(self.timer.poll(cx, since + LEAVE_WITHIN));
                        self.closing = Closing::Done;
                        continue;
                    }
                    let closed = ready!(Pin::new(&mut self.io).poll_shutdown(cx));
                    // Only a client may have asked for what it has not read the answer to.
                    self.closing = if closed.is_err() || self.ended || !self.lingers {
                        Closing::Done
                    } else {
                        let until = Instant::now() + LINGER;
                        Closing::Linger { until, dropped: 0 }
                    };
                }
                Closing::Linger { until, dropped } => {
                    let read = scratch::with(|scratch| {
                        let mut buffer = ReadBuf::new(scratch);
                        let read = Pin::new(&mut self.io).poll_read(cx, &mut buffer);
                        read.map_ok(|()| buffer.filled().len())
                    });
                    match read {
                        Poll::Ready(Ok(length @ 1..)) if dropped < MOST_DROPPED => {
                            let dropped = dropped + length;
                            self.closing = Closing::Linger { until, dropped };
                        }
                        Poll::Ready(_) => self.closing = Closing::Done,
                        Poll::Pending => {
                            ready!(self.timer.poll(cx, until));
                            self.closing = Closing::Done;
                        }
                    }
                }
            }
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Whoever still holds a stream must not wait for ever.
        if let Ok(mut connection) = self.connection.try_borrow_mut() {
            connection.lose(io::ErrorKind::NotConnected);
        }
    }
}

impl Keepalive {
    fn poll(&mut self, connection: &mut Connection, cx: &mut Context<'_>) {
        loop {
            let due = match self.waiting {
                Some((answers, _)) if connection.pongs() >= answers => {
                    self.waiting = None;
                    self.due = Instant::now() + self.interval;
                    continue;
                }
                Some((_, until)) => until,
                None => self.due,
            };
            if self.timer.poll(cx, due).is_pending() {
                return;
            }
            if self.waiting.is_some() {
                connection.lose(io::ErrorKind::TimedOut);
                return;
            }
            connection.ping();
            self.waiting = Some((connection.pongs() + 1, Instant::now() + self.timeout));
        }
    }
}

/// Gives the connection what was read.
fn take(connection: &mut Connection, room: &mut BytesMut) {
    let now = Instant::now();
    if room.len() < scratch::LARGE {
        let shared = None;
        let bytes = &room[..];
        connection.receive(Read { bytes, shared }, now);
    } else {
        let shared = room.split().freeze();
        let bytes = &shared[..];
        let shared = Some(&shared);
        connection.receive(Read { bytes, shared }, now);
    }
}

/// Bytes that may wait to be written before nothing more is read: whoever asks must take the answers.
const MOST_ANSWERS: usize = 256 * 1024;
/// How long the peer has to show that it read the first GOAWAY; Envoy's drain time.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);
/// How long, and how much, a closed connection is read to let the last frames arrive.
const LINGER: Duration = Duration::from_secs(1);
const MOST_DROPPED: usize = 1024 * 1024;
const _: () = assert!(MOST_ANSWERS > frame::MAX_FRAME);
