//! OTLP over HTTP: protobuf messages of spans, POSTed (opentelemetry.io: OTLP/HTTP Request).

use std::{collections::BTreeMap, convert::Infallible, io, net::SocketAddr};

use bytes::Bytes;
use carbyne_protos::opentelemetry::proto::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::any_value::Value,
    resource::v1::Resource,
    trace::v1::{Span as Wire, span::SpanKind},
};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prost::Message as _;
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};

use super::{Span, ring::Traces};

/// Takes spans at some addresses until it is dropped.
#[derive(Debug, Default)]
pub struct Receiver {
    traces: Traces,
    tasks: BTreeMap<SocketAddr, Task>,
}

/// Ends with its handle.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Receiver {
    /// Nothing is taken yet.
    #[must_use]
    pub fn new(traces: Traces) -> Self {
        Self {
            traces,
            tasks: BTreeMap::new(),
        }
    }

    /// Takes spans at exactly these addresses from now on. Gives back those that cannot be listened on. Must be called in a tokio
    /// runtime.
    pub async fn adjust(&mut self, addresses: &[SocketAddr]) -> Vec<(SocketAddr, io::Error)> {
        self.tasks.retain(|address, _| addresses.contains(address));
        let mut failed = Vec::new();
        for address in addresses {
            if self.tasks.contains_key(address) {
                continue;
            }
            match TcpListener::bind(address).await {
                Ok(listener) => {
                    let task = tokio::spawn(accept(listener, self.traces.clone()));
                    self.tasks.insert(*address, Task(task));
                }
                Err(error) => failed.push((*address, error)),
            }
        }
        self.traces.taken_at(self.tasks.keys().copied().collect());
        failed
    }
}

async fn accept(listener: TcpListener, traces: Traces) {
    // They end with this task.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        // Out of descriptors, or a client that left again: the next one may do better.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            continue;
        };
        let traces = traces.clone();
        connections.spawn(async move {
            let answer = service_fn(|request: Request<Incoming>| {
                let traces = traces.clone();
                async move { Ok::<_, Infallible>(answer(&traces, request).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), answer);
            // A sidecar that ends is its own business.
            connection.await.ok();
        });
    }
}

async fn answer(traces: &Traces, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    if head.method != Method::POST {
        return empty(StatusCode::METHOD_NOT_ALLOWED);
    }
    let kind = head.headers.get(header::CONTENT_TYPE);
    if kind.is_none_or(|kind| kind != PROTOBUF)
        || head.headers.contains_key(header::CONTENT_ENCODING)
    {
        return empty(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    let Ok(body) = Limited::new(body, LONGEST).collect().await else {
        return empty(StatusCode::PAYLOAD_TOO_LARGE);
    };
    match ExportTraceServiceRequest::decode(body.to_bytes()) {
        Ok(message) => {
            traces.add(spans(message));
            // An empty ExportTraceServiceResponse: all of it was taken.
            empty(StatusCode::OK)
        }
        Err(_) => empty(StatusCode::BAD_REQUEST),
    }
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(PROTOBUF);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn spans(message: ExportTraceServiceRequest) -> Vec<Span> {
    let mut found = Vec::new();
    for sender in message.resource_spans {
        let service = service(sender.resource.as_ref());
        let all = sender.scope_spans.into_iter().flat_map(|scope| scope.spans);
        found.extend(all.map(|span| of(span, service.clone())));
    }
    found
}

fn of(span: Wire, service: String) -> Span {
    let kind = match span.kind() {
        SpanKind::Unspecified => "unspecified",
        SpanKind::Internal => "internal",
        SpanKind::Server => "server",
        SpanKind::Client => "client",
        SpanKind::Producer => "producer",
        SpanKind::Consumer => "consumer",
    };
    let (start, end) = (span.start_time_unix_nano, span.end_time_unix_nano);
    Span {
        trace: hexadecimal(&span.trace_id),
        id: hexadecimal(&span.span_id),
        parent: hexadecimal(&span.parent_span_id),
        service,
        name: span.name,
        kind: kind.to_owned(),
        start: start / 1000,
        duration: end.saturating_sub(start) / 1000,
    }
}

fn service(resource: Option<&Resource>) -> String {
    let mut attributes = resource
        .into_iter()
        .flat_map(|resource| &resource.attributes);
    let named = attributes.find(|attribute| attribute.key == "service.name");
    match named.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(name)) => name.clone(),
        _ => String::new(),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const PROTOBUF: &str = "application/x-protobuf";
/// Of one message.
const LONGEST: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use carbyne_protos::opentelemetry::proto::{
        common::v1::{AnyValue, KeyValue},
        trace::v1::{ResourceSpans, ScopeSpans},
    };

    use super::*;
    use crate::fetch::fetch;

    fn message() -> Vec<u8> {
        let name = AnyValue {
            value: Some(Value::StringValue("portal.shop".to_owned())),
        };
        let span = Wire {
            trace_id: vec![0xab; 16],
            span_id: vec![1; 8],
            name: "portal:80/*".to_owned(),
            kind: SpanKind::Client.into(),
            start_time_unix_nano: 5_000_000,
            end_time_unix_nano: 7_001_000,
            ..Wire::default()
        };
        let message = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(Resource {
                    attributes: vec![KeyValue {
                        key: "service.name".to_owned(),
                        value: Some(name),
                        key_strindex: 0,
                    }],
                    dropped_attributes_count: 0,
                }),
                scope_spans: vec![ScopeSpans {
                    spans: vec![span],
                    ..ScopeSpans::default()
                }],
                schema_url: String::new(),
            }],
        };
        message.encode_to_vec()
    }

    #[tokio::test]
    async fn messages_are_kept_and_what_is_none_is_refused() {
        let traces = Traces::default();
        let mut receiver = Receiver::new(traces.clone());
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        let failed = receiver.adjust(&[address]).await;
        assert_eq!(failed.len(), 1, "somebody listens there");
        assert_eq!(traces.summary().addresses, []);
        drop(free);
        assert!(receiver.adjust(&[address]).await.is_empty());
        assert_eq!(traces.summary().addresses, [address]);

        for (method, kind, body, status) in [
            ("POST", PROTOBUF, message(), 200),
            ("POST", PROTOBUF, vec![0xff; 9], 400),
            ("POST", "application/json", b"{}".to_vec(), 415),
            ("GET", PROTOBUF, Vec::new(), 405),
        ] {
            let request = Request::builder()
                .method(method)
                .uri("/v1/traces")
                .header(header::CONTENT_TYPE, kind)
                .body(Full::new(Bytes::from(body)));
            let answer = fetch(address, request.unwrap(), Duration::from_secs(5)).await;
            assert_eq!(answer.unwrap().status().as_u16(), status, "{method} {kind}");
        }
        let expected = Span {
            trace: "ab".repeat(16),
            id: "01".repeat(8),
            parent: String::new(),
            service: "portal.shop".to_owned(),
            name: "portal:80/*".to_owned(),
            kind: "client".to_owned(),
            start: 5000,
            duration: 2001,
        };
        assert_eq!(traces.of(&"ab".repeat(16)), [expected]);
        assert_eq!(traces.summary().received, 1);
        assert!(receiver.adjust(&[]).await.is_empty());
        assert_eq!(traces.summary().addresses, []);
    }
}
