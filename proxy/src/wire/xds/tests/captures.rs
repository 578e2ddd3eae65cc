//! Every answer that a real istiod gave: taken whole, acknowledged, and a no-op when it comes again.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use carbyne_protos::envoy::config::cluster::v3::Cluster;
use carbyne_protos::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use prost::Message;

use super::super::{Interest, Protocol, ResourceType};
use super::machine;

/// The folder of recordings, or `None` where it is missing and may be.
pub(super) fn captures() -> Option<PathBuf> {
    let folder = std::env::var_os("CARBYNE_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    );
    let folder = folder.join("captures/istio-1.29");
    if folder.is_dir() {
        return Some(folder);
    }
    assert_ne!(
        std::env::var("CI").as_deref(),
        Ok("true"),
        "{} is missing",
        folder.display()
    );
    println!("skipped: {} is missing", folder.display());
    None
}

#[test]
fn recorded_answers_are_taken_and_acknowledged() {
    let Some(folder) = captures() else { return };
    let mut answers = 0;
    for (name, protocol) in [
        ("sotw", Protocol::Sotw),
        ("delta", Protocol::Delta),
        ("sotw-stock", Protocol::Sotw),
    ] {
        for node in std::fs::read_dir(folder.join(name)).unwrap() {
            answers += replay(&node.unwrap().path(), protocol);
        }
    }
    println!("{answers} recorded answers");
    assert_eq!(answers, 3 * 8 * 4);
}

fn replay(node: &std::path::Path, protocol: Protocol) -> usize {
    let mut machine = machine(protocol);
    machine.want(ResourceType::Cluster, Interest::All);
    machine.want(ResourceType::Listener, Interest::All);
    machine.connected(Duration::ZERO);
    let mut answers = 0;
    for round in 0..2 {
        for (file, resource_type) in [
            ("cds.pb", ResourceType::Cluster),
            ("eds.pb", ResourceType::Endpoint),
            ("lds.pb", ResourceType::Listener),
            ("rds.pb", ResourceType::Route),
        ] {
            let bytes = std::fs::read(node.join(file)).unwrap();
            let (resources, names, nonce) = read(&bytes, protocol, resource_type);
            if !resource_type.is_full_state() {
                machine.want(resource_type, Interest::Names(names));
            }
            while machine.next_request(Duration::from_secs(60)).is_some() {}
            let update = machine
                .receive(&bytes, SystemTime::UNIX_EPOCH)
                .unwrap()
                .unwrap();
            assert_eq!(
                update.upserts.len(),
                if round == 0 { resources } else { 0 },
                "{node:?} {file}"
            );
            assert_eq!(update.removed.len(), 0);
            if resource_type == ResourceType::Cluster {
                for resource in &update.upserts {
                    assert_eq!(
                        Cluster::decode(&*resource.bytes).unwrap().name,
                        *resource.name
                    );
                }
            }
            machine.applied(update, Vec::new(), SystemTime::UNIX_EPOCH);
            let reply = machine.next_request(Duration::from_secs(60)).unwrap();
            assert_eq!(accepted(&reply, protocol), Some(nonce), "{node:?} {file}");
            assert_eq!(machine.resources(resource_type).count(), resources);
            answers += usize::from(round == 0);
        }
    }
    answers
}

fn read(
    bytes: &[u8],
    protocol: Protocol,
    resource_type: ResourceType,
) -> (usize, BTreeSet<Arc<str>>, String) {
    match protocol {
        Protocol::Sotw => {
            let response = DiscoveryResponse::decode(bytes).unwrap();
            assert_eq!(response.type_url, resource_type.type_url());
            let names = response
                .resources
                .iter()
                .map(|any| super::super::resource::name_of(&any.value).unwrap().into());
            (response.resources.len(), names.collect(), response.nonce)
        }
        Protocol::Delta => {
            let response = DeltaDiscoveryResponse::decode(bytes).unwrap();
            assert_eq!(response.type_url, resource_type.type_url());
            let names = response
                .resources
                .iter()
                .map(|resource| Arc::from(&*resource.name));
            (response.resources.len(), names.collect(), response.nonce)
        }
    }
}

/// The nonce of an acknowledgement.
fn accepted(request: &[u8], protocol: Protocol) -> Option<String> {
    match protocol {
        Protocol::Sotw => {
            let request = DiscoveryRequest::decode(request).unwrap();
            request
                .error_detail
                .is_none()
                .then_some(request.response_nonce)
        }
        Protocol::Delta => {
            let request = DeltaDiscoveryRequest::decode(request).unwrap();
            request
                .error_detail
                .is_none()
                .then_some(request.response_nonce)
        }
    }
}
