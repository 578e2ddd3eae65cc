//! Frame budgets below `h2`.
//!
//! A stream under an `h2` connection that reads the nine-byte frame headers passing by, in both directions and cut
//! anywhere, and keeps budgets which refill with time. It looks at no payload but the error code of a RST_STREAM that we
//! send, copies nothing and holds a few hundred bytes per connection.
//!
//! Which guard lives where (`h2` 0.4.20, read in its source):
//!
//! | attack | guard |
//! |---|---|
//! | PING and SETTINGS floods (CVE-2019-9512, -9515) | here. `h2` answers them one by one and never counts |
//! | rapid reset (CVE-2023-44487) | here: every reset of a young stream. `h2` counts only those not yet accepted (`max_pending_accept_reset_streams`, 20) |
//! | MadeYouReset (CVE-2025-8671) | here, with refill, by the RST_STREAM frames that we send; `h2` has `max_local_error_reset_streams` (1024 in a connection's life) |
//! | empty DATA (CVE-2019-9518, RUSTSEC-2026-0258) | here by rate, and taken out: `h2` allows 100 in a connection's life, which cannot be set and which gRPC connections live to see |
//! | no SETTINGS first (RFC 9113 §3.4) | here; `h2` takes any frame |
//! | small and padded DATA | `h2`: `data_frame_budget`, by payload bytes without padding |
//! | PRIORITY, WINDOW_UPDATE (CVE-2019-9511, -9513), unknown types | here. `h2` takes any number |
//! | CONTINUATION flood (CVE-2024-27316) | here before decoding, frames and bytes of a block; `h2` caps frames by `max_header_list_size` |
//! | HPACK bomb (CVE-2026-49975) | `h2`: `max_header_list_size` on decoded bytes + 32 a field, four times of it ends the connection |
//! | too many open streams | `h2`: `max_concurrent_streams`; each refusal is a RST_STREAM that counts here |
//! | HEADERS that open no stream (trailers, 1xx) | here |
//! | PUSH_PROMISE | here, at once, from either side: we never enable push |
//! | resources that a peer never frees (stalled windows) | deadlines of the stream's owner |
//!
//! The figures behind [`Budgets::default`] follow nghttp2 (resets: 1000, 33 a second) and Envoy (`PRIORITY` 100 a
//! stream, `WINDOW_UPDATE` 10 a DATA frame sent, a reset is premature within one second).

mod reader;
mod watch;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub use self::watch::{FrameWatch, fuzz_frames};

/// A number of frames that may come at once, and how fast it refills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Frames at once.
    pub burst: u32,
    /// Frames that come back each second.
    pub per_second: u32,
}

/// How much of each kind of frame a peer may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// PING, acknowledgements too. Each DATA frame that we send or receive earns one: gRPC probes bandwidth so.
    pub pings: Budget,
    /// SETTINGS, acknowledgements too; a long one counts as several.
    pub settings: Budget,
    /// RST_STREAM from the peer for streams younger than a second; each new stream earns half a frame.
    pub resets: Budget,
    /// RST_STREAM that we send because the peer broke a rule or opened too much.
    pub provoked_resets: Budget,
    /// DATA without payload and END_STREAM.
    pub empty_data: Budget,
    /// PRIORITY and PRIORITY_UPDATE; each new stream earns ten.
    pub priorities: Budget,
    /// WINDOW_UPDATE; each new stream earns two, each DATA frame that we send ten.
    pub window_updates: Budget,
    /// HEADERS that open no stream: trailers, 1xx, refused repeats; each new stream earns two.
    pub further_headers: Budget,
    /// GOAWAY, ALTSVC, ORIGIN and unknown types.
    pub others: Budget,
    /// CONTINUATION frames of one header block.
    pub continuations: u32,
    /// Bytes of one header block, compressed, with padding.
    pub header_block_bytes: u32,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            pings: Budget::new(200, 20),
            settings: Budget::new(50, 5),
            resets: Budget::new(500, 33),
            provoked_resets: Budget::new(200, 20),
            empty_data: Budget::new(100, 20),
            priorities: Budget::new(200, 20),
            window_updates: Budget::new(500, 100),
            further_headers: Budget::new(100, 20),
            others: Budget::new(50, 5),
            continuations: 16,
            header_block_bytes: 96 * 1024,
        }
    }
}

impl Budget {
    /// A budget.
    pub const fn new(burst: u32, per_second: u32) -> Self {
        Self { burst, per_second }
    }
}

/// What a peer did too often, or must not do; the answer is GOAWAY with [`Violation::reason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[repr(u8)]
pub enum Violation {
    /// PING frames.
    #[error("too many PING frames")]
    Ping = 1,
    /// SETTINGS frames.
    #[error("too many SETTINGS frames")]
    Settings,
    /// Streams opened and reset at once.
    #[error("too many streams reset by the peer")]
    Reset,
    /// Streams that we had to reset.
    #[error("too many streams that the peer made us reset")]
    ProvokedReset,
    /// DATA frames that carry nothing.
    #[error("too many empty DATA frames")]
    EmptyData,
    /// PRIORITY frames.
    #[error("too many PRIORITY frames")]
    Priority,
    /// WINDOW_UPDATE frames.
    #[error("too many WINDOW_UPDATE frames")]
    WindowUpdate,
    /// HEADERS frames that open no stream.
    #[error("too many HEADERS frames that open no stream")]
    FurtherHeaders,
    /// Frames of other kinds.
    #[error("too many frames of no use")]
    Other,
    /// CONTINUATION frames of one header block.
    #[error("too many CONTINUATION frames")]
    Continuation,
    /// Bytes of one header block.
    #[error("header block too large")]
    HeaderBlock,
    /// PUSH_PROMISE, which a client may not send and which we forbid servers to.
    #[error("PUSH_PROMISE without leave")]
    PushPromise,
    /// The first frame is not SETTINGS (RFC 9113 §3.4).
    #[error("no SETTINGS behind the preface")]
    NoSettings,
}

impl Violation {
    /// A stable name for logs: Envoy's response code detail where Envoy has one for the case.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::EmptyData => "http2.inbound_empty_frames_flood",
            Self::Priority => "http2.inbound_priority_frames_flood",
            Self::WindowUpdate => "http2.inbound_window_update_frames_flood",
            Self::Ping | Self::Settings | Self::Other => "http2.inbound_control_frames_flood",
            Self::Reset => "http2.premature_resets",
            Self::ProvokedReset => "http2.provoked_resets",
            Self::FurtherHeaders => "http2.inbound_headers_flood",
            Self::Continuation | Self::HeaderBlock => "http2.continuation_flood",
            Self::PushPromise | Self::NoSettings => "http2.violation.of.messaging.rule",
        }
    }

    /// The error code of the GOAWAY that ends the connection.
    pub const fn reason(self) -> h2::Reason {
        match self {
            Self::NoSettings => h2::Reason::PROTOCOL_ERROR,
            _ => h2::Reason::ENHANCE_YOUR_CALM,
        }
    }

    const ALL: [Self; 13] = [
        Self::Ping,
        Self::Settings,
        Self::Reset,
        Self::ProvokedReset,
        Self::EmptyData,
        Self::Priority,
        Self::WindowUpdate,
        Self::FurtherHeaders,
        Self::Other,
        Self::Continuation,
        Self::HeaderBlock,
        Self::PushPromise,
        Self::NoSettings,
    ];
}

impl From<Violation> for io::Error {
    fn from(violation: Violation) -> Self {
        Self::other(violation)
    }
}

/// Where the owner of the connection sees what the watch saw. The owner keeps one beside the `h2` connection.
#[derive(Clone, Debug, Default)]
pub struct Alarm(Arc<AtomicU8>);

impl Alarm {
    /// The first violation, if there was one. Look after the connection ended with an error, then call
    /// `abrupt_shutdown` with [`Violation::reason`], poll the connection to its end, and close.
    pub fn violation(&self) -> Option<Violation> {
        let code = self.0.load(Ordering::Relaxed);
        Violation::ALL
            .into_iter()
            .find(|violation| *violation as u8 == code)
    }

    fn raise(&self, violation: Violation) {
        // Only one task polls the connection; the first violation stays.
        if self.0.load(Ordering::Relaxed) == 0 {
            self.0.store(violation as u8, Ordering::Relaxed);
        }
    }
}

/// A stream whose reads and writes pass by a [`FrameWatch`]. After a violation reads fail and deliver nothing more, while
/// writes still go through: GOAWAY has to.
#[derive(Debug)]
pub struct Guarded<Io> {
    io: Io,
    watch: FrameWatch,
    alarm: Alarm,
}

impl<Io> Guarded<Io> {
    /// A stream under `h2::server`.
    pub fn server(io: Io, budgets: Arc<Budgets>) -> (Self, Alarm) {
        Self::over(io, FrameWatch::server(budgets, Instant::now()))
    }

    /// A stream under `h2::client`; build it with `enable_push(false)`.
    pub fn client(io: Io, budgets: Arc<Budgets>) -> (Self, Alarm) {
        Self::over(io, FrameWatch::client(budgets, Instant::now()))
    }

    /// The stream below.
    pub const fn io(&self) -> &Io {
        &self.io
    }

    fn over(io: Io, watch: FrameWatch) -> (Self, Alarm) {
        let alarm = Alarm::default();
        let guarded = Self {
            io,
            watch,
            alarm: alarm.clone(),
        };
        (guarded, alarm)
    }

    fn written(&mut self, bytes: &[u8]) {
        if let Err(violation) = self.watch.outbound(bytes, Instant::now()) {
            self.alarm.raise(violation);
        }
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Guarded<Io> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(violation) = this.alarm.violation() {
            return Poll::Ready(Err(violation.into()));
        }
        let before = buffer.filled().len();
        loop {
            let result = Pin::new(&mut this.io).poll_read(context, buffer);
            let arrived = &mut buffer.filled_mut()[before..];
            if arrived.is_empty() {
                return result;
            }
            match this.watch.filter(arrived, Instant::now()) {
                Ok(kept) => buffer.set_filled(before + kept),
                Err(violation) => {
                    this.alarm.raise(violation);
                    buffer.set_filled(before);
                    return Poll::Ready(Err(violation.into()));
                }
            }
            // Nothing left would read as the end of the stream.
            if buffer.filled().len() > before {
                return result;
            }
        }
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Guarded<Io> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.io).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = result {
            this.written(&bytes[..count.min(bytes.len())]);
        }
        result
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.io).poll_write_vectored(context, slices);
        if let Poll::Ready(Ok(mut count)) = result {
            for slice in slices {
                let part = count.min(slice.len());
                if part == 0 {
                    break;
                }
                this.written(&slice[..part]);
                count -= part;
            }
        }
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
