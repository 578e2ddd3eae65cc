//! Generated from `schemas/data_lineage.avsc`.

use bytes::BufMut;

use crate::avro::{self, Field, Schema, Type};
use crate::event::{Description, Event, Kind, Topic};

/// What a dataset was made of; a compacted topic keeps the last of each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DataLineage<'a> {
    /// When it was made.
    pub time: u64,
    /// The application that says so.
    pub service: &'a str,
    /// The URN of the dataset that was made.
    pub output: &'a str,
    /// The URNs of what it was made of.
    pub inputs: &'a [&'a str],
    /// The job's id.
    pub job: &'a str,
    /// The run's id.
    pub run: &'a str,
    /// The code that made it, by name and version.
    pub transformation: Option<&'a str>,
    /// For each column of the output, the columns that it comes from.
    pub columns: &'a [(&'a str, &'a str)],
    /// The span that it happened in, in W3C's form; the body has the trace's id.
    pub traceparent: Option<&'a str>,
}

impl Event for DataLineage<'_> {
    const KIND: Kind = Kind::new(&DESCRIPTION);

    fn time(&self) -> u64 {
        self.time
    }

    fn key(&self) -> Option<&[u8]> {
        Some(self.output.as_bytes())
    }

    fn traceparent(&self) -> Option<&str> {
        super::super::traceparent(self.traceparent)
    }

    fn bound(&self) -> usize {
        35 + 6 * avro::LONG
            + self.service.len()
            + self.output.len()
            + avro::bound_of_strings(self.inputs)
            + self.job.len()
            + self.run.len()
            + self.transformation.map_or(0, str::len)
            + avro::bound_of_map(self.columns)
    }

    fn encode(&self, into: &mut impl BufMut) {
        avro::long(self.time, into);
        avro::string(self.service, into);
        avro::string(self.output, into);
        avro::strings(self.inputs, into);
        avro::string(self.job, into);
        avro::string(self.run, into);
        avro::optional_string(self.transformation, into);
        avro::map(self.columns, into);
        avro::optional_string(super::super::trace_id(self.traceparent), into);
    }
}

static DESCRIPTION: Description = Description {
    number: 12,
    topic: Topic::DataLineage,
    event_type: "carbyne.data.lineage",
    schema: Some(&SCHEMA),
};

static SCHEMA: Schema = Schema {
    name: "carbyne.events.DataLineage",
    fingerprint: 0x9b8f_d0ec_6339_1c70,
    text: include_str!("../../../schemas/data_lineage.avsc"),
    fields: &[
        Field::new("time", Type::Long),
        Field::new("service", Type::String),
        Field::new("output", Type::String),
        Field::new("inputs", Type::Strings),
        Field::new("job", Type::String),
        Field::new("run", Type::String),
        Field::new("transformation", Type::Optional(&Type::String)),
        Field::new("columns", Type::Map),
        Field::new("trace_id", Type::Optional(&Type::String)),
    ],
};
