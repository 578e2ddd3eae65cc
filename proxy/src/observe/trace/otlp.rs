//! Records as OTLP.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use carbyne_protos::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
use carbyne_protos::opentelemetry::proto::common::v1::any_value::Value;
use carbyne_protos::opentelemetry::proto::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use carbyne_protos::opentelemetry::proto::resource::v1::Resource;
use carbyne_protos::opentelemetry::proto::trace::v1::span::{Event, SpanKind};
use carbyne_protos::opentelemetry::proto::trace::v1::status::StatusCode;
use carbyne_protos::opentelemetry::proto::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message as _;

use super::record::{Kind, Record};

/// The gRPC method of a collector of spans.
pub const METHOD: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// The content type over HTTP.
pub const CONTENT: &str = "application/x-protobuf";

/// Who tells.
#[derive(Debug)]
pub struct Emitter {
    resource: Resource,
    scope: Option<InstrumentationScope>,
}

impl Emitter {
    /// With these attributes; `scope` says that the program names itself.
    pub fn new(attributes: &BTreeMap<String, String>, scope: bool) -> Self {
        Self {
            resource: Resource {
                attributes: attributes
                    .iter()
                    .map(|(key, value)| pair(key, value))
                    .collect(),
                dropped_attributes_count: 0,
            },
            scope: scope.then(|| InstrumentationScope {
                name: "carbyne-proxy".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                ..InstrumentationScope::default()
            }),
        }
    }

    /// One message with these spans.
    pub fn encode(&self, records: &[Record]) -> Vec<u8> {
        let request = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(self.resource.clone()),
                scope_spans: vec![ScopeSpans {
                    scope: self.scope.clone(),
                    spans: records.iter().map(span).collect(),
                    schema_url: String::new(),
                }],
                schema_url: String::new(),
            }],
        };
        request.encode_to_vec()
    }
}

fn span(record: &Record) -> Span {
    let context = &record.context;
    let mut failed = false;
    let attributes = record.tags.iter().map(|(name, value)| match name {
        "http.method" if !METHODS.contains(&value) => pair(name, OTHER),
        _ => {
            failed |= is_failure(record.kind, name, value);
            pair(name, value)
        }
    });
    let attributes = attributes.collect();
    // Bits 8 and 9: it is known whether the parent is remote, and whether it is.
    let remote = if context.has_remote_parent() {
        0x300
    } else {
        0x100
    };
    Span {
        trace_id: context.trace_id().to_vec(),
        span_id: context.span_id().to_vec(),
        trace_state: String::from_utf8_lossy(context.state()).into_owned(),
        parent_span_id: context.parent().map(|id| id.to_vec()).unwrap_or_default(),
        flags: u32::from(context.is_sampled()) | remote,
        name: record.name.to_string(),
        kind: match record.kind {
            Kind::Server => SpanKind::Server,
            Kind::Client => SpanKind::Client,
        } as i32,
        start_time_unix_nano: nanoseconds(record.start),
        end_time_unix_nano: nanoseconds(record.start + record.duration),
        attributes,
        events: record
            .events
            .iter()
            .map(|(name, time)| Event {
                time_unix_nano: nanoseconds(*time),
                name: (*name).to_owned(),
                ..Event::default()
            })
            .collect(),
        status: Some(Status {
            code: if failed {
                StatusCode::Error
            } else {
                StatusCode::Unset
            } as i32,
            message: String::new(),
        }),
        ..Span::default()
    }
}

/// Whether a tag makes the span a failed one (OpenTelemetry's semantic conventions for HTTP and gRPC spans): who called blames every refusal,
/// who was called only its own faults.
fn is_failure(kind: Kind, name: &str, value: &str) -> bool {
    let Ok(code) = value.parse::<u32>() else {
        return false;
    };
    match (name, kind) {
        ("http.status_code", Kind::Client) => code >= 400,
        ("http.status_code", Kind::Server) => code >= 500,
        ("grpc.status_code", Kind::Client) => code != 0,
        ("grpc.status_code", Kind::Server) => matches!(code, 2 | 4 | 12 | 13 | 14 | 15),
        _ => false,
    }
}

fn pair(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    }
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Methods that are told by their names.
const METHODS: [&str; 9] = [
    "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE",
];
/// What others are told as.
const OTHER: &str = "_OTHER";
