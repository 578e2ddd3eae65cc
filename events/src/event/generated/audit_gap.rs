//! Generated from `schemas/audit_gap.avsc`.

use bytes::BufMut;

use crate::avro::{self, Field, Schema, Type};
use crate::event::{Description, Event, Kind, Topic};

/// Events were lost, and this says how many: loss is never silent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AuditGap<'a> {
    /// When it was told.
    pub time: u64,
    /// Whose events: node/role/worker.
    pub producer: &'a str,
    /// The producer's start that they were of.
    pub epoch: u64,
    /// The topic that lacks them.
    pub topic: &'a str,
    /// Why they were lost.
    pub reason: Reason,
    /// How many.
    pub count: u64,
    /// When the first was lost.
    pub first_time: u64,
    /// When the last was lost.
    pub last_time: u64,
    /// The first sequence that is missing; none where they were dropped before they had one.
    pub first_sequence: Option<u64>,
    /// The last that is missing.
    pub last_sequence: Option<u64>,
}

/// Why they were lost.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Reason {
    SpoolFull,
    RingFull,
    DiskFailed,
    BlockCorrupt,
    TooLarge,
}

impl Reason {
    /// Every one, in the schema's order.
    pub const ALL: [Self; 5] = [
        Self::SpoolFull,
        Self::RingFull,
        Self::DiskFailed,
        Self::BlockCorrupt,
        Self::TooLarge,
    ];

    /// As the event says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SpoolFull => "spool_full",
            Self::RingFull => "ring_full",
            Self::DiskFailed => "disk_failed",
            Self::BlockCorrupt => "block_corrupt",
            Self::TooLarge => "too_large",
        }
    }
}

impl Event for AuditGap<'_> {
    const KIND: Kind = Kind::new(&DESCRIPTION);

    fn time(&self) -> u64 {
        self.time
    }

    fn key(&self) -> Option<&[u8]> {
        Some(self.producer.as_bytes())
    }

    fn bound(&self) -> usize {
        16 + 9 * avro::LONG + self.producer.len() + self.topic.len()
    }

    fn encode(&self, into: &mut impl BufMut) {
        avro::long(self.time, into);
        avro::string(self.producer, into);
        avro::long(self.epoch, into);
        avro::string(self.topic, into);
        avro::string(self.reason.as_str(), into);
        avro::long(self.count, into);
        avro::long(self.first_time, into);
        avro::long(self.last_time, into);
        avro::optional_long(self.first_sequence, into);
        avro::optional_long(self.last_sequence, into);
    }
}

static DESCRIPTION: Description = Description {
    number: 14,
    topic: Topic::SecurityEvents,
    event_type: "carbyne.audit.gap",
    schema: Some(&SCHEMA),
};

static SCHEMA: Schema = Schema {
    name: "carbyne.events.AuditGap",
    fingerprint: 0x2b24_0b31_0623_364a,
    text: include_str!("../../../schemas/audit_gap.avsc"),
    fields: &[
        Field::new("time", Type::Long),
        Field::new("producer", Type::String),
        Field::new("epoch", Type::Long),
        Field::new("topic", Type::String),
        Field::new("reason", Type::String),
        Field::new("count", Type::Long),
        Field::new("first_time", Type::Long),
        Field::new("last_time", Type::Long),
        Field::new("first_sequence", Type::Optional(&Type::Long)),
        Field::new("last_sequence", Type::Optional(&Type::Long)),
    ],
};
