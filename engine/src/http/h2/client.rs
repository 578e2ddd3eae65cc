//! Connections that carry many requests at a time.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use http::header;

use super::Settings;
use super::body::{Handle, Incoming, Outgoing};
use super::budget::Budgets;
use super::connection::{Connection, Shared, Side};
use super::driver::Driver;
use super::encode;
use super::error::Error;
use crate::http::{Body, Request, Response};
use crate::net::Stream;

/// A handle to a connection; clones open streams on the same one. It goes away with its last handle and stream.
#[derive(Debug)]
pub struct ClientConnection {
    connection: Shared,
}

/// Receives the response to one request.
#[derive(Debug)]
pub struct ResponseReader {
    handle: Handle,
}

/// Why a request could not be put on the connection.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Authority or path cannot be written as HTTP/2 pseudo-headers.
    #[error("request target is not a valid URI")]
    Target,
    /// The server allows no further stream for now.
    #[error("too many streams are open")]
    Full,
    /// The connection failed or is going away.
    #[error("connection failed: {0}")]
    Connection(#[from] Error),
}

impl ClientConnection {
    /// Begins a connection and spawns the task that drives it on this worker. Nothing is waited for: the first requests
    /// leave with the preface.
    pub fn begin(
        stream: Stream,
        settings: &Settings,
        budgets: Arc<Budgets>,
        on_close: impl FnOnce() + 'static,
    ) -> Self {
        let connection = Connection::new(Side::Client, settings, budgets, Instant::now());
        let connection = Rc::new(RefCell::new(connection));
        connection.borrow_mut().users = 1;
        let mut driver = Driver::new(stream, connection.clone(), settings);
        tokio::task::spawn_local(async move {
            // Its error reaches every stream that it ends.
            poll_fn(|cx| driver.poll(cx)).await;
            on_close();
        });
        Self { connection }
    }

    /// Whether it takes no more requests: it ended, or the server goes away.
    pub fn is_closed(&self) -> bool {
        !self.connection.borrow().takes_requests()
    }

    /// Streams that the server lets us have open.
    pub fn max_streams(&self) -> usize {
        self.connection.borrow().max_streams() as usize
    }

    /// Opens a stream with the head of `request`; `end` where no body follows.
    pub fn send(
        &self,
        request: &Request,
        secure: bool,
        end: bool,
    ) -> Result<(Outgoing, ResponseReader), SendError> {
        encode::check(request).map_err(|_| SendError::Target)?;
        let mut connection = self.connection.borrow_mut();
        connection.admits()?;
        let key = connection.send_request(request, secure, end);
        drop(connection);
        let handle = Handle::new(self.connection.clone(), key);
        let reader = ResponseReader {
            handle: handle.another(),
        };
        Ok((Outgoing::new(handle, end), reader))
    }
}

impl Clone for ClientConnection {
    fn clone(&self) -> Self {
        self.connection.borrow_mut().users += 1;
        Self {
            connection: self.connection.clone(),
        }
    }
}

impl Drop for ClientConnection {
    fn drop(&mut self) {
        let mut connection = self.connection.borrow_mut();
        connection.users -= 1;
        if connection.users == 0 {
            connection.wake_driver();
        }
    }
}

impl ResponseReader {
    /// Waits for the head: an informational one, or the final one with its body.
    pub async fn head(&mut self) -> Result<(Response, Body), Error> {
        poll_fn(|cx| self.poll_head(cx)).await
    }

    fn poll_head(&self, cx: &Context<'_>) -> Poll<Result<(Response, Body), Error>> {
        let (response, end) = ready!(self.handle.poll_head(cx))?;
        let body = if end || response.status.is_informational() {
            Body::empty()
        } else {
            let length = response.headers.text(&header::CONTENT_LENGTH);
            let length = length.and_then(|text| text.parse().ok());
            Body::h2(Incoming::new(self.handle.another(), length))
        };
        Poll::Ready(Ok((response, body)))
    }
}
