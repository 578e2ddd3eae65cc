//! The client, and what it reports.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::statistics::Statistics;

use super::Settings;

/// One producer. Whatever is in it when it goes is owed still.
pub(super) struct Link {
    producer: BaseProducer<Context>,
    /// The largest batch, in bytes.
    pub(super) batch: usize,
}

/// What became of a record.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) place: usize,
    pub(super) error: Option<RDKafkaErrorCode>,
}

/// What the client has said since it was last asked.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) reports: Vec<Report>,
    pub(super) errors: Vec<(RDKafkaErrorCode, String)>,
    pub(super) statistics: Option<Numbers>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Numbers {
    pub(super) retries: u64,
    pub(super) brokers_up: u64,
}

/// Callbacks run where the producer is polled: on the shipper's thread.
#[derive(Debug, Default)]
struct Context {
    news: Mutex<News>,
}

/// A record as it goes to the client.
#[derive(Debug)]
pub(super) struct Message<'a> {
    pub(super) topic: &'static str,
    pub(super) key: Option<&'a [u8]>,
    /// None for a tombstone.
    pub(super) value: Option<&'a [u8]>,
    /// Milliseconds since 1970.
    pub(super) timestamp: i64,
    pub(super) headers: OwnedHeaders,
    pub(super) place: usize,
}

impl Link {
    pub(super) fn open(settings: &Settings, batch: usize) -> Result<Self, KafkaError> {
        let mut config = config(settings);
        config.set("batch.size", batch.to_string());
        config.set("queue.buffering.max.messages", settings.window.to_string());
        Ok(Self {
            producer: BaseProducer::from_config_and_context(&config, Context::default())?,
            batch,
        })
    }

    /// Hands a record over; gives the error back where it is not taken.
    pub(super) fn send(&self, message: Message<'_>) -> Result<(), RDKafkaErrorCode> {
        let mut record =
            BaseRecord::<[u8], [u8], usize>::with_opaque_to(message.topic, message.place)
                .timestamp(message.timestamp)
                .headers(message.headers);
        record.key = message.key;
        record.payload = message.value;
        self.producer
            .send(record)
            .map_err(|(error, _)| error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail))
    }

    /// Has the client report all that it has after this time.
    pub(super) fn poll(&self, time: Duration) -> News {
        // Not the producer's own wait: it counts whole milliseconds, and computes through the last of them.
        if !time.is_zero() {
            thread::sleep(time);
        }
        let heard = || self.producer.context().lock().heard();
        let mut before = heard();
        loop {
            // One of the client's events, which may hold many reports.
            self.producer.poll(Duration::ZERO);
            let now = heard();
            if now == before {
                break;
            }
            before = now;
        }
        std::mem::take(&mut *self.producer.context().lock())
    }

    /// What has ended this producer for good.
    pub(super) fn fatal(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.producer.client().fatal_error()
    }

    /// Whether the topic is there now. Asking also makes the client forget that it was not.
    pub(super) fn has_topic(&self, topic: &str, limit: Duration) -> bool {
        let metadata = self.producer.client().fetch_metadata(Some(topic), limit);
        metadata.is_ok_and(|metadata| {
            metadata
                .topics()
                .iter()
                .any(|found| found.error().is_none() && !found.partitions().is_empty())
        })
    }
}

/// Settings that every client of ours shares, the user's own last.
fn config(settings: &Settings) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set_log_level(RDKafkaLogLevel::Error);
    for (name, value) in DEFAULTS {
        config.set(*name, *value);
    }
    config.set("bootstrap.servers", &settings.bootstrap);
    for (name, value) in &settings.client {
        config.set(name, value);
    }
    // What the proof stands on is not for choice.
    for (name, value) in FIXED {
        config.set(*name, *value);
    }
    config
}

/// A client of the same brokers for questions: no producer's settings.
pub(super) fn questions(settings: &Settings) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set_log_level(RDKafkaLogLevel::Error);
    config.set("bootstrap.servers", &settings.bootstrap);
    for (name, value) in &settings.client {
        if PRODUCERS.contains(&name.as_str()) {
            continue;
        }
        config.set(name, value);
    }
    config
}

impl News {
    /// Grows with whatever was said.
    fn heard(&self) -> (usize, usize, bool) {
        let errors = self.errors.len();
        (self.reports.len(), errors, self.statistics.is_some())
    }
}

impl ClientContext for Context {
    fn stats(&self, statistics: Statistics) {
        let brokers = statistics.brokers.values();
        let numbers = Numbers {
            retries: brokers.clone().map(|broker| broker.txretries).sum(),
            // The bootstrap's address is a broker of its own in the client's eyes until the brokers are known.
            brokers_up: brokers
                .filter(|broker| broker.state == "UP" && broker.nodeid >= 0)
                .count() as u64,
        };
        self.lock().statistics = Some(numbers);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        let mut news = self.lock();
        if news.errors.len() < ERRORS_KEPT {
            news.errors.push((code, reason.to_owned()));
        }
    }

    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {
        // The same is said by `error` and by reports.
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, place: usize) {
        let error = result
            .as_ref()
            .err()
            .map(|(error, _)| error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail));
        self.lock().reports.push(Report { place, error });
    }
}

impl Context {
    fn lock(&self) -> std::sync::MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds a header's text.
pub(super) fn header(headers: OwnedHeaders, key: &str, value: &[u8]) -> OwnedHeaders {
    headers.insert(Header {
        key,
        value: Some(value),
    })
}

/// Counts errors by their names.
pub(super) fn count(errors: &mut BTreeMap<String, u64>, code: RDKafkaErrorCode) {
    *errors.entry(format!("{code:?}")).or_default() += 1;
}

const DEFAULTS: &[(&str, &str)] = &[
    ("batch.num.messages", "10000"),
    ("compression.type", "lz4"),
    ("linger.ms", "5"),
    // A topic that is made while we run is seen soon, one that is not there is said soon.
    ("topic.metadata.refresh.interval.ms", "30000"),
    ("topic.metadata.propagation.max.ms", "5000"),
    ("queue.buffering.max.kbytes", "32768"),
    ("reconnect.backoff.max.ms", "2000"),
    ("retry.backoff.max.ms", "1000"),
    ("socket.keepalive.enable", "true"),
    ("sticky.partitioning.linger.ms", "10"),
    ("statistics.interval.ms", "5000"),
];

const FIXED: &[(&str, &str)] = &[
    ("enable.idempotence", "true"),
    // Java's clients place keys so; others would put a key into another partition.
    ("partitioner", "murmur2_random"),
    // The spool waits for ever, and so does the client.
    ("message.timeout.ms", "0"),
    // What is too large is the topic's to say.
    ("message.max.bytes", "16777216"),
];

/// Settings of producers, which other clients do not know.
const PRODUCERS: &[&str] = &[
    "batch.num.messages",
    "batch.size",
    "compression.type",
    "linger.ms",
    "queue.buffering.max.kbytes",
    "sticky.partitioning.linger.ms",
];

const ERRORS_KEPT: usize = 64;

/// Batches of topics with Kafka's own limit.
pub(super) const BATCH: usize = 1_000_000;
