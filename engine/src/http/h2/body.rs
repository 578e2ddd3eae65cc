//! Bodies in and out of one HTTP/2 stream.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::connection::Shared;
use super::error::{Error, Reason};
use super::stream::{Event, Key, register};
use crate::http::body::{BodyError, Frame};
use crate::http::{Headers, Response};

/// Holds on to one stream of a connection.
#[derive(Debug)]
pub(super) struct Handle {
    connection: Shared,
    key: Key,
}

/// The receiving half of a stream.
#[derive(Debug)]
pub struct Incoming {
    handle: Handle,
    /// Whether the end was reached, or the stream broke.
    ended: bool,
    length: Option<u64>,
}

/// The sending half of a stream. Dropped before its end it resets the stream.
#[derive(Debug)]
pub struct Outgoing {
    handle: Handle,
    ended: bool,
    bytes: u64,
}

impl Handle {
    /// Takes over a hold that the connection counted.
    pub(super) const fn new(connection: Shared, key: Key) -> Self {
        Self { connection, key }
    }

    /// A further one.
    pub(super) fn another(&self) -> Self {
        self.connection.borrow_mut().hold(self.key);
        Self {
            connection: self.connection.clone(),
            key: self.key,
        }
    }

    /// The next thing that comes on the stream; `None` at its end.
    fn poll_event(&self, cx: &Context<'_>) -> Poll<Option<Result<Event, Error>>> {
        let mut connection = self.connection.borrow_mut();
        let stream = connection.stream(self.key);
        if let Some(event) = stream.inbox.pop_front() {
            return Poll::Ready(Some(Ok(event)));
        }
        if stream.received {
            return Poll::Ready(None);
        }
        if let Some(error) = stream.error {
            return Poll::Ready(Some(Err(error)));
        }
        register(&mut stream.reader, cx);
        Poll::Pending
    }

    /// The next head, and whether it is all.
    pub(super) fn poll_head(&self, cx: &Context<'_>) -> Poll<Result<(Response, bool), Error>> {
        match ready!(self.poll_event(cx)) {
            Some(Ok(Event::Head(response))) => {
                let mut connection = self.connection.borrow_mut();
                let stream = connection.stream(self.key);
                let end = stream.received && stream.inbox.is_empty();
                Poll::Ready(Ok((response, end)))
            }
            Some(Err(error)) => Poll::Ready(Err(error)),
            // Nothing else comes before the head, and the head comes before the end.
            Some(Ok(_)) | None => {
                Poll::Ready(Err(Error::Reset(Reason::PROTOCOL_ERROR, super::By::Us)))
            }
        }
    }

    pub(super) fn reset(&self, reason: Reason) {
        self.connection.borrow_mut().reset(self.key, reason);
    }

    pub(super) fn send_response(&self, response: &Response, end: bool) -> Result<(), Error> {
        let mut connection = self.connection.borrow_mut();
        connection.send_response(self.key, response, end)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.connection.borrow_mut().release(self.key);
    }
}

impl Incoming {
    pub(super) const fn new(handle: Handle, length: Option<u64>) -> Self {
        Self {
            handle,
            ended: false,
            length,
        }
    }

    pub(crate) fn is_end(&self) -> bool {
        if self.ended {
            return true;
        }
        let mut connection = self.handle.connection.borrow_mut();
        let stream = connection.stream(self.handle.key);
        stream.received && stream.inbox.is_empty()
    }

    pub(crate) fn exact_length(&self) -> Option<u64> {
        if self.is_end() { Some(0) } else { self.length }
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &Context<'_>,
    ) -> Poll<Option<Result<Frame, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        loop {
            let bytes = match ready!(self.handle.poll_event(cx)) {
                Some(Ok(Event::Data(bytes))) => bytes,
                Some(Ok(Event::Small(bytes))) => bytes.freeze(),
                Some(Ok(Event::Trailers(trailers))) => {
                    self.ended = true;
                    return Poll::Ready(Some(Ok(Frame::Trailers(trailers))));
                }
                // Informational heads behind the final one are none.
                Some(Ok(Event::Head(_))) => continue,
                Some(Err(error)) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(error.into())));
                }
                None => {
                    self.ended = true;
                    return Poll::Ready(None);
                }
            };
            // Given back at once: we are asked for the next piece only after this one was written, which bounds what is
            // held to one piece.
            let mut connection = self.handle.connection.borrow_mut();
            connection.taken(self.handle.key, bytes.len());
            if let Some(length) = &mut self.length {
                *length = length.saturating_sub(bytes.len() as u64);
            }
            return Poll::Ready(Some(Ok(Frame::Data(bytes))));
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.ended {
            // The sending half may still be held.
            let mut connection = self.handle.connection.borrow_mut();
            connection.ignore(self.handle.key);
        }
    }
}

impl Outgoing {
    pub(super) const fn new(handle: Handle, ended: bool) -> Self {
        Self {
            handle,
            ended,
            bytes: 0,
        }
    }

    pub(super) const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Marks that the head ended the stream.
    pub(super) const fn set_ended(&mut self) {
        self.ended = true;
    }

    /// Sends a piece of the body as the peer's window allows.
    pub async fn data(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.queue(bytes);
        poll_fn(|cx| self.poll_room(cx)).await
    }

    /// Takes a piece of the body; [`Outgoing::poll_room`] must be ready before the next one.
    pub fn queue(&mut self, bytes: Bytes) {
        self.bytes += bytes.len() as u64;
        let mut connection = self.handle.connection.borrow_mut();
        connection.send_data(self.handle.key, bytes);
    }

    /// Ready when the piece taken before has been given to the connection.
    pub fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut connection = self.handle.connection.borrow_mut();
        connection.poll_room(self.handle.key, cx)
    }

    /// Ends the stream, with trailers or without.
    pub fn end(&mut self, trailers: Option<Headers>) -> Result<(), Error> {
        if self.ended {
            return Ok(());
        }
        self.ended = true;
        let mut connection = self.handle.connection.borrow_mut();
        connection.send_end(self.handle.key, trailers)
    }

    /// Resets the stream.
    pub fn reset(&mut self, reason: Reason) {
        self.ended = true;
        self.handle.reset(reason);
    }

    /// Ready when the stream ended before its time, mostly because the peer reset it.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let mut connection = self.handle.connection.borrow_mut();
        connection.poll_reset(self.handle.key, cx)
    }

    /// Body bytes sent.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if !self.ended {
            self.handle.reset(Reason::CANCEL);
        }
    }
}
