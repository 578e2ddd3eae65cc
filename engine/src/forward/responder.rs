//! The response on its way to either HTTP version.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::StatusCode;

use super::exchange::Counts;
use crate::http::h1::server::ServerConnection;
use crate::http::{Body, Headers, Request, Response, h1, h2};
use crate::runtime::DrainSignal;

/// Writes one response.
#[derive(Debug)]
pub(super) enum Responder {
    H1 {
        responder: h1::server::Responder,
        connection: Rc<ServerConnection>,
        drain: DrainSignal,
        forward_interim: bool,
        head_sent: bool,
        upgraded: bool,
    },
    H2 {
        responder: h2::server::Responder,
        forward_interim: bool,
        head_sent: bool,
    },
}

/// The client cannot be written to any more.
#[derive(Debug)]
pub(super) struct Gone;

impl Responder {
    /// Queues the head. `length` is the body's length where it is known.
    pub(super) fn head(
        &mut self,
        response: &Response,
        length: Option<u64>,
        upgrade: Option<&[u8]>,
    ) -> Result<(), Gone> {
        match self {
            Self::H1 {
                responder,
                head_sent,
                upgraded,
                drain,
                ..
            } => {
                if drain.is_started() {
                    responder.close_after();
                }
                responder
                    .head(response, length, upgrade)
                    .map_err(|_| Gone)?;
                *upgraded = upgrade.is_some();
                *head_sent = true;
            }
            Self::H2 {
                responder,
                head_sent,
                ..
            } => {
                let end = length == Some(0) && upgrade.is_none();
                responder.head(response, end).map_err(|_| Gone)?;
                *head_sent = true;
            }
        }
        Ok(())
    }

    /// Queues an informational response of the host, if those pass.
    pub(super) fn interim(&mut self, response: &Response) -> Result<(), Gone> {
        match self {
            Self::H1 {
                forward_interim: false,
                ..
            }
            | Self::H2 {
                forward_interim: false,
                ..
            } => Ok(()),
            Self::H1 { responder, .. } => responder.interim(response).map_err(|_| Gone),
            Self::H2 { responder, .. } => responder.interim(response).map_err(|_| Gone),
        }
    }

    /// Tells an HTTP/2 client that waits for it to send its body; HTTP/1 says so when the body is first read.
    pub(super) fn go_on(&mut self) {
        if let Self::H2 { responder, .. } = self {
            // Fails only where the stream is closed, which the exchange sees itself.
            responder.interim(&Response::new(StatusCode::CONTINUE)).ok();
        }
    }

    /// Takes a piece of the body; [`Responder::poll_room`] must be ready before the next one.
    pub(super) fn queue(&mut self, bytes: Bytes) -> Result<(), Gone> {
        match self {
            Self::H1 { responder, .. } => responder.data(bytes),
            Self::H2 { responder, .. } => responder.stream().ok_or(Gone)?.queue(bytes),
        }
        Ok(())
    }

    /// Ready when another piece may be queued. HTTP/1 lets a little gather, so that head and first piece
    /// leave in one system call.
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        match self {
            Self::H1 { responder, .. } => {
                if responder.queued() < QUEUE_LIMIT {
                    return Poll::Ready(Ok(()));
                }
                responder.poll_flush(cx).map_err(|_| Gone)
            }
            Self::H2 { responder, .. } => match responder.stream() {
                Some(stream) => stream.poll_room(cx).map_err(|_| Gone),
                None => Poll::Ready(Err(Gone)),
            },
        }
    }

    /// Ends the body; [`Responder::flush`] sends it.
    pub(super) fn end(&mut self, trailers: Option<&Headers>) -> Result<(), Gone> {
        match self {
            Self::H1 { responder, .. } => {
                responder.end(trailers);
                Ok(())
            }
            Self::H2 { responder, .. } => {
                let stream = responder.stream().ok_or(Gone)?;
                stream.end(trailers.cloned()).map_err(|_| Gone)
            }
        }
    }

    /// From here on bytes go as they are; returns what the client sends, `unread` first.
    pub(super) fn open_tunnel(&mut self, unread: Body) -> Body {
        match self {
            Self::H1 {
                responder,
                connection,
                ..
            } => {
                responder.open_tunnel();
                drop(unread);
                connection.tunnel()
            }
            Self::H2 { .. } => unread,
        }
    }

    /// Closes the way down; the way up goes on.
    pub(super) fn poll_half_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::H1 { responder, .. } => responder.poll_shutdown(cx).map(|_| ()),
            Self::H2 { responder, .. } => {
                if let Some(stream) = responder.stream() {
                    // Fails only where the stream is closed already.
                    stream.end(None).ok();
                }
                Poll::Ready(())
            }
        }
    }

    /// Writes out what is queued.
    pub(super) async fn flush(&mut self) -> Result<(), Gone> {
        poll_fn(|cx| self.poll_flush(cx)).await.map_err(|_| Gone)
    }

    /// Polls for everything queued to be written.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::H1 { responder, .. } => responder.poll_flush(cx),
            // h2 writes by itself.
            Self::H2 { .. } => Poll::Ready(Ok(())),
        }
    }

    /// Whether an HTTP/1 connection stays open after this exchange.
    pub(super) const fn keeps_alive(&self) -> bool {
        match self {
            Self::H1 { responder, .. } => responder.keep_alive(),
            Self::H2 { .. } => true,
        }
    }

    /// Counts the bytes on the wire: exactly for HTTP/1, for HTTP/2 without framing and compression.
    pub(super) fn count(
        &self,
        request: &Request,
        response: Option<&Response>,
        counts: &mut Counts,
    ) {
        match self {
            Self::H1 { connection, .. } => {
                (counts.wire_received, counts.wire_sent) = connection.take_counts();
            }
            Self::H2 { .. } => {
                let head =
                    request.headers.byte_size() + request.path.len() + request.authority.len();
                counts.wire_received = head as u64 + counts.received;
                let head = response.map_or(0, |response| response.headers.byte_size());
                counts.wire_sent = head as u64 + counts.sent;
            }
        }
    }

    /// Whether the head was queued: from then on an error can only reset.
    pub(super) const fn head_sent(&self) -> bool {
        match self {
            Self::H1 { head_sent, .. } | Self::H2 { head_sent, .. } => *head_sent,
        }
    }

    /// Makes this the last exchange of an HTTP/1 connection where nobody read the request to its end, as
    /// Envoy does: what follows on the connection could be taken for the next request.
    pub(super) fn close_unless_read(&mut self) {
        if let Self::H1 {
            responder,
            connection,
            ..
        } = self
            && !connection.is_body_read()
        {
            responder.close_after();
        }
    }

    /// Makes this the last exchange of an HTTP/1 connection.
    pub(super) fn close(&mut self) {
        if let Self::H1 { responder, .. } = self {
            responder.close_after();
        }
    }

    /// Ends the stream so that the client cannot take it for complete.
    pub(super) fn reset(&mut self) {
        match self {
            Self::H1 { responder, .. } => responder.close_after(),
            Self::H2 { responder, .. } => responder.reset(h2::Reason::INTERNAL_ERROR),
        }
    }

    /// Ready when the client went away. HTTP/1 can tell only after the request's body was read.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::H1 {
                connection,
                upgraded,
                ..
            } => {
                if connection.is_body_read() && !*upgraded {
                    connection.poll_closed(cx)
                } else {
                    Poll::Pending
                }
            }
            Self::H2 { responder, .. } => responder.poll_reset(cx).map(|_| ()),
        }
    }
}

/// Bytes that may wait for more to join them.
const QUEUE_LIMIT: usize = 16 * 1024;
