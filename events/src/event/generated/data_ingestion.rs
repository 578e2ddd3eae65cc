//! Generated from `schemas/data_ingestion.avsc`.

use bytes::BufMut;

use crate::avro::{self, Field, Schema, Type};
use crate::event::{Description, Event, Kind, Topic};

/// A batch arrived, or did not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DataIngestion<'a> {
    /// When its state was reached.
    pub time: u64,
    /// The application that says so.
    pub service: &'a str,
    /// The dataset's id.
    pub dataset: &'a str,
    /// The batch's id.
    pub batch: &'a str,
    /// Where it comes from, without credentials.
    pub source: &'a str,
    /// Where it stands.
    pub state: State,
    /// How many records were taken.
    pub records: Option<u64>,
    /// How many were not.
    pub rejected: Option<u64>,
    /// How many bytes.
    pub bytes: Option<u64>,
    /// The version of the dataset's schema.
    pub schema_version: Option<&'a str>,
    /// The batch's checksum, with its algorithm in front.
    pub checksum: Option<&'a str>,
    /// How long it took, in microseconds.
    pub duration_us: Option<u64>,
    /// The span that it happened in, in W3C's form; the body has the trace's id.
    pub traceparent: Option<&'a str>,
    /// Why it failed.
    pub error: Option<&'a str>,
}

/// Where it stands.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum State {
    Started,
    Completed,
    Failed,
}

impl State {
    /// Every one, in the schema's order.
    pub const ALL: [Self; 3] = [Self::Started, Self::Completed, Self::Failed];

    /// As the event says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

impl Event for DataIngestion<'_> {
    const KIND: Kind = Kind::new(&DESCRIPTION);

    fn time(&self) -> u64 {
        self.time
    }

    fn key(&self) -> Option<&[u8]> {
        Some(self.dataset.as_bytes())
    }

    fn traceparent(&self) -> Option<&str> {
        super::super::traceparent(self.traceparent)
    }

    fn bound(&self) -> usize {
        51 + 12 * avro::LONG
            + self.service.len()
            + self.dataset.len()
            + self.batch.len()
            + self.source.len()
            + self.schema_version.map_or(0, str::len)
            + self.checksum.map_or(0, str::len)
            + self.error.map_or(0, str::len)
    }

    fn encode(&self, into: &mut impl BufMut) {
        avro::long(self.time, into);
        avro::string(self.service, into);
        avro::string(self.dataset, into);
        avro::string(self.batch, into);
        avro::string(self.source, into);
        avro::string(self.state.as_str(), into);
        avro::optional_long(self.records, into);
        avro::optional_long(self.rejected, into);
        avro::optional_long(self.bytes, into);
        avro::optional_string(self.schema_version, into);
        avro::optional_string(self.checksum, into);
        avro::optional_long(self.duration_us, into);
        avro::optional_string(super::super::trace_id(self.traceparent), into);
        avro::optional_string(self.error, into);
    }
}

static DESCRIPTION: Description = Description {
    number: 10,
    topic: Topic::DataIngestion,
    event_type: "carbyne.data.ingestion",
    schema: Some(&SCHEMA),
};

static SCHEMA: Schema = Schema {
    name: "carbyne.events.DataIngestion",
    fingerprint: 0x75e8_1c3d_bafe_a9e9,
    text: include_str!("../../../schemas/data_ingestion.avsc"),
    fields: &[
        Field::new("time", Type::Long),
        Field::new("service", Type::String),
        Field::new("dataset", Type::String),
        Field::new("batch", Type::String),
        Field::new("source", Type::String),
        Field::new("state", Type::String),
        Field::new("records", Type::Optional(&Type::Long)),
        Field::new("rejected", Type::Optional(&Type::Long)),
        Field::new("bytes", Type::Optional(&Type::Long)),
        Field::new("schema_version", Type::Optional(&Type::String)),
        Field::new("checksum", Type::Optional(&Type::String)),
        Field::new("duration_us", Type::Optional(&Type::Long)),
        Field::new("trace_id", Type::Optional(&Type::String)),
        Field::new("error", Type::Optional(&Type::String)),
    ],
};
