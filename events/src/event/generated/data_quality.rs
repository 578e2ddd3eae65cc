//! Generated from `schemas/data_quality.avsc`.

use bytes::BufMut;

use crate::avro::{self, Field, Schema, Type};
use crate::event::{Description, Event, Kind, Topic};

/// What a check of a dataset found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DataQuality<'a> {
    /// When it was checked.
    pub time: u64,
    /// The application that says so.
    pub service: &'a str,
    /// The dataset's id.
    pub dataset: &'a str,
    /// The check's name.
    pub check: &'a str,
    /// The column that was checked.
    pub column: Option<&'a str>,
    /// Whether it held.
    pub passed: bool,
    /// How bad it is if it does not.
    pub severity: Severity,
    /// What was measured.
    pub observed: Option<f64>,
    /// What should have been.
    pub expected: Option<f64>,
    /// How many records were looked at.
    pub records_checked: Option<u64>,
    /// How many of them failed.
    pub records_failed: Option<u64>,
    /// The batch that was checked.
    pub batch: Option<&'a str>,
    /// The span that it happened in, in W3C's form; the body has the trace's id.
    pub traceparent: Option<&'a str>,
    /// More of it; no values of the data.
    pub detail: Option<&'a str>,
}

/// How bad it is if it does not.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Severity {
    Info,
    Warning,
    Error,
}

impl Severity {
    /// Every one, in the schema's order.
    pub const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Error];

    /// As the event says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl Event for DataQuality<'_> {
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
        66 + 9 * avro::LONG
            + self.service.len()
            + self.dataset.len()
            + self.check.len()
            + self.column.map_or(0, str::len)
            + self.batch.map_or(0, str::len)
            + self.detail.map_or(0, str::len)
    }

    fn encode(&self, into: &mut impl BufMut) {
        avro::long(self.time, into);
        avro::string(self.service, into);
        avro::string(self.dataset, into);
        avro::string(self.check, into);
        avro::optional_string(self.column, into);
        avro::boolean(self.passed, into);
        avro::string(self.severity.as_str(), into);
        avro::optional_double(self.observed, into);
        avro::optional_double(self.expected, into);
        avro::optional_long(self.records_checked, into);
        avro::optional_long(self.records_failed, into);
        avro::optional_string(self.batch, into);
        avro::optional_string(super::super::trace_id(self.traceparent), into);
        avro::optional_string(self.detail, into);
    }
}

static DESCRIPTION: Description = Description {
    number: 11,
    topic: Topic::DataQuality,
    event_type: "carbyne.data.quality",
    schema: Some(&SCHEMA),
};

static SCHEMA: Schema = Schema {
    name: "carbyne.events.DataQuality",
    fingerprint: 0x179d_a09e_13b9_22ec,
    text: include_str!("../../../schemas/data_quality.avsc"),
    fields: &[
        Field::new("time", Type::Long),
        Field::new("service", Type::String),
        Field::new("dataset", Type::String),
        Field::new("check", Type::String),
        Field::new("column", Type::Optional(&Type::String)),
        Field::new("passed", Type::Boolean),
        Field::new("severity", Type::String),
        Field::new("observed", Type::Optional(&Type::Double)),
        Field::new("expected", Type::Optional(&Type::Double)),
        Field::new("records_checked", Type::Optional(&Type::Long)),
        Field::new("records_failed", Type::Optional(&Type::Long)),
        Field::new("batch", Type::Optional(&Type::String)),
        Field::new("trace_id", Type::Optional(&Type::String)),
        Field::new("detail", Type::Optional(&Type::String)),
    ],
};
