//! The server's side of an HTTP/1 connection: requests in, responses out, one at a time.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Version};
use tokio::time::timeout;

use super::chunked::{CHUNK_END, ChunkHead, LAST_CHUNK, encode_end};
use super::connection::{Connection, Incoming, Shared};
use super::encode::{self, Asked, EncodeError, encode_response};
use super::framing::Framing;
use super::head::RequestHead;
use super::{HeadError, HeadScan, Limits};
use crate::http::{Body, Headers, Response};
use crate::net::Stream;
use crate::runtime::Timer;

/// A connection that requests are read from.
#[derive(Debug)]
pub struct ServerConnection {
    connection: Shared,
    limits: Limits,
}

/// What came after the last exchange.
#[derive(Debug)]
pub enum Next {
    /// A request.
    Request(Box<RequestHead>, Body),
    /// Bytes that are no request; answer with [`HeadError::status`] and close.
    Refused(HeadError),
    /// A head that did not become complete in time; answer 408 and close.
    HeadTimeout,
    /// The peer closed, or nothing came in time: close without an answer.
    Closed,
}

/// How long to wait for what; `None` waits for ever.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadTimeouts {
    /// For the first byte of a request.
    pub idle: Option<Duration>,
    /// From the first byte of a head to its last.
    pub head: Option<Duration>,
}

/// Writes the response to one request.
#[derive(Debug)]
pub struct Responder {
    connection: Shared,
    method: Method,
    version: Version,
    keep_alive: bool,
    framing: Framing,
}

impl ServerConnection {
    /// A connection over `stream`.
    pub fn new(stream: Stream, limits: Limits) -> Self {
        let connection = Connection::shared(stream);
        connection.borrow_mut().pass_trailers(limits.trailers);
        Self { connection, limits }
    }

    /// Waits for the next request, idle `since` then. `stop` ends the wait while no byte of it has come.
    pub async fn next(
        &self,
        timeouts: ReadTimeouts,
        since: Instant,
        timer: &mut Timer,
        mut stop: impl FnMut(&mut Context<'_>) -> Poll<()>,
    ) -> Next {
        if self.connection.borrow().pending().is_empty() {
            let arrived = poll_fn(|cx| {
                if let Poll::Ready(arrived) = self.connection.borrow_mut().poll_fill(cx) {
                    return Poll::Ready(matches!(arrived, Ok(1..)));
                }
                if stop(cx).is_ready() {
                    return Poll::Ready(false);
                }
                poll_limit(timer, cx, timeouts.idle, since).map(|()| false)
            });
            if !arrived.await {
                return Next::Closed;
            }
        }
        // A whole head is nearly always here by now: no timer for it then.
        let mut scan = HeadScan::default();
        match self.scan(&mut scan) {
            Ok(Some(end)) => self.parse(scan, end),
            Err(error) => Next::Refused(error),
            // Boxed: an idle connection need not hold room for it.
            Ok(None) => Box::pin(self.complete(scan, timeouts.head, timer)).await,
        }
    }

    /// Bytes of memory that a connection takes while it waits, without what its task takes.
    #[cfg(test)]
    pub(crate) const fn memory() -> usize {
        size_of::<Connection>()
    }

    /// A responder for the request just returned.
    pub fn responder(&self, method: Method, version: Version, keep_alive: bool) -> Responder {
        Responder {
            connection: self.connection.clone(),
            method,
            version,
            keep_alive,
            framing: Framing::None,
        }
    }

    /// Bytes read and written since the last call.
    pub fn take_counts(&self) -> (u64, u64) {
        self.connection.borrow_mut().take_counts()
    }

    /// The stream below.
    pub fn with_stream<T>(&self, f: impl FnOnce(&Stream) -> T) -> T {
        f(self.connection.borrow().stream())
    }

    /// Ready when the peer closed; keeps what it pipelines.
    pub fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.connection.borrow_mut().poll_closed(cx)
    }

    /// Whether the request body was read to its end; else the connection must close after the answer,
    /// or what is left must be read (CVE-2025-4366).
    pub fn is_body_read(&self) -> bool {
        self.connection.borrow().is_body_read()
    }

    /// Reads and drops the rest of the request body, if it is at most `limit` bytes.
    pub async fn drain_body(&self, limit: usize) -> bool {
        if self.is_body_read() {
            return true;
        }
        let mut body = Body::h1(Incoming::new(self.connection.clone()));
        let mut left = limit;
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(crate::http::Frame::Data(bytes)) => match left.checked_sub(bytes.len()) {
                    Some(rest) => left = rest,
                    None => return false,
                },
                Ok(crate::http::Frame::Trailers(_)) => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// Flushes and closes the write side, then reads a little so that the peer gets the answer instead
    /// of a reset (RFC 9112 §9.6).
    pub async fn close(&self) {
        let shut = poll_fn(|cx| self.connection.borrow_mut().poll_shutdown(cx)).await;
        if shut.is_err() {
            return;
        }
        let linger = async {
            loop {
                let read = poll_fn(|cx| self.connection.borrow_mut().poll_fill(cx)).await;
                if !matches!(read, Ok(1..)) {
                    return;
                }
                self.connection.borrow_mut().take_pending();
            }
        };
        // Whether it ended or timed out is the same: the connection is closed now.
        drop(timeout(LINGER, linger).await);
    }

    /// Everything that the client sends from here on, after an upgrade.
    pub fn tunnel(&self) -> Body {
        self.connection
            .borrow_mut()
            .begin_body(Framing::UntilClose, false);
        Body::h1(Incoming::new(self.connection.clone()))
    }

    fn scan(&self, scan: &mut HeadScan) -> Result<Option<usize>, HeadError> {
        scan.find_end(self.connection.borrow().pending(), &self.limits)
    }

    async fn complete(
        &self,
        mut scan: HeadScan,
        limit: Option<Duration>,
        timer: &mut Timer,
    ) -> Next {
        let since = Instant::now();
        poll_fn(|cx| {
            loop {
                match self.connection.borrow_mut().poll_fill(cx) {
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(_) => return Poll::Ready(Next::Closed),
                    Poll::Pending => {
                        return poll_limit(timer, cx, limit, since).map(|()| Next::HeadTimeout);
                    }
                }
                match self.scan(&mut scan) {
                    Ok(Some(end)) => {
                        return Poll::Ready(self.parse(std::mem::take(&mut scan), end));
                    }
                    Ok(None) => {}
                    Err(error) => return Poll::Ready(Next::Refused(error)),
                }
            }
        })
        .await
    }

    fn parse(&self, scan: HeadScan, end: usize) -> Next {
        let mut connection = self.connection.borrow_mut();
        let head = match scan.request(connection.take(end), &self.limits) {
            Ok(head) => head,
            Err(error) => return Next::Refused(error),
        };
        connection.begin_body(head.framing, head.expect_continue);
        let body = if connection.is_body_read() {
            Body::empty()
        } else {
            Body::h1(Incoming::new(self.connection.clone()))
        };
        Next::Request(Box::new(head), body)
    }
}

impl Responder {
    /// Makes this the last exchange on the connection.
    pub const fn close_after(&mut self) {
        self.keep_alive = false;
    }

    /// Whether the connection stays open after this exchange.
    pub const fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Queues the head. `length` is the body's length where it is known; `upgrade` turns the connection
    /// into that protocol.
    pub fn head(
        &mut self,
        response: &Response,
        length: Option<u64>,
        upgrade: Option<&[u8]>,
    ) -> Result<(), EncodeError> {
        if self.method == Method::CONNECT {
            // Whatever follows a CONNECT was meant for a tunnel: where there is none it is no request.
            self.keep_alive = false;
        }
        let framing = if response.is_bodyless(&self.method) {
            Framing::None
        } else {
            length.map_or(Framing::Chunked, Framing::Length)
        };
        let connection = match upgrade {
            Some(protocol) => encode::Connection::Upgrade(protocol),
            None if self.keep_alive => encode::Connection::KeepAlive,
            None => encode::Connection::Close,
        };
        let asked = Asked {
            method: &self.method,
            version: self.version,
        };
        let mut shared = self.connection.borrow_mut();
        shared.cancel_continue();
        let written = encode_response(response, asked, framing, connection, None, shared.flat())?;
        self.keep_alive &= written.keep_alive;
        self.framing = written.framing;
        Ok(())
    }

    /// Queues an informational response, such as 103.
    pub fn interim(&mut self, response: &Response) -> Result<(), EncodeError> {
        if self.version < Version::HTTP_11 {
            // RFC 9110 §15.2: never to an HTTP/1.0 client.
            return Ok(());
        }
        let asked = Asked {
            method: &self.method,
            version: self.version,
        };
        let mut shared = self.connection.borrow_mut();
        let connection = encode::Connection::KeepAlive;
        encode_response(
            response,
            asked,
            Framing::None,
            connection,
            None,
            shared.flat(),
        )?;
        Ok(())
    }

    /// Queues a piece of the body.
    pub fn data(&mut self, bytes: Bytes) {
        write_data(&self.connection, self.framing, bytes);
    }

    /// Queues the end of the body.
    pub fn end(&mut self, trailers: Option<&Headers>) {
        write_end(&self.connection, self.framing, trailers);
    }

    /// From here on bytes are written as they come: the connection became a tunnel.
    pub const fn open_tunnel(&mut self) {
        self.framing = Framing::UntilClose;
        self.keep_alive = false;
    }

    /// Flushes and closes the write side.
    pub fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.borrow_mut().poll_shutdown(cx)
    }

    /// Bytes queued and not yet written.
    pub fn queued(&self) -> usize {
        self.connection.borrow().queued()
    }

    /// Writes out what is queued.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.borrow_mut().poll_flush(cx)
    }
}

/// Queues one piece of a body in the given framing.
pub(super) fn write_data(connection: &Shared, framing: Framing, bytes: Bytes) {
    if bytes.is_empty() {
        return;
    }
    let mut connection = connection.borrow_mut();
    match framing {
        Framing::None => {}
        Framing::Length(_) | Framing::UntilClose => connection.queue(bytes),
        Framing::Chunked => {
            connection.queue(Bytes::copy_from_slice(ChunkHead::new(bytes.len()).as_ref()));
            connection.queue(bytes);
            connection.queue(Bytes::from_static(CHUNK_END));
        }
    }
}

/// Queues the end of a body in the given framing.
pub(super) fn write_end(connection: &Shared, framing: Framing, trailers: Option<&Headers>) {
    if framing != Framing::Chunked {
        return;
    }
    let mut connection = connection.borrow_mut();
    match trailers {
        Some(trailers) if connection.passes_trailers() => {
            let mut encoded = Vec::new();
            encode_end(trailers, &mut encoded);
            connection.queue(encoded.into());
        }
        _ => connection.queue(Bytes::from_static(LAST_CHUNK)),
    }
}

/// Flushes until less than a bound is queued, so that a slow reader holds back the sender.
pub(super) fn poll_room(connection: &Shared, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    let mut connection = connection.borrow_mut();
    if connection.queued() > 0 {
        ready!(connection.poll_flush(cx))?;
    }
    Poll::Ready(Ok(()))
}

/// Ready when `limit` has passed since then.
fn poll_limit(
    timer: &mut Timer,
    cx: &mut Context<'_>,
    limit: Option<Duration>,
    since: Instant,
) -> Poll<()> {
    match limit.and_then(|limit| since.checked_add(limit)) {
        Some(due) => timer.poll(cx, due),
        None => Poll::Pending,
    }
}

/// How long a closed connection is read to let the answer arrive.
const LINGER: Duration = Duration::from_secs(1);
