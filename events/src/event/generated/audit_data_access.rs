//! Generated from `schemas/audit_data_access.avsc`.

use bytes::BufMut;

use crate::avro::{self, Field, Schema, Type};
use crate::event::{Description, Event, Kind, Topic};

/// Somebody read or changed data that is watched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AuditDataAccess<'a> {
    /// When it happened.
    pub time: u64,
    /// The application that says so.
    pub service: &'a str,
    /// The resource's id.
    pub resource: &'a str,
    /// Who: a user, a workload's principal.
    pub actor: &'a str,
    /// What was done.
    pub operation: Operation,
    /// How it ended.
    pub outcome: Outcome,
    /// What for.
    pub purpose: Option<&'a str>,
    /// How the data is classified.
    pub classification: Option<&'a str>,
    /// The names of the fields that were touched; never their values.
    pub fields: &'a [&'a str],
    /// How many records.
    pub records: Option<u64>,
    /// How many bytes.
    pub bytes: Option<u64>,
    /// The client's network (/24, /48) or its address under a key.
    pub client_address: Option<&'a str>,
    /// The request that it was part of.
    pub request_id: Option<&'a str>,
    /// The span that it happened in, in W3C's form; the body has the trace's id.
    pub traceparent: Option<&'a str>,
    /// Why it failed or was denied.
    pub reason: Option<&'a str>,
}

/// What was done.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Operation {
    Read,
    Write,
    Delete,
    Export,
    Share,
}

impl Operation {
    /// Every one, in the schema's order.
    pub const ALL: [Self; 5] = [
        Self::Read,
        Self::Write,
        Self::Delete,
        Self::Export,
        Self::Share,
    ];

    /// As the event says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
            Self::Export => "export",
            Self::Share => "share",
        }
    }
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

impl Event for AuditDataAccess<'_> {
    const KIND: Kind = Kind::new(&DESCRIPTION);

    fn time(&self) -> u64 {
        self.time
    }

    fn key(&self) -> Option<&[u8]> {
        Some(self.resource.as_bytes())
    }

    fn traceparent(&self) -> Option<&str> {
        super::super::traceparent(self.traceparent)
    }

    fn bound(&self) -> usize {
        56 + 11 * avro::LONG
            + self.service.len()
            + self.resource.len()
            + self.actor.len()
            + self.purpose.map_or(0, str::len)
            + self.classification.map_or(0, str::len)
            + avro::bound_of_strings(self.fields)
            + self.client_address.map_or(0, str::len)
            + self.request_id.map_or(0, str::len)
            + self.reason.map_or(0, str::len)
    }

    fn encode(&self, into: &mut impl BufMut) {
        avro::long(self.time, into);
        avro::string(self.service, into);
        avro::string(self.resource, into);
        avro::string(self.actor, into);
        avro::string(self.operation.as_str(), into);
        avro::string(self.outcome.as_str(), into);
        avro::optional_string(self.purpose, into);
        avro::optional_string(self.classification, into);
        avro::strings(self.fields, into);
        avro::optional_long(self.records, into);
        avro::optional_long(self.bytes, into);
        avro::optional_string(self.client_address, into);
        avro::optional_string(self.request_id, into);
        avro::optional_string(super::super::trace_id(self.traceparent), into);
        avro::optional_string(self.reason, into);
    }
}

static DESCRIPTION: Description = Description {
    number: 9,
    topic: Topic::AuditDataAccess,
    event_type: "carbyne.audit.data-access",
    schema: Some(&SCHEMA),
};

static SCHEMA: Schema = Schema {
    name: "carbyne.events.AuditDataAccess",
    fingerprint: 0x838e_f21e_d62f_006d,
    text: include_str!("../../../schemas/audit_data_access.avsc"),
    fields: &[
        Field::new("time", Type::Long),
        Field::new("service", Type::String),
        Field::new("resource", Type::String),
        Field::new("actor", Type::String),
        Field::new("operation", Type::String),
        Field::new("outcome", Type::String),
        Field::new("purpose", Type::Optional(&Type::String)),
        Field::new("classification", Type::Optional(&Type::String)),
        Field::new("fields", Type::Strings),
        Field::new("records", Type::Optional(&Type::Long)),
        Field::new("bytes", Type::Optional(&Type::Long)),
        Field::new("client_address", Type::Optional(&Type::String)),
        Field::new("request_id", Type::Optional(&Type::String)),
        Field::new("trace_id", Type::Optional(&Type::String)),
        Field::new("reason", Type::Optional(&Type::String)),
    ],
};
