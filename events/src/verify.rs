//! The proof: what was emitted is there, or it is known what is not.
//!
//! A producer counts its events without a hole, over all topics; its epoch grows with every start. So whatever of a producer's epoch is
//! neither in the topics nor in the spool is missing. How far the count went is told by what comes later: heartbeats and closings in the
//! topics, ledger and rings beside the spool. So a lost tail is seen too.
//!
//! A missing sequence is
//! - **declared** where an `AuditGap` says that it was dropped, and why;
//! - **expired** where it may have been in a topic that has deleted events by its retention or its compaction, and no event of another
//!   topic refers to it as the one before it;
//! - **lost** otherwise.
//!
//! Spools and topics are read one after the other while events go on, so what was emitted and shipped between two questions may be seen
//! nowhere. What looks lost is therefore looked for once more: [`examine`].

mod bits;
mod find;
mod report;
mod spool;
mod topics;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde_json::Value;

use crate::event::{AuditGap, Closing, Event, Heartbeat, Kind, Topic};
use bits::Bits;

pub use find::find_in_topic;
pub use report::{Gap, Missing, ProducerReport, Report, Tail};
pub use spool::read_spool;
pub use topics::{TopicReader, TopicsError, read_topics};

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum ExamineError {
    #[error("the spools cannot be read: {0}")]
    Spool(#[source] io::Error),
    #[error(transparent)]
    Topics(#[from] TopicsError),
}

/// Reads the spools below a folder and the topics, and says what is missing. Processes may emit and ship meanwhile.
pub fn examine(
    spool: Option<&Path>,
    mut topics: Option<TopicReader>,
) -> Result<Report, ExamineError> {
    let mut tally = Tally::default();
    let mut look = |tally: &mut Tally| {
        // In this order: what a spool has no longer, a topic has already.
        if let Some(root) = spool {
            read_spool(root, tally).map_err(ExamineError::Spool)?;
        }
        if let Some(topics) = &mut topics {
            topics.read(&Topic::ALL, tally)?;
        }
        Ok::<(), ExamineError>(())
    };
    look(&mut tally)?;
    if tally.report().lost > 0 {
        // What was claimed was emitted before now, so that it is in the spool by now, or in the topics.
        tally.hold();
        look(&mut tally)?;
    }
    Ok(tally.report())
}

/// What has been found of all producers.
#[derive(Debug, Default)]
pub struct Tally {
    producers: BTreeMap<(String, u64), Producer>,
    /// Topics that have deleted events, so that what was in them may be missing.
    expiring: [bool; Topic::ALL.len()],
    topics_read: bool,
    /// What is found is found, but nothing more is claimed.
    held: bool,
    damages: u64,
    damaged_heads: u64,
    damaged_bytes: u64,
    /// Events without a producer's headers.
    foreign: u64,
    unreadable: u64,
}

#[derive(Debug, Default)]
struct Producer {
    seen: Bits,
    /// Seen in a topic: only there can something be twice.
    delivered: Bits,
    duplicates: u64,
    /// Of each topic what its events name as the one before them.
    previous: BTreeMap<usize, Bits>,
    declared: Vec<(u64, u64, String)>,
    /// The count went at least as far.
    claimed: u64,
    closed: bool,
    /// What comes before has been acknowledged, and is not in the spool any more.
    acknowledged: Option<u64>,
}

/// An event as it was found.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    pub producer: &'a str,
    pub epoch: u64,
    pub sequence: u64,
    pub previous: Option<u64>,
    pub kind: Option<Kind>,
}

impl Tally {
    /// Takes an event of a topic, with its value in JSON where that says something of other events.
    pub fn delivered(&mut self, topic: Topic, found: Found<'_>, value: Option<&str>) {
        self.topics_read = true;
        if !self.wants(found) {
            return;
        }
        let held = self.held;
        let producer = self.producer(found.producer, found.epoch);
        if !producer.delivered.set(found.sequence) {
            producer.duplicates += 1;
        }
        producer.seen.set(found.sequence);
        producer.claim(found.sequence, held);
        if let Some(previous) = found.previous {
            producer
                .previous
                .entry(topic as usize)
                .or_default()
                .set(previous);
        }
        self.understand(found, value);
    }

    /// Takes a record of a spool.
    pub fn spooled(&mut self, found: Found<'_>, value: Option<&str>) {
        if !self.wants(found) {
            return;
        }
        let held = self.held;
        let producer = self.producer(found.producer, found.epoch);
        producer.seen.set(found.sequence);
        producer.claim(found.sequence, held);
        self.understand(found, value);
    }

    /// The producer's count went at least as far as this.
    pub fn claim(&mut self, producer: &str, epoch: u64, last: u64, closed: bool) {
        let held = self.held;
        let producer = self.producer(producer, epoch);
        producer.claim(last, held);
        producer.closed |= closed;
    }

    /// From now on is only looked for what has been claimed so far.
    pub fn hold(&mut self) {
        self.held = true;
    }

    fn wants(&self, found: Found<'_>) -> bool {
        let claimed = || {
            let key = (found.producer.to_owned(), found.epoch);
            self.producers.get(&key).map_or(0, |known| known.claimed)
        };
        !self.held || found.sequence <= claimed()
    }

    /// A place of a spool cannot be read.
    fn damage(&mut self, bytes: u64) {
        if !self.held {
            self.damages += 1;
            self.damaged_bytes += bytes;
        }
    }

    /// The head of a segment cannot be read.
    fn damage_head(&mut self) {
        self.damaged_heads += u64::from(!self.held);
    }

    /// A topic has deleted events.
    pub fn expires(&mut self, topic: Topic) {
        self.expiring[topic as usize] = true;
    }

    /// Whether the value of such an event says something of others.
    pub fn tells(kind: Kind) -> bool {
        [AuditGap::KIND, Heartbeat::KIND, Closing::KIND].contains(&kind)
    }

    fn understand(&mut self, found: Found<'_>, value: Option<&str>) {
        let Some(kind) = found.kind.filter(|kind| Self::tells(*kind)) else {
            return;
        };
        let Some(value) = value.and_then(|value| serde_json::from_str::<Value>(value).ok()) else {
            self.unreadable += u64::from(!self.held);
            return;
        };
        let number = |name: &str| value[name].as_u64();
        let (Some(name), Some(epoch)) = (value["producer"].as_str(), number("epoch")) else {
            self.unreadable += u64::from(!self.held);
            return;
        };
        let held = self.held;
        if kind == AuditGap::KIND {
            if let (Some(first), Some(last)) = (number("first_sequence"), number("last_sequence")) {
                let topic = value["topic"].as_str().unwrap_or_default();
                let reason = value["reason"].as_str().unwrap_or_default();
                let said = (first, last, format!("{topic} {reason}").trim().to_owned());
                let producer = self.producer(name, epoch);
                producer.claim(last, held);
                if !producer.declared.contains(&said) {
                    producer.declared.push(said);
                }
            }
        } else if let Some(sequence) = number("sequence") {
            // Its own sequence is the next.
            self.claim(name, epoch, sequence, kind == Closing::KIND);
        }
    }

    fn producer(&mut self, name: &str, epoch: u64) -> &mut Producer {
        // Most events are of a producer that is known: no copy of its name.
        let key = (name.to_owned(), epoch);
        self.producers.entry(key).or_default()
    }
}

impl Producer {
    fn claim(&mut self, last: u64, held: bool) {
        if !held {
            self.claimed = self.claimed.max(last.min(LARGEST));
        }
    }
}

/// No producer counts so far, whatever an event says of it.
const LARGEST: u64 = u64::MAX / 2;

#[cfg(test)]
mod tests;
