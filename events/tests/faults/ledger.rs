//! What was confirmed against what is found.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use carbyne_events::event::Topic;
use carbyne_events::verify::{Missing, Report, Tally, read_spool, read_topics};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::Value;

/// One node's events, as a reader of its own found them.
pub(crate) struct Ledger {
    pub(crate) report: Report,
    confirmed: Vec<String>,
    /// How often each request is in the topic, its id of the event aside.
    found: HashMap<String, u64>,
    /// Events that are there more than once under the same `ce_id`.
    duplicates: u64,
    /// Versions of each key in the order of its partition.
    versions: HashMap<String, Vec<u64>>,
    /// From when to when messages are, by what a broker counts their retention from.
    stamped: (i64, i64),
}

impl Ledger {
    /// Reads audit-api-calls and config-changes by itself, and has `verify` read everything.
    pub(crate) fn read(
        bootstrap: &str,
        client: &[(String, String)],
        node: &str,
        root: Option<&Path>,
        confirmed: Vec<String>,
    ) -> Self {
        let mut tally = Tally::default();
        read_topics(bootstrap, client, &Topic::ALL, &mut tally).unwrap();
        if let Some(root) = root {
            read_spool(root, &mut tally).unwrap();
        }
        let mut report = tally.report();
        let prefix = format!("{node}/");
        report
            .producers
            .retain(|producer| producer.producer.starts_with(&prefix));
        let gaps = || report.producers.iter().flat_map(|producer| &producer.gaps);
        let count = |which: fn(&Missing) -> bool| {
            gaps()
                .filter(|gap| which(&gap.missing))
                .map(|gap| gap.last - gap.first + 1)
                .sum()
        };
        let lost = count(|missing| matches!(missing, Missing::Lost | Missing::LostTail));
        let declared = count(|missing| matches!(missing, Missing::Declared(_)));
        (report.lost, report.declared) = (lost, declared);
        report.duplicates = report
            .producers
            .iter()
            .map(|producer| producer.duplicates)
            .sum();
        let mut ledger = Self {
            report,
            confirmed,
            found: HashMap::new(),
            duplicates: 0,
            versions: HashMap::new(),
            stamped: (i64::MAX, 0),
        };
        let mut ids: HashMap<String, u64> = HashMap::new();
        for topic in ["audit-api-calls", "config-changes"] {
            consume(bootstrap, client, topic, |id, time, value| {
                if !id.starts_with(&prefix) {
                    return;
                }
                let (oldest, newest) = ledger.stamped;
                ledger.stamped = (oldest.min(time), newest.max(time));
                let times = ids.entry(id.to_owned()).or_default();
                *times += 1;
                if *times > 1 {
                    ledger.duplicates += 1;
                    return;
                }
                if let Some(request) = value["request_id"].as_str() {
                    *ledger.found.entry(request.to_owned()).or_default() += 1;
                } else if let Some(entity) = value["entity"].as_str() {
                    let version = value["version"].as_u64().unwrap();
                    ledger
                        .versions
                        .entry(entity.to_owned())
                        .or_default()
                        .push(version);
                }
            });
        }
        ledger
    }

    pub(crate) fn print(&self, fault: &str, acknowledged: u64) {
        // Past the capture of the test's output: the table is what the suite is for.
        let line = format!(
            "ledger · {fault}: emitted {} · acknowledged {acknowledged} · found {} · missing {} · duplicates {} (gone by ce_id) · verify: lost {}, declared {}, duplicates {}\n",
            self.confirmed.len(),
            self.found.len(),
            self.missing(),
            self.duplicates,
            self.report.lost,
            self.report.declared,
            self.report.duplicates,
        );
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }

    /// Confirmed events that are not found.
    pub(crate) fn missing(&self) -> u64 {
        let missing = self
            .confirmed
            .iter()
            .filter(|id| !self.found.contains_key(*id));
        missing.count() as u64
    }

    pub(crate) fn has_all_confirmed(&self) {
        assert_eq!(self.missing(), 0, "of {}", self.confirmed.len());
        assert!(
            self.found.values().all(|times| *times == 1),
            "an event has two ids"
        );
    }

    pub(crate) fn is_complete(&self) {
        self.has_all_confirmed();
        assert!(!self.confirmed.is_empty());
        assert_eq!(self.report.lost, 0, "{:?}", self.report.producers);
        assert_eq!(self.report.unreadable, 0);
    }

    pub(crate) fn keeps_order(&self) {
        for (key, versions) in &self.versions {
            assert!(versions.is_sorted(), "{key}: {versions:?}");
        }
    }

    /// The oldest and the newest message, by milliseconds since 1970.
    pub(crate) fn stamped(&self) -> (i64, i64) {
        self.stamped
    }

    pub(crate) fn changes(&self) -> usize {
        self.versions.values().map(Vec::len).sum()
    }
}

/// Every message of a topic, partition by partition, in order.
fn consume(
    bootstrap: &str,
    client: &[(String, String)],
    topic: &str,
    mut each: impl FnMut(&str, i64, &Value),
) {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "ledger")
        .set("enable.auto.commit", "false");
    for (name, value) in client {
        config.set(name, value);
    }
    let consumer: BaseConsumer = config.create().unwrap();
    let limit = Duration::from_secs(30);
    let metadata = consumer.fetch_metadata(Some(topic), limit).unwrap();
    for partition in metadata.topics()[0].partitions() {
        let (low, high) = consumer
            .fetch_watermarks(topic, partition.id(), limit)
            .unwrap();
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(topic, partition.id(), Offset::Offset(low))
            .unwrap();
        consumer.assign(&from).unwrap();
        let (mut next, since) = (low, Instant::now());
        while next < high {
            assert!(
                since.elapsed() < 2 * limit,
                "{topic}/{} ends at {next} of {high}",
                partition.id()
            );
            let Some(Ok(message)) = consumer.poll(Duration::from_millis(200)) else {
                continue;
            };
            next = message.offset() + 1;
            let headers = message.headers().unwrap();
            let id = headers.iter().find(|header| header.key == "ce_id").unwrap();
            let id = std::str::from_utf8(id.value.unwrap()).unwrap();
            let value = serde_json::from_slice(message.payload().unwrap()).unwrap();
            each(id, message.timestamp().to_millis().unwrap(), &value);
        }
    }
}
