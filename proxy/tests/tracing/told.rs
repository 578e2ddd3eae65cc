//! What a collector was told: spans, whatever the format, and how they are written down so that two proxies can be compared.

use std::collections::BTreeMap;

use carbyne_protos::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
use carbyne_protos::opentelemetry::proto::common::v1::any_value::Value as Attribute;
use carbyne_protos::opentelemetry::proto::trace::v1::span::SpanKind;
use prost::Message as _;
use serde_json::Value;

use crate::support::upstream::Seen;

/// A span, in words that both formats have.
#[derive(Clone, Debug, Default)]
pub struct Span {
    pub trace: String,
    pub id: String,
    pub parent: String,
    pub name: String,
    pub kind: String,
    pub tags: BTreeMap<String, String>,
    /// Names of what happened meanwhile, in order.
    pub events: Vec<String>,
    /// What only one format has: flags, status, state; shared, endpoint.
    pub more: Vec<String>,
    /// Beginning and end, in nanoseconds.
    pub times: (u64, u64),
}

/// The spans of one message.
pub fn spans(seen: &Seen) -> Vec<Span> {
    let is = |kind: &str| {
        seen.header("content-type")
            .is_some_and(|value| value == kind)
    };
    if is("application/json") {
        let message: Value = serde_json::from_slice(&seen.body).unwrap();
        return message.as_array().unwrap().iter().map(zipkin).collect();
    }
    let bytes = if is("application/grpc") {
        // One message behind its flag and its length.
        assert_eq!(seen.body[0], 0);
        let length = u32::from_be_bytes(seen.body[1..5].try_into().unwrap()) as usize;
        assert_eq!(length, seen.body.len() - 5);
        &seen.body[5..]
    } else {
        assert!(is("application/x-protobuf"), "{:?}", seen.headers);
        &seen.body
    };
    otlp(&ExportTraceServiceRequest::decode(bytes).unwrap())
}

/// The attributes of whoever told.
pub fn resource(seen: &Seen) -> BTreeMap<String, String> {
    let message = ExportTraceServiceRequest::decode(&*seen.body).unwrap();
    let resource = message.resource_spans[0].resource.as_ref().unwrap();
    attributes(&resource.attributes)
}

fn otlp(message: &ExportTraceServiceRequest) -> Vec<Span> {
    let scopes = message
        .resource_spans
        .iter()
        .flat_map(|spans| &spans.scope_spans);
    scopes
        .flat_map(|scope| &scope.spans)
        .map(|span| Span {
            trace: hexadecimal(&span.trace_id),
            id: hexadecimal(&span.span_id),
            parent: hexadecimal(&span.parent_span_id),
            name: span.name.clone(),
            kind: match SpanKind::try_from(span.kind) {
                Ok(SpanKind::Server) => "SERVER".to_owned(),
                Ok(SpanKind::Client) => "CLIENT".to_owned(),
                other => format!("{other:?}"),
            },
            tags: attributes(&span.attributes),
            events: span.events.iter().map(|event| event.name.clone()).collect(),
            more: vec![
                format!("flags {:#x}", span.flags),
                format!("status {}", span.status.as_ref().map_or(0, |it| it.code)),
                format!("state {:?}", span.trace_state),
            ],
            times: (span.start_time_unix_nano, span.end_time_unix_nano),
        })
        .collect()
}

fn attributes(
    pairs: &[carbyne_protos::opentelemetry::proto::common::v1::KeyValue],
) -> BTreeMap<String, String> {
    let text = |value: Option<&Attribute>| match value {
        Some(Attribute::StringValue(text)) => text.clone(),
        other => panic!("{other:?} is no text"),
    };
    pairs
        .iter()
        .map(|pair| {
            let value = pair.value.as_ref().and_then(|value| value.value.as_ref());
            (pair.key.clone(), text(value))
        })
        .collect()
}

fn zipkin(span: &Value) -> Span {
    let text = |key: &str| span[key].as_str().unwrap_or_default().to_owned();
    let annotations = span["annotations"].as_array().cloned().unwrap_or_default();
    let mut more = vec![format!("shared {}", span["shared"].as_bool() == Some(true))];
    let endpoint = &span["localEndpoint"];
    more.push(format!(
        "endpoint {} {} {}",
        endpoint["serviceName"],
        endpoint["ipv4"].is_string(),
        endpoint["port"]
    ));
    let start = span["timestamp"].as_u64().unwrap();
    let duration = span["duration"].as_u64().unwrap();
    assert!(duration > 0);
    Span {
        trace: text("traceId"),
        id: text("id"),
        parent: text("parentId"),
        name: text("name"),
        kind: text("kind"),
        tags: span["tags"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned()))
            .collect(),
        events: annotations
            .iter()
            .map(|event| event["value"].as_str().unwrap().to_owned())
            .collect(),
        more,
        times: (start * 1000, (start + duration) * 1000),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
