//! The real Kafka that other suites stand on: that it answers, survives a SIGKILL with what it had, and leaves nothing behind.

use std::{
    env,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use carbyne_events::broker::{Cluster, Options};
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::Message,
    producer::{BaseProducer, BaseRecord, Producer},
    topic_partition_list::{Offset, TopicPartitionList},
    types::RDKafkaErrorCode,
};

#[test]
fn a_node_that_was_killed_has_what_it_acknowledged() {
    let cluster = Cluster::start(&Options {
        settings: vec![("auto.create.topics.enable".to_owned(), "true".to_owned())],
        ..Options::default()
    })
    .unwrap();
    let producer: BaseProducer = client(&cluster).create().unwrap();
    for number in 0..100 {
        let text = number.to_string();
        producer
            .send(BaseRecord::to("kept").key("k").payload(&text))
            .unwrap();
    }
    producer.flush(Duration::from_secs(60)).unwrap();

    cluster.kill(0).unwrap();
    assert!(cluster.pids().is_empty());
    cluster.revive(0).unwrap();

    let consumer: BaseConsumer = client(&cluster).set("group.id", "x").create().unwrap();
    let mut from = TopicPartitionList::new();
    from.add_partition_offset("kept", 0, Offset::Beginning)
        .unwrap();
    consumer.assign(&from).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    for number in 0..100 {
        let message = loop {
            assert!(
                Instant::now() < deadline,
                "message {number} did not come back"
            );
            if let Some(Ok(message)) = consumer.poll(Duration::from_millis(200)) {
                break message;
            }
        };
        assert_eq!(message.payload(), Some(number.to_string().as_bytes()));
    }
    let folder = cluster.directory().to_owned();
    let pids = cluster.pids();
    drop((producer, consumer, cluster));
    assert!(!folder.exists());
    for pid in pids {
        assert!(!alive(pid), "{pid} still runs");
    }
}

#[test]
fn three_nodes_are_one_cluster() {
    let cluster = Cluster::start(&Options::nodes(3)).unwrap();
    let consumer: BaseConsumer = client(&cluster).create().unwrap();
    let brokers = |expected: usize| {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let metadata = consumer
                .fetch_metadata(None, Duration::from_secs(30))
                .unwrap();
            if metadata.brokers().len() == expected {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{} brokers",
                metadata.brokers().len()
            );
            std::thread::yield_now();
        }
    };
    brokers(3);
    assert_eq!(
        consumer
            .client()
            .fetch_cluster_id(Duration::from_secs(30))
            .as_deref(),
        Some(cluster.id())
    );
    cluster.terminate(1).unwrap();
    brokers(2);
    cluster.revive(1).unwrap();
    brokers(3);
}

#[test]
fn a_wrong_password_is_refused() {
    let user = ("carbyne".to_owned(), r#"a "quoted" \ word"#.to_owned());
    let cluster = Cluster::start(&Options {
        user: Some(user.clone()),
        ..Options::default()
    })
    .unwrap();
    let ask = |password: &str| -> Result<usize, KafkaError> {
        let consumer: BaseConsumer = client(&cluster)
            .set("security.protocol", "SASL_PLAINTEXT")
            .set("sasl.mechanisms", "PLAIN")
            .set("sasl.username", &user.0)
            .set("sasl.password", password)
            .create()?;
        let metadata = consumer.fetch_metadata(None, Duration::from_secs(20))?;
        Ok(metadata.brokers().len())
    };
    assert_eq!(ask(&user.1).unwrap(), 1);
    let refused = ask("another").unwrap_err();
    assert!(
        matches!(
            refused.rdkafka_error_code(),
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::BrokerTransportFailure)
        ),
        "{refused}"
    );
}

/// In the child that this test makes of itself, the one that is killed.
const HOLDER: &str = "CARBYNE_TEST_HOLDS_A_BROKER";

#[test]
fn nodes_end_with_the_process_that_started_them() {
    if env::var_os(HOLDER).is_some() {
        let cluster = Cluster::start(&Options::default()).unwrap();
        println!(
            "\nholds {} {}",
            cluster.pids()[0],
            cluster.directory().display()
        );
        // Until it is killed.
        std::io::stdin().lines().next();
        return;
    }
    let mut holder = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "nodes_end_with_the_process_that_started_them",
            "--nocapture",
        ])
        .env(HOLDER, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let line = BufReader::new(holder.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .inspect(|line| said.push_str(line))
        .find(|line| line.starts_with("holds "));
    let Some(line) = line else {
        panic!("it holds nothing: {said}");
    };
    let words: Vec<&str> = line.split(' ').collect();
    let pid = words[1].parse().unwrap();
    assert!(alive(pid));
    holder.kill().unwrap();
    holder.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while alive(pid) {
        assert!(Instant::now() < deadline, "node {pid} outlived its owner");
        std::thread::yield_now();
    }
    // Its files go when somebody starts the next one.
    assert!(Path::new(words[2]).exists());
    drop(Cluster::start(&Options::default()).unwrap());
    assert!(!Path::new(words[2]).exists());
}

fn client(cluster: &Cluster) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap());
    config
}

/// Whether a process runs: one that nobody waited for yet is dead.
fn alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .starts_with(" Z")
    })
}
