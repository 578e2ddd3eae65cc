//! Requests that the programs send themselves: ext_authz, JWKS, health checks, exporters, mirrors. They go
//! through the same clusters, limits and pools as forwarded ones.

use std::cell::RefCell;

use super::attempt::{Progress, Replay, Writer, send_head};
use super::error::Error;
use super::{Priority, Target};
use crate::cluster::pool::Lease;
use crate::http::{Body, Request, Response};
use crate::runtime::Worker;

/// A response to a request of our own.
#[derive(Debug)]
pub struct Reply {
    /// The head.
    pub response: Response,
    /// The body, to be read to its end before [`Reply::finish`].
    pub body: Body,
    lease: Lease,
    keep_alive: bool,
    /// Kept so that HTTP/2 does not reset the stream while the response is read.
    _writer: Writer,
}

/// Sends one request and waits for the head of its response. The caller bounds the time.
pub async fn send(
    worker: &Worker,
    target: &Target,
    request: Request,
    body: Body,
) -> Result<Reply, Error> {
    let mut lease = worker.pools.acquire(target, Priority::Default).await?;
    let progress = Progress::default();
    let mut replay = Replay::new(body, 0, &progress);
    let limits = target.cluster.settings().h1_limits();
    let (mut writer, mut reader) = send_head(&mut lease, &request, None, &replay, limits)?;
    target.cluster.stats().upstream_rq_total.add(1);
    let _active = target.host.start_request();
    if let Err(
        super::attempt::UploadError::Client(error) | super::attempt::UploadError::Host(error),
    ) = replay.upload(&mut writer, false, false).await
    {
        return Err(error);
    }
    let reply = reader.head(&request.method, &RefCell::default()).await?;
    let status = reply.response.status.as_u16();
    target.cluster.on_response(&target.host, status);
    target.cluster.responses().count(status);
    Ok(Reply {
        response: reply.response,
        body: reply.body,
        lease,
        keep_alive: reply.keep_alive,
        _writer: writer,
    })
}

impl Reply {
    /// Puts the connection back, if the body was read to its end.
    pub fn finish(self, worker: &Worker, target: &Target) {
        let Self {
            lease,
            keep_alive,
            body,
            ..
        } = self;
        drop(body);
        if keep_alive {
            worker.pools.release(target, lease);
        }
    }
}

/// A call whose two directions are independent, such as a gRPC stream; HTTP/2 only.
#[derive(Debug)]
pub struct Duplex {
    writer: crate::http::h2::Outgoing,
    reader: crate::http::h2::client::ResponseReader,
    response: Option<Response>,
    body: Body,
    trailers: Option<crate::http::Headers>,
    /// Keeps the connection counted while the call lasts.
    _lease: Lease,
}

impl Duplex {
    /// Opens a call; its response is not waited for.
    pub async fn open(worker: &Worker, target: &Target, request: &Request) -> Result<Self, Error> {
        let mut lease = worker.pools.acquire(target, Priority::Default).await?;
        let secure = lease.facts.tls.is_some();
        let crate::cluster::pool::Session::H2(connection) = &mut lease.session else {
            return Err(Error::RequestEncoding("http2.required"));
        };
        target.cluster.stats().upstream_rq_total.add(1);
        let (writer, reader) =
            connection
                .send(request, secure, false)
                .map_err(|_| Error::UpstreamReset {
                    reset: super::Reset::Connection,
                    reason: "connection termination".into(),
                    unprocessed: true,
                })?;
        Ok(Self {
            writer,
            reader,
            response: None,
            body: Body::empty(),
            trailers: None,
            _lease: lease,
        })
    }

    /// Sends a piece of the request.
    pub async fn send(&mut self, bytes: bytes::Bytes) -> Result<(), crate::http::h2::Error> {
        self.writer.data(bytes).await
    }

    /// The next piece of the response; `None` at its end. Nothing is lost where the future is dropped.
    pub async fn receive(&mut self) -> Result<Option<bytes::Bytes>, crate::http::BodyError> {
        if self.response.is_none() {
            let (response, body) = self.reader.head().await?;
            self.response = Some(response);
            self.body = body;
        }
        while let Some(frame) = self.body.frame().await {
            match frame? {
                crate::http::Frame::Data(bytes) => return Ok(Some(bytes)),
                crate::http::Frame::Trailers(fields) => self.trailers = Some(fields),
            }
        }
        Ok(None)
    }

    /// The response's head, once it came.
    pub const fn response(&self) -> Option<&Response> {
        self.response.as_ref()
    }

    /// The response's trailers, once they came.
    pub const fn trailers(&self) -> Option<&crate::http::Headers> {
        self.trailers.as_ref()
    }
}
