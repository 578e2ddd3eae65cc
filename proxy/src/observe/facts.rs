//! What may be told about a request, a TCP stream or a connection that was refused. Logs, header values, metrics and CEL read this and
//! nothing else.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use carbyne_engine::forward::{Counts, Downstream, Exchange, Timing, Upstream};
use carbyne_engine::http::{Headers, Request, Response};
use carbyne_engine::tls::Negotiated;

use super::flags::{Flag, Flags};
use super::peer::Peer;
use crate::context::{Context, Metadata};
use crate::plan::cluster::ClusterPlan;
use crate::plan::endpoint::EndpointFacts;

/// Borrowed facts; what is not known is `None`, empty or zero.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// The connection that it came on.
    pub downstream: Option<&'a Downstream>,
    /// The request's head.
    pub request: Option<&'a Request>,
    /// The response's head.
    pub response: Option<&'a Response>,
    /// The response's trailers.
    pub trailers: Option<&'a Headers>,
    /// The last try.
    pub upstream: Option<&'a Upstream>,
    /// When what happened.
    pub timing: Option<&'a Timing>,
    /// Sizes.
    pub counts: Counts,
    /// What went wrong.
    pub flags: Flags,
    /// Response code details.
    pub details: &'a str,
    /// Why the connection was closed from this side.
    pub termination: &'a str,
    /// Number of tries.
    pub attempts: u32,
    /// Name of the route.
    pub route: &'a str,
    /// Name of the filter chain; empty where none was chosen or it has none.
    pub filter_chain: &'a str,
    /// Name of the cluster.
    pub cluster: Option<&'a str>,
    /// What else is known about the cluster.
    pub cluster_plan: Option<&'a ClusterPlan>,
    /// What filters keep; requests only.
    pub context: Option<&'a Context>,
    /// Dynamic metadata.
    pub metadata: Option<&'a Metadata>,
    /// The client's workload.
    pub downstream_peer: Option<&'a Arc<Peer>>,
    /// The server's workload.
    pub upstream_peer: Option<&'a Arc<Peer>>,
    /// gRPC messages of the request and the response.
    pub grpc_messages: (u64, u64),
    /// The body that a format is asked to word anew.
    pub local_reply: &'a [u8],
    /// The protocol that the client speaks, where there is no request to tell it.
    pub protocol: Option<http::Version>,
    /// The answer is being made: its status is told as 0, as Envoy tells it.
    pub unsettled: bool,
    /// It is a TCP stream.
    pub is_stream: bool,
}

/// A TCP stream that ends, or the refusal of a connection.
#[derive(Debug)]
pub struct StreamRecord {
    /// The connection.
    pub downstream: Rc<Downstream>,
    /// When what happened.
    pub timing: Timing,
    /// The connection to the host.
    pub upstream: Upstream,
    /// Sizes; wire sizes are those of the plaintext.
    pub counts: Counts,
    /// What went wrong.
    pub flags: Flags,
    /// Envoy's details, empty for none.
    pub details: Cow<'static, str>,
    /// Why the connection was closed from this side (RBAC's denials among them); empty for none.
    pub termination: Cow<'static, str>,
    /// Tries to connect.
    pub attempts: u32,
    /// Name of the route; istiod names those of TCP after their cluster.
    pub route: Arc<str>,
    /// Name of the filter chain.
    pub filter_chain: Arc<str>,
    /// The cluster's name.
    pub cluster: Option<Arc<str>>,
    /// What else is known about it.
    pub cluster_plan: Option<Arc<ClusterPlan>>,
    /// Dynamic metadata of network filters.
    pub metadata: Metadata,
    /// The client's workload.
    pub downstream_peer: Option<Arc<Peer>>,
    /// The server's workload.
    pub upstream_peer: Option<Arc<Peer>>,
}

impl<'a> Facts<'a> {
    /// The facts of a request, at whatever stage it is.
    pub fn of(exchange: &'a Exchange<Context>) -> Self {
        let context = &exchange.context;
        Self {
            response: exchange.response.as_ref(),
            trailers: exchange.response_trailers.as_ref(),
            ..Self::of_request(exchange, &exchange.request)
        }
        .with_context(context)
    }

    /// The facts of a request whose head is `request`: for values of fields that are being added to it.
    pub fn of_request(exchange: &'a Exchange<Context>, request: &'a Request) -> Self {
        Self {
            downstream: Some(&exchange.downstream),
            request: Some(request),
            upstream: Some(&exchange.upstream),
            timing: Some(&exchange.timing),
            counts: exchange.counts,
            flags: Flags::of(exchange.events),
            details: &exchange.details,
            attempts: exchange.attempts,
            cluster: exchange
                .upstream
                .cluster
                .as_ref()
                .map(|cluster| &**cluster.name()),
            ..Self::default()
        }
        .with_context(&exchange.context)
    }

    /// The facts of a stream.
    pub fn of_stream(record: &'a StreamRecord) -> Self {
        Self {
            downstream: Some(&record.downstream),
            upstream: Some(&record.upstream),
            timing: Some(&record.timing),
            counts: record.counts,
            flags: record.flags,
            details: &record.details,
            termination: &record.termination,
            attempts: record.attempts,
            route: &record.route,
            filter_chain: &record.filter_chain,
            cluster: record.cluster.as_deref(),
            cluster_plan: record.cluster_plan.as_deref(),
            metadata: Some(&record.metadata),
            downstream_peer: record.downstream_peer.as_ref(),
            upstream_peer: record.upstream_peer.as_ref(),
            is_stream: true,
            ..Self::default()
        }
    }

    fn with_context(mut self, context: &'a Context) -> Self {
        self.context = Some(context);
        self.metadata = Some(&context.metadata);
        self.downstream_peer = context.downstream_peer.as_ref();
        self.upstream_peer = context.upstream_peer.as_ref();
        self.cluster_plan = context.cluster.as_ref().map(|cluster| &*cluster.plan);
        self.grpc_messages = context.grpc_messages();
        self.filter_chain = context.filter_chain.as_deref().unwrap_or_default();
        self.route = context.route.as_ref().map_or("", |route| &route.name);
        // Envoy knows the cluster from the choice of the route on, whether or not a host was tried.
        if self.cluster.is_none() && !self.flags.contains(Flag::NoClusterFound) {
            self.cluster = context.cluster_name.as_deref();
        }
        self
    }

    /// The response's status code, 0 where there is none.
    pub fn status(&self) -> u16 {
        let response = self.response.filter(|_| !self.unsettled);
        response.map_or(0, |response| response.status.as_u16())
    }

    /// TLS with the client.
    pub fn downstream_tls(&self) -> Option<&'a Negotiated> {
        self.downstream?.tls.as_deref()
    }

    /// TLS with the host.
    pub fn upstream_tls(&self) -> Option<&'a Negotiated> {
        self.upstream?.tls.as_deref()
    }

    /// The client's address: as trusted forwarding fields tell it (then without a port, as in Envoy), else the connection's.
    pub fn remote(&self) -> Option<carbyne_engine::net::Address> {
        match self.context.and_then(|context| context.client) {
            Some(ip) => Some(SocketAddr::new(ip, 0).into()),
            None => self.downstream.map(|downstream| downstream.remote.clone()),
        }
    }

    /// What the assignment says about the host.
    pub fn endpoint(&self) -> Option<&'a EndpointFacts> {
        EndpointFacts::of(self.upstream?.host.as_ref()?.extension.as_ref())
    }

    /// Whether the request is gRPC (content type `application/grpc`, alone or followed by `+` or `;`).
    pub fn is_grpc(&self) -> bool {
        self.request
            .is_some_and(|request| is_grpc(&request.headers))
    }

    /// The gRPC status: of the trailers, else of the head, else what the HTTP status means.
    pub fn grpc_status(&self) -> Option<u16> {
        let sent = |headers: &Headers| {
            let value = headers.get(&GRPC_STATUS)?;
            Some(
                value
                    .to_str()
                    .ok()
                    .and_then(|text| text.parse().ok())
                    .unwrap_or(2),
            )
        };
        self.trailers
            .and_then(sent)
            .or_else(|| sent(&self.response?.headers))
            .or_else(|| {
                self.response
                    .map(|response| from_http(response.status.as_u16()))
            })
    }
}

/// Whether a message of these fields is gRPC.
pub fn is_grpc(headers: &Headers) -> bool {
    headers
        .get(&http::header::CONTENT_TYPE)
        .is_some_and(|value| {
            value
                .as_bytes()
                .strip_prefix(b"application/grpc")
                .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
        })
}

impl StreamRecord {
    /// A record of a connection that was just accepted, with nothing done yet.
    pub fn new(downstream: Rc<Downstream>) -> Self {
        let since = downstream.accepted.elapsed();
        let timing = Timing {
            start: downstream.accepted,
            start_time: SystemTime::now()
                .checked_sub(since)
                .unwrap_or(SystemTime::UNIX_EPOCH),
            request_end: None,
            upstream_start: None,
            upstream_end: None,
            response_start: None,
            response_end: None,
            end: None,
        };
        Self {
            downstream,
            timing,
            upstream: Upstream::default(),
            counts: Counts::default(),
            flags: Flags::NONE,
            details: Cow::Borrowed(""),
            termination: Cow::Borrowed(""),
            attempts: 0,
            route: Arc::default(),
            filter_chain: Arc::default(),
            cluster: None,
            cluster_plan: None,
            metadata: Metadata::default(),
            downstream_peer: None,
            upstream_peer: None,
        }
    }

    /// It is over.
    pub fn end(&mut self, now: Instant) {
        self.timing.end = Some(now.saturating_duration_since(self.timing.start));
    }
}

/// The gRPC status that an HTTP status stands for (gRPC: "HTTP to gRPC Status Code Mapping").
const fn from_http(status: u16) -> u16 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        // Envoy reads a 200 without a status as unknown too.
        _ => 2,
    }
}

const GRPC_STATUS: http::HeaderName = http::HeaderName::from_static("grpc-status");
