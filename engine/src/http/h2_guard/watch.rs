//! The budgets of one connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::reader::{self, FrameReader, Head};
use super::{Budget, Budgets, Violation};

/// Reads the frame headers of both directions of a connection and keeps the budgets; no I/O.
#[derive(Clone, Debug)]
pub struct FrameWatch {
    budgets: Arc<Budgets>,
    /// Whether the peer is the client and opens the streams.
    serves: bool,
    /// Whether the peer's first frame came.
    begun: bool,
    inbound: FrameReader,
    outbound: FrameReader,
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

impl FrameWatch {
    /// A watch over a connection that we serve: the peer's bytes start with the preface.
    pub fn server(budgets: Arc<Budgets>, now: Instant) -> Self {
        let (inbound, outbound) = (FrameReader::after_preface(), FrameReader::at_frame());
        Self::new(budgets, now, true, inbound, outbound)
    }

    /// A watch over a connection that we opened.
    pub fn client(budgets: Arc<Budgets>, now: Instant) -> Self {
        let (inbound, outbound) = (FrameReader::at_frame(), FrameReader::after_preface());
        Self::new(budgets, now, false, inbound, outbound)
    }

    /// Bytes from the peer, cut anywhere. After a violation the connection is over: call no more.
    pub fn inbound(&mut self, mut bytes: &[u8], now: Instant) -> Result<(), Violation> {
        while let Some((head, rest)) = self.inbound.next(bytes) {
            bytes = rest;
            self.received(head, now)?;
        }
        Ok(())
    }

    /// The same, taking out empty DATA frames that end nothing: no message has a use for them. One whose header is cut
    /// between two calls stays. Returns how many bytes are left, moved to the front.
    pub fn filter(&mut self, bytes: &mut [u8], now: Instant) -> Result<usize, Violation> {
        let mut kept = bytes.len();
        let mut at = 0;
        while let Some((head, rest)) = self.inbound.next(&bytes[at..kept]) {
            let behind = kept - rest.len();
            let whole = behind - at >= reader::HEADER_BYTES;
            at = behind;
            self.received(head, now)?;
            if whole && self.is_void(head) {
                // No more than a budget of these comes at once.
                bytes.copy_within(at..kept, at - reader::HEADER_BYTES);
                at -= reader::HEADER_BYTES;
                kept -= reader::HEADER_BYTES;
            }
        }
        Ok(kept)
    }

    /// Whether a frame means nothing to a stream that was open once. What breaks a rule is left for `h2` to see.
    const fn is_void(&self, head: Head) -> bool {
        head.kind == reader::DATA
            && head.length == 0
            && head.flags & (reader::END_STREAM | reader::PADDED) == 0
            && head.stream != 0
            && head.stream <= self.streams.highest
            && !self.block.open
    }

    /// Bytes to the peer, cut anywhere, after the transport took them.
    pub fn outbound(&mut self, mut bytes: &[u8], now: Instant) -> Result<(), Violation> {
        while let Some((head, rest)) = self.outbound.next(bytes) {
            bytes = rest;
            self.sent(head, now)?;
        }
        Ok(())
    }

    fn new(
        budgets: Arc<Budgets>,
        now: Instant,
        serves: bool,
        inbound: FrameReader,
        outbound: FrameReader,
    ) -> Self {
        Self {
            serves,
            begun: false,
            inbound,
            outbound,
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

    fn received(&mut self, head: Head, now: Instant) -> Result<(), Violation> {
        if !self.begun {
            if head.kind != reader::SETTINGS || head.flags & reader::ACK != 0 {
                return Err(Violation::NoSettings);
            }
            self.begun = true;
            return Ok(());
        }
        let ends_stream = head.flags & reader::END_STREAM != 0;
        match head.kind {
            // What a busy connection consists of needs no clock.
            reader::DATA if head.length != 0 => {
                self.pings.earn(WHOLE);
                return Ok(());
            }
            reader::DATA if ends_stream => return Ok(()),
            reader::HEADERS => {
                self.block = Block::default();
                self.block.extend(head, &self.budgets)?;
                if self.serves && self.streams.open(head.stream, now) {
                    self.opened();
                    return Ok(());
                }
            }
            reader::CONTINUATION => return self.block.extend(head, &self.budgets),
            _ => {}
        }
        self.refill(now);
        match head.kind {
            reader::DATA => self.empty_data.spend(WHOLE, Violation::EmptyData),
            reader::HEADERS => self.further_headers.spend(WHOLE, Violation::FurtherHeaders),
            reader::PRIORITY | reader::PRIORITY_UPDATE => {
                self.priorities.spend(WHOLE, Violation::Priority)
            }
            reader::RST_STREAM if !self.streams.is_young(head.stream, now) => Ok(()),
            reader::RST_STREAM => self.resets.spend(WHOLE, Violation::Reset),
            reader::SETTINGS => {
                let cost = 1 + head.length / SETTINGS_BYTES;
                self.settings
                    .spend(cost.saturating_mul(WHOLE), Violation::Settings)
            }
            reader::PING => self.pings.spend(WHOLE, Violation::Ping),
            reader::PUSH_PROMISE => Err(Violation::PushPromise),
            reader::WINDOW_UPDATE => self.window_updates.spend(WHOLE, Violation::WindowUpdate),
            _ => self.others.spend(WHOLE, Violation::Other),
        }
    }

    fn sent(&mut self, head: Head, now: Instant) -> Result<(), Violation> {
        match head.kind {
            reader::DATA => {
                self.pings.earn(WHOLE);
                self.window_updates.earn(10 * WHOLE);
            }
            reader::HEADERS if !self.serves && self.streams.open(head.stream, now) => {
                self.opened();
            }
            // A ping of ours is answered.
            reader::PING => self.pings.earn(WHOLE),
            reader::SETTINGS => self.settings.earn(WHOLE),
            reader::RST_STREAM if is_provoked(head.code) => {
                self.refill(now);
                return self.provoked_resets.spend(WHOLE, Violation::ProvokedReset);
            }
            _ => {}
        }
        Ok(())
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
const fn is_provoked(code: u32) -> bool {
    // PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, COMPRESSION_ERROR,
    // ENHANCE_YOUR_CALM (RFC 9113 §7).
    matches!(code, 1 | 3 | 5 | 6 | 7 | 9 | 11)
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

/// The header block being received. `h2` refuses other frames between its parts.
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
        if head.kind == reader::CONTINUATION {
            self.continuations += 1;
            if self.continuations > budgets.continuations {
                return Err(Violation::Continuation);
            }
        }
        if head.flags & reader::END_HEADERS != 0 {
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

/// Feeds arbitrary bytes to both directions, whole and byte by byte: the verdicts must agree.
#[doc(hidden)]
pub fn fuzz_frames(bytes: &[u8]) {
    let budgets = Arc::new(Budgets {
        pings: Budget::new(2, 1),
        others: Budget::new(2, 1),
        ..Budgets::default()
    });
    let now = Instant::now();
    for whole in [
        FrameWatch::server(Arc::clone(&budgets), now),
        FrameWatch::client(budgets, now),
    ] {
        let (mut whole, mut pieces) = (whole.clone(), whole);
        let inbound = bytes
            .chunks(1)
            .try_for_each(|byte| pieces.inbound(byte, now));
        assert_eq!(whole.inbound(bytes, now), inbound);
        let outbound = bytes
            .chunks(1)
            .try_for_each(|byte| pieces.outbound(byte, now));
        assert_eq!(whole.outbound(bytes, now), outbound);
    }
}
