//! Texts that the exchange knows by name.

use carbyne_engine::forward::Protocol;

use super::put;
use crate::observe::facts::Facts;

/// Texts.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum Fact {
    Protocol,
    Details,
    Flags,
    FlagsLong,
    Host,
    HostName,
    HostNameWithoutPort,
    Cluster,
    ClusterRaw,
    ServerName,
    FilterChain,
    Route,
    VirtualHost,
    Failure,
    Termination,
    RequestId,
    TraceId,
    SpanId,
    LogType,
    UpstreamProtocol,
}

impl Fact {
    /// Appends the text; false where there is none.
    pub(super) fn write(self, facts: &Facts<'_>, out: &mut Vec<u8>) -> bool {
        let host = || facts.upstream?.host.as_deref();
        let text: Option<&str> =
            match self {
                Self::Protocol => facts
                    .protocol
                    .or_else(|| facts.request.map(|request| request.version))
                    .and_then(protocol),
                Self::Flags => {
                    facts.flags.write_short(out);
                    return true;
                }
                Self::FlagsLong => {
                    facts.flags.write_long(out);
                    return true;
                }
                // Spaces would make columns of one.
                Self::Details => return put_without_spaces(facts.details, out),
                Self::Termination => return put_without_spaces(facts.termination, out),
                Self::Failure => {
                    return facts
                        .upstream
                        .and_then(|upstream| upstream.failure.as_deref())
                        .is_some_and(|reason| put_without_spaces(reason, out));
                }
                Self::Host => host().map(|host| &*host.address_text),
                Self::HostName => host().map(|host| {
                    if host.hostname.is_empty() {
                        &*host.address_text
                    } else {
                        &*host.hostname
                    }
                }),
                Self::HostNameWithoutPort => host().map(|host| {
                    let name = if host.hostname.is_empty() {
                        &*host.address_text
                    } else {
                        &*host.hostname
                    };
                    name.rsplit_once(':').map_or(name, |(name, _)| name)
                }),
                Self::Cluster => facts
                    .cluster_plan
                    .map(|cluster| &*cluster.alt_stat_name)
                    .filter(|name| !name.is_empty())
                    .or(facts.cluster),
                Self::ClusterRaw => facts.cluster,
                Self::ServerName => facts
                    .downstream
                    .and_then(|downstream| downstream.server_name.as_deref()),
                Self::FilterChain => Some(facts.filter_chain),
                Self::Route => Some(facts.route),
                Self::VirtualHost => facts
                    .context
                    .and_then(|context| context.virtual_host.as_deref()),
                Self::RequestId => facts
                    .request
                    .and_then(|request| request.headers.text(&X_REQUEST_ID)),
                Self::TraceId => {
                    return facts
                        .context
                        .and_then(|context| context.span.as_deref())
                        .map(|span| span.context().write_trace_id(out))
                        .is_some();
                }
                Self::SpanId => {
                    return facts
                        .context
                        .and_then(|context| context.span.as_deref())
                        .map(|span| span.context().write_span_id(out))
                        .is_some();
                }
                Self::UpstreamProtocol => facts
                    .upstream
                    .and_then(|upstream| upstream.protocol)
                    .map(|spoken| match spoken {
                        Protocol::Http1 => "HTTP/1.1",
                        Protocol::Http2 => "HTTP/2",
                    }),
                Self::LogType => Some(if facts.is_stream {
                    "TcpConnectionEnd"
                } else {
                    "DownstreamEnd"
                }),
            };
        text.is_some_and(|text| put(out, text.as_bytes()))
    }
}

/// Envoy's name of a version.
pub(super) fn protocol(version: http::Version) -> Option<&'static str> {
    Some(match version {
        http::Version::HTTP_10 => "HTTP/1.0",
        http::Version::HTTP_11 => "HTTP/1.1",
        http::Version::HTTP_2 => "HTTP/2",
        _ => return None,
    })
}

fn put_without_spaces(text: &str, out: &mut Vec<u8>) -> bool {
    out.extend(text.bytes().map(|byte| {
        if byte.is_ascii_whitespace() {
            b'_'
        } else {
            byte
        }
    }));
    !text.is_empty()
}

const X_REQUEST_ID: http::HeaderName = http::HeaderName::from_static("x-request-id");
