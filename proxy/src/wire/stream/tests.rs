//! The client over a stream in memory, on a clock that runs when everybody waits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use carbyne_protos::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
    Resource as Wrapper,
};
use carbyne_protos::prost_types::Any;
use prost::Message;
use tokio::sync::Notify;

use super::*;
use crate::wire::sds;
use crate::wire::xds::{Protocol, Rejected, Resource, Settings};

/// What a connection says, and how it ends.
#[derive(Debug)]
enum Step {
    Chunk(Vec<u8>),
    Reset,
    End(u32),
}

/// By connection: when it was opened and what the client sent.
type Sent = Rc<RefCell<Vec<(Duration, Vec<u8>)>>>;

/// One scripted connection after the other; after the last one nothing more happens.
#[derive(Clone, Default)]
struct Script {
    connections: Rc<RefCell<VecDeque<Vec<Step>>>>,
    sent: Sent,
    start: Option<Instant>,
}

struct Scripted {
    steps: VecDeque<Step>,
    sent: Sent,
    index: usize,
    code: u32,
}

impl Connect for Script {
    type Stream = Scripted;

    async fn connect(&mut self, _: &'static str) -> Result<Scripted, StreamError> {
        let start = *self.start.get_or_insert_with(Instant::now);
        let steps = self.connections.borrow_mut().pop_front();
        let index = self.sent.borrow().len();
        self.sent.borrow_mut().push((start.elapsed(), Vec::new()));
        match steps {
            Some(steps) if steps.is_empty() => Err(StreamError::Connection("refused".to_owned())),
            Some(steps) => Ok(Scripted {
                steps: steps.into(),
                sent: self.sent.clone(),
                index,
                code: 0,
            }),
            None => std::future::pending().await,
        }
    }
}

impl GrpcStream for Scripted {
    async fn send(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        self.sent.borrow_mut()[self.index]
            .1
            .extend_from_slice(&bytes);
        Ok(())
    }

    async fn receive(&mut self) -> Result<Option<Bytes>, StreamError> {
        match self.steps.pop_front() {
            Some(Step::Chunk(bytes)) => Ok(Some(bytes.into())),
            Some(Step::Reset) => Err(StreamError::Connection("reset".to_owned())),
            Some(Step::End(code)) => {
                self.code = code;
                Ok(None)
            }
            None => std::future::pending().await,
        }
    }

    fn status(&self) -> Status {
        Status::new(self.code, "scripted")
    }
}

/// Keeps what is applied, and says when there are `enough` updates.
#[derive(Clone, Default)]
struct Keep {
    live: Rc<RefCell<BTreeMap<(ResourceType, String), Bytes>>>,
    updates: Rc<RefCell<usize>>,
    enough: usize,
    done: Rc<Notify>,
}

impl Apply for Keep {
    async fn apply(
        &mut self,
        resource_type: ResourceType,
        upserts: &[Arc<Resource>],
        removed: &[Arc<str>],
    ) -> Vec<Rejected> {
        // Applying takes its time elsewhere.
        tokio::task::yield_now().await;
        let mut live = self.live.borrow_mut();
        for resource in upserts {
            live.insert(
                (resource_type, resource.name.to_string()),
                resource.bytes.clone(),
            );
        }
        for name in removed {
            live.remove(&(resource_type, name.to_string()));
        }
        *self.updates.borrow_mut() += 1;
        if *self.updates.borrow() == self.enough {
            self.done.notify_one();
        }
        Vec::new()
    }
}

fn settings() -> Settings {
    Settings {
        node: carbyne_protos::envoy::config::core::v3::Node::default(),
        node_in_every_request: false,
        listeners_wait: Duration::from_secs(15),
    }
}

fn any(resource_type: ResourceType, name: &str) -> Any {
    let mut value = Vec::new();
    prost::encoding::string::encode(1, &name.to_owned(), &mut value);
    Any {
        type_url: resource_type.type_url().to_owned(),
        value,
    }
}

fn response(
    protocol: Protocol,
    resource_type: ResourceType,
    names: &[&str],
    nonce: &str,
) -> Vec<u8> {
    let message = match protocol {
        Protocol::Sotw => DiscoveryResponse {
            type_url: resource_type.type_url().to_owned(),
            nonce: nonce.to_owned(),
            version_info: "1".to_owned(),
            resources: names.iter().map(|name| any(resource_type, name)).collect(),
            ..DiscoveryResponse::default()
        }
        .encode_to_vec(),
        Protocol::Delta => DeltaDiscoveryResponse {
            type_url: resource_type.type_url().to_owned(),
            nonce: nonce.to_owned(),
            resources: names
                .iter()
                .map(|name| Wrapper {
                    name: (*name).to_owned(),
                    version: "1".to_owned(),
                    resource: Some(any(resource_type, name)),
                    ..Wrapper::default()
                })
                .collect(),
            ..DeltaDiscoveryResponse::default()
        }
        .encode_to_vec(),
    };
    framed(&message).to_vec()
}

fn messages(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while let Some((prefix, rest)) = bytes.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        messages.push(rest[..length].to_vec());
        bytes = &rest[length..];
    }
    messages
}

/// Runs a client over the script until it has applied `enough` updates.
async fn run(
    protocol: Protocol,
    connections: Vec<Vec<Step>>,
    enough: usize,
) -> (Rc<RefCell<Ads>>, Keep, Script) {
    let mut ads = Ads::new(protocol, settings());
    ads.want(ResourceType::Cluster, Interest::All);
    let machine = Rc::new(RefCell::new(ads));
    let script = Script::default();
    script.connections.borrow_mut().extend(connections);
    let keep = Keep {
        enough,
        ..Keep::default()
    };
    let (client, _interests) = Client::new(
        machine.clone(),
        protocol.path(),
        script.clone(),
        keep.clone(),
        BackOff::new(1),
    );
    tokio::select! {
        () = client.run() => panic!("the client ended"),
        () = keep.done.notified() => {}
        // The clock runs only when everybody waits.
        () = tokio::time::sleep(Duration::from_secs(86_400)) => panic!("nothing happens any more"),
    }
    (machine, keep, script)
}

#[tokio::test(start_paused = true)]
async fn streams_may_be_cut_at_any_byte() {
    for protocol in [Protocol::Sotw, Protocol::Delta] {
        let first = response(protocol, ResourceType::Cluster, &["a", "b"], "1");
        let second = response(protocol, ResourceType::Cluster, &["a", "b", "c"], "2");
        let body = [first.clone(), second.clone()].concat();
        for cut in 0..=body.len() {
            for end in 0..2 {
                let end = if end == 0 { Step::Reset } else { Step::End(14) };
                let chunks = body[..cut]
                    .chunks(7)
                    .map(|chunk| Step::Chunk(chunk.to_vec()));
                let broken: Vec<_> = chunks.chain([end]).collect();
                let whole = vec![Step::Chunk(second.clone())];
                let before = usize::from(cut >= first.len()) + usize::from(cut == body.len());
                let (machine, keep, script) = run(protocol, vec![broken, whole], before + 1).await;
                let live: Vec<String> =
                    keep.live.borrow().keys().map(|key| key.1.clone()).collect();
                assert_eq!(live, ["a", "b", "c"], "{protocol:?} cut at {cut}");
                assert_eq!(script.sent.borrow().len(), 2);
                assert_eq!(
                    machine
                        .borrow()
                        .statistics(ResourceType::Cluster)
                        .update_failure,
                    1
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn reconnects_wait_ever_longer_and_tell_what_is_held() {
    let mut connections = vec![vec![
        Step::Chunk(response(
            Protocol::Delta,
            ResourceType::Cluster,
            &["a"],
            "1",
        )),
        Step::End(14),
    ]];
    connections.extend((0..12).map(|_| vec![]));
    connections.push(vec![Step::Chunk(response(
        Protocol::Delta,
        ResourceType::Cluster,
        &["a"],
        "1",
    ))]);
    let (_, _, script) = run(Protocol::Delta, connections, 2).await;
    let sent = script.sent.borrow();
    assert_eq!(sent.len(), 14);
    let waits: Vec<Duration> = sent.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    let mut bound = Duration::from_millis(501);
    for wait in &waits {
        assert!(*wait <= bound, "{waits:?}");
        bound = (bound * 2).min(Duration::from_millis(30_001));
    }
    assert!(
        waits.iter().sum::<Duration>() > Duration::from_secs(30),
        "{waits:?}"
    );
    let requests = messages(&sent[0].1);
    let request = DeltaDiscoveryRequest::decode(&*requests[1]).unwrap();
    assert_eq!(request.response_nonce, "1");
    let request = DeltaDiscoveryRequest::decode(&*messages(&sent[13].1)[0]).unwrap();
    assert_eq!(
        request
            .initial_resource_versions
            .get("a")
            .map(String::as_str),
        Some("1")
    );
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_no_messages_end_the_stream_and_change_nothing() {
    let good = response(Protocol::Sotw, ResourceType::Cluster, &["a"], "1");
    for bad in [
        vec![1, 0, 0, 0, 0],
        vec![0, 255, 255, 255, 255],
        framed(&[0xff, 0xff]).to_vec(),
    ] {
        let connections = vec![
            vec![Step::Chunk([good.clone(), bad].concat())],
            vec![Step::Chunk(good.clone())],
        ];
        let (machine, keep, script) = run(Protocol::Sotw, connections, 2).await;
        assert_eq!(script.sent.borrow().len(), 2);
        assert_eq!(keep.live.borrow().len(), 1);
        let machine = machine.borrow();
        let statistics = machine.statistics(ResourceType::Cluster);
        assert_eq!(
            (
                statistics.update_success,
                statistics.update_rejected,
                statistics.config_reload
            ),
            (2, 0, 1)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_applying_makes_wanted_is_asked_for_after_the_acknowledgement() {
    /// Wants the endpoints of every cluster.
    struct Depend(Rc<RefCell<Option<Interests>>>, Rc<Notify>, usize);
    impl Apply for Depend {
        async fn apply(
            &mut self,
            resource_type: ResourceType,
            upserts: &[Arc<Resource>],
            _: &[Arc<str>],
        ) -> Vec<Rejected> {
            if resource_type == ResourceType::Cluster {
                let names: BTreeSet<Arc<str>> = upserts
                    .iter()
                    .map(|resource| resource.name.clone())
                    .collect();
                if let Some(interests) = &*self.0.borrow() {
                    interests.want(ResourceType::Endpoint, Interest::Names(names));
                }
            } else {
                self.2 += 1;
                if self.2 == 2 {
                    self.1.notify_one();
                }
            }
            Vec::new()
        }
    }
    let protocol = Protocol::Sotw;
    let mut ads = Ads::new(protocol, settings());
    ads.want(ResourceType::Cluster, Interest::All);
    ads.want(ResourceType::Listener, Interest::All);
    let script = Script::default();
    script.connections.borrow_mut().push_back(vec![
        Step::Chunk(response(protocol, ResourceType::Cluster, &["a"], "1")),
        Step::Chunk(response(protocol, ResourceType::Endpoint, &["a"], "2")),
        Step::Chunk(response(protocol, ResourceType::Endpoint, &["a"], "3")),
    ]);
    let (slot, done) = (Rc::new(RefCell::new(None)), Rc::new(Notify::new()));
    let apply = Depend(slot.clone(), done.clone(), 0);
    let machine = Rc::new(RefCell::new(ads));
    let (client, interests) = Client::new(
        machine,
        protocol.path(),
        script.clone(),
        apply,
        BackOff::new(1),
    );
    *slot.borrow_mut() = Some(interests);
    let client = client.run();
    tokio::pin!(client);
    tokio::select! {
        () = &mut client => panic!("the client ended"),
        () = done.notified() => {}
        () = tokio::time::sleep(Duration::from_secs(86_400)) => panic!("nothing happens any more"),
    }
    let requests: Vec<(String, String)> = messages(&script.sent.borrow()[0].1)
        .iter()
        .map(|bytes| DiscoveryRequest::decode(&**bytes).unwrap())
        .map(|request| {
            (
                request.type_url.rsplit('.').next().unwrap().to_owned(),
                request.response_nonce,
            )
        })
        .collect();
    let expected = [
        ("Cluster", ""),
        ("Cluster", "1"),
        ("ClusterLoadAssignment", ""),
        ("ClusterLoadAssignment", "2"),
        ("Listener", ""),
        ("ClusterLoadAssignment", "3"),
    ];
    let expected: Vec<(String, String)> = expected
        .map(|(left, right)| (left.to_owned(), right.to_owned()))
        .into();
    assert_eq!(requests, expected);
    // Nobody wants anything any more: the client ends.
    slot.borrow_mut().take();
    client.await;
}

#[tokio::test(start_paused = true)]
async fn secrets_come_rotate_and_survive_a_closed_stream() {
    use carbyne_protos::envoy::extensions::transport_sockets::tls::v3::Secret;
    let secret = |nonce: &str, name: &str| {
        let value = Secret {
            name: name.to_owned(),
            ..Secret::default()
        };
        let message = DiscoveryResponse {
            type_url: ResourceType::Secret.type_url().to_owned(),
            nonce: nonce.to_owned(),
            version_info: nonce.to_owned(),
            resources: vec![Any {
                type_url: ResourceType::Secret.type_url().to_owned(),
                value: [value.encode_to_vec(), prost_number(nonce)].concat(),
            }],
            ..DiscoveryResponse::default()
        };
        framed(&message.encode_to_vec()).to_vec()
    };
    let script = Script::default();
    script.connections.borrow_mut().extend([
        vec![Step::End(14)],
        vec![
            Step::Chunk(secret("1", "default")),
            Step::Chunk(secret("2", "default")),
            Step::End(0),
        ],
        vec![Step::Chunk(secret("3", "default"))],
    ]);
    let taken = Rc::new(RefCell::new(Vec::new()));
    let done = Rc::new(Notify::new());
    let take = {
        let (taken, done) = (taken.clone(), done.clone());
        move |secret: Secret, resource: &Arc<Resource>| {
            taken
                .borrow_mut()
                .push((secret.name, resource.version.to_string()));
            if taken.borrow().len() == 3 {
                done.notify_one();
            }
            if &*resource.version == "2" {
                Err("key does not fit".to_owned())
            } else {
                Ok(())
            }
        }
    };
    let (client, machine, _interests) =
        sds::client("default", settings(), script.clone(), take, BackOff::new(3));
    tokio::select! {
        () = client.run() => panic!("the client ended"),
        () = done.notified() => {}
        () = tokio::time::sleep(Duration::from_secs(86_400)) => panic!("nothing happens any more"),
    }
    let versions: Vec<String> = taken.borrow().iter().map(|taken| taken.1.clone()).collect();
    assert_eq!(versions, ["1", "2", "3"]);
    let sent = script.sent.borrow();
    let requests: Vec<DiscoveryRequest> = messages(&sent[1].1)
        .iter()
        .map(|bytes| DiscoveryRequest::decode(&**bytes).unwrap())
        .collect();
    assert_eq!(requests[0].resource_names, ["default"]);
    assert!(requests[0].node.is_some());
    assert_eq!(
        (&*requests[1].version_info, &*requests[1].response_nonce),
        ("1", "1")
    );
    let refusal = requests[2].error_detail.as_ref().unwrap();
    assert_eq!(
        refusal.message,
        "Error adding/updating secret(s) default: key does not fit"
    );
    assert_eq!(requests[2].version_info, "1");
    let request = DiscoveryRequest::decode(&*messages(&sent[2].1)[0]).unwrap();
    assert_eq!(
        (&*request.version_info, &*request.response_nonce),
        ("1", "")
    );
    assert_eq!(machine.borrow().resources(ResourceType::Secret).count(), 1);
}

/// An unknown field that makes two messages differ.
fn prost_number(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::string::encode(2000, &text.to_owned(), &mut bytes);
    bytes
}
