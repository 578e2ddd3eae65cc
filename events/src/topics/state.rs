//! The topics that are: what a cluster tells of itself.

use std::collections::BTreeMap;

use serde::Serialize;

/// A cluster at one moment.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct State {
    /// Its id.
    pub cluster: String,
    /// The brokers that are up, by id.
    pub brokers: Vec<i32>,
    /// Of one broker, what decides about topics and messages, where one may read it: `auto.create.topics.enable`, `message.max.bytes`.
    pub broker_config: BTreeMap<String, String>,
    /// Every topic that is not Kafka's own, by name.
    pub topics: BTreeMap<String, Actual>,
}

/// One topic as it is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Actual {
    /// Its partitions in order.
    pub partitions: Vec<Partition>,
    /// What was set on it, by Kafka's names; what brokers have as default is not among them.
    pub config: BTreeMap<String, String>,
}

/// One partition as it is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Partition {
    /// The broker that leads it, if one does.
    pub leader: Option<i32>,
    /// The brokers that shall have it.
    pub replicas: Vec<i32>,
    /// Those that have all of it.
    pub in_sync: Vec<i32>,
}

impl Actual {
    /// How many copies there are of each partition; the partition with the fewest counts.
    #[must_use]
    pub fn replication(&self) -> usize {
        self.partitions
            .iter()
            .map(|partition| partition.replicas.len())
            .min()
            .unwrap_or(0)
    }

    /// How many partitions nobody leads: they take and give no messages.
    #[must_use]
    pub fn leaderless(&self) -> usize {
        self.partitions
            .iter()
            .filter(|partition| partition.leader.is_none())
            .count()
    }

    /// How many partitions have copies that are behind.
    #[must_use]
    pub fn behind(&self) -> usize {
        let behind = |partition: &&Partition| partition.in_sync.len() < partition.replicas.len();
        self.partitions.iter().filter(behind).count()
    }
}
