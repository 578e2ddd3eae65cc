//! Envoy's attributes (docs: "Attributes") by their full names.

use std::borrow::Cow;
use std::sync::Arc;

use carbyne_engine::net::Address;
use carbyne_engine::tls::{CertificateFacts, Negotiated};
use http::HeaderName;
use http::header::{REFERER, USER_AGENT};

use super::value::Value;
use crate::observe::facts::Facts;
use crate::observe::peer::LocalNode;

/// A compiled attribute.
#[derive(Clone, Debug)]
pub(super) enum Attribute {
    /// Read by a function.
    Read(Read),
    /// `node`: the same for every request.
    Node(Arc<serde_json::Value>),
}

/// Reads an attribute; `None` where it is not there. A function pointer: the choice is made at plan time.
type Read = for<'a> fn(&Facts<'a>) -> Option<Value<'a>>;

impl Attribute {
    /// The longest attribute that a chain of names begins with, and how many names it takes.
    pub(super) fn find(names: &[&str], node: Option<&LocalNode>) -> Option<(Self, usize)> {
        if names.first() == Some(&"node") || names.get(..2) == Some(&["xds", "node"]) {
            let described = node.map_or(
                serde_json::Value::Null,
                |node| serde_json::json!({"id": &*node.id, "metadata": &node.metadata}),
            );
            return Some((
                Self::Node(Arc::new(described)),
                if names[0] == "node" { 1 } else { 2 },
            ));
        }
        let by = |length: usize| {
            let name = names.get(..length)?.join(".");
            let at = ATTRIBUTES
                .binary_search_by(|(known, _)| (*known).cmp(name.as_str()))
                .ok()?;
            Some((Self::Read(ATTRIBUTES[at].1), length))
        };
        by(2).or_else(|| by(1))
    }

    pub(super) fn value<'a>(&'a self, facts: &Facts<'a>) -> Option<Value<'a>> {
        match self {
            Self::Read(read) => read(facts),
            Self::Node(node) => node.as_object().map(Value::Object),
        }
    }
}

fn text(text: &str) -> Option<Value<'_>> {
    (!text.is_empty()).then_some(Value::Text(Cow::Borrowed(text)))
}

fn field<'a>(facts: &Facts<'a>, name: &HeaderName) -> Option<Value<'a>> {
    facts
        .request?
        .headers
        .get(name)
        .map(|value| Value::bytes(value.as_bytes()))
}

fn address(address: &Address) -> Value<'static> {
    Value::Text(Cow::Owned(address.to_string()))
}

fn port(address: &Address) -> Option<Value<'static>> {
    address
        .socket()
        .map(|socket| Value::Int(i64::from(socket.port())))
}

fn peer(tls: Option<&Negotiated>) -> Option<&CertificateFacts> {
    tls?.peer.as_deref()
}

fn local(tls: Option<&Negotiated>) -> Option<&CertificateFacts> {
    tls?.local.as_deref()
}

fn first(names: &[Box<str>]) -> Option<Value<'_>> {
    names.first().and_then(|name| text(name))
}

fn query<'a>(facts: &Facts<'a>) -> Option<Value<'a>> {
    Some(Value::bytes(facts.request?.query().unwrap_or_default()))
}

/// In the order of their names.
const ATTRIBUTES: &[(&str, Read)] = &[
    ("connection.dns_san_local_certificate", |facts| {
        first(&local(facts.downstream_tls())?.dns_sans)
    }),
    ("connection.dns_san_peer_certificate", |facts| {
        first(&peer(facts.downstream_tls())?.dns_sans)
    }),
    ("connection.id", |facts| {
        Some(Value::number(facts.downstream?.id))
    }),
    ("connection.mtls", |facts| {
        Some(Value::Bool(peer(facts.downstream_tls()).is_some()))
    }),
    ("connection.requested_server_name", |facts| {
        text(facts.downstream?.server_name.as_deref()?)
    }),
    ("connection.sha256_peer_certificate_digest", |facts| {
        text(&peer(facts.downstream_tls())?.fingerprint)
    }),
    ("connection.subject_local_certificate", |facts| {
        text(&local(facts.downstream_tls())?.subject)
    }),
    ("connection.subject_peer_certificate", |facts| {
        text(&peer(facts.downstream_tls())?.subject)
    }),
    ("connection.termination_details", |facts| {
        text(facts.termination)
    }),
    ("connection.tls_version", |facts| {
        text(facts.downstream_tls()?.version.as_str())
    }),
    ("connection.uri_san_local_certificate", |facts| {
        first(&local(facts.downstream_tls())?.uri_sans)
    }),
    ("connection.uri_san_peer_certificate", |facts| {
        first(&peer(facts.downstream_tls())?.uri_sans)
    }),
    ("destination.address", |facts| {
        Some(address(&facts.downstream?.local))
    }),
    ("destination.port", |facts| port(&facts.downstream?.local)),
    ("downstream_peer", |facts| {
        facts.downstream_peer.map(|peer| Value::Peer(peer))
    }),
    ("filter_state", |facts| {
        Some(Value::Peers(
            facts.upstream_peer.map(|peer| &**peer),
            facts.downstream_peer.map(|peer| &**peer),
        ))
    }),
    ("metadata.filter_metadata", |facts| {
        facts.metadata.map(Value::Metadata)
    }),
    ("request.duration", |facts| {
        Some(Value::Duration(facts.timing?.end?))
    }),
    ("request.headers", |facts| {
        Some(Value::Headers(&facts.request?.headers))
    }),
    ("request.host", |facts| {
        Some(Value::bytes(&facts.request?.authority))
    }),
    ("request.id", |facts| field(facts, &X_REQUEST_ID)),
    ("request.method", |facts| {
        text(facts.request?.method.as_str())
    }),
    ("request.path", |facts| {
        Some(Value::bytes(&facts.request?.path))
    }),
    ("request.protocol", |facts| {
        text(protocol(facts.request?.version)?)
    }),
    ("request.query", query),
    ("request.referer", |facts| field(facts, &REFERER)),
    ("request.scheme", |facts| {
        text(if facts.request?.secure == Some(true) {
            "https"
        } else {
            "http"
        })
    }),
    ("request.size", |facts| {
        Some(Value::number(facts.counts.received))
    }),
    ("request.total_size", |facts| {
        Some(Value::number(facts.counts.wire_received))
    }),
    ("request.url_path", |facts| {
        Some(Value::bytes(facts.request?.path_only()))
    }),
    ("request.useragent", |facts| field(facts, &USER_AGENT)),
    ("response.backend_latency", |facts| {
        Some(Value::Duration(
            facts
                .timing?
                .response_end?
                .checked_sub(facts.timing?.upstream_start?)?,
        ))
    }),
    ("response.code", |facts| {
        Some(Value::Int(i64::from(facts.response?.status.as_u16())))
    }),
    ("response.code_details", |facts| text(facts.details)),
    ("response.flags", |facts| {
        Some(Value::Int(i64::from(facts.flags.bits())))
    }),
    ("response.grpc_status", |facts| {
        Some(Value::Int(i64::from(facts.grpc_status()?)))
    }),
    ("response.headers", |facts| {
        Some(Value::Headers(&facts.response?.headers))
    }),
    ("response.size", |facts| {
        Some(Value::number(facts.counts.sent))
    }),
    ("response.total_size", |facts| {
        Some(Value::number(facts.counts.wire_sent))
    }),
    ("response.trailers", |facts| {
        facts.trailers.map(Value::Headers)
    }),
    ("source.address", |facts| Some(address(&facts.remote()?))),
    ("source.port", |facts| port(&facts.remote()?)),
    ("upstream.address", |facts| {
        text(&facts.upstream?.host.as_ref()?.address_text)
    }),
    ("upstream.dns_san_peer_certificate", |facts| {
        first(&peer(facts.upstream_tls())?.dns_sans)
    }),
    ("upstream.local_address", |facts| {
        Some(address(facts.upstream?.local.as_ref()?))
    }),
    ("upstream.port", |facts| {
        port(&facts.upstream?.host.as_ref()?.address)
    }),
    ("upstream.request_attempt_count", |facts| {
        Some(Value::Int(i64::from(facts.attempts)))
    }),
    ("upstream.sha256_peer_certificate_digest", |facts| {
        text(&peer(facts.upstream_tls())?.fingerprint)
    }),
    ("upstream.subject_local_certificate", |facts| {
        text(&local(facts.upstream_tls())?.subject)
    }),
    ("upstream.subject_peer_certificate", |facts| {
        text(&peer(facts.upstream_tls())?.subject)
    }),
    ("upstream.tls_version", |facts| {
        text(facts.upstream_tls()?.version.as_str())
    }),
    ("upstream.transport_failure_reason", |facts| {
        text(facts.upstream?.failure.as_deref()?)
    }),
    ("upstream.uri_san_local_certificate", |facts| {
        first(&local(facts.upstream_tls())?.uri_sans)
    }),
    ("upstream.uri_san_peer_certificate", |facts| {
        first(&peer(facts.upstream_tls())?.uri_sans)
    }),
    ("upstream_peer", |facts| {
        facts.upstream_peer.map(|peer| Value::Peer(peer))
    }),
    ("xds.cluster_metadata", |facts| {
        facts.cluster_plan?.metadata.as_deref().map(Value::Json)
    }),
    ("xds.cluster_name", |facts| text(facts.cluster?)),
    ("xds.route_metadata", |facts| {
        facts
            .context?
            .route
            .as_ref()?
            .metadata
            .as_deref()
            .map(Value::Json)
    }),
    ("xds.route_name", |facts| text(facts.route)),
    ("xds.upstream_host_metadata", |facts| {
        facts.endpoint()?.metadata.as_deref().map(Value::Json)
    }),
    ("xds.virtual_host_name", |facts| {
        text(facts.context?.virtual_host.as_deref()?)
    }),
];

const fn protocol(version: http::Version) -> Option<&'static str> {
    Some(match version {
        http::Version::HTTP_10 => "HTTP/1.0",
        http::Version::HTTP_11 => "HTTP/1.1",
        http::Version::HTTP_2 => "HTTP/2",
        _ => return None,
    })
}

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order() {
        assert!(ATTRIBUTES.is_sorted_by_key(|(name, _)| *name));
    }
}
