//! What a topic holds, read back.

use super::{
    CONTENT_TYPE, Form, ID, MAGIC, PREVIOUS, PRODUCER, PRODUCER_EPOCH, SCHEMA, SCHEMA_ID, SEQUENCE,
    SINGLE_OBJECT, SUBJECT, TIME, TRACEPARENT, TYPE, URN,
};
use crate::avro::{self, Corrupt, Schema};
use crate::event::Kind;

/// An event's headers. What is missing was not there, or was no text.
#[derive(Clone, Copy, Debug, Default)]
pub struct Received<'a> {
    pub id: Option<&'a str>,
    pub event_type: Option<&'a str>,
    pub time: Option<&'a str>,
    pub subject: Option<&'a str>,
    pub traceparent: Option<&'a str>,
    pub producer: Option<&'a str>,
    pub epoch: Option<u64>,
    pub sequence: Option<u64>,
    pub previous: Option<u64>,
    content_type: Option<&'a str>,
    schema: Option<&'a str>,
    /// The registry's name for the schema stands in a header, not in front of the value.
    unframed: bool,
}

/// A value that cannot be told in JSON.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unreadable {
    #[error("its schema is not known here: {0}")]
    Schema(String),
    #[error("its content type is not known here: {0}")]
    ContentType(String),
    #[error("the value does not begin as {0} does")]
    Frame(&'static str),
    #[error("the value is no JSON text")]
    Text,
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
}

impl<'a> Received<'a> {
    pub fn read(headers: impl Iterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut read = Self::default();
        for (name, value) in headers {
            if name == SCHEMA_ID {
                read.unframed = true;
                continue;
            }
            let Ok(text) = std::str::from_utf8(value) else {
                continue;
            };
            match name {
                ID => read.id = Some(text),
                TYPE => read.event_type = Some(text),
                TIME => read.time = Some(text),
                SUBJECT => read.subject = Some(text),
                SCHEMA => read.schema = Some(text),
                CONTENT_TYPE => read.content_type = Some(text),
                TRACEPARENT => read.traceparent = Some(text),
                PRODUCER => read.producer = Some(text),
                PRODUCER_EPOCH => read.epoch = text.parse().ok(),
                SEQUENCE => read.sequence = text.parse().ok(),
                PREVIOUS => read.previous = text.parse().ok(),
                _ => {}
            }
        }
        read
    }

    /// The schema that the value was written by.
    pub fn schema(&self) -> Option<&'static Schema> {
        let (name, print) = self.schema?.strip_prefix(URN)?.rsplit_once(':')?;
        let print = u64::from_str_radix(print, 16).ok()?;
        let schemas = Kind::all().iter().filter_map(|kind| kind.schema());
        let mut schemas = schemas.filter(|schema| schema.fingerprint == print);
        schemas.find(|schema| schema.name == name)
    }

    /// Appends a value's JSON form.
    pub fn to_json(&self, value: &[u8], into: &mut String) -> Result<(), Unreadable> {
        let content_type = self.content_type.unwrap_or("application/json");
        let is = |form: Form| content_type == form.content_type();
        if is(Form::Json) || content_type.ends_with("+json") {
            into.push_str(std::str::from_utf8(value).map_err(|_| Unreadable::Text)?);
            return Ok(());
        }
        let body = if self.unframed {
            value
        } else if is(Form::Avro) {
            let framed = value.strip_prefix(&SINGLE_OBJECT);
            let body = framed.and_then(|framed| framed.get(8..));
            body.ok_or(Unreadable::Frame("Avro's single-object encoding"))?
        } else if is(Form::Confluent { id: 0 }) || content_type == "application/avro" {
            let framed = value.strip_prefix(&[MAGIC]);
            let body = framed.and_then(|framed| framed.get(4..));
            body.ok_or(Unreadable::Frame("a registry's frame"))?
        } else {
            return Err(Unreadable::ContentType(content_type.to_owned()));
        };
        let unknown = || Unreadable::Schema(self.schema.unwrap_or("none is named").to_owned());
        let schema = self.schema().ok_or_else(unknown)?;
        avro::to_json(schema, body, into)?;
        Ok(())
    }
}
