//! Descriptions of workloads, there and back.

use base64::engine::general_purpose::STANDARD;
use carbyne_protos::envoy::config::core::v3::Node;
use serde_json::json;

use super::*;

fn node() -> Node {
    let metadata = described(&json!({
        "NAME": "a-1", "NAMESPACE": "ns", "WORKLOAD_NAME": "a", "CLUSTER_ID": "Kubernetes", "ISTIO_VERSION": "1.29.2",
        "OWNER": "kubernetes://apis/apps/v1/namespaces/ns/deployments/a",
        "LABELS": {"app": "a", "version": "v1", "service.istio.io/canonical-name": "a", "service.istio.io/canonical-revision": "v1", "team": "x"}
    }));
    Node {
        id: "sidecar~192.0.2.1~a-1.ns~ns.svc.cluster.local".to_owned(),
        metadata: Some(metadata),
        ..Node::default()
    }
}

#[test]
fn what_is_sent_is_read_again() {
    let node = LocalNode::new(&node(), &["team".into()]);
    assert_eq!(node.peer.kind, Some(WorkloadKind::Deployment));
    assert_eq!(&*node.istio_version, "1.29.2");
    let labels = ["team".into()];
    let padded = node.header.as_bytes();
    let bare: Vec<u8> = padded
        .iter()
        .copied()
        .filter(|byte| *byte != b'=')
        .collect();
    for value in [padded, &bare] {
        assert_eq!(Peer::decode_header(value, &labels).unwrap(), node.peer);
    }
    assert_eq!(
        node.header,
        LocalNode::new(&self::node(), &labels).header,
        "deterministic"
    );
    assert_eq!(Peer::decode_header(padded, &[]).unwrap().labels.len(), 0);
}

#[test]
fn lenient_and_bounded() {
    let odd = described(
        &json!({"NAME": 3, "NAMESPACE": "ns", "LABELS": "x", "INSTANCE_IPS": "1.2.3.4", "OWNER": "x", "PLATFORM_METADATA": {"a": {"b": [1]}}}),
    );
    let peer = Peer::from_struct(&odd, &[]);
    assert_eq!((&*peer.name, &*peer.namespace, peer.kind), ("", "ns", None));
    assert_eq!(Peer::decode_header(b"%%%", &[]), Err(PeerError::Base64));
    assert_eq!(
        Peer::decode_header(STANDARD.encode(b"\xff\xff").as_bytes(), &[]),
        Err(PeerError::Malformed)
    );
    assert_eq!(
        Peer::decode_header(&vec![b'A'; 100_000], &[]),
        Err(PeerError::TooLarge)
    );
    let mut deep = Vec::new();
    for _ in 0..200 {
        let mut outer = vec![0x0a];
        prost::encoding::encode_varint(deep.len() as u64, &mut outer);
        outer.extend_from_slice(&deep);
        deep = outer;
    }
    // Deep nesting ends in an error or in nothing, never in a full stack.
    drop(Peer::decode(&deep, &[]));
}

#[test]
fn remembered_by_value() {
    let node = LocalNode::new(&node(), &[]);
    let first = Peer::of_header(node.header.as_bytes(), &[], 0).unwrap();
    let second = Peer::of_header(node.header.as_bytes(), &[], 0).unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    for number in 0..2 * REMEMBERED {
        let peer = Peer {
            name: format!("p{number}").into(),
            ..Peer::default()
        };
        let value = STANDARD.encode(peer.to_struct().encode_to_vec());
        assert_eq!(*Peer::of_header(value.as_bytes(), &[], 0).unwrap(), peer);
    }
    CACHE.with_borrow(|caches| assert!(caches[&0].known.len() <= REMEMBERED));
}

#[test]
fn other_sources() {
    let peer = Peer::from_endpoint("a;ns;svc;v1;Kubernetes").unwrap();
    assert_eq!(
        (
            &*peer.workload,
            &*peer.namespace,
            &*peer.canonical_service,
            &*peer.canonical_revision,
            &*peer.cluster
        ),
        ("a", "ns", "svc", "v1", "Kubernetes")
    );
    assert_eq!(Peer::from_endpoint("a;ns"), None);
    let peer = Peer::from_baggage("k8s.deployment.name=a, k8s.namespace.name=ns,service.name=svc;x=y,service.version=v1,k8s.cluster.name=c,other=1").unwrap();
    let mut out = Vec::new();
    peer.write_pairs(&mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "type=deployment,workload=a,cluster=c,namespace=ns,service=svc,revision=v1,app=svc,version=v1"
    );
    assert_eq!(Peer::from_baggage("a=b"), None);
}
