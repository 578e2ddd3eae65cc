//! Generated from `schemas/heartbeat.avsc`.

use bytes::BufMut;

use crate::avro::{self, Field, Schema, Type};
use crate::event::{Description, Event, Kind, Topic};

/// How far a producer is: what has a higher sequence than is found was lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heartbeat<'a> {
    /// When it was so.
    pub time: u64,
    /// producer/epoch: whose sequences.
    pub stream: &'a str,
    /// node/role/worker.
    pub producer: &'a str,
    /// The producer's start.
    pub epoch: u64,
    /// The last sequence before this event.
    pub sequence: u64,
    /// How many events of this epoch were dropped before they had a sequence.
    pub lost: u64,
}

impl Event for Heartbeat<'_> {
    const KIND: Kind = Kind::new(&DESCRIPTION);

    fn time(&self) -> u64 {
        self.time
    }

    fn key(&self) -> Option<&[u8]> {
        Some(self.stream.as_bytes())
    }

    fn bound(&self) -> usize {
        6 * avro::LONG + self.stream.len() + self.producer.len()
    }

    fn encode(&self, into: &mut impl BufMut) {
        avro::long(self.time, into);
        avro::string(self.stream, into);
        avro::string(self.producer, into);
        avro::long(self.epoch, into);
        avro::long(self.sequence, into);
        avro::long(self.lost, into);
    }
}

static DESCRIPTION: Description = Description {
    number: 15,
    topic: Topic::SystemHealth,
    event_type: "carbyne.audit.heartbeat",
    schema: Some(&SCHEMA),
};

static SCHEMA: Schema = Schema {
    name: "carbyne.events.Heartbeat",
    fingerprint: 0xdfcf_7a2b_d453_8193,
    text: include_str!("../../../schemas/heartbeat.avsc"),
    fields: &[
        Field::new("time", Type::Long),
        Field::new("stream", Type::String),
        Field::new("producer", Type::String),
        Field::new("epoch", Type::Long),
        Field::new("sequence", Type::Long),
        Field::new("lost", Type::Long),
    ],
};
