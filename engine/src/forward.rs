//! One request through, one TCP stream through: the seam between the engine and its users.
//!
//! | file | what it holds |
//! |---|---|
//! | [`exchange`] | everything known about one request and its response |
//! | [`serve`] | a downstream connection: codec, requests one after another or side by side |
//! | [`request`] | one request through: filters, attempts, response, log |
//! | [`attempt`] | one try at one host |
//! | [`download`] | the response on its way to the client |
//! | [`client`] | requests that the programs send themselves |
//! | [`probe`] | active health checks, over connections of their own |
//! | [`retry`] | when to try again, and how long to wait |
//! | [`responder`] | the response on its way to either HTTP version |
//! | [`watch`] | deadlines, idleness and the client's departure, watched while waiting |
//! | [`tcp`] | one TCP stream through |
//! | [`error`] | what can go wrong, whose fault it is, and whether a retry is safe |

mod attempt;
pub mod client;
mod download;
pub mod error;
pub mod exchange;
pub mod probe;
mod request;
mod responder;
pub mod retry;
pub mod serve;
pub mod tcp;
mod watch;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use self::error::{Error, Fault, Reset};
pub use self::exchange::{Counts, Downstream, Event, Events, Exchange, Timing, Upstream};
pub use self::retry::RetryPolicy;
pub use crate::cluster::breaker::RoutingPriority as Priority;
use crate::cluster::{Cluster, Host};
use crate::http::Response;
use crate::net::connect::OriginalSource;
use crate::tls::{AlpnList, ClientTls};

/// What the engine's users write: the proxy in Envoy's place, the gateway in Kong's.
///
/// One handler serves one listener's HTTP traffic; its methods run in this order for every request:
/// `request`, then for every try `attempt`, then `response` when a head arrived, `error` instead where the
/// engine has to answer itself, and `log` last, whatever happened.
pub trait Handler: 'static {
    /// What the handler keeps for one request.
    type Context: 'static;

    /// A fresh context, made when the request's head is complete.
    fn context(&self) -> Self::Context;

    /// Runs the request filters and decides: forward along a route, or answer.
    fn request(
        &self,
        exchange: &mut Exchange<Self::Context>,
    ) -> impl Future<Output = Result<Route, Answer>>;

    /// Chooses the target of try `number`, from 0.
    fn attempt(
        &self,
        exchange: &mut Exchange<Self::Context>,
        number: u32,
    ) -> impl Future<Output = Result<Target, Error>>;

    /// Try `exchange.attempts` is over, as told; what follows is not decided by it. Nothing unless somebody wants to know.
    fn tried(&self, _exchange: &mut Exchange<Self::Context>, _end: TryEnd<'_>) {}

    /// Runs the response filters over `exchange.response` and `exchange.response_body`; an answer replaces
    /// the response.
    fn response(
        &self,
        exchange: &mut Exchange<Self::Context>,
    ) -> impl Future<Output = Result<(), Answer>>;

    /// Words the answer to an error, with everything that response filters would add. For errors that
    /// happen after the head was sent it is not called: the stream is reset.
    fn error(&self, exchange: &mut Exchange<Self::Context>, error: &Error) -> Answer;

    /// An error that nobody can be told any more, because the head was sent or the client is gone: words
    /// the details for the log.
    fn broken(&self, exchange: &mut Exchange<Self::Context>, error: &Error) {
        let _ = (exchange, error);
    }

    /// An answer that came from [`Handler::request`] passes here on its way out, so that response filters
    /// may touch it.
    fn answered(&self, exchange: &mut Exchange<Self::Context>);

    /// What follows is the last that the client waits for: the end of the body, or the head where none comes. Whatever must
    /// be known of every request that was answered is written down here; later it may be too late (the process may end).
    /// Sizes and times are those so far. Not called where the exchange breaks off before.
    fn ending(&self, _exchange: &mut Exchange<Self::Context>) {}

    /// One request is over: log and count it.
    fn log(&self, exchange: &Exchange<Self::Context>);

    /// A request that never became an exchange (its head was refused or did not complete): words the
    /// answer and logs it.
    fn refused(&self, downstream: &Downstream, refusal: &serve::Refusal) -> Answer;
}

/// How a try ended.
#[derive(Clone, Copy, Debug)]
pub enum TryEnd<'a> {
    /// Its response was passed on, or a filter answered in its place.
    Response,
    /// Its response asked for another try.
    Again,
    /// It failed.
    Failed(&'a Error),
}

/// A response that does not come from upstream.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The head; `content-length` is added.
    pub response: Response,
    /// The whole body.
    pub body: Bytes,
    /// Why, for the log: Envoy's response code details.
    pub details: Cow<'static, str>,
}

/// How a request is forwarded: what does not change from try to try.
#[derive(Clone, Debug, Default)]
pub struct Route {
    /// From the end of the request to the end of the response; `None` is no limit.
    pub timeout: Option<Duration>,
    /// Longest silence on the stream; `None` is no limit.
    pub idle_timeout: Option<Duration>,
    /// From the first byte of the request to the end of the response; `None` is no limit.
    pub max_duration: Option<Duration>,
    /// When to try again; `None` never.
    pub retry: Option<Arc<RetryPolicy>>,
    /// Which of the cluster's two breaker limits apply.
    pub priority: Priority,
    /// Request bytes kept for a further try.
    pub buffer_limit: usize,
    /// Requests copied elsewhere; their responses are dropped.
    pub mirrors: Vec<Mirror>,
    /// Whether an upgrade that the client asked for may go through.
    pub upgrade: bool,
}

/// A copy of a request for another cluster.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// Where it goes; the copy's head is already what shall be sent.
    pub target: Target,
    /// The head of the copy.
    pub request: crate::http::Request,
}

/// Where one try goes.
#[derive(Clone, Debug)]
pub struct Target {
    /// The cluster, for its limits and statistics.
    pub cluster: Arc<Cluster>,
    /// The host.
    pub host: Arc<Host>,
    /// TLS towards it; `None` is plaintext.
    pub tls: Option<TlsTarget>,
    /// What is spoken.
    pub protocol: Protocol,
    /// From the end of the request to the response's head of this try.
    pub timeout: Option<Duration>,
    /// The address to connect from, where the host shall see the client's; part of the variant.
    pub source: Option<OriginalSource>,
    /// Tells connections apart that must not be shared although they lead to one host: other TLS settings,
    /// server name, ALPN, protocol or source.
    pub variant: u64,
}

/// TLS of one try.
#[derive(Clone, Debug)]
pub struct TlsTarget {
    /// The settings.
    pub client: Arc<ClientTls>,
    /// Server name instead of the settings' own.
    pub server_name: Option<Arc<str>>,
    /// Protocols offered instead of the settings' own.
    pub alpn: Option<Arc<AlpnList>>,
    /// Name that the host's certificate must have, where the settings ask for one.
    pub verify_name: Option<Arc<str>>,
}

/// What is spoken to a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

impl Answer {
    /// An answer with a plain-text body, or none where `body` is empty.
    pub fn text(
        status: http::StatusCode,
        body: impl Into<Bytes>,
        details: impl Into<Cow<'static, str>>,
    ) -> Self {
        let body = body.into();
        let mut response = Response::new(status);
        if !body.is_empty() {
            response.headers.append(
                http::header::CONTENT_TYPE,
                http::HeaderValue::from_static("text/plain"),
            );
        }
        Self {
            response,
            body,
            details: details.into(),
        }
    }
}
