//! The response on its way to the client: filters, head, body, trailers; answers of our own; tunnels.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use http::{HeaderValue, StatusCode, Version, header};

use super::attempt::{Progress, Reply, UploadError, Writer, poll_upload};
use super::error::Error;
use super::exchange::Exchange;
use super::request::Stop;
use super::responder::{Gone, Responder};
use super::watch::Watch;
use super::{Answer, Handler};
use crate::cluster::pool::{Lease, Session};
use crate::http::{Body, Frame};
use crate::runtime::clock;

/// Everything that a response passes.
pub(super) struct Download<'a, 'w, H: Handler> {
    pub(super) handler: &'a H,
    pub(super) exchange: &'a mut Exchange<H::Context>,
    pub(super) responder: &'a mut Responder,
    pub(super) watch: &'a mut Watch<'w>,
    /// Of the request.
    pub(super) progress: &'a Progress,
}

impl<H: Handler> Download<'_, '_, H> {
    /// Sends the response while the rest of the request goes up.
    pub(super) async fn run<U>(
        mut self,
        reply: Reply,
        mut upload: Pin<&mut U>,
        uploading: &mut bool,
    ) -> Result<(), Stop>
    where
        U: Future<Output = Result<(), UploadError>>,
    {
        let mut body = self.filter(reply).await?;
        let length = body.exact_length();
        let mut ending = length == Some(0) || self.is_bodyless();
        if ending {
            self.ending();
        }
        self.head(length, None)?;
        let mut trailers = None;
        let Self {
            handler,
            exchange,
            responder,
            watch,
            progress,
        } = self;
        loop {
            let frame = poll_fn(|cx| {
                poll_upload(upload.as_mut(), uploading, cx);
                if let Poll::Ready(frame) = body.poll_frame(cx) {
                    return Poll::Ready(Ok(frame));
                }
                // Nothing more for now: what is queued must not wait for it.
                if let Poll::Ready(Err(_)) = responder.poll_flush(cx) {
                    return Poll::Ready(Err(Error::ClientGone));
                }
                watch.poll_limits(responder, cx).map(Err)
            })
            .await?;
            watch.moved();
            match frame {
                None => break,
                Some(Ok(Frame::Data(bytes))) => {
                    exchange.counts.sent += bytes.len() as u64;
                    if !ending && length.is_some_and(|length| exchange.counts.sent >= length) {
                        ending = true;
                        exchange.counts.received = progress.received.get();
                        handler.ending(exchange);
                    }
                    responder.queue(bytes)?;
                    poll_fn(|cx| {
                        poll_upload(upload.as_mut(), uploading, cx);
                        if let Poll::Ready(result) = responder.poll_room(cx) {
                            return Poll::Ready(result.map_err(Error::from));
                        }
                        watch.poll_limits(responder, cx).map(Err)
                    })
                    .await?;
                }
                Some(Ok(Frame::Trailers(fields))) => trailers = Some(fields),
                Some(Err(error)) => return Err(Error::from_response_body(&error).into()),
            }
        }
        exchange.timing.response_end = Some(exchange.elapsed());
        if !ending {
            exchange.counts.received = progress.received.get();
            handler.ending(exchange);
        }
        responder.end(trailers.as_ref())?;
        exchange.response_trailers = trailers;
        poll_fn(|cx| {
            if let Poll::Ready(result) = responder.poll_flush(cx) {
                return Poll::Ready(result.map_err(|_| Error::ClientGone));
            }
            watch.poll_limits(responder, cx).map(Err)
        })
        .await?;
        Ok(())
    }

    /// Sends the head that opens the tunnel, and then bytes both ways until both ways ended.
    pub(super) async fn tunnel(
        mut self,
        mut reply: Reply,
        unread: Body,
        mut writer: Writer,
        lease: &Lease,
    ) -> Result<(), Stop> {
        let upgrade = reply.upgrade.take();
        let mut down = match &lease.session {
            Session::H1(connection) => {
                // The head's own body is empty; from here on everything is the tunnel's.
                reply.body = Body::empty();
                connection.tunnel()
            }
            Session::H2(_) => std::mem::take(&mut reply.body),
        };
        writer.open_tunnel();
        drop(self.filter(reply).await?);
        // The head is the answer: nobody knows how long the tunnel will be.
        self.ending();
        self.head(None, upgrade.as_deref())?;
        let Self {
            exchange,
            responder,
            watch,
            ..
        } = self;
        let mut up = responder.open_tunnel(unread);
        let mut ways_up = std::pin::pin!(async {
            let mut received = 0;
            while let Some(Ok(frame)) = up.frame().await {
                if let Frame::Data(bytes) = frame {
                    received += bytes.len() as u64;
                    if writer.raw(bytes).await.is_err() {
                        break;
                    }
                }
            }
            writer.half_close().await;
            received
        });
        let mut up_ended = None;
        let mut down_ended = false;
        poll_fn(|cx| {
            if up_ended.is_none()
                && let Poll::Ready(received) = ways_up.as_mut().poll(cx)
            {
                up_ended = Some(received);
            }
            while !down_ended {
                match responder.poll_room(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Error::ClientGone)),
                    Poll::Pending => break,
                }
                match down.poll_frame(cx) {
                    Poll::Ready(Some(Ok(Frame::Data(bytes)))) => {
                        exchange.counts.sent += bytes.len() as u64;
                        watch.moved();
                        if responder.queue(bytes).is_err() {
                            return Poll::Ready(Err(Error::ClientGone));
                        }
                    }
                    Poll::Ready(Some(Ok(Frame::Trailers(_)))) => {}
                    Poll::Ready(Some(Err(_)) | None) => down_ended = true,
                    Poll::Pending => break,
                }
            }
            let flushed = responder.poll_flush(cx);
            if let Poll::Ready(Err(_)) = flushed {
                return Poll::Ready(Err(Error::ClientGone));
            }
            if down_ended && flushed.is_ready() {
                // Closed for writing only: the client may still have something to say.
                if responder.poll_half_close(cx).is_ready() && up_ended.is_some() {
                    return Poll::Ready(Ok(()));
                }
            }
            watch.poll_times(cx).map(Err)
        })
        .await?;
        exchange.counts.received += up_ended.unwrap_or_default();
        exchange.timing.response_end = Some(exchange.elapsed());
        Ok(())
    }

    /// Runs the response filters and returns the body to send.
    async fn filter(&mut self, reply: Reply) -> Result<Body, Stop> {
        self.exchange.response = Some(reply.response);
        self.exchange.response_body = reply.body;
        {
            let filtered = std::pin::pin!(self.handler.response(self.exchange));
            self.watch.over(self.responder, filtered).await??;
        }
        Ok(std::mem::take(&mut self.exchange.response_body))
    }

    fn is_bodyless(&self) -> bool {
        let response = self.exchange.response.as_ref();
        response.is_some_and(|response| response.is_bodyless(&self.exchange.request.method))
    }

    fn ending(&mut self) {
        self.exchange.counts.received = self.progress.received.get();
        self.handler.ending(self.exchange);
    }

    fn head(&mut self, length: Option<u64>, upgrade: Option<&[u8]>) -> Result<(), Stop> {
        finish_head(self.exchange);
        // `filter` put it there.
        if let Some(response) = &self.exchange.response {
            self.responder.head(response, length, upgrade)?;
        }
        Ok(())
    }
}

/// Sends an answer of our own; true if the connection may carry another exchange. `filtered` says that
/// it came from a request filter, so that response filters may touch it.
pub(super) async fn answer<H: Handler>(
    handler: &H,
    exchange: &mut Exchange<H::Context>,
    responder: &mut Responder,
    answer: Answer,
    filtered: bool,
) -> bool {
    let Answer {
        mut response,
        body,
        details,
    } = answer;
    exchange.details = details;
    let told = !response.is_bodyless(&exchange.request.method)
        || exchange.request.method == http::Method::HEAD;
    // The end of the head says it in HTTP/2.
    if told && !(body.is_empty() && exchange.request.version == Version::HTTP_2) {
        response
            .headers
            .insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    exchange.response = Some(response);
    if filtered {
        handler.answered(exchange);
    }
    finish_head(exchange);
    if exchange.upgrade.is_some() {
        // The client may be speaking another protocol already.
        responder.close();
    }
    responder.close_unless_read();
    let sent = match &exchange.response {
        Some(response) if !response.is_bodyless(&exchange.request.method) => body.len() as u64,
        _ => 0,
    };
    exchange.counts.sent = sent;
    handler.ending(exchange);
    let Some(response) = &exchange.response else {
        return false;
    };
    if response.status == StatusCode::BAD_REQUEST {
        // Whoever sends such a message may have meant something else by what follows it (Envoy closes too).
        responder.close();
    }
    let sent = async {
        responder.head(response, Some(sent), None)?;
        if sent > 0 {
            responder.queue(body)?;
            poll_fn(|cx| responder.poll_room(cx)).await?;
        }
        responder.end(None)?;
        responder.flush().await
    };
    // A client that does not take an answer of a few bytes is gone.
    let sent = tokio::time::timeout(ANSWER_LIMIT, sent).await;
    if matches!(sent, Ok(Ok(()))) {
        return true;
    }
    responder.reset();
    false
}

/// What every response has, wherever it came from.
fn finish_head<C>(exchange: &mut Exchange<C>) {
    let Some(response) = &mut exchange.response else {
        return;
    };
    if !response.headers.contains(&header::DATE) {
        // RFC 9110 §6.6.1: a recipient with a clock that forwards a response without Date adds it.
        let date = clock::date(exchange.timing.start_time);
        response.headers.append(header::DATE, date);
    }
}

impl From<Gone> for Error {
    fn from(_: Gone) -> Self {
        Self::ClientGone
    }
}

impl From<Gone> for Stop {
    fn from(_: Gone) -> Self {
        Self::Error(Error::ClientGone)
    }
}

const ANSWER_LIMIT: std::time::Duration = std::time::Duration::from_secs(30);
