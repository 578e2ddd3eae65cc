//! What an operator tells of the facts.
//!
//! | file | operators |
//! |---|---|
//! | [`header`] | `REQ(…)`, `RESP(…)`, `TRAILER(…)` |
//! | [`path`] | `PATH(…)`, `QUERY_PARAM(…)` |
//! | [`fact`], [`count`] | texts and numbers without a parameter |
//! | [`grpc`] | `GRPC_STATUS(…)` |
//! | [`address`] | `DOWNSTREAM_REMOTE_ADDRESS` and its like |
//! | [`tls`] | `DOWNSTREAM_PEER_URI_SAN` and its like |
//! | [`duration`] | `DURATION`, `COMMON_DURATION(…)` |
//! | [`metadata`] | `METADATA(…)`, `DYNAMIC_METADATA(…)` |
//! | [`peer`] | `FILTER_STATE(…)` |

mod address;
mod count;
mod duration;
mod fact;
mod grpc;
mod header;
mod metadata;
mod path;
mod peer;
mod tls;

use std::time::SystemTime;

use serde_json::Value;

use self::address::{Portion, Whose, address};
use self::count::Count;
use self::duration::{Moment, Point, Unit, interval};
use self::fact::Fact;
use self::grpc::GrpcForm;
use self::header::{FieldValue, Side};
pub use self::metadata::MetadataSource;
use self::metadata::{Metadata, metadata};
use self::path::{Original, path, query_parameter};
use self::peer::{PeerForm, filter_state};
use self::tls::{About, Holder, certificate};
use super::TimeFormat;
use crate::observe::cel::Expression;
use crate::observe::facts::Facts;

/// A compiled operator.
#[derive(Clone, Debug)]
pub(super) enum Operator {
    /// Known at plan time: host name, environment. Empty is none.
    Constant(Box<[u8]>),
    /// A fact that this proxy does not keep; always none.
    Absent,
    /// The body that is worded anew; always there, empty outside of answers.
    LocalReply,
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
                // Envoy settles it when it reads the format: what is not set is a dash everywhere.
                Self::Constant(
                    std::env::var(text)
                        .unwrap_or_else(|_| "-".to_owned())
                        .into_bytes()
                        .into(),
                ),
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
                Self::Certificate(Holder::peer(name), About::NotBefore(time()?)),
                false,
            ),
            "DOWNSTREAM_PEER_CERT_V_END" | "UPSTREAM_PEER_CERT_V_END" => (
                Self::Certificate(Holder::peer(name), About::NotAfter(time()?)),
                false,
            ),
            _ => return Ok(None),
        };
        Ok(Some(operator))
    }

    /// Whether what it writes never needs an escape: words of our own, and numbers.
    pub(super) const fn is_plain(&self) -> bool {
        matches!(
            self,
            Self::Count(_)
                | Self::GrpcStatus(_)
                | Self::Interval { .. }
                | Self::TlsCipher(_)
                | Self::TlsVersion(_)
                | Self::Fact(
                    Fact::Flags
                        | Fact::FlagsLong
                        | Fact::LogType
                        | Fact::Protocol
                        | Fact::SpanId
                        | Fact::TraceId
                        | Fact::UpstreamProtocol
                )
        )
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
            Self::LocalReply => {
                out.extend_from_slice(facts.local_reply);
                true
            }
            Self::Field(field) => field.write(facts, out),
            Self::QueryParameter(name) => {
                query_parameter(facts, name).is_some_and(|value| put(out, value))
            }
            Self::Path { original, query } => original.write(facts, *query, out),
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
            Self::GrpcStatus(form) => form.write(facts, out),
            Self::Metadata {
                source,
                namespace,
                path,
            } => match Metadata::of(facts, *source, namespace, path) {
                Metadata::None => false,
                Metadata::Value(Value::String(text)) => {
                    out.extend_from_slice(text.as_bytes());
                    true
                }
                Metadata::Value(value) => serde_json::to_writer(&mut *out, value).is_ok(),
                Metadata::Object(object) => serde_json::to_writer(&mut *out, object).is_ok(),
            },
            Self::Cel(expression) => expression.write(facts, out),
            Self::Peer { upstream, form } => form.write(facts, *upstream, out),
        }
    }

    /// Appends the value as JSON, for those of [`Shape::Any`]; false where there is none.
    pub(super) fn write_json(&self, facts: &Facts<'_>, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Metadata {
                source,
                namespace,
                path,
            } => match Metadata::of(facts, *source, namespace, path) {
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
        "UPSTREAM_PROTOCOL" => O::Fact(Fact::UpstreamProtocol),
        "LOCAL_REPLY_BODY" => O::LocalReply,
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
        | "UNIQUE_ID" => O::Absent,
        _ => return None,
    })
}

/// Appends; an empty text is none.
pub(super) fn put(out: &mut Vec<u8>, text: &[u8]) -> bool {
    out.extend_from_slice(text);
    !text.is_empty()
}

/// Appends a number.
pub(super) fn number(out: &mut Vec<u8>, value: impl itoa::Integer) -> bool {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    true
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map_or_else(
        |_| std::env::var("HOSTNAME").unwrap_or_default(),
        |name| name.trim_end().to_owned(),
    )
}
