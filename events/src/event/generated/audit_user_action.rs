//! Generated from `schemas/audit_user_action.avsc`.

use bytes::BufMut;

use crate::avro::{self, Field, Schema, Type};
use crate::event::{Description, Event, Kind, Topic};

/// Something that a user of an application did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AuditUserAction<'a> {
    /// When it was done.
    pub time: u64,
    /// The application that says so.
    pub service: &'a str,
    /// The user's id.
    pub user: &'a str,
    /// What was done, in the application's words.
    pub action: &'a str,
    /// How it ended.
    pub outcome: Outcome,
    /// What it was done to.
    pub resource_kind: Option<&'a str>,
    /// The resource's id.
    pub resource_id: Option<&'a str>,
    /// A hash of the session's id.
    pub session_hash: Option<&'a str>,
    /// The client's network (/24, /48) or its address under a key.
    pub client_address: Option<&'a str>,
    /// The request that it was part of.
    pub request_id: Option<&'a str>,
    /// The span that it happened in, in W3C's form; the body has the trace's id.
    pub traceparent: Option<&'a str>,
    /// Why it failed or was denied.
    pub reason: Option<&'a str>,
    /// What else the application has to say.
    pub attributes: &'a [(&'a str, &'a str)],
}

/// How it ended.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Outcome {
    Success,
    Failure,
    Denied,
}

impl Outcome {
    /// Every one, in the schema's order.
    pub const ALL: [Self; 3] = [Self::Success, Self::Failure, Self::Denied];

    /// As the event says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Denied => "denied",
        }
    }
}

impl Event for AuditUserAction<'_> {
    const KIND: Kind = Kind::new(&DESCRIPTION);

    fn time(&self) -> u64 {
        self.time
    }

    fn key(&self) -> Option<&[u8]> {
        Some(self.user.as_bytes())
    }

    fn traceparent(&self) -> Option<&str> {
        super::super::traceparent(self.traceparent)
    }

    fn bound(&self) -> usize {
        48 + 10 * avro::LONG
            + self.service.len()
            + self.user.len()
            + self.action.len()
            + self.resource_kind.map_or(0, str::len)
            + self.resource_id.map_or(0, str::len)
            + self.session_hash.map_or(0, str::len)
            + self.client_address.map_or(0, str::len)
            + self.request_id.map_or(0, str::len)
            + self.reason.map_or(0, str::len)
            + avro::bound_of_map(self.attributes)
    }

    fn encode(&self, into: &mut impl BufMut) {
        avro::long(self.time, into);
        avro::string(self.service, into);
        avro::string(self.user, into);
        avro::string(self.action, into);
        avro::string(self.outcome.as_str(), into);
        avro::optional_string(self.resource_kind, into);
        avro::optional_string(self.resource_id, into);
        avro::optional_string(self.session_hash, into);
        avro::optional_string(self.client_address, into);
        avro::optional_string(self.request_id, into);
        avro::optional_string(super::super::trace_id(self.traceparent), into);
        avro::optional_string(self.reason, into);
        avro::map(self.attributes, into);
    }
}

static DESCRIPTION: Description = Description {
    number: 8,
    topic: Topic::AuditUserActions,
    event_type: "carbyne.audit.user-action",
    schema: Some(&SCHEMA),
};

static SCHEMA: Schema = Schema {
    name: "carbyne.events.AuditUserAction",
    fingerprint: 0x34d2_85e4_b187_0ae1,
    text: include_str!("../../../schemas/audit_user_action.avsc"),
    fields: &[
        Field::new("time", Type::Long),
        Field::new("service", Type::String),
        Field::new("user", Type::String),
        Field::new("action", Type::String),
        Field::new("outcome", Type::String),
        Field::new("resource_kind", Type::Optional(&Type::String)),
        Field::new("resource_id", Type::Optional(&Type::String)),
        Field::new("session_hash", Type::Optional(&Type::String)),
        Field::new("client_address", Type::Optional(&Type::String)),
        Field::new("request_id", Type::Optional(&Type::String)),
        Field::new("trace_id", Type::Optional(&Type::String)),
        Field::new("reason", Type::Optional(&Type::String)),
        Field::new("attributes", Type::Map),
    ],
};
