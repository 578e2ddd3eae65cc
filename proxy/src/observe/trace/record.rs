//! A span that ended, with its tags in Envoy's words (`HttpTracerUtility`).

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use carbyne_engine::forward::{Error, Protocol, Timing, TryEnd};
use carbyne_engine::http::{Headers, Request};
use carbyne_engine::net::Address;
use http::{HeaderName, Version, header};

use super::context::SpanContext;
use super::decision::CLIENT_TRACE_ID;
use super::span::Attempt;
use super::tag::Tag;
use crate::observe::facts::{Facts, is_grpc};
use crate::observe::flags::Flags;

/// A text that is often known beforehand.
#[derive(Clone, Debug)]
pub enum Text {
    /// Of the program.
    Static(&'static str),
    /// Of the configuration.
    Shared(Arc<str>),
    /// Of this request.
    Owned(Box<str>),
}

/// Which end of a call the span is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It was received.
    Server,
    /// It was made.
    Client,
}

/// A span that ended.
#[derive(Debug)]
pub struct Record {
    /// Its identity.
    pub context: SpanContext,
    /// The operation.
    pub name: Text,
    /// Which end of a call it is of.
    pub kind: Kind,
    /// When it began.
    pub start: SystemTime,
    /// How long it lasted.
    pub duration: Duration,
    /// What is told of it; no name twice.
    pub tags: Tags,
    /// What happened meanwhile.
    pub events: Vec<(&'static str, SystemTime)>,
}

/// Names and values, in the order in which they were first set.
#[derive(Debug, Default)]
pub struct Tags(Vec<(Text, Text)>);

/// Who tells, on every span of a request.
#[derive(Debug)]
pub struct Teller {
    /// The node's id.
    pub node: Arc<str>,
    /// The node's zone.
    pub zone: Arc<str>,
}

impl Text {
    /// Bytes that are mostly text.
    pub fn bytes(bytes: &[u8]) -> Self {
        Self::Owned(String::from_utf8_lossy(bytes).into())
    }

    fn display(value: impl fmt::Display) -> Self {
        Self::Owned(value.to_string().into())
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Static(text) => text,
            Self::Shared(text) => text,
            Self::Owned(text) => text,
        }
    }
}

impl Tags {
    /// Sets a tag; an earlier value of that name is replaced.
    pub fn set(&mut self, name: Text, value: Text) {
        match self.0.iter_mut().find(|(held, _)| **held == *name) {
            Some((_, held)) => *held = value,
            None => self.0.push((name, value)),
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The value of a tag.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find_map(|(held, value)| (held == name).then_some(value))
    }

    fn put(&mut self, name: &'static str, value: Text) {
        self.0.push((Text::Static(name), value));
    }

    /// What is told of the span of a request that is over.
    pub fn of_request(
        facts: &Facts<'_>,
        teller: &Teller,
        longest_path: usize,
        custom: [&[Tag]; 2],
    ) -> Self {
        let mut tags = Self(Vec::with_capacity(24));
        tags.put("node_id", Text::Shared(Arc::clone(&teller.node)));
        tags.put("zone", Text::Shared(Arc::clone(&teller.zone)));
        if let Some(request) = facts.request {
            let headers = &request.headers;
            let or_dash = |name: &HeaderName| tag_of(headers, name).unwrap_or(Text::Static("-"));
            if let Some(id) = tag_of(headers, &REQUEST_ID) {
                tags.put("guid:x-request-id", id);
            }
            tags.put("http.url", url(request, longest_path));
            tags.put(
                "http.method",
                Text::Owned(request.method.as_str().to_owned().into()),
            );
            tags.put("downstream_cluster", or_dash(&DOWNSTREAM_CLUSTER));
            tags.put("user_agent", or_dash(&header::USER_AGENT));
            tags.put("http.protocol", Text::Static(protocol(request.version)));
            if let Some(downstream) = facts.downstream {
                tags.put("peer.address", host_of(&downstream.direct_remote));
            }
            if let Some(id) = tag_of(headers, &CLIENT_TRACE_ID) {
                tags.put("guid:x-client-trace-id", id);
            }
            if is_grpc(headers) {
                tags.put("grpc.path", Text::bytes(&request.path));
                tags.put("grpc.authority", Text::bytes(&request.authority));
                let sent = [
                    ("grpc.content_type", &header::CONTENT_TYPE),
                    ("grpc.timeout", &GRPC_TIMEOUT),
                ];
                for (tag, name) in sent {
                    if let Some(value) = tag_of(headers, name) {
                        tags.put(tag, value);
                    }
                }
            }
        }
        tags.put("request_size", Text::display(facts.counts.received));
        tags.put("response_size", Text::display(facts.counts.sent));
        tags.common(facts, facts.status(), facts.flags, custom);
        tags.grpc(facts);
        tags
    }

    /// What is told of the span of one try.
    pub(super) fn of_attempt(
        facts: &Facts<'_>,
        attempt: &Attempt,
        end: TryEnd<'_>,
        custom: [&[Tag]; 2],
    ) -> Self {
        let mut tags = Self(Vec::with_capacity(16));
        if attempt.number > 0 {
            tags.put("retry.count", Text::display(attempt.number));
        }
        if matches!(end, TryEnd::Response) {
            tags.grpc(facts);
        }
        let mut flags = Flags::NONE;
        match end {
            TryEnd::Response => {}
            TryEnd::Again => {
                // A response that was whole is not given up.
                let timing = facts.timing;
                if timing.is_none_or(|timing| timing.response_end.is_none()) {
                    tags.put("canceled", Text::Static("true"));
                }
            }
            TryEnd::Failed(error) => {
                // The time of all tries is the request's affair.
                if !matches!(error, Error::Timeout) {
                    flags = Flags::of(error.event().into_iter().collect());
                }
                match reset_reason(error) {
                    Some(reason) => {
                        tags.put("error", Text::Static("true"));
                        tags.put("error.reason", Text::Static(reason));
                    }
                    None => tags.put("canceled", Text::Static("true")),
                }
            }
        }
        let connected = facts
            .timing
            .is_some_and(|timing| timing.upstream_start.is_some());
        let spoken = match attempt.protocol {
            _ if !connected => "-",
            Protocol::Http1 => "HTTP/1.1",
            Protocol::Http2 => "HTTP/2",
        };
        tags.put("http.protocol", Text::Static(spoken));
        let upstream = facts.upstream;
        if let Some(host) = upstream.and_then(|upstream| upstream.host.as_ref()) {
            let address = Text::display(&host.address);
            tags.put("upstream_address", address.clone());
            tags.put("peer.address", address);
        }
        let status = upstream.and_then(|upstream| upstream.status);
        let status = status.map_or(0, |status| status.as_u16());
        tags.common(facts, status, flags, custom);
        tags
    }

    /// Tags of every span; `custom` are those of the route and of the connection manager, the former win.
    fn common(&mut self, facts: &Facts<'_>, status: u16, flags: Flags, custom: [&[Tag]; 2]) {
        self.put("component", Text::Static("proxy"));
        let context = facts.context;
        if let Some(live) = context.and_then(|context| context.cluster.as_ref()) {
            let name = Arc::clone(live.cluster.name());
            let alternative = &live.plan.alt_stat_name;
            let shown = if alternative.is_empty() {
                Arc::clone(&name)
            } else {
                Arc::clone(alternative)
            };
            self.put("upstream_cluster", Text::Shared(name));
            self.put("upstream_cluster.name", Text::Shared(shown));
        }
        self.put("http.status_code", Text::display(status));
        let mut short = Vec::new();
        flags.write_short(&mut short);
        self.put("response_flags", Text::bytes(&short));
        if status == 0 || (500..600).contains(&status) {
            self.set(Text::Static("error"), Text::Static("true"));
        }
        let [route, manager] = custom;
        let theirs = manager
            .iter()
            .filter(|tag| route.iter().all(|own| own.name != tag.name));
        for tag in route.iter().chain(theirs) {
            if let Some(value) = tag.value(facts) {
                self.set(Text::Shared(Arc::clone(&tag.name)), value);
            }
        }
    }

    /// How a gRPC call ended, where the head or the trailers say so.
    fn grpc(&mut self, facts: &Facts<'_>) {
        let head = facts.response.map(|response| &response.headers);
        for fields in [head, facts.trailers].into_iter().flatten() {
            let Some(status) = tag_of(fields, &GRPC_STATUS) else {
                continue;
            };
            // What the server is to blame for (Envoy issue 18877).
            let failed = matches!(status.parse(), Ok(2 | 4 | 8 | 12 | 13 | 14 | 15));
            self.set(Text::Static("grpc.status_code"), status);
            if let Some(message) = tag_of(fields, &GRPC_MESSAGE) {
                self.set(Text::Static("grpc.message"), message);
            }
            if failed {
                self.set(Text::Static("error"), Text::Static("true"));
            }
        }
    }
}

/// The phases that have an end, and when they ended (`verbose`).
pub fn phases(timing: &Timing, of_attempt: bool) -> Vec<(&'static str, SystemTime)> {
    let downstream = |time: Option<Duration>| time.filter(|_| !of_attempt);
    let end = downstream(timing.end);
    // The head leaves with the first piece of the body; an answer of the proxy's own leaves whole.
    let first_sent = timing.response_start.or(timing.end);
    let phases = [
        (
            "last_downstream_rx_byte_received",
            downstream(timing.request_end),
        ),
        ("first_upstream_tx_byte_sent", timing.upstream_start),
        ("last_upstream_tx_byte_sent", timing.upstream_end),
        ("first_upstream_rx_byte_received", timing.response_start),
        ("last_upstream_rx_byte_received", timing.response_end),
        ("first_downstream_tx_byte_sent", downstream(first_sent)),
        ("last_downstream_tx_byte_sent", end),
    ];
    let reached = phases
        .into_iter()
        .filter_map(|(name, time)| Some((name, timing.start_time + time?)));
    reached.collect()
}

/// Scheme as the client used it, host, and so much of the path.
fn url(request: &Request, longest_path: usize) -> Text {
    let headers = &request.headers;
    let original = headers.get(&ORIGINAL_PATH);
    let path = original.map_or(&*request.path, |path| path.as_bytes());
    let path = &path[..path.len().min(longest_path)];
    let scheme = headers
        .get(&FORWARDED_PROTO)
        .map_or(&b""[..], |scheme| scheme.as_bytes());
    Text::bytes(&[scheme, b"://", &request.authority, path].concat())
}

fn tag_of(headers: &Headers, name: &HeaderName) -> Option<Text> {
    headers.get(name).map(|value| Text::bytes(value.as_bytes()))
}

fn host_of(address: &Address) -> Text {
    match address.socket() {
        Some(socket) => Text::display(socket.ip()),
        None => Text::display(address),
    }
}

const fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

/// Envoy's words for a stream that the host or the way to it broke; `None` where the proxy itself gave the try up.
const fn reset_reason(error: &Error) -> Option<&'static str> {
    match error {
        Error::Connect { .. } | Error::Tls { .. } => Some("remote connection failure"),
        Error::ConnectTimeout => Some("connection timeout"),
        Error::Overflow { .. } => Some("overflow"),
        Error::UpstreamProtocol(_) => Some("protocol error"),
        Error::UpstreamReset { .. } | Error::UpstreamTruncated(_) => Some("connection termination"),
        _ => None,
    }
}

const DOWNSTREAM_CLUSTER: HeaderName =
    HeaderName::from_static("x-envoy-downstream-service-cluster");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
