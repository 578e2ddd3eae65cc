//! Generated from `schemas/audit_admin_operation.avsc`.

use bytes::BufMut;

use crate::avro::{self, Field, Schema, Type};
use crate::event::{Description, Event, Kind, Topic};

/// A change that somebody asked for through an administrative interface; each is told before it is carried out and again when it is answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AuditAdminOperation<'a> {
    /// When the request's head was complete, in both events of an operation.
    pub time: u64,
    /// The node that says so.
    pub node: &'a str,
    /// What both events of the operation share.
    pub request_id: &'a str,
    /// The span that it happened in, in W3C's form; the body has the trace's id.
    pub traceparent: Option<&'a str>,
    /// Whether it is about to be carried out, or was.
    pub stage: Stage,
    /// Who asked: the principal of the client's certificate, else the client's network.
    pub actor: &'a str,
    /// The client's network (/24, /48) or its address under the node's key.
    pub client_address: Option<&'a str>,
    /// Which way it came: admin-api, file, command.
    pub interface: &'a str,
    /// The request's method.
    pub method: &'a str,
    /// create, update, upsert, delete, load, or the endpoint's own word.
    pub operation: &'a str,
    /// What is changed, as the interface names the kind.
    pub entity_kind: Option<&'a str>,
    /// The entity's id or name, as it was asked for; never a credential.
    pub entity_id: Option<&'a str>,
    /// The names of the fields that the request has; never their values.
    pub fields: &'a [&'a str],
    /// The answer's status, once there is one.
    pub status: Option<u32>,
    /// Why it was refused, in the answer's words without values.
    pub error: Option<&'a str>,
}

/// Whether it is about to be carried out, or was.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Stage {
    Requested,
    Completed,
}

impl Stage {
    /// Every one, in the schema's order.
    pub const ALL: [Self; 2] = [Self::Requested, Self::Completed];

    /// As the event says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Completed => "completed",
        }
    }
}

impl Event for AuditAdminOperation<'_> {
    const KIND: Kind = Kind::new(&DESCRIPTION);

    fn time(&self) -> u64 {
        self.time
    }

    fn key(&self) -> Option<&[u8]> {
        Some(self.actor.as_bytes())
    }

    fn traceparent(&self) -> Option<&str> {
        super::super::traceparent(self.traceparent)
    }

    fn bound(&self) -> usize {
        49 + 12 * avro::LONG
            + self.node.len()
            + self.request_id.len()
            + self.actor.len()
            + self.client_address.map_or(0, str::len)
            + self.interface.len()
            + self.method.len()
            + self.operation.len()
            + self.entity_kind.map_or(0, str::len)
            + self.entity_id.map_or(0, str::len)
            + avro::bound_of_strings(self.fields)
            + self.error.map_or(0, str::len)
    }

    fn encode(&self, into: &mut impl BufMut) {
        avro::long(self.time, into);
        avro::string(self.node, into);
        avro::string(self.request_id, into);
        avro::optional_string(super::super::trace_id(self.traceparent), into);
        avro::string(self.stage.as_str(), into);
        avro::string(self.actor, into);
        avro::optional_string(self.client_address, into);
        avro::string(self.interface, into);
        avro::string(self.method, into);
        avro::string(self.operation, into);
        avro::optional_string(self.entity_kind, into);
        avro::optional_string(self.entity_id, into);
        avro::strings(self.fields, into);
        avro::optional_long(self.status.map(u64::from), into);
        avro::optional_string(self.error, into);
    }
}

static DESCRIPTION: Description = Description {
    number: 2,
    topic: Topic::AuditAdminOperations,
    event_type: "carbyne.audit.admin-operation",
    schema: Some(&SCHEMA),
};

static SCHEMA: Schema = Schema {
    name: "carbyne.events.AuditAdminOperation",
    fingerprint: 0x7cba_fbde_dc46_a1c9,
    text: include_str!("../../../schemas/audit_admin_operation.avsc"),
    fields: &[
        Field::new("time", Type::Long),
        Field::new("node", Type::String),
        Field::new("request_id", Type::String),
        Field::new("trace_id", Type::Optional(&Type::String)),
        Field::new("stage", Type::String),
        Field::new("actor", Type::String),
        Field::new("client_address", Type::Optional(&Type::String)),
        Field::new("interface", Type::String),
        Field::new("method", Type::String),
        Field::new("operation", Type::String),
        Field::new("entity_kind", Type::Optional(&Type::String)),
        Field::new("entity_id", Type::Optional(&Type::String)),
        Field::new("fields", Type::Strings),
        Field::new("status", Type::Optional(&Type::Long)),
        Field::new("error", Type::Optional(&Type::String)),
    ],
};
