//! Generated from `schemas/closing.avsc`.

use bytes::BufMut;

use crate::avro::{self, Field, Schema, Type};
use crate::event::{Description, Event, Kind, Topic};

/// A producer is done: this is the last sequence of its epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Closing<'a> {
    /// When it ended; where a successor says so, when that began.
    pub time: u64,
    /// node/role/worker.
    pub producer: &'a str,
    /// The start that ends.
    pub epoch: u64,
    /// The last sequence before this event.
    pub sequence: u64,
    /// How many events of this epoch were dropped before they had a sequence.
    pub lost: u64,
    /// Whether the producer said so itself, or a successor that found its ring.
    pub reason: Reason,
}

/// Whether the producer said so itself, or a successor that found its ring.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Reason {
    Stopped,
    Recovered,
}

impl Reason {
    /// Every one, in the schema's order.
    pub const ALL: [Self; 2] = [Self::Stopped, Self::Recovered];

    /// As the event says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Recovered => "recovered",
        }
    }
}

impl Event for Closing<'_> {
    const KIND: Kind = Kind::new(&DESCRIPTION);

    fn time(&self) -> u64 {
        self.time
    }

    fn key(&self) -> Option<&[u8]> {
        Some(self.producer.as_bytes())
    }

    fn bound(&self) -> usize {
        10 + 5 * avro::LONG + self.producer.len()
    }

    fn encode(&self, into: &mut impl BufMut) {
        avro::long(self.time, into);
        avro::string(self.producer, into);
        avro::long(self.epoch, into);
        avro::long(self.sequence, into);
        avro::long(self.lost, into);
        avro::string(self.reason.as_str(), into);
    }
}

static DESCRIPTION: Description = Description {
    number: 16,
    topic: Topic::SecurityEvents,
    event_type: "carbyne.audit.closing",
    schema: Some(&SCHEMA),
};

static SCHEMA: Schema = Schema {
    name: "carbyne.events.Closing",
    fingerprint: 0xf77a_f7c5_5569_d12d,
    text: include_str!("../../../schemas/closing.avsc"),
    fields: &[
        Field::new("time", Type::Long),
        Field::new("producer", Type::String),
        Field::new("epoch", Type::Long),
        Field::new("sequence", Type::Long),
        Field::new("lost", Type::Long),
        Field::new("reason", Type::String),
    ],
};
