//! Bodies on their way: watched, changed piece by piece, or changed whole.

use std::collections::VecDeque;
use std::fmt;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use carbyne_engine::http::body::{BodyError, Frame, FrameSource};
use carbyne_engine::http::{Body, Headers};

/// Sees a body pass. Trailers are not shown to it.
pub trait Transform: fmt::Debug {
    /// A piece of the body; what goes on in its place, which may be nothing. An error ends the message as broken:
    /// [`BodyError::TooLarge`] on a request answers 413.
    fn piece(&mut self, piece: Bytes) -> Result<Bytes, BodyError>;

    /// The body is over; what still follows.
    fn end(&mut self) -> Result<Bytes, BodyError> {
        Ok(Bytes::new())
    }

    /// Whether as many bytes come out as go in, so that the length may be told in advance.
    fn keeps_length(&self) -> bool {
        false
    }
}

/// Passes the body of `inner` through `transform`.
pub fn transformed(inner: Body, transform: Box<dyn Transform>) -> Body {
    Body::custom(Box::new(Through {
        inner,
        transform,
        ended: false,
        trailers: None,
        ready: VecDeque::new(),
    }))
}

#[derive(Debug)]
struct Through {
    inner: Body,
    transform: Box<dyn Transform>,
    ended: bool,
    trailers: Option<Headers>,
    ready: VecDeque<Frame>,
}

impl FrameSource for Through {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(frame)));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            let bytes = match ready!(self.inner.poll_frame(cx)) {
                Some(Ok(Frame::Data(bytes))) => self.transform.piece(bytes),
                Some(Ok(Frame::Trailers(trailers))) => {
                    self.trailers = Some(trailers);
                    continue;
                }
                Some(Err(error)) => Err(error),
                None => {
                    self.ended = true;
                    self.transform.end()
                }
            };
            match bytes {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => self.ready.push_back(Frame::Data(bytes)),
                Err(error) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
            }
            if self.ended {
                self.ready.extend(self.trailers.take().map(Frame::Trailers));
            }
        }
    }

    fn exact_length(&self) -> Option<u64> {
        let rest = self
            .transform
            .keeps_length()
            .then(|| self.inner.exact_length());
        rest.flatten()
    }
}

/// A whole body changed at once. A body above the limit passes as it is.
pub struct Whole<F> {
    limit: usize,
    gathered: BytesMut,
    change: Option<F>,
}

impl<F: FnOnce(Bytes) -> Bytes> Whole<F> {
    pub fn new(limit: usize, change: F) -> Self {
        Self {
            limit,
            gathered: BytesMut::new(),
            change: Some(change),
        }
    }
}

impl<F: FnOnce(Bytes) -> Bytes> Transform for Whole<F> {
    fn piece(&mut self, piece: Bytes) -> Result<Bytes, BodyError> {
        if self.change.is_none() {
            return Ok(piece);
        }
        self.gathered.extend_from_slice(&piece);
        if self.gathered.len() <= self.limit {
            return Ok(Bytes::new());
        }
        self.change = None;
        Ok(std::mem::take(&mut self.gathered).freeze())
    }

    fn end(&mut self) -> Result<Bytes, BodyError> {
        let gathered = std::mem::take(&mut self.gathered).freeze();
        Ok(match self.change.take() {
            Some(change) => change(gathered),
            None => gathered,
        })
    }
}

impl<F> fmt::Debug for Whole<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Whole")
            .field("limit", &self.limit)
            .field("gathered", &self.gathered.len())
            .finish_non_exhaustive()
    }
}
