//! Bodies in and out of one HTTP/2 stream.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};

use crate::http::body::{BodyError, Frame};
use crate::http::{Body, Headers};

/// The receiving half of a stream.
#[derive(Debug)]
pub struct Incoming {
    stream: RecvStream,
    state: State,
    length: Option<u64>,
}

/// The sending half of a stream. Dropped before its end it resets the stream.
#[derive(Debug)]
pub struct Outgoing {
    stream: SendStream<Bytes>,
    ended: bool,
    /// Accepted by [`Outgoing::queue`] and not yet given to the connection.
    queued: Bytes,
    bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Data,
    Trailers,
    End,
}

impl Incoming {
    /// The body of a message with `headers`.
    pub(super) fn body(stream: RecvStream, headers: &Headers) -> Body {
        if stream.is_end_stream() {
            return Body::empty();
        }
        let length = headers
            .text(&http::header::CONTENT_LENGTH)
            .and_then(|text| text.parse().ok());
        Body::h2(Self {
            stream,
            state: State::Data,
            length,
        })
    }

    pub(crate) fn is_end(&self) -> bool {
        self.state == State::End || self.stream.is_end_stream()
    }

    pub(crate) fn exact_length(&self) -> Option<u64> {
        if self.is_end() { Some(0) } else { self.length }
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame, BodyError>>> {
        while self.state == State::Data {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(bytes)) if bytes.is_empty() => {}
                Some(Ok(bytes)) => {
                    // Given back at once: we are asked for the next piece only after this one was
                    // written, which bounds what is held to one piece.
                    self.stream.flow_control().release_capacity(bytes.len())?;
                    if let Some(length) = &mut self.length {
                        *length = length.saturating_sub(bytes.len() as u64);
                    }
                    return Poll::Ready(Some(Ok(Frame::Data(bytes))));
                }
                Some(Err(error)) => {
                    self.state = State::End;
                    return Poll::Ready(Some(Err(error.into())));
                }
                None => self.state = State::Trailers,
            }
        }
        if self.state == State::Trailers {
            let trailers = ready!(self.stream.poll_trailers(cx));
            self.state = State::End;
            return match trailers {
                Ok(Some(trailers)) => Poll::Ready(Some(Ok(Frame::Trailers(trailers.into())))),
                Ok(None) => Poll::Ready(None),
                Err(error) => Poll::Ready(Some(Err(error.into()))),
            };
        }
        Poll::Ready(None)
    }
}

impl Outgoing {
    pub(super) const fn new(stream: SendStream<Bytes>, ended: bool) -> Self {
        Self {
            stream,
            ended,
            queued: Bytes::new(),
            bytes: 0,
        }
    }

    /// Sends a piece of the body as the peer's window allows.
    pub async fn data(&mut self, bytes: Bytes) -> Result<(), h2::Error> {
        self.queue(bytes);
        poll_fn(|cx| self.poll_room(cx)).await
    }

    /// Takes a piece of the body; [`Outgoing::poll_room`] must be ready before the next one.
    pub fn queue(&mut self, bytes: Bytes) {
        debug_assert!(self.queued.is_empty());
        self.bytes += bytes.len() as u64;
        self.stream.reserve_capacity(bytes.len());
        self.queued = bytes;
    }

    /// Ready when the piece taken before has been given to the connection.
    pub fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        while !self.queued.is_empty() {
            let mut room = self.stream.capacity();
            if room == 0 {
                room = match ready!(self.stream.poll_capacity(cx)) {
                    Some(room) => room?,
                    // The stream is closed; the reason is the peer's reset.
                    None => return Poll::Ready(Err(Reason::CANCEL.into())),
                };
            }
            let piece = self.queued.split_to(room.min(self.queued.len()));
            self.stream.send_data(piece, false)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Ends the stream, with trailers or without.
    pub fn end(&mut self, trailers: Option<Headers>) -> Result<(), h2::Error> {
        if self.ended {
            return Ok(());
        }
        self.ended = true;
        match trailers {
            Some(trailers) => self.stream.send_trailers(trailers.into()),
            None => self.stream.send_data(Bytes::new(), true),
        }
    }

    /// Resets the stream.
    pub fn reset(&mut self, reason: Reason) {
        self.ended = true;
        self.stream.send_reset(reason);
    }

    /// Ready when the peer reset the stream.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reason, h2::Error>> {
        self.stream.poll_reset(cx)
    }

    /// Body bytes sent.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if !self.ended {
            self.stream.send_reset(Reason::CANCEL);
        }
    }
}
