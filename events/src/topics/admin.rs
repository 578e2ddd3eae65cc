//! A cluster's administration, asked with an end to every wait.

mod connection;

use std::{
    collections::BTreeMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    admin::{
        AdminOptions, ConfigResource, ConfigSource, NewPartitions, NewTopic, ResourceSpecifier,
        TopicReplication,
    },
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    metadata::{Metadata, MetadataBroker},
    producer::Producer,
};

use self::connection::Connection;
use super::{
    incremental,
    state::{Actual, Partition, State},
};

/// Where a cluster is, and as whom to come.
#[derive(Clone)]
pub struct Access {
    /// `host:port`, several by commas.
    pub bootstrap: String,
    /// Further properties of librdkafka, such as `sasl.password`.
    pub properties: Vec<(String, String)>,
    /// How long one question may take.
    pub limit: Duration,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The properties hold passwords.
        let names: Vec<&str> = self
            .properties
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        formatter
            .debug_struct("Access")
            .field("bootstrap", &self.bootstrap)
            .field("properties", &names)
            .field("limit", &self.limit)
            .finish()
    }
}

/// Why a cluster did not answer as it should.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AdminError {
    /// A property that librdkafka does not know, or a value that it does not take.
    #[error("{0}")]
    Property(String),
    /// Nobody answers.
    #[error("{bootstrap}: no answer within {limit:?} to {asked}{}", last.as_ref().map(|last| format!(" ({last})")).unwrap_or_default())]
    Late {
        /// Where.
        bootstrap: String,
        /// What was asked for.
        asked: &'static str,
        /// The time that it had.
        limit: Duration,
        /// What the client complained of last.
        last: Option<String>,
    },
    /// Name or password are wrong.
    #[error("{bootstrap}: {reason}")]
    Authentication {
        /// Where.
        bootstrap: String,
        /// What the client says.
        reason: String,
    },
    /// The cluster says no to a question.
    #[error("{asked}: {error}")]
    Refused {
        /// What was asked for.
        asked: &'static str,
        /// Why not.
        error: KafkaError,
    },
    /// The cluster says no about a topic.
    #[error("{topic}: the cluster does not tell its {asked}: {code}")]
    Hidden {
        /// Which.
        topic: String,
        /// What it does not tell.
        asked: &'static str,
        /// Why.
        code: String,
    },
    /// The system has no thread left.
    #[error("cannot start a thread: {0}")]
    Thread(Arc<std::io::Error>),
}

/// What the cluster says to one topic of a request.
pub(super) type Verdict = (String, Result<(), String>);

/// A cluster's administration.
#[derive(Clone, Debug)]
pub struct Admin {
    connection: Connection,
}

impl Admin {
    /// Makes a client; connects to nobody yet.
    ///
    /// # Errors
    /// When a property is wrong.
    pub fn new(access: Access) -> Result<Self, AdminError> {
        Connection::new(access).map(|connection| Self { connection })
    }

    /// Where it goes.
    #[must_use]
    pub fn bootstrap(&self) -> &str {
        &self.connection.access.bootstrap
    }

    /// Reads what there is: every topic that is not Kafka's own, with the settings of those that are asked for.
    ///
    /// # Errors
    /// When nobody answers in time, or the cluster hides something.
    pub fn state(&self, with_settings: impl Fn(&str) -> bool) -> Result<State, AdminError> {
        let (told, broker) = self.connection.ask("its metadata", move |clients, limit| {
            let metadata = clients.metadata(limit)?;
            // Known with the metadata: this waits for nothing.
            let cluster = clients
                .reader
                .client()
                .fetch_cluster_id(limit)
                .unwrap_or_default();
            Ok((read(&metadata, cluster), one_of(&metadata)))
        })?;
        let mut state = told.map_err(|(topic, code)| AdminError::Hidden {
            topic,
            asked: "partitions",
            code,
        })?;
        let names: Vec<String> = state
            .topics
            .keys()
            .filter(|name| with_settings(name))
            .cloned()
            .collect();
        for some in names.chunks(AT_ONCE) {
            for (topic, config) in self.topic_settings(some)? {
                if let Some(actual) = state.topics.get_mut(&topic) {
                    actual.config = config;
                }
            }
        }
        if let Some(broker) = broker {
            state.broker_config = self.broker_settings(broker)?;
        }
        Ok(state)
    }

    /// How many messages a topic holds, at most: compaction leaves gaps.
    ///
    /// # Errors
    /// When nobody answers in time.
    pub fn messages(&self, topic: &str, partitions: usize) -> Result<u64, AdminError> {
        let topic = topic.to_owned();
        self.connection
            .ask("the offsets of a topic", move |clients, limit| {
                let mut messages = 0;
                for partition in 0..partitions {
                    let partition = i32::try_from(partition).unwrap_or(i32::MAX);
                    let (low, high) = clients
                        .reader
                        .client()
                        .fetch_watermarks(&topic, partition, limit)?;
                    messages += u64::try_from(high - low).unwrap_or(0);
                }
                Ok(messages)
            })
    }

    pub(super) fn create(
        &self,
        topics: Vec<NewTopicSpec>,
        validate: bool,
    ) -> Result<Vec<Verdict>, AdminError> {
        self.connection.ask("making topics", move |clients, limit| {
            let new = topics.iter().map(|spec| {
                // Declared numbers are far below what this type holds.
                let partitions = i32::try_from(spec.partitions).unwrap_or(i32::MAX);
                let replication = i32::try_from(spec.replication).unwrap_or(i32::MAX);
                let topic =
                    NewTopic::new(&spec.name, partitions, TopicReplication::Fixed(replication));
                spec.config
                    .iter()
                    .fold(topic, |topic, (name, value)| topic.set(name, value))
            });
            let new: Vec<NewTopic<'_>> = new.collect();
            let said = block_on(
                clients
                    .admin
                    .create_topics(&new, &options(limit).validate_only(validate)),
            )?;
            Ok(said.into_iter().map(verdict).collect())
        })
    }

    pub(super) fn grow(
        &self,
        topics: Vec<(String, usize)>,
        validate: bool,
    ) -> Result<Vec<Verdict>, AdminError> {
        self.connection
            .ask("adding partitions", move |clients, limit| {
                let new: Vec<NewPartitions<'_>> = topics
                    .iter()
                    .map(|(name, count)| NewPartitions::new(name, *count))
                    .collect();
                let said = block_on(
                    clients
                        .admin
                        .create_partitions(&new, &options(limit).validate_only(validate)),
                )?;
                Ok(said.into_iter().map(verdict).collect())
            })
    }

    pub(super) fn set(
        &self,
        topics: Vec<incremental::Settings>,
        validate: bool,
    ) -> Result<Vec<Verdict>, AdminError> {
        self.connection
            .ask("changing settings", move |clients, limit| {
                incremental::alter(clients.admin.inner(), &topics, validate, limit)
            })
    }

    pub(super) fn delete(&self, topics: Vec<String>) -> Result<Vec<Verdict>, AdminError> {
        self.connection
            .ask("deleting topics", move |clients, limit| {
                let names: Vec<&str> = topics.iter().map(String::as_str).collect();
                let said = block_on(clients.admin.delete_topics(&names, &options(limit)))?;
                Ok(said.into_iter().map(verdict).collect())
            })
    }

    /// Of one broker, what decides about topics and messages. Whoever may not read it gets none: nothing depends on it but advice.
    /// What is set on topics. Who is asked may not have heard yet of a topic that the broker before has told of, and the client does not say
    /// that it is this: so it is asked again for a while.
    fn topic_settings(
        &self,
        topics: &[String],
    ) -> Result<Vec<(String, BTreeMap<String, String>)>, AdminError> {
        let deadline = Instant::now() + HEARSAY;
        loop {
            let some = topics.to_vec();
            let told = self
                .connection
                .ask("the settings of topics", move |clients, limit| {
                    let topics: Vec<ResourceSpecifier<'_>> = some
                        .iter()
                        .map(|name| ResourceSpecifier::Topic(name))
                        .collect();
                    clients.read(limit, |limit| {
                        block_on(clients.admin.describe_configs(&topics, &options(limit)))
                    })
                })?;
            let told = topics.iter().zip(told).map(|(topic, resource)| {
                let config = settings(resource).map_err(|code| AdminError::Hidden {
                    topic: topic.clone(),
                    asked: "settings",
                    code,
                })?;
                Ok((topic.clone(), config))
            });
            match told.collect() {
                Err(AdminError::Hidden { .. }) if Instant::now() < deadline => {
                    thread::sleep(BETWEEN);
                }
                told => return told,
            }
        }
    }

    fn broker_settings(&self, broker: i32) -> Result<BTreeMap<String, String>, AdminError> {
        let told = self
            .connection
            .ask("the settings of a broker", move |clients, limit| {
                let broker = [ResourceSpecifier::Broker(broker)];
                clients.read(limit, |limit| {
                    block_on(clients.admin.describe_configs(&broker, &options(limit)))
                })
            });
        let told = match told {
            Err(AdminError::Refused { .. }) => return Ok(BTreeMap::new()),
            told => told?,
        };
        let entries = told
            .into_iter()
            .flatten()
            .flat_map(|resource| resource.entries);
        let wanted = entries.filter(|entry| BROKER_SETTINGS.contains(&entry.name.as_str()));
        Ok(wanted
            .filter_map(|entry| Some((entry.name, entry.value?)))
            .collect())
    }
}

/// A topic to make.
#[derive(Clone, Debug)]
pub(super) struct NewTopicSpec {
    pub(super) name: String,
    pub(super) partitions: usize,
    pub(super) replication: usize,
    pub(super) config: BTreeMap<String, String>,
}

/// A broker to ask for its settings: the one that answered. Over an address of the bootstrap list that one may have no number yet, then the
/// first will do.
fn one_of(metadata: &Metadata) -> Option<i32> {
    let known = || metadata.brokers().iter().map(MetadataBroker::id);
    known()
        .find(|id| *id == metadata.orig_broker_id())
        .or_else(|| known().min())
}

fn read(metadata: &Metadata, cluster: String) -> Result<State, (String, String)> {
    let mut brokers: Vec<i32> = metadata.brokers().iter().map(MetadataBroker::id).collect();
    brokers.sort_unstable();
    let mut topics = BTreeMap::new();
    // Kafka's own begin with two underscores.
    for topic in metadata
        .topics()
        .iter()
        .filter(|topic| !topic.name().starts_with("__"))
    {
        if let Some(error) = topic.error() {
            let code = RDKafkaErrorCode::from(error);
            // What is being deleted, or not yet known to the broker that was asked.
            if code == RDKafkaErrorCode::UnknownTopicOrPartition
                || code == RDKafkaErrorCode::LeaderNotAvailable
            {
                continue;
            }
            return Err((topic.name().to_owned(), code.to_string()));
        }
        let mut partitions: Vec<_> = topic.partitions().iter().collect();
        partitions.sort_by_key(|partition| partition.id());
        let partitions = partitions.into_iter().map(|partition| Partition {
            leader: Some(partition.leader()).filter(|leader| *leader >= 0),
            replicas: partition.replicas().to_vec(),
            in_sync: partition.isr().to_vec(),
        });
        let actual = Actual {
            partitions: partitions.collect(),
            config: BTreeMap::new(),
        };
        topics.insert(topic.name().to_owned(), actual);
    }
    Ok(State {
        cluster,
        brokers,
        broker_config: BTreeMap::new(),
        topics,
    })
}

/// What somebody set on a topic.
fn settings(
    resource: Result<ConfigResource, RDKafkaErrorCode>,
) -> Result<BTreeMap<String, String>, String> {
    let resource = resource.map_err(|code| code.to_string())?;
    // The client drops the error that comes with a single topic; only then there are no entries.
    if resource.entries.is_empty() {
        return Err("DescribeConfigs may not be allowed".to_owned());
    }
    let set = resource
        .entries
        .into_iter()
        .filter(|entry| entry.source == ConfigSource::DynamicTopic);
    Ok(set
        .filter_map(|entry| Some((entry.name, entry.value?)))
        .collect())
}

fn verdict(said: Result<String, (String, RDKafkaErrorCode)>) -> Verdict {
    match said {
        Ok(topic) => (topic, Ok(())),
        Err((topic, code)) => (topic, Err(code.to_string())),
    }
}

fn options(limit: Duration) -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(limit))
        .operation_timeout(Some(limit))
}

/// The futures of the client are completed by its own thread: there is nothing to drive.
fn block_on<T>(future: impl Future<Output = KafkaResult<T>>) -> KafkaResult<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|error| KafkaError::AdminOpCreation(error.to_string()))?;
    runtime.block_on(future)
}

const AT_ONCE: usize = 200;
/// How long one broker may go without what another one has told.
const HEARSAY: Duration = Duration::from_secs(2);
const BETWEEN: Duration = Duration::from_millis(100);
const BROKER_SETTINGS: [&str; 2] = ["auto.create.topics.enable", "message.max.bytes"];
