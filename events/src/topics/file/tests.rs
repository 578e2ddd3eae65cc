use super::*;
use crate::topics::BUILT_IN;

#[test]
fn the_twelve_topics() {
    let file = File::read(BUILT_IN).unwrap();
    assert_eq!(file.profiles().collect::<Vec<_>>(), ["ha", "single"]);
    for (profile, replication, in_sync) in [("single", 1, "1"), ("ha", 3, "2")] {
        let desired = file.desired(Some(profile)).unwrap();
        assert_eq!(desired.replication, replication);
        let told: Vec<_> = desired
            .topics
            .iter()
            .map(|(name, topic)| {
                assert_eq!(topic.config["compression.type"], "lz4", "{name}");
                assert_eq!(topic.config[IN_SYNC], in_sync, "{name}");
                assert_eq!(topic.config.len(), 4, "{name}");
                let days = topic.config["retention.ms"].parse::<u64>().unwrap() / 86_400_000;
                let policy = topic.config["cleanup.policy"].as_str();
                (
                    name.as_str(),
                    topic.partitions,
                    days,
                    policy,
                    topic.key.is_some(),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("audit-admin-operations", 3, 365, "delete", true),
                ("audit-api-calls", 12, 30, "delete", false),
                ("audit-data-access", 12, 90, "delete", true),
                ("audit-user-actions", 12, 365, "delete", true),
                ("config-changes", 3, 365, "compact,delete", true),
                ("data-ingestion", 12, 7, "delete", true),
                ("data-lineage", 3, 90, "compact,delete", true),
                ("data-quality", 6, 30, "delete", true),
                ("data-transformation", 6, 7, "delete", true),
                ("deployment-events", 3, 90, "delete", true),
                ("security-events", 6, 365, "delete", true),
                ("system-health", 3, 7, "compact,delete", true),
            ]
        );
    }
    assert_eq!(file.desired(None), file.desired(Some("single")));
    assert_eq!(file.desired(Some("huge")), None);
}

#[test]
fn what_is_said_nearer_the_topic_wins() {
    let text = "
profile: a
cluster: abc
profiles: { a: { replication: 2, config: { segment.bytes: 2, flush.ms: 2 } } }
config: { segment.bytes: 1, flush.ms: 1, preallocate: true }
topics:
  t: { partitions: 1, cleanup: compacted, key: k, config: { flush.ms: 3 } }
";
    let desired = File::read(text).unwrap().desired(None).unwrap();
    assert_eq!(desired.cluster.as_deref(), Some("abc"));
    let config: Vec<(&str, &str)> = desired.topics["t"]
        .config
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let expected = [
        ("cleanup.policy", "compact"),
        ("flush.ms", "3"),
        ("preallocate", "true"),
        ("segment.bytes", "2"),
    ];
    assert_eq!(config, expected);
}

#[test]
fn every_fault_at_once_with_its_place() {
    let text = "
profile: big
profile_s: x
profiles:
  single: { replication: 0, config: { min.insync.replicas: 2 } }
  odd: { copies: 1 }
config:
  retention.ms: 5
  compresion.type: lz4
  flush.ms: [1]
topics:
  a.b: { partitions: 3, retention: 1w, cleanup: delete }
  a_b: { partitions: 200000, retention: 1d, cleanup: compacted }
  'c d': { partitions: many, cleanup: delete }
  e: { cleanup: compact, key: '', config: 7 }
  f: 1
  g: { partitions: 1, retention: 1d, cleanup: delete, partition: 2, config: { min.insync.replicas: 1 } }
";
    let problems = File::read(text).unwrap_err();
    let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let said: Vec<&str> = said.iter().map(String::as_str).collect();
    assert_eq!(
        said,
        [
            "2:10: profile: there is no profile big",
            "3:1: profile_s is not known here; did you mean profiles?",
            "5:26: profiles.single.replication: must be from 1 to 100",
            "6:8: profiles.odd: replication is missing",
            "6:10: profiles.odd: copies is not known here",
            "8:3: config.retention.ms: is said by `retention:`",
            "9:3: config.compresion.type: compresion.type is not known here; did you mean compression.type?",
            "10:13: config.flush.ms: must be a value, not a list",
            "12:3: topics.a.b: profile single has 1 of each partition, min.insync.replicas is 2: nobody could write",
            "12:36: topics.a.b.retention: must be a time such as 12h or 30d, or forever",
            "13:3: topics.a_b: cannot stand beside a.b: Kafka takes . and _ in names for the same",
            "13:3: topics.a_b: a compacted topic needs a key: say what its messages are keyed by",
            "13:3: topics.a_b: profile single has 1 of each partition, min.insync.replicas is 2: nobody could write",
            "13:22: topics.a_b.partitions: must be from 1 to 100000",
            "14:3: topics.c d: is no name of a topic: 1 to 249 of a-z A-Z 0-9 . _ -",
            "14:3: topics.c d: retention is missing",
            "14:3: topics.c d: profile single has 1 of each partition, min.insync.replicas is 2: nobody could write",
            "14:24: topics.c d.partitions: must be a number, not text",
            "15:3: topics.e: partitions is missing",
            "15:3: topics.e: profile single has 1 of each partition, min.insync.replicas is 2: nobody could write",
            "15:17: topics.e.cleanup: must be delete or compacted",
            "15:31: topics.e.key: must be text, not nothing",
            "15:43: topics.e.config: must be a map, not a number",
            "16:3: topics.f: partitions is missing",
            "16:3: topics.f: cleanup is missing",
            "16:3: topics.f: profile single has 1 of each partition, min.insync.replicas is 2: nobody could write",
            "16:6: topics.f: must be a map, not a number",
            "17:55: topics.g: partition is not known here; did you mean partitions?",
        ]
    );
}

#[test]
fn what_is_no_yaml_has_a_place_too() {
    for (text, line) in [
        ("topics: [", 1),
        ("a: 1\nb: {c: }}\n", 2),
        ("a: 1\na: 2\n", 2),
    ] {
        let problems = File::read(text).unwrap_err();
        assert_eq!(problems.len(), 1, "{text}: {problems:?}");
        assert_eq!(problems[0].place.line, line, "{text}: {problems:?}");
        let said = problems[0].to_string();
        assert_eq!(said.matches('\n').count(), 0, "{said}");
    }
    let problems = File::read("").unwrap_err();
    assert_eq!(problems[0].to_string(), "1:1: must be a map, not nothing");
}

#[test]
fn events_and_topics_agree() {
    use crate::event::{Kind, Topic};
    let desired = File::read(BUILT_IN).unwrap().desired(None).unwrap();
    let mut names = Topic::ALL.map(Topic::name);
    names.sort_unstable();
    assert!(desired.topics.keys().eq(names));
    for topic in Topic::ALL {
        let declared = &desired.topics[topic.name()];
        let compacted = declared.cleanup == Cleanup::Compacted;
        assert_eq!(compacted, topic.compacted(), "{}", topic.name());
    }
    assert_eq!(
        Kind::all()
            .iter()
            .map(|kind| kind.topic())
            .collect::<std::collections::HashSet<_>>()
            .len(),
        12
    );
}
