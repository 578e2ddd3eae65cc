//! Records as Zipkin's JSON of version 2.

use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use super::record::{Kind, Record};

/// The content type.
pub const CONTENT: &str = "application/json";

/// Who tells.
#[derive(Debug)]
pub struct Emitter {
    endpoint: Value,
    /// Servers say that they share the span of their client.
    shared: bool,
}

impl Emitter {
    /// The service of this name at this address.
    pub fn new(service: &str, address: Option<IpAddr>, shared: bool) -> Self {
        let mut endpoint = Map::new();
        if let Some(address) = address {
            let key = if address.is_ipv4() { "ipv4" } else { "ipv6" };
            endpoint.insert(key.to_owned(), address.to_string().into());
            endpoint.insert("port".to_owned(), 0.into());
        }
        if !service.is_empty() {
            endpoint.insert("serviceName".to_owned(), service.into());
        }
        Self {
            endpoint: Value::Object(endpoint),
            shared,
        }
    }

    /// One message with these spans.
    pub fn encode(&self, records: &[Record]) -> Vec<u8> {
        let spans: Value = records.iter().map(|record| self.span(record)).collect();
        spans.to_string().into_bytes()
    }

    fn span(&self, record: &Record) -> Value {
        let context = &record.context;
        let id = |write: &dyn Fn(&mut Vec<u8>)| {
            let mut text = Vec::new();
            write(&mut text);
            Value::from(String::from_utf8_lossy(&text))
        };
        let (kind, over) = match record.kind {
            Kind::Server => ("SERVER", "ss"),
            Kind::Client => ("CLIENT", "cr"),
        };
        let end = record.start + record.duration;
        let events = record.events.iter().map(|(name, time)| (*name, *time));
        let annotations: Vec<_> = events
            .chain([(over, end)])
            .map(|(value, time)| json!({"value": value, "timestamp": microseconds(time)}))
            .collect();
        let tags = record.tags.iter().filter(|(_, value)| !value.is_empty());
        let tags: Map<_, _> = tags
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        let mut span = json!({
            "traceId": id(&|out| context.write_trace_id(out)),
            "id": id(&|out| context.write_span_id(out)),
            "name": &*record.name,
            "kind": kind,
            "timestamp": microseconds(record.start),
            // Zero would mean that it is not known.
            "duration": u64::try_from(record.duration.as_micros()).unwrap_or(u64::MAX).max(1),
            "localEndpoint": self.endpoint,
            "annotations": annotations,
            "tags": tags,
        });
        if context.parent().is_some() {
            span["parentId"] = id(&|out| context.write_parent(out));
        }
        if self.shared && record.kind == Kind::Server {
            span["shared"] = true.into();
        }
        span
    }
}

/// Our own address as the network sees it; no packet is sent to find out.
pub fn own_address() -> Option<IpAddr> {
    let routed = |bind: &str, towards: &str| {
        let socket = UdpSocket::bind(bind).ok()?;
        socket.connect(towards).ok()?;
        let address = socket.local_addr().ok()?.ip();
        (!address.is_unspecified() && !address.is_loopback()).then_some(address)
    };
    // Addresses of documentation (RFC 5737, RFC 3849): whatever the default route leads through.
    routed("0.0.0.0:0", "198.51.100.1:9").or_else(|| routed("[::]:0", "[2001:db8::1]:9"))
}

fn microseconds(time: SystemTime) -> u64 {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
