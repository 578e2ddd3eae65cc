//! Recorded answers of istiod with single mistakes among them: each mistake is refused by the name of its resource,
//! and every sibling is applied.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use carbyne_protos::any::pack;
use carbyne_protos::envoy::config::cluster::v3::{Cluster, cluster};
use carbyne_protos::envoy::config::listener::v3::Listener;
use carbyne_protos::envoy::service::discovery::v3::DiscoveryResponse;
use carbyne_protos::prost_types::{Any, Duration};
use prost::Message;

use super::mesh::Mesh;
use super::plane::{CLUSTER, LISTENER, Protocol};
use crate::support::report_cases;

/// How a resource becomes another, and a word of the refusal.
type Mistake<M> = (&'static str, fn(&mut M));

const IN_CLUSTERS: [Mistake<Cluster>; 8] = [
    ("connect_timeout", |cluster| {
        cluster.connect_timeout = Some(Duration {
            seconds: -1,
            nanos: 0,
        });
    }),
    ("load_assignment", |cluster| {
        cluster.cluster_discovery_type = Some(cluster::ClusterDiscoveryType::Type(
            cluster::DiscoveryType::LogicalDns as i32,
        ));
        cluster.eds_cluster_config = None;
        cluster.load_assignment = None;
    }),
    ("max_ejection_percent", |cluster| {
        cluster
            .outlier_detection
            .get_or_insert_default()
            .max_ejection_percent = Some(101);
    }),
    ("eds_cluster_config", |cluster| {
        cluster.eds_cluster_config = None
    }),
    ("health_checks[0]", |cluster| {
        cluster
            .health_checks
            .push(carbyne_protos::envoy::config::core::v3::HealthCheck::default())
    }),
    ("choice_count", |cluster| {
        cluster.load_balancing_policy = None;
        cluster.lb_policy = cluster::LbPolicy::LeastRequest as i32;
        cluster.lb_config = Some(cluster::LbConfig::LeastRequestLbConfig(
            cluster::LeastRequestLbConfig {
                choice_count: Some(1),
                ..cluster::LeastRequestLbConfig::default()
            },
        ));
    }),
    ("minimum_ring_size", |cluster| {
        cluster.load_balancing_policy = None;
        cluster.lb_policy = cluster::LbPolicy::RingHash as i32;
        cluster.lb_config = Some(cluster::LbConfig::RingHashLbConfig(
            cluster::RingHashLbConfig {
                minimum_ring_size: Some(1 << 40),
                ..cluster::RingHashLbConfig::default()
            },
        ));
    }),
    ("cleanup_interval", |cluster| {
        cluster.cleanup_interval = Some(Duration {
            seconds: 0,
            nanos: 0,
        });
    }),
];

const IN_LISTENERS: [Mistake<Listener>; 4] = [
    ("filter_chains", |listener| {
        listener.filter_chains.clear();
        listener.default_filter_chain = None;
    }),
    ("address", |listener| listener.address = None),
    ("filters[0].name", |listener| {
        listener.filter_chains[0].filters[0].name.clear()
    }),
    ("filter_chains", |listener| {
        let again = listener.filter_chains[0].clone();
        listener.filter_chains.push(again);
    }),
];

/// Where the recordings are: `CARBYNE_SHARED`, or `shared` beside the workspace.
fn recordings() -> Option<PathBuf> {
    let shared = std::env::var_os("CARBYNE_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    );
    let root = shared.join("captures/istio-1.29");
    if root.is_dir() {
        return Some(root);
    }
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "the recordings of istiod are not at {}",
        root.display()
    );
    println!(
        "skipped: the recordings of istiod are not at {}",
        root.display()
    );
    None
}

#[test]
fn mistakes_in_recorded_answers_are_refused_by_name() {
    let Some(root) = recordings() else {
        return;
    };
    let answer = |file: &str| {
        let path = root.join("sotw-stock/portal").join(file);
        DiscoveryResponse::decode(std::fs::read(path).unwrap().as_slice())
            .unwrap()
            .resources
    };
    let mesh = Mesh::start(Protocol::Sotw);
    let clusters: Vec<Cluster> = answer("cds.pb").iter().map(decode).collect();
    let eds = |cluster: &&Cluster| cluster.eds_cluster_config.is_some();
    assert!(clusters.iter().filter(eds).count() > IN_CLUSTERS.len());
    refuse(&mesh, CLUSTER, &clusters, &IN_CLUSTERS, |cluster| {
        (cluster.name.clone(), eds(&cluster))
    });
    let mut listeners: Vec<Listener> = answer("lds.pb").iter().map(decode).collect();
    // They were recorded in a pod: here they listen on no port that others may have.
    listeners.retain(|listener| !listener.filter_chains.is_empty());
    for listener in &mut listeners {
        listener.bind_to_port = Some(false);
    }
    refuse(&mesh, LISTENER, &listeners, &IN_LISTENERS, |listener| {
        (listener.name.clone(), true)
    });
    let count = IN_CLUSTERS.len() + IN_LISTENERS.len();
    report_cases("recorded mistakes", count, count);
}

fn decode<M: Message + Default>(any: &Any) -> M {
    M::decode(any.value.as_slice()).unwrap()
}

/// Publishes the resources with a mistake in the first of those that can have one, each in another.
fn refuse<M: Message + prost::Name + Clone>(
    mesh: &Mesh,
    type_url: &'static str,
    resources: &[M],
    mistakes: &[Mistake<M>],
    about: impl Fn(&M) -> (String, bool),
) {
    let mut left = mistakes.iter();
    let mut wrong = Vec::new();
    let mut right = BTreeSet::new();
    let mark = mesh.plane.mark();
    mesh.plane.publish(|all| {
        let held = all.entry(type_url).or_default();
        for resource in resources {
            let (name, fits) = about(resource);
            let mut resource = resource.clone();
            match fits.then(|| left.next()).flatten() {
                Some((word, mistake)) => {
                    mistake(&mut resource);
                    wrong.push((name.clone(), *word));
                }
                None => {
                    right.insert(name.clone());
                }
            }
            held.insert(name, pack(&resource).value);
        }
    });
    let text = mesh.plane.nacked(mark, type_url);
    assert_eq!(wrong.len(), mistakes.len());
    for (name, word) in &wrong {
        let at = text
            .find(&format!("{name}: "))
            .unwrap_or_else(|| panic!("{name} is not named: {text}"));
        let own = &text[at..];
        assert!(
            own[..own.len().min(400)].contains(word),
            "{name}: {word} is not in {own}"
        );
    }
    let (_, body) = mesh.proxy.admin("GET", "/config_dump").unwrap();
    let dump: serde_json::Value = serde_json::from_str(&body).unwrap();
    let applied: BTreeSet<String> = if type_url == CLUSTER {
        let (_, text) = mesh.proxy.admin("GET", "/clusters").unwrap();
        text.lines()
            .filter_map(|line| Some(line.split_once("::")?.0.to_owned()))
            .collect()
    } else {
        let sections = dump["configs"].as_array().unwrap().iter();
        let entries = sections
            .filter_map(|section| section["dynamic_listeners"].as_array())
            .flatten();
        entries
            .filter(|entry| entry["active_state"].is_object() || entry["warming_state"].is_object())
            .map(|entry| entry["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let missing: Vec<_> = right.difference(&applied).collect();
    assert!(missing.is_empty(), "not applied: {missing:?}");
    for (name, _) in &wrong {
        assert!(!applied.contains(name), "{name} is applied");
    }
    mesh.serves("first");
}
