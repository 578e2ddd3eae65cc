//! Calls that filters make themselves: ext_authz, JWKS. They go through the proxy's own clusters.

use std::time::Duration;

use bytes::Bytes;
use carbyne_engine::forward::{self, Target, client};
use carbyne_engine::http::{Body, Headers, Request, Response};
use carbyne_engine::runtime::Worker;

/// Where a filter finds the clusters that its configuration names.
pub trait ClusterLookup {
    /// A host of `cluster` for a call by `worker`, chosen as for any request; `None` where there is no such cluster or no host of it can be
    /// used.
    fn target(&self, cluster: &str, worker: &Worker) -> Option<Target>;
}

/// A complete answer to a call.
#[derive(Debug)]
pub(crate) struct Called {
    pub(crate) response: Response,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<Headers>,
}

/// Why a call brought no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("no host of the cluster `{0}` can be used")]
    NoTarget(Box<str>),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error(transparent)]
    Failed(#[from] forward::Error),
    #[error("the answer is longer than {0} bytes, or broke off")]
    Body(usize),
}

/// Sends `request` and reads the whole answer, up to `limit` bytes. Dropping the future gives the call up.
pub(crate) async fn call<L: ClusterLookup>(
    clusters: &L,
    worker: &Worker,
    cluster: &str,
    (request, body): (Request, Bytes),
    timeout: Option<Duration>,
    limit: usize,
) -> Result<Called, CallError> {
    let target = clusters
        .target(cluster, worker)
        .ok_or_else(|| CallError::NoTarget(cluster.into()))?;
    let exchange = async {
        let mut reply = client::send(worker, &target, request, Body::full(body)).await?;
        let whole = std::mem::take(&mut reply.body).collect(limit).await;
        let (body, trailers) = whole.map_err(|_| CallError::Body(limit))?;
        let response = reply.response.clone();
        reply.finish(worker, &target);
        Ok(Called {
            response,
            body,
            trailers,
        })
    };
    match timeout {
        None => exchange.await,
        Some(timeout) => tokio::time::timeout(timeout, exchange)
            .await
            .unwrap_or(Err(CallError::Timeout(timeout))),
    }
}
