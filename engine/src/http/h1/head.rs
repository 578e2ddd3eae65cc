//! Request and response heads out of bytes.
use bytes::Bytes;
use http::Method;

use super::{Framing, HeadError, Limits};
use crate::http::{Request, Response};

/// A request head and what its hop-by-hop fields said; those fields are no longer in `request.headers`
/// (`connection`, `keep-alive`, `proxy-connection`, `transfer-encoding`, `upgrade`, every field that `Connection`
/// lists; `te` stays only as `trailers`; `expect: 100-continue` becomes `expect_continue`). `content-length` stays.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// The head; `host` is empty until `canonical::apply` ran.
    pub request: Request,
    /// How the body is delimited; never `UntilClose`.
    pub framing: Framing,
    /// Whether the client wants the connection to stay open after this exchange.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends a body.
    pub expect_continue: bool,
    /// The value of `Upgrade` where `Connection: upgrade` went with it; `h2c` is dropped, as Envoy does.
    pub upgrade: Option<Bytes>,
}

/// A response head and what its hop-by-hop fields said; see [`RequestHead`].
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// The head.
    pub response: Response,
    /// How the body is delimited.
    pub framing: Framing,
    /// Whether the connection may carry another exchange; false where framing was doubtful.
    pub keep_alive: bool,
    /// The value of `Upgrade` where `Connection: upgrade` went with it.
    pub upgrade: Option<Bytes>,
}

/// Parses the complete head that [`super::HeadScan::find_end`] delimited. Values are slices of `head`.
pub fn parse_request(head: Bytes, limits: &Limits) -> Result<RequestHead, HeadError> {
    let _ = (head, limits);
    todo!()
}

/// Parses a complete response head to a request with `method`. Values are slices of `head`.
pub fn parse_response(head: Bytes, method: &Method, limits: &Limits) -> Result<ResponseHead, HeadError> {
    let _ = (head, method, limits);
    todo!()
}
