//! The client's side of an HTTP/1 connection.

use std::future::poll_fn;
use std::io;

use bytes::Bytes;
use http::Method;

use super::connection::{Connection, Incoming, Shared};
use super::encode::{self, EncodeError, encode_request};
use super::framing::Framing;
use super::head::ResponseHead;
use super::server::{poll_room, write_data, write_end};
use super::{HeadError, HeadScan, Limits};
use crate::http::{Body, Headers, Request};
use crate::net::Stream;

/// A connection that carries one request at a time.
#[derive(Debug)]
pub struct ClientConnection {
    connection: Shared,
}

/// Writes the request body while [`ResponseReader`] waits for the answer.
#[derive(Debug)]
pub struct RequestWriter {
    connection: Shared,
    framing: Framing,
}

/// Reads the response.
#[derive(Debug)]
pub struct ResponseReader {
    connection: Shared,
    limits: Limits,
}

/// Why a response did not come.
#[derive(Debug, thiserror::Error)]
pub enum ResponseError {
    /// The peer closed before the first byte of a response.
    #[error("connection closed before the response")]
    Closed {
        /// Whether a part of the head had come.
        partial: bool,
    },
    /// The response cannot be understood.
    #[error("malformed response: {0}")]
    Malformed(#[from] HeadError),
    /// The transport failed.
    #[error("transport failed: {0}")]
    Io(#[from] io::Error),
}

impl ClientConnection {
    /// A connection over `stream`.
    pub fn new(stream: Stream) -> Self {
        Self {
            connection: Connection::shared(stream),
        }
    }

    /// Whether the server closed it, or spoke unasked, while it idled.
    pub fn is_stale(&self) -> bool {
        self.connection.borrow().is_stale()
    }

    /// Queues the head of `request`; it leaves with the first body bytes or at the next flush.
    pub fn send(
        &mut self,
        request: &Request,
        framing: Framing,
        upgrade: Option<&[u8]>,
        limits: Limits,
    ) -> Result<(RequestWriter, ResponseReader), EncodeError> {
        let connection = match upgrade {
            Some(protocol) => encode::Connection::Upgrade(protocol),
            None => encode::Connection::KeepAlive,
        };
        self.connection.borrow_mut().pass_trailers(limits.trailers);
        encode_request(
            request,
            framing,
            connection,
            self.connection.borrow_mut().flat(),
        )?;
        Ok((
            RequestWriter {
                connection: self.connection.clone(),
                framing,
            },
            ResponseReader {
                connection: self.connection.clone(),
                limits,
            },
        ))
    }

    /// The stream below.
    pub fn with_stream<T>(&self, f: impl FnOnce(&Stream) -> T) -> T {
        f(self.connection.borrow().stream())
    }

    /// Bytes read and written since the last call.
    pub fn take_counts(&self) -> (u64, u64) {
        self.connection.borrow_mut().take_counts()
    }

    /// Whether request and response are complete, so that the connection can carry the next one.
    pub fn is_clean(&self) -> bool {
        let connection = self.connection.borrow();
        connection.is_body_read()
            && connection.queued() == 0
            && connection.pending().is_empty()
            && !connection.is_eof()
    }

    /// Everything that the peer sends from here on, after an upgrade.
    pub fn tunnel(&self) -> Body {
        self.connection
            .borrow_mut()
            .begin_body(Framing::UntilClose, false);
        Body::h1(Incoming::new(self.connection.clone()))
    }
}

impl RequestWriter {
    /// Queues a piece of the body without writing it.
    pub fn queue(&mut self, bytes: Bytes) {
        write_data(&self.connection, self.framing, bytes);
    }

    /// Sends a piece of the body; waits while the server does not read.
    pub async fn data(&mut self, bytes: Bytes) -> io::Result<()> {
        self.queue(bytes);
        poll_fn(|cx| poll_room(&self.connection, cx)).await
    }

    /// From here on bytes are written as they come: the request opened a tunnel.
    pub const fn open_tunnel(&mut self) {
        self.framing = Framing::UntilClose;
    }

    /// Flushes and closes the write side.
    pub async fn shutdown(&mut self) {
        // Fails only where the peer is gone, which the reading side sees too.
        drop(poll_fn(|cx| self.connection.borrow_mut().poll_shutdown(cx)).await);
    }

    /// Queues the end of the body.
    pub fn end(&mut self, trailers: Option<&Headers>) {
        write_end(&self.connection, self.framing, trailers);
    }

    /// Writes out what is queued.
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.connection.borrow_mut().poll_flush(cx)).await
    }
}

impl ResponseReader {
    /// Waits for a head: an informational one, or the final one with its body.
    pub async fn head(&mut self, method: &Method) -> Result<(ResponseHead, Body), ResponseError> {
        let mut scan = HeadScan::default();
        let end = loop {
            let found = scan.find_end(self.connection.borrow().pending(), &self.limits)?;
            if let Some(end) = found {
                break end;
            }
            let read = poll_fn(|cx| self.connection.borrow_mut().poll_fill(cx)).await;
            let partial = !self.connection.borrow().pending().is_empty();
            match read {
                Ok(0) => return Err(ResponseError::Closed { partial }),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset && !partial => {
                    return Err(ResponseError::Closed { partial });
                }
                Err(error) => return Err(error.into()),
            }
        };
        let mut connection = self.connection.borrow_mut();
        let head = scan.response(connection.take(end), method)?;
        connection.begin_body(head.framing, false);
        let body = if connection.is_body_read() {
            Body::empty()
        } else {
            Body::h1(Incoming::new(self.connection.clone()))
        };
        drop(connection);
        Ok((head, body))
    }
}
