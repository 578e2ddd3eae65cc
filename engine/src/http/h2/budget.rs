//! Budgets of the frames that a peer may send.
//!
//! The one reader of a connection asks the [`Meter`] about each frame before it does anything about it. Its budgets
//! refill with time.
//!
//! | attack | guard |
//! |---|---|
//! | PING and SETTINGS floods (CVE-2019-9512, -9515) | budgets |
//! | rapid reset (CVE-2023-44487) | a budget for every reset of a young stream |
//! | MadeYouReset (CVE-2025-8671) | a budget for the RST_STREAM frames that we send because of the peer |
//! | empty DATA (CVE-2019-9518, RUSTSEC-2026-0258) | a budget; padding counts for nothing |
//! | PRIORITY, WINDOW_UPDATE (CVE-2019-9511, -9513), unknown types | budgets |
//! | CONTINUATION flood (CVE-2024-27316) | frames and bytes of a block, before it is decoded |
//! | HPACK bomb (CVE-2026-49975) | [`super::head`]: decoded bytes + 32 a field; four times the limit ends the connection |
//! | too many open streams | `max_concurrent_streams`; each refusal is a RST_STREAM that counts here |
//! | HEADERS that open no stream (trailers, 1xx) | a budget |
//! | PUSH_PROMISE | at once, from either side: we never enable push |
//! | data dribble (CVE-2019-9511), windows that a peer never opens | deadlines of the stream's owner |
//! | answers that nobody reads | no byte is read while too many wait to be written ([`super::driver`]) |
//!
//! The figures behind [`Budgets::default`] follow nghttp2 (resets: 1000, 33 a second) and Envoy (`PRIORITY` 100 a
//! stream, `WINDOW_UPDATE` 10 a DATA frame sent, a reset is premature within one second).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::Reason;
use super::frame::{self, Head};

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
pub enum Violation {
    /// PING frames.
    #[error("too many PING frames")]
    Ping,
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
    pub const fn reason(self) -> Reason {
        match self {
            Self::NoSettings => Reason::PROTOCOL_ERROR,
            _ => Reason::ENHANCE_YOUR_CALM,
        }
    }
}

/// The budgets of one connection.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    budgets: Arc<Budgets>,
    /// Whether the peer is the client and opens the streams.
    serves: bool,
    /// Whether the peer's first frame came.
    begun: bool,
    refilled: Instant,
    pings: Bucket,
    settings: Bucket,
    resets: Bucket,
    provoked_resets: Bucket,
    empty_data: Bucket,
    priorities: Bucket,
    window_updates: Bucket,
    further_headers: Bucket,
    others: Bucket,
    block: Block,
    streams: Ages,
}

impl Meter {
    /// Full budgets; `serves` says that the peer is the client and opens the streams.
    pub(super) fn new(budgets: Arc<Budgets>, serves: bool, now: Instant) -> Self {
        Self {
            serves,
            begun: false,
            refilled: now,
            pings: Bucket::full(budgets.pings),
            settings: Bucket::full(budgets.settings),
            resets: Bucket::full(budgets.resets),
            provoked_resets: Bucket::full(budgets.provoked_resets),
            empty_data: Bucket::full(budgets.empty_data),
            priorities: Bucket::full(budgets.priorities),
            window_updates: Bucket::with_streams(budgets.window_updates, 2 * WHOLE),
            further_headers: Bucket::with_streams(budgets.further_headers, 2 * WHOLE),
            others: Bucket::full(budgets.others),
            block: Block::default(),
            streams: Ages::new(now),
            budgets,
        }
    }

    /// A frame came.
    pub(super) fn received(&mut self, head: Head, now: Instant) -> Result<(), Violation> {
        if !self.begun {
            if head.kind != frame::SETTINGS || head.flags & frame::ACK != 0 {
                return Err(Violation::NoSettings);
            }
            self.begun = true;
            return Ok(());
        }
        let ends_stream = head.flags & frame::END_STREAM != 0;
        match head.kind {
            // What a busy connection consists of needs no clock.
            frame::DATA if head.flags & frame::PADDED != 0 => return Ok(()),
            frame::DATA if head.length != 0 => {
                self.pings.earn(WHOLE);
                return Ok(());
            }
            frame::DATA if ends_stream => return Ok(()),
            frame::HEADERS => {
                self.block = Block::default();
                self.block.extend(head, &self.budgets)?;
                if self.serves && self.streams.open(head.stream, now) {
                    self.opened();
                    return Ok(());
                }
            }
            frame::CONTINUATION => return self.block.extend(head, &self.budgets),
            _ => {}
        }
        self.refill(now);
        match head.kind {
            frame::DATA => self.empty_data.spend(WHOLE, Violation::EmptyData),
            frame::HEADERS => self.further_headers.spend(WHOLE, Violation::FurtherHeaders),
            frame::PRIORITY | frame::PRIORITY_UPDATE => {
                self.priorities.spend(WHOLE, Violation::Priority)
            }
            frame::RST_STREAM if !self.streams.is_young(head.stream, now) => Ok(()),
            frame::RST_STREAM => self.resets.spend(WHOLE, Violation::Reset),
            frame::SETTINGS => {
                let cost = 1 + head.length / SETTINGS_BYTES;
                self.settings
                    .spend(cost.saturating_mul(WHOLE), Violation::Settings)
            }
            frame::PING => self.pings.spend(WHOLE, Violation::Ping),
            frame::PUSH_PROMISE => Err(Violation::PushPromise),
            frame::WINDOW_UPDATE => self.window_updates.spend(WHOLE, Violation::WindowUpdate),
            _ => self.others.spend(WHOLE, Violation::Other),
        }
    }

    /// A DATA frame with padding, which the frame's length does not tell from content.
    pub(super) fn padded(
        &mut self,
        content: usize,
        ends: bool,
        now: Instant,
    ) -> Result<(), Violation> {
        if content != 0 || ends {
            return Ok(());
        }
        self.refill(now);
        self.empty_data.spend(WHOLE, Violation::EmptyData)
    }

    /// We sent a DATA frame.
    #[inline]
    pub(super) fn sent_data(&mut self) {
        self.pings.earn(WHOLE);
        self.window_updates.earn(10 * WHOLE);
    }

    /// We opened a stream.
    pub(super) fn sent_request(&mut self, stream: u32, now: Instant) {
        if self.streams.open(stream, now) {
            self.opened();
        }
    }

    /// We sent a PING, which is answered.
    pub(super) fn sent_ping(&mut self) {
        self.pings.earn(WHOLE);
    }

    /// We sent SETTINGS, which are acknowledged.
    pub(super) fn sent_settings(&mut self) {
        self.settings.earn(WHOLE);
    }

    /// We reset a stream.
    pub(super) fn sent_reset(&mut self, reason: Reason, now: Instant) -> Result<(), Violation> {
        if !is_provoked(reason) {
            return Ok(());
        }
        self.refill(now);
        self.provoked_resets.spend(WHOLE, Violation::ProvokedReset)
    }

    fn opened(&mut self) {
        self.resets.earn(WHOLE / 2);
        self.priorities.earn(10 * WHOLE);
        self.window_updates.earn(2 * WHOLE);
        self.further_headers.earn(2 * WHOLE);
    }

    fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.refilled);
        // Whole milliseconds only, so that frequent calls lose no fraction.
        let Ok(milliseconds @ 1..) = u32::try_from(elapsed.as_millis()) else {
            if elapsed > Duration::from_secs(1) {
                self.refilled = now;
            }
            return;
        };
        self.refilled += Duration::from_millis(u64::from(milliseconds));
        for bucket in [
            &mut self.pings,
            &mut self.settings,
            &mut self.resets,
            &mut self.provoked_resets,
            &mut self.empty_data,
            &mut self.priorities,
            &mut self.window_updates,
            &mut self.further_headers,
            &mut self.others,
        ] {
            bucket.regain(milliseconds.saturating_mul(bucket.per_second));
        }
    }
}

/// Whether a reset of ours says that the peer broke a rule, rather than that we or someone behind us gave up.
const fn is_provoked(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::PROTOCOL_ERROR
            | Reason::FLOW_CONTROL_ERROR
            | Reason::STREAM_CLOSED
            | Reason::FRAME_SIZE_ERROR
            | Reason::REFUSED_STREAM
            | Reason::COMPRESSION_ERROR
            | Reason::ENHANCE_YOUR_CALM
    )
}

/// Frames that may still come, in thousandths: one a second is one a millisecond then.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: u32,
    capacity: u32,
    per_second: u32,
    /// What may be saved beyond the capacity: frames that streams in flight will need, however many opened at once.
    owed: u32,
}

impl Bucket {
    const fn full(budget: Budget) -> Self {
        let capacity = budget.burst.saturating_mul(WHOLE);
        Self {
            left: capacity,
            capacity,
            per_second: budget.per_second,
            owed: 0,
        }
    }

    /// A bucket that keeps what this many streams earn, `each`, above its capacity.
    const fn with_streams(budget: Budget, each: u32) -> Self {
        Self {
            owed: each.saturating_mul(MOST_STREAMS),
            ..Self::full(budget)
        }
    }

    /// Adds what the peer earned by what it did or was sent.
    fn earn(&mut self, amount: u32) {
        let most = self.capacity.saturating_add(self.owed);
        self.left = self.left.saturating_add(amount).min(most);
    }

    /// Adds what time gives back: never above the capacity.
    fn regain(&mut self, amount: u32) {
        if self.left < self.capacity {
            self.left = self.left.saturating_add(amount).min(self.capacity);
        }
    }

    fn spend(&mut self, amount: u32, violation: Violation) -> Result<(), Violation> {
        self.left = self.left.checked_sub(amount).ok_or(violation)?;
        Ok(())
    }
}

/// The header block being received. The reader refuses other frames between its parts.
#[derive(Clone, Copy, Debug, Default)]
struct Block {
    open: bool,
    continuations: u32,
    bytes: u32,
}

impl Block {
    fn extend(&mut self, head: Head, budgets: &Budgets) -> Result<(), Violation> {
        self.open = true;
        self.bytes = self.bytes.saturating_add(head.length);
        if self.bytes > budgets.header_block_bytes {
            return Err(Violation::HeaderBlock);
        }
        if head.kind == frame::CONTINUATION {
            self.continuations += 1;
            if self.continuations > budgets.continuations {
                return Err(Violation::Continuation);
            }
        }
        if head.flags & frame::END_HEADERS != 0 {
            *self = Self::default();
        }
        Ok(())
    }
}

/// Which streams are young: identifiers only grow, so that the highest one at a few past moments tells the age of all.
#[derive(Clone, Copy, Debug)]
struct Ages {
    highest: u32,
    /// The highest identifier when each slice of a second began, oldest first.
    marks: [u32; SLICES],
    slice_start: Instant,
}

impl Ages {
    const fn new(now: Instant) -> Self {
        Self {
            highest: 0,
            marks: [0; SLICES],
            slice_start: now,
        }
    }

    /// Notes a stream; false when it was open before.
    fn open(&mut self, stream: u32, now: Instant) -> bool {
        if stream <= self.highest {
            return false;
        }
        self.advance(now);
        self.highest = stream;
        true
    }

    /// Whether a stream was opened within the last second, or never.
    fn is_young(&mut self, stream: u32, now: Instant) -> bool {
        self.advance(now);
        stream > self.marks[0]
    }

    fn advance(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.slice_start);
        let passed = elapsed.as_millis() / SLICE.as_millis();
        if passed == 0 {
            return;
        }
        let shift = usize::try_from(passed).map_or(SLICES, |passed| passed.min(SLICES));
        self.marks.rotate_left(shift);
        self.marks[SLICES - shift..].fill(self.highest);
        let late = u32::try_from(elapsed.as_millis() % SLICE.as_millis()).unwrap_or(0);
        self.slice_start = now
            .checked_sub(Duration::from_millis(u64::from(late)))
            .unwrap_or(now);
    }
}

/// One frame in the unit of the buckets.
const WHOLE: u32 = 1000;
/// Streams in flight whose frames are saved for: ten times what RFC 9113 §6.5.2 holds to be the least useful limit.
const MOST_STREAMS: u32 = 1000;
/// Bytes of SETTINGS that count as one more frame: sixteen entries.
const SETTINGS_BYTES: u32 = 96;
const SLICES: usize = 5;
const SLICE: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests;
