//! Generated from `schemas/security_event.avsc`.

use bytes::BufMut;

use crate::avro::{self, Field, Schema, Type};
use crate::event::{Description, Event, Kind, Topic};

/// A refusal, or many alike told as one: count says how many, time and last_time when the first and the last were.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SecurityEvent<'a> {
    /// When it happened; of many, the first.
    pub time: u64,
    /// The node that says so.
    pub node: &'a str,
    /// carbyne-gateway, carbyne-proxy.
    pub component: &'a str,
    /// Why.
    pub reason: Reason,
    /// What decided: the plugin, the authorization policy, the listener's setting.
    pub policy: Option<&'a str>,
    /// The id of the plugin's instance, where it has one.
    pub policy_id: Option<&'a str>,
    /// The answer's status, where there was one.
    pub status: Option<u32>,
    /// More of it, in words of our own.
    pub detail: Option<&'a str>,
    /// The peer's identity by its certificate.
    pub source_principal: Option<&'a str>,
    /// The client's network (/24, /48) or its address under the node's key.
    pub client_address: Option<&'a str>,
    /// Whom it wanted to reach, by its certificate.
    pub destination_principal: Option<&'a str>,
    /// The listener that it came to.
    pub listener: Option<&'a str>,
    /// The request's id; of many, the first's.
    pub request_id: Option<&'a str>,
    /// The span that it happened in, in W3C's form; the body has the trace's id.
    pub traceparent: Option<&'a str>,
    /// The request's method; of many, the first's.
    pub method: Option<&'a str>,
    /// The host that was asked for.
    pub host: Option<&'a str>,
    /// What of the route matched the path.
    pub path_template: Option<&'a str>,
    /// The route that matched.
    pub route_id: Option<&'a str>,
    /// The route's service.
    pub service_id: Option<&'a str>,
    /// Who was authenticated.
    pub consumer_id: Option<&'a str>,
    /// The credential's id.
    pub credential_id: Option<&'a str>,
    /// The token's issuer, where it was read.
    pub token_issuer: Option<&'a str>,
    /// The token's subject, where its signature held.
    pub token_subject: Option<&'a str>,
    /// A hash of the token's key id.
    pub token_key_hash: Option<&'a str>,
    /// How many this one stands for.
    pub count: u64,
    /// When the last of them was.
    pub last_time: u64,
}

/// Why.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Reason {
    AuthenticationMissing,
    AuthenticationInvalid,
    AccessDenied,
    RateLimited,
    AddressDenied,
    TooLarge,
    GuardUnavailable,
    PolicyDenied,
    TokenMissing,
    TokenInvalid,
    AuthorizerDenied,
    AuthorizerFailed,
    HandshakeFailed,
    PlaintextRefused,
    MalformedRequest,
    AdminDenied,
    Various,
}

impl Reason {
    /// Every one, in the schema's order.
    pub const ALL: [Self; 17] = [
        Self::AuthenticationMissing,
        Self::AuthenticationInvalid,
        Self::AccessDenied,
        Self::RateLimited,
        Self::AddressDenied,
        Self::TooLarge,
        Self::GuardUnavailable,
        Self::PolicyDenied,
        Self::TokenMissing,
        Self::TokenInvalid,
        Self::AuthorizerDenied,
        Self::AuthorizerFailed,
        Self::HandshakeFailed,
        Self::PlaintextRefused,
        Self::MalformedRequest,
        Self::AdminDenied,
        Self::Various,
    ];

    /// As the event says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthenticationMissing => "authentication_missing",
            Self::AuthenticationInvalid => "authentication_invalid",
            Self::AccessDenied => "access_denied",
            Self::RateLimited => "rate_limited",
            Self::AddressDenied => "address_denied",
            Self::TooLarge => "too_large",
            Self::GuardUnavailable => "guard_unavailable",
            Self::PolicyDenied => "policy_denied",
            Self::TokenMissing => "token_missing",
            Self::TokenInvalid => "token_invalid",
            Self::AuthorizerDenied => "authorizer_denied",
            Self::AuthorizerFailed => "authorizer_failed",
            Self::HandshakeFailed => "handshake_failed",
            Self::PlaintextRefused => "plaintext_refused",
            Self::MalformedRequest => "malformed_request",
            Self::AdminDenied => "admin_denied",
            Self::Various => "various",
        }
    }
}

impl Event for SecurityEvent<'_> {
    const KIND: Kind = Kind::new(&DESCRIPTION);

    fn time(&self) -> u64 {
        self.time
    }

    fn key(&self) -> Option<&[u8]> {
        self.source_principal
            .or(self.client_address)
            .map(str::as_bytes)
    }

    fn traceparent(&self) -> Option<&str> {
        super::super::traceparent(self.traceparent)
    }

    fn bound(&self) -> usize {
        76 + 24 * avro::LONG
            + self.node.len()
            + self.component.len()
            + self.policy.map_or(0, str::len)
            + self.policy_id.map_or(0, str::len)
            + self.detail.map_or(0, str::len)
            + self.source_principal.map_or(0, str::len)
            + self.client_address.map_or(0, str::len)
            + self.destination_principal.map_or(0, str::len)
            + self.listener.map_or(0, str::len)
            + self.request_id.map_or(0, str::len)
            + self.method.map_or(0, str::len)
            + self.host.map_or(0, str::len)
            + self.path_template.map_or(0, str::len)
            + self.route_id.map_or(0, str::len)
            + self.service_id.map_or(0, str::len)
            + self.consumer_id.map_or(0, str::len)
            + self.credential_id.map_or(0, str::len)
            + self.token_issuer.map_or(0, str::len)
            + self.token_subject.map_or(0, str::len)
            + self.token_key_hash.map_or(0, str::len)
    }

    fn encode(&self, into: &mut impl BufMut) {
        avro::long(self.time, into);
        avro::string(self.node, into);
        avro::string(self.component, into);
        avro::string(self.reason.as_str(), into);
        avro::optional_string(self.policy, into);
        avro::optional_string(self.policy_id, into);
        avro::optional_long(self.status.map(u64::from), into);
        avro::optional_string(self.detail, into);
        avro::optional_string(self.source_principal, into);
        avro::optional_string(self.client_address, into);
        avro::optional_string(self.destination_principal, into);
        avro::optional_string(self.listener, into);
        avro::optional_string(self.request_id, into);
        avro::optional_string(super::super::trace_id(self.traceparent), into);
        avro::optional_string(self.method, into);
        avro::optional_string(self.host, into);
        avro::optional_string(self.path_template, into);
        avro::optional_string(self.route_id, into);
        avro::optional_string(self.service_id, into);
        avro::optional_string(self.consumer_id, into);
        avro::optional_string(self.credential_id, into);
        avro::optional_string(self.token_issuer, into);
        avro::optional_string(self.token_subject, into);
        avro::optional_string(self.token_key_hash, into);
        avro::long(self.count, into);
        avro::long(self.last_time, into);
    }
}

static DESCRIPTION: Description = Description {
    number: 5,
    topic: Topic::SecurityEvents,
    event_type: "carbyne.security.refusal",
    schema: Some(&SCHEMA),
};

static SCHEMA: Schema = Schema {
    name: "carbyne.events.SecurityEvent",
    fingerprint: 0x5ccb_dcd8_52ca_f49a,
    text: include_str!("../../../schemas/security_event.avsc"),
    fields: &[
        Field::new("time", Type::Long),
        Field::new("node", Type::String),
        Field::new("component", Type::String),
        Field::new("reason", Type::String),
        Field::new("policy", Type::Optional(&Type::String)),
        Field::new("policy_id", Type::Optional(&Type::String)),
        Field::new("status", Type::Optional(&Type::Long)),
        Field::new("detail", Type::Optional(&Type::String)),
        Field::new("source_principal", Type::Optional(&Type::String)),
        Field::new("client_address", Type::Optional(&Type::String)),
        Field::new("destination_principal", Type::Optional(&Type::String)),
        Field::new("listener", Type::Optional(&Type::String)),
        Field::new("request_id", Type::Optional(&Type::String)),
        Field::new("trace_id", Type::Optional(&Type::String)),
        Field::new("method", Type::Optional(&Type::String)),
        Field::new("host", Type::Optional(&Type::String)),
        Field::new("path_template", Type::Optional(&Type::String)),
        Field::new("route_id", Type::Optional(&Type::String)),
        Field::new("service_id", Type::Optional(&Type::String)),
        Field::new("consumer_id", Type::Optional(&Type::String)),
        Field::new("credential_id", Type::Optional(&Type::String)),
        Field::new("token_issuer", Type::Optional(&Type::String)),
        Field::new("token_subject", Type::Optional(&Type::String)),
        Field::new("token_key_hash", Type::Optional(&Type::String)),
        Field::new("count", Type::Long),
        Field::new("last_time", Type::Long),
    ],
};
