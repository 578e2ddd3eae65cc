//! Generated from `schemas/data_transformation.avsc`.

use bytes::BufMut;

use crate::avro::{self, Field, Schema, Type};
use crate::event::{Description, Event, Kind, Topic};

/// A run of a job over data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DataTransformation<'a> {
    /// When its state was reached.
    pub time: u64,
    /// The application that says so.
    pub service: &'a str,
    /// The job's id.
    pub job: &'a str,
    /// The run's id.
    pub run: &'a str,
    /// Where it stands.
    pub state: State,
    /// The datasets that it reads.
    pub inputs: &'a [&'a str],
    /// The datasets that it writes.
    pub outputs: &'a [&'a str],
    /// How many records it read.
    pub records_in: Option<u64>,
    /// How many it wrote.
    pub records_out: Option<u64>,
    /// How long it took, in microseconds.
    pub duration_us: Option<u64>,
    /// The version of the code.
    pub code_version: Option<&'a str>,
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
    Cancelled,
}

impl State {
    /// Every one, in the schema's order.
    pub const ALL: [Self; 4] = [
        Self::Started,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// As the event says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl Event for DataTransformation<'_> {
    const KIND: Kind = Kind::new(&DESCRIPTION);

    fn time(&self) -> u64 {
        self.time
    }

    fn key(&self) -> Option<&[u8]> {
        Some(self.job.as_bytes())
    }

    fn traceparent(&self) -> Option<&str> {
        super::super::traceparent(self.traceparent)
    }

    fn bound(&self) -> usize {
        49 + 9 * avro::LONG
            + self.service.len()
            + self.job.len()
            + self.run.len()
            + avro::bound_of_strings(self.inputs)
            + avro::bound_of_strings(self.outputs)
            + self.code_version.map_or(0, str::len)
            + self.error.map_or(0, str::len)
    }

    fn encode(&self, into: &mut impl BufMut) {
        avro::long(self.time, into);
        avro::string(self.service, into);
        avro::string(self.job, into);
        avro::string(self.run, into);
        avro::string(self.state.as_str(), into);
        avro::strings(self.inputs, into);
        avro::strings(self.outputs, into);
        avro::optional_long(self.records_in, into);
        avro::optional_long(self.records_out, into);
        avro::optional_long(self.duration_us, into);
        avro::optional_string(self.code_version, into);
        avro::optional_string(super::super::trace_id(self.traceparent), into);
        avro::optional_string(self.error, into);
    }
}

static DESCRIPTION: Description = Description {
    number: 13,
    topic: Topic::DataTransformation,
    event_type: "carbyne.data.transformation",
    schema: Some(&SCHEMA),
};

static SCHEMA: Schema = Schema {
    name: "carbyne.events.DataTransformation",
    fingerprint: 0x9c0e_f587_b286_97fc,
    text: include_str!("../../../schemas/data_transformation.avsc"),
    fields: &[
        Field::new("time", Type::Long),
        Field::new("service", Type::String),
        Field::new("job", Type::String),
        Field::new("run", Type::String),
        Field::new("state", Type::String),
        Field::new("inputs", Type::Strings),
        Field::new("outputs", Type::Strings),
        Field::new("records_in", Type::Optional(&Type::Long)),
        Field::new("records_out", Type::Optional(&Type::Long)),
        Field::new("duration_us", Type::Optional(&Type::Long)),
        Field::new("code_version", Type::Optional(&Type::String)),
        Field::new("trace_id", Type::Optional(&Type::String)),
        Field::new("error", Type::Optional(&Type::String)),
    ],
};
