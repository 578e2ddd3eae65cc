//! What topics hold, for the tally.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::{Found, Tally};
use crate::envelope::Received;
use crate::event::{Kind, Topic};

/// Why topics could not be read to their end.
#[derive(Debug, thiserror::Error)]
pub enum TopicsError {
    #[error("the brokers do not answer: {0}")]
    Brokers(#[source] KafkaError),
    #[error("{topic} cannot be read: {source}", topic = .topic.name())]
    Topic { topic: Topic, source: KafkaError },
    #[error("{topic}, partition {partition}: nothing came for {seconds} s, and offset {offset} of {end} was reached", topic = .topic.name())]
    Silence {
        topic: Topic,
        partition: i32,
        offset: i64,
        end: i64,
        seconds: u64,
    },
}

/// Reads topics from their start, and when it is asked again from where it stopped.
#[derive(Debug)]
pub struct TopicReader {
    bootstrap: String,
    client: Vec<(String, String)>,
    /// Of each partition what comes next.
    next: BTreeMap<(Topic, i32), i64>,
}

/// Reads the topics from their start to where they end now. Topics that are not there are passed over: their events are missing.
/// `client` are further settings by librdkafka's names.
pub fn read_topics(
    bootstrap: &str,
    client: &[(String, String)],
    topics: &[Topic],
    tally: &mut Tally,
) -> Result<(), TopicsError> {
    TopicReader::new(bootstrap, client).read(topics, tally)
}

impl TopicReader {
    /// Connects when it reads.
    pub fn new(bootstrap: &str, client: &[(String, String)]) -> Self {
        Self {
            bootstrap: bootstrap.to_owned(),
            client: client.to_vec(),
            next: BTreeMap::new(),
        }
    }

    /// Reads to where the topics end now.
    pub fn read(&mut self, topics: &[Topic], tally: &mut Tally) -> Result<(), TopicsError> {
        for topic in topics {
            self.read_topic(*topic, tally)?;
        }
        Ok(())
    }

    fn read_topic(&mut self, topic: Topic, tally: &mut Tally) -> Result<(), TopicsError> {
        // One for each topic: the end of a partition is told by its number alone.
        let consumer = consumer(&self.bootstrap, &self.client, Ends::Told)?;
        let metadata = patiently(|| {
            let metadata = consumer.fetch_metadata(Some(topic.name()), PATIENCE)?;
            let error = metadata.topics().iter().find_map(|found| found.error());
            // A topic that is not there holds nothing; of one that has no leader yet nobody knows, and it is not taken for read.
            match error.map(RDKafkaErrorCode::from) {
                None | Some(RDKafkaErrorCode::UnknownTopicOrPartition) => Ok(metadata),
                Some(code) => Err(KafkaError::MetadataFetch(code)),
            }
        })
        .map_err(TopicsError::Brokers)?;
        let partitions = metadata
            .topics()
            .iter()
            .flat_map(|found| found.partitions());
        let partitions: Vec<i32> = partitions.map(|partition| partition.id()).collect();
        tally.topics_read = true;
        for partition in partitions {
            self.read_partition(&consumer, topic, partition, tally)?;
        }
        Ok(())
    }

    fn read_partition(
        &mut self,
        consumer: &BaseConsumer,
        topic: Topic,
        partition: i32,
        tally: &mut Tally,
    ) -> Result<(), TopicsError> {
        let failed = |source| TopicsError::Topic { topic, source };
        let ask = || consumer.fetch_watermarks(topic.name(), partition, PATIENCE);
        let (low, high) = patiently(ask).map_err(failed)?;
        let next = self.next.entry((topic, partition)).or_insert(0);
        if low > *next {
            tally.expires(topic);
            *next = low;
        }
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(topic.name(), partition, Offset::Offset(*next))
            .and_then(|()| consumer.assign(&from))
            .map_err(failed)?;
        let mut heard = Instant::now();
        while *next < high {
            match consumer.poll(Duration::from_millis(200)) {
                Some(Ok(message)) => {
                    heard = Instant::now();
                    // Compaction leaves offsets out.
                    if message.offset() > *next {
                        tally.expires(topic);
                    }
                    *next = message.offset() + 1;
                    note(topic, &message, tally);
                }
                // Compaction may have taken the last ones too: then no message tells that the end is reached.
                Some(Err(KafkaError::PartitionEOF(of))) if of == partition => {
                    tally.expires(topic);
                    *next = high;
                }
                None | Some(Err(KafkaError::PartitionEOF(_))) => {}
                // It goes on trying.
                Some(Err(error)) if passes(&error) => {}
                Some(Err(error)) => return Err(failed(error)),
            }
            if heard.elapsed() > PATIENCE {
                return Err(TopicsError::Silence {
                    topic,
                    partition,
                    offset: *next,
                    end: high,
                    seconds: PATIENCE.as_secs(),
                });
            }
        }
        Ok(())
    }
}

/// Whether a reader says that it has come to the end of a partition.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ends {
    Told,
    Untold,
}

/// A reader that leaves no trace.
pub(super) fn consumer(
    bootstrap: &str,
    client: &[(String, String)],
    ends: Ends,
) -> Result<BaseConsumer, TopicsError> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        // Never joined and never committed to: every partition is read by its number.
        .set("group.id", "carbyne-events-verify")
        .set("enable.auto.commit", "false")
        .set(
            "enable.partition.eof",
            if ends == Ends::Told { "true" } else { "false" },
        )
        .set("auto.offset.reset", "earliest")
        .set("check.crcs", "true")
        .set("queued.max.messages.kbytes", "16384")
        .set_log_level(RDKafkaLogLevel::Error);
    for (name, value) in client {
        config.set(name, value);
    }
    config.create().map_err(TopicsError::Brokers)
}

fn note<M: Message>(topic: Topic, message: &M, tally: &mut Tally) {
    let headers = message.headers();
    let headers = headers.iter().flat_map(|headers| headers.iter());
    let pairs = headers.map(|header| (header.key, header.value.unwrap_or_default()));
    let received = Received::read(pairs);
    let (Some(producer), Some(epoch), Some(sequence)) =
        (received.producer, received.epoch, received.sequence)
    else {
        tally.foreign += 1;
        return;
    };
    let kind = Kind::all()
        .iter()
        .find(|kind| Some(kind.event_type()) == received.event_type);
    let kind = kind.copied();
    let value = kind.filter(|kind| Tally::tells(*kind)).and_then(|_| {
        let mut json = String::new();
        received.to_json(message.payload()?, &mut json).ok()?;
        Some(json)
    });
    let found = Found {
        producer,
        epoch,
        sequence,
        previous: received.previous,
        kind,
    };
    tally.delivered(topic, found, value.as_deref());
}

/// Asks again while what is in the way passes by itself.
pub(super) fn patiently<T>(
    mut ask: impl FnMut() -> Result<T, KafkaError>,
) -> Result<T, KafkaError> {
    let since = Instant::now();
    loop {
        match ask() {
            Err(error) if passes(&error) && since.elapsed() < PATIENCE => {
                thread::sleep(Duration::from_millis(100));
            }
            answer => return answer,
        }
    }
}

/// Whether it is about who leads, or about a connection: both change, and librdkafka learns of it by asking.
fn passes(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::BrokerDestroy
                | RDKafkaErrorCode::DestroyBroker
                // Of partitions that the brokers have just listed.
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::NotLeaderForPartition
                | RDKafkaErrorCode::LeaderNotAvailable
                | RDKafkaErrorCode::UnknownLeaderEpoch
                | RDKafkaErrorCode::FencedLeaderEpoch
        )
    )
}

const PATIENCE: Duration = Duration::from_secs(30);
