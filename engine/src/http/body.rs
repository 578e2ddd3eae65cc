//! Streaming message bodies.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};

use super::Headers;
use super::{h1, h2};

/// A piece of a body.
#[derive(Clone, Debug)]
pub enum Frame {
    /// Content bytes, never empty.
    Data(Bytes),
    /// Trailer fields; nothing follows.
    Trailers(Headers),
}

/// A message body: pull frames until `None`.
///
/// Dropping a body before its end tells the connection below that it cannot be used again.
#[derive(Debug, Default)]
pub struct Body(Kind);

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The peer closed or reset the connection before the end of the body.
    #[error("connection closed before the end of the body")]
    Closed,
    /// The body grew beyond what its reader allows.
    #[error("body exceeds {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The framing is broken.
    #[error("malformed body: {0}")]
    Malformed(&'static str),
    /// The peer reset the HTTP/2 stream, or broke the protocol.
    #[error("stream error: {0}")]
    Stream(#[from] h2::Error),
    /// The transport failed.
    #[error("transport failed: {0}")]
    Io(#[from] io::Error),
}

/// A source of frames that a front end brings along, such as a compressor around another body.
pub trait FrameSource: fmt::Debug {
    /// The next frame; `None` after the last.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>>;

    /// Length in bytes if it is known.
    fn exact_length(&self) -> Option<u64> {
        None
    }
}

#[derive(Debug, Default)]
enum Kind {
    #[default]
    Empty,
    Full(Bytes),
    H1(h1::connection::Incoming),
    H2(h2::Incoming),
    /// Frames read earlier, then the rest.
    Chain(VecDeque<Frame>, Box<Body>),
    Custom(Box<dyn FrameSource>),
}

impl Body {
    /// A body of no bytes.
    pub const fn empty() -> Self {
        Self(Kind::Empty)
    }

    /// A body that is here already.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() {
            Self::empty()
        } else {
            Self(Kind::Full(bytes))
        }
    }

    /// A body made of `frames` that were read ahead, followed by `rest`.
    pub fn chain(frames: VecDeque<Frame>, rest: Self) -> Self {
        if frames.is_empty() {
            rest
        } else {
            Self(Kind::Chain(frames, Box::new(rest)))
        }
    }

    /// A body whose frames come from `source`.
    pub fn custom(source: Box<dyn FrameSource>) -> Self {
        Self(Kind::Custom(source))
    }

    pub(super) const fn h1(incoming: h1::connection::Incoming) -> Self {
        Self(Kind::H1(incoming))
    }

    pub(super) const fn h2(incoming: h2::Incoming) -> Self {
        Self(Kind::H2(incoming))
    }

    /// Whether it is known that no frame is left.
    pub fn is_end(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::H1(incoming) => incoming.is_end(),
            Kind::H2(incoming) => incoming.is_end(),
            Kind::Chain(frames, rest) => frames.is_empty() && rest.is_end(),
            Kind::Custom(_) => false,
        }
    }

    /// Remaining bytes, where the framing says.
    pub fn exact_length(&self) -> Option<u64> {
        match &self.0 {
            Kind::Empty => Some(0),
            Kind::Full(bytes) => Some(bytes.len() as u64),
            Kind::H1(incoming) => incoming.exact_length(),
            Kind::H2(incoming) => incoming.exact_length(),
            Kind::Chain(frames, rest) => {
                let mut length = rest.exact_length()?;
                for frame in frames {
                    match frame {
                        Frame::Data(bytes) => length += bytes.len() as u64,
                        Frame::Trailers(_) => return None,
                    }
                }
                Some(length)
            }
            Kind::Custom(source) => source.exact_length(),
        }
    }

    /// The next frame; `None` after the last.
    pub async fn frame(&mut self) -> Option<Result<Frame, BodyError>> {
        poll_fn(|cx| self.poll_frame(cx)).await
    }

    /// Polls for the next frame.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::Data(bytes))))
            }
            Kind::H1(incoming) => incoming.poll_frame(cx),
            Kind::H2(incoming) => incoming.poll_frame(cx),
            Kind::Chain(frames, rest) => match frames.pop_front() {
                Some(frame) => Poll::Ready(Some(Ok(frame))),
                None => {
                    let rest = std::mem::take(&mut **rest);
                    *self = rest;
                    self.poll_frame(cx)
                }
            },
            Kind::Custom(source) => source.poll_frame(cx),
        }
    }

    /// Reads all of it, up to `limit` bytes; trailers are returned beside.
    pub async fn collect(mut self, limit: usize) -> Result<(Bytes, Option<Headers>), BodyError> {
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        let mut trailers = None;
        while let Some(frame) = self.frame().await {
            match frame? {
                Frame::Data(bytes) => {
                    if first.len() + rest.len() + bytes.len() > limit {
                        return Err(BodyError::TooLarge { limit });
                    }
                    if first.is_empty() {
                        first = bytes;
                    } else {
                        rest.extend_from_slice(&bytes);
                    }
                }
                Frame::Trailers(fields) => trailers = Some(fields),
            }
        }
        if rest.is_empty() {
            return Ok((first, trailers));
        }
        let mut whole = BytesMut::with_capacity(first.len() + rest.len());
        whole.extend_from_slice(&first);
        whole.extend_from_slice(&rest);
        Ok((whole.freeze(), trailers))
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::full(bytes)
    }
}
