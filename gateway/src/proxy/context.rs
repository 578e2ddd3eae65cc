//! What is kept for one request.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use carbyne_engine::http::{Headers, Request};
use carbyne_events::event::security_event::Reason;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use smallvec::SmallVec;

use super::arrival::Arrival;
use crate::balance::Affinity;
use crate::live::chain::{Chain, Selected};
use crate::live::local::{Local, Pinned};
use crate::live::route::LiveRoute;
use crate::plan::service::Service;
use crate::plugin::client::{Consumer, Credential};
use crate::plugin::instance::Instance;
use crate::plugin::table::State;
use crate::router::Captures;
use crate::value::Value;

/// A request and its response in the gateway.
pub type Exchange = carbyne_engine::forward::Exchange<Context>;

/// What the gateway keeps for one request.
#[derive(Debug)]
pub struct Context {
    pub local: Rc<Local>,
    /// What the request is served with, to its end.
    pub snapshot: Rc<Pinned>,
    pub arrival: Arrival,
    pub id: RequestId,
    pub route: Option<Arc<LiveRoute>>,
    /// What the route's regular expression captured.
    pub captures: Option<Captures>,
    /// The request line as it came.
    pub original: Original,
    pub upstream: UpstreamRequest,
    pub consumer: Option<Rc<Consumer>>,
    pub credential: Option<Credential>,
    /// The plugins of this request, once they were chosen.
    pub chain: Option<Arc<Chain>>,
    pub selected: SmallVec<[Selected; 4]>,
    /// States of instances that had a rewrite phase, by slot of the global chain.
    pub rewritten: Vec<(Box<str>, State)>,
    /// Fields for the response that is to come.
    pub response_headers: Headers,
    pub source: Source,
    /// Members of what log plugins write down.
    pub log_values: Vec<(Box<str>, Value)>,
    /// The request's fields as the client and the plugins left them, where a plugin writes them down.
    pub logged_headers: Option<Headers>,
    pub tries: SmallVec<[Try; 1]>,
    /// Where the balancer sends the request, once for all tries.
    pub affinity: Option<Affinity>,
    /// The service's host has no address.
    pub unresolved: bool,
    /// What a client is told whose body becomes larger than a plugin lets it.
    pub too_large: Option<(StatusCode, &'static str)>,
    /// Why it was refused, if it was: for events.
    pub refused: Option<Refused>,
    /// Whether the request's event was emitted.
    pub told: bool,
    shared: Vec<(Box<str>, Value)>,
}

/// Why a request was refused.
#[derive(Clone, Debug)]
pub struct Refused {
    pub reason: Reason,
    /// The plugin that did it; none where it was the node itself.
    pub instance: Option<Arc<Instance>>,
}

/// The request line as it came.
#[derive(Debug)]
pub struct Original {
    pub method: Method,
    pub path: Bytes,
    pub authority: Bytes,
}

/// What the service gets in place of what the client sent.
#[derive(Debug, Default)]
pub struct UpstreamRequest {
    /// Unescaped, without the query.
    pub path: Bytes,
    /// What was taken off the front of the path.
    pub prefix: Option<Bytes>,
    /// A `Host` that a plugin chose.
    pub host: Option<Bytes>,
    /// Host and port that a plugin chose.
    pub target: Option<(Box<str>, u16)>,
}

/// Who made the response.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Source {
    /// Kong itself: no route, no service, no answer.
    #[default]
    Error,
    /// A plugin.
    Exit,
    Service,
}

/// One try.
#[derive(Clone, Debug)]
pub struct Try {
    /// Since the head was complete.
    pub start: Duration,
    pub address: std::net::SocketAddr,
    /// The status or code that it failed with.
    pub failed: Option<u16>,
    /// How long it took to choose the host.
    pub balancing: Duration,
}

/// Thirty-two random hexadecimal digits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RequestId([u8; 32]);

impl RequestId {
    pub fn random() -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 32];
        let mut bits = [fastrand::u64(..), fastrand::u64(..)];
        for (index, digit) in text.iter_mut().enumerate() {
            let half = &mut bits[index / 16];
            *digit = DIGITS[usize::try_from(*half & 15).unwrap_or_default()];
            *half >>= 4;
        }
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        // Digits are ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    pub fn to_header(self) -> HeaderValue {
        HeaderValue::from_bytes(&self.0).unwrap_or(HeaderValue::from_static(""))
    }
}

impl Context {
    pub(super) fn new(local: Rc<Local>) -> Self {
        Self {
            snapshot: local.snapshot(),
            local,
            arrival: Arrival::default(),
            id: RequestId::random(),
            route: None,
            captures: None,
            original: Original {
                method: Method::GET,
                path: Bytes::new(),
                authority: Bytes::new(),
            },
            upstream: UpstreamRequest::default(),
            consumer: None,
            credential: None,
            chain: None,
            selected: SmallVec::new(),
            rewritten: Vec::new(),
            response_headers: Headers::new(),
            source: Source::Error,
            log_values: Vec::new(),
            logged_headers: None,
            tries: SmallVec::new(),
            affinity: None,
            unresolved: false,
            too_large: None,
            refused: None,
            told: false,
            shared: Vec::new(),
        }
    }

    /// The service of the route.
    pub fn service(&self) -> Option<&Service> {
        let service = self.route.as_ref()?.service.as_ref()?;
        Some(&service.plan)
    }

    /// The scheme that a trusted proxy told, else the connection's.
    pub fn forwarded_scheme<'a>(&self, request: &'a Request) -> &'a str {
        let told = request.headers.text(&FORWARDED_PROTO);
        match told {
            Some(told) if self.arrival.trusted => told,
            _ => self.arrival.scheme(),
        }
    }

    pub fn share(&mut self, name: &str, value: Value) {
        match self.shared.iter_mut().find(|(known, _)| **known == *name) {
            Some((_, known)) => *known = value,
            None => self.shared.push((name.into(), value)),
        }
    }

    pub fn shared(&self, name: &str) -> Option<&Value> {
        let found = self.shared.iter().find(|(known, _)| **known == *name);
        found.map(|(_, value)| value)
    }
}

pub(super) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
