//! Generated from `schemas/deployment_event.avsc`.

use bytes::BufMut;

use crate::avro::{self, Field, Schema, Type};
use crate::event::{Description, Event, Kind, Topic};

/// A step of a deployment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeploymentEvent<'a> {
    /// When the step was taken.
    pub time: u64,
    /// The node that says so.
    pub node: &'a str,
    /// namespace/name of what is deployed.
    pub target: &'a str,
    /// What all steps of a deployment share.
    pub deployment_id: &'a str,
    /// Where it stands.
    pub phase: Phase,
    /// Who began it.
    pub actor: Option<&'a str>,
    /// What is deployed.
    pub component: Option<&'a str>,
    /// The version that comes.
    pub version: Option<&'a str>,
    /// The one that goes.
    pub previous_version: Option<&'a str>,
    /// The digest of the image or the bundle.
    pub digest: Option<&'a str>,
    /// Why it is in that phase.
    pub reason: Option<&'a str>,
    /// How long the phase took, in microseconds.
    pub duration_us: Option<u64>,
    /// The span that it happened in, in W3C's form; the body has the trace's id.
    pub traceparent: Option<&'a str>,
}

/// Where it stands.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Phase {
    Planned,
    Started,
    Progressing,
    Succeeded,
    Failed,
    RolledBack,
}

impl Phase {
    /// Every one, in the schema's order.
    pub const ALL: [Self; 6] = [
        Self::Planned,
        Self::Started,
        Self::Progressing,
        Self::Succeeded,
        Self::Failed,
        Self::RolledBack,
    ];

    /// As the event says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Started => "started",
            Self::Progressing => "progressing",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::RolledBack => "rolled_back",
        }
    }
}

impl Event for DeploymentEvent<'_> {
    const KIND: Kind = Kind::new(&DESCRIPTION);

    fn time(&self) -> u64 {
        self.time
    }

    fn key(&self) -> Option<&[u8]> {
        Some(self.target.as_bytes())
    }

    fn traceparent(&self) -> Option<&str> {
        super::super::traceparent(self.traceparent)
    }

    fn bound(&self) -> usize {
        53 + 11 * avro::LONG
            + self.node.len()
            + self.target.len()
            + self.deployment_id.len()
            + self.actor.map_or(0, str::len)
            + self.component.map_or(0, str::len)
            + self.version.map_or(0, str::len)
            + self.previous_version.map_or(0, str::len)
            + self.digest.map_or(0, str::len)
            + self.reason.map_or(0, str::len)
    }

    fn encode(&self, into: &mut impl BufMut) {
        avro::long(self.time, into);
        avro::string(self.node, into);
        avro::string(self.target, into);
        avro::string(self.deployment_id, into);
        avro::string(self.phase.as_str(), into);
        avro::optional_string(self.actor, into);
        avro::optional_string(self.component, into);
        avro::optional_string(self.version, into);
        avro::optional_string(self.previous_version, into);
        avro::optional_string(self.digest, into);
        avro::optional_string(self.reason, into);
        avro::optional_long(self.duration_us, into);
        avro::optional_string(super::super::trace_id(self.traceparent), into);
    }
}

static DESCRIPTION: Description = Description {
    number: 7,
    topic: Topic::DeploymentEvents,
    event_type: "carbyne.deployment.step",
    schema: Some(&SCHEMA),
};

static SCHEMA: Schema = Schema {
    name: "carbyne.events.DeploymentEvent",
    fingerprint: 0xb89c_4c71_53ec_3fec,
    text: include_str!("../../../schemas/deployment_event.avsc"),
    fields: &[
        Field::new("time", Type::Long),
        Field::new("node", Type::String),
        Field::new("target", Type::String),
        Field::new("deployment_id", Type::String),
        Field::new("phase", Type::String),
        Field::new("actor", Type::Optional(&Type::String)),
        Field::new("component", Type::Optional(&Type::String)),
        Field::new("version", Type::Optional(&Type::String)),
        Field::new("previous_version", Type::Optional(&Type::String)),
        Field::new("digest", Type::Optional(&Type::String)),
        Field::new("reason", Type::Optional(&Type::String)),
        Field::new("duration_us", Type::Optional(&Type::Long)),
        Field::new("trace_id", Type::Optional(&Type::String)),
    ],
};
