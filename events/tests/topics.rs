//! The reconciler against a real Kafka: one node and three, twice, after changes by hand, and where it must refuse.

#![expect(
    clippy::unwrap_used,
    reason = "a test, all of it; the configuration allows this only inside the test functions themselves"
)]

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use carbyne_events::{
    broker::{Cluster, Options},
    topics::{
        Access, Admin, AdminError, ApplyError, BUILT_IN, Change, Desired, File, Permission, Plan,
        Progress, Refusal, State, file::SETTINGS,
    },
};
use rdkafka::{
    ClientConfig,
    admin::{
        AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication,
    },
    client::DefaultClientContext,
};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn one_node_is_reconciled_and_stays_so() {
    let cluster = Cluster::start(&Options::default()).unwrap();
    let admin = admin(&cluster.bootstrap(), LIMIT);
    let desired = desired(BUILT_IN, "single");
    let permission = Permission::default();

    // The first time everything is made, the second time there is nothing to do.
    let mut plan = plan(&admin, &desired, &permission);
    assert_eq!(plan.changes.len(), 12);
    assert!(
        plan.changes
            .values()
            .all(|change| matches!(change, Change::Create(_)))
    );
    plan.validate(&admin, &desired).unwrap();
    assert_eq!(plan.refusals, []);
    assert!(state(&admin).topics.is_empty(), "a look made topics");
    let mut done = Vec::new();
    plan.apply(&admin, &desired, LIMIT, |progress| {
        if let Progress::Done { topic, .. } = progress {
            done.push(topic);
        }
    })
    .unwrap();
    assert_eq!(done.len(), 12);
    let second = self::plan(&admin, &desired, &permission);
    assert_eq!(second, Plan::default());
    let now = state(&admin);
    assert_eq!(now.cluster, cluster.id());
    assert_eq!(now.broker_config["auto.create.topics.enable"], "false");
    assert_eq!(now.topics["audit-api-calls"].partitions.len(), 12);
    assert_eq!(
        now.topics["data-lineage"].config["cleanup.policy"],
        "compact,delete"
    );
    assert!(
        now.topics
            .values()
            .all(|topic| topic.leaderless() == 0 && topic.behind() == 0)
    );

    // Somebody changes settings by hand: what is wrong is put right, what is not declared is taken off.
    by_hand(
        &cluster,
        "data-quality",
        &[("retention.ms", "1000"), ("segment.ms", "60000")],
    );
    let drift =
        until(|| Some(self::plan(&admin, &desired, &permission)).filter(|plan| !plan.is_empty()));
    let Change::Alter(alteration) = &drift.changes["data-quality"] else {
        panic!("{drift:?}");
    };
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
    assert_eq!(
        settings,
        [
            // The older AlterConfigs, which `by_hand` speaks, takes off whatever it does not name.
            ("cleanup.policy", None, Some("delete")),
            ("compression.type", None, Some("lz4")),
            ("min.insync.replicas", None, Some("1")),
            ("retention.ms", Some("1000"), Some("2592000000")),
            ("segment.ms", Some("60000"), None),
        ]
    );
    assert_eq!(drift.changes.len(), 1);
    drift.apply(&admin, &desired, LIMIT, |_| {}).unwrap();
    assert_eq!(self::plan(&admin, &desired, &permission), Plan::default());

    // One setting changes and the others stay as they are: the request is incremental.
    let text = BUILT_IN.replace(
        "retention: 30d\n    cleanup: delete\n    key: dataset id",
        "retention: 31d\n    cleanup: delete\n    key: dataset id",
    );
    let longer = self::desired(&text, "single");
    let plan = self::plan(&admin, &longer, &permission);
    assert_eq!(plan.changes.len(), 1, "{plan:?}");
    plan.apply(&admin, &longer, LIMIT, |_| {}).unwrap();
    let config = &state(&admin).topics["data-quality"].config;
    assert_eq!(config.len(), 4, "{config:?}");
    assert_eq!(config["retention.ms"], (31 * 86_400_000_u64).to_string());
    self::plan(&admin, &desired, &permission)
        .apply(&admin, &desired, LIMIT, |_| {})
        .unwrap();

    // More partitions: freely without keys, with keys only when told.
    let text = BUILT_IN.replace(
        "partitions: 12\n    retention: 30d",
        "partitions: 13\n    retention: 30d",
    );
    let more = self::desired(&text, "single");
    self::plan(&admin, &more, &permission)
        .apply(&admin, &more, LIMIT, |_| {})
        .unwrap();
    assert_eq!(state(&admin).topics["audit-api-calls"].partitions.len(), 13);
    let text = text.replace(
        "partitions: 3\n    retention: 7d",
        "partitions: 4\n    retention: 7d",
    );
    let keyed = self::desired(&text, "single");
    let plan = self::plan(&admin, &keyed, &permission);
    assert!(
        matches!(&plan.refusals[..], [Refusal::Repartition { topic, from: 3, to: 4, .. }] if topic == "system-health")
    );
    let refused = plan.apply(&admin, &keyed, LIMIT, |_| {}).unwrap_err();
    assert!(matches!(refused, ApplyError::Refused(refusals) if refusals.len() == 1));
    assert_eq!(state(&admin).topics["system-health"].partitions.len(), 3);
    let told = Permission {
        repartition: true,
        ..Permission::default()
    };
    self::plan(&admin, &keyed, &told)
        .apply(&admin, &keyed, LIMIT, |_| {})
        .unwrap();
    assert_eq!(state(&admin).topics["system-health"].partitions.len(), 4);

    // Back is no way.
    let plan = self::plan(&admin, &desired, &told);
    let shrunk: Vec<_> = plan
        .refusals
        .iter()
        .map(|refusal| matches!(refusal, Refusal::Shrink { .. }))
        .collect();
    assert_eq!(shrunk, [true, true], "{plan:?}");

    // More copies than brokers, for topics that are there and for one that is not.
    let plan = self::plan(&admin, &self::desired(BUILT_IN, "ha"), &permission);
    assert_eq!(
        plan.refusals
            .iter()
            .filter(|refusal| matches!(
                refusal,
                Refusal::Replication {
                    has: 1,
                    declared: 3,
                    ..
                }
            ))
            .count(),
        12
    );
    let text = "profile: ha\nprofiles: { ha: { replication: 3 } }\ntopics: { new: { partitions: 1, retention: 1d, cleanup: delete } }";
    let plan = self::plan(&admin, &self::desired(text, "ha"), &permission);
    assert!(
        matches!(
            plan.refusals[..],
            [Refusal::Brokers {
                replication: 3,
                brokers: 1,
                ..
            }]
        ),
        "{plan:?}"
    );

    // Another cluster.
    let plan = self::plan(
        &admin,
        &self::desired(&format!("cluster: other\n{BUILT_IN}"), "single"),
        &permission,
    );
    assert!(
        matches!(&plan.refusals[..], [Refusal::Cluster { found, .. }] if found == cluster.id())
    );

    // What only the cluster knows to be wrong, found before anything is done.
    let text = BUILT_IN.replace(
        "config:\n  compression.type: lz4",
        "config:\n  compression.type: lzma",
    );
    let wrong = self::desired(&text, "single");
    let mut plan = self::plan(&admin, &wrong, &told);
    plan.refusals.clear();
    plan.validate(&admin, &wrong).unwrap();
    assert!(
        plan.refusals
            .iter()
            .all(|refusal| matches!(refusal, Refusal::Broker { .. })),
        "{plan:?}"
    );
    assert_eq!(plan.refusals.len(), 12);
    assert_eq!(
        state(&admin).topics["data-quality"].config["compression.type"],
        "lz4"
    );

    // Nobody's topic stays until it is named.
    create_by_hand(&cluster, "old");
    let keeps =
        until(|| Some(self::plan(&admin, &keyed, &told)).filter(|plan| plan.extra == ["old"]));
    assert!(keeps.is_empty());
    assert_eq!(admin.messages("old", 1).unwrap(), 0);
    let prune = Permission {
        prune: BTreeSet::from(["old".to_owned()]),
        ..told
    };
    self::plan(&admin, &keyed, &prune)
        .apply(&admin, &keyed, LIMIT, |_| {})
        .unwrap();
    assert!(!state(&admin).topics.contains_key("old"));
    assert_eq!(self::plan(&admin, &keyed, &permission), Plan::default());
}

#[test]
fn three_nodes_have_three_copies() {
    let cluster = Cluster::start(&Options::nodes(3)).unwrap();
    let admin = admin(&cluster.bootstrap(), LIMIT);
    let desired = desired(BUILT_IN, "ha");
    let permission = Permission::default();
    let mut plan = plan(&admin, &desired, &permission);
    plan.validate(&admin, &desired).unwrap();
    plan.apply(&admin, &desired, LIMIT, |_| {}).unwrap();
    assert_eq!(self::plan(&admin, &desired, &permission), Plan::default());
    let now = state(&admin);
    assert_eq!(now.brokers, [1, 2, 3]);
    for (name, topic) in &now.topics {
        assert_eq!(topic.replication(), 3, "{name}");
        assert_eq!(topic.config["min.insync.replicas"], "2", "{name}");
    }

    // With a broker down there is nothing to change, and it shows which copies are behind.
    cluster.kill(2).unwrap();
    let down = until(|| {
        Some(state(&admin)).filter(|state| state.topics.values().all(|topic| topic.behind() > 0))
    });
    assert_eq!(down.brokers.len(), 2);
    assert!(Plan::new(&desired, &down, &permission).is_empty());
    // A new topic of three copies has to wait for it.
    let text = BUILT_IN.replace(
        "topics:\n",
        "topics:\n  another: { partitions: 1, retention: 1d, cleanup: delete }\n",
    );
    let plan = Plan::new(&self::desired(&text, "ha"), &down, &permission);
    assert!(
        matches!(
            plan.refusals[..],
            [Refusal::Brokers {
                replication: 3,
                brokers: 2,
                ..
            }]
        ),
        "{plan:?}"
    );
    cluster.revive(2).unwrap();
    until(|| {
        Some(state(&admin)).filter(|state| state.topics.values().all(|topic| topic.behind() == 0))
    });
    assert_eq!(self::plan(&admin, &desired, &permission), Plan::default());
}

#[test]
fn every_setting_that_kafka_has_is_known() {
    let cluster = Cluster::start(&Options::default()).unwrap();
    create_by_hand(&cluster, "any");
    let client = by_librdkafka(&cluster);
    let told = until(|| {
        let topics = [ResourceSpecifier::Topic("any")];
        let told = wait(client.describe_configs(&topics, &AdminOptions::new())).unwrap();
        let resource = told.into_iter().next()?.ok()?;
        (!resource.entries.is_empty()).then_some(resource)
    });
    let told: BTreeSet<&str> = told
        .entries
        .iter()
        .map(|entry| entry.name.as_str())
        .collect();
    let known = BTreeSet::from(SETTINGS);
    assert_eq!(told, known);
}

#[test]
fn nobody_and_strangers_are_told_apart() {
    // Nobody listens here: the port was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let nobody = admin(&format!("127.0.0.1:{port}"), Duration::from_secs(3));
    let error = nobody.state(|_| true).unwrap_err();
    let said = error.to_string();
    assert!(matches!(error, AdminError::Late { .. }), "{said}");
    assert!(
        said.contains("no answer within 3s") && said.contains("Connection refused"),
        "{said}"
    );

    // Somebody listens and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mute = admin(
        &silent.local_addr().unwrap().to_string(),
        Duration::from_secs(2),
    );
    assert!(matches!(
        mute.state(|_| true).unwrap_err(),
        AdminError::Late { .. }
    ));

    let cluster = Cluster::start(&Options {
        user: Some(("carbyne".to_owned(), "secret".to_owned())),
        ..Options::default()
    })
    .unwrap();
    let come_as = |password: &str| {
        let properties = [
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanisms", "PLAIN"),
            ("sasl.username", "carbyne"),
            ("sasl.password", password),
        ];
        let access = Access {
            bootstrap: cluster.bootstrap(),
            properties: properties
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            limit: LIMIT,
        };
        assert!(!format!("{access:?}").contains(password));
        Admin::new(access).unwrap().state(|_| true)
    };
    assert_eq!(come_as("secret").unwrap().cluster, cluster.id());
    let error = come_as("guess").unwrap_err();
    assert!(
        matches!(error, AdminError::Authentication { .. }),
        "{error}"
    );
    let unknown = Access {
        bootstrap: cluster.bootstrap(),
        properties: vec![("sasl.passwort".to_owned(), "x".to_owned())],
        limit: LIMIT,
    };
    let error = Admin::new(unknown).unwrap_err().to_string();
    assert!(error.contains("sasl.passwort"), "{error}");
}

fn admin(bootstrap: &str, limit: Duration) -> Admin {
    let access = Access {
        bootstrap: bootstrap.to_owned(),
        properties: Vec::new(),
        limit,
    };
    Admin::new(access).unwrap()
}

fn desired(text: &str, profile: &str) -> Desired {
    File::read(text).unwrap().desired(Some(profile)).unwrap()
}

fn state(admin: &Admin) -> State {
    admin.state(|_| true).unwrap()
}

fn plan(admin: &Admin, desired: &Desired, permission: &Permission) -> Plan {
    Plan::new(desired, &state(admin), permission)
}

/// Asks again until it is so.
fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "it never came to be");
    }
}

fn by_librdkafka(cluster: &Cluster) -> AdminClient<DefaultClientContext> {
    ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap())
        .create()
        .unwrap()
}

fn by_hand(cluster: &Cluster, topic: &str, settings: &[(&str, &str)]) {
    let change = AlterConfig::new(ResourceSpecifier::Topic(topic));
    let change = settings
        .iter()
        .fold(change, |change, (name, value)| change.set(name, value));
    let said = wait(by_librdkafka(cluster).alter_configs([&change], &AdminOptions::new())).unwrap();
    assert!(said.iter().all(Result::is_ok), "{said:?}");
}

fn create_by_hand(cluster: &Cluster, topic: &str) {
    let new = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
    let said = wait(by_librdkafka(cluster).create_topics([&new], &AdminOptions::new())).unwrap();
    assert!(said.iter().all(Result::is_ok), "{said:?}");
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}
