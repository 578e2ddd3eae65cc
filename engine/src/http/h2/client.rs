//! Connections that carry many requests at a time.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::{Connection, ResponseFuture, SendRequest};
use http::{Method, Uri, Version};

use super::Settings;
use super::server::header_map;
use super::stream::{Incoming, Outgoing};
use crate::http::h2_guard::{Budgets, Guarded};
use crate::http::{Body, Request, Response};
use crate::net::Stream;

/// A handle to a connection; clones open streams on the same one.
#[derive(Clone, Debug)]
pub struct ClientConnection {
    send: SendRequest<Bytes>,
    closed: Rc<Cell<bool>>,
}

/// Receives the response to one request.
#[derive(Debug)]
pub struct ResponseReader {
    future: ResponseFuture,
}

/// Why a request could not be put on the connection.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Authority or path cannot be written as HTTP/2 pseudo-headers.
    #[error("request target is not a valid URI")]
    Target,
    /// The connection failed or is going away.
    #[error("connection failed: {0}")]
    Connection(#[from] h2::Error),
}

impl ClientConnection {
    /// Exchanges settings with the server and spawns the task that drives the connection on this worker.
    pub async fn handshake(
        stream: Stream,
        settings: &Settings,
        budgets: Arc<Budgets>,
        on_close: impl FnOnce() + 'static,
    ) -> Result<Self, h2::Error> {
        let (guarded, _alarm) = Guarded::client(stream, budgets);
        let (send, connection): (_, Connection<Guarded<Stream>, Bytes>) =
            h2::client::Builder::new()
                .initial_window_size(settings.stream_window)
                .initial_connection_window_size(settings.connection_window)
                .max_header_list_size(settings.max_header_list)
                .max_send_buffer_size(settings.max_send_buffer)
                .enable_push(false)
                .handshake(guarded)
                .await?;
        let closed = Rc::new(Cell::new(false));
        let flag = closed.clone();
        tokio::task::spawn_local(async move {
            // Its error reaches every stream that it ends.
            drop(connection.await);
            flag.set(true);
            on_close();
        });
        Ok(Self { send, closed })
    }

    /// Whether the connection ended.
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Streams that the server lets us have open.
    pub fn max_streams(&self) -> usize {
        self.send.current_max_send_streams()
    }

    /// Waits until a stream may be opened.
    pub async fn ready(&mut self) -> Result<(), h2::Error> {
        poll_fn(|cx| self.send.poll_ready(cx)).await
    }

    /// Opens a stream with the head of `request`; `end` where no body follows.
    pub fn send(
        &mut self,
        request: &Request,
        secure: bool,
        end: bool,
    ) -> Result<(Outgoing, ResponseReader), SendError> {
        let (future, stream) = self
            .send
            .send_request(request_parts(request, secure)?, end)?;
        Ok((Outgoing::new(stream, end), ResponseReader { future }))
    }
}

impl ResponseReader {
    /// Waits for the head: an informational one, or the final one with its body.
    pub async fn head(&mut self) -> Result<(Response, Body), h2::Error> {
        poll_fn(|cx| self.poll_head(cx)).await
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Response, Body), h2::Error>> {
        if let Poll::Ready(Some(interim)) = self.future.poll_informational(cx) {
            let (parts, ()) = interim?.into_parts();
            return Poll::Ready(Ok((response_head(parts), Body::empty())));
        }
        let (parts, stream) = ready!(Pin::new(&mut self.future).poll(cx))?.into_parts();
        let response = response_head(parts);
        let body = Incoming::body(stream, &response.headers);
        Poll::Ready(Ok((response, body)))
    }
}

fn response_head(parts: http::response::Parts) -> Response {
    Response {
        status: parts.status,
        version: Version::HTTP_2,
        headers: parts.headers.into(),
    }
}

fn request_parts(request: &Request, secure: bool) -> Result<http::Request<()>, SendError> {
    let uri = if request.method == Method::CONNECT && request.protocol.is_none() {
        Uri::builder().authority(&request.authority[..])
    } else {
        Uri::builder()
            // The client's scheme goes on, as in Envoy; a request of our own has that of the connection.
            .scheme(if request.secure.unwrap_or(secure) {
                "https"
            } else {
                "http"
            })
            .authority(&request.authority[..])
            .path_and_query(&request.path[..])
    };
    let mut message = http::Request::new(());
    *message.uri_mut() = uri.build().map_err(|_| SendError::Target)?;
    *message.method_mut() = request.method.clone();
    *message.version_mut() = Version::HTTP_2;
    *message.headers_mut() = header_map(&request.headers);
    if let Some(protocol) = &request.protocol {
        let protocol = std::str::from_utf8(protocol).map_err(|_| SendError::Target)?;
        message
            .extensions_mut()
            .insert(h2::ext::Protocol::from(protocol));
    }
    Ok(message)
}
