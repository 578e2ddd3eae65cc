//! Conversations, message by message.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use carbyne_protos::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use carbyne_protos::prost_types::Any;
use prost::Message;

use super::super::{Ads, Interest, Protocol, ReceiveError, Rejected, ResourceType};
use super::{machine, message};

const T: SystemTime = SystemTime::UNIX_EPOCH;

fn names(names: &[&str]) -> Interest {
    Interest::Names(
        names
            .iter()
            .map(|name| Arc::from(*name))
            .collect::<BTreeSet<_>>(),
    )
}

fn any(resource_type: ResourceType, name: &str, number: u64) -> Any {
    Any {
        type_url: resource_type.type_url().to_owned(),
        value: message(name, number),
    }
}

fn sotw(resource_type: ResourceType, version: &str, nonce: &str, resources: Vec<Any>) -> Vec<u8> {
    let response = DiscoveryResponse {
        version_info: version.to_owned(),
        type_url: resource_type.type_url().to_owned(),
        nonce: nonce.to_owned(),
        resources,
        ..DiscoveryResponse::default()
    };
    response.encode_to_vec()
}

fn delta(
    resource_type: ResourceType,
    nonce: &str,
    resources: &[(&str, &str, u64)],
    removed: &[&str],
) -> Vec<u8> {
    let response = DeltaDiscoveryResponse {
        system_version_info: "system".to_owned(),
        type_url: resource_type.type_url().to_owned(),
        nonce: nonce.to_owned(),
        resources: resources
            .iter()
            .map(|(name, version, number)| Resource {
                name: (*name).to_owned(),
                version: (*version).to_owned(),
                resource: Some(any(resource_type, name, *number)),
                ..Resource::default()
            })
            .collect(),
        removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
        ..DeltaDiscoveryResponse::default()
    };
    response.encode_to_vec()
}

fn next_sotw(machine: &mut Ads) -> Option<DiscoveryRequest> {
    machine
        .next_request(Duration::ZERO)
        .map(|bytes| DiscoveryRequest::decode(&*bytes).unwrap())
}

fn next_delta(machine: &mut Ads) -> Option<DeltaDiscoveryRequest> {
    machine
        .next_request(Duration::ZERO)
        .map(|bytes| DeltaDiscoveryRequest::decode(&*bytes).unwrap())
}

/// Receives and applies, rejecting `bad`; returns the names that were applied.
fn take(machine: &mut Ads, response: &[u8], bad: &[&str]) -> (Vec<String>, Vec<String>) {
    let update = machine.receive(response, T).unwrap().unwrap();
    let upserts = update
        .upserts
        .iter()
        .map(|resource| resource.name.to_string())
        .collect();
    let removed = update.removed.iter().map(|name| name.to_string()).collect();
    let rejected = bad.iter().map(|name| Rejected {
        name: Arc::from(*name),
        reason: "is bad".to_owned(),
    });
    let rejected = rejected.collect();
    machine.applied(update, rejected, T);
    (upserts, removed)
}

#[test]
fn sotw_asks_in_order_acknowledges_and_refuses_by_name() {
    use ResourceType::{Cluster, Endpoint, Listener, Route};
    let mut machine = machine(Protocol::Sotw);
    machine.want(Listener, Interest::All);
    machine.want(Cluster, Interest::All);
    assert_eq!(next_sotw(&mut machine), None);
    machine.connected(Duration::ZERO);

    let request = next_sotw(&mut machine).unwrap();
    assert_eq!(
        (&*request.type_url, request.node.is_some()),
        (Cluster.type_url(), true)
    );
    assert_eq!(next_sotw(&mut machine), None, "listeners wait for clusters");
    assert_eq!(machine.wake_at(), Some(Duration::from_secs(15)));

    let response = sotw(
        Cluster,
        "v1",
        "n1",
        vec![any(Cluster, "a", 1), any(Cluster, "b", 1)],
    );
    assert_eq!(take(&mut machine, &response, &["b"]).0, ["a", "b"]);
    machine.want(Endpoint, names(&["a"]));
    let refusal = next_sotw(&mut machine).unwrap();
    assert_eq!(
        (&*refusal.version_info, &*refusal.response_nonce),
        ("", "n1"),
        "no version was applied whole"
    );
    assert_eq!(
        refusal.error_detail.unwrap().message,
        "Error adding/updating cluster(s) b: is bad"
    );
    assert!(refusal.node.is_none());
    let request = next_sotw(&mut machine).unwrap();
    assert_eq!(
        (&*request.type_url, &request.resource_names[..]),
        (Endpoint.type_url(), &["a".to_owned()][..])
    );
    assert_eq!(next_sotw(&mut machine), None);

    take(
        &mut machine,
        &sotw(Endpoint, "v1", "n2", vec![any(Endpoint, "a", 1)]),
        &[],
    );
    assert_eq!(next_sotw(&mut machine).unwrap().response_nonce, "n2");
    assert_eq!(
        next_sotw(&mut machine).unwrap().type_url,
        Listener.type_url()
    );
    // The first answer counts though it is empty.
    take(&mut machine, &sotw(Listener, "v1", "n3", vec![]), &[]);
    assert_eq!(machine.statistics(Listener).update_success, 1);
    assert_eq!(next_sotw(&mut machine).unwrap().version_info, "v1");

    // What was refused comes again, repaired; what did not change is not applied again; `a` is gone.
    let response = sotw(Cluster, "v2", "n4", vec![any(Cluster, "b", 2)]);
    assert_eq!(
        take(&mut machine, &response, &[]),
        (vec!["b".to_owned()], vec!["a".to_owned()])
    );
    machine.want(Endpoint, names(&[]));
    machine.want(Route, names(&[]));
    let request = next_sotw(&mut machine).unwrap();
    assert_eq!(
        (&*request.version_info, &*request.response_nonce),
        ("v2", "n4")
    );
    let request = next_sotw(&mut machine).unwrap();
    assert_eq!(
        (&*request.type_url, request.resource_names.len()),
        (Endpoint.type_url(), 0),
        "unsubscribes"
    );
    assert_eq!(
        next_sotw(&mut machine),
        None,
        "what was never wanted is not asked for"
    );

    // An acknowledgement may be answered.
    assert_eq!(
        take(
            &mut machine,
            &sotw(Cluster, "v2", "n5", vec![any(Cluster, "b", 2)]),
            &[]
        )
        .0
        .len(),
        0
    );
    assert_eq!(next_sotw(&mut machine).unwrap().response_nonce, "n5");
    let statistics = machine.statistics(Cluster);
    assert_eq!(
        (
            statistics.update_success,
            statistics.update_rejected,
            statistics.config_reload
        ),
        (2, 1, 1)
    );
    assert_eq!(statistics.update_attempt, 4);

    machine.disconnected();
    assert_eq!(machine.resources(Cluster).count(), 1, "last good is kept");
    machine.connected(Duration::ZERO);
    let request = next_sotw(&mut machine).unwrap();
    assert_eq!(
        (
            &*request.version_info,
            &*request.response_nonce,
            request.node.is_some()
        ),
        ("v2", "", true)
    );
    assert_eq!(
        next_sotw(&mut machine).unwrap().type_url,
        Listener.type_url()
    );
    assert_eq!(next_sotw(&mut machine), None);
}

#[test]
fn delta_changes_subscriptions_apart_and_tells_versions_on_reconnect() {
    use ResourceType::{Cluster, Endpoint, Listener};
    let mut machine = machine(Protocol::Delta);
    machine.want(Cluster, Interest::All);
    machine.want(Listener, Interest::All);
    machine.connected(Duration::ZERO);
    let request = next_delta(&mut machine).unwrap();
    assert_eq!(
        (&*request.type_url, &request.resource_names_subscribe[..]),
        (Cluster.type_url(), &["*".to_owned()][..])
    );
    assert!(request.node.is_some() && request.initial_resource_versions.is_empty());

    take(
        &mut machine,
        &delta(Cluster, "n1", &[("a", "1", 1), ("b", "1", 1)], &[]),
        &["b"],
    );
    machine.want(Endpoint, names(&["a", "b"]));
    let refusal = next_delta(&mut machine).unwrap();
    assert_eq!(
        refusal.error_detail.unwrap().message,
        "Error adding/updating cluster(s) b: is bad"
    );
    assert!(refusal.resource_names_subscribe.is_empty());
    let request = next_delta(&mut machine).unwrap();
    assert_eq!(request.resource_names_subscribe, ["a", "b"]);
    assert_eq!(request.response_nonce, "");

    // A name that does not exist comes back as removed and ends the wait.
    let (upserts, removed) = take(
        &mut machine,
        &delta(Endpoint, "n2", &[("a", "1", 1), ("z", "1", 1)], &["b", "y"]),
        &[],
    );
    assert_eq!(
        (upserts, removed),
        (vec!["a".to_owned()], vec!["b".to_owned()])
    );
    machine.want(Endpoint, names(&["a", "c"]));
    let acknowledgement = next_delta(&mut machine).unwrap();
    assert_eq!(
        (
            &*acknowledgement.response_nonce,
            acknowledgement.error_detail
        ),
        ("n2", None)
    );
    assert!(acknowledgement.resource_names_subscribe.is_empty());
    let change = next_delta(&mut machine).unwrap();
    assert_eq!(
        (
            change.resource_names_subscribe,
            change.resource_names_unsubscribe
        ),
        (vec!["c".to_owned()], vec!["b".to_owned()])
    );
    assert_eq!(
        next_delta(&mut machine).unwrap().type_url,
        Listener.type_url()
    );

    // Equal bytes under a new version: nothing to apply, but the version is told on reconnect.
    assert!(
        take(
            &mut machine,
            &delta(Cluster, "n3", &[("a", "2", 1)], &[]),
            &[]
        )
        .0
        .is_empty()
    );
    machine.disconnected();
    machine.connected(Duration::ZERO);
    let request = next_delta(&mut machine).unwrap();
    let versions: Vec<_> = request
        .initial_resource_versions
        .iter()
        .map(|(name, version)| (&**name, &**version))
        .collect();
    assert_eq!(versions, [("a", "2")], "what was refused is not held");
    let request = next_delta(&mut machine).unwrap();
    assert_eq!(
        (
            request.resource_names_subscribe.len(),
            request.initial_resource_versions.len()
        ),
        (2, 1)
    );
    let (_, removed) = take(&mut machine, &delta(Cluster, "n1", &[], &["a"]), &[]);
    assert_eq!(removed, ["a"]);
}

#[test]
fn what_is_wanted_again_before_anybody_was_told_is_applied_from_what_is_held() {
    for protocol in [Protocol::Sotw, Protocol::Delta] {
        let mut machine = machine(protocol);
        machine.want(ResourceType::Route, names(&["80"]));
        machine.connected(Duration::ZERO);
        assert!(machine.next_request(Duration::ZERO).is_some());
        let response = match protocol {
            Protocol::Sotw => sotw(
                ResourceType::Route,
                "v1",
                "n1",
                vec![any(ResourceType::Route, "80", 1)],
            ),
            Protocol::Delta => delta(ResourceType::Route, "n1", &[("80", "1", 1)], &[]),
        };
        take(&mut machine, &response, &[]);
        assert!(machine.next_request(Duration::ZERO).is_some());
        assert!(machine.want(ResourceType::Route, names(&[])).is_none());
        let held = machine.want(ResourceType::Route, names(&["80"])).unwrap();
        assert_eq!(held.upserts.len(), 1);
        machine.applied(held, Vec::new(), T);
        assert!(
            machine.next_request(Duration::ZERO).is_none(),
            "there is nothing to say"
        );
        assert_eq!(
            machine.statistics(ResourceType::Route).update_success,
            1,
            "it was no response"
        );
        // Once the control plane was told, it sends it again.
        machine.want(ResourceType::Route, names(&[]));
        assert!(machine.next_request(Duration::ZERO).is_some());
        assert!(machine.want(ResourceType::Route, names(&["80"])).is_none());
        assert!(machine.next_request(Duration::ZERO).is_some());
    }
}

#[test]
fn an_answer_to_a_stream_that_ended_is_not_sent_on_the_next() {
    let mut machine = machine(Protocol::Delta);
    machine.want(ResourceType::Cluster, Interest::All);
    machine.connected(Duration::ZERO);
    machine.next_request(Duration::ZERO);
    let update = machine
        .receive(
            &delta(ResourceType::Cluster, "old", &[("a", "1", 1)], &[]),
            T,
        )
        .unwrap()
        .unwrap();
    assert!(
        machine.next_request(Duration::ZERO).is_none(),
        "nothing is sent while an update is applied"
    );
    assert!(matches!(
        machine.receive(&[], T),
        Err(ReceiveError::OutOfTurn)
    ));
    machine.disconnected();
    machine.connected(Duration::ZERO);
    machine.applied(update, Vec::new(), T);
    let request = next_delta(&mut machine).unwrap();
    assert_eq!(
        (
            &*request.response_nonce,
            request.initial_resource_versions.len()
        ),
        ("", 1)
    );
    assert!(next_delta(&mut machine).is_none());
}

#[test]
fn malformed_resources_are_refused_and_their_siblings_applied() {
    use ResourceType::{Cluster, Listener};
    let mut machine = machine(Protocol::Sotw);
    machine.want(Cluster, Interest::All);
    machine.connected(Duration::ZERO);
    machine.next_request(Duration::ZERO);
    take(
        &mut machine,
        &sotw(Cluster, "v1", "n1", vec![any(Cluster, "cut", 1)]),
        &[],
    );
    machine.next_request(Duration::ZERO);
    let mut cut = any(Cluster, "cut", 2);
    cut.value.extend([0x1a, 0x09]);
    let resources = vec![
        any(Cluster, "good", 1),
        cut,
        any(Listener, "listener", 1),
        any(Cluster, "", 1),
        any(Cluster, "twice", 1),
        any(Cluster, "twice", 2),
    ];
    let (upserts, removed) = take(&mut machine, &sotw(Cluster, "v2", "n2", resources), &[]);
    assert_eq!(upserts, ["good"]);
    let text = next_sotw(&mut machine)
        .unwrap()
        .error_detail
        .unwrap()
        .message;
    for part in [
        "cut: does not decode",
        "resources[2]: type URL type.googleapis.com/envoy.config.listener.v3.Listener embedded",
        "resources[3]: has no name",
        "twice: named twice",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert!(
        removed.is_empty(),
        "what cannot be read may be what is held: {removed:?}"
    );
    assert!(machine.receive(&[0xff], T).is_err());
}

#[test]
fn what_is_sent_and_removed_at_once_stays_as_it_was() {
    use ResourceType::Cluster;
    let mut machine = machine(Protocol::Delta);
    machine.want(Cluster, Interest::All);
    machine.connected(Duration::ZERO);
    machine.next_request(Duration::ZERO);
    let first = delta(Cluster, "n1", &[("held", "1", 1)], &[]);
    take(&mut machine, &first, &[]);
    next_delta(&mut machine);
    let resources = [("held", "2", 2), ("other", "1", 1)];
    let both = delta(Cluster, "n2", &resources, &["held"]);
    let (upserts, removed) = take(&mut machine, &both, &[]);
    assert_eq!((upserts, removed.len()), (vec!["other".to_owned()], 0));
    let error = next_delta(&mut machine).unwrap().error_detail.unwrap();
    assert!(
        error.message.contains("held: sent and removed"),
        "{error:?}"
    );
    let held: Vec<_> = machine
        .resources(Cluster)
        .map(|held| held.bytes.clone())
        .collect();
    assert_eq!(held.len(), 2);
    assert_eq!(held[0], any(Cluster, "held", 1).value);
}

#[test]
fn listeners_do_not_wait_for_ever() {
    let mut machine = machine(Protocol::Sotw);
    machine.want(ResourceType::Cluster, Interest::All);
    machine.want(ResourceType::Listener, Interest::All);
    machine.connected(Duration::from_secs(100));
    machine.next_request(Duration::from_secs(100));
    assert!(machine.next_request(Duration::from_secs(114)).is_none());
    assert_eq!(machine.wake_at(), Some(Duration::from_secs(115)));
    assert!(machine.next_request(Duration::from_secs(115)).is_some());
    assert_eq!(machine.wake_at(), None);
}

#[test]
fn long_refusals_are_cut_at_a_character() {
    let rejected: Vec<_> = (0..400)
        .map(|index| Rejected {
            name: format!("ä{index}").into(),
            reason: "ö".repeat(20),
        })
        .collect();
    let text = super::super::nack_message(ResourceType::Route, &rejected);
    assert!(text.len() <= 4096 && text.len() > 4080, "{}", text.len());
    assert!(text.ends_with("...(truncated)"));
}
