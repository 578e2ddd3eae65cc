//! What the holders of streams send.

use std::task::{Context, Poll};

use bytes::Bytes;

use super::Connection;
use crate::http::h2::encode;
use crate::http::h2::error::{By, Error, Reason};
use crate::http::h2::frame::{self, MAX_FRAME};
use crate::http::h2::stream::{Ending, Key, register};
use crate::http::{Headers, Request, Response};

impl Connection {
    /// Opens a stream with a request that was checked.
    pub(in crate::http::h2) fn send_request(
        &mut self,
        request: &Request,
        secure: bool,
        end: bool,
    ) -> Key {
        let id = self.next;
        self.next += 2;
        self.meter.sent_request(id, self.now);
        let windows = &self.windows;
        let key = self
            .streams
            .open(id, windows.send_initial, windows.receive_initial);
        self.open += 1;
        let stream = self.streams.get(key);
        // That of whoever asked for it.
        stream.handles = 1;
        stream.sent = end;
        stream.head_only = request.method == http::Method::HEAD;
        let flat = self.out.flat();
        let start = flat.len();
        encode::request(&mut self.encoder, flat, id, request, secure, end);
        if !end {
            self.out.may_end(id, start);
        }
        self.wake_driver();
        key
    }

    /// Sends a response's head, or an informational one.
    pub(in crate::http::h2) fn send_response(
        &mut self,
        key: Key,
        response: &Response,
        end: bool,
    ) -> Result<(), Error> {
        let stream = self.streams.get(key);
        if let Some(error) = stream.error {
            return Err(error);
        }
        if stream.sent {
            return Ok(());
        }
        stream.sent = end;
        let id = stream.id;
        let flat = self.out.flat();
        let start = flat.len();
        encode::response(&mut self.encoder, flat, id, response, end);
        if !end && !response.status.is_informational() {
            self.out.may_end(id, start);
        }
        self.wake_driver();
        if end {
            self.settle(key);
        }
        Ok(())
    }

    /// Takes a piece of a body; what the windows do not allow waits.
    pub(in crate::http::h2) fn send_data(&mut self, key: Key, mut bytes: Bytes) {
        let stream = self.streams.get(key);
        if stream.error.is_some() || stream.sent || bytes.is_empty() {
            return;
        }
        debug_assert!(stream.outbox.is_empty(), "a piece before there is room");
        if self.line.is_empty() {
            while !bytes.is_empty() && self.has_room() {
                let room = self.allowed(key);
                if room == 0 {
                    break;
                }
                let piece = bytes.split_to(room.min(bytes.len()));
                self.put_data(key, piece);
            }
        }
        if !bytes.is_empty() {
            self.streams.get(key).outbox = bytes;
            self.stand_in_line(key);
        }
        self.wake_driver();
    }

    /// Ready when a further piece may be sent.
    pub(in crate::http::h2) fn poll_room(
        &mut self,
        key: Key,
        cx: &Context<'_>,
    ) -> Poll<Result<(), Error>> {
        let stream = self.streams.get(key);
        if let Some(error) = stream.error {
            return Poll::Ready(Err(error));
        }
        if stream.outbox.is_empty() {
            return Poll::Ready(Ok(()));
        }
        register(&mut stream.writer, cx);
        Poll::Pending
    }

    /// Ready when the stream ended before its time.
    pub(in crate::http::h2) fn poll_reset(&mut self, key: Key, cx: &Context<'_>) -> Poll<Error> {
        let stream = self.streams.get(key);
        if let Some(error) = stream.error {
            return Poll::Ready(error);
        }
        register(&mut stream.writer, cx);
        Poll::Pending
    }

    /// Ends the sending side.
    pub(in crate::http::h2) fn send_end(
        &mut self,
        key: Key,
        trailers: Option<Headers>,
    ) -> Result<(), Error> {
        let stream = self.streams.get(key);
        if let Some(error) = stream.error {
            return Err(error);
        }
        if stream.sent {
            return Ok(());
        }
        if stream.outbox.is_empty() {
            self.put_end(key, trailers.as_ref());
        } else {
            stream.ending = match trailers {
                Some(trailers) => Ending::Trailers(Box::new(trailers)),
                None => Ending::End,
            };
        }
        self.wake_driver();
        Ok(())
    }

    /// Fills the outbox from the streams that stand in line, a frame each in turn.
    pub(in crate::http::h2) fn fill(&mut self) {
        while self.windows.send > 0
            && self.has_room()
            && let Some(key) = self.line.pop_front()
        {
            let stream = self.streams.get(key);
            stream.queued = false;
            if stream.outbox.is_empty() {
                // Reset meanwhile, and maybe another one by now.
                continue;
            }
            let room = self.allowed(key);
            if room == 0 {
                // Its window opens again, and then it stands in line again.
                continue;
            }
            let stream = self.streams.get(key);
            let piece = stream.outbox.split_to(room.min(stream.outbox.len()));
            let last = stream.outbox.is_empty();
            if last {
                stream.outbox = Bytes::new();
            }
            self.put_data(key, piece);
            if !last {
                self.stand_in_line(key);
                continue;
            }
            let stream = self.streams.get(key);
            stream.wake_writer();
            match std::mem::take(&mut stream.ending) {
                Ending::Open => {}
                Ending::End => self.put_end(key, None),
                Ending::Trailers(trailers) => self.put_end(key, Some(&trailers)),
            }
        }
    }

    /// Lets a stream with something to send wait for its turn.
    pub(super) fn stand_in_line(&mut self, key: Key) {
        let stream = self.streams.get(key);
        if !stream.queued && !stream.outbox.is_empty() && stream.send_window > 0 {
            stream.queued = true;
            self.line.push_back(key);
        }
    }

    /// Whether the transport keeps up.
    fn has_room(&self) -> bool {
        self.out.len() < self.settings.max_send_buffer.min(AHEAD)
    }

    /// Bytes that the next DATA frame of a stream may have.
    fn allowed(&mut self, key: Key) -> usize {
        let window = self.streams.get(key).send_window.min(self.windows.send);
        usize::try_from(window).map_or(0, |window| window.min(self.peer.max_frame).min(MAX_FRAME))
    }

    fn put_data(&mut self, key: Key, piece: Bytes) {
        // At most a frame.
        let length = super::window::signed(u32::try_from(piece.len()).unwrap_or(u32::MAX));
        self.windows.send -= length;
        let stream = self.streams.get(key);
        stream.send_window -= length;
        self.meter.sent_data();
        self.out.data(stream.id, piece, false);
    }

    fn put_end(&mut self, key: Key, trailers: Option<&Headers>) {
        let stream = self.streams.get(key);
        stream.sent = true;
        let id = stream.id;
        match trailers {
            Some(trailers) => {
                encode::trailers(&mut self.encoder, self.out.flat(), id, trailers);
            }
            None => {
                if !self.out.end_with_last(id) {
                    frame::put_head(self.out.flat(), 0, frame::DATA, frame::END_STREAM, id);
                    self.meter.sent_data();
                }
            }
        }
        self.settle(key);
    }

    /// Resets a stream, if it is not over.
    pub(in crate::http::h2) fn reset(&mut self, key: Key, reason: Reason) {
        if self.streams.get(key).is_over() {
            return;
        }
        let id = self.streams.get(key).id;
        self.fail_stream(key, Error::Reset(reason, By::Us));
        self.put_reset(id, reason);
        self.wake_driver();
    }
}

/// Bytes of bodies that are framed ahead of what the transport takes.
const AHEAD: usize = 64 * 1024;
