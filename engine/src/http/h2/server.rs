//! Connections that requests are accepted from.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::Method;

use super::Settings;
use super::body::{Handle, Incoming, Outgoing};
use super::budget::Budgets;
use super::connection::{Connection, Side};
use super::driver::Driver;
use super::error::{Error, Reason};
use crate::http::{Body, Request, Response};
use crate::net::Stream;

/// A connection that requests are accepted from; must be polled by [`ServerConnection::poll_accept`] for its streams to
/// make progress.
#[derive(Debug)]
pub struct ServerConnection {
    driver: Driver,
}

/// Writes the response to one request.
#[derive(Debug)]
pub struct Responder {
    stream: Outgoing,
    method: Method,
    headed: bool,
}

impl ServerConnection {
    /// Exchanges settings with the client, which sent its preface or is about to.
    pub async fn handshake(
        stream: Stream,
        settings: &Settings,
        budgets: Arc<Budgets>,
        limit: Option<Duration>,
    ) -> Option<Self> {
        let connection = Connection::new(Side::Server, settings, budgets, Instant::now());
        let connection = Rc::new(RefCell::new(connection));
        let mut driver = Driver::new(stream, connection, settings);
        let greeted = match limit {
            Some(limit) => tokio::time::timeout(limit, driver.greeted()).await.ok()?,
            None => driver.greeted().await,
        };
        greeted.then_some(Self { driver })
    }

    /// The next request; `None` when the connection ended. Drives all streams of the connection, so it has to be polled
    /// until it ends.
    pub fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<(Request, Body, Responder)>> {
        if let Some(next) = self.accept() {
            return Poll::Ready(Some(next));
        }
        let over = self.driver.poll(cx).is_ready();
        if let Some(next) = self.accept() {
            return Poll::Ready(Some(next));
        }
        if over {
            Poll::Ready(None)
        } else {
            Poll::Pending
        }
    }

    fn accept(&self) -> Option<(Request, Body, Responder)> {
        let shared = self.driver.connection();
        let accepted = shared.borrow_mut().accept()?;
        let handle = Handle::new(shared.clone(), accepted.key);
        let body = if accepted.end {
            Body::empty()
        } else {
            Body::h2(Incoming::new(handle.another(), accepted.length))
        };
        let responder = Responder {
            stream: Outgoing::new(handle, false),
            method: accepted.request.method.clone(),
            headed: false,
        };
        Some((accepted.request, body, responder))
    }

    /// Tells the client to open no more streams; those that are open finish.
    pub fn drain(&mut self) {
        self.driver.connection().borrow_mut().leave();
    }

    /// Whether streams are open.
    pub fn has_streams(&self) -> bool {
        self.driver.connection().borrow().has_streams()
    }

    /// Why the budgets ended the connection, if they did.
    pub fn violation(&self) -> Option<&'static str> {
        let violation = self.driver.connection().borrow().violation();
        violation.map(super::budget::Violation::detail)
    }
}

impl Responder {
    /// Sends the head; `end` where no body follows.
    pub fn head(&mut self, response: &Response, end: bool) -> Result<(), Error> {
        // What a 2xx to CONNECT opens is a tunnel: it ends when either side says so.
        let end = end || self.method != Method::CONNECT && response.is_bodyless(&self.method);
        self.stream.handle().send_response(response, end)?;
        self.headed = true;
        if end {
            self.stream.set_ended();
        }
        Ok(())
    }

    /// Sends an informational response, such as 103.
    pub fn interim(&mut self, response: &Response) -> Result<(), Error> {
        self.stream.handle().send_response(response, false)
    }

    /// The body's stream, once the head is sent.
    pub fn stream(&mut self) -> Option<&mut Outgoing> {
        self.headed.then_some(&mut self.stream)
    }

    /// Resets the stream.
    pub fn reset(&mut self, reason: Reason) {
        self.stream.reset(reason);
    }

    /// Ready when the stream ended before its time, mostly because the client reset it.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        self.stream.poll_reset(cx)
    }
}
