//! What must change so that a cluster is as declared; and what cannot.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    desired::{Desired, Topic},
    state::{Actual, State},
};

/// What one may do beyond what harms nobody.
#[derive(Clone, Debug, Default)]
pub struct Permission {
    /// Add partitions to topics with keys, too.
    pub repartition: bool,
    /// Delete these topics, which are not declared.
    pub prune: BTreeSet<String>,
}

/// Everything between what is and what is declared.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Plan {
    /// What will be done, by topic.
    pub changes: BTreeMap<String, Change>,
    /// What will not, each with its reason. With one of these nothing is done at all.
    pub refusals: Vec<Refusal>,
    /// Topics that nobody declared and that stay.
    pub extra: Vec<String>,
}

/// What will be done to a topic.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Make it.
    Create(Topic),
    /// Change it.
    Alter(Alteration),
    /// Take it away, with all its messages.
    Delete,
}

/// How a topic that is there changes.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Alteration {
    /// How many partitions it has and shall have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitions: Option<(usize, usize)>,
    /// Settings by name, each with what it is and what it shall be; `None` is the broker's default.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, Setting>,
}

/// A setting that changes.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Setting {
    /// What it is; `None` where nobody set it.
    pub from: Option<String>,
    /// What it shall be; `None` takes it off.
    pub to: Option<String>,
}

/// Something that cannot be, or must be allowed first.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, thiserror::Error)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Refusal {
    /// Another cluster than the file is about.
    #[error("this is cluster {found}, the file is about {expected}")]
    Cluster {
        /// The file's.
        expected: String,
        /// The one that answers.
        found: String,
    },
    /// Too few brokers for the copies.
    #[error("{topic}: {replication} copies need as many brokers, {brokers} answer")]
    Brokers {
        /// Which topic.
        topic: String,
        /// Declared.
        replication: usize,
        /// There are.
        brokers: usize,
    },
    /// Partitions cannot be taken away.
    #[error(
        "{topic}: has {has} partitions, {declared} are declared: Kafka takes none away; make a new topic and move"
    )]
    Shrink {
        /// Which topic.
        topic: String,
        /// It has.
        has: usize,
        /// Declared.
        declared: usize,
    },
    /// The number of copies is changed by moving partitions between brokers.
    #[error(
        "{topic}: copies of each partition are {has}, {declared} are declared: that is a reassignment (kafka-reassign-partitions), which moves data"
    )]
    Replication {
        /// Which topic.
        topic: String,
        /// It has.
        has: usize,
        /// Declared.
        declared: usize,
    },
    /// More partitions send keys elsewhere.
    #[error(
        "{topic}: {from} to {to} partitions send its keys ({key}) to other partitions than before; --allow-repartition if that is well"
    )]
    Repartition {
        /// Which topic.
        topic: String,
        /// It has.
        from: usize,
        /// Declared.
        to: usize,
        /// What its messages are keyed by.
        key: String,
    },
    /// A declared topic is no topic to delete.
    #[error("{topic}: cannot be pruned, it is declared")]
    Declared {
        /// Which topic.
        topic: String,
    },
    /// Nothing to delete.
    #[error("{topic}: cannot be pruned, there is no such topic")]
    Absent {
        /// Which topic.
        topic: String,
    },
    /// The cluster itself says no.
    #[error("{topic}: the cluster refuses: {code}")]
    Broker {
        /// Which topic.
        topic: String,
        /// Kafka's name for why.
        code: String,
    },
}

impl Refusal {
    /// The topic that it is about; none of what is about the whole cluster.
    #[must_use]
    pub fn topic(&self) -> Option<&str> {
        match self {
            Self::Cluster { .. } => None,
            Self::Brokers { topic, .. }
            | Self::Shrink { topic, .. }
            | Self::Replication { topic, .. }
            | Self::Repartition { topic, .. }
            | Self::Declared { topic }
            | Self::Absent { topic }
            | Self::Broker { topic, .. } => Some(topic),
        }
    }
}

impl Plan {
    /// Compares.
    #[must_use]
    pub fn new(desired: &Desired, state: &State, permission: &Permission) -> Self {
        let mut plan = Self::default();
        if let Some(expected) = desired
            .cluster
            .as_ref()
            .filter(|expected| **expected != state.cluster)
        {
            // Whatever else differs is about another cluster.
            plan.refusals.push(Refusal::Cluster {
                expected: expected.clone(),
                found: state.cluster.clone(),
            });
            return plan;
        }
        for (name, topic) in &desired.topics {
            match state.topics.get(name) {
                None => plan.create(name, topic, desired, state),
                Some(actual) => plan.alter(name, topic, actual, desired, permission),
            }
        }
        let undeclared = state
            .topics
            .keys()
            .filter(|name| !desired.topics.contains_key(*name));
        for name in undeclared {
            if permission.prune.contains(name) {
                plan.changes.insert(name.clone(), Change::Delete);
            } else {
                plan.extra.push(name.clone());
            }
        }
        for topic in &permission.prune {
            if desired.topics.contains_key(topic) {
                plan.refusals.push(Refusal::Declared {
                    topic: topic.clone(),
                });
            } else if !state.topics.contains_key(topic) {
                plan.refusals.push(Refusal::Absent {
                    topic: topic.clone(),
                });
            }
        }
        plan
    }

    /// Whether all is as declared.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.refusals.is_empty()
    }

    fn create(&mut self, name: &str, topic: &Topic, desired: &Desired, state: &State) {
        if desired.replication > state.brokers.len() {
            self.refusals.push(Refusal::Brokers {
                topic: name.to_owned(),
                replication: desired.replication,
                brokers: state.brokers.len(),
            });
        }
        self.changes
            .insert(name.to_owned(), Change::Create(topic.clone()));
    }

    fn alter(
        &mut self,
        name: &str,
        topic: &Topic,
        actual: &Actual,
        desired: &Desired,
        permission: &Permission,
    ) {
        let has = actual.partitions.len();
        let declared = topic.partitions;
        let mut alteration = Alteration::default();
        if declared < has {
            let topic = name.to_owned();
            self.refusals.push(Refusal::Shrink {
                topic,
                has,
                declared,
            });
        }
        if declared > has {
            alteration.partitions = Some((has, declared));
            if let Some(key) = topic.key.as_ref().filter(|_| !permission.repartition) {
                self.refusals.push(Refusal::Repartition {
                    topic: name.to_owned(),
                    from: has,
                    to: declared,
                    key: key.clone(),
                });
            }
        }
        if actual.replication() != desired.replication {
            self.refusals.push(Refusal::Replication {
                topic: name.to_owned(),
                has: actual.replication(),
                declared: desired.replication,
            });
        }
        let names: BTreeSet<&String> = topic.config.keys().chain(actual.config.keys()).collect();
        for setting in names {
            let (from, to) = (actual.config.get(setting), topic.config.get(setting));
            if !same(setting, from, to) {
                let (from, to) = (from.cloned(), to.cloned());
                alteration
                    .config
                    .insert(setting.clone(), Setting { from, to });
            }
        }
        if alteration != Alteration::default() {
            self.changes
                .insert(name.to_owned(), Change::Alter(alteration));
        }
    }
}

/// Whether two values mean the same; policies are sets.
fn same(setting: &str, one: Option<&String>, other: Option<&String>) -> bool {
    let (Some(one), Some(other)) = (one, other) else {
        return one == other;
    };
    let words = |text: &str| -> BTreeSet<String> {
        text.split(',').map(|word| word.trim().to_owned()).collect()
    };
    one == other || setting == "cleanup.policy" && words(one) == words(other)
}

#[cfg(test)]
mod tests;
