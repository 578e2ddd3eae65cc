//! What surrounds a body in a topic: CloudEvents 1.0 in its binary mode for Kafka, and the form of the value.
//!
//! | header | |
//! |---|---|
//! | `ce_specversion` `ce_id` `ce_source` `ce_type` `ce_time` `ce_subject` `ce_dataschema` | CloudEvents; the id is producer/epoch/sequence, the subject is the key |
//! | `content-type` | the form of the value; a tombstone has none |
//! | `traceparent` | W3C's |
//! | `producer` `epoch` `sequence` `previous` | the proof that nothing is missing |

mod read;
mod time;

#[cfg(test)]
mod tests;

use crate::avro::{self, Corrupt};
use crate::event::Kind;

pub use read::{Received, Unreadable};
pub use time::{Date, Timestamp};

/// How a value is written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Form {
    /// An object with the schema's fields.
    #[default]
    Json,
    /// Avro's single-object encoding: the schema's fingerprint in front.
    Avro,
    /// As a schema registry's clients read it: the registry's number for the schema in front.
    Confluent { id: u32 },
}

/// An event as a topic has it, but for its value.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    pub kind: Kind,
    /// Microseconds since 1970.
    pub time: u64,
    pub key: Option<&'a [u8]>,
    pub traceparent: Option<&'a str>,
    /// node/role/worker.
    pub producer: &'a str,
    pub epoch: u64,
    pub sequence: u64,
    /// The producer's sequence before this one in the same topic.
    pub previous: Option<u64>,
}

impl Envelope<'_> {
    /// Calls `each` with every header.
    pub fn headers(&self, form: Form, mut each: impl FnMut(&'static str, &[u8])) {
        let mut text = String::with_capacity(128);
        let mut number = |name, number: u64, each: &mut dyn FnMut(&'static str, &[u8])| {
            text.clear();
            text.push_str(&number.to_string());
            each(name, text.as_bytes());
        };
        number(PRODUCER_EPOCH, self.epoch, &mut each);
        number(SEQUENCE, self.sequence, &mut each);
        if let Some(previous) = self.previous {
            number(PREVIOUS, previous, &mut each);
        }
        each(PRODUCER, self.producer.as_bytes());
        each("ce_specversion", b"1.0");
        let id = format!("{}/{}/{}", self.producer, self.epoch, self.sequence);
        each(ID, id.as_bytes());
        each(SOURCE, format!("/{}", self.producer).as_bytes());
        each(TYPE, self.kind.event_type().as_bytes());
        each(TIME, Timestamp::of(self.time).as_str().as_bytes());
        // The attribute is text; a key of bytes names nothing that could be read.
        if let Some(key) = self.key
            && std::str::from_utf8(key).is_ok_and(|key| !key.is_empty())
        {
            each(SUBJECT, key);
        }
        if let Some(schema) = self.kind.schema() {
            let urn = format!("{URN}{}:{:016x}", schema.name, schema.fingerprint);
            each(SCHEMA, urn.as_bytes());
            each(CONTENT_TYPE, form.content_type().as_bytes());
        }
        if let Some(traceparent) = self.traceparent {
            each(TRACEPARENT, traceparent.as_bytes());
        }
    }
}

impl Form {
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Avro => "avro/binary",
            Self::Confluent { .. } => "application/vnd.confluent.avro",
        }
    }

    /// Appends the value that an Avro body makes. False for a tombstone: its value is null, not empty.
    pub fn value(self, kind: Kind, body: &[u8], into: &mut Vec<u8>) -> Result<bool, Corrupt> {
        let Some(schema) = kind.schema() else {
            return Ok(false);
        };
        match self {
            Self::Json => {
                let mut text = String::with_capacity(body.len() * 3);
                avro::to_json(schema, body, &mut text)?;
                into.extend_from_slice(text.as_bytes());
            }
            Self::Avro => {
                into.extend_from_slice(&SINGLE_OBJECT);
                into.extend_from_slice(&schema.fingerprint.to_le_bytes());
                into.extend_from_slice(body);
            }
            Self::Confluent { id } => {
                into.push(MAGIC);
                into.extend_from_slice(&id.to_be_bytes());
                into.extend_from_slice(body);
            }
        }
        Ok(true)
    }
}

const ID: &str = "ce_id";
const SOURCE: &str = "ce_source";
const TYPE: &str = "ce_type";
const TIME: &str = "ce_time";
const SUBJECT: &str = "ce_subject";
const SCHEMA: &str = "ce_dataschema";
const CONTENT_TYPE: &str = "content-type";
const TRACEPARENT: &str = "traceparent";
const PRODUCER: &str = "producer";
const PRODUCER_EPOCH: &str = "epoch";
const SEQUENCE: &str = "sequence";
const PREVIOUS: &str = "previous";
/// Where newer clients of a registry say which schema, instead of in front of the value.
const SCHEMA_ID: &str = "__value_schema_id";

const URN: &str = "urn:carbyne:schema:";
const SINGLE_OBJECT: [u8; 2] = [0xc3, 0x01];
const MAGIC: u8 = 0;
