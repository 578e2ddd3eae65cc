//! Reads `topics.yaml`: every fault at once, each with its line and column.

use std::collections::BTreeMap;

use super::{
    desired::{Cleanup, Desired, Retention, Topic},
    tree::{Place, Tree, Value},
};

/// A file whose every profile is sound.
#[derive(Clone, Debug)]
pub struct File {
    cluster: Option<String>,
    default: String,
    profiles: BTreeMap<String, Profile>,
    config: BTreeMap<String, String>,
    topics: BTreeMap<String, Topic>,
}

/// Something wrong with a file.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}:{}: {path}{}{fault}", place.line, place.column, if path.is_empty() { "" } else { ": " })]
pub struct Problem {
    /// Where it is.
    pub place: Place,
    /// The way to it, such as `topics.data-lineage.partitions`.
    pub path: String,
    /// What it is.
    pub fault: Fault,
}

/// What may be wrong with a file.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Fault {
    /// Not even YAML.
    #[error("{0}")]
    NotYaml(String),
    /// A word that means nothing here.
    #[error("{name} is not known here{}", close.as_ref().map(|close| format!("; did you mean {close}?")).unwrap_or_default())]
    Unknown {
        /// The word.
        name: String,
        /// One that does, and looks like it.
        close: Option<String>,
    },
    /// Something must be said.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// Something of another kind.
    #[error("must be {expected}, not {found}")]
    NotA {
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A number out of its range.
    #[error("must be from 1 to {most}")]
    Range {
        /// The largest that will do.
        most: i64,
    },
    /// No duration.
    #[error("must be a time such as 12h or 30d, or forever")]
    Retention,
    /// Neither of the two.
    #[error("must be delete or compacted")]
    Cleanup,
    /// Messages without a key cannot be compacted, and Kafka refuses them.
    #[error("a compacted topic needs a key: say what its messages are keyed by")]
    KeyMissing,
    /// Kafka would not take the name.
    #[error("is no name of a topic: 1 to 249 of a-z A-Z 0-9 . _ -")]
    TopicName,
    /// Kafka's metrics cannot tell them apart, so it refuses the second.
    #[error("cannot stand beside {0}: Kafka takes . and _ in names for the same")]
    Alike(String),
    /// A setting that has a word of its own.
    #[error("is said by `{0}:`")]
    OwnWord(&'static str),
    /// Nobody could write.
    #[error(
        "profile {profile} has {replication} of each partition, min.insync.replicas is {in_sync}: nobody could write"
    )]
    InSync {
        /// In which profile.
        profile: String,
        /// How many must have a message.
        in_sync: i64,
        /// How many can.
        replication: usize,
    },
    /// No profile of that name.
    #[error("there is no profile {0}")]
    NoProfile(String),
}

#[derive(Clone, Debug)]
struct Profile {
    replication: usize,
    config: BTreeMap<String, String>,
}

impl File {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of its lines.
    pub fn read(text: &str) -> Result<Self, Vec<Problem>> {
        let tree = Tree::read(text).map_err(|(place, message)| {
            let fault = Fault::NotYaml(message);
            vec![Problem {
                place,
                path: String::new(),
                fault,
            }]
        })?;
        let mut reader = Reader::default();
        let file = reader.file(&tree);
        if reader.problems.is_empty() {
            return Ok(file);
        }
        let mut problems = reader.problems;
        problems.sort_by_key(|problem| problem.place);
        Err(problems)
    }

    /// The names of its profiles.
    pub fn profiles(&self) -> impl Iterator<Item = &str> {
        self.profiles.keys().map(String::as_str)
    }

    /// What it declares under a profile, or under its own `profile:`.
    #[must_use]
    pub fn desired(&self, profile: Option<&str>) -> Option<Desired> {
        let name = profile.unwrap_or(&self.default);
        let profile = self.profiles.get(name)?;
        let topics = self.topics.iter().map(|(name, topic)| {
            let mut config = self.config.clone();
            config.extend(profile.config.clone());
            config.extend(topic.config.clone());
            let policy = topic.cleanup.policy(topic.retention);
            config.insert("cleanup.policy".to_owned(), policy.to_owned());
            if let Some(retention) = topic.retention {
                config.insert(
                    "retention.ms".to_owned(),
                    retention.milliseconds().to_string(),
                );
            }
            (
                name.clone(),
                Topic {
                    config,
                    ..topic.clone()
                },
            )
        });
        Some(Desired {
            profile: name.to_owned(),
            cluster: self.cluster.clone(),
            replication: profile.replication,
            topics: topics.collect(),
        })
    }
}

#[derive(Default)]
struct Reader {
    problems: Vec<Problem>,
}

impl Reader {
    fn file(&mut self, tree: &Tree) -> File {
        let members = self.members(
            tree,
            "",
            &["cluster", "profile", "profiles", "config", "topics"],
        );
        let find = |name: &str| {
            members
                .iter()
                .find(|(found, _)| *found == name)
                .map(|(_, tree)| *tree)
        };
        let cluster = find("cluster").and_then(|tree| self.text(tree, "cluster"));
        let mut profiles = BTreeMap::new();
        match find("profiles") {
            Some(tree) => {
                for (name, _, tree) in self.entries(tree, "profiles") {
                    let profile = self.profile(tree, &format!("profiles.{name}"));
                    profiles.insert(name.to_owned(), profile);
                }
            }
            None => self.say(tree.place, "", Fault::Missing("profiles")),
        }
        let mut default = String::new();
        match find("profile") {
            Some(tree) => {
                default = self.text(tree, "profile").unwrap_or_default();
                if !default.is_empty() && !profiles.contains_key(&default) {
                    self.say(tree.place, "profile", Fault::NoProfile(default.clone()));
                }
            }
            None => self.say(tree.place, "", Fault::Missing("profile")),
        }
        let config = find("config")
            .map(|tree| self.config(tree, "config"))
            .unwrap_or_default();
        let mut topics = BTreeMap::new();
        match find("topics") {
            Some(tree) => self.topics(tree, &config, &profiles, &mut topics),
            None => self.say(tree.place, "", Fault::Missing("topics")),
        }
        File {
            cluster,
            default,
            profiles,
            config,
            topics,
        }
    }

    fn profile(&mut self, tree: &Tree, path: &str) -> Profile {
        let mut profile = Profile {
            replication: 1,
            config: BTreeMap::new(),
        };
        let mut said = false;
        for (name, value) in self.members(tree, path, &["replication", "config"]) {
            let path = format!("{path}.{name}");
            if name == "replication" {
                said = true;
                profile.replication = self.count(value, &path, MOST_COPIES).unwrap_or(1);
            } else {
                profile.config = self.config(value, &path);
            }
        }
        if !said {
            self.say(tree.place, path, Fault::Missing("replication"));
        }
        profile
    }

    fn topics(
        &mut self,
        tree: &Tree,
        config: &BTreeMap<String, String>,
        profiles: &BTreeMap<String, Profile>,
        topics: &mut BTreeMap<String, Topic>,
    ) {
        for (name, place, tree) in self.entries(tree, "topics") {
            let path = format!("topics.{name}");
            if !legal(name) {
                self.say(place, &path, Fault::TopicName);
            }
            let alike = topics
                .keys()
                .find(|other| other.replace('.', "_") == name.replace('.', "_"));
            if let Some(other) = alike {
                self.say(place, &path, Fault::Alike(other.clone()));
            }
            let topic = self.topic(tree, place, &path);
            for (profile, settings) in profiles {
                let layers = [&topic.config, &settings.config, config];
                let in_sync = layers
                    .iter()
                    .find_map(|layer| layer.get(IN_SYNC)?.parse::<i64>().ok());
                let replication = settings.replication;
                if let Some(in_sync) = in_sync.filter(|in_sync| *in_sync > replication as i64) {
                    let profile = profile.clone();
                    self.say(
                        place,
                        &path,
                        Fault::InSync {
                            profile,
                            in_sync,
                            replication,
                        },
                    );
                }
            }
            topics.insert(name.to_owned(), topic);
        }
    }

    fn topic(&mut self, tree: &Tree, place: Place, path: &str) -> Topic {
        let (mut partitions, mut cleanup, mut retention, mut key) = (None, None, None, None);
        let mut config = BTreeMap::new();
        let words = ["partitions", "retention", "cleanup", "key", "config"];
        let members = self.members(tree, path, &words);
        for &(name, value) in &members {
            let path = format!("{path}.{name}");
            match name {
                "partitions" => partitions = self.count(value, &path, MOST_PARTITIONS),
                "retention" => {
                    retention = value.scalar().as_deref().and_then(Retention::read);
                    if retention.is_none() {
                        self.say(value.place, &path, Fault::Retention);
                    }
                }
                "cleanup" => {
                    cleanup = match value.scalar().as_deref() {
                        Some("delete") => Some(Cleanup::Delete),
                        Some("compacted") => Some(Cleanup::Compacted),
                        _ => {
                            self.say(value.place, &path, Fault::Cleanup);
                            None
                        }
                    };
                }
                "key" => key = self.text(value, &path),
                _ => config = self.config(value, &path),
            }
        }
        let said = |word: &str| members.iter().any(|(name, _)| *name == word);
        for word in ["partitions", "cleanup"] {
            if !said(word) {
                self.say(place, path, Fault::Missing(word));
            }
        }
        if cleanup == Some(Cleanup::Delete) && !said("retention") {
            self.say(place, path, Fault::Missing("retention"));
        }
        if cleanup == Some(Cleanup::Compacted) && !said("key") {
            self.say(place, path, Fault::KeyMissing);
        }
        Topic {
            // Where one of these was wrong, so is the file.
            partitions: partitions.unwrap_or(1),
            cleanup: cleanup.unwrap_or(Cleanup::Delete),
            retention,
            key,
            config,
        }
    }

    fn config(&mut self, tree: &Tree, path: &str) -> BTreeMap<String, String> {
        let mut config = BTreeMap::new();
        for (name, place, value) in self.entries(tree, path) {
            let path = format!("{path}.{name}");
            if let Some((_, word)) = OWN_WORDS.iter().find(|(setting, _)| *setting == name) {
                self.say(place, &path, Fault::OwnWord(word));
            } else if !SETTINGS.contains(&name) {
                self.unknown(place, &path, name, &SETTINGS);
            }
            match value.scalar() {
                Some(value) => {
                    config.insert(name.to_owned(), value);
                }
                None => self.not_a(value, &path, "a value"),
            }
        }
        config
    }

    fn count(&mut self, tree: &Tree, path: &str, most: i64) -> Option<usize> {
        let Value::Number(number) = tree.value else {
            self.not_a(tree, path, "a number");
            return None;
        };
        let number = usize::try_from(number)
            .ok()
            .filter(|_| (1..=most).contains(&number));
        if number.is_none() {
            self.say(tree.place, path, Fault::Range { most });
        }
        number
    }

    fn text(&mut self, tree: &Tree, path: &str) -> Option<String> {
        let text = tree.scalar().filter(|text| !text.trim().is_empty());
        if text.is_none() {
            self.not_a(tree, path, "text");
        }
        text
    }

    /// The members of a map that may have only some; others are told.
    fn members<'a>(
        &mut self,
        tree: &'a Tree,
        path: &str,
        known: &[&'static str],
    ) -> Vec<(&'static str, &'a Tree)> {
        let mut members = Vec::new();
        for (name, place, value) in self.entries(tree, path) {
            match known.iter().find(|known| **known == name) {
                Some(known) => members.push((*known, value)),
                None => self.unknown(place, path, name, known),
            }
        }
        members
    }

    /// The entries of a map, each with the place of its name.
    fn entries<'a>(&mut self, tree: &'a Tree, path: &str) -> Vec<(&'a str, Place, &'a Tree)> {
        let Value::Map(members) = &tree.value else {
            self.not_a(tree, path, "a map");
            return Vec::new();
        };
        let mut entries = Vec::new();
        for (name, value) in members {
            match &name.value {
                Value::Text(text) => entries.push((text.as_str(), name.place, value)),
                _ => self.not_a(name, path, "text"),
            }
        }
        entries
    }

    fn unknown(&mut self, place: Place, path: &str, name: &str, known: &[&str]) {
        let (name, close) = (name.to_owned(), closest(name, known));
        self.say(place, path, Fault::Unknown { name, close });
    }

    fn not_a(&mut self, tree: &Tree, path: &str, expected: &'static str) {
        let found = tree.kind();
        self.say(tree.place, path, Fault::NotA { expected, found });
    }

    fn say(&mut self, place: Place, path: &str, fault: Fault) {
        let path = path.to_owned();
        self.problems.push(Problem { place, path, fault });
    }
}

/// What Kafka takes as a name.
fn legal(name: &str) -> bool {
    let letters = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    letters && (1..=249).contains(&name.len()) && name != "." && name != ".."
}

/// The known word that differs in the fewest letters, if those are few.
fn closest(word: &str, known: &[&str]) -> Option<String> {
    let distances = known.iter().map(|known| (distance(word, known), *known));
    let (distance, close) = distances.min()?;
    (distance <= 1 + word.len() / 4).then(|| close.to_owned())
}

/// Levenshtein's.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, letter) in one.chars().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], line + 1);
        for (column, &against) in other.iter().enumerate() {
            let changed = corner + usize::from(letter != against);
            corner = row[column + 1];
            row[column + 1] = changed.min(corner + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

const IN_SYNC: &str = "min.insync.replicas";
const MOST_COPIES: i64 = 100;
const MOST_PARTITIONS: i64 = 100_000;
const OWN_WORDS: [(&str, &str); 2] = [("cleanup.policy", "cleanup"), ("retention.ms", "retention")];

/// What Kafka 4.4 lets one set on a topic; a test asks a real one.
pub const SETTINGS: [&str; 37] = [
    "cleanup.policy",
    "compression.gzip.level",
    "compression.lz4.level",
    "compression.type",
    "compression.zstd.level",
    "delete.retention.ms",
    "errors.deadletterqueue.group.enable",
    "file.delete.delay.ms",
    "flush.messages",
    "flush.ms",
    "follower.replication.throttled.replicas",
    "index.interval.bytes",
    "leader.replication.throttled.replicas",
    "local.retention.bytes",
    "local.retention.ms",
    "max.compaction.lag.ms",
    "max.decompressed.message.bytes",
    "max.message.bytes",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
    "message.timestamp.type",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "min.insync.replicas",
    "preallocate",
    "remote.copy.lag.bytes",
    "remote.copy.lag.ms",
    "remote.log.copy.disable",
    "remote.log.delete.on.disable",
    "remote.storage.enable",
    "retention.bytes",
    "retention.ms",
    "segment.bytes",
    "segment.index.bytes",
    "segment.jitter.ms",
    "segment.ms",
    "unclean.leader.election.enable",
];

#[cfg(test)]
mod tests;
