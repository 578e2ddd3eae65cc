//! Frame budgets below `h2`.
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much of each frame kind a peer may send; counters lose what `per_second` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budgets {}

/// What a peer did too often; the answer is GOAWAY ENHANCE_YOUR_CALM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// PING frames.
    #[error("too many PING frames")]
    Ping,
}

impl Violation {
    /// A stable name in the manner of Envoy's response code details.
    pub const fn detail(self) -> &'static str {
        "http2.inbound_frame_flood"
    }
}

/// Reads the frame headers of both directions of a connection and keeps the budgets; no I/O.
#[derive(Debug)]
pub struct FrameWatch {}

impl FrameWatch {
    /// A watch over a connection that we serve: the peer's bytes start with the preface.
    pub fn server(budgets: Arc<Budgets>) -> Self {
        let _ = budgets;
        Self {}
    }

    /// A watch over a connection that we opened.
    pub fn client(budgets: Arc<Budgets>) -> Self {
        let _ = budgets;
        Self {}
    }

    /// Bytes from the peer, cut anywhere.
    pub fn inbound(&mut self, bytes: &[u8], now: Instant) -> Result<(), Violation> {
        let _ = (bytes, now);
        todo!()
    }

    /// Bytes to the peer, cut anywhere.
    pub fn outbound(&mut self, bytes: &[u8], now: Instant) -> Result<(), Violation> {
        let _ = (bytes, now);
        todo!()
    }
}

/// Where the owner of the connection sees what the watch saw.
#[derive(Clone, Debug, Default)]
pub struct Alarm(Arc<AtomicU8>);

impl Alarm {
    /// The first violation, if there was one: call `abrupt_shutdown(Reason::ENHANCE_YOUR_CALM)` and close.
    pub fn violation(&self) -> Option<Violation> {
        let _ = &self.0;
        None
    }
}

/// A stream whose reads and writes pass by a [`FrameWatch`]; after a violation reads fail.
#[derive(Debug)]
pub struct Guarded<Io> {
    io: Io,
    watch: FrameWatch,
    alarm: Alarm,
}

impl<Io> Guarded<Io> {
    /// A stream under `h2::server`.
    pub fn server(io: Io, budgets: Arc<Budgets>) -> (Self, Alarm) {
        let alarm = Alarm::default();
        (
            Self {
                io,
                watch: FrameWatch::server(budgets),
                alarm: alarm.clone(),
            },
            alarm,
        )
    }

    /// A stream under `h2::client`.
    pub fn client(io: Io, budgets: Arc<Budgets>) -> (Self, Alarm) {
        let alarm = Alarm::default();
        (
            Self {
                io,
                watch: FrameWatch::client(budgets),
                alarm: alarm.clone(),
            },
            alarm,
        )
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Guarded<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let _ = (&self.watch, &self.alarm);
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Guarded<Io> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
