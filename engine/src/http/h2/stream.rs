//! What a connection keeps of one stream.

use std::collections::VecDeque;
use std::task::{Context, Waker};

use bytes::{Bytes, BytesMut};
use rustc_hash::FxHashMap;

use super::error::Error;
use crate::http::{Headers, Response};

/// Where a stream is in [`Streams`].
pub(super) type Key = u32;

/// Something that came on a stream and was not taken yet.
#[derive(Debug)]
pub(super) enum Event {
    Head(Response),
    Data(Bytes),
    /// Small pieces, joined: a peer that sends a byte a frame must not make us keep more than it sends.
    Small(BytesMut),
    Trailers(Headers),
}

/// How the sending side is to end, once what waits for the window is out.
#[derive(Debug, Default)]
pub(super) enum Ending {
    #[default]
    Open,
    End,
    Trailers(Box<Headers>),
}

/// One stream.
#[derive(Debug, Default)]
pub(super) struct Stream {
    pub(super) id: u32,
    /// Handles that are held; the place is free again after the last.
    pub(super) handles: u32,
    /// Whether it counts as open.
    pub(super) counted: bool,
    /// Whether the message's head came, an informational one aside.
    pub(super) headed: bool,
    /// Whether END_STREAM came.
    pub(super) received: bool,
    /// Whether END_STREAM was queued.
    pub(super) sent: bool,
    /// Whether nobody wants what else comes.
    pub(super) deaf: bool,
    /// Whether it stands in line to send.
    pub(super) queued: bool,
    /// Whether a request asked for a head only.
    pub(super) head_only: bool,
    /// Bytes that we may send, and that the peer may.
    pub(super) send_window: i32,
    pub(super) receive_window: i32,
    /// Bytes taken and not yet given back to the peer's window.
    pub(super) taken: u32,
    /// Bytes of content that must still come.
    pub(super) length: Option<u64>,
    pub(super) inbox: VecDeque<Event>,
    /// Waits for the window, or for the transport.
    pub(super) outbox: Bytes,
    pub(super) ending: Ending,
    pub(super) error: Option<Error>,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

/// All streams of a connection. Places are used again, with what they hold on to.
#[derive(Debug, Default)]
pub(super) struct Streams {
    places: Vec<Stream>,
    free: Vec<Key>,
    by_id: FxHashMap<u32, Key>,
}

impl Stream {
    /// Whether nothing more comes or goes.
    pub(super) const fn is_over(&self) -> bool {
        self.error.is_some() || self.received && self.sent
    }

    pub(super) fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    pub(super) fn wake_writer(&mut self) {
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }

    /// Keeps a small piece.
    pub(super) fn push_small(&mut self, bytes: &[u8]) {
        if let Some(Event::Small(last)) = self.inbox.back_mut()
            && last.len() + bytes.len() <= JOINED
        {
            last.extend_from_slice(bytes);
        } else {
            self.inbox.push_back(Event::Small(BytesMut::from(bytes)));
        }
    }

    /// Drops what nobody will take, and says how many bytes of the connection's window that was.
    pub(super) fn clear_inbox(&mut self) -> usize {
        let lengths = self.inbox.iter().map(|event| match event {
            Event::Data(bytes) => bytes.len(),
            Event::Small(bytes) => bytes.len(),
            Event::Head(_) | Event::Trailers(_) => 0,
        });
        let dropped = lengths.sum();
        self.inbox.clear();
        dropped
    }
}

impl Streams {
    /// Opens a stream.
    pub(super) fn open(&mut self, id: u32, send_window: i32, receive_window: i32) -> Key {
        let key = match self.free.pop() {
            Some(key) => key,
            None => {
                self.places.push(Stream::default());
                // Identifiers have 31 bits.
                Key::try_from(self.places.len() - 1).unwrap_or(Key::MAX)
            }
        };
        let stream = self.get(key);
        // The inbox stays: its room is used again.
        stream.id = id;
        stream.counted = true;
        stream.send_window = send_window;
        stream.receive_window = receive_window;
        self.by_id.insert(id, key);
        key
    }

    #[inline]
    pub(super) fn get(&mut self, key: Key) -> &mut Stream {
        &mut self.places[key as usize]
    }

    #[inline]
    pub(super) fn find(&self, id: u32) -> Option<Key> {
        self.by_id.get(&id).copied()
    }

    /// Gives a place back.
    pub(super) fn close(&mut self, key: Key) {
        let stream = &mut self.places[key as usize];
        self.by_id.remove(&stream.id);
        let mut inbox = std::mem::take(&mut stream.inbox);
        inbox.clear();
        if inbox.capacity() > EVENTS_KEPT {
            inbox = VecDeque::new();
        }
        *stream = Stream {
            inbox,
            ..Stream::default()
        };
        if self.by_id.is_empty() && self.places.len() > PLACES_KEPT {
            *self = Self::default();
        } else {
            self.free.push(key);
        }
    }

    /// The keys of all streams.
    pub(super) fn keys(&self) -> Vec<Key> {
        self.by_id.values().copied().collect()
    }
}

/// Notes who is to be woken.
#[inline]
pub(super) fn register(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(waker) if waker.will_wake(cx.waker()) => {}
        _ => *place = Some(cx.waker().clone()),
    }
}

/// Small pieces are joined up to this size.
const JOINED: usize = 16 * 1024;
const EVENTS_KEPT: usize = 16;
/// Places that a connection without streams keeps.
const PLACES_KEPT: usize = 4;
