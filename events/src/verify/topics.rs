//! What topics hold, for the tally.

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

/// Reads the topics from their start to where they end now. Topics that are not there are passed over: their events are missing.
/// `client` are further settings by librdkafka's names.
pub fn read_topics(
    bootstrap: &str,
    client: &[(String, String)],
    topics: &[Topic],
    tally: &mut Tally,
) -> Result<(), TopicsError> {
    let consumer = consumer(bootstrap, client)?;
    for topic in topics {
        read(&consumer, *topic, tally)?;
    }
    Ok(())
}

/// A reader that leaves no trace.
pub(super) fn consumer(
    bootstrap: &str,
    client: &[(String, String)],
) -> Result<BaseConsumer, TopicsError> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        // Never joined and never committed to: every partition is read by its number.
        .set("group.id", "carbyne-events-verify")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "false")
        .set("auto.offset.reset", "earliest")
        .set("check.crcs", "true")
        .set("queued.max.messages.kbytes", "16384")
        .set_log_level(RDKafkaLogLevel::Error);
    for (name, value) in client {
        config.set(name, value);
    }
    config.create().map_err(TopicsError::Brokers)
}

fn read(consumer: &BaseConsumer, topic: Topic, tally: &mut Tally) -> Result<(), TopicsError> {
    let failed = |source| TopicsError::Topic { topic, source };
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
        let ask = || consumer.fetch_watermarks(topic.name(), partition, PATIENCE);
        let (low, high) = patiently(ask).map_err(failed)?;
        if low > 0 {
            tally.expires(topic);
        }
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(topic.name(), partition, Offset::Offset(low))
            .and_then(|()| consumer.assign(&from))
            .map_err(failed)?;
        let mut next = low;
        let mut heard = Instant::now();
        while next < high {
            match consumer.poll(Duration::from_millis(200)) {
                Some(Ok(message)) => {
                    heard = Instant::now();
                    // Compaction leaves offsets out.
                    if message.offset() > next {
                        tally.expires(topic);
                    }
                    next = message.offset() + 1;
                    note(topic, &message, tally);
                }
                None => {}
                // It goes on trying.
                Some(Err(error)) if passes(&error) => {}
                Some(Err(error)) => return Err(failed(error)),
            }
            // The last offsets may have been compacted away: the position passes them without a message.
            let position = consumer.position().map_err(failed)?;
            let passed = position
                .find_partition(topic.name(), partition)
                .and_then(|found| found.offset().to_raw());
            if let Some(passed) = passed.filter(|passed| *passed > next) {
                tally.expires(topic);
                next = passed;
            }
            if heard.elapsed() > PATIENCE {
                return Err(TopicsError::Silence {
                    topic,
                    partition,
                    offset: next,
                    end: high,
                    seconds: PATIENCE.as_secs(),
                });
            }
        }
    }
    consumer.unassign().map_err(failed)
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
