//! A request as log plugins write it down: the object of kong.md 9.2, in Kong's members and units.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use carbyne_engine::http::Headers;
use http::header;

use super::query::Query;
use crate::declarative::DEFAULT_WORKSPACE;
use crate::object;
use crate::proxy::context::{Context, Exchange, Source};
use crate::proxy::departure::upstream_path;
use crate::value::{Object, Value, put};

/// How long a request took.
#[derive(Clone, Copy, Debug)]
pub struct Latencies {
    /// In Kong itself, until the request was sent to the service.
    pub kong: Duration,
    /// Waiting for the service; nothing where none answered.
    pub proxy: Option<Duration>,
    /// In all.
    pub request: Duration,
    /// Receiving the response.
    pub receive: Duration,
}

/// Writes a request that is over down.
pub fn serialize(exchange: &Exchange) -> Object {
    let context = &exchange.context;
    let mut all = Object::new();
    all.insert("request".into(), request(exchange).into());
    // Also where a plugin answered: the route says where the request would have gone.
    let upstream = match context.route {
        Some(_) => upstream_path(exchange),
        None => Bytes::new(),
    };
    let upstream = String::from_utf8_lossy(&upstream).into_owned();
    all.insert("upstream_uri".into(), upstream.into());
    all.insert("upstream_status".into(), upstream_status(exchange).into());
    all.insert("response".into(), response(exchange).into());
    all.insert("latencies".into(), latencies(exchange).into());
    if !context.tries.is_empty() {
        all.insert("tries".into(), tries(exchange).into());
    }
    if let Some(credential) = &context.credential {
        let mut entity = object! { "id": &*credential.id };
        if let Some(consumer) = &credential.consumer {
            entity.insert("consumer_id".into(), (&**consumer).into());
        }
        all.insert("authenticated_entity".into(), entity.into());
    }
    entities(context, &mut all);
    all.insert(
        "client_ip".into(),
        context.arrival.client.to_string().into(),
    );
    let started = exchange.timing.start_time.duration_since(UNIX_EPOCH);
    all.insert(
        "started_at".into(),
        milliseconds(started.unwrap_or_default()),
    );
    let source = match context.source {
        Source::Service => "upstream",
        Source::Error | Source::Exit => "kong",
    };
    all.insert("source".into(), source.into());
    all.insert("workspace".into(), DEFAULT_WORKSPACE.into());
    all.insert("workspace_name".into(), "default".into());
    for (path, value) in &context.log_values {
        put(&mut all, path, value.clone());
    }
    all
}

/// What every try was answered with, as nginx writes it down: `502, 200`.
fn upstream_status(exchange: &Exchange) -> String {
    let tries = exchange.context.tries.iter();
    let each = tries.map(|tried| match (tried.failed, exchange.upstream.status) {
        (Some(code), _) => code.to_string(),
        (None, Some(status)) => status.as_str().to_owned(),
        (None, None) => "-".to_owned(),
    });
    each.collect::<Vec<_>>().join(", ")
}

fn request(exchange: &Exchange) -> Object {
    let context = &exchange.context;
    let original = &context.original;
    let uri = String::from_utf8_lossy(&original.path).into_owned();
    let host = String::from_utf8_lossy(&exchange.request.host).into_owned();
    let url = format!(
        "{}://{host}:{}{uri}",
        context.arrival.scheme(),
        context.arrival.port
    );
    let query =
        memchr::memchr(b'?', &original.path).map(|at| Query::parse(&original.path[at + 1..]));
    let fields = context
        .logged_headers
        .as_ref()
        .unwrap_or(&exchange.request.headers);
    let mut headers = headers_of(fields);
    headers.shift_insert(
        0,
        "host".into(),
        String::from_utf8_lossy(&original.authority)
            .into_owned()
            .into(),
    );
    for secret in [header::AUTHORIZATION, header::PROXY_AUTHORIZATION] {
        if let Some(value) = headers.get_mut(secret.as_str()) {
            *value = "REDACTED".into();
        }
    }
    let mut request = object! {
        "id": context.id.as_str(),
        "uri": uri,
        "url": url,
        "querystring": query.map(arguments).unwrap_or_default(),
        "method": original.method.as_str(),
        "headers": headers,
        "size": count(exchange.counts.wire_received),
    };
    if let Some(tls) = &exchange.downstream.tls {
        request.insert(
            "tls".into(),
            object! {
                "version": tls.version.as_str(),
                "cipher": tls.cipher,
                "client_verify": "NONE",
            }
            .into(),
        );
    }
    request
}

fn response(exchange: &Exchange) -> Object {
    let head = exchange.response.as_ref();
    object! {
        "status": head.map_or(499.0, |head| f64::from(head.status.as_u16())),
        "headers": head.map(|head| headers_of(&head.headers)).unwrap_or_default(),
        "size": count(exchange.counts.wire_sent),
    }
}

impl Latencies {
    pub fn of(exchange: &Exchange) -> Self {
        let timing = &exchange.timing;
        let end = timing.end.unwrap_or_else(|| exchange.elapsed());
        let waited = timing
            .upstream_start
            .zip(timing.response_start)
            .map(|(sent, answered)| answered.saturating_sub(sent));
        let received = timing
            .response_start
            .map_or(Duration::ZERO, |answered| end.saturating_sub(answered));
        Self {
            kong: timing.upstream_start.unwrap_or(end),
            proxy: waited,
            request: end,
            receive: received,
        }
    }
}

/// In milliseconds.
fn latencies(exchange: &Exchange) -> Object {
    let latencies = Latencies::of(exchange);
    object! {
        "kong": milliseconds(latencies.kong),
        "proxy": latencies.proxy.map_or(Value::Number(-1.0), milliseconds),
        "request": milliseconds(latencies.request),
        "receive": milliseconds(latencies.receive),
    }
}

fn tries(exchange: &Exchange) -> Vec<Value> {
    let began = exchange.timing.start_time;
    let one = |tried: &crate::proxy::context::Try| {
        let start = began
            .checked_add(tried.start)
            .and_then(|start| start.duration_since(UNIX_EPOCH).ok())
            .unwrap_or_default();
        let mut written = object! {
            "balancer_latency": milliseconds(tried.balancing),
            "balancer_latency_ns": nanoseconds(tried.balancing),
            "balancer_start": milliseconds(start),
            "balancer_start_ns": nanoseconds(start),
            "ip": tried.address.ip().to_string(),
            "port": u32::from(tried.address.port()),
        };
        if let Some(code) = tried.failed {
            written.insert("state".into(), "failed".into());
            written.insert("code".into(), u32::from(code).into());
        }
        Value::from(written)
    };
    exchange.context.tries.iter().map(one).collect()
}

fn entities(context: &Context, all: &mut Object) {
    // Written by ourselves: it is JSON.
    let read = |json: &str| {
        let mut entity = without_nulls(Value::from_json(json.as_bytes()).unwrap_or_default());
        if let Value::Object(members) = &mut entity {
            members.insert("ws_id".into(), DEFAULT_WORKSPACE.into());
        }
        entity
    };
    if let Some(route) = &context.route {
        all.insert("route".into(), read(&route.json));
        if let Some(service) = &route.service {
            all.insert("service".into(), read(&service.json));
        }
    }
    if let Some(consumer) = &context.consumer {
        let entity = Value::from(consumer.entity.clone());
        all.insert("consumer".into(), without_nulls(entity));
    }
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(
                kept.map(|(name, value)| (name, without_nulls(value)))
                    .collect(),
            )
        }
        other => other,
    }
}

fn headers_of(fields: &Headers) -> Object {
    let mut all = Object::new();
    for (name, value) in fields {
        let value = Value::from(String::from_utf8_lossy(value.as_bytes()).into_owned());
        insert_or_gather(&mut all, name.as_str(), value);
    }
    all
}

fn arguments(query: Query) -> Object {
    let mut all = Object::new();
    for argument in query.arguments {
        let value = argument.value.map_or(Value::Boolean(true), Value::from);
        insert_or_gather(&mut all, &argument.name, value);
    }
    all
}

/// What comes twice becomes a list.
fn insert_or_gather(all: &mut Object, name: &str, value: Value) {
    match all.get_mut(name) {
        None => drop(all.insert(name.into(), value)),
        Some(Value::Array(values)) => values.push(value),
        Some(known) => {
            let first = std::mem::take(known);
            *known = vec![first, value].into();
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^53")]
fn count(bytes: u64) -> f64 {
    bytes as f64
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds since 1970 are far below 2^53"
)]
fn milliseconds(time: Duration) -> Value {
    Value::Number(time.as_millis() as f64)
}

#[expect(clippy::cast_precision_loss, reason = "Kong's are doubles as well")]
fn nanoseconds(time: Duration) -> Value {
    Value::Number(time.as_nanos() as f64)
}
