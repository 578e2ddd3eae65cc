//! What an operator tells of the facts.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::TimeFormat;
use super::value::{About, FieldValue, Holder, Moment, Portion, Side, Whose, number, put};
use crate::live::matcher::HeaderField;
use crate::observe::cel::Expression;
use crate::observe::facts::Facts;
use crate::observe::peer::Peer;

/// A compiled operator.
#[derive(Clone, Debug)]
pub(super) enum Operator {
    /// Known at plan time: host name, environment. Empty is none.
    Constant(Box<[u8]>),
    /// A fact that this proxy does not keep; always none.
    Absent,
    Field(FieldValue),
    QueryParameter(Box<[u8]>),
    Path {
        original: Original,
        query: bool,
    },
    Address(Whose, Portion),
    Certificate(Holder, About),
    TlsVersion(Holder),
    TlsCipher(Holder),
    Time(Point, TimeFormat),
    Interval {
        from: Moment,
        to: Moment,
        unit: Unit,
    },
    Count(Count),
    Fact(Fact),
    GrpcStatus(GrpcForm),
    Metadata {
        source: MetadataSource,
        namespace: Box<str>,
        path: Box<[Box<str>]>,
    },
    Peer {
        upstream: bool,
        form: PeerForm,
    },
    Cel(Box<Expression>),
}

/// Which path `PATH` means.
#[derive(Clone, Copy, Debug)]
pub(super) enum Original {
    /// What the client asked for, before rewrites.
    Only,
    /// What is sent on.
    Never,
    /// The former where it was rewritten.
    Prefer,
}

/// A point in time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Point {
    Start,
    Now,
}

/// How fine an interval is told.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unit {
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

/// Numbers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Count {
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

/// Texts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fact {
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
}

/// How the gRPC status is told.
#[derive(Clone, Copy, Debug)]
pub(super) enum GrpcForm {
    Camel,
    Snake,
    Number,
}

/// Where metadata is taken from.
#[derive(Clone, Copy, Debug)]
pub enum MetadataSource {
    /// What filters wrote.
    Dynamic,
    /// The cluster's.
    Cluster,
    /// The route's.
    Route,
    /// The host's.
    Endpoint,
}

/// How a workload is told.
#[derive(Clone, Debug)]
pub(super) enum PeerForm {
    Plain,
    Typed,
    Field(Box<str>),
}

/// What JSON makes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Text,
    Number,
    /// Its own affair.
    Any,
}

/// Why a spelling is no operator.
#[derive(Debug)]
pub(super) enum Problem {
    Unknown,
    Argument(String),
}

impl Operator {
    /// Compiles `%NAME(ARGUMENT)%`.
    pub(super) fn parse(
        name: &str,
        argument: Option<&str>,
        limited: bool,
    ) -> Result<Self, Problem> {
        let operator = Self::with_argument(name, argument).map_err(Problem::Argument)?;
        if let Some((operator, takes_limit)) = operator {
            return if limited && !takes_limit {
                Err(Problem::Argument("it takes no length".to_owned()))
            } else {
                Ok(operator)
            };
        }
        let operator = plain(name).ok_or(Problem::Unknown)?;
        if argument.is_some_and(|argument| !argument.is_empty()) {
            return Err(Problem::Argument("it takes no parameter".to_owned()));
        }
        if limited {
            return Err(Problem::Argument("it takes no length".to_owned()));
        }
        Ok(operator)
    }

    /// Those with a parameter, and whether a length may follow.
    fn with_argument(name: &str, argument: Option<&str>) -> Result<Option<(Self, bool)>, String> {
        let text = argument.unwrap_or_default();
        let field =
            |side, without_query| FieldValue::parse(side, argument, without_query).map(Self::Field);
        let time = || {
            if text.is_empty() {
                Ok(TimeFormat::iso())
            } else {
                TimeFormat::parse(text)
            }
        };
        let operator = match name {
            "REQ" | "REQUEST_HEADER" => (field(Side::Request, false)?, true),
            "RESP" | "RESPONSE_HEADER" => (field(Side::Response, false)?, true),
            "TRAILER" | "RESPONSE_TRAILER" => (field(Side::Trailers, false)?, true),
            "REQ_WITHOUT_QUERY" => (field(Side::Request, true)?, true),
            "QUERY_PARAM" if !text.is_empty() => {
                (Self::QueryParameter(text.as_bytes().into()), true)
            }
            "QUERY_PARAM" => {
                return Err("expected the name of a query parameter in parentheses".to_owned());
            }
            "PATH" => (path(text)?, true),
            "START_TIME" => (Self::Time(Point::Start, time()?), false),
            "EMIT_TIME" => (Self::Time(Point::Now, time()?), false),
            "ENVIRONMENT" if !text.is_empty() => (
                Self::Constant(std::env::var(text).unwrap_or_default().into_bytes().into()),
                true,
            ),
            "ENVIRONMENT" => {
                return Err("expected the name of a variable in parentheses".to_owned());
            }
            "COMMON_DURATION" => (interval(text)?, false),
            "GRPC_STATUS" => (
                Self::GrpcStatus(match text {
                    "" | "CAMEL_STRING" => GrpcForm::Camel,
                    "SNAKE_STRING" => GrpcForm::Snake,
                    "NUMBER" => GrpcForm::Number,
                    other => {
                        return Err(format!(
                            "expected CAMEL_STRING, SNAKE_STRING or NUMBER, found `{other}`"
                        ));
                    }
                }),
                false,
            ),
            "DYNAMIC_METADATA" => (metadata(MetadataSource::Dynamic, text)?, true),
            "CLUSTER_METADATA" => (metadata(MetadataSource::Cluster, text)?, true),
            "UPSTREAM_METADATA" => (metadata(MetadataSource::Endpoint, text)?, true),
            "METADATA" => {
                let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
                let source = match kind {
                    "DYNAMIC" => MetadataSource::Dynamic,
                    "CLUSTER" => MetadataSource::Cluster,
                    "ROUTE" => MetadataSource::Route,
                    "UPSTREAM_HOST" => MetadataSource::Endpoint,
                    // The listener's and the virtual host's are not kept.
                    "LISTENER" | "LISTENER_FILTER_CHAIN" | "VIRTUAL_HOST" => {
                        return Ok(Some((Self::Absent, true)));
                    }
                    other => {
                        return Err(format!(
                            "expected DYNAMIC, CLUSTER, ROUTE or UPSTREAM_HOST, found `{other}`"
                        ));
                    }
                };
                (metadata(source, rest)?, true)
            }
            "CEL" => (
                Expression::parse(text)
                    .map(|expression| Self::Cel(Box::new(expression)))
                    .map_err(|error| error.to_string())?,
                true,
            ),
            "FILTER_STATE" | "UPSTREAM_FILTER_STATE" => (filter_state(text)?, true),
            "RESPONSE_CODE_DETAILS" if matches!(text, "" | "ALLOW_WHITESPACES") => {
                (Self::Fact(Fact::Details), false)
            }
            "DOWNSTREAM_PEER_CERT_V_START" | "UPSTREAM_PEER_CERT_V_START" => (
                Self::Certificate(peer(name), About::NotBefore(time()?)),
                false,
            ),
            "DOWNSTREAM_PEER_CERT_V_END" | "UPSTREAM_PEER_CERT_V_END" => (
                Self::Certificate(peer(name), About::NotAfter(time()?)),
                false,
            ),
            _ => return Ok(None),
        };
        Ok(Some(operator))
    }

    /// What JSON makes of it.
    pub(super) const fn shape(&self) -> Shape {
        match self {
            Self::Interval { .. }
            | Self::Count(_)
            | Self::Address(_, Portion::Port)
            | Self::GrpcStatus(GrpcForm::Number) => Shape::Number,
            Self::Metadata { .. }
            | Self::Peer {
                form: PeerForm::Typed,
                ..
            } => Shape::Any,
            _ => Shape::Text,
        }
    }

    /// Appends the value as text; false where there is none.
    pub(super) fn write(&self, facts: &Facts<'_>, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Constant(text) => put(out, text),
            Self::Absent => false,
            Self::Field(field) => field.write(facts, out),
            Self::QueryParameter(name) => {
                query_parameter(facts, name).is_some_and(|value| put(out, value))
            }
            Self::Path { original, query } => write_path(facts, *original, *query, out),
            Self::Address(whose, portion) => whose.write(*portion, facts, out),
            Self::Certificate(holder, about) => holder
                .certificate(facts)
                .is_some_and(|certificate| about.write(certificate, out)),
            Self::TlsVersion(holder) => holder
                .tls(facts)
                .is_some_and(|tls| put(out, tls.version.as_str().as_bytes())),
            Self::TlsCipher(holder) => holder
                .tls(facts)
                .is_some_and(|tls| put(out, tls.cipher.as_bytes())),
            Self::Time(point, format) => {
                let time = match point {
                    Point::Start => facts.timing.map(|timing| timing.start_time),
                    Point::Now => Some(SystemTime::now()),
                };
                time.map(|time| format.write(time, out)).is_some()
            }
            Self::Interval { from, to, unit } => {
                let interval = from
                    .of(facts)
                    .zip(to.of(facts))
                    .and_then(|(from, to)| to.checked_sub(from));
                interval.is_some_and(|interval| number(out, unit.of(interval)))
            }
            Self::Count(count) => count.of(facts).is_some_and(|value| number(out, value)),
            Self::Fact(fact) => fact.write(facts, out),
            Self::GrpcStatus(form) => write_grpc_status(facts, *form, out),
            Self::Metadata {
                source,
                namespace,
                path,
            } => match metadata_value(facts, *source, namespace, path) {
                Metadata::None => false,
                Metadata::Value(Value::String(text)) => {
                    out.extend_from_slice(text.as_bytes());
                    true
                }
                Metadata::Value(value) => serde_json::to_writer(&mut *out, value).is_ok(),
                Metadata::Object(object) => serde_json::to_writer(&mut *out, object).is_ok(),
            },
            Self::Cel(expression) => expression.write(facts, out),
            Self::Peer { upstream, form } => {
                peer_of(facts, *upstream).is_some_and(|peer| match form {
                    PeerForm::Plain => {
                        peer.write_pairs(out);
                        true
                    }
                    PeerForm::Typed => serde_json::to_writer(&mut *out, &peer.to_json()).is_ok(),
                    PeerForm::Field(name) => peer
                        .field(name)
                        .is_some_and(|value| put(out, value.as_bytes())),
                })
            }
        }
    }

    /// Appends the value as JSON, for those of [`Shape::Any`]; false where there is none.
    pub(super) fn write_json(&self, facts: &Facts<'_>, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Metadata {
                source,
                namespace,
                path,
            } => match metadata_value(facts, *source, namespace, path) {
                Metadata::None => false,
                Metadata::Value(value) => serde_json::to_writer(&mut *out, value).is_ok(),
                Metadata::Object(object) => serde_json::to_writer(&mut *out, object).is_ok(),
            },
            _ => self.write(facts, out),
        }
    }
}

/// Those without a parameter.
fn plain(name: &str) -> Option<Operator> {
    use Operator as O;
    const fn interval(from: Moment, to: Moment) -> Operator {
        O::Interval {
            from,
            to,
            unit: Unit::Milliseconds,
        }
    }
    if let Some(operator) = address(name).or_else(|| certificate(name)) {
        return Some(operator);
    }
    Some(match name {
        "PROTOCOL" => O::Fact(Fact::Protocol),
        "RESPONSE_CODE" => O::Count(Count::Status),
        "RESPONSE_FLAGS" => O::Fact(Fact::Flags),
        "RESPONSE_FLAGS_LONG" => O::Fact(Fact::FlagsLong),
        "BYTES_RECEIVED" => O::Count(Count::Received),
        "BYTES_SENT" => O::Count(Count::Sent),
        "DOWNSTREAM_WIRE_BYTES_RECEIVED" => O::Count(Count::WireReceived),
        "DOWNSTREAM_WIRE_BYTES_SENT" => O::Count(Count::WireSent),
        "UPSTREAM_WIRE_BYTES_RECEIVED" => O::Count(Count::UpstreamReceived),
        "UPSTREAM_WIRE_BYTES_SENT" => O::Count(Count::UpstreamSent),
        "REQUEST_HEADERS_BYTES" => O::Count(Count::RequestHeaderBytes),
        "RESPONSE_HEADERS_BYTES" => O::Count(Count::ResponseHeaderBytes),
        "RESPONSE_TRAILERS_BYTES" => O::Count(Count::ResponseTrailerBytes),
        "DURATION" => interval(Moment::Start, Moment::End),
        "REQUEST_DURATION" => interval(Moment::Start, Moment::RequestEnd),
        "REQUEST_TX_DURATION" => interval(Moment::Start, Moment::UpstreamEnd),
        "RESPONSE_DURATION" => interval(Moment::Start, Moment::ResponseStart),
        "RESPONSE_TX_DURATION" => interval(Moment::ResponseStart, Moment::End),
        "UPSTREAM_HOST" => O::Fact(Fact::Host),
        "UPSTREAM_HOST_NAME" => O::Fact(Fact::HostName),
        "UPSTREAM_HOST_NAME_WITHOUT_PORT" => O::Fact(Fact::HostNameWithoutPort),
        "UPSTREAM_CLUSTER" => O::Fact(Fact::Cluster),
        "UPSTREAM_CLUSTER_RAW" => O::Fact(Fact::ClusterRaw),
        "UPSTREAM_REQUEST_ATTEMPT_COUNT" => O::Count(Count::Attempts),
        "UPSTREAM_TRANSPORT_FAILURE_REASON" => O::Fact(Fact::Failure),
        "REQUESTED_SERVER_NAME" => O::Fact(Fact::ServerName),
        "FILTER_CHAIN_NAME" => O::Fact(Fact::FilterChain),
        "ROUTE_NAME" => O::Fact(Fact::Route),
        "VIRTUAL_HOST_NAME" => O::Fact(Fact::VirtualHost),
        "CONNECTION_TERMINATION_DETAILS" => O::Fact(Fact::Termination),
        "CONNECTION_ID" => O::Count(Count::ConnectionId),
        "STREAM_ID" => O::Fact(Fact::RequestId),
        "TRACE_ID" => O::Fact(Fact::TraceId),
        "SPAN_ID" => O::Fact(Fact::SpanId),
        "ACCESS_LOG_TYPE" => O::Fact(Fact::LogType),
        "GRPC_STATUS_NUMBER" => O::GrpcStatus(GrpcForm::Number),
        "HOSTNAME" => O::Constant(host_name().into_bytes().into()),
        // Served by Envoy from facts that this proxy does not keep: they print as missing.
        "DOWNSTREAM_TLS_SESSION_ID"
        | "UPSTREAM_TLS_SESSION_ID"
        | "DOWNSTREAM_PEER_FINGERPRINT_1"
        | "DOWNSTREAM_PEER_CERT_CHAIN_FINGERPRINTS_256"
        | "UPSTREAM_CONNECTION_ID"
        | "UPSTREAM_HEADER_BYTES_SENT"
        | "UPSTREAM_HEADER_BYTES_RECEIVED"
        | "DOWNSTREAM_HEADER_BYTES_SENT"
        | "DOWNSTREAM_HEADER_BYTES_RECEIVED"
        | "UPSTREAM_PROTOCOL"
        | "UPSTREAM_CONNECTION_POOL_READY_DURATION"
        | "DOWNSTREAM_TRANSPORT_FAILURE_REASON"
        | "VIRTUAL_CLUSTER_NAME"
        | "ROUNDTRIP_DURATION"
        | "DOWNSTREAM_HANDSHAKE_DURATION"
        | "TLS_JA3_FINGERPRINT"
        | "TLS_JA4_FINGERPRINT"
        | "DOWNSTREAM_PEER_CHAIN_SERIALS"
        | "DOWNSTREAM_LOCAL_CLOSE_REASON"
        | "UPSTREAM_LOCAL_CLOSE_REASON"
        | "UPSTREAM_DETECTED_CLOSE_TYPE"
        | "DOWNSTREAM_DETECTED_CLOSE_TYPE"
        | "BYTES_RETRANSMITTED"
        | "PACKETS_RETRANSMITTED"
        | "UNIQUE_ID"
        | "LOCAL_REPLY_BODY" => O::Absent,
        _ => return None,
    })
}

/// `DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT` and its like.
fn address(name: &str) -> Option<Operator> {
    let (stem, portion) = if let Some(stem) = name.strip_suffix("_ADDRESS_WITHOUT_PORT") {
        (stem, Portion::WithoutPort)
    } else if let Some(stem) = name.strip_suffix("_ADDRESS") {
        (stem, Portion::Whole)
    } else {
        (name.strip_suffix("_PORT")?, Portion::Port)
    };
    let whose = match stem {
        // Interception by redirect leaves no other local address than the original one.
        "DOWNSTREAM_LOCAL" | "DOWNSTREAM_DIRECT_LOCAL" => Whose::DownstreamLocal,
        "DOWNSTREAM_REMOTE" => Whose::DownstreamRemote,
        "DOWNSTREAM_DIRECT_REMOTE" => Whose::DownstreamDirectRemote,
        "UPSTREAM_LOCAL" => Whose::UpstreamLocal,
        "UPSTREAM_REMOTE" => Whose::UpstreamRemote,
        _ => return None,
    };
    Some(Operator::Address(whose, portion))
}

fn peer(name: &str) -> Holder {
    Holder {
        upstream: name.starts_with("UPSTREAM"),
        local: false,
    }
}

/// `DOWNSTREAM_PEER_URI_SAN` and its like.
fn certificate(name: &str) -> Option<Operator> {
    let (upstream, rest) = match name.strip_prefix("DOWNSTREAM_") {
        Some(rest) => (false, rest),
        None => (true, name.strip_prefix("UPSTREAM_")?),
    };
    let (local, rest) = match rest.strip_prefix("PEER_") {
        Some(rest) => (false, rest),
        None => match rest.strip_prefix("LOCAL_") {
            Some(rest) => (true, rest),
            None => {
                let holder = Holder {
                    upstream,
                    local: false,
                };
                return match rest {
                    "TLS_VERSION" => Some(Operator::TlsVersion(holder)),
                    "TLS_CIPHER" => Some(Operator::TlsCipher(holder)),
                    _ => None,
                };
            }
        },
    };
    let about = match rest {
        "URI_SAN" => About::UriSan,
        "DNS_SAN" => About::DnsSan,
        "IP_SAN" => About::IpSan,
        "EMAIL_SAN" => About::EmailSan,
        "SUBJECT" => About::Subject,
        "ISSUER" => About::Issuer,
        "SERIAL" => About::Serial,
        "FINGERPRINT_256" => About::Fingerprint256,
        "CERT" => About::Pem,
        _ => return None,
    };
    Some(Operator::Certificate(Holder { upstream, local }, about))
}

/// `PATH(WQ|NQ:ORIG|PATH|ORIG_OR_PATH)`.
fn path(argument: &str) -> Result<Operator, String> {
    let (query, original) = argument.split_once(':').unwrap_or((argument, ""));
    let query = match query {
        "" | "WQ" => true,
        "NQ" => false,
        other => return Err(format!("expected WQ or NQ, found `{other}`")),
    };
    let original = match original {
        "" | "ORIG_OR_PATH" => Original::Prefer,
        "ORIG" => Original::Only,
        "PATH" => Original::Never,
        other => {
            return Err(format!(
                "expected ORIG, PATH or ORIG_OR_PATH, found `{other}`"
            ));
        }
    };
    Ok(Operator::Path { original, query })
}

/// `COMMON_DURATION(FROM:TO:UNIT)`.
fn interval(argument: &str) -> Result<Operator, String> {
    let mut parts = argument.split(':');
    let mut moment = || {
        let name = parts.next().unwrap_or_default();
        Moment::parse(name).ok_or_else(|| format!("`{name}` is not a point in time that is served (DS_RX_BEG, DS_RX_END, US_TX_BEG, US_TX_END, US_RX_BEG, US_RX_END, DS_TX_END)"))
    };
    let (from, to) = (moment()?, moment()?);
    let unit = match parts.next() {
        None | Some("ms") => Unit::Milliseconds,
        Some("us") => Unit::Microseconds,
        Some("ns") => Unit::Nanoseconds,
        Some(other) => return Err(format!("expected ms, us or ns, found `{other}`")),
    };
    Ok(Operator::Interval { from, to, unit })
}

/// `NAMESPACE:KEY:KEY`.
fn metadata(source: MetadataSource, argument: &str) -> Result<Operator, String> {
    let mut keys = argument.split(':');
    let namespace = keys
        .next()
        .filter(|namespace| !namespace.is_empty())
        .ok_or("expected the name of a filter in parentheses")?;
    Ok(Operator::Metadata {
        source,
        namespace: namespace.into(),
        path: keys.map(Box::from).collect(),
    })
}

/// `KEY:PLAIN`, `KEY:TYPED`, `KEY:FIELD:NAME`. Of Envoy's filter state there are the peers of metadata exchange; other keys are never there.
fn filter_state(argument: &str) -> Result<Operator, String> {
    let mut parts = argument.split(':');
    let key = parts
        .next()
        .filter(|key| !key.is_empty())
        .ok_or("expected a key in parentheses")?;
    let form = match parts.next() {
        None | Some("TYPED") => PeerForm::Typed,
        Some("PLAIN") => PeerForm::Plain,
        Some("FIELD") => PeerForm::Field(
            parts
                .next()
                .filter(|name| !name.is_empty())
                .ok_or("expected the name of a field after FIELD")?
                .into(),
        ),
        Some(other) => return Err(format!("expected PLAIN, TYPED or FIELD, found `{other}`")),
    };
    Ok(match key {
        "upstream_peer" | "wasm.upstream_peer" => Operator::Peer {
            upstream: true,
            form,
        },
        "downstream_peer" | "wasm.downstream_peer" => Operator::Peer {
            upstream: false,
            form,
        },
        _ => Operator::Absent,
    })
}

fn peer_of<'a>(facts: &Facts<'a>, upstream: bool) -> Option<&'a Peer> {
    if upstream {
        facts.upstream_peer
    } else {
        facts.downstream_peer
    }
    .map(|peer| &**peer)
}

impl Unit {
    fn of(self, interval: Duration) -> u64 {
        let value = match self {
            Self::Milliseconds => interval.as_millis(),
            Self::Microseconds => interval.as_micros(),
            Self::Nanoseconds => interval.as_nanos(),
        };
        u64::try_from(value).unwrap_or(u64::MAX)
    }
}

impl Count {
    fn of(self, facts: &Facts<'_>) -> Option<u64> {
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

impl Fact {
    fn write(self, facts: &Facts<'_>, out: &mut Vec<u8>) -> bool {
        let host = || facts.upstream?.host.as_deref();
        let text: Option<&str> = match self {
            Self::Protocol => facts.request.and_then(|request| protocol(request.version)),
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
            Self::LogType => Some(if facts.is_stream {
                "TcpConnectionEnd"
            } else {
                "DownstreamEnd"
            }),
        };
        text.is_some_and(|text| put(out, text.as_bytes()))
    }
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

/// Envoy's name of a version.
pub(super) fn protocol(version: http::Version) -> Option<&'static str> {
    Some(match version {
        http::Version::HTTP_10 => "HTTP/1.0",
        http::Version::HTTP_11 => "HTTP/1.1",
        http::Version::HTTP_2 => "HTTP/2",
        _ => return None,
    })
}

fn write_path(facts: &Facts<'_>, original: Original, query: bool, out: &mut Vec<u8>) -> bool {
    let Some(request) = facts.request else {
        return false;
    };
    let asked = || {
        request
            .headers
            .get(&X_ENVOY_ORIGINAL_PATH)
            .map(http::HeaderValue::as_bytes)
    };
    let path = match original {
        Original::Only => asked(),
        Original::Never => HeaderField::Path.first(request),
        Original::Prefer => asked().or_else(|| HeaderField::Path.first(request)),
    };
    let Some(path) = path else { return false };
    let end = if query {
        path.len()
    } else {
        memchr::memchr(b'?', path).unwrap_or(path.len())
    };
    put(out, &path[..end])
}

fn query_parameter<'a>(facts: &Facts<'a>, name: &[u8]) -> Option<&'a [u8]> {
    facts
        .request?
        .query()?
        .split(|byte| *byte == b'&')
        .find_map(|pair| {
            let rest = pair.strip_prefix(name)?;
            rest.strip_prefix(b"=")
                .or_else(|| rest.is_empty().then_some(rest))
        })
}

fn write_grpc_status(facts: &Facts<'_>, form: GrpcForm, out: &mut Vec<u8>) -> bool {
    if !facts.is_grpc() {
        return false;
    }
    let Some(status) = facts.grpc_status() else {
        return false;
    };
    let names = GRPC_STATUSES.get(usize::from(status));
    match (form, names) {
        (GrpcForm::Camel, Some((camel, _))) => put(out, camel.as_bytes()),
        (GrpcForm::Snake, Some((_, snake))) => put(out, snake.as_bytes()),
        // Numbers without a name print as they are.
        _ => number(out, status),
    }
}

enum Metadata<'a> {
    None,
    Value(&'a Value),
    Object(&'a serde_json::Map<String, Value>),
}

fn metadata_value<'a>(
    facts: &Facts<'a>,
    source: MetadataSource,
    namespace: &str,
    path: &[Box<str>],
) -> Metadata<'a> {
    let below = |root: Option<&'a Value>| {
        let found = path
            .iter()
            .try_fold(root.and_then(|root| root.get(namespace))?, |value, key| {
                value.get(&**key)
            })?;
        (!found.is_null()).then_some(found)
    };
    let value = match source {
        MetadataSource::Dynamic => {
            let Some(metadata) = facts.metadata else {
                return Metadata::None;
            };
            if path.is_empty() {
                return metadata
                    .namespace(namespace)
                    .map_or(Metadata::None, Metadata::Object);
            }
            metadata
                .value(namespace, path.iter().map(|key| &**key))
                .filter(|value| !value.is_null())
        }
        MetadataSource::Cluster => below(
            facts
                .cluster_plan
                .and_then(|cluster| cluster.metadata.as_deref()),
        ),
        MetadataSource::Route => below(
            facts
                .context
                .and_then(|context| context.route.as_ref())
                .and_then(|route| route.metadata.as_deref()),
        ),
        MetadataSource::Endpoint => below(
            facts
                .endpoint()
                .and_then(|endpoint| endpoint.metadata.as_deref()),
        ),
    };
    value.map_or(Metadata::None, Metadata::Value)
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map_or_else(
        |_| std::env::var("HOSTNAME").unwrap_or_default(),
        |name| name.trim_end().to_owned(),
    )
}

const GRPC_STATUSES: [(&str, &str); 17] = [
    ("OK", "OK"),
    ("Canceled", "CANCELLED"),
    ("Unknown", "UNKNOWN"),
    ("InvalidArgument", "INVALID_ARGUMENT"),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
    ("NotFound", "NOT_FOUND"),
    ("AlreadyExists", "ALREADY_EXISTS"),
    ("PermissionDenied", "PERMISSION_DENIED"),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
    ("FailedPrecondition", "FAILED_PRECONDITION"),
    ("Aborted", "ABORTED"),
    ("OutOfRange", "OUT_OF_RANGE"),
    ("Unimplemented", "UNIMPLEMENTED"),
    ("Internal", "INTERNAL"),
    ("Unavailable", "UNAVAILABLE"),
    ("DataLoss", "DATA_LOSS"),
    ("Unauthenticated", "UNAUTHENTICATED"),
];
const X_REQUEST_ID: http::HeaderName = http::HeaderName::from_static("x-request-id");
const X_ENVOY_ORIGINAL_PATH: http::HeaderName =
    http::HeaderName::from_static("x-envoy-original-path");
