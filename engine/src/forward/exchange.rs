//! Everything known about one request and its response.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use super::Protocol;
use super::error::Error;
use crate::cluster::{Cluster, Host};
use crate::http::{Body, BodyError, Headers, Request, Response};
use crate::net::Address;
use crate::runtime::Worker;
use crate::tls::Negotiated;

/// One request and its response on their way through a [`super::Handler`].
#[derive(Debug)]
pub struct Exchange<C> {
    /// The worker that serves it.
    pub worker: Rc<Worker>,
    /// The connection that it came on.
    pub downstream: Rc<Downstream>,
    /// The request's head, as it will be sent.
    pub request: Request,
    /// The request's body, as far as nobody has read it.
    pub body: Body,
    /// What `Upgrade` asked for, in HTTP/1; extended CONNECT is in `request.protocol`.
    pub upgrade: Option<Bytes>,
    /// The response's head, once there is one.
    pub response: Option<Response>,
    /// The response's body while response filters run.
    pub response_body: Body,
    /// The response's trailers, once they passed.
    pub response_trailers: Option<Headers>,
    /// What the handler keeps.
    pub context: C,
    /// When what happened.
    pub timing: Timing,
    /// The try that counts, or the last one.
    pub upstream: Upstream,
    /// Number of tries begun.
    pub attempts: u32,
    /// What went wrong or was special.
    pub events: Events,
    /// Why the response is what it is: Envoy's response code details.
    pub details: Cow<'static, str>,
    /// Sizes.
    pub counts: Counts,
}

/// Facts of a downstream connection.
#[derive(Debug)]
pub struct Downstream {
    /// Number of the connection, unique in the process.
    pub id: u64,
    /// The address that the client meant to reach: the original destination where traffic is intercepted.
    pub local: Address,
    /// The client's address.
    pub remote: Address,
    /// The client's address before PROXY protocol or the like.
    pub direct_remote: Address,
    /// The server name that TLS or its inspection told.
    pub server_name: Option<Arc<str>>,
    /// What TLS agreed on, where it is terminated here.
    pub tls: Option<Arc<Negotiated>>,
    /// When it was accepted.
    pub accepted: Instant,
}

/// When what happened. `start` and the durations from it are monotonic.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// The head was complete.
    pub start: Instant,
    /// The same on the wall clock.
    pub start_time: SystemTime,
    /// The last byte of the request was received.
    pub request_end: Option<Duration>,
    /// The first byte of the request was sent upstream.
    pub upstream_start: Option<Duration>,
    /// The last byte of the request was sent upstream.
    pub upstream_end: Option<Duration>,
    /// The first byte of the response was received.
    pub response_start: Option<Duration>,
    /// The last byte of the response was received.
    pub response_end: Option<Duration>,
    /// The last byte was sent downstream, or the exchange was given up.
    pub end: Option<Duration>,
}

/// Facts of a try.
#[derive(Clone, Debug, Default)]
pub struct Upstream {
    /// The cluster.
    pub cluster: Option<Arc<Cluster>>,
    /// The host.
    pub host: Option<Arc<Host>>,
    /// Our address of the connection.
    pub local: Option<Address>,
    /// What is spoken on it.
    pub protocol: Option<Protocol>,
    /// What TLS agreed on.
    pub tls: Option<Arc<Negotiated>>,
    /// Why the connection could not be made, in a few words.
    pub failure: Option<Cow<'static, str>>,
    /// Status of its response, once the head came.
    pub status: Option<http::StatusCode>,
    /// Hosts tried before, by id.
    pub tried: smallvec::SmallVec<[u64; 4]>,
}

/// Sizes in bytes. Wire sizes have heads and framing in them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Body bytes received from the client.
    pub received: u64,
    /// Body bytes sent to the client.
    pub sent: u64,
    /// Bytes received from the client.
    pub wire_received: u64,
    /// Bytes sent to the client.
    pub wire_sent: u64,
    /// Bytes received from the host.
    pub upstream_received: u64,
    /// Bytes sent to the host.
    pub upstream_sent: u64,
}

/// Something that went wrong or was special, for the log's flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Event {
    /// The client went away.
    ClientGone,
    /// The client broke the protocol.
    ClientProtocol,
    /// A connection could not be made.
    ConnectFailed,
    /// A fault filter delayed.
    DelayInjected,
    /// A connection reached its longest duration.
    DurationExceeded,
    /// A fault filter aborted.
    FaultInjected,
    /// A local reset.
    LocalReset,
    /// A rate limit refused.
    RateLimited,
    /// The route's cluster does not exist.
    NoCluster,
    /// No host can be used.
    NoHealthyHost,
    /// No filter chain or no route.
    NoRoute,
    /// A circuit breaker is open.
    Overflow,
    /// The request's time was up.
    RequestTimeout,
    /// Tries were used up.
    RetryLimit,
    /// Nothing moved.
    StreamIdle,
    /// An external service said no.
    Unauthorized,
    /// The host broke the protocol.
    UpstreamProtocol,
    /// The host reset the stream.
    UpstreamReset,
    /// The host closed the connection.
    UpstreamClosed,
    /// Served from a cache, or by the proxy itself while it is overloaded.
    Overload,
}

/// A set of [`Event`]s, in the order in which they happened: five bits an event, its number and one, the
/// first in the lowest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events(u64);

impl<C> Exchange<C> {
    /// Reads the whole body into memory and puts it back, so that filters may look at it. A body above
    /// `limit` is an error, and what was read of it stays in place.
    pub async fn buffer_body(&mut self, limit: usize) -> Result<Bytes, Error> {
        if self.body.is_end() {
            return Ok(Bytes::new());
        }
        if self
            .body
            .exact_length()
            .is_some_and(|length| length > limit as u64)
        {
            // Said in advance: not a byte of it has to be waited for.
            return Err(Error::RequestTooLarge { limit });
        }
        let body = std::mem::take(&mut self.body);
        match body.collect(limit).await {
            Ok((bytes, None)) => {
                self.body = Body::full(bytes.clone());
                Ok(bytes)
            }
            Ok((bytes, Some(trailers))) => {
                let frames = [
                    crate::http::Frame::Data(bytes.clone()),
                    crate::http::Frame::Trailers(trailers),
                ];
                self.body = Body::chain(frames.into(), Body::empty());
                Ok(bytes)
            }
            Err(error @ (BodyError::TooLarge { .. } | BodyError::Malformed(_))) => {
                Err(Error::from_request_body(&error))
            }
            Err(_) => Err(Error::ClientGone),
        }
    }

    /// Whether the request asks for another protocol: an upgrade or CONNECT.
    pub fn asks_for_tunnel(&self) -> bool {
        self.upgrade.is_some()
            || self.request.protocol.is_some()
            || self.request.method == http::Method::CONNECT
    }

    /// Time since the head was complete.
    pub fn elapsed(&self) -> Duration {
        self.timing.start.elapsed()
    }

    /// Notes what `error` means for the log.
    pub(super) fn note(&mut self, error: &Error) {
        let Some(event) = error.event() else { return };
        self.events.insert(event);
        if let Error::Connect { reason } | Error::Tls { reason } = error {
            self.upstream.failure = Some(reason.clone());
        }
    }
}

impl Timing {
    /// `complete` says that the head was the whole request.
    pub fn now(complete: bool) -> Self {
        Self {
            start: Instant::now(),
            start_time: SystemTime::now(),
            request_end: complete.then_some(Duration::ZERO),
            upstream_start: None,
            upstream_end: None,
            response_start: None,
            response_end: None,
            end: None,
        }
    }
}

impl Events {
    /// Adds `event` behind the others, unless it is in it. More than twelve do not happen to one exchange.
    pub fn insert(&mut self, event: Event) {
        let used = u64::BITS - self.0.leading_zeros();
        let shift = used.next_multiple_of(EVENT_BITS);
        if !self.contains(event) && shift + EVENT_BITS <= u64::BITS {
            self.0 |= (event as u64 + 1) << shift;
        }
    }

    /// Whether `event` is in it.
    pub fn contains(self, event: Event) -> bool {
        self.iter().any(|other| other == event)
    }

    /// Whether nothing happened.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Every event, the first first.
    pub fn iter(self) -> impl Iterator<Item = Event> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let number = usize::try_from(rest & EVENT_MASK).ok()?.checked_sub(1)?;
            rest >>= EVENT_BITS;
            EVENTS.get(number).copied()
        })
    }
}

impl FromIterator<Event> for Events {
    fn from_iter<I: IntoIterator<Item = Event>>(events: I) -> Self {
        let mut all = Self::default();
        for event in events {
            all.insert(event);
        }
        all
    }
}

const EVENT_BITS: u32 = 5;
const EVENT_MASK: u64 = (1 << EVENT_BITS) - 1;

/// Every event by its number.
const EVENTS: [Event; 20] = [
    Event::ClientGone,
    Event::ClientProtocol,
    Event::ConnectFailed,
    Event::DelayInjected,
    Event::DurationExceeded,
    Event::FaultInjected,
    Event::LocalReset,
    Event::RateLimited,
    Event::NoCluster,
    Event::NoHealthyHost,
    Event::NoRoute,
    Event::Overflow,
    Event::RequestTimeout,
    Event::RetryLimit,
    Event::StreamIdle,
    Event::Unauthorized,
    Event::UpstreamProtocol,
    Event::UpstreamReset,
    Event::UpstreamClosed,
    Event::Overload,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_keep_their_order() {
        for (number, event) in EVENTS.into_iter().enumerate() {
            assert_eq!(event as usize, number);
        }
        let mut events = Events::default();
        assert!(events.is_empty());
        for event in [
            Event::RetryLimit,
            Event::ConnectFailed,
            Event::RetryLimit,
            Event::ClientGone,
        ] {
            events.insert(event);
        }
        let order: Vec<_> = events.iter().collect();
        assert_eq!(
            order,
            [Event::RetryLimit, Event::ConnectFailed, Event::ClientGone]
        );
        assert!(events.contains(Event::ClientGone) && !events.contains(Event::NoRoute));
        for event in EVENTS {
            events.insert(event);
        }
        assert_eq!(events.iter().count(), 12);
    }
}
