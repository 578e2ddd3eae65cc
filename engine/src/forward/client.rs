//! Requests that the programs send themselves: ext_authz, JWKS, health checks, exporters, mirrors. They go
//! through the same clusters, limits and pools as forwarded ones.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::attempt::{Replay, Writer, send_head};
use super::error::Error;
use super::{Priority, Target};
use crate::cluster::pool::Lease;
use crate::http::{Body, Request, Response, h1};
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
    let mut lease = worker
        .pools
        .acquire(target, Priority::Default)
        .await?;
    let mut replay = Replay::new(body, 0, Rc::new(Cell::new(0)));
    let limits = h1::Limits::default();
    let (mut writer, mut reader) = send_head(&mut lease, &request, None, &replay, limits)?;
    target.cluster.stats().upstream_rq_total.add(1);
    let _active = target.host.start_request();
    if let Err(
        super::attempt::UploadError::Client(error) | super::attempt::UploadError::Host(error),
    ) = replay.upload(&mut writer, false).await
    {
        return Err(error);
    }
    let reply = reader.head(&request.method, &mut VecDeque::new()).await?;
    let status = reply.response.status.as_u16();
    target.cluster.on_response(&target.host, status);
    target.cluster.stats().count_response(status);
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
