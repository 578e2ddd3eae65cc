//! Bytes to frames, and what each frame means.

use std::time::Instant;

use bytes::Bytes;

use super::{Connection, Side};
use crate::http::h2::error::{Fault, Reason};
use crate::http::h2::frame::{self, HEADER_BYTES, Head, MAX_FRAME, setting};
use crate::http::h2::stream::{Event, Key};

/// Where in the peer's bytes we are.
#[derive(Debug)]
pub(super) struct Input {
    /// Bytes of the preface that must still come.
    preface: usize,
    /// Whether a frame came.
    begun: bool,
    /// The frame whose payload is waited for.
    head: Option<Head>,
    /// What came of a header or a payload.
    partial: Vec<u8>,
    /// The DATA frame whose payload passes.
    data: Option<Data>,
    /// The header block that goes on in CONTINUATION frames.
    pub(super) block: Option<Block>,
}

#[derive(Clone, Copy, Debug)]
struct Data {
    /// `None` where nobody takes it. The identifier, as the stream may be gone when the next piece comes.
    stream: Option<u32>,
    left: usize,
    end: bool,
}

/// A header block that is not complete.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) stream: u32,
    pub(super) end: bool,
    /// Whether its priority depends on itself.
    pub(super) own_parent: bool,
    pub(super) bytes: Vec<u8>,
}

/// Bytes that were read, and the memory that they are in where it may be shared.
#[derive(Debug)]
pub(in crate::http::h2) struct Read<'a> {
    pub(in crate::http::h2) bytes: &'a [u8],
    pub(in crate::http::h2) shared: Option<&'a Bytes>,
}

impl Input {
    pub(super) const fn new(side: Side) -> Self {
        Self {
            preface: match side {
                Side::Server => frame::PREFACE.len(),
                Side::Client => 0,
            },
            begun: false,
            head: None,
            partial: Vec::new(),
            data: None,
            block: None,
        }
    }

    pub(super) const fn is_greeted(&self) -> bool {
        self.preface == 0 && self.begun
    }
}

impl<'a> Read<'a> {
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.bytes.split_at(length.min(self.bytes.len()));
        self.bytes = rest;
        taken
    }

    /// The bytes as something to keep: a large piece stays where it was read to.
    fn keep(&self, piece: &[u8]) -> Option<Bytes> {
        let shared = self.shared.filter(|_| piece.len() >= WORTH_SHARING)?;
        Some(shared.slice_ref(piece))
    }
}

impl Connection {
    /// Takes bytes from the peer, cut anywhere.
    pub(in crate::http::h2) fn receive(&mut self, mut read: Read<'_>, now: Instant) {
        self.now = now;
        if self.input.preface > 0 && !self.preface(&mut read) {
            return;
        }
        while self.over.is_none() {
            if let Some(data) = self.input.data {
                if read.bytes.is_empty() && data.left > 0 {
                    return;
                }
                self.data_piece(data, &mut read);
                continue;
            }
            let Some(head) = self.input.head else {
                let Some(head) = self.next_head(&mut read) else {
                    return;
                };
                if let Err(fault) = self.begin(head) {
                    self.punish(head.stream, fault);
                }
                continue;
            };
            let length = head.length as usize;
            if self.input.partial.is_empty() && read.bytes.len() >= length {
                let payload = read.take(length);
                self.frame(head, payload);
                continue;
            }
            let missing = length - self.input.partial.len();
            let taken = read.take(missing);
            self.input.partial.extend_from_slice(taken);
            if taken.len() < missing {
                return;
            }
            let payload = std::mem::take(&mut self.input.partial);
            self.frame(head, &payload);
        }
    }

    /// Whether the whole preface came.
    fn preface(&mut self, read: &mut Read<'_>) -> bool {
        let left = self.input.preface;
        let taken = read.take(left);
        let from = frame::PREFACE.len() - left;
        if frame::PREFACE[from..from + taken.len()] != *taken {
            // Whoever it is does not speak HTTP/2: no GOAWAY would be understood.
            self.lose(std::io::ErrorKind::InvalidData);
            return false;
        }
        self.input.preface -= taken.len();
        self.input.preface == 0
    }

    #[inline]
    fn next_head(&mut self, read: &mut Read<'_>) -> Option<Head> {
        let partial = &mut self.input.partial;
        if partial.is_empty()
            && let Some((bytes, rest)) = read.bytes.split_first_chunk()
        {
            read.bytes = rest;
            return Some(Head::parse(bytes));
        }
        partial.extend_from_slice(read.take(HEADER_BYTES - partial.len()));
        let head = Head::parse(partial.first_chunk()?);
        // Not kept: a connection that waits holds nothing.
        *partial = Vec::new();
        Some(head)
    }

    /// Looks at a frame's header.
    fn begin(&mut self, head: Head) -> Result<(), Fault> {
        self.meter.received(head, self.now)?;
        self.input.begun = true;
        if head.length as usize > MAX_FRAME {
            return Err(Fault::Connection(Reason::FRAME_SIZE_ERROR));
        }
        // RFC 9113 §6.10: nothing comes between the parts of a header block.
        let goes_on = match &self.input.block {
            Some(block) => head.kind == frame::CONTINUATION && head.stream == block.stream,
            None => head.kind != frame::CONTINUATION,
        };
        if !goes_on {
            return Err(Fault::Connection(Reason::PROTOCOL_ERROR));
        }
        if head.kind == frame::DATA && !head.has(frame::PADDED) {
            let length = head.length as usize;
            let taken = self.begin_data(head, length)?.is_some();
            self.input.data = Some(Data {
                stream: taken.then_some(head.stream),
                left: length,
                end: head.has(frame::END_STREAM),
            });
        } else {
            self.input.head = Some(head);
        }
        Ok(())
    }

    /// Checks a DATA frame with `content` bytes beside its padding, and finds who takes it.
    fn begin_data(&mut self, head: Head, content: usize) -> Result<Option<Key>, Fault> {
        if head.stream == 0 {
            return Err(Fault::Connection(Reason::PROTOCOL_ERROR));
        }
        self.spend(head.length)?;
        let Some(key) = self.known(head.stream)? else {
            if !self.was_reset(head.stream) {
                self.punish(head.stream, Fault::Stream(Reason::STREAM_CLOSED));
            }
            return Ok(None);
        };
        match self.check_data(key, head, content) {
            Ok(true) => Ok(Some(key)),
            Ok(false) => Ok(None),
            Err(reason) => {
                // The frame's payload still comes, and is given back to the window.
                self.punish(head.stream, Fault::Stream(reason));
                Ok(None)
            }
        }
    }

    /// Whether anybody takes it.
    fn check_data(&mut self, key: Key, head: Head, content: usize) -> Result<bool, Reason> {
        let stream = self.streams.get(key);
        if stream.error.is_some() {
            return Ok(false);
        }
        if stream.received {
            return Err(Reason::STREAM_CLOSED);
        }
        if !stream.headed {
            return Err(Reason::PROTOCOL_ERROR);
        }
        stream.receive_window -= super::window::signed(head.length);
        if stream.receive_window < 0 {
            return Err(Reason::FLOW_CONTROL_ERROR);
        }
        if let Some(length) = &mut stream.length {
            // RFC 9113 §8.1.1.
            *length = length
                .checked_sub(content as u64)
                .ok_or(Reason::PROTOCOL_ERROR)?;
            if *length > 0 && head.has(frame::END_STREAM) {
                return Err(Reason::PROTOCOL_ERROR);
            }
        }
        Ok(true)
    }

    fn data_piece(&mut self, mut data: Data, read: &mut Read<'_>) {
        let piece = read.take(data.left);
        data.left -= piece.len();
        let kept = read.keep(piece);
        let key = data.stream.and_then(|id| self.streams.find(id));
        self.deliver(key, piece, kept);
        if data.left > 0 {
            self.input.data = Some(data);
            return;
        }
        self.input.data = None;
        if data.end
            && let Some(key) = key
        {
            self.received_all(key);
        }
    }

    fn deliver(&mut self, key: Option<Key>, piece: &[u8], kept: Option<Bytes>) {
        if piece.is_empty() {
            return;
        }
        let Some(key) = key else {
            self.give_back(piece.len());
            return;
        };
        let stream = self.streams.get(key);
        if stream.deaf || stream.error.is_some() {
            self.give_back(piece.len());
            return;
        }
        match kept {
            Some(bytes) => stream.inbox.push_back(Event::Data(bytes)),
            None => stream.push_small(piece),
        }
        stream.wake_reader();
    }

    /// END_STREAM.
    pub(super) fn received_all(&mut self, key: Key) {
        let stream = self.streams.get(key);
        if stream.error.is_some() {
            return;
        }
        stream.received = true;
        stream.wake_reader();
        self.settle(key);
    }

    /// A whole frame, DATA without padding aside.
    fn frame(&mut self, head: Head, payload: &[u8]) {
        self.input.head = None;
        let done = match head.kind {
            frame::DATA => self.padded_data(head, payload),
            frame::HEADERS => self.headers_frame(head, payload),
            frame::CONTINUATION => self.continuation_frame(head, payload),
            frame::RST_STREAM => match frame::number(payload) {
                _ if head.stream == 0 => Err(Fault::Connection(Reason::PROTOCOL_ERROR)),
                Some(code) if payload.len() == 4 => self.peer_resets(head.stream, Reason(code)),
                _ => Err(Fault::Connection(Reason::FRAME_SIZE_ERROR)),
            },
            frame::WINDOW_UPDATE => match frame::number(payload) {
                Some(more) if payload.len() == 4 => self.grow(head.stream, more & 0x7fff_ffff),
                _ => Err(Fault::Connection(Reason::FRAME_SIZE_ERROR)),
            },
            frame::SETTINGS => self.settings_frame(head, payload),
            frame::PING => self.ping_frame(head, payload),
            frame::GOAWAY => self.goaway_frame(head, payload),
            // Deprecated, and means nothing to us (RFC 9113 §5.3.2).
            frame::PRIORITY if head.stream == 0 => Err(Fault::Connection(Reason::PROTOCOL_ERROR)),
            frame::PRIORITY if payload.len() != 5 => {
                Err(Fault::Connection(Reason::FRAME_SIZE_ERROR))
            }
            // RFC 9113 §5.5: what we do not know is ignored.
            _ => Ok(()),
        };
        if let Err(fault) = done {
            self.punish(head.stream, fault);
        }
    }

    fn padded_data(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        let content = frame::without_padding(head.flags, payload)
            .ok_or(Fault::Connection(Reason::PROTOCOL_ERROR))?;
        let end = head.has(frame::END_STREAM);
        self.meter.padded(content.len(), end, self.now)?;
        let key = self.begin_data(head, content.len())?;
        match key {
            // Nobody takes padding.
            Some(key) => self.taken(key, payload.len() - content.len()),
            None => self.give_back(payload.len() - content.len()),
        }
        self.deliver(key, content, None);
        if end && let Some(key) = key {
            self.received_all(key);
        }
        Ok(())
    }

    fn settings_frame(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        if head.stream != 0 {
            return Err(Fault::Connection(Reason::PROTOCOL_ERROR));
        }
        if head.has(frame::ACK) {
            if !payload.is_empty() {
                return Err(Fault::Connection(Reason::FRAME_SIZE_ERROR));
            }
            self.announced();
            return Ok(());
        }
        let (entries, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() {
            return Err(Fault::Connection(Reason::FRAME_SIZE_ERROR));
        }
        for [a, b, c, d, e, f] in entries {
            let value = u32::from_be_bytes([*c, *d, *e, *f]);
            self.setting(u16::from_be_bytes([*a, *b]), value)?;
        }
        frame::put_head(self.out.flat(), 0, frame::SETTINGS, frame::ACK, 0);
        Ok(())
    }

    fn setting(&mut self, parameter: u16, value: u32) -> Result<(), Fault> {
        match parameter {
            setting::HEADER_TABLE_SIZE => self.encoder.set_peer_limit(value as usize),
            // RFC 9113 §6.5.2: a server says nothing else than no.
            setting::ENABLE_PUSH if value > 1 || self.side == Side::Client && value == 1 => {
                return Err(Fault::Connection(Reason::PROTOCOL_ERROR));
            }
            setting::MAX_CONCURRENT_STREAMS => self.peer.max_streams = value,
            setting::INITIAL_WINDOW_SIZE => self.set_send_initial(value)?,
            setting::MAX_FRAME_SIZE => {
                let size = value as usize;
                if !(MAX_FRAME..1 << 24).contains(&size) {
                    return Err(Fault::Connection(Reason::PROTOCOL_ERROR));
                }
                self.peer.max_frame = size;
            }
            setting::ENABLE_CONNECT_PROTOCOL if value > 1 => {
                return Err(Fault::Connection(Reason::PROTOCOL_ERROR));
            }
            _ => {}
        }
        Ok(())
    }

    fn ping_frame(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        if head.stream != 0 {
            return Err(Fault::Connection(Reason::PROTOCOL_ERROR));
        }
        let payload = <[u8; 8]>::try_from(payload)
            .map_err(|_| Fault::Connection(Reason::FRAME_SIZE_ERROR))?;
        if !head.has(frame::ACK) {
            frame::put_ping(self.out.flat(), frame::ACK, payload);
        } else if payload == super::close::LEAVING {
            self.leave_now();
        } else {
            self.pongs = self.pongs.wrapping_add(1);
        }
        Ok(())
    }

    fn goaway_frame(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        if head.stream != 0 {
            return Err(Fault::Connection(Reason::PROTOCOL_ERROR));
        }
        let (Some(last), Some(reason)) = (
            frame::number(payload),
            payload.get(4..).and_then(frame::number),
        ) else {
            return Err(Fault::Connection(Reason::FRAME_SIZE_ERROR));
        };
        self.peer_leaves(last & frame::MAX_STREAM, Reason(reason));
        Ok(())
    }
}

/// Smaller pieces are copied: they would hold on to much more than themselves.
const WORTH_SHARING: usize = 2048;
