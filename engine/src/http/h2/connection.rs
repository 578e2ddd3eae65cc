//! One HTTP/2 connection without I/O: bytes in, events of streams out, frames queued.
//!
//! | file | what it holds |
//! |---|---|
//! | [`receive`] | bytes to frames, and what each frame means |
//! | [`headers`] | header blocks: requests, responses, trailers |
//! | [`send`] | what the holders of streams send |
//! | [`window`] | flow control, both ways |
//! | [`close`] | resets, GOAWAY, the end |
//!
//! A connection is shared by its driver and the holders of its streams, all on the worker that owns it, so it lives in an
//! `Rc<RefCell<…>>` that is borrowed inside polls only. Whoever queues something wakes the driver, which runs after
//! them: what all streams queued in a turn leaves in one write.

mod close;
mod headers;
mod receive;
mod send;
mod window;

pub(super) use self::receive::Read;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Instant;

use super::Settings;
use super::budget::{Budgets, Meter, Violation};
use super::error::{By, Error};
use super::frame::{self, setting};
use super::hpack::{Decoder, Encoder};
use super::outbox::Outbox;
use super::stream::{Key, Stream, Streams};
use crate::http::Request;

/// A connection shared between its driver and the holders of its streams.
pub(super) type Shared = Rc<RefCell<Connection>>;

/// Which side we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Server,
    Client,
}

/// A request that nobody took yet.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) key: Key,
    pub(super) request: Request,
    /// Whether the head is all of it.
    pub(super) end: bool,
    pub(super) length: Option<u64>,
}

/// The state of a connection.
#[derive(Debug)]
pub(super) struct Connection {
    side: Side,
    settings: Settings,
    meter: Meter,
    input: receive::Input,
    decoder: Decoder,
    encoder: Encoder,
    streams: Streams,
    /// Streams that count as open.
    open: u32,
    accepted: VecDeque<Accepted>,
    out: Outbox,
    /// Streams that have something to send, in turn.
    line: VecDeque<Key>,
    windows: window::Windows,
    /// The highest stream that the peer opened.
    highest: u32,
    /// The next stream that we open.
    next: u32,
    peer: Peer,
    /// Streams that we reset a short while ago: what is still on its way for them means nothing.
    resets: VecDeque<u32>,
    leaving: close::Leaving,
    /// Why the connection is over.
    over: Option<Error>,
    violation: Option<Violation>,
    /// When bytes last came, near enough for budgets.
    now: Instant,
    /// Acknowledgements of PING frames that the driver sent.
    pongs: u32,
    driver: Option<Waker>,
    /// Handles of a connection that we opened.
    pub(super) users: usize,
}

/// What the peer's SETTINGS say.
#[derive(Clone, Copy, Debug)]
struct Peer {
    max_streams: u32,
    max_frame: usize,
}

impl Connection {
    /// A connection whose first frames are queued.
    pub(super) fn new(
        side: Side,
        settings: &Settings,
        budgets: Arc<Budgets>,
        now: Instant,
    ) -> Self {
        let mut connection = Self {
            side,
            settings: settings.clone(),
            meter: Meter::new(budgets, side == Side::Server, now),
            input: receive::Input::new(side),
            decoder: Decoder::default(),
            encoder: Encoder::default(),
            streams: Streams::default(),
            open: 0,
            accepted: VecDeque::new(),
            out: Outbox::default(),
            line: VecDeque::new(),
            windows: window::Windows::new(settings),
            highest: 0,
            next: 1,
            peer: Peer {
                // What RFC 9113 §6.5.2 holds to be the least useful limit, until the peer says something.
                max_streams: 100,
                max_frame: frame::MAX_FRAME,
            },
            resets: VecDeque::new(),
            leaving: close::Leaving::default(),
            over: None,
            violation: None,
            now,
            pongs: 0,
            driver: None,
            users: 0,
        };
        connection.greet();
        connection
    }

    fn greet(&mut self) {
        let settings = &self.settings;
        let mut ours = vec![
            (setting::INITIAL_WINDOW_SIZE, settings.stream_window),
            (setting::MAX_HEADER_LIST_SIZE, settings.max_header_list),
        ];
        let flat = self.out.flat();
        match self.side {
            Side::Server => {
                let most = settings.max_concurrent_streams;
                ours.push((setting::MAX_CONCURRENT_STREAMS, most));
                if settings.connect_protocol {
                    ours.push((setting::ENABLE_CONNECT_PROTOCOL, 1));
                }
            }
            Side::Client => {
                ours.push((setting::ENABLE_PUSH, 0));
                flat.extend_from_slice(frame::PREFACE);
            }
        }
        frame::put_settings(flat, &ours);
        self.meter.sent_settings();
        if let Some(more) = settings
            .connection_window
            .checked_sub(frame::DEFAULT_WINDOW)
            .filter(|more| *more > 0)
        {
            frame::put_window_update(flat, 0, more);
        }
    }

    /// Whether the peer's preface, or its first frame, came.
    pub(super) const fn is_greeted(&self) -> bool {
        self.input.is_greeted()
    }

    /// Whether streams count as open.
    pub(super) const fn has_streams(&self) -> bool {
        self.open > 0
    }

    /// The next request.
    pub(super) fn accept(&mut self) -> Option<Accepted> {
        let accepted = loop {
            let next = self.accepted.pop_front();
            let Some(key) = next.as_ref().map(|accepted| accepted.key) else {
                break next;
            };
            if !matches!(self.stream(key).error, Some(Error::Reset(_, By::Us))) {
                break next;
            }
            // What broke a rule meanwhile is nothing to act upon.
            self.release(key);
        };
        if self.accepted.is_empty() && self.accepted.capacity() > ACCEPTED_KEPT {
            self.accepted = VecDeque::new();
        }
        accepted
    }

    /// Whether the peer is the client.
    pub(super) fn serves(&self) -> bool {
        self.side == Side::Server
    }

    /// What the peer did too often.
    pub(super) const fn violation(&self) -> Option<Violation> {
        self.violation
    }

    /// Streams that the peer lets us have open.
    pub(super) const fn max_streams(&self) -> u32 {
        self.peer.max_streams
    }

    #[inline]
    pub(super) fn stream(&mut self, key: Key) -> &mut Stream {
        self.streams.get(key)
    }

    /// What is to be written.
    pub(super) const fn out(&mut self) -> &mut Outbox {
        &mut self.out
    }

    /// PING frames of the driver that were answered.
    pub(super) const fn pongs(&self) -> u32 {
        self.pongs
    }

    /// Asks the peer for a sign of life.
    pub(super) fn ping(&mut self) {
        frame::put_ping(self.out.flat(), 0, *b"keptlive");
        self.meter.sent_ping();
    }

    /// Notes the driver's task.
    pub(super) fn register_driver(&mut self, cx: &Context<'_>) {
        super::stream::register(&mut self.driver, cx);
    }

    /// Lets the driver run once those that run now are done.
    #[inline]
    pub(super) fn wake_driver(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }

    /// Counts a further handle of a stream.
    pub(super) fn hold(&mut self, key: Key) {
        self.streams.get(key).handles += 1;
    }

    /// Lets go of a handle; a stream that nobody holds is reset unless it is over.
    pub(super) fn release(&mut self, key: Key) {
        let side = self.side;
        let stream = self.streams.get(key);
        stream.handles -= 1;
        if stream.handles > 0 {
            return;
        }
        stream.reader = None;
        stream.writer = None;
        stream.deaf = true;
        let unread = stream.clear_inbox();
        let (over, answered) = (stream.is_over(), side == Side::Server && stream.sent);
        self.give_back(unread);
        if over {
            self.close_if_done(key);
        } else if answered {
            // RFC 9113 §8.1: the answer is complete, the rest of the request is not needed.
            self.reset(key, super::Reason::NO_ERROR);
        } else if !matches!(self.streams.get(key).ending, super::stream::Ending::Open) {
            // The end waits for the window, and nobody for an answer.
            if side == Side::Client {
                self.reset(key, super::Reason::CANCEL);
            }
        } else {
            self.reset(key, super::Reason::CANCEL);
        }
    }

    /// Nobody reads the rest of what comes on a stream.
    pub(super) fn ignore(&mut self, key: Key) {
        let stream = self.streams.get(key);
        stream.deaf = true;
        let unread = stream.clear_inbox();
        self.give_back(unread);
    }

    /// Stops counting a stream that is over, and frees its place where nobody holds it.
    fn settle(&mut self, key: Key) {
        let stream = self.streams.get(key);
        if !stream.is_over() {
            return;
        }
        if std::mem::take(&mut stream.counted) {
            self.open -= 1;
            if self.is_done() {
                // It ends with its last stream.
                self.wake_driver();
            }
        }
        self.close_if_done(key);
    }

    fn close_if_done(&mut self, key: Key) {
        let stream = self.streams.get(key);
        if stream.handles == 0 && stream.is_over() {
            self.streams.close(key);
        }
    }
}

/// Room for requests that a connection keeps which has none.
const ACCEPTED_KEPT: usize = 4;
