//! One event among many: whether a topic holds it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::topics::{Ends, TopicsError, consumer, patiently};
use crate::event::Topic;

/// True once a topic holds a message that came no earlier than `since` and has these bytes in its value; false if none comes within
/// the limit.
pub fn find_in_topic(
    bootstrap: &str,
    client: &[(String, String)],
    topic: Topic,
    since: SystemTime,
    words: &[u8],
    limit: Duration,
) -> Result<bool, TopicsError> {
    let end = Instant::now() + limit;
    let failed = |source| TopicsError::Topic { topic, source };
    let consumer: BaseConsumer = consumer(bootstrap, client, Ends::Untold)?;
    let metadata = patiently(|| consumer.fetch_metadata(Some(topic.name()), limit))
        .map_err(TopicsError::Brokers)?;
    let since = since.duration_since(UNIX_EPOCH).unwrap_or_default();
    let since = i64::try_from(since.as_millis()).unwrap_or(0);
    let mut times = TopicPartitionList::new();
    let mut ends = BTreeMap::new();
    let partitions = metadata.topics().iter();
    for partition in partitions.flat_map(|found| found.partitions()) {
        let id = partition.id();
        // Before the question by time: what comes between the two is behind this end.
        let (_, end) =
            patiently(|| consumer.fetch_watermarks(topic.name(), id, limit)).map_err(failed)?;
        ends.insert(id, end);
        times
            .add_partition_offset(topic.name(), id, Offset::Offset(since))
            .map_err(failed)?;
    }
    let mut from = consumer.offsets_for_times(times, limit).map_err(failed)?;
    for (id, end) in ends {
        let first = from.find_partition(topic.name(), id);
        if first.is_none_or(|first| first.offset().to_raw().is_none_or(|offset| offset < 0)) {
            from.set_partition_offset(topic.name(), id, Offset::Offset(end))
                .map_err(failed)?;
        }
    }
    consumer.assign(&from).map_err(failed)?;
    while Instant::now() < end {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let value = message.payload().unwrap_or_default();
                if value.windows(words.len()).any(|part| part == words) {
                    return Ok(true);
                }
            }
            // It goes on trying.
            Some(Err(KafkaError::MessageConsumption(
                RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown,
            )))
            | None => {}
            Some(Err(error)) => return Err(failed(error)),
        }
    }
    Ok(false)
}
