//! Numbers: the status, bytes, tries.

use carbyne_engine::http::{Request, Response};
use http::header;

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
            Self::RequestHeaderBytes => facts.request.map_or(0, request_bytes),
            Self::ResponseHeaderBytes => facts
                .response
                .map_or(0, |response| response_bytes(response, facts)),
            Self::ResponseTrailerBytes => bytes(facts.trailers),
        })
    }
}

/// What Envoy's header map of a request holds: pseudo-headers are in it, whatever the protocol.
fn request_bytes(request: &Request) -> u64 {
    let scheme = if request.secure == Some(true) { 5 } else { 4 };
    let pseudo = [
        (":method", request.method.as_str().len()),
        (":path", request.path.len()),
        (":scheme", scheme),
        (":authority", request.authority.len()),
    ];
    let pseudo: usize = pseudo
        .into_iter()
        .filter(|(_, length)| *length > 0)
        .map(|(name, length)| name.len() + length)
        .sum();
    (request.headers.byte_size() + pseudo) as u64
}

/// The same of a response. An empty answer of the proxy's own gets its length from the codec, after it was counted.
fn response_bytes(response: &Response, facts: &Facts<'_>) -> u64 {
    let asked = facts
        .upstream
        .is_some_and(|upstream| upstream.host.is_some());
    let added = !asked && response.headers.text(&header::CONTENT_LENGTH) == Some("0");
    let added = if added { "content-length0".len() } else { 0 };
    (response.headers.byte_size() + ":status200".len() - added) as u64
}
