//! Numbers: the status, bytes, tries.

use crate::observe::facts::Facts;

/// Numbers.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum Count {
    Status,
    Received,
    Sent,
    WireReceived,
    WireSent,
    UpstreamReceived,
    UpstreamSent,
    Attempts,
    ConnectionId,
    RequestHeaderBytes,
    ResponseHeaderBytes,
    ResponseTrailerBytes,
}

impl Count {
    /// The number; none where there is none to tell.
    pub(super) fn of(self, facts: &Facts<'_>) -> Option<u64> {
        let bytes = |headers: Option<&carbyne_engine::http::Headers>| {
            headers.map_or(0, |headers| headers.byte_size() as u64)
        };
        Some(match self {
            // Envoy prints 0 where no response was sent.
            Self::Status => u64::from(facts.status()),
            Self::Received => facts.counts.received,
            Self::Sent => facts.counts.sent,
            Self::WireReceived => facts.counts.wire_received,
            Self::WireSent => facts.counts.wire_sent,
            Self::UpstreamReceived => facts.counts.upstream_received,
            Self::UpstreamSent => facts.counts.upstream_sent,
            Self::Attempts => u64::from(facts.attempts),
            Self::ConnectionId => facts.downstream?.id,
            Self::RequestHeaderBytes => bytes(facts.request.map(|request| &request.headers)),
            Self::ResponseHeaderBytes => bytes(facts.response.map(|response| &response.headers)),
            Self::ResponseTrailerBytes => bytes(facts.trailers),
        })
    }
}
