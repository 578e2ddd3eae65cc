//! One try at one host: the request on its way up, the response's head on its way back.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, StatusCode, Version, header};

use super::error::{Error, Reset};
use super::responder::Responder;
use super::watch::Watch;
use crate::cluster::pool::{Lease, Session};
use crate::http::h1::{self, Framing, Limits};
use crate::http::{Body, Frame, Headers, Request, Response, h2};

/// A request body that can be sent again, as far as it was kept.
#[derive(Debug)]
pub(super) struct Replay<'a> {
    body: Body,
    kept: VecDeque<Frame>,
    size: usize,
    limit: usize,
    ended: bool,
    progress: &'a Progress,
}

/// What is asked of a [`Replay`] while an upload that is under way holds it.
#[derive(Debug)]
pub(super) struct Progress {
    /// Whether everything that was sent was kept, so that a further try would send the same bytes.
    pub(super) repeatable: Cell<bool>,
    /// Body bytes received from the client.
    pub(super) received: Cell<u64>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            repeatable: Cell::new(true),
            received: Cell::new(0),
        }
    }
}

/// The sending half of a request.
#[derive(Debug)]
pub(super) enum Writer {
    H1(h1::client::RequestWriter),
    H2(h2::Outgoing),
}

/// The receiving half of a response.
#[derive(Debug)]
pub(super) enum Reader {
    H1(h1::client::ResponseReader),
    H2(h2::client::ResponseReader),
}

/// A response's head with its body, before anybody looked at it.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) response: Response,
    pub(super) body: Body,
    /// HTTP/1: the connection can carry another request afterwards.
    pub(super) keep_alive: bool,
    /// The connection turned into this protocol.
    pub(super) upgrade: Option<Bytes>,
}

impl Reply {
    /// Whether the host agreed to what a request for a tunnel asked.
    pub(super) fn is_tunnel(&self, method: &Method) -> bool {
        self.upgrade.is_some() || *method == Method::CONNECT && self.response.status.is_success()
    }
}

/// Why the upload ended early.
#[derive(Debug)]
pub(super) enum UploadError {
    /// The client's side failed.
    Client(Error),
    /// The host's side failed; its answer may still come, or tell why.
    Host(Error),
}

impl<'a> Replay<'a> {
    /// Keeps up to `limit` bytes for a further try; 0 keeps nothing.
    pub(super) fn new(body: Body, limit: usize, progress: &'a Progress) -> Self {
        Self {
            ended: body.is_end(),
            body,
            kept: VecDeque::new(),
            size: 0,
            limit,
            progress,
        }
    }

    /// Whether a further try would send the same bytes.
    pub(super) fn is_repeatable(&self) -> bool {
        self.progress.repeatable.get()
    }

    /// What can be asked while an upload is under way.
    pub(super) const fn progress(&self) -> &'a Progress {
        self.progress
    }

    /// What is left of the body, for a tunnel.
    pub(super) fn take_body(&mut self) -> Body {
        let rest = if self.ended {
            Body::empty()
        } else {
            std::mem::take(&mut self.body)
        };
        Body::chain(std::mem::take(&mut self.kept), rest)
    }

    /// Whether there is no body, or none left.
    pub(super) fn is_empty(&self) -> bool {
        self.ended && self.kept.is_empty()
    }

    /// The body's length, if it is known before it is sent.
    pub(super) fn exact_length(&self) -> Option<u64> {
        let mut length = if self.ended {
            0
        } else {
            self.body.exact_length()?
        };
        for frame in &self.kept {
            match frame {
                Frame::Data(bytes) => length += bytes.len() as u64,
                Frame::Trailers(_) => return None,
            }
        }
        Some(length)
    }

    /// Sends what was kept and then the rest; of a request that opens a tunnel only the head.
    pub(super) async fn upload(
        &mut self,
        writer: &mut Writer,
        tunnel: bool,
        announced: bool,
    ) -> Result<(), UploadError> {
        if tunnel {
            return writer.flush().await;
        }
        if announced {
            // The client waits for the host to say that it wants the body.
            writer.flush().await?;
        }
        for index in 0..self.kept.len() {
            let frame = self.kept[index].clone();
            if send(writer, frame).await? {
                return Ok(());
            }
        }
        while !self.ended {
            let frame = match self.body.frame().await {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    return Err(UploadError::Client(Error::from_request_body(&error)));
                }
                None => break,
            };
            self.keep(&frame);
            self.ended = self.body.is_end();
            if send(writer, frame).await? {
                self.ended = true;
                return Ok(());
            }
        }
        self.ended = true;
        writer.end(None).await
    }

    fn keep(&mut self, frame: &Frame) {
        let size = match frame {
            Frame::Data(bytes) => bytes.len(),
            Frame::Trailers(fields) => fields.byte_size(),
        };
        if matches!(frame, Frame::Data(_)) {
            let received = &self.progress.received;
            received.set(received.get() + size as u64);
        }
        let repeatable = &self.progress.repeatable;
        if !repeatable.get() || self.size + size > self.limit {
            repeatable.set(false);
            self.kept.clear();
            return;
        }
        self.size += size;
        self.kept.push_back(frame.clone());
    }
}

impl Writer {
    /// From here on bytes go as they are: the request opened a tunnel.
    pub(super) const fn open_tunnel(&mut self) {
        if let Self::H1(writer) = self {
            writer.open_tunnel();
        }
    }

    /// Sends bytes of a tunnel.
    pub(super) async fn raw(&mut self, bytes: Bytes) -> Result<(), UploadError> {
        send(self, Frame::Data(bytes)).await.map(|_| ())
    }

    /// Closes the way up; the way down goes on.
    pub(super) async fn half_close(&mut self) {
        match self {
            Self::H1(writer) => writer.shutdown().await,
            // Fails only where the stream is closed already.
            Self::H2(writer) => {
                writer.end(None).ok();
            }
        }
    }

    async fn flush(&mut self) -> Result<(), UploadError> {
        match self {
            Self::H1(writer) => writer
                .flush()
                .await
                .map_err(|error| UploadError::Host(Error::from_transport(&error))),
            Self::H2(_) => Ok(()),
        }
    }

    /// Ends the body and flushes.
    async fn end(&mut self, trailers: Option<Headers>) -> Result<(), UploadError> {
        match self {
            Self::H1(writer) => {
                writer.end(trailers.as_ref());
                self.flush().await
            }
            Self::H2(writer) => writer
                .end(trailers)
                .map_err(|error| UploadError::Host(Error::from_h2(error))),
        }
    }
}

impl Reader {
    /// Waits for the final head and hands informational ones to the client as they come.
    pub(super) async fn head(
        &mut self,
        method: &Method,
        interims: &RefCell<VecDeque<Response>>,
    ) -> Result<Reply, Error> {
        loop {
            let reply = match self {
                Self::H1(reader) => {
                    let (head, body) =
                        reader.head(method).await.map_err(|error| from_h1(&error))?;
                    Reply {
                        response: head.response,
                        body,
                        keep_alive: head.keep_alive,
                        upgrade: head.upgrade,
                    }
                }
                Self::H2(reader) => {
                    let (response, body) = reader.head().await.map_err(Error::from_h2)?;
                    Reply {
                        response,
                        body,
                        keep_alive: true,
                        upgrade: None,
                    }
                }
            };
            let status = reply.response.status;
            if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
                interims.borrow_mut().push_back(reply.response);
                continue;
            }
            return Ok(reply);
        }
    }
}

/// Puts the request's head on the connection, translating upgrades between the HTTP versions.
pub(super) fn send_head(
    lease: &mut Lease,
    request: &Request,
    upgrade: Option<&Bytes>,
    body: &Replay<'_>,
    limits: Limits,
) -> Result<(Writer, Reader), Error> {
    let secure = lease.facts.tls.is_some();
    send_head_on(&mut lease.session, secure, request, upgrade, body, limits)
}

/// The same on a connection that no pool holds.
pub(super) fn send_head_on(
    session: &mut Session,
    secure: bool,
    request: &Request,
    upgrade: Option<&Bytes>,
    body: &Replay<'_>,
    limits: Limits,
) -> Result<(Writer, Reader), Error> {
    match session {
        Session::H1(connection) => {
            // RFC 8441 §5: an extended CONNECT is HTTP/1's Upgrade.
            let translated = request.protocol.as_ref().map(|_| {
                let mut request = request.clone();
                request.method = Method::GET;
                request
            });
            let upgrade = request.protocol.as_ref().or(upgrade);
            let framing = if upgrade.is_some() || request.method == Method::CONNECT {
                // A tunnel: raw bytes follow once the host agrees.
                Framing::None
            } else {
                match body.exact_length() {
                    Some(0)
                        if !carries_body(&request.method)
                            && !request.headers.contains(&header::CONTENT_LENGTH) =>
                    {
                        Framing::None
                    }
                    Some(length) => Framing::Length(length),
                    None => Framing::Chunked,
                }
            };
            let (writer, reader) = connection
                .send(
                    translated.as_ref().unwrap_or(request),
                    framing,
                    upgrade.map(|protocol| &protocol[..]),
                    limits,
                )
                .map_err(|_| Error::RequestEncoding("http1.request_target"))?;
            Ok((Writer::H1(writer), Reader::H1(reader)))
        }
        Session::H2(connection) => {
            let translated = upgrade.map(|protocol| {
                let mut request = request.clone();
                request.method = Method::CONNECT;
                request.protocol = Some(protocol.clone());
                request
            });
            let request = translated.as_ref().unwrap_or(request);
            let tunnel = request.method == Method::CONNECT;
            let end = body.is_empty() && !tunnel;
            let (writer, reader) =
                connection
                    .send(request, secure, end)
                    .map_err(|error| match error {
                        h2::client::SendError::Target => {
                            Error::RequestEncoding("http2.request_target")
                        }
                        h2::client::SendError::Full => Error::UpstreamReset {
                            reset: Reset::Refused,
                            reason: Cow::Borrowed("no stream left"),
                            unprocessed: true,
                        },
                        h2::client::SendError::Connection(error) => Error::from_h2(error),
                    })?;
            Ok((Writer::H2(writer), Reader::H2(reader)))
        }
    }
}

/// Waits for the head of the response while the request's body goes up.
pub(super) async fn wait_for_head<U>(
    mut upload: Pin<&mut U>,
    uploading: &mut bool,
    reader: &mut Reader,
    method: &Method,
    responder: &mut Responder,
    watch: &mut Watch<'_>,
    mut uploaded: impl FnMut(&mut Watch<'_>),
) -> Result<Reply, Error>
where
    U: Future<Output = Result<(), UploadError>>,
{
    let interims = RefCell::new(VecDeque::new());
    let mut host_failed = None;
    let mut flushing = false;
    let mut head = std::pin::pin!(reader.head(method, &interims));
    poll_fn(|cx| {
        if *uploading && let Poll::Ready(result) = upload.as_mut().poll(cx) {
            *uploading = false;
            match result {
                Ok(()) => uploaded(watch),
                Err(UploadError::Client(error)) => return Poll::Ready(Err(error)),
                // The host may have answered before it stopped reading: its answer counts.
                Err(UploadError::Host(error)) => host_failed = Some(error),
            }
        }
        let polled = head.as_mut().poll(cx);
        for interim in interims.borrow_mut().drain(..) {
            if responder.interim(&interim).is_err() {
                return Poll::Ready(Err(Error::ClientGone));
            }
            flushing = true;
        }
        if let Poll::Ready(reply) = polled {
            return Poll::Ready(match (reply, host_failed.take()) {
                (Err(_), Some(error)) => Err(error),
                (reply, _) => reply,
            });
        }
        if flushing {
            // At once: the client may be waiting for a 100 before it sends its body.
            match responder.poll_flush(cx) {
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Error::ClientGone)),
                flushed => flushing = flushed.is_pending(),
            }
        }
        watch.poll_limits(responder, cx).map(Err)
    })
    .await
}

/// Polls an upload that goes on while the response is sent.
pub(super) fn poll_upload<U>(upload: Pin<&mut U>, uploading: &mut bool, cx: &mut Context<'_>)
where
    U: Future<Output = Result<(), UploadError>>,
{
    if *uploading && upload.poll(cx).is_ready() {
        // Either all is sent, or whoever failed shows it on the response's side too.
        *uploading = false;
    }
}

/// Whether an empty body of that method is announced as such (RFC 9110 §8.6): of every method whose body
/// means something.
fn carries_body(method: &Method) -> bool {
    !matches!(
        *method,
        Method::GET | Method::HEAD | Method::DELETE | Method::TRACE | Method::CONNECT
    )
}

/// Sends one frame; true if it was the last.
async fn send(writer: &mut Writer, frame: Frame) -> Result<bool, UploadError> {
    match frame {
        Frame::Data(bytes) => {
            match writer {
                Writer::H1(writer) => writer
                    .data(bytes)
                    .await
                    .map_err(|error| UploadError::Host(Error::from_transport(&error)))?,
                Writer::H2(writer) => writer
                    .data(bytes)
                    .await
                    .map_err(|error| UploadError::Host(Error::from_h2(error)))?,
            }
            Ok(false)
        }
        Frame::Trailers(fields) => {
            writer.end(Some(fields)).await?;
            Ok(true)
        }
    }
}

fn from_h1(error: &h1::client::ResponseError) -> Error {
    match error {
        h1::client::ResponseError::Closed { partial: true } => {
            Error::UpstreamProtocol("http1.incomplete_head")
        }
        h1::client::ResponseError::Closed { partial: false } => Error::UpstreamReset {
            reset: Reset::Connection,
            reason: Cow::Borrowed("connection termination"),
            // A connection that idled may have been closed before it saw the request, but nothing
            // proves it.
            unprocessed: false,
        },
        h1::client::ResponseError::Malformed(error) => Error::UpstreamProtocol(error.detail()),
        h1::client::ResponseError::Io(error) => Error::from_transport(error),
    }
}

/// The status and version that a client of `version` sees for an upgrade that the host accepted.
pub(super) fn translate_upgrade(reply: &mut Reply, asked: &Request, upgrade: Option<&Bytes>) {
    let status = &mut reply.response.status;
    if asked.protocol.is_some() && *status == StatusCode::SWITCHING_PROTOCOLS {
        *status = StatusCode::OK;
    } else if let Some(protocol) = upgrade
        && reply.response.version == Version::HTTP_2
        && status.is_success()
    {
        *status = StatusCode::SWITCHING_PROTOCOLS;
        reply.upgrade = Some(protocol.clone());
    }
}
