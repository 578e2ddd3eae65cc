//! Generated from `schemas/config_change.avsc`.

use bytes::BufMut;

use crate::avro::{self, Field, Schema, Type};
use crate::event::{Description, Event, Kind, Topic};

/// What an entity of the configuration is now: a compacted topic keeps the last of each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConfigChange<'a> {
    /// When it was committed.
    pub time: u64,
    /// The node that says so.
    pub node: &'a str,
    /// kind/id: what changed.
    pub entity: &'a str,
    /// The entity's own name.
    pub name: Option<&'a str>,
    /// What happened to it.
    pub change: Change,
    /// The administrative operation that did it.
    pub request_id: Option<&'a str>,
    /// The span that it happened in, in W3C's form; the body has the trace's id.
    pub traceparent: Option<&'a str>,
    /// Who asked for it.
    pub actor: Option<&'a str>,
    /// The configuration's version that has it.
    pub version: Option<u64>,
    /// The names of the fields that have a value; never their values.
    pub fields: &'a [&'a str],
}

/// What happened to it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Change {
    Created,
    Updated,
    Loaded,
}

impl Change {
    /// Every one, in the schema's order.
    pub const ALL: [Self; 3] = [Self::Created, Self::Updated, Self::Loaded];

    /// As the event says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Loaded => "loaded",
        }
    }
}

impl Event for ConfigChange<'_> {
    const KIND: Kind = Kind::new(&DESCRIPTION);

    fn time(&self) -> u64 {
        self.time
    }

    fn key(&self) -> Option<&[u8]> {
        Some(self.entity.as_bytes())
    }

    fn traceparent(&self) -> Option<&str> {
        super::super::traceparent(self.traceparent)
    }

    fn bound(&self) -> usize {
        46 + 7 * avro::LONG
            + self.node.len()
            + self.entity.len()
            + self.name.map_or(0, str::len)
            + self.request_id.map_or(0, str::len)
            + self.actor.map_or(0, str::len)
            + avro::bound_of_strings(self.fields)
    }

    fn encode(&self, into: &mut impl BufMut) {
        avro::long(self.time, into);
        avro::string(self.node, into);
        avro::string(self.entity, into);
        avro::optional_string(self.name, into);
        avro::string(self.change.as_str(), into);
        avro::optional_string(self.request_id, into);
        avro::optional_string(super::super::trace_id(self.traceparent), into);
        avro::optional_string(self.actor, into);
        avro::optional_long(self.version, into);
        avro::strings(self.fields, into);
    }
}

/// An entity is gone: the topic forgets it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConfigRemoval<'a> {
    /// When.
    pub time: u64,
    /// kind/id: what changed.
    pub entity: &'a str,
}

impl Event for ConfigRemoval<'_> {
    const KIND: Kind = Kind::new(&TOMBSTONE);

    fn time(&self) -> u64 {
        self.time
    }

    fn key(&self) -> Option<&[u8]> {
        Some(self.entity.as_bytes())
    }

    fn bound(&self) -> usize {
        0
    }

    fn encode(&self, _into: &mut impl BufMut) {}
}

static DESCRIPTION: Description = Description {
    number: 3,
    topic: Topic::ConfigChanges,
    event_type: "carbyne.config.changed",
    schema: Some(&SCHEMA),
};

static TOMBSTONE: Description = Description {
    number: 4,
    topic: Topic::ConfigChanges,
    event_type: "carbyne.config.removed",
    schema: None,
};

static SCHEMA: Schema = Schema {
    name: "carbyne.events.ConfigChange",
    fingerprint: 0xdece_3bb9_5963_bc3e,
    text: include_str!("../../../schemas/config_change.avsc"),
    fields: &[
        Field::new("time", Type::Long),
        Field::new("node", Type::String),
        Field::new("entity", Type::String),
        Field::new("name", Type::Optional(&Type::String)),
        Field::new("change", Type::String),
        Field::new("request_id", Type::Optional(&Type::String)),
        Field::new("trace_id", Type::Optional(&Type::String)),
        Field::new("actor", Type::Optional(&Type::String)),
        Field::new("version", Type::Optional(&Type::Long)),
        Field::new("fields", Type::Strings),
    ],
};
