//! Connections that requests are accepted from.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, Method, Version};

use super::Settings;
use super::stream::{Incoming, Outgoing};
use crate::http::h2_guard::{Alarm, Budgets, Guarded};
use crate::http::{Body, Headers, Request, Response};
use crate::net::Stream;

/// A connection that requests are accepted from; must be polled by [`ServerConnection::accept`] for its
/// streams to make progress.
#[derive(Debug)]
pub struct ServerConnection {
    connection: h2::server::Connection<Guarded<Stream>, Bytes>,
    alarm: Alarm,
}

/// Writes the response to one request.
#[derive(Debug)]
pub struct Responder {
    send: h2::server::SendResponse<Bytes>,
    method: Method,
    stream: Option<Outgoing>,
}

impl ServerConnection {
    /// Exchanges settings with the client, which sent its preface or is about to.
    pub async fn handshake(
        stream: Stream,
        settings: &Settings,
        budgets: Arc<Budgets>,
        limit: Option<Duration>,
    ) -> Option<Self> {
        let (guarded, alarm) = Guarded::server(stream, budgets);
        let mut builder = h2::server::Builder::new();
        builder
            .initial_window_size(settings.stream_window)
            .initial_connection_window_size(settings.connection_window)
            .max_concurrent_streams(settings.max_concurrent_streams)
            .max_header_list_size(settings.max_header_list)
            .max_send_buffer_size(settings.max_send_buffer);
        if settings.connect_protocol {
            builder.enable_connect_protocol();
        }
        let handshake = builder.handshake(guarded);
        let connection = match limit {
            Some(limit) => tokio::time::timeout(limit, handshake).await.ok()?.ok()?,
            None => handshake.await.ok()?,
        };
        Some(Self { connection, alarm })
    }

    /// The next request; `None` when the connection ended. Drives all streams of the connection, so it
    /// has to be polled until it ends.
    pub fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<(Request, Body, Responder)>> {
        let accepted = self.connection.poll_accept(cx);
        if let Some(violation) = self.alarm.violation() {
            // The GOAWAY has to get out before the connection is dropped.
            self.connection.abrupt_shutdown(violation.reason());
            return self.connection.poll_closed(cx).map(|_| None);
        }
        match accepted {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok((request, send)))) => {
                let (parts, stream) = request.into_parts();
                let request = request_head(parts);
                let body = Incoming::body(stream, &request.headers);
                let responder = Responder {
                    method: request.method.clone(),
                    send,
                    stream: None,
                };
                Poll::Ready(Some((request, body, responder)))
            }
            Poll::Ready(Some(Err(_)) | None) => Poll::Ready(None),
        }
    }

    /// Tells the client to open no more streams; those that are open finish.
    pub fn drain(&mut self) {
        self.connection.graceful_shutdown();
    }

    /// Whether streams are open.
    pub fn has_streams(&mut self) -> bool {
        self.connection.has_streams()
    }

    /// Why the guard ended the connection, if it did.
    pub fn violation(&self) -> Option<&'static str> {
        self.alarm.violation().map(|violation| violation.detail())
    }
}

impl Responder {
    /// Sends the head; `end` where no body follows.
    pub fn head(&mut self, response: &Response, end: bool) -> Result<(), h2::Error> {
        // What a 2xx to CONNECT opens is a tunnel: it ends when either side says so.
        let end = end || self.method != Method::CONNECT && response.is_bodyless(&self.method);
        let stream = self.send.send_response(response_parts(response), end)?;
        self.stream = Some(Outgoing::new(stream, end));
        Ok(())
    }

    /// Sends an informational response, such as 103.
    pub fn interim(&mut self, response: &Response) -> Result<(), h2::Error> {
        self.send.send_informational(response_parts(response))
    }

    /// The body's stream, once the head is sent.
    pub const fn stream(&mut self) -> Option<&mut Outgoing> {
        self.stream.as_mut()
    }

    /// Resets the stream.
    pub fn reset(&mut self, reason: Reason) {
        match &mut self.stream {
            Some(stream) => stream.reset(reason),
            None => self.send.send_reset(reason),
        }
    }

    /// Ready when the client reset the stream.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reason, h2::Error>> {
        match &mut self.stream {
            Some(stream) => stream.poll_reset(cx),
            None => self.send.poll_reset(cx),
        }
    }
}

/// Our head from the one of `h2`, which checked the pseudo-headers.
fn request_head(parts: http::request::Parts) -> Request {
    let uri = parts.uri.into_parts();
    let protocol = parts
        .extensions
        .get::<h2::ext::Protocol>()
        .map(|protocol| Bytes::copy_from_slice(protocol.as_ref()));
    let authority = uri.authority.map_or_else(Bytes::new, |authority| {
        Bytes::copy_from_slice(authority.as_str().as_bytes())
    });
    let path = uri.path_and_query.map_or_else(Bytes::new, |path| {
        Bytes::copy_from_slice(path.as_str().as_bytes())
    });
    let mut headers = Headers::from(parts.headers);
    let two_hosts = headers.all(&http::header::HOST).nth(1).is_some();
    let host = headers.take(&http::header::HOST);
    if headers.all(&http::header::CONTENT_LENGTH).nth(1).is_some()
        && let Some(length) = headers.get(&http::header::CONTENT_LENGTH).cloned()
    {
        // `h2` has compared them; no second parser shall have to.
        headers.insert(http::header::CONTENT_LENGTH, length);
    }
    let authority = match host {
        // An authority that the canonical check refuses, whatever policy is set.
        _ if two_hosts => Bytes::from_static(b","),
        // RFC 9113 §8.3.1: Host stands in where there is no `:authority`.
        Some(host) if authority.is_empty() => Bytes::copy_from_slice(host.as_bytes()),
        Some(host) if !host.as_bytes().eq_ignore_ascii_case(&authority) => {
            // Two hosts as well.
            Bytes::from_static(b",")
        }
        _ => authority,
    };
    join_cookies(&mut headers);
    Request {
        method: parts.method,
        secure: uri.scheme.map(|scheme| scheme == http::uri::Scheme::HTTPS),
        authority,
        host: Bytes::new(),
        path,
        version: Version::HTTP_2,
        headers,
        protocol,
    }
}

/// RFC 9113 §8.2.3: crumbs of a cookie are joined before they reach anything that knows one field only.
fn join_cookies(headers: &mut Headers) {
    if headers.all(&http::header::COOKIE).nth(1).is_none() {
        return;
    }
    let mut joined = Vec::new();
    for crumb in headers.all(&http::header::COOKIE) {
        if !joined.is_empty() {
            joined.extend_from_slice(b"; ");
        }
        joined.extend_from_slice(crumb.as_bytes());
    }
    if let Ok(value) = http::HeaderValue::from_maybe_shared(Bytes::from(joined)) {
        headers.insert(http::header::COOKIE, value);
    }
}

/// The head that `h2` sends; fields of the connection are not for HTTP/2 (RFC 9113 §8.2.2).
fn response_parts(response: &Response) -> http::Response<()> {
    let mut message = http::Response::new(());
    *message.status_mut() = response.status;
    *message.headers_mut() = header_map(&response.headers);
    message
}

pub(super) fn header_map(headers: &Headers) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        if !is_connection_field(name) {
            let mut value = value.clone();
            // Never the same twice: as a literal it costs no entry of the compression table, and evicts none.
            value.set_sensitive(value.is_sensitive() || *name == REQUEST_ID);
            map.append(name.clone(), value);
        }
    }
    map
}

const REQUEST_ID: http::HeaderName = http::HeaderName::from_static("x-request-id");

fn is_connection_field(name: &http::HeaderName) -> bool {
    *name == http::header::CONNECTION
        || *name == http::header::TRANSFER_ENCODING
        || *name == http::header::UPGRADE
        || name == "keep-alive"
        || name == "proxy-connection"
}
