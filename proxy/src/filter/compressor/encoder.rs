//! Bodies that are compressed while they pass.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use carbyne_engine::http::body::FrameSource;
use carbyne_engine::http::{Body, BodyError, Frame};

use super::Library;

/// A body with what compresses it. Every piece is flushed as it comes, as Envoy does: a stream of events must not wait for a full block.
pub(super) struct Compressed {
    body: Body,
    encoder: Option<Encoder>,
    ready: VecDeque<Frame>,
}

enum Encoder {
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Gzip(Box<flate2::write::GzEncoder<Vec<u8>>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, Vec<u8>>>),
}

impl Compressed {
    /// Of nothing yet.
    pub(super) fn new(library: &Library) -> io::Result<Self> {
        Ok(Self {
            body: Body::empty(),
            encoder: Some(Encoder::new(library)?),
            ready: VecDeque::new(),
        })
    }

    /// The same of this body.
    pub(super) fn over(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    /// Takes the end of the body, with its trailers.
    fn finish(&mut self, trailers: Option<Frame>) -> io::Result<()> {
        if let Some(encoder) = self.encoder.take() {
            self.queue(encoder.finish()?);
        }
        self.ready.extend(trailers);
        Ok(())
    }

    fn queue(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.ready.push_back(Frame::Data(Bytes::from(bytes)));
        }
    }
}

impl FrameSource for Compressed {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(frame)));
            }
            if self.encoder.is_none() {
                return Poll::Ready(None);
            }
            let taken = match ready!(self.body.poll_frame(cx)) {
                Some(Ok(Frame::Data(bytes))) => match &mut self.encoder {
                    // The last piece is flushed by the end itself.
                    Some(encoder) => encoder
                        .take(&bytes, !self.body.is_end())
                        .map(|compressed| self.queue(compressed)),
                    None => Ok(()),
                },
                Some(Ok(trailers @ Frame::Trailers(_))) => self.finish(Some(trailers)),
                Some(Err(error)) => {
                    self.encoder = None;
                    return Poll::Ready(Some(Err(error)));
                }
                None => self.finish(None),
            };
            if let Err(error) = taken {
                self.encoder = None;
                return Poll::Ready(Some(Err(error.into())));
            }
        }
    }
}

impl fmt::Debug for Compressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressed")
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

impl Encoder {
    fn new(library: &Library) -> io::Result<Self> {
        Ok(match *library {
            Library::Brotli {
                quality,
                window_bits,
            } => Self::Brotli(Box::new(brotli::CompressorWriter::new(
                Vec::new(),
                BUFFER,
                quality,
                window_bits,
            ))),
            Library::Gzip { level } => Self::Gzip(Box::new(flate2::write::GzEncoder::new(
                Vec::new(),
                flate2::Compression::new(level),
            ))),
            Library::Zstd { level, checksum } => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), level)?;
                encoder.include_checksum(checksum)?;
                Self::Zstd(Box::new(encoder))
            }
        })
    }

    /// Compresses a piece and returns what is to be sent so far.
    fn take(&mut self, bytes: &[u8], flush: bool) -> io::Result<Vec<u8>> {
        let writer: &mut dyn Write = match self {
            Self::Brotli(encoder) => encoder,
            Self::Gzip(encoder) => encoder,
            Self::Zstd(encoder) => encoder,
        };
        writer.write_all(bytes)?;
        if flush {
            writer.flush()?;
        }
        Ok(std::mem::take(match self {
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
        }))
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Brotli(encoder) => Ok(encoder.into_inner()),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

const BUFFER: usize = 4096;
