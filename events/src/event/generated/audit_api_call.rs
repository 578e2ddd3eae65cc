//! Generated from `schemas/audit_api_call.avsc`.

use bytes::BufMut;

use crate::avro::{self, Field, Schema, Type};
use crate::event::{Description, Event, Kind, Topic};

/// A request that the gateway answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AuditApiCall<'a> {
    /// When the request's head was complete.
    pub time: u64,
    /// The gateway's node.
    pub node: &'a str,
    /// What the gateway answers with in X-Kong-Request-Id.
    pub request_id: &'a str,
    /// The span that it happened in, in W3C's form; the body has the trace's id.
    pub traceparent: Option<&'a str>,
    /// Who was authenticated.
    pub consumer_id: Option<&'a str>,
    /// The consumer's username, else its custom_id.
    pub consumer_name: Option<&'a str>,
    /// The credential's id; the credential itself is in no event.
    pub credential_id: Option<&'a str>,
    /// The route that matched.
    pub route_id: Option<&'a str>,
    /// Its name.
    pub route_name: Option<&'a str>,
    /// The route's service.
    pub service_id: Option<&'a str>,
    /// Its name.
    pub service_name: Option<&'a str>,
    /// The request's method as it came.
    pub method: &'a str,
    /// http or https, as the client came.
    pub scheme: &'a str,
    /// HTTP/1.0, HTTP/1.1 or HTTP/2.
    pub protocol: &'a str,
    /// The host that was asked for, in its canonical form.
    pub host: Option<&'a str>,
    /// What of the route matched the path.
    pub path_template: Option<&'a str>,
    /// The path as it came, without its query; only where the node is told to keep it.
    pub path: Option<&'a str>,
    /// The query's parameters that the node's list allows; the names of the others.
    pub query: Option<&'a str>,
    /// The answer's status; 499 where the client left before it.
    pub status: u32,
    /// Who made the answer.
    pub answered_by: AnsweredBy,
    /// From the head to the end of the answer, in microseconds.
    pub latency_total_us: u64,
    /// What of that was spent in the gateway.
    pub latency_gateway_us: u64,
    /// From the last try's start to the head of its response.
    pub latency_upstream_us: Option<u64>,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
    /// How many hosts of the service were asked.
    pub tries: u32,
    /// The client's network (/24, /48) or its address under the node's key.
    pub client_address: Option<&'a str>,
    /// TLSv1.2 or TLSv1.3, where the client came by TLS.
    pub tls_version: Option<&'a str>,
    /// The identity in the client's certificate.
    pub source_principal: Option<&'a str>,
    /// The identity in the service's certificate.
    pub destination_principal: Option<&'a str>,
}

/// Who made the answer.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum AnsweredBy {
    Gateway,
    Plugin,
    Service,
}

impl AnsweredBy {
    /// Every one, in the schema's order.
    pub const ALL: [Self; 3] = [Self::Gateway, Self::Plugin, Self::Service];

    /// As the event says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Plugin => "plugin",
            Self::Service => "service",
        }
    }
}

impl Event for AuditApiCall<'_> {
    const KIND: Kind = Kind::new(&DESCRIPTION);

    fn time(&self) -> u64 {
        self.time
    }

    fn key(&self) -> Option<&[u8]> {
        None
    }

    fn traceparent(&self) -> Option<&str> {
        super::super::traceparent(self.traceparent)
    }

    fn bound(&self) -> usize {
        58 + 28 * avro::LONG
            + self.node.len()
            + self.request_id.len()
            + self.consumer_id.map_or(0, str::len)
            + self.consumer_name.map_or(0, str::len)
            + self.credential_id.map_or(0, str::len)
            + self.route_id.map_or(0, str::len)
            + self.route_name.map_or(0, str::len)
            + self.service_id.map_or(0, str::len)
            + self.service_name.map_or(0, str::len)
            + self.method.len()
            + self.scheme.len()
            + self.protocol.len()
            + self.host.map_or(0, str::len)
            + self.path_template.map_or(0, str::len)
            + self.path.map_or(0, str::len)
            + self.query.map_or(0, str::len)
            + self.client_address.map_or(0, str::len)
            + self.tls_version.map_or(0, str::len)
            + self.source_principal.map_or(0, str::len)
            + self.destination_principal.map_or(0, str::len)
    }

    fn encode(&self, into: &mut impl BufMut) {
        avro::long(self.time, into);
        avro::string(self.node, into);
        avro::string(self.request_id, into);
        avro::optional_string(super::super::trace_id(self.traceparent), into);
        avro::optional_string(self.consumer_id, into);
        avro::optional_string(self.consumer_name, into);
        avro::optional_string(self.credential_id, into);
        avro::optional_string(self.route_id, into);
        avro::optional_string(self.route_name, into);
        avro::optional_string(self.service_id, into);
        avro::optional_string(self.service_name, into);
        avro::string(self.method, into);
        avro::string(self.scheme, into);
        avro::string(self.protocol, into);
        avro::optional_string(self.host, into);
        avro::optional_string(self.path_template, into);
        avro::optional_string(self.path, into);
        avro::optional_string(self.query, into);
        avro::long(self.status.into(), into);
        avro::string(self.answered_by.as_str(), into);
        avro::long(self.latency_total_us, into);
        avro::long(self.latency_gateway_us, into);
        avro::optional_long(self.latency_upstream_us, into);
        avro::long(self.bytes_in, into);
        avro::long(self.bytes_out, into);
        avro::long(self.tries.into(), into);
        avro::optional_string(self.client_address, into);
        avro::optional_string(self.tls_version, into);
        avro::optional_string(self.source_principal, into);
        avro::optional_string(self.destination_principal, into);
    }
}

static DESCRIPTION: Description = Description {
    number: 1,
    topic: Topic::AuditApiCalls,
    event_type: "carbyne.audit.api-call",
    schema: Some(&SCHEMA),
};

static SCHEMA: Schema = Schema {
    name: "carbyne.events.AuditApiCall",
    fingerprint: 0x20d9_d8ff_da37_7fa1,
    text: include_str!("../../../schemas/audit_api_call.avsc"),
    fields: &[
        Field::new("time", Type::Long),
        Field::new("node", Type::String),
        Field::new("request_id", Type::String),
        Field::new("trace_id", Type::Optional(&Type::String)),
        Field::new("consumer_id", Type::Optional(&Type::String)),
        Field::new("consumer_name", Type::Optional(&Type::String)),
        Field::new("credential_id", Type::Optional(&Type::String)),
        Field::new("route_id", Type::Optional(&Type::String)),
        Field::new("route_name", Type::Optional(&Type::String)),
        Field::new("service_id", Type::Optional(&Type::String)),
        Field::new("service_name", Type::Optional(&Type::String)),
        Field::new("method", Type::String),
        Field::new("scheme", Type::String),
        Field::new("protocol", Type::String),
        Field::new("host", Type::Optional(&Type::String)),
        Field::new("path_template", Type::Optional(&Type::String)),
        Field::new("path", Type::Optional(&Type::String)),
        Field::new("query", Type::Optional(&Type::String)),
        Field::new("status", Type::Long),
        Field::new("answered_by", Type::String),
        Field::new("latency_total_us", Type::Long),
        Field::new("latency_gateway_us", Type::Long),
        Field::new("latency_upstream_us", Type::Optional(&Type::Long)),
        Field::new("bytes_in", Type::Long),
        Field::new("bytes_out", Type::Long),
        Field::new("tries", Type::Long),
        Field::new("client_address", Type::Optional(&Type::String)),
        Field::new("tls_version", Type::Optional(&Type::String)),
        Field::new("source_principal", Type::Optional(&Type::String)),
        Field::new("destination_principal", Type::Optional(&Type::String)),
    ],
};
