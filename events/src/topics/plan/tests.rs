use super::*;
use crate::topics::{file::File, state::Partition};

const FILE: &str = "
profile: single
profiles: { single: { replication: 1 }, ha: { replication: 3, config: { min.insync.replicas: 2 } } }
topics:
  calls: { partitions: 4, retention: 1d, cleanup: delete }
  changes: { partitions: 2, retention: 1d, cleanup: compacted, key: name }
";

fn desired(profile: &str) -> Desired {
    File::read(FILE).unwrap().desired(Some(profile)).unwrap()
}

/// A cluster of so many brokers, as declared.
fn cluster(profile: &str, brokers: i32) -> State {
    let desired = desired(profile);
    let topics = desired.topics.iter().map(|(name, topic)| {
        let actual = actual(topic.partitions, desired.replication, topic.config.clone());
        (name.clone(), actual)
    });
    State {
        cluster: "one".to_owned(),
        brokers: (1..=brokers).collect(),
        broker_config: BTreeMap::new(),
        topics: topics.collect(),
    }
}

fn actual(partitions: usize, replication: usize, config: BTreeMap<String, String>) -> Actual {
    let replicas: Vec<i32> = (1..).take(replication).collect();
    let partition = Partition {
        leader: Some(1),
        in_sync: replicas.clone(),
        replicas,
    };
    Actual {
        partitions: vec![partition; partitions],
        config,
    }
}

fn permission(repartition: bool, prune: &[&str]) -> Permission {
    let prune = prune.iter().map(|name| (*name).to_owned()).collect();
    Permission { repartition, prune }
}

fn refused(plan: &Plan) -> Vec<String> {
    plan.refusals.iter().map(ToString::to_string).collect()
}

#[test]
fn nothing_where_all_is_as_declared() {
    for (profile, brokers) in [("single", 1), ("ha", 3), ("ha", 2)] {
        // A broker that is down takes nothing from topics that are there.
        let plan = Plan::new(
            &desired(profile),
            &cluster(profile, brokers),
            &Permission::default(),
        );
        assert!(plan.is_empty(), "{profile}: {plan:?}");
    }
    let mut state = cluster("single", 1);
    let changes = state.topics.get_mut("changes").unwrap();
    changes
        .config
        .insert("cleanup.policy".to_owned(), "delete, compact".to_owned());
    assert!(Plan::new(&desired("single"), &state, &Permission::default()).is_empty());
}

#[test]
fn what_is_missing_is_made_and_what_differs_is_put_right() {
    let mut state = cluster("single", 1);
    state.topics.remove("changes");
    let calls = state.topics.get_mut("calls").unwrap();
    calls.partitions.truncate(1);
    calls.config.remove("cleanup.policy");
    calls
        .config
        .insert("retention.ms".to_owned(), "5".to_owned());
    calls.config.insert("segment.ms".to_owned(), "7".to_owned());
    let plan = Plan::new(&desired("single"), &state, &Permission::default());
    assert_eq!(plan.refusals, []);
    assert_eq!(plan.changes.len(), 2);
    assert!(matches!(&plan.changes["changes"], Change::Create(topic) if topic.partitions == 2));
    let Change::Alter(alteration) = &plan.changes["calls"] else {
        panic!("{plan:?}");
    };
    assert_eq!(alteration.partitions, Some((1, 4)));
    let settings: Vec<_> = alteration
        .config
        .iter()
        .map(|(name, setting)| {
            (
                name.as_str(),
                setting.from.as_deref(),
                setting.to.as_deref(),
            )
        })
        .collect();
    let expected = [
        ("cleanup.policy", None, Some("delete")),
        ("retention.ms", Some("5"), Some("86400000")),
        ("segment.ms", Some("7"), None),
    ];
    assert_eq!(settings, expected);
}

#[test]
fn what_cannot_be_is_refused_all_at_once() {
    let mut state = cluster("single", 1);
    let config = BTreeMap::new();
    state
        .topics
        .insert("calls".to_owned(), actual(5, 1, config.clone()));
    state
        .topics
        .insert("changes".to_owned(), actual(1, 2, config.clone()));
    let said = refused(&Plan::new(
        &desired("single"),
        &state,
        &permission(false, &["calls", "old"]),
    ));
    assert_eq!(
        said,
        [
            "calls: has 5 partitions, 4 are declared: Kafka takes none away; make a new topic and move",
            "changes: 1 to 2 partitions send its keys (name) to other partitions than before; --allow-repartition if that is well",
            "changes: copies of each partition are 2, 1 are declared: that is a reassignment (kafka-reassign-partitions), which moves data",
            "calls: cannot be pruned, it is declared",
            "old: cannot be pruned, there is no such topic",
        ]
    );
    state
        .topics
        .insert("changes".to_owned(), actual(1, 1, config));
    state.topics.remove("calls");
    assert_eq!(
        refused(&Plan::new(
            &desired("single"),
            &state,
            &permission(true, &[])
        )),
        [""; 0]
    );

    state.topics.clear();
    let said = refused(&Plan::new(&desired("ha"), &state, &Permission::default()));
    assert_eq!(
        said,
        [
            "calls: 3 copies need as many brokers, 1 answer",
            "changes: 3 copies need as many brokers, 1 answer",
        ]
    );
}

#[test]
fn nobody_changes_another_cluster() {
    let file = format!("cluster: two\n{FILE}");
    let desired = File::read(&file).unwrap().desired(None).unwrap();
    let mut state = cluster("single", 1);
    state.topics.clear();
    let plan = Plan::new(&desired, &state, &Permission::default());
    assert_eq!(
        refused(&plan),
        ["this is cluster one, the file is about two"]
    );
    assert!(plan.changes.is_empty());
}

#[test]
fn what_is_not_declared_stays_unless_it_is_named() {
    let mut state = cluster("single", 1);
    for name in ["old", "older"] {
        state
            .topics
            .insert(name.to_owned(), actual(1, 1, BTreeMap::new()));
    }
    let plan = Plan::new(&desired("single"), &state, &Permission::default());
    assert!(plan.is_empty());
    assert_eq!(plan.extra, ["old", "older"]);
    let plan = Plan::new(&desired("single"), &state, &permission(false, &["old"]));
    assert_eq!(plan.changes.keys().collect::<Vec<_>>(), ["old"]);
    assert_eq!(plan.changes["old"], Change::Delete);
    assert_eq!(plan.extra, ["older"]);
}
