//! The span of a request while it is under way.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use carbyne_engine::forward::Protocol;
use http::HeaderValue;

use super::context::SpanContext;

/// The span of one request; those that are not sampled only pass the context on.
#[derive(Debug)]
pub struct Span {
    pub(super) context: SpanContext,
    pub(super) name: Name,
    /// The host that the client asked for, before anything rewrote it.
    pub(super) host: Bytes,
    /// The span of the try that is under way, where tries have their own.
    pub(super) attempt: Option<Attempt>,
}

/// Who named the operation.
#[derive(Clone, Debug)]
pub(super) enum Name {
    /// Nobody: it is called what it is.
    Usual,
    /// The route.
    Route(Arc<str>),
    /// The proxy at the other end (`x-envoy-decorator-operation`).
    Peer(HeaderValue),
}

/// The span of one try.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) context: SpanContext,
    /// Since the request's start.
    pub(super) start: Duration,
    pub(super) protocol: Protocol,
    /// Number of the try, from 0.
    pub(super) number: u32,
}

impl Span {
    /// Its identity.
    pub const fn context(&self) -> &SpanContext {
        &self.context
    }
}
